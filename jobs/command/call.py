"""A command: its arguments, what it works with, and how it ends."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

from jobs.command.docstring import name_of
from jobs.command.errors import run
from jobs.command.session import spark_session
from schemas.config import Config, load_config

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


class Call:
    """One call of a command.

    Args:
        name: The command.
        options: Its arguments, parsed.
    """

    def __init__(self, name: str, options: argparse.Namespace) -> None:
        self.name, self.options = name, options

    @cached_property
    def config(self) -> Config:
        """The settings of --config, --set and --trigger.

        Raises:
            ConfigError: They have mistakes.
        """
        trigger: str | None = getattr(self.options, "trigger", None)
        also = [] if trigger is None else [f"trigger={trigger}"]
        return load_config(self.options.config, [*self.options.overrides, *also])

    @cached_property
    def spark(self) -> SparkSession:
        """The session; made when it is first asked for."""
        return spark_session(f"inference-metrics {self.name}")

    def show(self, data: object, shown: Callable[[], str], *, default: Callable[[Any], Any] | None = None) -> None:
        """Print a result, as JSON where --json asks for it.

        Args:
            data: What JSON has of it.
            shown: Makes the text to read.
            default: For values that JSON does not know, as of ``json.dumps``.
        """
        print(json.dumps(data, default=default) if self.options.json else shown())


class Main(Protocol):
    """Runs a command on its arguments (None: those of the process), and returns the exit code."""

    def __call__(self, argv: Sequence[str] | None = None) -> int: ...  # noqa: D102


def command(
    doc: str | None,
    work: Callable[[Call], int],
    arguments: Callable[[argparse.ArgumentParser], object] | None = None,
    *,
    config: bool = True,
    trigger: bool = False,
    as_json: str | None = None,
) -> Main:
    """The ``main`` of a command.

    Args:
        doc: Docstring of its file: first line "Name: what it does.", then how it is called (``name_of``).
        work: Does it; returns the exit code.
        arguments: Adds options of its own.
        config: Whether it reads settings (--config, --set).
        trigger: Whether it streams (--trigger).
        as_json: What --json prints, for commands that have it.
    """
    name, description = name_of(doc or ""), doc or ""

    def main(argv: Sequence[str] | None = None) -> int:
        parser = argparse.ArgumentParser(
            prog=f"inference-metrics {name}",
            description=description,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        if config:
            parser.add_argument(
                "--config", metavar="FILE", help="YAML file with settings (conf/local.yaml is an example)"
            )
            parser.add_argument(
                "--set",
                action="append",
                default=[],
                metavar="KEY=VALUE",
                dest="overrides",
                help="override a setting, for example scoring.device=cpu; repeatable",
            )
        if trigger:
            parser.add_argument("--trigger", help="a duration such as '5 minutes' (stays up), or availableNow (ends)")
        if arguments is not None:
            arguments(parser)
        if as_json is not None:
            parser.add_argument("--json", action="store_true", help=f"print {as_json} as JSON")
        call = Call(name, parser.parse_args(argv))
        return run(lambda: work(call))

    return main


def add_new_checkpoint(parser: argparse.ArgumentParser) -> None:
    """The option of commands that score."""
    parser.add_argument(
        "--new-checkpoint",
        action="store_true",
        help="read the source again from its beginning; what is scored stays, and nothing is scored twice",
    )
