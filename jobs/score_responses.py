"""Score responses: inference table → scores, quarantine, batches.

    inference-metrics score-responses --config conf/local.yaml
    spark-submit --py-files metrics.whl jobs/score_responses.py --config conf/local.yaml

--new-checkpoint reads the source again from its beginning (or from source.starting_version): what is scored stays, and
nothing is scored twice. --retry-quarantine takes the rows of quarantine from the source once more, for when this
program has learned to read more, and ends.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

from pyspark.sql import Window
from pyspark.sql import functions as F

from jobs.backlog import Backlog
from jobs.runtime import (
    LOG,
    OK,
    add_trigger,
    fail_point,
    parser,
    partitions,
    read_config,
    run,
    spark_session,
    stream,
)
from jobs.source import (
    SkippedVersion,
    SourceQuery,
    begun_version,
    checkpoint_in_use,
    common_rows,
    first_version,
    read_checkpoint,
    read_source,
    skipped_versions,
    source_identifier,
    stream_source,
)
from jobs.tables import create_table, insert_new, merge, on_dates, read_table
from metrics.redact import stored_text
from metrics.score.exchanges import Scorers, ScorerSettings, load_scorers
from metrics.score.udf import with_hashes, with_scores
from metrics.unpack.dialects import detect_dialect
from metrics.unpack.payloads import explode_exchanges, unpack_payload
from schemas.batches import BATCHES
from schemas.config import TEXT_KEY_VARIABLE, Config
from schemas.errors import TableError
from schemas.forgotten import FORGOTTEN
from schemas.quarantine import QUARANTINE
from schemas.scores import SCORES

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

HOP = "score_responses"
LATENESS = (("5 minutes", 300), ("1 hour", 3600), ("6 hours", 21600), ("1 day", 86400), ("7 days", 604800))
"""Upper bounds of the lateness histogram, in seconds; anything older counts as ``older``."""

FUTURE = timedelta(hours=1)
"""A request later than this after its row was read has a wrong clock or a wrong unit."""

FAILURES_NAMED = 20

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
    rows_skipped: int
    newest: datetime | None
    lateness: dict[str, int]
    skipped_versions: list[SkippedVersion]


def start(spark: SparkSession, config: Config, *, trigger: str, new_checkpoint: bool = False) -> SourceQuery:
    """Start the score query.

    Raises:
        SourceError: The inference table is missing or of no known dialect.
        ModelError: A scoring model can't be loaded.
    """
    source = stream_source(spark, config)
    dialect = detect_dialect(source.columns, dialect=config.source.dialect)
    common_rows(source, config)  # what can't be read is said before anything is written
    settings = scorer_settings(config)
    scorers = load_scorers(settings)
    _say_if_hashes_have_no_key(config)
    create_tables(spark, config)
    checkpoint = checkpoint_in_use(spark, config.checkpoint(HOP), new=new_checkpoint)
    LOG.info("scoring %s (%s), checkpoint %s", source_identifier(config.source), dialect, checkpoint)
    backlog = Backlog()

    def score(df: DataFrame, batch_id: int) -> None:
        score_batch(df, batch_id, config, scorers=scorers, settings=settings, checkpoint=checkpoint, backlog=backlog)

    def begin() -> Any:
        return stream(stream_source(spark, config), score, name=HOP, checkpoint=checkpoint, trigger=trigger)

    return SourceQuery(begin, config)


def create_tables(spark: SparkSession, config: Config) -> None:
    """The tables that scoring writes or looks into."""
    for table in (SCORES, QUARANTINE, BATCHES, FORGOTTEN):
        create_table(spark, table, config.output)


def _say_if_hashes_have_no_key(config: Config) -> None:
    if not config.text.secret():
        LOG.warning("text hashes have no key: anyone can test guesses on them. Set %s or text.key.", TEXT_KEY_VARIABLE)


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
    backlog: Backlog | None = None,
) -> None:
    """Everything that happens to one micro-batch; safe to repeat at any point."""
    started = time.monotonic()
    spark, output = df.sparkSession, config.output
    now = datetime.now(UTC)
    rows = common_rows(df, config)
    unpacked = unpack_rows(rows, now=now)
    skipped = _skipped(spark, config, checkpoint, batch_id)
    batch = _first_look(unpacked, read_checkpoint(spark, checkpoint, batch_id), batch_id, now=now, skipped=skipped)
    mine = {"checkpoint_id": F.lit(batch.checkpoint_id), "batch_id": F.lit(batch.batch_id).cast("bigint")}

    removed = read_table(spark, FORGOTTEN, output)
    forgotten = None if removed.isEmpty() else removed
    wanted = unpacked.withColumns(mine).transform(_but_forgotten, forgotten)
    new = wanted.join(_held(spark, config), "source_row_hash", "left_anti").transform(_first_of_each_request)
    _insert_scores(new, batch.dates, config, scorers=scorers, settings=settings, now=now)
    seconds = time.monotonic() - started
    fail_point("after_scores")
    if batch.rows_unreadable:
        unreadable = wanted.where("reason IS NOT NULL")
        insert_new(_quarantine_rows(unreadable, config, now=now), QUARANTINE, output)
    fail_point("after_quarantine")
    _check_all_found(rows, batch, config, forgotten=forgotten)
    account = _account(spark, batch, config, forgotten=forgotten)
    row = _batch_row(spark, batch, account, seconds)
    merge(row, BATCHES, output).whenMatchedUpdateAll().whenNotMatchedInsertAll().execute()
    fail_point("after_batches")
    LOG.info(progress_line(batch, account, seconds))
    if backlog is not None:
        skipped_rows = sum(one.rows_inserted or 0 for one in batch.skipped_versions)
        backlog.report(spark, config, batch, skipped=skipped_rows, started=started)


def unpack_rows(rows: DataFrame, *, now: datetime) -> DataFrame:
    """What the payloads of rows with common columns hold; a row from the future is unreadable."""
    future = F.col("reason").isNull() & ~F.col("skip") & (F.col("request_time") > F.lit(now + FUTURE))
    reason = F.when(future, "future_request_time").otherwise(F.col("reason"))
    unpacked = unpack_payload(rows).withColumn("reason", reason)
    return unpacked.withColumn("exchanges", F.when(F.col("reason").isNull(), F.col("exchanges")))


def _insert_scores(
    new: DataFrame,
    dates: list[date],
    config: Config,
    *,
    scorers: Scorers,
    settings: ScorerSettings,
    now: datetime,
) -> None:
    """Score the requests that the tables do not know yet. ``new`` has at most one row per request."""
    spark, output = new.sparkSession, config.output
    known = on_dates(read_table(spark, SCORES, output), "request_date", dates).select("request_date", "request_id")
    scored = (
        explode_exchanges(new.join(known, ["request_date", "request_id"], "left_anti"))
        .withColumn("count_tokens", _needs_counting())
        .repartition(partitions(spark))
        .transform(with_scores, settings, key=config.text.secret())
        .transform(_score_rows, now=now, store=config.text.store, fingerprints=dict(scorers.fingerprints))
    )
    insert_new(scored, SCORES, output, dates=dates)


def _held(spark: SparkSession, config: Config) -> DataFrame:
    """Hashes of the rows in quarantine.

    They are not scored, whatever this version of the program can read, until --retry-quarantine.
    """
    return read_table(spark, QUARANTINE, config.output).select("source_row_hash")


def _but_forgotten(rows: DataFrame, forgotten: DataFrame | None) -> DataFrame:
    """The rows but for those that ``forget`` removed: reading the source again does not bring them back."""
    if forgotten is None:
        return rows
    of_id = forgotten.where("table_name = 'scores'").select(F.col("key_hash").alias("id_hash"))
    of_row = forgotten.where("table_name = 'quarantine'").select(F.col("key_hash").alias("source_row_hash"))
    return (
        rows.withColumn("id_hash", F.sha2("request_id", 256))
        .join(F.broadcast(of_id), "id_hash", "left_anti")
        .join(F.broadcast(of_row), "source_row_hash", "left_anti")
        .drop("id_hash")
    )


def _skipped(spark: SparkSession, config: Config, checkpoint: str, batch_id: int) -> list[SkippedVersion]:
    """Versions of the source that ``on_source_change: skip`` left out with this batch."""
    if config.source.on_source_change != "skip":
        return []
    until = read_checkpoint(spark, checkpoint, batch_id)[1]
    after = None
    if batch_id:
        after = begun_version(spark, checkpoint, batch_id - 1)
    elif (first := first_version(spark, config)) is not None:
        after = first - 1
    # A stream without a starting point begins with the table as it is: versions before that are no changes to it.
    if until is None or after is None:
        return []
    found = skipped_versions(spark, config, after=after, until=until)
    for one in found:
        LOG.warning("the source's %s was skipped: on_source_change is skip", one)
    return found


def _first_look(
    unpacked: DataFrame,
    checkpoint: tuple[str, int | None],
    batch_id: int,
    *,
    now: datetime,
    skipped: list[SkippedVersion],
) -> Batch:
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
            F.max(F.when(F.col("reason").isNull(), F.col("request_time"))).cast("double").alias("newest"),
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
        rows_skipped=sum(group["skipped"] for group in groups),
        newest=None if newest is None else datetime.fromtimestamp(newest, UTC),
        lateness=lateness,
        skipped_versions=skipped,
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


_SCORE_ERRORS = """transform_values(scored.score_errors, (column, reason) -> CASE
    WHEN reason <> 'missing' THEN reason
    WHEN column LIKE 'prompt%' THEN coalesce(request_left_out, reason)
    WHEN column = 'response_perplexity_given_prompt' THEN coalesce(response_left_out, request_left_out, reason)
    ELSE coalesce(response_left_out, reason)
END)"""
"""Where the log says why it has no payload, that is the reason."""


def _left_out(what: str) -> Any:
    """The log's code for a payload that it has not, for example MAX_REQUEST_SIZE_EXCEEDED."""
    return F.expr(f"try_element_at(filter(logging_error_codes, code -> contains(code, '{what}')), 1)")


def _score_rows(scored: DataFrame, *, now: datetime, store: str, fingerprints: dict[str, str]) -> DataFrame:
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
        "score_errors": F.expr(_SCORE_ERRORS),
        "token_source": F.when(from_log & counted, "usage+tokenizer")
        .when(from_log, "usage")
        .when(counted, "tokenizer"),
        "cost": F.lit(None).cast("double"),
        "currency": F.lit(None).cast("string"),
        "scorers": F.create_map(*(F.lit(text) for pair in sorted(fingerprints.items()) for text in pair)),
        "scored_at": F.lit(now),
    }
    scored = scored.withColumns({"request_left_out": _left_out("REQUEST"), "response_left_out": _left_out("RESPONSE")})
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


def _quarantine_rows(unreadable: DataFrame, config: Config, *, now: datetime) -> DataFrame:
    """The columns of ``quarantine``."""
    store = config.text.store
    hashed = {name: f"{name}_hash" for name in ("request", "response", "end_user", "requester")}
    rows = with_hashes(unreadable.dropDuplicates(["source_row_hash"]), hashed, key=config.text.secret())
    return rows.withColumns(
        {
            "request_chars": F.char_length("request"),
            "response_chars": F.char_length("response"),
            "quarantined_at": F.lit(now),
        }
    ).withColumns({name: stored_text(F.col(name), store=store) for name in ("request", "response")})


def _check_all_found(rows: DataFrame, batch: Batch, config: Config, *, forgotten: DataFrame | None) -> None:
    """Every row of the batch is in a table now, but for those that are no traffic. No payload is parsed again for it.

    Raises:
        TableError: A row is in neither table.
    """
    spark, output = rows.sparkSession, config.output
    scores = on_dates(read_table(spark, SCORES, output), "request_date", batch.dates)
    left = (
        rows.select("request_date", "request_id", "source_row_hash")
        .join(scores.select("request_date", "request_id"), ["request_date", "request_id"], "left_anti")
        .join(_held(spark, config), "source_row_hash", "left_anti")
        .transform(_but_forgotten, forgotten)
        .count()
    )
    if left > batch.rows_skipped:
        lost = left - batch.rows_skipped
        raise TableError(f"batch {batch.batch_id}: {lost} rows are in neither scores nor quarantine")


def _account(spark: SparkSession, batch: Batch, config: Config, *, forgotten: DataFrame | None) -> dict[str, int]:
    """Where the batch's source rows went, and the work that it was, read back from the tables.

    A replayed batch finds its own rows there by ``checkpoint_id`` and ``batch_id`` and does not call them duplicates;
    those that were forgotten in between are its own, too.
    """
    mine = (F.col("checkpoint_id") == batch.checkpoint_id) & (F.col("batch_id") == batch.batch_id)
    scores = on_dates(read_table(spark, SCORES, config.output), "request_date", batch.dates).where(mine)
    failed = F.exists(F.map_values("score_errors"), lambda reason: reason.startswith("error:"))
    left_out = F.exists(F.map_values("score_errors"), lambda reason: reason.endswith("_EXCEEDED"))
    totals = scores.agg(
        F.count_distinct("request_date", "request_id").alias("rows_scored"),
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
    gone = {} if forgotten is None else dict(map(tuple, forgotten.where(mine).groupBy("table_name").count().collect()))
    counts["rows_scored"] += gone.get(SCORES.name, 0)
    # Also where nothing is unreadable now: a replay can meet rows that have become readable since.
    quarantined = read_table(spark, QUARANTINE, config.output).where(mine).count() + gone.get(QUARANTINE.name, 0)
    return counts | {
        "rows_quarantined": quarantined,
        "rows_duplicate": batch.rows_read - counts["rows_scored"] - quarantined - batch.rows_skipped,
        "rows_skipped": batch.rows_skipped,
        "texts_deduplicated": counts["texts_scored"] - distinct.collect()[0][0],
    }


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


def _batch_row(spark: SparkSession, batch: Batch, account: dict[str, int], seconds: float) -> DataFrame:
    finished = datetime.now(UTC)
    values: dict[str, Any] = {
        "batch_id": batch.batch_id,
        "checkpoint_id": batch.checkpoint_id,
        "source_version": batch.source_version,
        "rows_read": batch.rows_read,
        **account,
        "skipped_versions": [(one.version, one.operation, one.rows_inserted) for one in batch.skipped_versions],
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


def retry_quarantine(spark: SparkSession, config: Config) -> dict[str, int]:
    """Take the rows of ``quarantine`` from the source once more, and put those that can be read now into ``scores``.

    A row stays the row of the batch that had met it first: it gets that batch's ids, and ``batches`` is counted anew.
    Safe to repeat at any point: scores first, then ``batches``, then ``quarantine``.

    Returns:
        Rows ``tried`` (those that the source still has) and ``scored`` (those that left quarantine).
    """
    settings = scorer_settings(config)
    scorers = load_scorers(settings)
    create_tables(spark, config)
    output, now = config.output, datetime.now(UTC)
    held = read_table(spark, QUARANTINE, output).select("source_row_hash", "checkpoint_id", "batch_id")
    rows = common_rows(read_source(spark, config), config).dropDuplicates(["source_row_hash"])
    unpacked = unpack_rows(rows.join(F.broadcast(held), "source_row_hash"), now=now)
    readable = unpacked.where("exchanges IS NOT NULL")
    found = unpacked.groupBy("request_date").agg(F.count("*"), F.count("exchanges")).collect()
    dates = sorted({date for date, _, count in found if count})
    tried, scored = sum(row[1] for row in found), sum(row[2] for row in found)
    if scored:
        new = readable.transform(_first_of_each_request)
        _insert_scores(new, dates, config, scorers=scorers, settings=settings, now=now)
        keys = readable.select("source_row_hash", "checkpoint_id", "batch_id")
        _count_anew(spark, config, keys)
        left = merge(keys, QUARANTINE, output)
        left.whenMatchedDelete().execute()
    return {"tried": tried, "scored": scored}


def _count_anew(spark: SparkSession, config: Config, leaving: DataFrame) -> None:
    """Write into ``batches`` what its batches have in the tables, as if ``leaving`` were no longer in quarantine."""
    ids, output = ["checkpoint_id", "batch_id"], config.output
    gone = (
        read_table(spark, FORGOTTEN, output)
        .groupBy(*ids)
        .agg(
            F.count_if(F.col("table_name") == SCORES.name).alias("scores_gone"),
            F.count_if(F.col("table_name") == QUARANTINE.name).alias("quarantine_gone"),
        )
    )
    scores = (
        read_table(spark, SCORES, output)
        .groupBy(*ids)
        .agg(F.count_distinct("request_date", "request_id").alias("scored"), F.count("*").alias("exchanges"))
    )
    quarantined = read_table(spark, QUARANTINE, output).join(leaving, [*ids, "source_row_hash"], "left_anti")
    quarantined = quarantined.groupBy(*ids).agg(F.count("*").alias("quarantined"))
    batches = read_table(spark, BATCHES, output).drop("rows_scored", "rows_quarantined", "rows_duplicate", "exchanges")
    counted = (
        batches.join(leaving.select(*ids).distinct(), ids, "left_semi")
        .join(scores, ids, "left")
        .join(quarantined, ids, "left")
        .join(gone, ids, "left")
        .withColumns(
            {
                "rows_scored": F.expr("coalesce(scored, 0) + coalesce(scores_gone, 0)"),
                "rows_quarantined": F.expr("coalesce(quarantined, 0) + coalesce(quarantine_gone, 0)"),
                "exchanges": F.coalesce("exchanges", F.lit(0)),
            }
        )
        .withColumn("rows_duplicate", F.expr("rows_read - rows_scored - rows_quarantined - rows_skipped"))
    )
    merge(counted.select(BATCHES.column_names), BATCHES, output).whenMatchedUpdateAll().execute()


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    arguments = add_trigger(parser("score-responses", __doc__ or ""))
    add_new_checkpoint(arguments)
    arguments.add_argument("--retry-quarantine", action="store_true", help="take the rows of quarantine once more")
    options = arguments.parse_args(argv)

    def work() -> int:
        config = read_config(options, trigger=options.trigger)
        spark = spark_session("inference-metrics score-responses")
        if options.retry_quarantine:
            done = retry_quarantine(spark, config)
            print(f"{done['tried']:,} rows of quarantine tried, {done['scored']:,} scored")
            return OK
        query = start(spark, config, trigger=config.trigger, new_checkpoint=options.new_checkpoint)
        query.awaitTermination()
        return OK

    return run(work)


def add_new_checkpoint(arguments: argparse.ArgumentParser) -> None:
    """The option of commands that score."""
    arguments.add_argument(
        "--new-checkpoint",
        action="store_true",
        help="read the source again from its beginning; what is scored stays, and nothing is scored twice",
    )


if __name__ == "__main__":
    sys.exit(main())
