"""The ledger: what a micro-batch found, where its source rows went, and what the tables know already."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any

from pyspark.sql import functions as F

from jobs.command.log import LOG
from jobs.source.changes import SkippedVersion
from jobs.store.checkpoints import Planned
from jobs.store.tables import append, insert_new, local_frame, merge, on_dates, read_table, retried, upsert
from jobs.upkeep.retention import purged
from metrics.calls import HAS_OWN_ID, LOGGED_ID, with_forgotten, with_stored
from schemas.batches import BATCHES, LATENESS
from schemas.config import Config, Output
from schemas.errors import TableError
from schemas.forgotten import FORGOTTEN
from schemas.quarantine import QUARANTINE
from schemas.scores import SCORES

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame, SparkSession

FAILURES_NAMED = 20

_WARNED: set[str] = set()

CHARS_LOGGED = 80
"""Of an id, in a warning."""

IDS_WARNED_OF = 1000
"""After so many ids that calls share, no further one is named: the set would grow for ever."""

_SHARED: set[str] = set()


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


def check_all_found(rows: DataFrame, batch: Batch, config: Config, *, forgotten: DataFrame | None) -> None:
    """Every row of the batch is in a table now, but for those that are not traffic. No payload is parsed again for it.

    Raises:
        TableError: A row is in neither table.
    """
    spark, output = rows.sparkSession, config.output
    scores = on_dates(read_table(spark, SCORES, output), "request_date", batch.dates)
    left = (
        rows.select("request_date", "request_id", "source_row_hash", "content_hash")
        .transform(with_stored, scores)
        .where("stored_id IS NULL")
        .join(held_in_quarantine(spark, config), "source_row_hash", "left_anti")
        .transform(without_forgotten, forgotten)
        .count()
    )
    if left > batch.rows_skipped:
        lost = left - batch.rows_skipped
        raise TableError(f"batch {batch.batch_id}: {lost} rows are in neither scores nor quarantine")


def purged_of(spark: SparkSession, batch: Batch, config: Config) -> dict[str, dict[str, int] | None]:
    """What retention has removed of a batch's rows since it was run for the first time, by column of ``batches``."""
    names = ("scores_purged", "quarantine_purged", "feedback_purged")
    found = None
    if batch.rows_expired:  # what it has removed is too old for the batch by now
        found = read_table(spark, BATCHES, config.output).where(_is_of(batch)).select(*names).first()
    return {name: found[name] if found else None for name in names}


def _is_of(batch: Batch) -> Column:
    return (F.col("checkpoint_id") == batch.checkpoint_id) & (F.col("batch_id") == batch.batch_id)


def count_outcomes(
    spark: SparkSession,
    batch: Batch,
    config: Config,
    *,
    forgotten: DataFrame | None,
    purged: Mapping[str, Mapping[str, int] | None],
) -> dict[str, int]:
    """Where the batch's source rows went, and the work that it was, read back from the tables.

    A replayed batch finds its own rows there by ``checkpoint_id`` and ``batch_id`` and does not call them duplicates;
    those that were forgotten or removed by retention (``purged_of``) in between are its own, too.
    """
    mine = _is_of(batch)
    scores = on_dates(read_table(spark, SCORES, config.output), "request_date", batch.dates).where(mine)
    failed = F.exists(F.map_values("score_errors"), lambda reason: reason.startswith("error:"))
    left_out = F.exists(F.map_values("score_errors"), lambda reason: reason.endswith("_EXCEEDED"))
    totals = scores.agg(
        F.count_distinct("request_date", "request_id").alias("rows_scored"),
        F.count_distinct(F.when(F.expr(HAS_OWN_ID), F.struct("request_date", "request_id"))).alias("rows_shared_id"),
        F.count("*").alias("exchanges"),
        F.count_if(left_out).alias("exchanges_not_logged"),
        (F.count("prompt_hash") + F.count("response_hash")).alias("texts_scored"),
        F.expr("coalesce(sum(coalesce(input_tokens, 0) + coalesce(output_tokens, 0)), 0)").alias("tokens_scored"),
        F.count_if(failed).alias("failed"),
        F.collect_set(F.when(F.col("model_version").isNull(), F.col("served_entity_id"))).alias("unknown_entities"),
    ).first()
    distinct = scores.select(F.explode(F.array("prompt_hash", "response_hash")).alias("text")).agg(
        F.count_distinct("text")
    )
    assert totals is not None
    counts: dict[str, int] = totals.asDict()
    _warn_of_entities(counts.pop("unknown_entities"))  # type: ignore[arg-type]
    if counts["failed"]:
        _name_failures(scores.where(failed))
    if counts["rows_shared_id"]:
        _warn_of_shared_ids(scores)
    gone = {"scores": 0, "shared": 0, "quarantine": 0}
    if forgotten is not None:
        gone = _gone(forgotten.where(mine), scores).agg(*_gone_counts()).collect()[0].asDict()
    removed = {name: sum((purged[name] or {}).values()) for name in ("scores_purged", "quarantine_purged")}
    counts["rows_scored"] += gone["scores"] + removed["scores_purged"]
    counts["rows_shared_id"] += gone["shared"]
    # Also where nothing is unreadable now: a replay can meet rows that have become readable since.
    quarantined = read_table(spark, QUARANTINE, config.output).where(mine).count()
    quarantined += gone["quarantine"] + removed["quarantine_purged"]
    skipped = batch.rows_skipped - sum(removed.values())
    return counts | {
        "rows_quarantined": quarantined,
        "rows_duplicate": batch.rows_read - counts["rows_scored"] - quarantined - skipped,
        "rows_skipped": skipped,
        "rows_feedback": batch.rows_feedback,
        "rows_expired": batch.rows_expired - sum(removed.values()),
        "texts_deduplicated": counts["texts_scored"] - distinct.collect()[0][0],
    }


def _gone(forgotten: DataFrame, scores: DataFrame) -> DataFrame:
    """Source rows that ``forget`` removed; of a call that ``scores`` still has an exchange of, the row is there."""
    there = scores.select("request_date", F.sha2("request_id", 256).alias("key_hash"))
    there = there.withColumn("table_name", F.lit(SCORES.name))
    return forgotten.join(there, ["table_name", "request_date", "key_hash"], "left_anti")


def _gone_counts(suffix: str = "") -> list[Column]:
    """Of rows of ``_gone``: those that were scored, those of them under an id of their own, and those quarantined."""
    was_scored = F.col("table_name") == SCORES.name
    counts = {
        "scores": was_scored,
        "shared": was_scored & (F.col("key_hash") != F.col("request_id_hash")),
        "quarantine": F.col("table_name") == QUARANTINE.name,
    }
    return [F.count_if(which).alias(f"{name}{suffix}") for name, which in counts.items()]


def _name_failures(failed: DataFrame) -> None:
    """Log which requests a scorer failed on, and with what type of error; never a text."""
    for row in failed.select("request_id", "score_errors").limit(FAILURES_NAMED).collect():
        errors = {column: reason for column, reason in row["score_errors"].items() if reason.startswith("error:")}
        LOG.warning("request %r could not be scored: %s", row["request_id"], errors)


def _warn_of_entities(unknown: Iterable[str]) -> None:
    """Once per id and process: settings can say what it stands for."""
    for entity in sorted(set(unknown) - _WARNED):
        _WARNED.add(entity)
        LOG.warning("served entity %s is not in source.served_entities: its model has the id as name", entity)


def _warn_of_shared_ids(scores: DataFrame) -> None:
    """Once per id and process, for the first thousand ids, that other calls have it, too."""
    ids = scores.where(HAS_OWN_ID).select(F.expr(LOGGED_ID)).distinct().limit(FAILURES_NAMED)
    for one in sorted({printable(row[0]) for row in ids.collect()} - _SHARED):
        if len(_SHARED) < IDS_WARNED_OF:
            _SHARED.add(one)
            LOG.warning(
                "request id %s: other calls of the same date have it, too; each of them is kept as <id>#<hash>", one
            )


def printable(text: str) -> str:
    """What may be an id, or anything, as it can be logged: in one line, and no longer than ``CHARS_LOGGED``."""
    shown = "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text[:CHARS_LOGGED])
    return shown + ("…" if len(text) > CHARS_LOGGED else "")


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

    def enter(self, row: DataFrame, batch_id: int, output: Output) -> None:
        """Write a batch's row (``batch_row``)."""
        is_new = self._last is not None and batch_id > self._last
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


def recount_batches(spark: SparkSession, config: Config, leaving: DataFrame) -> None:
    """Write into ``batches`` what its batches have in the tables, as if ``leaving`` were no longer in quarantine."""
    ids, output = ["checkpoint_id", "batch_id"], config.output
    held = read_table(spark, SCORES, output)
    gone = _gone(read_table(spark, FORGOTTEN, output), held).groupBy(*ids).agg(*_gone_counts("_gone"))
    call = F.struct("request_date", "request_id")
    scores = held.groupBy(*ids).agg(
        F.count_distinct(call).alias("scored"),
        F.count_distinct(F.when(F.expr(HAS_OWN_ID), call)).alias("shared"),
        F.count("*").alias("exchanges"),
    )
    quarantined = read_table(spark, QUARANTINE, output).join(leaving, [*ids, "source_row_hash"], "left_anti")
    quarantined = quarantined.groupBy(*ids).agg(F.count("*").alias("quarantined"))
    anew = ("rows_scored", "rows_shared_id", "rows_quarantined", "rows_duplicate", "exchanges")
    batches = read_table(spark, BATCHES, output).drop(*anew)
    counted = (
        batches.join(leaving.select(*ids).distinct(), ids, "left_semi")
        .join(scores, ids, "left")
        .join(quarantined, ids, "left")
        .join(gone, ids, "left")
        .withColumns(
            {
                "rows_scored": F.expr(f"coalesce(scored, 0) + coalesce(scores_gone, 0) + {purged('scores')}"),
                "rows_shared_id": F.expr("coalesce(shared, 0) + coalesce(shared_gone, 0)"),
                "rows_quarantined": F.expr(
                    f"coalesce(quarantined, 0) + coalesce(quarantine_gone, 0) + {purged('quarantine')}"
                ),
                "exchanges": F.coalesce("exchanges", F.lit(0)),
            }
        )
        .withColumn("rows_duplicate", F.expr("rows_read - rows_scored - rows_quarantined - rows_skipped"))
    )
    counts = counted.select(BATCHES.column_names)
    retried(lambda: merge(counts, BATCHES, output).whenMatchedUpdateAll().execute())
