"""Reconcile: proves that every source row is accounted for, and that every window is what ``scores`` says.

    inference-metrics reconcile --config conf/local.yaml [--json]

Prints the account, and exits 1 with the request ids in question when it doesn't balance:

    rows      each row of the source is one of scored, quarantined, duplicate, skipped (not traffic) and forgotten, by
              day and in all; a batched call has all its exchanges, and ratings are in feedback
    batches   the ledger: what each batch says that it read and wrote is in the tables, also after kills
    windows   profile_metrics equals a full recomputation from scores (sums and means within 1e-9 relative); windows
              that hold rows that were forgotten since are left as they were

Dates that retention has purged are left out, but for the ledger, which knows how many rows went.
The source is looked at as of the version that the score query has read whole. Where batches of the checkpoint in use
are from before there was a table of ratings, as many rows with ratings as they skipped may be in no table.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from jobs.command.call import Call, command
from jobs.command.errors import FAILED, OK
from jobs.scoring.account import EXAMPLES, Account, check_ledger, check_rows, name_problem
from jobs.scoring.fates import FATES
from jobs.store.tables import create_table, table_exists
from jobs.windows.check import check_windows
from schemas.batches import BATCHES
from schemas.config import Config
from schemas.feedback import FEEDBACK
from schemas.forgotten import FORGOTTEN
from schemas.profile_metrics import PROFILE_METRICS

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


def reconcile(spark: SparkSession, config: Config) -> Account:
    """Check the ledger, the source's rows and the windows."""
    account = Account()
    for table in (FORGOTTEN, FEEDBACK, BATCHES):
        if table is not BATCHES or table_exists(spark, table, config.output):
            create_table(spark, table, config.output)
    if check_ledger(spark, config, account):
        check_rows(spark, config, account)
    if table_exists(spark, PROFILE_METRICS, config.output):
        account.windows, wrong = check_windows(spark, config, most=EXAMPLES)
        name_problem(wrong, "windows that differ from a recomputation", account)
    return account


def show(account: Account) -> str:
    """The account as tables to read."""
    lines = []
    if account.days:
        names = [name for name in ("source_rows", *FATES, "missing") if name in FATES[:4] or account.rows[name]]
        lines.append(_line("day", names))
        lines += [_line(day, [f"{counts[name]:,}" for name in names]) for day, counts in account.days.items()]
        lines += [_line("all", [f"{account.rows[name]:,}" for name in names]), ""]
    notes = {name: count for name, count in account.rows.items() if name.startswith(("skipped_", "ids_", "past_"))}
    lines += [f"{name:<20}{value:>12,}" for name, value in {**account.batches, **notes, **account.windows}.items()]
    if account.ratings_not_taken:
        lines.append(
            f"skipped before there was a table of ratings, --new-checkpoint reads them: {account.ratings_not_taken}"
        )
    lines += [f"left out by on_source_change: skip: {one}" for one in account.skipped_versions]
    lines += [f"problem: {problem}" for problem in account.problems] or ["everything balances"]
    return "\n".join(lines)


def _line(name: str, cells: Sequence[str]) -> str:
    return f"{name:<12}" + "".join(f"{cell:>13}" for cell in cells)


def _work(call: Call) -> int:
    config = call.config
    account = reconcile(call.spark, config)
    call.show(asdict(account), lambda: show(account))
    return FAILED if account.problems else OK


main = command(__doc__, _work, as_json="the account")


if __name__ == "__main__":
    sys.exit(main())
