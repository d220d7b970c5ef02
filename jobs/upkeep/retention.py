"""Retention: removes what is older than ``retention`` says, and knows what was removed."""

from __future__ import annotations

from datetime import date, timedelta
from typing import TYPE_CHECKING

from pyspark.sql import functions as F

from jobs.command.log import LOG
from jobs.store.tables import delete_rows, merge, read_table, retried, set_rows, set_table_properties, table_exists
from schemas.batches import BATCHES
from schemas.config import Config, duration_seconds
from schemas.forgotten import FORGOTTEN
from schemas.profile_metrics import PROFILE_METRICS, WHOLE_ONLY_SECONDS
from schemas.quarantine import QUARANTINE
from schemas.scores import SCORES
from schemas.tables import TABLES

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

PURGED = "inference_metrics.purged_before"
"""Table property of ``profile_metrics``, by the name of the retention: the first UTC date that was kept."""


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
    for table in TABLES:
        if table.day is None or table.counted_by is None or not table_exists(spark, table, output):
            continue
        day = F.expr(table.day)
        expired = read_table(spark, table, output).where(day < first).withColumn("day", day)
        count = expired.count()
        if not count:
            continue
        if table is SCORES:  # a request of which one exchange was forgotten is counted there
            expired = expired.withColumn("id_hash", F.sha2("request_id", 256)).join(
                gone, ["id_hash", "day"], "left_anti"
            )
        expired = expired.withColumn("day", F.col("day").cast("string"))
        _note_purged(expired, f"{table.name}_purged", table.counted_by, config)
        delete_rows(spark, table, output, day < first)
        removed[table.name] = count
        LOG.info("retention: removed %d rows before %s from %s", count, horizon, table.name)
    # Rows without a time, or of a day to come, have no date to go by: they stay, without what they held.
    time = F.col("request_time")
    undated = (time.isNull() | (time > F.col("quarantined_at"))) & (F.to_date("quarantined_at") < first)
    held = undated & F.coalesce(*QUARANTINE.holds_text).isNotNull()
    if not read_table(spark, QUARANTINE, output).where(held).isEmpty():
        set_rows(spark, QUARANTINE, output, held, dict.fromkeys(QUARANTINE.holds_text, F.lit(None).cast("string")))
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


def purged_until(spark: SparkSession, config: Config) -> date | None:
    """The first UTC date of which nothing was removed by retention; None: nothing was of any.

    What was removed decides, not what the settings say now: of older dates there is not everything any more.
    """
    batches = read_table(spark, BATCHES, config.output)
    purged = [one for one in ("scores_purged", "quarantine_purged", "feedback_purged") if one in batches.columns]
    newest = F.greatest(*(F.array_max(F.map_keys(name)) for name in purged))
    day = batches.agg(F.max(newest)).collect()[0][0]
    return None if day is None else date.fromisoformat(day) + timedelta(days=1)


def purged(table: str) -> str:
    """SQL: how many rows of a batch retention has removed from a table."""
    return f"aggregate(coalesce(map_values({table}_purged), array()), 0L, (sum, n) -> sum + n)"
