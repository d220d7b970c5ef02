"""Score responses: inference table → scores, quarantine, feedback, batches.

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
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

from pyspark.sql import functions as F

from jobs.backlog import Backlog
from jobs.checkpoints import Planned, begun_version, checkpoint_in_use, read_checkpoint
from jobs.ledger import (
    account_of,
    batch_row,
    but_forgotten,
    check_all_found,
    count_anew,
    enter_cut_off,
    first_look,
    held_in_quarantine,
    names_in,
    progress_line,
    purged_of,
    purged_until,
    ratings_of,
)
from jobs.locks import Locks, step
from jobs.names import Names
from jobs.runtime import (
    LOG,
    OK,
    add_trigger,
    fail_point,
    parser,
    read_config,
    run,
    spark_session,
    spread,
    stream,
)
from jobs.slicing import check_slices, write_sliced
from jobs.source import common_rows, first_version, read_source, source_identifier, stream_source
from jobs.source_changes import SkippedVersion, SourceQuery, skipped_versions
from jobs.tables import create_table, insert_new, kept, merge, on_dates, read_table, retried, upsert
from jobs.updates import but_preimages, but_replaced, rows_replaced, updates_in, with_replaced, write_replacing
from metrics.calls import CALL_ID, IS_REVERTED, with_ids, with_stored
from metrics.redact import stored_text
from metrics.score.columns import COLUMNS, ScorerSettings
from metrics.score.udf import check_scorers, with_hashes, with_scores
from metrics.unpack.arrow import FUTURE, explode_exchanges, unpack_payload
from metrics.unpack.dialects import detect_dialect
from metrics.unpack.payloads import families, unpacker_mark
from metrics.unpack.unpacked import UnpackSettings
from schemas.batches import BATCHES
from schemas.config import TEXT_KEY_VARIABLE, Config
from schemas.feedback import FEEDBACK, RATED_DAYS
from schemas.forgotten import FORGOTTEN
from schemas.quarantine import QUARANTINE
from schemas.scores import SCORES

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

HOP = "score_responses"


def start(
    spark: SparkSession,
    config: Config,
    *,
    trigger: str,
    new_checkpoint: bool = False,
    locks: Locks | None = None,
) -> SourceQuery:
    """Start the score query; each of its batches takes the table's lock.

    Raises:
        SourceError: The inference table is missing or of no known dialect.
        ConfigError: A slicing expression can't be used.
        ModelError: A scoring model can't be loaded.
        PayloadError: A family of payloads from elsewhere can't be loaded.
        LockedError: Another driver runs it.
    """
    source = stream_source(spark, config)
    dialect = detect_dialect(source.columns, dialect=config.source.dialect)
    common_rows(source, config)  # what can't be read is said before anything is written
    families()
    check_slices(spark, config)
    checked_scorers(spark, config)  # what can't be loaded is said before anything is written
    _say_if_hashes_have_no_key(config)
    if locks:
        locks.begin()
    create_tables(spark, config)
    checkpoint = checkpoint_in_use(spark, config.checkpoint(HOP), new=new_checkpoint)
    LOG.info("scoring %s (%s), checkpoint %s", source_identifier(config.source), dialect, checkpoint)
    backlog, names = Backlog(), Names()

    def score(df: DataFrame, batch_id: int) -> None:
        with step(locks, SCORES.name):
            score_batch(df, batch_id, config, checkpoint=checkpoint, backlog=backlog, names=names)

    def begin() -> Any:
        return stream(stream_source(spark, config), score, name=HOP, checkpoint=checkpoint, trigger=trigger)

    return SourceQuery(begin, config)


def create_tables(spark: SparkSession, config: Config) -> None:
    """The tables that scoring writes or looks into."""
    for table in (SCORES, QUARANTINE, FEEDBACK, BATCHES, FORGOTTEN):
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
        perplexity_dtype=scoring.perplexity.dtype,
        toxicity_dtype=scoring.toxicity.dtype,
        perplexity_language=scoring.perplexity.language,
        toxicity_language=scoring.toxicity.language,
        tokenizer=scoring.tokenizer,
        device=scoring.device,
        tracking_uri=config.mlflow.tracking_uri,
        toxicity_activation=scoring.toxicity.activation,
    )


def checked_scorers(spark: SparkSession, config: Config) -> dict[str, str]:
    """Fingerprint per column, of scorers that a worker has loaded; the log says what of them may be meant otherwise.

    Raises:
        ModelError: One of them can't be found or loaded.
    """
    fingerprints, warnings = check_scorers(spark, scorer_settings(config))
    for warning in warnings:
        LOG.warning("%s", warning)
    return fingerprints


def score_batch(
    df: DataFrame,
    batch_id: int,
    config: Config,
    *,
    checkpoint: str,
    backlog: Backlog,
    names: Names,
) -> None:
    """Everything that happens to one micro-batch; safe to repeat at any point."""
    started = time.monotonic()
    spark, output = df.sparkSession, config.output
    now = datetime.now(UTC)
    rows = common_rows(df, config, with_changes=True)
    planned = read_checkpoint(spark, checkpoint, batch_id)
    horizon = _horizon(spark, config, planned, batch_id)
    skipped = _skipped(spark, config, checkpoint, batch_id, until=planned.source_version)
    removed = read_table(spark, FORGOTTEN, output)
    forgotten = None if removed.isEmpty() else removed
    in_quarantine = held_in_quarantine(spark, config)
    with (
        kept(unpack_rows(rows, config, now=now, horizon=horizon)) as read,
        updates_in(read, config, in_quarantine=in_quarantine, forgotten=forgotten) as updates,
    ):
        unpacked = but_preimages(read)
        batch = first_look(unpacked, planned, batch_id, now=now, skipped=skipped)
        mine = {"checkpoint_id": F.lit(batch.checkpoint_id), "batch_id": F.lit(batch.batch_id).cast("bigint")}

        wanted = unpacked.withColumns(mine).transform(but_forgotten, forgotten)
        readable = wanted.join(in_quarantine, "source_row_hash", "left_anti")
        new = names.capped(new_calls(readable, batch.dates, config, updates), batch.names, config)
        fail_point("before_scores")
        _insert_scores(new, batch.dates, config, now=now)
        seconds = time.monotonic() - started
        fail_point("after_scores")
        if batch.rows_unreadable:
            unreadable = wanted.where("reason IS NOT NULL")
            insert_new(_quarantine_rows(unreadable, config, now=now), QUARANTINE, output)
        fail_point("after_quarantine")
        if batch.rows_feedback:
            ratings = ratings_of(wanted, forgotten)
            insert_new(_feedback_rows(ratings, batch.feedback_dates, config, now=now), FEEDBACK, output)
        fail_point("after_feedback")
        check_all_found(but_replaced(unpacked, updates), batch, config, forgotten=forgotten)
        replaced = rows_replaced(updates, batch, config)
    purged = purged_of(spark, batch, config)
    account = account_of(spark, batch, config, forgotten=forgotten, purged=purged) | {"rows_replaced": replaced}
    row = batch_row(spark, batch, account, purged, seconds)
    upsert(row, BATCHES, output)
    if batch_id == 0:
        enter_cut_off(spark, batch, config)
    fail_point("after_batches")
    LOG.info(progress_line(batch, account, seconds))
    done = batch.rows_read + sum(one.rows_inserted or 0 for one in skipped)
    backlog.report(spark, config, planned.checkpoint_id, rows=done, started=started)


def _horizon(spark: SparkSession, config: Config, planned: Planned, batch_id: int) -> date | None:
    """Rows of dates before this one are skipped; the same when the batch is run again."""
    gone, wanted = purged_until(spark, config), config.retention.horizon("scores", planned.at.date())
    if wanted is None or (gone is not None and gone >= wanted):
        return gone
    mine = (F.col("checkpoint_id") == planned.checkpoint_id) & (F.col("batch_id") == batch_id)
    older = read_table(spark, SCORES, config.output).where(mine & (F.col("request_date") < F.lit(wanted)))
    # Begun before there was a retention, a batch ends as it was begun.
    return wanted if older.isEmpty() else gone


def unpack_settings(config: Config) -> UnpackSettings:
    """The part of the configuration that decides how payloads are read."""
    return UnpackSettings(reasoning=config.scoring.reasoning, key=config.text.secret())


def unpack_rows(rows: DataFrame, config: Config, *, now: datetime, horizon: date | None = None) -> DataFrame:
    """What the payloads of rows with common columns hold.

    A row of a date before ``horizon`` is ``expired`` and skipped, whatever it holds.
    """
    unpacked = unpack_payload(rows, unpack_settings(config), now=now)
    if horizon is None:
        return unpacked.withColumn("expired", F.lit(False))
    expired = F.coalesce(F.col("request_date") < F.lit(horizon), F.lit(False))
    emptied = {name: F.when(~F.col("expired"), F.col(name)) for name in ("reason", "exchanges", "feedback")}
    return unpacked.withColumn("expired", expired).withColumns(emptied | {"skip": F.col("skip") | F.col("expired")})


def _insert_scores(new: DataFrame, dates: list[date], config: Config, *, now: datetime) -> None:
    """Score the calls of ``new_calls``."""
    output, rate = config.output, config.scoring.sample_rate
    scored = (
        explode_exchanges(new)
        .withColumns({"count_tokens": needs_counting(), "sampled": sampled(rate)})
        .transform(score_exchanges, config)
        .transform(score_columns, config, now=now)
    )

    def insert(rows: DataFrame) -> None:
        texts = {name: stored_text(F.col(name), store=config.text.store) for name in ("prompt", "response")}
        rows = rows.withColumns(texts)
        if "replaces" in new.columns:
            write_replacing(rows, new, output, dates=dates)
        else:
            insert_new(rows, SCORES, output, dates=dates)

    write_sliced(scored, config, insert)


def score_exchanges(exchanges: DataFrame, config: Config, *, only: Sequence[str] = tuple(COLUMNS)) -> DataFrame:
    """Exchanges with the struct ``scored``, spread over all cores by the length of their texts."""
    length = F.expr("coalesce(length(prompt), 0) + coalesce(length(response), 0)")
    return exchanges.transform(spread, length, keys=SCORES.keys).transform(
        with_scores, scorer_settings(config), key=config.text.secret(), only=only
    )


def sampled(rate: float) -> Any:
    """Whether a call's scores are computed: by its id and content, so that a replay decides the same. Failures always.

    Calls that share an id are decided on one by one, whichever of them has it in ``scores``.
    """
    if rate == 1:
        return F.lit(True)
    digits = 13
    unit = F.conv(F.substring(F.sha2(F.expr(CALL_ID), 256), 1, digits), 16, 10).cast("double") / 16.0**digits
    return ~F.coalesce(F.col("status_code") == 200, F.lit(False)) | (unit < rate)


def _skipped(
    spark: SparkSession, config: Config, checkpoint: str, batch_id: int, *, until: int | None
) -> list[SkippedVersion]:
    """Versions of the source that ``on_source_change: skip`` left out with this batch."""
    if config.source.on_source_change != "skip" or until is None:
        return []
    after = None
    if batch_id:
        after = begun_version(spark, checkpoint, batch_id - 1)
    elif (first := first_version(spark, config)) is not None:
        after = first - 1
    # A stream without a starting point begins with the table as it is: versions before that are no changes to it.
    if after is None:
        return []
    found = skipped_versions(spark, config, after=after, until=until)
    for one in found:
        LOG.warning("the source's %s was skipped: on_source_change is skip", one)
    return found


def new_calls(rows: DataFrame, dates: list[date], config: Config, updates: DataFrame | None = None) -> DataFrame:
    """The calls among unpacked rows that ``scores`` does not have yet, each once, under the id that it will have there.

    Args:
        rows: Rows of ``but_forgotten``.
        dates: Their dates.
        config: Settings.
        updates: Of ``updates_in``; what an updated call takes the place of is ``replaces``, and it keeps its id.
    """
    scores = on_dates(read_table(rows.sparkSession, SCORES, config.output), "request_date", dates)
    standing = but_replaced(rows.where("exchanges IS NOT NULL"), updates)
    new = with_stored(standing, scores).where(f"stored_id IS NULL OR {IS_REVERTED}")
    # Where one was forgotten, its batch has the id still.
    new = new.withColumn("is_taken", F.expr("is_taken OR is_partly_forgotten"))
    if updates is None:
        return with_ids(new)
    new = with_replaced(new, updates, scores)
    new = new.withColumn("kept_id", F.expr("IF(replaces = request_id, replaces, NULL)"))
    return with_ids(new).withColumn("request_id", F.coalesce("kept_id", "request_id")).drop("kept_id")


def needs_counting() -> Any:
    """Whether the log's usage leaves a token count open."""
    output_open = F.col("response").isNotNull() & F.col("usage_output_tokens").isNull()
    return F.col("usage_input_tokens").isNull() | output_open


def score_errors() -> Any:
    """Why scores are NULL, by column. Where the log says why it has no payload, that is the reason."""

    def left_out(what: str) -> str:
        """SQL: the log's code for a payload that it has not, for example MAX_REQUEST_SIZE_EXCEEDED."""
        return f"try_element_at(filter(logging_error_codes, code -> contains(code, '{what}')), 1)"

    request, response = left_out("REQUEST"), left_out("RESPONSE")
    return F.expr(
        f"""transform_values(scored.score_errors, (column, reason) -> CASE
            WHEN reason <> 'missing' THEN reason
            WHEN column LIKE 'prompt%' THEN coalesce({request}, reason)
            WHEN column = 'response_perplexity_given_prompt' THEN coalesce({response}, {request}, reason)
            ELSE coalesce({response}, reason)
        END)"""
    )


def score_columns(scored: DataFrame, config: Config, *, now: datetime) -> DataFrame:
    """The columns of ``scores``, with the whole text and without slices."""
    tokens = F.coalesce("usage_input_tokens", "scored.counted_input_tokens")
    output_tokens = F.coalesce("usage_output_tokens", "scored.counted_output_tokens")
    from_log = F.col("usage_input_tokens").isNotNull() | F.col("usage_output_tokens").isNotNull()
    counted = (F.col("usage_input_tokens").isNull() & tokens.isNotNull()) | (
        F.col("usage_output_tokens").isNull() & output_tokens.isNotNull()
    )
    own = {
        "slices": F.lit(None).cast("map<string,string>"),
        "input_tokens": tokens,
        "output_tokens": output_tokens,
        "score_errors": score_errors(),
        "token_source": F.when(from_log & counted, "usage+tokenizer")
        .when(from_log, "usage")
        .when(counted, "tokenizer"),
        "cost": F.lit(None).cast("double"),
        "currency": F.lit(None).cast("string"),
        "unpacker": F.lit(unpacker_mark(unpack_settings(config))),
        "sample_rate": F.lit(config.scoring.sample_rate),
        "scored_at": F.lit(now),
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
        ),
        *(["replaces"] if "replaces" in scored.columns else []),
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


def _feedback_rows(ratings: DataFrame, dates: list[date], config: Config, *, now: datetime) -> DataFrame:
    """The columns of ``feedback``; ``dates`` are those of the ratings."""
    days = {day - timedelta(days=back) for day in dates for back in range(RATED_DAYS + 1)}
    requests = on_dates(read_table(ratings.sparkSession, SCORES, config.output), "request_date", days)
    given = F.to_date("feedback_time")
    dated = (
        ratings.select("feedback_id", "feedback_time", "request_id")
        .join(requests.select("request_id", "request_date"), "request_id")
        .where(F.col("request_date").between(F.date_sub(given, RATED_DAYS), given))
        .groupBy("feedback_id")
        .agg(F.max("request_date").alias("request_date"))
    )
    rows = ratings.withColumn("source", F.coalesce("source", "requester")).join(dated, "feedback_id", "left")
    # As in scores, so that a person is found in both.
    rows = with_hashes(rows, {"source": "source_hash"}, key=config.text.secret())
    rows = with_hashes(rows, {"comment": "comment_hash"}, key=config.text.secret(), kind="comment")
    # Of a row without a usable time retention would not know when to remove its text.
    comment = F.when(F.col("feedback_time") <= F.lit(now + FUTURE), F.col("comment"))
    return rows.withColumn("comment", stored_text(comment, store=config.text.store))


def retry_quarantine(spark: SparkSession, config: Config) -> dict[str, int]:
    """Take the rows of ``quarantine`` from the source once more, and put those that can be read now into ``scores``.

    A row stays the row of the batch that had met it first: it gets that batch's ids, and ``batches`` is counted anew.
    Safe to repeat at any point: scores first, then ``batches``, then ``quarantine``.

    Returns:
        Rows ``tried`` (those that the source still has) and ``scored`` (those that left quarantine).
    """
    checked_scorers(spark, config)
    create_tables(spark, config)
    output, now = config.output, datetime.now(UTC)
    held = read_table(spark, QUARANTINE, output).select("source_row_hash", "checkpoint_id", "batch_id")
    rows = common_rows(read_source(spark, config), config).dropDuplicates(["source_row_hash"])
    unpacked = unpack_rows(rows.join(F.broadcast(held), "source_row_hash"), config, now=now)
    readable = unpacked.where("exchanges IS NOT NULL")
    found = unpacked.groupBy("request_date").agg(F.count("*"), F.count("exchanges"), names_in()).collect()
    names = {day: set(map(tuple, of_day)) for day, _, count, of_day in found if count}
    dates = sorted(names)
    tried, scored = sum(row[1] for row in found), sum(row[2] for row in found)
    if scored:
        removed = read_table(spark, FORGOTTEN, output)
        new = Names().capped(new_calls(but_forgotten(readable, removed), dates, config), names, config)
        _insert_scores(new, dates, config, now=now)
        keys = readable.select("source_row_hash", "checkpoint_id", "batch_id")
        count_anew(spark, config, keys)
        retried(lambda: merge(keys, QUARANTINE, output).whenMatchedDelete().execute())
    return {"tried": tried, "scored": scored}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    arguments = add_trigger(parser("score-responses", __doc__ or ""))
    add_new_checkpoint(arguments)
    arguments.add_argument("--retry-quarantine", action="store_true", help="take the rows of quarantine once more")
    options = arguments.parse_args(argv)

    def work() -> int:
        config = read_config(options, trigger=options.trigger)
        spark = spark_session("inference-metrics score-responses")
        locks = Locks(spark, config.output, "score-responses", [HOP])
        if options.retry_quarantine:
            with locks.step(SCORES.name):
                done = retry_quarantine(spark, config)
            print(f"{done['tried']:,} rows of quarantine tried, {done['scored']:,} scored")
            return OK
        with locks:
            query = start(spark, config, trigger=config.trigger, new_checkpoint=options.new_checkpoint, locks=locks)
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
