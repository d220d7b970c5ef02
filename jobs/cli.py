"""The console script ``inference-metrics``: one subcommand per job."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence

COMMANDS = {
    "monitor": ("monitor", "the main job: score, aggregate, draw, at every trigger"),
    "score-responses": ("score_responses", "inference table → scores, quarantine, batches"),
    "aggregate-windows": ("aggregate_windows", "scores → profile_metrics"),
    "metrics": ("range_metrics", "any range of time, merged from the windows' sketches"),
    "dashboard": ("dashboard", "profile_metrics → one HTML page"),
    "sync-registry": ("sync_registry", "MLflow registry → model_versions"),
    "version": ("version", "one version's card: where it comes from and how it lives"),
    "reconcile": ("reconcile", "prove that every source row is accounted for and every window is right"),
    "rescore": ("rescore", "give the rows of some days the scores of other scorers, or those that are missing"),
    "forget": ("forget", "remove a person's rows from every table"),
    "doctor": ("doctor", "check source, tables, retention, models and versions before anything is written"),
    "demo": ("demo.command", "a chatbot, its registry and a month of its traffic, then monitor"),
}


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
    module = importlib.import_module(f"jobs.{COMMANDS[options.command][0]}")
    return int(module.main(given[1:]))


def script() -> None:
    """Entry point: a failure ends in SystemExit, also where a job runner calls this and ignores what it returns."""
    code = main()
    if code:
        sys.exit(code)


if __name__ == "__main__":
    script()
