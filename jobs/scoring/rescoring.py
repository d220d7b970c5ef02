"""Days of ``scores`` whose rows are read or scored anew."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import reduce
from operator import or_
from typing import TYPE_CHECKING

from pyspark.sql import Window
from pyspark.sql import functions as F
from tqdm import tqdm

from jobs.command.log import LOG
from jobs.scoring.batch import create_tables
from jobs.scoring.scorers import checked_scorers, score_exchanges
from jobs.scoring.slicing import write_sliced
from jobs.source.inference_table import common_rows, read_source
from jobs.store.locks import UNLOCKED, Unlocked
from jobs.store.tables import on_dates, read_table, update_rows
from metrics.calls import LOGGED_ID
from metrics.hashes import CHECK_CHARS
from metrics.redact import stored_text
from metrics.score.columns import COLUMNS
from metrics.score.reasons import NOT_SAMPLED
from metrics.score.rows import needs_counting, sampled, score_columns, score_errors
from metrics.score.udf import with_hashes
from metrics.unpack.arrow import explode_exchanges
from metrics.unpack.dialects import on_days
from metrics.unpack.payloads import unpacker_mark
from metrics.unpack.rows import unpack_rows, unpack_settings
from schemas.config import Config
from schemas.scores import SCORES

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame, SparkSession

SAME_KEY = f"left(own_hash, {CHECK_CHARS}) = left(content_hash, {CHECK_CHARS})"
"""SQL: whether two content hashes were made with the same key."""


@dataclass
class Rescored:
    """What a run did.

    Args:
        days: Days that had rows to score.
        reread: Rows of ``scores`` whose payloads were read again.
        rows: Rows of ``scores`` that got scores.
        scorers: Scorers that were run.
        without_source: Rows that needed it, and whose text the inference table has no more, or which can't be read.
    """

    days: int = 0
    reread: int = 0
    rows: int = 0
    scorers: tuple[str, ...] = ()
    without_source: int = 0


def rescore(spark: SparkSession, config: Config, *, since: date, until: date, locks: Unlocked = UNLOCKED) -> Rescored:
    """Bring the scores of whole days up to date. Safe to repeat, and to cut off at any point.

    Args:
        spark: Session.
        config: Settings: the scorers that the rows get.
        since: First UTC date.
        until: Last UTC date, included.
        locks: Each day takes the table's lock, so that a monitor's batches come between.

    Raises:
        ModelError: A scoring model can't be loaded.
    """
    fingerprints = checked_scorers(spark, config)
    create_tables(spark, config)
    is_stale, is_unread = reduce(or_, _stale(config, fingerprints)), _unread(config)
    scores = read_table(spark, SCORES, config.output)
    wanted = scores.where(F.col("request_date").between(F.lit(since), F.lit(until)) & (is_stale | is_unread))
    days = [row[0] for row in wanted.select("request_date").distinct().orderBy("request_date").collect()]
    done = Rescored()
    for day in tqdm(days, unit=" days", disable=None, file=sys.stderr):
        with locks.step(SCORES.name):
            # Each from the table as it is then: what was read again may have to be scored again.
            unread = _rows(config, day, spark).where(is_unread)
            to_read = unread.count()
            reread = _reread_day(config, day, unread) if to_read else 0
            stale = _rows(config, day, spark).where(is_stale)
            to_score = stale.count()
            only, updated = _rescore_day(config, day, stale, fingerprints) if to_score else ((), 0)
        LOG.info("%s: %d rows read again, %d rescored (%s)", day, reread, updated, ", ".join(only))
        done.days += 1
        done.reread += reread
        done.rows += updated
        done.without_source += max(to_read - reread, to_score - updated)
        done.scorers = tuple(sorted({*done.scorers, *only}))
    return done


def _left_out(row: str = "") -> str:
    """SQL: whether scoring.sample_rate left a row of ``scores`` out; one of an older version has only the reason."""
    by_reason = f"exists(map_values({row}score_errors), reason -> reason = '{NOT_SAMPLED}')"
    return f"coalesce(NOT {row}sampled, {by_reason}, false)"


def _stale(config: Config, fingerprints: Mapping[str, str]) -> list[Column]:
    """Per scorer, whether a row of ``scores`` needs it again."""
    rate = config.scoring.sample_rate
    now_sampled = sampled(rate) & (F.coalesce("sample_rate", F.lit(1.0)) < rate) & (F.col("status_code") == 200)

    def needs(columns: Sequence[str]) -> Column:
        found = F.lit(False)
        for column in columns:
            reason = F.coalesce(F.element_at("score_errors", column), F.lit(""))
            other = F.coalesce(F.element_at("scorers", column) != fingerprints[column], F.lit(True))
            failed = reason.startswith("error:") | (reason == "circuit_open")
            found = found | other | failed
        return (found & ~F.expr(_left_out())) | F.coalesce(now_sampled, F.lit(False))

    return [needs(columns) for columns in COLUMNS.values()]


CONTENT = ("content_hash", "prompt_hash", "response_hash")
"""What tells a row's call from others under its id."""

READ = (
    *("conversation_id", "turn", "system_prompt_hash", "prompt_version", "finish_reason", "end_user_hash", "kind"),
    *("error_code", "prompt", "response", "prompt_hash", "response_hash", "context_hash", "prompt_chars"),
    *("prompt_words", "response_chars", "response_words", "language", "input_tokens", "output_tokens"),
    *("cached_input_tokens", "cache_write_input_tokens", "token_source", "unpacker"),
)
"""Columns of ``scores`` that come from the payloads."""

WRITTEN = ("earlier_hashes", "checkpoint_id", "batch_id")
"""Columns that a row has from the batch that wrote it."""

OTHER_TEXT = "error:other_text"
"""Reason of a row's scores between the reading of another text and its scoring."""


def _rows(config: Config, day: date, spark: SparkSession) -> DataFrame:
    """The rows of ``scores`` of a day."""
    return on_dates(read_table(spark, SCORES, config.output), "request_date", [day])


def _unread(config: Config) -> Column:
    """Whether a row of ``scores`` was read by another unpacker than today's."""
    return ~F.col("unpacker").eqNullSafe(F.lit(unpacker_mark(unpack_settings(config))))


def _reread_day(config: Config, day: date, unread: DataFrame) -> int:
    """Read the payloads of the rows with these keys again; how many rows the source still had.

    Where a text is another now, the row has no scores until they are computed, and ``score_errors`` says why.
    """
    exchanges = _source_rows(config, day, unread.sparkSession).transform(
        _that_were_scored, unread.select(*SCORES.keys, *CONTENT), key=config.text.secret()
    )
    written = {c.name: F.lit(None).cast(c.type) for c in SCORES.columns if c.name in WRITTEN}
    read = (
        exchanges.withColumns({"count_tokens": needs_counting(), "sampled": F.lit(True)})
        .withColumns(written | {"content_hash": F.col("own_hash")})
        .transform(score_exchanges, config, only=())
        .transform(score_columns, config, now=datetime.now(UTC))
    )
    texts = {name: stored_text(F.col(name), store=config.text.store) for name in SCORES.holds_text}
    is_other = F.expr(
        f"NOT (t.prompt_hash <=> s.prompt_hash AND t.response_hash <=> s.response_hash) AND NOT {_left_out('t.')}"
    )
    columns = [column for scorer in COLUMNS.values() for column in scorer]
    errors = F.create_map(*(F.lit(part) for column in columns for part in (column, OTHER_TEXT)))
    values = {
        **{name: F.col(f"s.{name}") for name in READ},
        **{name: F.when(~is_other, F.col(f"t.{name}")) for name in columns},
        "score_errors": F.when(is_other, errors).otherwise(F.col("t.score_errors")),
        "content_hash": F.coalesce("t.content_hash", "s.content_hash"),
        "scored_at": F.lit(datetime.now(UTC)),
    }
    rows = read.withColumns(texts).select(*SCORES.keys, *READ, "content_hash")
    return update_rows(rows, SCORES, config.output, values, dates=[day])


def _source_rows(config: Config, day: date, spark: SparkSession) -> DataFrame:
    """What the source's rows of a day hold."""
    source = on_days(read_source(spark, config), day, day, dialect=config.source.dialect)
    unpacked = unpack_rows(common_rows(source, config), config, now=datetime.now(UTC))
    return unpacked.where(F.col("request_date") == day)


def _rescore_day(
    config: Config, day: date, stale: DataFrame, fingerprints: Mapping[str, str]
) -> tuple[tuple[str, ...], int]:
    """Score the rows with these keys anew; the scorers that were needed, and how many rows the source still had."""
    spark = stale.sparkSession
    rows = _rows(config, day, spark)
    stale_of = dict(zip(COLUMNS, _stale(config, fingerprints), strict=True))
    needed = rows.agg(*(F.bool_or(needs).alias(name) for name, needs in stale_of.items())).collect()[0]
    only = tuple(name for name in COLUMNS if needed[name])
    exchanges = _source_rows(config, day, spark).transform(
        _that_were_scored, stale.select(*SCORES.keys, *CONTENT), key=config.text.secret()
    )
    columns = [column for scorer in only for column in COLUMNS[scorer]]
    scored = (
        exchanges.withColumns({"count_tokens": F.lit(False), "sampled": F.lit(True)})
        .transform(score_exchanges, config, only=only)
        .select(
            *(*SCORES.keys, "prompt", "response"),
            *(F.col(f"scored.{name}").alias(name) for name in (*columns, "language", "scorers")),
            score_errors().alias("score_errors"),
        )
    )
    listed = ", ".join(f"'{column}'" for column in columns)

    def mixed(stored: str, new: str) -> Column:
        """Entries of the columns that were computed from the new map, of the others from the stored one."""
        return F.expr(
            f"map_concat(map_filter(coalesce({stored}, map()), (k, v) -> k NOT IN ({listed})), "
            f"map_filter({new}, (k, v) -> k IN ({listed})))"
        )

    if config.slicing_exprs:  # they may be about scores; over the row as it will be
        maps = ("score_errors", "scorers")
        others = [name for name in rows.columns if name not in scored.columns and name != "slices"]
        stored = rows.select(*SCORES.keys, *others, *(F.col(name).alias(f"stored_{name}") for name in maps))
        scored = scored.join(stored, list(SCORES.keys)).withColumns(
            {name: mixed(f"stored_{name}", name) for name in maps}
        )
    values = {
        **{name: F.col(f"s.{name}") for name in (*columns, "language")},
        **{name: mixed(f"t.{name}", f"s.{name}") for name in ("score_errors", "scorers")},
        "sample_rate": F.greatest(F.coalesce("t.sample_rate", F.lit(1.0)), F.lit(config.scoring.sample_rate)),
        "sampled": F.lit(True),
        "scored_at": F.lit(datetime.now(UTC)),
    }
    if config.slicing_exprs:
        values["slices"] = F.col("s.slices")

    def update(exchanges: DataFrame) -> int:
        return update_rows(exchanges.drop(*SCORES.holds_text), SCORES, config.output, values, dates=[day])

    return only, write_sliced(scored, config, update)


def _that_were_scored(unpacked: DataFrame, stale: DataFrame, *, key: bytes) -> DataFrame:
    """The exchanges with the keys of ``stale``.

    Of the calls that share an id, the one with the stored content. Where that is not known (a row of an older version,
    or hashed with another key), the one whose texts have the stored hashes; where none has them the earliest.
    """
    own = {"prompt": "own_prompt_hash", "response": "own_response_hash"}
    stored = stale.withColumns({"stored_id": F.col("request_id"), "request_id": F.expr(LOGGED_ID)})
    exchanges = (
        explode_exchanges(unpacked)
        .withColumnRenamed("content_hash", "own_hash")
        .join(stored, list(SCORES.keys))
        .where(f"NOT coalesce(own_hash <> content_hash AND {SAME_KEY}, false)")
        .drop("request_id")
        .withColumnRenamed("stored_id", "request_id")
    )
    is_other = F.expr("NOT (own_prompt_hash <=> prompt_hash AND own_response_hash <=> response_hash)")
    order = Window.partitionBy(*SCORES.keys).orderBy(is_other, "request_time", "source_row_hash")
    return (
        with_hashes(exchanges, own, key=key)
        .withColumn("copy", F.row_number().over(order))
        .where("copy = 1")
        .drop("copy", "prompt_hash", "response_hash", *own.values())
    )
