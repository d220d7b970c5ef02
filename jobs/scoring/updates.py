"""Updated rows of the inference table (``source.on_source_change: cdf``): what was scored of them is replaced.

The answer to a request may come later than its row. The change feed has such a row as it was and as it is; where
``scores`` has the call as it was, it is scored anew and takes that call's place, under the batch that had met it first.
A call that can't be read any more goes to quarantine, and what was scored of it stays. A row without an id gets one
from its payloads, so that with them it has another id: to the monitor it is a new row.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from typing import TYPE_CHECKING

from pyspark.sql import Window
from pyspark.sql import functions as F

from jobs.scoring.ledger import Batch
from jobs.store.tables import insert_new, kept, merge, on_dates, read_table, retried
from metrics.calls import CALL_ID, IS_REVERTED, LOGGED_ID, with_forgotten, with_stored
from metrics.updates import BEFORE, CONTENTS, contents_of_id
from schemas.forgotten import FORGOTTEN
from schemas.scores import SCORES

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

    from schemas.config import Config, Output

CALL = ["request_date", "request_id", "content_hash"]


def without_preimages(read: DataFrame) -> DataFrame:
    """The rows of a batch, without those of a change feed that say what a row was before."""
    if "_change_type" not in read.columns:
        return read
    return read.where(F.col("_change_type") != BEFORE).drop("_change_type", "_commit_version")


@contextmanager
def updates_in(
    read: DataFrame, config: Config, *, in_quarantine: DataFrame, forgotten: DataFrame | None
) -> Iterator[DataFrame | None]:
    """The contents of the ids that a batch updates, kept while it lasts; None: it updates none.

    ``earlier_hashes`` are the contents that a call had before. ``is_replaced``: a later update of the batch, or what
    ``forget`` has removed, makes it none that is scored.

    Args:
        read: Unpacked rows of the batch, with preimages.
        config: Settings.
        in_quarantine: Hashes of the rows in quarantine.
        forgotten: Rows of ``forgotten``; None: there are none.
    """
    if "_change_type" not in read.columns or read.where(F.col("_change_type") == BEFORE).isEmpty():
        yield None
        return
    names = [*CALL, "request_time", "source_row_hash", "_change_type", "_commit_version"]
    rows = (
        read.select(*names, F.expr("exchanges IS NOT NULL").alias("is_readable"))
        .join(in_quarantine.withColumn("is_held", F.lit(True)), "source_row_hash", "left")
        .withColumn("is_readable", F.expr("is_readable AND is_held IS NULL"))
        .drop("is_held")
    )
    updated = rows.where(F.col("_change_type") == BEFORE).select("request_date", "request_id").distinct()
    contents = (
        rows.join(updated, ["request_date", "request_id"], "left_semi")
        .groupBy("request_date", "request_id")
        .applyInArrow(contents_of_id, CONTENTS)
    )
    with kept(contents) as found:
        if forgotten is None:
            yield found
            return
        left = F.explode("earlier_hashes").alias("content_hash")
        gone = found.select("request_date", "request_id", F.col("content_hash").alias("now"), left)
        gone = gone.withColumn("source_row_hash", F.lit(None).cast("string")).transform(with_forgotten, forgotten)
        gone = gone.where("forgotten_key IS NOT NULL").select(*CALL[:2], F.col("now").alias("content_hash")).distinct()
        with kept(gone.withColumn("is_gone", F.lit(True))) as of_gone:
            _forget(of_gone, config.output)
            is_replaced = F.expr("is_replaced OR coalesce(is_gone, false)")
            yield found.join(of_gone, CALL, "left").withColumn("is_replaced", is_replaced).drop("is_gone")


def _forget(calls: DataFrame, output: Output) -> None:
    """An updated row of a call that was forgotten is forgotten, too."""
    hashes = {"key_hash": F.sha2(F.expr(CALL_ID), 256), "request_id_hash": F.sha2("request_id", 256)}
    own = {"table_name": F.lit("scores"), "content_hashes": F.array("content_hash"), "forgotten_at": F.now()}
    columns = {column.name: F.lit(None).cast(column.type) for column in FORGOTTEN.columns}
    columns |= {"request_date": F.col("request_date"), **hashes, **own}
    if not calls.isEmpty():
        insert_new(calls.select(*(column.alias(name) for name, column in columns.items())), FORGOTTEN, output)


def without_replaced(rows: DataFrame, updates: DataFrame | None) -> DataFrame:
    """The rows, without those that a later update of the batch replaces; with ``earlier_hashes``."""
    if updates is None:
        return rows.withColumn("earlier_hashes", F.lit(None).cast("array<string>"))
    return rows.join(updates, CALL, "left").where("NOT coalesce(is_replaced, false)").drop("is_replaced")


def with_replaced(new: DataFrame, updates: DataFrame, scores: DataFrame) -> DataFrame:
    """Which call of ``scores`` each updated call takes the place of.

    Args:
        new: Calls that ``scores`` does not have, as ``with_stored`` gives them.
        updates: Of ``updates_in``.
        scores: Rows of ``scores`` on their dates.

    Returns:
        The calls with ``replaces`` (the stored id; NULL: the call is a new one) and ``exchanges_before``, and with that
        call's ``checkpoint_id`` and ``batch_id``.
    """
    before = updates.where("earlier_hashes IS NOT NULL AND NOT is_replaced").transform(with_stored, scores)
    before = before.where(f"stored_id IS NULL OR {IS_REVERTED}").select(
        *CALL[:2], F.col("content_hash").alias("now"), F.posexplode("earlier_hashes").alias("place", "content_hash")
    )
    names = ("checkpoint_id", "batch_id", "earlier_hashes")
    held = (
        scores.withColumns({"stored_id": F.col("request_id"), "request_id": F.expr(LOGGED_ID)})
        .groupBy(*CALL, "stored_id")
        .agg(F.max("exchange_index").alias("last_exchange"), *(F.first(name).alias(name) for name in names))
    )
    # Of the contents that a call had, the oldest one; of two calls that were one, the first.
    stored = F.min(F.struct("place", "stored_id", "last_exchange", *names)).alias("stored")
    order = Window.partitionBy("request_date", "stored.stored_id").orderBy("now")
    found = (
        before.join(held, CALL)
        .groupBy("request_date", "request_id", "now")
        .agg(stored)
        .withColumn("claim", F.row_number().over(order))
        .where("claim = 1")
        .select(*CALL[:2], F.col("now").alias("content_hash"), "stored")
    )
    earlier = "array_distinct(concat(coalesce(stored.earlier_hashes, array()), earlier_hashes))"
    return (
        new.join(found, CALL, "left")
        .withColumns(
            {
                "replaces": F.col("stored.stored_id"),
                "exchanges_before": F.col("stored.last_exchange") + 1,
                "earlier_hashes": F.expr(
                    f"IF(stored IS NULL, earlier_hashes, array_except({earlier}, array(content_hash)))"
                ),
                **{name: F.coalesce(f"stored.{name}", name) for name in names[:2]},
            }
        )
        .drop("stored")
    )


def write_replacing(rows: DataFrame, calls: DataFrame, output: Output, *, dates: list[date]) -> None:
    """One MERGE: new calls are inserted, replaced ones updated; an exchange that a call has no more is deleted.

    Args:
        rows: Rows of ``scores`` with ``replaces``.
        calls: Their calls, of ``with_replaced``.
        output: Where the table is.
        dates: Their dates.
    """
    renamed = {"new_id": F.col("request_id"), "request_id": F.coalesce("replaces", "request_id")}
    surplus = calls.where("exchanges_before > size(exchanges)").select(
        "request_date",
        F.col("replaces").alias("request_id"),
        F.expr("explode(sequence(size(exchanges), exchanges_before - 1))").alias("exchange_index"),
        F.lit(True).alias("is_gone"),
    )
    values = {name: F.col(f"s.{name}") for name in SCORES.column_names} | {"request_id": F.col("s.new_id")}
    with kept(
        rows.withColumns(renamed | {"is_gone": F.lit(False)}).unionByName(surplus, allowMissingColumns=True)
    ) as changes:

        def write() -> None:
            (
                merge(changes, SCORES, output, dates=dates)
                .whenMatchedDelete("s.is_gone")
                .whenMatchedUpdate("s.replaces IS NOT NULL", values)
                .whenNotMatchedInsert("NOT s.is_gone", values)
                .execute()
            )

        retried(write)


def rows_replaced(updates: DataFrame | None, batch: Batch, config: Config) -> int:
    """How many updated rows of a batch have taken the place of rows that other batches had met first.

    Args:
        updates: Of ``updates_in``.
        batch: The batch.
        config: Settings.
    """
    if updates is None:
        return 0
    scores = on_dates(read_table(updates.sparkSession, SCORES, config.output), "request_date", batch.dates)
    is_own = (F.col("checkpoint_id") == batch.checkpoint_id) & (F.col("batch_id") == batch.batch_id)
    scores = scores.where(~is_own)
    calls = updates.where("earlier_hashes IS NOT NULL AND NOT is_replaced").withColumnRenamed("earlier_hashes", "had")
    held = scores.withColumn("request_id", F.expr(LOGGED_ID)).select(*CALL, "earlier_hashes")
    return calls.join(held, CALL).where("arrays_overlap(had, earlier_hashes)").select(*CALL).distinct().count()
