"""Maintenance: removes what is older than ``retention`` says, and tidies up the tables' files.

The monitor's tick does it once per ``maintenance`` (a day), each table under its lock.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING

from pyspark.sql import functions as F

from jobs.aggregate_windows import settle_windows, start
from jobs.locks import Locks
from jobs.runtime import LOG, described
from jobs.tables import (
    delete_rows,
    identifier,
    merge,
    read_table,
    retried,
    set_rows,
    set_table_properties,
    table_exists,
)
from metrics.aggregate.windows import WHOLE_ONLY_SECONDS
from schemas import Table
from schemas.batches import BATCHES
from schemas.config import AVAILABLE_NOW, OFF, Config, duration_seconds
from schemas.feedback import FEEDBACK
from schemas.forgotten import FORGOTTEN
from schemas.locks import LOCKS
from schemas.profile_metrics import PROFILE_METRICS
from schemas.quarantine import QUARANTINE
from schemas.scores import SCORES

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame, SparkSession

BELONGS: Mapping[str, tuple[Table, ...]] = {
    SCORES.name: (SCORES, QUARANTINE, FEEDBACK, BATCHES, FORGOTTEN, LOCKS),
    PROFILE_METRICS.name: (PROFILE_METRICS,),
}
"""Tables by the one whose lock is held."""

PURGED = "inference_metrics.purged_before"
"""Table property of ``profile_metrics``, by the name of the retention: the first UTC date that was kept."""

RECENT = timedelta(days=8)
"""Of partitioned tables, files of so many days are packed: older ones were, and late rows to them are few."""


def maintain(spark: SparkSession, config: Config, locks: Locks, *, now: datetime | None = None) -> list[str]:
    """Do what is due; the names of the tables that it was due for. Safe to cut off at any point, and to repeat."""
    now = now or datetime.now(UTC)
    if config.maintenance == OFF:
        return []
    every = timedelta(seconds=duration_seconds(config.maintenance))
    last = locks.maintained()
    due = [name for name in BELONGS if name in last and now - last[name] >= every]
    errors: list[Exception] = []
    for name in due:
        with locks.step(name):
            try:
                _maintain(spark, config, name, now.date(), locks)
            except Exception as error:
                LOG.error(
                    "maintenance of %s failed, and is tried again in %s: %s", name, config.maintenance, described(error)
                )
                errors.append(error)
            locks.set_maintained(name, now)
    if errors:
        raise errors[0]
    return due


def _maintain(spark: SparkSession, config: Config, name: str, today: date, locks: Locks) -> None:
    if name == SCORES.name:
        if config.retention.horizon("scores", today):
            # A batch may have ended since the tick's windows: what they have not seen must not go.
            start(spark, config, trigger=AVAILABLE_NOW, locks=locks).awaitTermination()
        purge_scores(spark, config, today)
    else:
        purge_windows(spark, config, today)
        settle_windows(spark, config, everything=True)
    for one in BELONGS[name]:
        if table_exists(spark, one, config.output):
            _tidy_up(spark, config, one, today)


def purge_scores(spark: SparkSession, config: Config, today: date) -> dict[str, int]:
    """Remove rows of ``scores``, ``quarantine`` and ``feedback`` that are older than ``retention.scores``.

    ``batches`` is told first how many of each batch and date, so that the account goes on balancing.

    Returns:
        Rows removed, by table.
    """
    removed: dict[str, int] = {}
    horizon = config.retention.horizon("scores", today)
    if horizon is None:
        return removed
    output, first = config.output, F.lit(horizon)
    forgotten = read_table(spark, FORGOTTEN, output).where("table_name = 'scores' AND batch_id IS NOT NULL")
    gone = forgotten.select(F.col("key_hash").alias("id_hash"), F.col("request_date").alias("day"))
    of: tuple[tuple[Table, Column, str], ...] = (
        (SCORES, F.col("request_date"), "request_id"),
        (QUARANTINE, F.to_date("request_time"), "source_row_hash"),
        (FEEDBACK, F.to_date("feedback_time"), "feedback_id"),
    )
    for table, day, key in of:
        if not table_exists(spark, table, output):
            continue
        expired = read_table(spark, table, output).where(day < first).withColumn("day", day)
        count = expired.count()
        if not count:
            continue
        if table is SCORES:  # a request of which one exchange was forgotten is counted there
            expired = expired.withColumn("id_hash", F.sha2("request_id", 256)).join(
                gone, ["id_hash", "day"], "left_anti"
            )
        _note_purged(expired.withColumn("day", F.col("day").cast("string")), f"{table.name}_purged", key, config)
        delete_rows(spark, table, output, day < first)
        removed[table.name] = count
        LOG.info("retention: removed %d rows before %s from %s", count, horizon, table.name)
    # Rows without a time, or of a day to come, have no date to go by: they stay, without what they held.
    time = F.col("request_time")
    undated = (time.isNull() | (time > F.col("quarantined_at"))) & (F.to_date("quarantined_at") < first)
    held = undated & (F.col("request").isNotNull() | F.col("response").isNotNull())
    if not read_table(spark, QUARANTINE, output).where(held).isEmpty():
        nothing = F.lit(None).cast("string")
        set_rows(spark, QUARANTINE, output, held, {"request": nothing, "response": nothing})
    return removed


def _note_purged(expired: DataFrame, column: str, key: str, config: Config) -> None:
    """Set, per batch and date, how many of its requests go; setting it twice is the same."""
    ids = list(BATCHES.keys)
    counts = (
        expired.groupBy(*ids, "day")
        .agg(F.count_distinct(key).alias("n"))
        .groupBy(*ids)
        .agg(F.map_from_entries(F.collect_list(F.struct("day", "n"))).alias(column))
    )
    others = f"map_filter(coalesce(t.{column}, map()), (k, v) -> NOT map_contains_key(s.{column}, k))"
    both = f"map_concat({others}, s.{column})"
    retried(lambda: merge(counts, BATCHES, config.output).whenMatchedUpdate(set={column: F.expr(both)}).execute())


def purge_windows(spark: SparkSession, config: Config, today: date) -> None:
    """Remove windows that are older than ``retention.minute_metrics`` and ``retention.metrics`` say."""
    minutes = [one for one in config.granularities if duration_seconds(one) <= WHOLE_ONLY_SECONDS]
    wanted = (
        ("minute_metrics", F.col("granularity").isin(minutes)),
        ("metrics", F.lit(True)),
    )
    for what, which in wanted:
        horizon = config.retention.horizon(what, today)  # type: ignore[arg-type]
        if horizon is None:
            continue
        old = (F.col("window_date") < F.lit(horizon)) & which
        if not read_table(spark, PROFILE_METRICS, config.output).where(old).isEmpty():
            # Ranges that reach back so far are refused, also when the settings keep more by then.
            noted = {f"{PURGED}.{what}": horizon.isoformat()}
            set_table_properties(spark, PROFILE_METRICS, config.output, noted)
            delete_rows(spark, PROFILE_METRICS, config.output, old)


def _tidy_up(spark: SparkSession, config: Config, table: Table, today: date) -> None:
    """Pack small files, and remove those that no version within ``delta.deletedFileRetentionDuration`` needs."""
    name = identifier(table, config.output)
    recent = f" WHERE {table.partition_by} >= DATE'{today - RECENT}'" if table.partition_by else ""
    retried(lambda: spark.sql(f"OPTIMIZE {name}{recent}"))
    spark.sql(f"VACUUM {name}")
