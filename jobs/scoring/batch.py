"""One micro-batch of the score hop, from the source's rows to the tables; and the rows of quarantine once more."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING

from pyspark.sql import functions as F

from jobs.command.fail_points import fail_point
from jobs.command.log import LOG
from jobs.scoring.ledger import (
    Ledger,
    batch_row,
    held_in_quarantine,
    names_in,
    progress_line,
    ratings_of,
    record_interrupted_batches,
    summarize_batch,
    without_forgotten,
)
from jobs.scoring.name_limit import Names
from jobs.scoring.outcomes import Warned, Written, check_all_found, count_outcomes, purged_of, recount_batches
from jobs.scoring.scorers import checked_scorers, score_exchanges
from jobs.scoring.slicing import write_sliced
from jobs.scoring.updates import (
    rows_replaced,
    updates_in,
    with_replaced,
    without_preimages,
    without_replaced,
    write_replacing,
)
from jobs.source.backlog import Backlog
from jobs.source.changes import SkippedVersion, skipped_versions
from jobs.source.inference_table import common_rows, first_version, read_source
from jobs.store.checkpoints import Planned, begun_version, read_checkpoint
from jobs.store.locks import UNLOCKED, Unlocked
from jobs.store.tables import create_table, insert_new, kept, merge, on_dates, read_table, retried
from jobs.upkeep.retention import purged_until
from metrics.calls import HAS_OWN_ID, IS_REVERTED, with_ids, with_stored
from metrics.redact import stored_text
from metrics.score.rows import needs_counting, sampled, score_columns
from metrics.score.udf import with_hashes
from metrics.unpack.arrow import FUTURE, explode_exchanges
from metrics.unpack.rows import unpack_rows
from schemas.batches import BATCHES
from schemas.config import Config
from schemas.feedback import FEEDBACK, RATED_DAYS
from schemas.forgotten import FORGOTTEN
from schemas.quarantine import QUARANTINE
from schemas.scores import SCORES

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame, SparkSession


def create_tables(spark: SparkSession, config: Config) -> None:
    """The tables that scoring writes or looks into."""
    for table in (SCORES, QUARANTINE, FEEDBACK, BATCHES, FORGOTTEN):
        create_table(spark, table, config.output)


@dataclass
class BatchContext:
    """What a driver's batches have in common.

    Attributes:
        checkpoint: Folder of the query's checkpoint.
        locks: Under which the batches write.
        backlog: How much there is to read.
        names: Names of endpoints and models that are known.
        ledger: Where batches are entered.
        warned: Of which ids the log has warned.
    """

    checkpoint: str
    locks: Unlocked = UNLOCKED
    backlog: Backlog = field(default_factory=Backlog)
    names: Names = field(default_factory=Names)
    ledger: Ledger = field(default_factory=Ledger)
    warned: Warned = field(default_factory=Warned)


def score_batch(df: DataFrame, batch_id: int, config: Config, context: BatchContext) -> None:
    """Everything that happens to one micro-batch; safe to repeat at any point."""
    started = time.monotonic()
    spark, output, locks = df.sparkSession, config.output, context.locks
    now = datetime.now(UTC)
    rows = common_rows(df, config, with_changes=True)
    planned = read_checkpoint(spark, context.checkpoint, batch_id)
    horizon = _horizon(spark, config, locks, planned, batch_id)
    skipped = _skipped(spark, config, context.checkpoint, batch_id, until=planned.source_version)
    removed = read_table(spark, FORGOTTEN, output)
    forgotten = None if locks.remembered("nothing is forgotten", removed.isEmpty, under=SCORES.name) else removed
    in_quarantine = held_in_quarantine(spark, config)
    with (
        kept(unpack_rows(rows, config, now=now, horizon=horizon)) as read,
        updates_in(read, config, in_quarantine=in_quarantine, forgotten=forgotten) as updates,
    ):
        unpacked = without_preimages(read)
        batch = summarize_batch(unpacked, planned, batch_id, now=now, skipped=skipped)
        mine = {"checkpoint_id": F.lit(batch.checkpoint_id), "batch_id": F.lit(batch.batch_id).cast("bigint")}

        wanted = unpacked.withColumns(mine).transform(without_forgotten, forgotten)
        readable = wanted.join(in_quarantine, "source_row_hash", "left_anti")
        new = context.names.capped(new_calls(readable, batch.dates, config, updates), batch.names, config)
        with kept(new) as calls:
            found = calls.agg(*_call_counts()).collect()[0]
            fail_point("before_scores")
            exchanges = _insert_scores(calls, batch.dates, config, now=now) if found["rows"] else 0
        seconds = time.monotonic() - started
        fail_point("after_scores")
        quarantined = 0
        if batch.rows_unreadable:
            unreadable = wanted.where("reason IS NOT NULL")
            quarantined = insert_new(_quarantine_rows(unreadable, config, now=now), QUARANTINE, output)
        fail_point("after_quarantine")
        if batch.rows_feedback:
            ratings = _feedback_rows(ratings_of(wanted, forgotten), batch.feedback_dates, config, now=now)
            insert_new(ratings, FEEDBACK, output)
        fail_point("after_feedback")
        # All calls that were not there were inserted, and nothing of an earlier run of the batch can be.
        is_plain = forgotten is None and updates is None and exchanges == found["exchanges"]
        written = None
        if is_plain and context.ledger.is_new(batch_id) and not batch.rows_expired:
            written = Written(found["rows"], found["shared"], found["exchanges"], quarantined)
        else:
            check_all_found(without_replaced(unpacked, updates), batch, config, forgotten=forgotten)
        replaced = rows_replaced(updates, batch, config)
    purged = purged_of(spark, batch, config)
    account = count_outcomes(
        spark, batch, config, context.warned, forgotten=forgotten, purged=purged, written=written
    ) | {"rows_replaced": replaced}
    row = batch_row(spark, batch, account, purged, seconds)
    context.ledger.enter(row, batch_id, output)
    if batch_id == 0:
        record_interrupted_batches(spark, batch, config)
    fail_point("after_batches")
    LOG.info(progress_line(batch, account, seconds))
    done = batch.rows_read + sum(one.rows_inserted or 0 for one in skipped)
    context.backlog.report(spark, config, planned.checkpoint_id, rows=done, started=started)


def _call_counts() -> list[Column]:
    """How many calls there are, how many of them are kept under an id of their own, and their exchanges."""
    return [
        F.count("*").alias("rows"),
        F.count_if(F.expr(HAS_OWN_ID)).alias("shared"),
        F.coalesce(F.sum(F.array_size("exchanges")), F.lit(0)).alias("exchanges"),
    ]


def _horizon(spark: SparkSession, config: Config, locks: Unlocked, planned: Planned, batch_id: int) -> date | None:
    """Rows of dates before this one are skipped; the same when the batch is run again."""
    gone = locks.remembered("purged until", lambda: purged_until(spark, config), under=SCORES.name)
    wanted = config.retention.horizon("scores", planned.at.date())
    if wanted is None or (gone is not None and gone >= wanted):
        return gone
    mine = (F.col("checkpoint_id") == planned.checkpoint_id) & (F.col("batch_id") == batch_id)
    older = read_table(spark, SCORES, config.output).where(mine & (F.col("request_date") < F.lit(wanted)))
    # Begun before there was a retention, a batch ends as it was begun.
    return wanted if older.isEmpty() else gone


def _insert_scores(new: DataFrame, dates: list[date], config: Config, *, now: datetime) -> int | None:
    """Score the calls of ``new_calls``; how many rows were inserted (None: others were updated, too)."""
    output, rate = config.output, config.scoring.sample_rate
    scored = (
        explode_exchanges(new)
        .withColumns({"count_tokens": needs_counting(), "sampled": sampled(rate)})
        .transform(score_exchanges, config)
        .transform(score_columns, config, now=now)
    )

    def insert(rows: DataFrame) -> int | None:
        texts = {name: stored_text(F.col(name), store=config.text.store) for name in SCORES.holds_text}
        rows = rows.withColumns(texts)
        if "replaces" in new.columns:
            write_replacing(rows, new, output, dates=dates)
            return None
        return insert_new(rows, SCORES, output, dates=dates)

    return write_sliced(scored, config, insert)


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
        rows: Rows of ``without_forgotten``.
        dates: Their dates.
        config: Settings.
        updates: Of ``updates_in``; what an updated call takes the place of is ``replaces``, and it keeps its id.
    """
    scores = on_dates(read_table(rows.sparkSession, SCORES, config.output), "request_date", dates)
    standing = without_replaced(rows.where("exchanges IS NOT NULL"), updates)
    new = with_stored(standing, scores).where(f"stored_id IS NULL OR {IS_REVERTED}")
    # Where one was forgotten, its batch has the id still.
    new = new.withColumn("is_taken", F.expr("is_taken OR is_partly_forgotten"))
    if updates is None:
        return with_ids(new)
    new = with_replaced(new, updates, scores)
    new = new.withColumn("kept_id", F.expr("IF(replaces = request_id, replaces, NULL)"))
    return with_ids(new).withColumn("request_id", F.coalesce("kept_id", "request_id")).drop("kept_id")


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
    ).withColumns({name: stored_text(F.col(name), store=store) for name in QUARANTINE.holds_text})


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
        new = Names().capped(new_calls(without_forgotten(readable, removed), dates, config), names, config)
        _insert_scores(new, dates, config, now=now)
        keys = readable.select("source_row_hash", "checkpoint_id", "batch_id")
        recount_batches(spark, config, keys)
        retried(lambda: merge(keys, QUARANTINE, output).whenMatchedDelete().execute())
    return {"tried": tried, "scored": scored}
