"""What became of each row of the source, decided from the tables alone."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from pyspark.sql import Window
from pyspark.sql import functions as F

from jobs.scoring.ledger import forgotten_ids
from jobs.source.inference_table import common_rows, first_version, read_source
from jobs.store.tables import read_table
from metrics.calls import with_forgotten, with_stored
from metrics.unpack.rows import unpack_rows
from schemas.config import Config
from schemas.errors import SourceError
from schemas.feedback import FEEDBACK
from schemas.forgotten import FORGOTTEN
from schemas.quarantine import QUARANTINE
from schemas.scores import SCORES

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

UNRATED = "unrated"
"""Fate of feedback whose ratings are not all in the table: missing, unless older batches may have skipped it."""

FATES = ("scored", "quarantined", "duplicate", "skipped", "forgotten")


def with_fates(spark: SparkSession, config: Config, version: int) -> DataFrame:
    """Rows of a version of the source with their ``fate``, which the tables alone decide."""
    output = config.output
    key = ["request_date", "request_id"]
    scores = read_table(spark, SCORES, output)
    exchanges = scores.groupBy("request_date", F.col("request_id").alias("stored_id")).agg(
        F.count("*").alias("in_scores")
    )
    quarantine = read_table(spark, QUARANTINE, output).select("source_row_hash", F.lit(True).alias("in_quarantine"))
    source = common_rows(read_source(spark, config, version=version), config)
    first = first_version(spark, config)
    if first:
        try:
            before = common_rows(read_source(spark, config, version=first - 1), config).select("source_row_hash")
            source = source.join(before, "source_row_hash", "left_anti")
        except SourceError:
            pass  # that version's files are gone; its rows are reported as missing
    now = datetime.now(UTC)
    too_old = config.retention.horizon("scores", now.date())
    of_ids = forgotten_ids(read_table(spark, FORGOTTEN, output))
    gone = F.broadcast(of_ids.agg(F.collect_set("id_hash").alias("gone")))
    unpacked = unpack_rows(source, config, now=now).crossJoin(gone)
    unpacked = unpacked.select(
        *key,
        (F.lit(False) if too_old is None else F.col("request_date") < F.lit(too_old)).alias("too_old"),
        "source_row_hash",
        "content_hash",
        F.array_size("exchanges").alias("exchanges"),
        F.col("feedback").isNotNull().alias("is_feedback"),
        F.expr(RATINGS).alias("ratings"),
    )
    found = (
        with_forgotten(with_stored(unpacked, scores), read_table(spark, FORGOTTEN, output))
        .join(exchanges, ["request_date", "stored_id"], "left")
        .join(_ratings_held(spark, config), "source_row_hash", "left")
        .join(quarantine, "source_row_hash", "left")
        .withColumn("unrated", F.expr("size(array_except(ratings, coalesce(held, array()))) > 0"))
        .withColumn(
            "place",
            F.when(F.col("in_quarantine"), "quarantined")
            .when(F.expr("is_feedback AND unrated AND forgotten_key IS NULL AND NOT coalesce(too_old, false)"), UNRATED)
            .when(F.col("is_feedback"), "skipped")
            .when(F.col("stored_id").isNotNull(), "scored")
            .when(F.col("forgotten_key").isNotNull(), "forgotten")
            .when(F.col("too_old"), "skipped")
            .otherwise("missing"),
        )
        .withColumn(
            "same",
            F.when(F.col("place") == "quarantined", F.col("source_row_hash")).otherwise(
                F.coalesce("stored_id", "forgotten_key")
            ),
        )
    )
    copies = Window.partitionBy("place", "same", "request_date")
    return found.withColumns(
        {
            "copy": F.row_number().over(copies.orderBy("source_row_hash")),
            "exchanges": F.min("exchanges").over(copies),
        }
    ).withColumn(
        "fate",
        F.when((F.col("copy") > 1) & F.col("place").isin("scored", "quarantined", "forgotten"), "duplicate").otherwise(
            F.col("place")
        ),
    )


RATINGS = """transform(
    filter(
        transform(
            feedback, (one, at) -> struct(concat_ws('-', source_row_hash, at) AS id, sha2(one.request_id, 256) AS of)
        ),
        one -> NOT coalesce(array_contains(gone, one.of), false)
    ),
    one -> one.id
)"""
"""SQL: the ids of a row's ratings, but for those of requests that were forgotten."""


def _ratings_held(spark: SparkSession, config: Config) -> DataFrame:
    """The ids of ratings that are in the table or were forgotten, by their source row."""
    forgotten = read_table(spark, FORGOTTEN, config.output).where("table_name = 'feedback'")
    ids = read_table(spark, FEEDBACK, config.output).select("feedback_id")
    ids = ids.union(forgotten.select("key_hash"))
    row = F.substring_index("feedback_id", "-", 1).alias("source_row_hash")
    return ids.groupBy(row).agg(F.collect_set("feedback_id").alias("held"))
