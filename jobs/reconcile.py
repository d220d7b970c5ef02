"""Reconcile: proves that every source row is accounted for, and that every window is what ``scores`` says.

    inference-metrics reconcile --config conf/local.yaml [--json]

Prints the account, and exits 1 with examples when it doesn't balance:

    rows      source rows read = scored + quarantined + duplicate + skipped, and each request is where it should be
    windows   profile_metrics equals a full recomputation from scores (sums and means within 1e-9 relative)
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

from pyspark.sql import functions as F

from jobs.aggregate_windows import window_figures
from jobs.runtime import FAILED, OK, parser, read_config, run, spark_session
from jobs.tables import common_rows, read_table, source_identifier
from metrics.unpack.payloads import unpack_payload
from schemas.batches import BATCHES
from schemas.config import Config
from schemas.profile_metrics import PROFILE_METRICS
from schemas.quarantine import QUARANTINE
from schemas.scores import SCORES

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame, SparkSession

TOLERANCE = 1e-9
EXAMPLES = 20


@dataclass
class Account:
    """What ``reconcile`` found. Rows are source rows; ``problems`` is empty when everything balances."""

    source_version: int | None = None
    rows: dict[str, int] = field(default_factory=dict)
    windows: dict[str, int] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


def reconcile(spark: SparkSession, config: Config) -> Account:
    """Check the rows' account and the windows."""
    account = Account()
    _check_rows(spark, config, account)
    _check_windows(spark, config, account)
    return account


def _check_rows(spark: SparkSession, config: Config, account: Account) -> None:
    output = config.output
    batches = read_table(spark, BATCHES, output)
    newest = batches.orderBy(F.desc("finished_at")).first()
    if newest is None:
        account.problems.append("no batch was written yet")
        return
    of_checkpoint = batches.where(F.col("checkpoint_id") == newest["checkpoint_id"])
    columns = ("rows_read", "rows_scored", "rows_quarantined", "rows_duplicate", "rows_skipped")
    sums = of_checkpoint.agg(
        F.max("source_version").alias("source_version"), *(F.sum(c).alias(c) for c in columns)
    ).first()
    assert sums is not None
    account.source_version = sums["source_version"]
    account.rows = {name: sums[name] for name in columns}
    if sums["rows_read"] != sum(sums[name] for name in columns[1:]):
        account.problems.append(f"batches: {sums['rows_read']} rows read, but the four kinds do not add up to it")
    _check_ledger(output_rows(spark, config, newest["checkpoint_id"]), account)
    if account.source_version is None:
        account.problems.append("the source's first snapshot is still being read; the rows can't be checked yet")
        return

    source = spark.read.option("versionAsOf", account.source_version).table(source_identifier(config.source))
    unpacked = common_rows(source, config).transform(unpack_payload)
    account.rows["source_rows"] = unpacked.count()
    if config.source.starting_version is None and config.source.starting_timestamp is None:
        # Batches that read on into the next version counted rows beyond the last whole one.
        if account.rows["source_rows"] > sums["rows_read"]:
            account.problems.append(f"{account.rows['source_rows']} rows in the source, {sums['rows_read']} read")
        now = spark.read.table(source_identifier(config.source)).count()
        if sums["rows_read"] > now:
            account.problems.append(f"{sums['rows_read']} rows read, but the source has only {now}")
        scores = read_table(spark, SCORES, output).select("request_date", "request_id").distinct()
        readable = unpacked.where(F.col("exchanges").isNotNull())
        _report_missing(readable, scores, ["request_date", "request_id"], "scores", account)
        quarantine = read_table(spark, QUARANTINE, output).select("source_row_hash")
        _report_missing(
            unpacked.where(F.col("reason").isNotNull()), quarantine, ["source_row_hash"], "quarantine", account
        )
    # Two rows by definition, since the key has the date; worth a look, and no error.
    dates_of_id = (
        read_table(spark, SCORES, output).groupBy("request_id").agg(F.count_distinct("request_date").alias("n"))
    )
    account.rows["ids_on_two_dates"] = dates_of_id.where("n > 1").count()
    doubled = read_table(spark, SCORES, output).groupBy(*SCORES.keys).count().where("count > 1")
    _report(doubled, "request_id", "in scores more than once", account)


def output_rows(spark: SparkSession, config: Config, checkpoint_id: str) -> dict[str, int]:
    """Source rows that a checkpoint's batches put into the tables, counted there."""
    mine = F.col("checkpoint_id") == checkpoint_id
    scores = read_table(spark, SCORES, config.output).where(mine)
    return {
        "rows_scored": scores.select("request_date", "request_id").distinct().count(),
        "rows_quarantined": read_table(spark, QUARANTINE, config.output).where(mine).count(),
    }


def _check_ledger(counted: dict[str, int], account: Account) -> None:
    for name, count in counted.items():
        if account.rows[name] != count:
            account.problems.append(f"{name}: batches say {account.rows[name]}, the table holds {count}")


def _report_missing(rows: DataFrame, table: DataFrame, keys: list[str], name: str, account: Account) -> None:
    _report(rows.join(table, keys, "left_anti"), "request_id", f"in the source but not in {name}", account)


def _report(rows: DataFrame, column: str, what: str, account: Account) -> None:
    found = [row[0] for row in rows.select(column).limit(EXAMPLES).collect()]
    if found:
        more = "" if len(found) < EXAMPLES else ", …"
        account.problems.append(f"{what}: {', '.join(map(str, found))}{more}")


def _check_windows(spark: SparkSession, config: Config, account: Account) -> None:
    keys = ", ".join(key.replace("window.start", "start") for key in PROFILE_METRICS.keys)
    stored = read_table(spark, PROFILE_METRICS, config.output).withColumn("start", F.col("window.start")).alias("t")
    expected = window_figures(spark, config).withColumn("start", F.col("window.start")).alias("s")
    same_key = F.expr(" AND ".join(f"t.{key} <=> s.{key}" for key in keys.split(", ")))
    both = stored.join(expected, same_key, "full_outer")
    figures = ("count", "num_nulls", "avg", "stddev", "min", "max", "sum", "weighted_count", "weighted_avg", "sum_wx")
    differs = F.lit(False)
    for name in figures:
        differs = differs | ~_equal(F.col(f"t.{name}"), F.col(f"s.{name}"))
    wrong = both.where(F.col("t.column_name").isNull() | F.col("s.column_name").isNull() | differs)
    label = F.concat_ws(
        " ",
        *(F.coalesce(f"t.{c}", f"s.{c}") for c in ("granularity", "start", "model_version", "column_name")),
    )
    account.windows = {"windows": stored.count()}
    _report(wrong.select(label.alias("window")), "window", "windows that differ from a recomputation", account)


def _equal(stored: Column, expected: Column) -> Column:
    a, b = stored.cast("double"), expected.cast("double")
    close = F.abs(a - b) <= TOLERANCE * F.greatest(F.abs(a), F.abs(b), F.lit(1.0))
    return F.coalesce(close, a.eqNullSafe(b))


def show(account: Account) -> str:
    """The account as a table to read."""
    lines = [f"{name:<20}{value:>12,}" for name, value in {**account.rows, **account.windows}.items()]
    lines += [f"problem: {problem}" for problem in account.problems] or ["everything balances"]
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    arguments = parser("reconcile", __doc__ or "")
    arguments.add_argument("--json", action="store_true", help="print the account as JSON")
    options = arguments.parse_args(argv)

    def command() -> int:
        config = read_config(options)
        account = reconcile(spark_session("reconcile"), config)
        print(json.dumps(asdict(account)) if options.json else show(account))
        return FAILED if account.problems else OK

    return run(command)


if __name__ == "__main__":
    sys.exit(main())
