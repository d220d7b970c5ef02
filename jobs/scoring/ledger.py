"""The ledger: what a micro-batch found, where its source rows went, and what the tables know already."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any

from pyspark.sql import functions as F

from jobs.command.log import LOG
from jobs.source.changes import SkippedVersion
from jobs.store.checkpoints import Planned
from jobs.store.tables import append, insert_new, local_frame, read_table, upsert
from metrics.calls import with_forgotten
from schemas.batches import BATCHES, LATENESS
from schemas.config import Config, Output
from schemas.forgotten import FORGOTTEN
from schemas.quarantine import QUARANTINE
from schemas.scores import SCORES

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame, SparkSession


@dataclass(frozen=True)
class Batch:
    """What identifies a micro-batch, and what a first look at it found."""

    checkpoint_id: str
    batch_id: int
    source_version: int | None
    started_at: datetime
    dates: list[date]
    rows_read: int
    rows_unreadable: int
    rows_skipped: int
    rows_feedback: int
    feedback_dates: list[date]
    rows_expired: int
    newest: datetime | None
    lateness: dict[str, int]
    names: dict[date, set[tuple[str | None, str | None]]]
    skipped_versions: list[SkippedVersion]


def summarize_batch(
    unpacked: DataFrame,
    planned: Planned,
    batch_id: int,
    *,
    now: datetime,
    skipped: list[SkippedVersion],
) -> Batch:
    """Count a batch's rows by date and age.

    Args:
        unpacked: What ``unpack_rows`` says of the batch.
        planned: What the checkpoint says of the batch.
        batch_id: Micro-batch.
        now: When the batch was begun.
        skipped: Versions of the source that were left out before it.
    """
    age = F.lit(now.timestamp()) - F.col("request_time").cast("double")
    bucket = F.lit("older")
    for label, seconds in reversed(LATENESS):
        bucket = F.when(age <= seconds, F.lit(label)).otherwise(bucket)
    groups = (
        unpacked.withColumn("bucket", F.when(F.col("request_time").isNotNull(), bucket))
        .groupBy("request_date", "bucket")
        .agg(
            F.count("*").alias("rows"),
            F.count_if(F.col("reason").isNotNull()).alias("unreadable"),
            F.count_if("skip").alias("skipped"),
            F.count_if(F.col("skip") & ~F.col("expired")).alias("feedback"),
            F.count_if("expired").alias("expired"),
            F.max(F.when(F.col("reason").isNull(), F.col("request_time"))).cast("double").alias("newest"),
            names_in().alias("names"),
        )
        .collect()
    )
    lateness: dict[str, int] = {}
    names: dict[date, set[tuple[str | None, str | None]]] = {}
    for group in groups:
        if group["names"]:
            names.setdefault(group["request_date"], set()).update(map(tuple, group["names"]))
        if group["bucket"]:
            lateness[group["bucket"]] = lateness.get(group["bucket"], 0) + group["rows"]
    newest = max((group["newest"] for group in groups if group["newest"] is not None), default=None)
    return Batch(
        checkpoint_id=planned.checkpoint_id,
        batch_id=batch_id,
        source_version=planned.source_version,
        started_at=now,
        dates=sorted({group["request_date"] for group in groups if group["request_date"] is not None}),
        rows_read=sum(group["rows"] for group in groups),
        rows_unreadable=sum(group["unreadable"] for group in groups),
        rows_skipped=sum(group["skipped"] for group in groups),
        rows_feedback=sum(group["feedback"] for group in groups),
        feedback_dates=sorted(
            {group["request_date"] for group in groups if group["feedback"] and group["request_date"]}
        ),
        rows_expired=sum(group["expired"] for group in groups),
        newest=None if newest is None else datetime.fromtimestamp(newest, UTC),
        lateness=lateness,
        names=names,
        skipped_versions=skipped,
    )


def names_in() -> Column:
    """The names of endpoint and model of a group of unpacked rows, as far as they can be read."""
    return F.collect_set(F.when(F.col("exchanges").isNotNull(), F.struct("endpoint_name", "model_name")))


def held_in_quarantine(spark: SparkSession, config: Config) -> DataFrame:
    """Hashes of the rows in quarantine.

    They are not scored, whatever this version of the program can read, until --retry-quarantine.
    """
    return read_table(spark, QUARANTINE, config.output).select("source_row_hash")


def unknown_shapes(spark: SparkSession, config: Config, *, most: int) -> list[tuple[str, str, int]]:
    """Shapes of payloads that are not understood, the most frequent in ``quarantine`` first: reason, shape, rows."""
    unknown = read_table(spark, QUARANTINE, config.output).where("reason LIKE 'unknown_%' AND shape IS NOT NULL")
    counted = unknown.groupBy("reason", "shape").count().orderBy(F.desc("count"), "shape").limit(most)
    return [(row["reason"], row["shape"], row["count"]) for row in counted.collect()]


def without_forgotten(rows: DataFrame, forgotten: DataFrame | None) -> DataFrame:
    """The rows but for those that ``forget`` removed: reading the source again does not bring them back.

    ``is_partly_forgotten`` says of the others whether a call of their id and date was.
    """
    if forgotten is None:
        return rows.withColumn("is_partly_forgotten", F.lit(False))
    return with_forgotten(rows, forgotten).where("forgotten_key IS NULL").drop("forgotten_key")


def forgotten_ids(forgotten: DataFrame) -> DataFrame:
    """Hashes of the ids that the log has for forgotten requests, as ratings name them: ``id_hash``.

    Where calls share an id nobody knows which of them is rated.
    """
    id_hash = F.coalesce("request_id_hash", F.expr("IF(table_name = 'scores', key_hash, NULL)"))
    return forgotten.select(id_hash.alias("id_hash")).where("id_hash IS NOT NULL").distinct()


def ratings_of(rows: DataFrame, forgotten: DataFrame | None) -> DataFrame:
    """The ratings in rows with ``feedback``, one row each, but for those that ``forget`` removed, or whose request."""
    row = ["source_row_hash", "request_time", "requester", "checkpoint_id", "batch_id"]
    ratings = rows.where("feedback IS NOT NULL").dropDuplicates(["source_row_hash"])
    ratings = ratings.select(*row, F.posexplode("feedback").alias("position", "rating")).select(
        F.concat_ws("-", "source_row_hash", "position").alias("feedback_id"),
        "rating.*",
        F.col("request_time").alias("feedback_time"),
        *row[2:],
    )
    if forgotten is None:
        return ratings
    of_rating = forgotten.where("table_name = 'feedback'").select(F.col("key_hash").alias("feedback_id"))
    return (
        ratings.withColumn("id_hash", F.sha2("request_id", 256))
        .join(F.broadcast(forgotten_ids(forgotten)), "id_hash", "left_anti")
        .join(F.broadcast(of_rating), "feedback_id", "left_anti")
        .drop("id_hash")
    )


def held_of_batches(spark: SparkSession, config: Config) -> DataFrame:
    """How many source rows of each micro-batch the tables hold or forgot: ``in_scores`` and ``in_quarantine``."""
    output, ids = config.output, list(BATCHES.keys)
    forgotten = read_table(spark, FORGOTTEN, output).where("batch_id IS NOT NULL")
    scores = read_table(spark, SCORES, output).select(*ids, F.sha2("request_id", 256).alias("key_hash"), "request_date")
    scores = scores.unionByName(forgotten.where("table_name = 'scores'").select(scores.columns))
    quarantine = read_table(spark, QUARANTINE, output).select(*ids, F.col("source_row_hash").alias("key_hash"))
    quarantine = quarantine.unionByName(forgotten.where("table_name = 'quarantine'").select(quarantine.columns))
    return (
        scores.groupBy(*ids)
        .agg(F.count_distinct("request_date", "key_hash").alias("in_scores"))
        .join(quarantine.groupBy(*ids).agg(F.count_distinct("key_hash").alias("in_quarantine")), ids, "full")
    )


def record_interrupted_batches(spark: SparkSession, batch: Batch, config: Config) -> None:
    """Enter into ``batches`` what a batch of another checkpoint wrote before it was cut off.

    No run will complete it: its checkpoint was moved away. What it had not written yet, the new one reads as any row.
    """
    of_others = F.col("checkpoint_id") != batch.checkpoint_id
    if all(read_table(spark, one, config.output).where(of_others).isEmpty() for one in (SCORES, QUARANTINE)):
        return
    cut_off = held_of_batches(spark, config).where(of_others)
    cut_off = cut_off.join(read_table(spark, BATCHES, config.output), list(BATCHES.keys), "left_anti").select(
        *BATCHES.keys,
        F.expr("coalesce(in_scores, 0) + coalesce(in_quarantine, 0)").alias("rows_read"),
        F.expr("coalesce(in_scores, 0)").alias("rows_scored"),
        F.expr("coalesce(in_quarantine, 0)").alias("rows_quarantined"),
        *(F.lit(0).cast("bigint").alias(name) for name in ("rows_duplicate", "rows_skipped", "rows_expired")),
    )
    # Older than the running batch's own row: the newest one says how far the source was read.
    entered = [row.asDict() | {"finished_at": batch.started_at} for row in cut_off.collect()]
    if entered:
        LOG.warning(
            "%d batches of checkpoints that are no longer in use were cut off: entered as they are", len(entered)
        )
        insert_new(local_frame(spark, entered, BATCHES.schema), BATCHES, config.output)


class Ledger:
    """Enters batches into ``batches``, for one driver.

    Its first batch, and one after a failure, may be the replay of one that was entered: that row is replaced. Numbers
    of batches grow, so the row of a later one is new, and appended.
    """

    def __init__(self) -> None:
        self._last: int | None = None

    def is_new(self, batch_id: int) -> bool:
        """Whether a batch can't have been run before."""
        return self._last is not None and batch_id > self._last

    def enter(self, row: DataFrame, batch_id: int, output: Output) -> None:
        """Write a batch's row (``batch_row``)."""
        is_new = self.is_new(batch_id)
        self._last = None  # until it is known to be written
        (append if is_new else upsert)(row, BATCHES, output)
        self._last = batch_id


def batch_row(
    spark: SparkSession,
    batch: Batch,
    account: Mapping[str, int],
    purged: Mapping[str, Mapping[str, int] | None],
    seconds: float,
) -> DataFrame:
    """The batch's row of ``batches``."""
    finished = datetime.now(UTC)
    values: dict[str, Any] = {
        "batch_id": batch.batch_id,
        "checkpoint_id": batch.checkpoint_id,
        "source_version": batch.source_version,
        "rows_read": batch.rows_read,
        **account,
        **purged,
        "skipped_versions": [asdict(one) for one in batch.skipped_versions],
        "score_seconds": seconds,
        "lag_seconds": None if batch.newest is None else (finished - batch.newest).total_seconds(),
        "lateness": batch.lateness,
        "finished_at": finished,
    }
    return local_frame(spark, [values], BATCHES.schema)


def progress_line(batch: Batch, account: dict[str, int], seconds: float) -> str:
    """One line to read per batch."""
    lag = "unknown" if batch.newest is None else f"{(datetime.now(UTC) - batch.newest).total_seconds():,.0f} s"
    ratings = f" ({account['rows_feedback']:,} of them ratings)" if account["rows_feedback"] else ""
    return (
        f"batch {batch.batch_id}: {batch.rows_read:,} rows, {account['rows_scored']:,} scored, "
        f"{account['rows_quarantined']:,} quarantined, {account['rows_duplicate']:,} duplicates, "
        f"{account['rows_skipped']:,} skipped{ratings}; {account['failed']:,} with a scorer error; "
        f"{account['texts_scored'] / seconds:,.0f} texts/s, "
        f"{account['tokens_scored'] / seconds:,.0f} tokens/s; lag {lag}"
    )
