"""Where the rows of a micro-batch went: counted while they are written, or read back from the tables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pyspark.sql import functions as F

from jobs.command.log import LOG
from jobs.scoring.ledger import Batch, held_in_quarantine, without_forgotten
from jobs.store.tables import merge, on_dates, read_table, retried, table_values
from jobs.upkeep.retention import purged
from metrics.calls import HAS_OWN_ID, LOGGED_ID, with_stored
from schemas.batches import BATCHES
from schemas.config import Config
from schemas.errors import TableError
from schemas.forgotten import FORGOTTEN
from schemas.quarantine import QUARANTINE
from schemas.scores import SCORES

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame, SparkSession

FAILURES_NAMED = 20

CHARS_LOGGED = 80
"""Of an id, in a warning."""

IDS_WARNED_OF = 1000
"""After so many ids that calls share, no further one is named: the set would grow for ever."""


@dataclass(frozen=True)
class Written:
    """What a batch wrote, by Delta's own counts.

    Attributes:
        rows: Source rows that it scored.
        shared: Those of them under an id of their own.
        exchanges: Rows that were inserted into ``scores``.
        quarantined: Rows that were inserted into ``quarantine``.
    """

    rows: int
    shared: int
    exchanges: int
    quarantined: int


@dataclass
class Warned:
    """Of which ids a driver has warned; it does once."""

    entities: set[str] = field(default_factory=set)
    shared: set[str] = field(default_factory=set)

    def of_entities(self, unknown: Iterable[str]) -> None:
        """Settings can say what a served entity stands for."""
        for entity in sorted(set(unknown) - self.entities):
            self.entities.add(entity)
            LOG.warning("served entity %s is not in source.served_entities: its model has the id as name", entity)

    def of_shared_ids(self, scores: DataFrame) -> None:
        """Other calls have the id, too; warned of for the first thousand ids."""
        ids = scores.where(HAS_OWN_ID).select(F.expr(LOGGED_ID)).distinct().limit(FAILURES_NAMED)
        for one in sorted({printable(row[0]) for row in ids.collect()} - self.shared):
            if len(self.shared) < IDS_WARNED_OF:
                self.shared.add(one)
                LOG.warning(
                    "request id %s: other calls of the same date have it, too; each of them is kept as <id>#<hash>", one
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
        found = read_table(spark, BATCHES, config.output).where(is_of(batch)).select(*names).first()
    return {name: found[name] if found else None for name in names}


def is_of(batch: Batch) -> Column:
    """Whether a row of a table is one that the batch has written."""
    return (F.col("checkpoint_id") == batch.checkpoint_id) & (F.col("batch_id") == batch.batch_id)


def count_outcomes(
    spark: SparkSession,
    batch: Batch,
    config: Config,
    warned: Warned,
    *,
    forgotten: DataFrame | None,
    purged: Mapping[str, Mapping[str, int] | None],
    written: Written | None = None,
) -> dict[str, int]:
    """Where the batch's source rows went, and the work that it was.

    A replayed batch finds its own rows in the tables by ``checkpoint_id`` and ``batch_id`` and does not call them
    duplicates; those that were forgotten or removed by retention (``purged_of``) in between are its own, too.

    Args:
        spark: Session.
        batch: The batch.
        config: Settings.
        warned: Of which ids the log has warned.
        forgotten: Rows of the table ``forgotten``; None: there are none.
        purged: Of ``purged_of``.
        written: What a batch that was never run before has written; None: it is read back from the tables.
    """
    mine = is_of(batch)
    scores = on_dates(read_table(spark, SCORES, config.output), "request_date", batch.dates).where(mine)
    counts = _work_of(scores, warned)
    if written is not None:
        counts |= {"rows_scored": written.rows, "rows_shared_id": written.shared, "exchanges": written.exchanges}
        quarantined = written.quarantined
    else:
        counts |= _rows_of(scores)
        quarantined = read_table(spark, QUARANTINE, config.output).where(mine).count()
    if counts["rows_shared_id"]:
        warned.of_shared_ids(scores)
    if forgotten is not None:
        removed_rows = gone(forgotten.where(mine), scores).agg(*gone_counts()).collect()[0]
        counts["rows_scored"] += removed_rows["scores"]
        counts["rows_shared_id"] += removed_rows["shared"]
        quarantined += removed_rows["quarantine"]
    removed = {name: sum((purged[name] or {}).values()) for name in ("scores_purged", "quarantine_purged")}
    counts["rows_scored"] += removed["scores_purged"]
    quarantined += removed["quarantine_purged"]
    skipped = batch.rows_skipped - sum(removed.values())
    return counts | {
        "rows_quarantined": quarantined,
        "rows_duplicate": batch.rows_read - counts["rows_scored"] - quarantined - skipped,
        "rows_skipped": skipped,
        "rows_feedback": batch.rows_feedback,
        "rows_expired": batch.rows_expired - sum(removed.values()),
    }


def _work_of(scores: DataFrame, warned: Warned) -> dict[str, int]:
    """The work that rows of ``scores`` were, by one query: each row once for its prompt and once for its response."""
    failed = F.exists(F.map_values("score_errors"), lambda reason: reason.startswith("error:"))
    left_out = F.exists(F.map_values("score_errors"), lambda reason: reason.endswith("_EXCEEDED"))
    texts = scores.select(
        left_out.alias("left_out"),
        failed.alias("failed"),
        F.expr("coalesce(input_tokens, 0) + coalesce(output_tokens, 0)").alias("tokens"),
        F.when(F.col("model_version").isNull(), F.col("served_entity_id")).alias("entity"),
        F.posexplode(F.array("prompt_hash", "response_hash")).alias("place", "text"),
    )
    once = F.col("place") == 0
    totals = texts.agg(
        F.count_if(once & F.col("left_out")).alias("exchanges_not_logged"),
        F.count("text").alias("texts_scored"),
        F.count_distinct("text").alias("texts"),
        F.coalesce(F.sum(F.when(once, F.col("tokens"))), F.lit(0)).alias("tokens_scored"),
        F.count_if(once & F.col("failed")).alias("failed"),
        F.collect_set("entity").alias("entities"),
    ).collect()[0]
    warned.of_entities(totals["entities"])
    if totals["failed"]:
        _name_failures(scores.where(failed))
    names = ("exchanges_not_logged", "texts_scored", "tokens_scored", "failed")
    return {name: totals[name] for name in names} | {"texts_deduplicated": totals["texts_scored"] - totals["texts"]}


def _rows_of(scores: DataFrame) -> dict[str, int]:
    """How many source rows and exchanges rows of ``scores`` are."""
    call = F.struct("request_date", "request_id")
    totals = scores.agg(
        F.count_distinct(call).alias("rows_scored"),
        F.count_distinct(F.when(F.expr(HAS_OWN_ID), call)).alias("rows_shared_id"),
        F.count("*").alias("exchanges"),
    )
    return dict(totals.collect()[0].asDict())


def gone(forgotten: DataFrame, scores: DataFrame) -> DataFrame:
    """Source rows that ``forget`` removed; of a call that ``scores`` still has an exchange of, the row is there."""
    there = scores.select("request_date", F.sha2("request_id", 256).alias("key_hash"))
    there = there.withColumn("table_name", F.lit(SCORES.name))
    return forgotten.join(there, ["table_name", "request_date", "key_hash"], "left_anti")


def gone_counts(suffix: str = "") -> list[Column]:
    """Of rows of ``gone``: those that were scored, those of them under an id of their own, and those quarantined."""
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


def printable(text: str) -> str:
    """What may be an id, or anything, as it can be logged: in one line, and no longer than ``CHARS_LOGGED``."""
    shown = "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text[:CHARS_LOGGED])
    return shown + ("…" if len(text) > CHARS_LOGGED else "")


def recount_batches(spark: SparkSession, config: Config, leaving: DataFrame) -> None:
    """Write into ``batches`` what its batches have in the tables, as if ``leaving`` were no longer in quarantine."""
    ids, output = ["checkpoint_id", "batch_id"], config.output
    held = read_table(spark, SCORES, output)
    forgotten = gone(read_table(spark, FORGOTTEN, output), held).groupBy(*ids).agg(*gone_counts("_gone"))
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
        .join(forgotten, ids, "left")
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
    retried(lambda: merge(counts, BATCHES, output).whenMatchedUpdate(set=table_values(BATCHES)).execute())
