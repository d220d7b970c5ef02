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
import sys
from dataclasses import asdict
from datetime import date

from jobs.command.call import Call, command
from jobs.command.errors import OK
from jobs.scoring.rescoring import Rescored, rescore
from jobs.store.locks import Locks
from schemas.errors import ConfigError


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


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--since", type=_date, required=True, metavar="DATE", help="first UTC date")
    parser.add_argument("--until", type=_date, required=True, metavar="DATE", help="last UTC date, included")


def _work(call: Call) -> int:
    since, until = call.options.since, call.options.until
    if since > until:
        raise ConfigError("the range", [f"--since {since} is after --until {until}"])
    config, spark = call.config, call.spark
    done = rescore(spark, config, since=since, until=until, locks=Locks(spark, config.output, call.name))
    call.show(asdict(done), lambda: show(done))
    return OK


main = command(__doc__, _work, _arguments, as_json="what was done")


if __name__ == "__main__":
    sys.exit(main())
