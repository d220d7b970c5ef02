"""Score responses: inference table → scores, quarantine, batches.

inference-metrics score-responses --config conf/local.yaml
spark-submit --py-files metrics.whl jobs/score_responses.py --config conf/local.yaml
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any

from pyspark.errors import AnalysisException
from pyspark.sql import Window
from pyspark.sql import functions as F

from jobs.runtime import LOG, fail_point, partitions, read_checkpoint, stream, streaming_main
from jobs.tables import common_rows, create_table, insert_new, merge, on_dates, read_table, source_identifier
from metrics.redact import stored_text
from metrics.score.exchanges import Scorers, ScorerSettings, load_scorers
from metrics.score.udf import with_scores
from metrics.unpack.dialects import detect_dialect
from metrics.unpack.payloads import explode_exchanges, unpack_payload
from schemas.batches import BATCHES
from schemas.config import TEXT_KEY_VARIABLE, Config
from schemas.errors import SourceError, TableError
from schemas.quarantine import QUARANTINE
from schemas.scores import SCORES

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

HOP = "score_responses"
LATENESS = (("5 minutes", 300), ("1 hour", 3600), ("6 hours", 21600), ("1 day", 86400), ("7 days", 604800))
"""Upper bounds of the lateness histogram, in seconds; anything older counts as ``older``."""

_WARNED: set[str] = set()


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
    newest: datetime | None
    lateness: dict[str, int]


def start(spark: SparkSession, config: Config, *, trigger: str) -> Any:
    """Start the score query.

    Raises:
        SourceError: The inference table is missing or of no known dialect.
        ModelError: A scoring model can't be loaded.
    """
    source = open_source(spark, config)
    dialect = detect_dialect(source.columns, dialect=config.source.dialect)
    common_rows(source, config)  # what can't be read is said before anything is written
    settings = scorer_settings(config)
    scorers = load_scorers(settings)
    if not config.text.secret():
        LOG.warning("text hashes have no key: anyone can test guesses on them. Set %s or text.key.", TEXT_KEY_VARIABLE)
    for table in (SCORES, QUARANTINE, BATCHES):
        create_table(spark, table, config.output)
    LOG.info("scoring %s (%s)", source_identifier(config.source), dialect)
    checkpoint = config.checkpoint(HOP)

    def score(df: DataFrame, batch_id: int) -> None:
        score_batch(df, batch_id, config, scorers=scorers, settings=settings, checkpoint=checkpoint)

    return stream(source, score, name=HOP, checkpoint=checkpoint, trigger=trigger)


def open_source(spark: SparkSession, config: Config) -> DataFrame:
    """The inference table as a stream.

    Raises:
        SourceError: It can't be opened.
    """
    source = config.source
    reader = spark.readStream.format("delta")
    options = {
        "maxFilesPerTrigger": source.max_files_per_trigger,
        "maxBytesPerTrigger": source.max_bytes_per_trigger,
        "startingVersion": source.starting_version,
        "startingTimestamp": source.starting_timestamp,
    }
    for key, value in options.items():
        if value is not None:
            reader = reader.option(key, str(value))
    try:
        return reader.load(source.path) if source.path else reader.table(source_identifier(source))
    except AnalysisException as error:
        raise SourceError(
            f"{source_identifier(source)} can't be read as a Delta table ({error.getCondition()}). "
            "Check source.path or source.table, and that this user may read it."
        ) from error


def scorer_settings(config: Config) -> ScorerSettings:
    """The part of the configuration that decides which scorers a worker loads."""
    scoring = config.scoring
    return ScorerSettings(
        perplexity_model=scoring.perplexity.model,
        toxicity_model=scoring.toxicity.model,
        toxicity_label=scoring.toxicity.label,
        tokenizer=scoring.tokenizer,
        device=scoring.device,
        tracking_uri=config.mlflow.tracking_uri,
    )


def score_batch(
    df: DataFrame,
    batch_id: int,
    config: Config,
    *,
    scorers: Scorers,
    settings: ScorerSettings,
    checkpoint: str,
) -> None:
    """Everything that happens to one micro-batch; safe to repeat at any point."""
    started = time.monotonic()
    spark, output = df.sparkSession, config.output
    unpacked = common_rows(df, config).transform(unpack_payload)
    batch = _first_look(unpacked, read_checkpoint(spark, checkpoint, batch_id), batch_id)

    known = on_dates(read_table(spark, SCORES, output), "request_date", batch.dates)
    new = unpacked.transform(_first_of_each_request).join(known, ["request_date", "request_id"], "left_anti")
    scored = (
        explode_exchanges(new)
        .withColumn("count_tokens", _needs_counting())
        .repartition(partitions(spark))
        .transform(with_scores, settings, key=config.text.secret())
        .transform(_score_rows, batch, store=config.text.store, fingerprints=dict(scorers.fingerprints))
    )
    insert_new(scored, SCORES, output, dates=batch.dates)
    seconds = time.monotonic() - started
    fail_point("after_scores")
    if batch.rows_unreadable:
        insert_new(unpacked.transform(_quarantine_rows, batch, store=config.text.store), QUARANTINE, output)
    fail_point("after_quarantine")
    account = _account(unpacked, batch, config) | _work(spark, batch, config)
    row = _batch_row(spark, batch, account, seconds)
    merge(row, BATCHES, output).whenMatchedUpdateAll().whenNotMatchedInsertAll().execute()
    fail_point("after_batches")
    LOG.info(progress_line(batch, account, seconds))


def _first_look(unpacked: DataFrame, checkpoint: tuple[str, int | None], batch_id: int) -> Batch:
    now = datetime.now(UTC)
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
            F.max("request_time").cast("double").alias("newest"),
        )
        .collect()
    )
    lateness: dict[str, int] = {}
    for group in groups:
        if group["bucket"]:
            lateness[group["bucket"]] = lateness.get(group["bucket"], 0) + group["rows"]
    newest = max((group["newest"] for group in groups if group["newest"] is not None), default=None)
    return Batch(
        checkpoint_id=checkpoint[0],
        batch_id=batch_id,
        source_version=checkpoint[1],
        started_at=now,
        dates=sorted({group["request_date"] for group in groups if group["request_date"] is not None}),
        rows_read=sum(group["rows"] for group in groups),
        rows_unreadable=sum(group["unreadable"] for group in groups),
        newest=None if newest is None else datetime.fromtimestamp(newest, UTC),
        lateness=lateness,
    )


def _first_of_each_request(unpacked: DataFrame) -> DataFrame:
    """One row per request among those that have exchanges; which one does not depend on their order."""
    order = Window.partitionBy("request_date", "request_id").orderBy("request_time", "source_row_hash")
    return (
        unpacked.where(F.col("exchanges").isNotNull())
        .withColumn("copy", F.row_number().over(order))
        .where("copy = 1")
        .drop("copy")
    )


def _needs_counting() -> Any:
    """Whether the log's usage leaves a token count open."""
    output_open = F.col("response").isNotNull() & F.col("usage_output_tokens").isNull()
    return F.col("usage_input_tokens").isNull() | output_open


def _score_rows(scored: DataFrame, batch: Batch, *, store: str, fingerprints: dict[str, str]) -> DataFrame:
    """The columns of ``scores``."""
    tokens = F.coalesce("usage_input_tokens", "scored.counted_input_tokens")
    output_tokens = F.coalesce("usage_output_tokens", "scored.counted_output_tokens")
    from_log = F.col("usage_input_tokens").isNotNull() | F.col("usage_output_tokens").isNotNull()
    counted = (F.col("usage_input_tokens").isNull() & tokens.isNotNull()) | (
        F.col("usage_output_tokens").isNull() & output_tokens.isNotNull()
    )
    own = {
        "prompt": stored_text(F.col("prompt"), store=store),
        "response": stored_text(F.col("response"), store=store),
        "language": F.lit(None).cast("string"),
        "slices": F.expr("CAST(map() AS map<string,string>)"),
        "input_tokens": tokens,
        "output_tokens": output_tokens,
        "token_source": F.when(from_log & counted, "usage+tokenizer")
        .when(from_log, "usage")
        .when(counted, "tokenizer"),
        "cost": F.lit(None).cast("double"),
        "currency": F.lit(None).cast("string"),
        "scorers": F.create_map(*(F.lit(text) for pair in sorted(fingerprints.items()) for text in pair)),
        "scored_at": F.lit(batch.started_at),
        "checkpoint_id": F.lit(batch.checkpoint_id),
        "batch_id": F.lit(batch.batch_id).cast("bigint"),
    }
    from_scorers = set(scored.schema["scored"].dataType.names)  # type: ignore[attr-defined]
    return scored.select(
        *(
            own[name].alias(name)
            if name in own
            else F.col(f"scored.{name}").alias(name)
            if name in from_scorers
            else F.col(name)
            for name in SCORES.column_names
        )
    )


def _quarantine_rows(unpacked: DataFrame, batch: Batch, *, store: str) -> DataFrame:
    """The columns of ``quarantine``."""
    return (
        unpacked.where(F.col("reason").isNotNull())
        .dropDuplicates(["source_row_hash"])
        .select(
            "source_row_hash",
            "request_id",
            "request_time",
            "reason",
            "detail",
            stored_text(F.col("request"), store=store).alias("request"),
            stored_text(F.col("response"), store=store).alias("response"),
            F.char_length("request").alias("request_chars"),
            F.char_length("response").alias("response_chars"),
            F.sha2("request", 256).alias("request_hash"),
            F.sha2("response", 256).alias("response_hash"),
            F.lit(batch.started_at).alias("quarantined_at"),
            F.lit(batch.checkpoint_id).alias("checkpoint_id"),
            F.lit(batch.batch_id).cast("bigint").alias("batch_id"),
        )
    )


def _account(unpacked: DataFrame, batch: Batch, config: Config) -> dict[str, int]:
    """Where each source row of the batch is now, read back from the tables.

    A replayed batch finds its own rows there by ``checkpoint_id`` and ``batch_id`` and does not call them duplicates.

    Raises:
        TableError: A row is in neither table.
    """
    spark, output = unpacked.sparkSession, config.output
    mine = (F.col("checkpoint_id") == batch.checkpoint_id) & (F.col("batch_id") == batch.batch_id)
    scores = on_dates(read_table(spark, SCORES, output), "request_date", batch.dates)
    readable = unpacked.where(F.col("exchanges").isNotNull())
    scored, found, lost = _found(readable, scores.withColumn("mine", mine), ["request_date", "request_id"])
    quarantined = found_bad = lost_bad = 0
    if batch.rows_unreadable:
        quarantine = read_table(spark, QUARANTINE, output).withColumn("mine", mine)
        bad = unpacked.where(F.col("reason").isNotNull())
        quarantined, found_bad, lost_bad = _found(bad, quarantine, ["source_row_hash"])
    if lost or lost_bad:
        raise TableError(f"batch {batch.batch_id}: {lost + lost_bad} rows are in neither scores nor quarantine")
    return {
        "rows_scored": scored,
        "rows_quarantined": quarantined,
        "rows_duplicate": found - scored + found_bad - quarantined,
        "rows_skipped": batch.rows_read - found - found_bad,
    }


def _found(rows: DataFrame, table: DataFrame, keys: list[str]) -> tuple[int, int, int]:
    """Of the rows: keys that this batch wrote to the table, rows whose key the table has, rows whose key it lacks."""
    written = table.groupBy(*keys).agg(F.max("mine").alias("mine"))
    totals = (
        rows.groupBy(*keys)
        .count()
        .join(written, keys, "left")
        .agg(
            F.count_if(F.col("mine")).alias("mine"),
            F.sum(F.when(F.col("mine").isNotNull(), F.col("count"))).alias("found"),
            F.sum(F.when(F.col("mine").isNull(), F.col("count"))).alias("lost"),
        )
        .first()
    )
    assert totals is not None
    return totals["mine"], totals["found"] or 0, totals["lost"] or 0


def _work(spark: SparkSession, batch: Batch, config: Config) -> dict[str, int]:
    """Exchanges, texts and tokens that the batch put into ``scores``, and exchanges that a scorer failed on."""
    mine = (F.col("checkpoint_id") == batch.checkpoint_id) & (F.col("batch_id") == batch.batch_id)
    scores = on_dates(read_table(spark, SCORES, config.output), "request_date", batch.dates).where(mine)
    failed = F.exists(F.map_values("score_errors"), lambda reason: reason.startswith("error:"))
    totals = scores.agg(
        F.count("*").alias("exchanges"),
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
    return counts | {"texts_deduplicated": counts["texts_scored"] - distinct.collect()[0][0]}


def _warn_of_entities(unknown: Iterable[str]) -> None:
    """Once per id and process: settings can say what it stands for."""
    for entity in sorted(set(unknown) - _WARNED):
        _WARNED.add(entity)
        LOG.warning("served entity %s is not in source.served_entities: its model has the id as name", entity)


def _batch_row(spark: SparkSession, batch: Batch, account: dict[str, int], seconds: float) -> DataFrame:
    finished = datetime.now(UTC)
    values: dict[str, Any] = {
        "batch_id": batch.batch_id,
        "checkpoint_id": batch.checkpoint_id,
        "source_version": batch.source_version,
        "rows_read": batch.rows_read,
        **account,
        "score_seconds": seconds,
        "lag_seconds": None if batch.newest is None else (finished - batch.newest).total_seconds(),
        "lateness": batch.lateness,
        "finished_at": finished,
    }
    return spark.createDataFrame([tuple(values[name] for name in BATCHES.column_names)], BATCHES.schema)


def progress_line(batch: Batch, account: dict[str, int], seconds: float) -> str:
    """One line to read per batch."""
    lag = "unknown" if batch.newest is None else f"{(datetime.now(UTC) - batch.newest).total_seconds():,.0f} s"
    return (
        f"batch {batch.batch_id}: {batch.rows_read:,} rows, {account['rows_scored']:,} scored, "
        f"{account['rows_quarantined']:,} quarantined, {account['rows_duplicate']:,} duplicates, "
        f"{account['rows_skipped']:,} skipped; {account['failed']:,} with a scorer error; "
        f"{account['texts_scored'] / seconds:,.0f} texts/s, "
        f"{account['tokens_scored'] / seconds:,.0f} tokens/s; lag {lag}"
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    return streaming_main("score-responses", __doc__ or "", start, argv)


if __name__ == "__main__":
    sys.exit(main())
