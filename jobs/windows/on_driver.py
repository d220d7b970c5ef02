"""Windows of few rows, computed on the driver: what a trigger touches, without a Spark job for the figures."""

from __future__ import annotations

from collections.abc import Container, Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import reduce
from math import gcd
from operator import and_, or_
from typing import TYPE_CHECKING

import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.compute as pc  # type: ignore[import-untyped]
from pyspark.sql import functions as F
from pyspark.sql.types import StructType

from jobs.store.tables import on_dates, read_table
from jobs.windows.query import is_wanted, stored_windows, unit_length
from metrics.aggregate.ranges import from_rows, part_of_long, window_start
from metrics.aggregate.rows import ROW_COLUMNS
from metrics.aggregate.windows import DAY, STATISTICS_DDL
from schemas.config import Config, duration_seconds
from schemas.profile_metrics import SERIES
from schemas.scores import SCORES

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame, SparkSession

MOST_MARKS = 500
"""Times that a batch may touch, to be computed on the driver."""

MOST_UNITS = 24
"""Hours (or days) of models that they may be in."""

MOST_ROWS = 100_000
"""Rows of ``scores`` that these may have: some 100 MiB as arrays."""

Unit = tuple[int, str | None, str | None]
"""Begin in seconds of the UTC epoch, endpoint and model."""


@dataclass(frozen=True)
class TouchedTimes:
    """Where rows were inserted or changed.

    Attributes:
        at: Their times, endpoints and models, to the finest window that all others are made of; empty where they are
            too many.
        are_new: Whether all of them were inserted.
        dates: Their UTC dates.
        version: The newest version of ``scores`` among them; None: there is no row.
    """

    at: frozenset[Unit]
    are_new: bool
    dates: frozenset[date]
    version: int | None

    def on(self, dates: Container[date]) -> frozenset[Unit]:
        """Those on some dates."""
        return frozenset(one for one in self.at if datetime.fromtimestamp(one[0], UTC).date() in dates)


def of_length(at: Iterable[Unit], seconds: int) -> set[Unit]:
    """The windows of a length that times fall into."""
    return {(begin // seconds * seconds, endpoint, model) for begin, endpoint, model in at}


def touched_times(changes: DataFrame, config: Config) -> TouchedTimes:
    """Where the rows of a batch of the change feed are."""
    finest = reduce(gcd, (duration_seconds(one) for one in config.granularities))
    at = window_start(F.unix_seconds("request_time"), finest).alias("at")
    is_new = (F.col("_change_type") == "insert").alias("is_new")
    newest = F.max("_commit_version").alias("version")
    found = (
        changes.groupBy(at, "endpoint_name", "model_name", is_new, "request_date")
        .agg(newest)
        .limit(MOST_MARKS + 1)
        .collect()
    )
    if len(found) > MOST_MARKS:
        found = changes.groupBy("request_date").agg(newest, F.bool_and(is_new).alias("is_new")).collect()
        at_times = frozenset[Unit]()
    else:
        at_times = frozenset((row["at"], row["endpoint_name"], row["model_name"]) for row in found)
        if len(of_length(at_times, unit_length(config))) > MOST_UNITS:
            at_times = frozenset()
    are_new = all(row["is_new"] for row in found)
    dates = frozenset(row["request_date"] for row in found)
    return TouchedTimes(at_times, are_new, dates, max((row["version"] for row in found), default=None))


def driver_figures(
    spark: SparkSession, times: TouchedTimes, dates: list[date], config: Config, *, is_forgotten: bool
) -> pa.Table | None:
    """The windows that rows fall into, from all of their rows; of long ones as in ``window_figures``.

    Args:
        spark: Session.
        times: Where rows were inserted or changed.
        dates: The dates of them that are wanted.
        config: Settings.
        is_forgotten: Whether rows of any time were forgotten. Else no window is gone or lost where rows were added.

    Returns:
        ``STATISTICS``; None where this is not the way: there are too many rows, or a window is gone or lost.
    """
    from metrics.aggregate.merging import PARTS, long_windows
    from metrics.aggregate.statistics import window_statistics

    seconds, lengths, at = unit_length(config), from_rows(config.granularities), times.on(dates)
    units = of_length(at, seconds)
    scores = on_dates(read_table(spark, SCORES, config.output), "request_date", dates)
    rows = scores.where(_within({start for start, _, _ in units}, seconds))
    table = rows.select(*(name for name in ROW_COLUMNS if name in rows.columns)).limit(MOST_ROWS + 1).toArrow()
    if table.num_rows > MOST_ROWS:
        return None
    touched = {(one, *unit) for one in lengths for unit in of_length(at, duration_seconds(one))}
    figures = window_statistics(
        table, granularities=lengths, toxicity_threshold=config.scoring.toxicity.threshold, touched=touched
    )
    longer = [one for one in config.granularities if one not in lengths]
    if longer:
        part = part_of_long(config.granularities)
        assert part is not None
        stored = stored_windows(spark, config, dates).where(F.col("granularity") == part)
        length = duration_seconds(part)
        others = stored.where(_of(of_length(at, DAY), DAY) & ~_of(of_length(at, length), length))
        fresh = figures.filter(pc.equal(figures.column("granularity"), part)).select(PARTS)
        parts = pa.concat_tables([others.select(*PARTS).toArrow().cast(fresh.schema), fresh])
        figures = pa.concat_tables([figures, *(long_windows(parts, one) for one in longer)])
    is_safe = times.are_new and not is_forgotten
    return figures if is_safe or _has_all(spark, figures, at, dates, config) else None


def _has_all(spark: SparkSession, figures: pa.Table, at: frozenset[Unit], dates: list[date], config: Config) -> bool:
    """Whether each stored window that rows fall into is among the computed ones: none is gone or lost."""
    stored = stored_windows(spark, config, dates).where(is_wanted(config))
    touched = {(one, *unit) for one in config.granularities for unit in of_length(at, duration_seconds(one))}
    starts = [_at(start) for start in sorted({start for _, start, *_ in touched})]
    found = stored.where(F.col("start").isin(starts)).select(*_KEY).toArrow()
    return _keys(figures) >= {key for key in _keys(found) if (key[0], key[1], *key[2:4]) in touched}


_KEY = ("granularity", "window", *SERIES, "column_name")


def _keys(windows: pa.Table) -> set[tuple[object, ...]]:
    """What identifies each window: its length, start in seconds of the UTC epoch, series and measure."""
    start = pc.cast(pc.cast(pc.struct_field(windows.column("window"), "start"), pa.timestamp("s")), pa.int64())
    columns = [windows.column(name).to_pylist() for name in _KEY if name != "window"]
    return set(zip(columns[0], start.to_pylist(), *columns[1:], strict=True))


def as_frame(spark: SparkSession, figures: pa.Table) -> DataFrame:
    """Windows that were computed on the driver, for a MERGE."""
    schema = StructType.fromDDL(STATISTICS_DDL)
    assert isinstance(schema, StructType)
    return spark.createDataFrame(figures, schema)


def _within(starts: set[int], seconds: int) -> Column:
    """Whether a row's time is in one of the hours or days; literals prune files."""
    time = F.col("request_time")
    return reduce(or_, (time.between(_at(start), _at(start + seconds)) for start in sorted(starts)))


def _at(seconds: int) -> Column:
    return F.lit(datetime.fromtimestamp(seconds, UTC))


def _of(units: set[Unit], seconds: int) -> Column:
    """Whether a stored window begins in one of these units."""
    unit = (window_start(F.unix_seconds("start"), seconds), F.col("endpoint_name"), F.col("model_name"))
    same = (
        reduce(and_, (column.eqNullSafe(F.lit(value)) for column, value in zip(unit, one, strict=True)))
        for one in sorted(units, key=repr)
    )
    return reduce(or_, same)
