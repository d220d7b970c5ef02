"""Arguments that commands share, and the configuration that they give."""

from __future__ import annotations

import argparse

from schemas.config import Config, load_config


def parser(command: str, description: str, *, config: bool = True) -> argparse.ArgumentParser:
    """Arguments that all commands share; ``config`` for those that read a configuration."""
    arguments = argparse.ArgumentParser(
        prog=f"inference-metrics {command}",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    if not config:
        return arguments
    arguments.add_argument("--config", metavar="FILE", help="YAML file with settings (conf/local.yaml is an example)")
    arguments.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        dest="overrides",
        help="override a setting, for example scoring.device=cpu; repeatable",
    )
    return arguments


def add_trigger(arguments: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """The option of commands that stream."""
    arguments.add_argument("--trigger", help="a duration such as '5 minutes' (stays up), or availableNow (ends)")
    return arguments


def read_config(arguments: argparse.Namespace, **extra: str | None) -> Config:
    """The command's configuration; ``extra`` are settings that have an option of their own."""
    options = [f"{key}={value}" for key, value in extra.items() if value is not None]
    return load_config(arguments.config, [*arguments.overrides, *options])


def add_new_checkpoint(arguments: argparse.ArgumentParser) -> None:
    """The option of commands that score."""
    arguments.add_argument(
        "--new-checkpoint",
        action="store_true",
        help="read the source again from its beginning; what is scored stays, and nothing is scored twice",
    )
