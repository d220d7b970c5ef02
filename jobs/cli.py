"""The console script ``inference-metrics``: one subcommand per file of this folder, and the demo."""

from __future__ import annotations

import argparse
import ast
import importlib
import sys
from collections.abc import Sequence
from importlib.resources import files

from jobs.command.docstring import name_of, summary_of
from jobs.command.errors import FAILED
from schemas.errors import MonitorError

NO_COMMANDS = ("__init__.py", "cli.py")


def _commands() -> dict[str, tuple[str, str]]:
    """Module and description of each command, from the docstrings alone: their imports take seconds."""
    folder = files("jobs")
    sources = {one.name.removesuffix(".py"): one for one in folder.iterdir() if one.name.endswith(".py")}
    sources = {stem: one for stem, one in sources.items() if one.name not in NO_COMMANDS}
    sources["demo.command"] = folder / "demo" / "command.py"
    found = {}
    for module, source in sources.items():
        doc = ast.get_docstring(ast.parse(source.read_text(encoding="utf-8"))) or ""
        found[name_of(doc)] = (f"jobs.{module}", summary_of(doc))
    return dict(sorted(found.items(), key=lambda one: (one[0] != "monitor", one[0])))


COMMANDS = _commands()


def main(argv: Sequence[str] | None = None) -> int:
    """Hand the arguments to the command's own ``main``; each imports only what it needs."""
    listing = "\n".join(f"  {name:<19}{text}" for name, (_, text) in COMMANDS.items())
    arguments = argparse.ArgumentParser(
        prog="inference-metrics",
        description=f"Quality of deployed chatbots, from their inference tables.\n\ncommands:\n{listing}",
        epilog="inference-metrics COMMAND --help tells more.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        usage="inference-metrics COMMAND [options]",
    )
    arguments.add_argument("command", choices=COMMANDS, metavar="COMMAND", help="one of the above")
    given = list(sys.argv[1:] if argv is None else argv)
    options = arguments.parse_args(given[:1])
    try:
        module = importlib.import_module(COMMANDS[options.command][0])
    except MonitorError as error:  # of a scorer from elsewhere: what the tables hold follows from it
        print(f"error: {error}", file=sys.stderr)
        return FAILED
    return int(module.main(given[1:]))


def script() -> None:
    """Entry point: a failure ends in SystemExit, also where a job runner calls this and ignores what it returns."""
    code = main()
    if code:
        sys.exit(code)


if __name__ == "__main__":
    script()
