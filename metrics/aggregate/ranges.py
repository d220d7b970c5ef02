"""Any range of time out of stored windows: which windows tile it, and how their statistics add up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import reduce
from typing import TYPE_CHECKING

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from metrics.aggregate.measures import CORPUS_PERPLEXITY
from metrics.aggregate.windows import SKETCH_QUANTILES, WHOLE_ONLY_SECONDS, in_windows, quantile_columns, window_start
from schemas.config import duration_seconds

if TYPE_CHECKING:
    from pyspark.sql import Column

SERIES = ("endpoint_name", "model_name", "model_version", "slice_key", "slice_value", "scorer_fingerprint")
"""What is never merged, beside ``column_name``."""

LONG_SECONDS = 3600
"""Windows above this length are merged from shorter ones when rows arrive: of a day's rows few are new."""

SUMS = ("count", "num_nulls", "sum", "weighted_count", "sum_wx", "sum_w2", "sum_w2x", "sum_w2x2")


@dataclass(frozen=True)
class Tile:
    """A part of a range that windows of one length fill without a rest; epoch seconds."""

    granularity: str
    since: int
    until: int


def tiles(since: datetime, until: datetime, granularities: Sequence[str]) -> list[Tile]:
    """The range as few windows as possible: long ones inside, short ones at its ends.

    Args:
        since: Begin.
        until: End, not included.
        granularities: Lengths of the windows that are stored.

    Raises:
        ValueError: No windows end where the range begins or ends.
    """
    lengths = sorted(granularities, key=duration_seconds, reverse=True)
    found = _cover(int(since.timestamp()), int(until.timestamp()), lengths)
    if found is None or since.microsecond or until.microsecond:
        raise ValueError(f"must begin and end with windows, the shortest of which are of {lengths[-1]}")
    return found


def _cover(since: int, until: int, lengths: Sequence[str]) -> list[Tile] | None:
    if since >= until:
        return []
    for i, granularity in enumerate(lengths):
        seconds = duration_seconds(granularity)
        first, last = -(-since // seconds) * seconds, until // seconds * seconds
        if first < last:
            before, after = _cover(since, first, lengths[i + 1 :]), _cover(last, until, lengths[i + 1 :])
            if before is not None and after is not None:
                return [*before, Tile(granularity, first, last), *after]
    return None


def within(chosen: Sequence[Tile]) -> Column:
    """Whether a row of ``profile_metrics`` is one of the tiles' windows; dates as literals prune files."""
    condition = F.lit(False)
    for one in chosen:
        first, last = (datetime.fromtimestamp(at, UTC) for at in (one.since, one.until - 1))
        start = F.col("window.start")
        condition = condition | (
            (F.col("granularity") == one.granularity)
            & F.col("window_date").between(F.lit(first.date()), F.lit(last.date()))
            & (start >= F.timestamp_seconds(F.lit(one.since)))
            & (start < F.timestamp_seconds(F.lit(one.until)))
        )
    return condition


def merge_windows(windows: DataFrame, *, seconds: int | None = None, begin: int = 0) -> DataFrame:
    """Windows of several lengths, none of which overlap, merged into one per series and measure.

    Counts and sums add up; deviations by the sum of squares within and between windows (Chan et al. 1979); quantiles
    come from the merged KLL sketches; ``corpus_perplexity`` is exp(sum of nats / sum of tokens) again.

    Args:
        windows: Rows of ``profile_metrics``.
        seconds: Merge into periods of this length; None for one over all.
        begin: Where one of the periods begins, in epoch seconds.

    Returns:
        ``since`` and ``until`` (of the windows that there are), ``SERIES``, ``column_name`` and the statistics, with
        the ``sketch``.
    """
    start = F.unix_seconds(F.col("window.start"))
    piece = F.floor((start - begin) / seconds) if seconds else F.lit(0)
    series = f"PARTITION BY piece, {', '.join(SERIES)}"
    own = f"{series}, column_name"
    merged = (
        windows.withColumn("piece", piece.cast("bigint"))
        .withColumn("mean", F.expr(f"sum(sum) OVER ({own}) / nullif(sum(count) OVER ({own}), 0)"))
        .groupBy("piece", *SERIES, "column_name")
        .agg(
            F.min("window.start").alias("since"),
            F.max("window.end").alias("until"),
            *(F.sum(name).alias(name) for name in SUMS),
            F.min("min").alias("min"),
            F.max("max").alias("max"),
            F.sum(F.expr("coalesce((count - 1) * stddev * stddev, 0) + count * pow(avg - mean, 2)")).alias("squares"),
            F.expr("kll_merge_agg_double(sketch)").alias("sketch"),
        )
        .withColumn("q", F.when(F.col("min").isNotNull(), F.expr(SKETCH_QUANTILES)))
    )
    is_corpus = F.col("column_name") == CORPUS_PERPLEXITY

    def ratio(name: str) -> Column:
        """exp(nats / tokens), of the measures that hold these sums."""
        nats, tokens = (
            f"max(CASE WHEN column_name = '{measure}' THEN {name} END) OVER ({series})"
            for measure in ("response_nll", "response_scored_tokens")
        )
        return F.expr(f"CASE WHEN count > 0 THEN exp({nats} / {tokens}) END")

    return merged.select(
        "since",
        "until",
        *SERIES,
        "column_name",
        "count",
        "num_nulls",
        F.when(is_corpus, ratio("sum")).otherwise(F.expr("sum / nullif(count, 0)")).alias("avg"),
        F.expr("CASE WHEN count > 1 AND min IS NOT NULL THEN sqrt(squares / (count - 1)) END").alias("stddev"),
        "min",
        "max",
        *quantile_columns(),
        "sum",
        "weighted_count",
        F.when(is_corpus, ratio("sum_wx"))
        .otherwise(F.expr("sum_wx / nullif(weighted_count, 0)"))
        .alias("weighted_avg"),
        *("sum_wx", "sum_w2", "sum_w2x", "sum_w2x2"),
        F.when(F.col("min").isNotNull(), F.col("sketch")).alias("sketch"),
    )


def is_long(granularity: str) -> bool:
    """Whether such windows are above ``LONG_SECONDS``."""
    return duration_seconds(granularity) > LONG_SECONDS


def part_of_long(granularities: Sequence[str]) -> str | None:
    """The longest windows, slices included, that all long ones can be merged from; None: those come from rows."""
    longer = [duration_seconds(one) for one in granularities if is_long(one)]
    parts = [one for one in granularities if not is_long(one) and duration_seconds(one) > WHOLE_ONLY_SECONDS]
    part = max(parts, key=duration_seconds, default=None)
    return part if part and longer and all(seconds % duration_seconds(part) == 0 for seconds in longer) else None


def long_windows(parts: DataFrame, touched: DataFrame, *, granularities: Sequence[str]) -> DataFrame:
    """Long windows merged from all the shorter ones that they consist of.

    Args:
        parts: Rows of ``profile_metrics`` of one length.
        touched: The long windows that are wanted, as of ``touched_windows``; others may be among them.
        granularities: Lengths of long windows, at least one.

    Returns:
        As ``aggregate_windows``; nothing is ``gone``.
    """
    return reduce(DataFrame.unionByName, (_of_length(parts, touched, one) for one in granularities))


def _of_length(parts: DataFrame, touched: DataFrame, granularity: str) -> DataFrame:
    seconds = duration_seconds(granularity)
    start = F.timestamp_seconds(window_start(F.unix_seconds("window.start"), seconds))
    own = parts.withColumns({"granularity": F.lit(granularity), "start": start})
    merged = merge_windows(in_windows(own, touched), seconds=seconds)
    first = window_start(F.unix_seconds("since"), seconds)
    window = F.struct(F.timestamp_seconds(first).alias("start"), F.timestamp_seconds(first + seconds).alias("end"))
    return merged.withColumns(
        {
            "window": window,
            "window_date": F.to_date(F.timestamp_seconds(first)),
            "granularity": F.lit(granularity),
            "gone": F.lit(False),
        }
    ).drop("since", "until")
