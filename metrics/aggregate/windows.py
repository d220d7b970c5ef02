"""Windows of ``scores`` in Spark: which rows fall into which, and their statistics in bulk."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce
from operator import and_
from typing import TYPE_CHECKING

from pyspark.sql import Window
from pyspark.sql import functions as F

from metrics.aggregate.ranges import window_start
from metrics.aggregate.rows import ROW_COLUMNS
from schemas.config import duration_seconds
from schemas.profile_metrics import PROFILE_METRICS, STATISTICS

if TYPE_CHECKING:
    import pyarrow as pa  # type: ignore[import-untyped]
    from pyspark.sql import Column, DataFrame

GROUP = ("granularity", "start", "endpoint_name", "model_name")
"""What identifies a window that a row touches; all versions of its model are recomputed together."""

UNIT = ("unit_start", "endpoint_name", "model_name")
"""What identifies the rows that windows are computed of together."""

KEYS = (*GROUP, "end", "model_version", "slice_key", "slice_value", "column_name", "scorer_fingerprint")

STATISTICS_DDL = ", ".join(f"{c.name} {c.type}" for c in PROFILE_METRICS.columns if c.name in STATISTICS)

HOUR, DAY = 3600, 86400


def with_unit(rows: DataFrame, seconds: int, *, time: str = "request_time") -> DataFrame:
    """Rows with ``unit_start``: begin of the hour or day (of so many seconds) that ``time`` falls into, as epoch."""
    return rows.withColumn("unit_start", window_start(F.unix_seconds(time), seconds))


def touched_units(changes: DataFrame, seconds: int) -> DataFrame:
    """The distinct hours (or days) of models (``UNIT``) that new or changed rows fall into."""
    return with_unit(changes, seconds).select(*UNIT).distinct()


def in_units(rows: DataFrame, units: DataFrame, *, how: str = "left_semi") -> DataFrame:
    """Rows of ``with_unit`` whose unit is among ``units``, or with left_anti is not; NULL names equal each other."""
    return rows.alias("l").join(units.alias("r"), _same(UNIT), how)


def _same(names: Sequence[str]) -> Column:
    return reduce(and_, (F.col(f"l.{name}").eqNullSafe(F.col(f"r.{name}")) for name in names))


def with_gone(figures: DataFrame, stored: DataFrame) -> DataFrame:
    """Figures with ``gone``, and the keys of stored windows that no row falls into any more.

    Args:
        figures: ``STATISTICS``.
        stored: ``KEYS`` of windows as they are stored.
    """
    keyed = figures.withColumns({"start": F.col("window.start"), "end": F.col("window.end")})
    gone = stored.select(*KEYS).alias("l").join(keyed.select(*KEYS).alias("r"), _same(KEYS), "left_anti")
    gone = gone.withColumns(
        {"window": F.struct("start", "end"), "window_date": F.to_date("start"), "gone": F.lit(True)}
    ).drop("start", "end")
    return figures.withColumn("gone", F.lit(False)).unionByName(gone, allowMissingColumns=True)


def with_lost(windows: DataFrame) -> DataFrame:
    """Adds ``lost`` to windows as of ``with_gone``: gone, and no row of their version has their scorer now.

    All versions together are a version of their own here.
    """
    # A rate's fingerprint has its threshold after the scorer's.
    scorer = F.regexp_replace("scorer_fingerprint", " threshold=.*$", "")
    same = Window.partitionBy("granularity", "window", "endpoint_name", "model_name", "model_version", scorer)
    is_held = F.max(~F.col("gone")).over(same)
    return windows.withColumn("lost", F.col("gone") & F.col("scorer_fingerprint").isNotNull() & ~is_held)


def holding(windows: DataFrame, rows: DataFrame) -> DataFrame:
    """Granularity and start of the windows that times of ``rows`` (``request_time``) fall into."""
    within = (F.col("window.start") <= F.col("request_time")) & (F.col("request_time") < F.col("window.end"))
    times = rows.select("request_time").distinct()
    joined = windows.select("granularity", "window").join(F.broadcast(times), within, "left_semi")
    return joined.select("granularity", "window.start").distinct()


def aggregate_windows(rows: DataFrame, *, granularities: Sequence[str], toxicity_threshold: float) -> DataFrame:
    """``window_statistics`` of many rows, by executors: those of an hour (or of a day) and a model together.

    Args:
        rows: Rows of ``scores``.
        granularities: Lengths of windows.
        toxicity_threshold: From this probability on a text counts as toxic.

    Returns:
        ``STATISTICS``.
    """
    of_unit: dict[int, list[str]] = {}
    for granularity in granularities:
        of_unit.setdefault(unit_seconds(granularity), []).append(granularity)

    def aggregate(table: pa.Table) -> pa.Table:
        from metrics.aggregate.statistics import window_statistics

        lengths = of_unit[table.column("unit")[0].as_py()]
        return window_statistics(table, granularities=lengths, toxicity_threshold=toxicity_threshold)

    epoch = F.unix_seconds("request_time")
    units = [F.struct(F.lit(one).alias("unit"), window_start(epoch, one).alias("unit_start")) for one in of_unit]
    return (
        rows.select(*(name for name in ROW_COLUMNS if name in rows.columns), F.inline(F.array(*units)))
        .groupBy("unit", *UNIT)
        .applyInArrow(aggregate, STATISTICS_DDL)
    )


def unit_seconds(granularity: str) -> int:
    """Seconds of the rows that windows of a length are computed of together: an hour where it divides one, or a day."""
    return DAY if HOUR % duration_seconds(granularity) else HOUR


def merged_windows(parts: DataFrame, granularity: str) -> DataFrame:
    """``long_windows`` of many windows, by executors.

    Args:
        parts: Rows of ``profile_metrics`` of one length.
        granularity: Length of the long windows.

    Returns:
        ``STATISTICS``.
    """

    def merge(table: pa.Table) -> pa.Table:
        from metrics.aggregate.merging import long_windows

        return long_windows(table, granularity)

    return _by_series(parts, merge, STATISTICS_DDL, duration_seconds(granularity))


def merged_range(windows: DataFrame, *, seconds: int | None = None, begin: int = 0) -> DataFrame:
    """``merge_windows`` of many windows, by executors; their length is NULL.

    Args:
        windows: Rows of ``profile_metrics``, none of which overlap.
        seconds: Merge into periods of this length; None for one over all.
        begin: Where one of the periods begins, in epoch seconds.
    """

    def merge(table: pa.Table) -> pa.Table:
        from metrics.aggregate.merging import merge_windows

        return merge_windows(table, seconds=seconds, begin=begin)

    ddl = f"since timestamp, until timestamp, {STATISTICS_DDL.partition('window_date date, ')[2]}"
    return _by_series(windows, merge, ddl, None)


def _by_series(windows: DataFrame, merge: Callable[[pa.Table], pa.Table], ddl: str, seconds: int | None) -> DataFrame:
    """Windows of one model, version and slice together; where they are merged into windows, of one of these."""
    start = F.unix_seconds("window.start")
    piece = F.lit(0).cast("bigint") if seconds is None else window_start(start, seconds)
    columns = [name for name in STATISTICS if name in windows.columns]
    return (
        windows.select(*columns, piece.alias("piece"))
        .groupBy("piece", "endpoint_name", "model_name", "model_version", "slice_key", "slice_value")
        .applyInArrow(merge, ddl)
    )
