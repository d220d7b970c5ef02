"""Rescore: gives the rows of some days what today's unpacker reads and the scores of today's scorers.

    inference-metrics rescore --config conf/local.yaml --since 2026-04-01 --until 2026-04-07

For when a scorer has changed (another model, label or precision), when one had failed (``score_errors``: error:…,
circuit_open), when scoring.sample_rate is larger than it was, or when this program has learned to read payloads better
(column ``unpacker``; scoring.reasoning is part of it): then texts, token counts and codes are read again, and scored
again where they are others. Texts come from the inference table, because ``scores`` may hold none. Days are whole UTC
dates, the last one included; each is one MERGE, or one to read and one to score, so that what was cut off goes on when
it is called again, and only rows that need it and only scorers that changed are computed. Windows follow at the next
run of monitor or aggregate-windows; those of the scorer before stay as they were, beside the new ones.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from datetime import date

from jobs.command.arguments import parser, read_config
from jobs.command.errors import OK, run
from jobs.command.session import spark_session
from jobs.scoring.rescoring import Rescored, rescore
from jobs.store.locks import Locks


def show(done: Rescored) -> str:
    """What was done, in a line."""
    if not done.days:
        return "nothing to do: every row was read by this unpacker and has the scores of these scorers"
    missing = f"; {done.without_source:,} are no longer in the source, or can't be read" if done.without_source else ""
    reread = f"{done.reread:,} read again, " if done.reread else ""
    return (
        f"{done.days:,} days: {reread}{done.rows:,} rows rescored ({', '.join(done.scorers) or 'none'}){missing}. "
        "monitor or aggregate-windows brings the windows up to date"
    )


def _date(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no date like 2026-04-01") from error


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    arguments = parser("rescore", __doc__ or "")
    arguments.add_argument("--since", type=_date, required=True, metavar="DATE", help="first UTC date")
    arguments.add_argument("--until", type=_date, required=True, metavar="DATE", help="last UTC date, included")
    arguments.add_argument("--json", action="store_true", help="print what was done as JSON")
    options = arguments.parse_args(argv)
    if options.since > options.until:
        arguments.error(f"--since {options.since} is after --until {options.until}")

    def command() -> int:
        config = read_config(options)
        spark = spark_session("rescore")
        locks = Locks(spark, config.output, "rescore")
        done = rescore(spark, config, since=options.since, until=options.until, locks=locks)
        print(json.dumps(asdict(done)) if options.json else show(done))
        return OK

    return run(command)


if __name__ == "__main__":
    sys.exit(main())
