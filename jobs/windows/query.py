"""Windows as they are stored, and as ``scores`` has them now."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import date
from functools import reduce
from typing import TYPE_CHECKING

from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from jobs.store.tables import identifier, kept, on_dates, read_table
from metrics.aggregate.current import IS_NEWEST, NEWEST
from metrics.aggregate.ranges import from_rows, part_of_long
from metrics.aggregate.windows import (
    DAY,
    GROUP,
    KEYS,
    aggregate_windows,
    holding,
    in_units,
    merged_windows,
    unit_seconds,
    with_gone,
    with_lost,
    with_unit,
)
from schemas.config import Config
from schemas.forgotten import FORGOTTEN
from schemas.profile_metrics import PROFILE_METRICS, STATISTICS
from schemas.scores import SCORES

if TYPE_CHECKING:
    from pyspark.sql import Column, SparkSession

NOT_FROZEN = "NOT coalesce(is_frozen, false)"

SAME_FREQUENCIES = "sort_array(map_entries(t.frequencies)) <=> sort_array(map_entries(s.frequencies))"
"""SQL: whether the frequencies of two windows are equal; maps can't be compared."""


def stored_windows(spark: SparkSession, config: Config, dates: Iterable[date]) -> DataFrame:
    """Windows of some dates as they are, with their ``start`` and ``end``; but for frozen ones."""
    windows = on_dates(read_table(spark, PROFILE_METRICS, config.output), "window_date", dates)
    return windows.where(NOT_FROZEN).select("*", "window.start", "window.end")


@contextmanager
def window_figures(
    spark: SparkSession, config: Config, *, dates: Iterable[date] | None = None, units: DataFrame | None = None
) -> Iterator[DataFrame]:
    """``profile_metrics`` as ``scores`` has it now, while the block runs.

    Args:
        spark: Session.
        config: Settings.
        dates: Windows of these dates; None: of all.
        units: Of ``touched_units`` (``unit_length``): only the windows in these, and the longer ones of their days.
            Of these the parts in other units are taken from the table, whose lock is held: what else has changed there
            is yet to be met in the change feed, and touches the long windows again.
    """
    rows = read_table(spark, SCORES, config.output)
    if dates is not None:
        rows = on_dates(rows, "request_date", dates)
    seconds, lengths = unit_length(config), from_rows(config.granularities)
    if units is not None:
        rows = in_units(with_unit(rows, seconds), units)
    short = aggregate_windows(rows, granularities=lengths, toxicity_threshold=config.scoring.toxicity.threshold)
    longer = [one for one in config.granularities if one not in lengths]
    if not longer:
        yield short
        return
    with kept(short) as found:
        part = F.col("granularity").isin(part_of_long(config.granularities))
        parts = found.where(part)
        if units is not None:
            stored = with_unit(stored_windows(spark, config, dates or []).where(part), seconds, time="start")
            others = in_units(stored, units, how="left_anti").transform(with_unit, DAY, time="start")
            others = in_units(others, days_of(units)).select(*STATISTICS)
            parts = parts.unionByName(others)
        yield reduce(DataFrame.unionByName, (merged_windows(parts, one) for one in longer), found)


def unit_length(config: Config) -> int:
    """Seconds of the units that windows are computed of: an hour, or a day where one of them doesn't divide it."""
    return max(unit_seconds(one) for one in from_rows(config.granularities))


def days_of(units: DataFrame) -> DataFrame:
    """The days that units are in, as units."""
    day = F.floor(F.col("unit_start") / DAY).cast("bigint") * DAY
    return units.withColumn("unit_start", day).distinct()


@contextmanager
def whole_figures(
    spark: SparkSession, config: Config, *, dates: list[date], units: DataFrame | None = None
) -> Iterator[DataFrame]:
    """``window_figures``, and which stored windows are ``gone`` or ``lost``.

    A window whose rows have all got another scorer (``rescore``) is to be kept as it is. So is one whose rows were all
    forgotten, but only as long as no row of its model is left in that time: beside a version or slice that has lost
    rows, the others and the whole would not add up.
    """
    stored = stored_windows(spark, config, dates).where(is_wanted(config)).select(*KEYS)
    if units is not None:
        is_long = ~F.col("granularity").isin(from_rows(config.granularities))
        of_days = in_units(with_unit(stored.where(is_long), DAY, time="start"), days_of(units))
        of_units = in_units(with_unit(stored.where(~is_long), unit_length(config), time="start"), units)
        stored = of_units.unionByName(of_days).drop("unit_start")
    with window_figures(spark, config, dates=dates, units=units) as found:
        figures = with_lost(with_gone(found, stored))
        forgotten = holding(figures, read_table(spark, FORGOTTEN, config.output).where("table_name = 'scores'"))
        marked = figures.withColumn("start", F.col("window.start")).join(
            F.broadcast(forgotten.withColumn("forgotten", F.lit(True))), ["granularity", "start"], "left"
        )
        is_left = F.max(~F.col("gone")).over(Window.partitionBy(*GROUP))
        lost = F.col("lost") | (F.col("gone") & F.coalesce("forgotten", F.lit(False)) & ~is_left)
        with kept(marked.withColumn("lost", lost).drop("start", "forgotten")) as computed:
            yield computed


def is_wanted(config: Config) -> Column:
    """Whether a window is of a length and a threshold that the settings ask for."""
    threshold = F.coalesce(F.regexp_extract("scorer_fingerprint", " threshold=(.*)$", 1), F.lit(""))
    return F.col("granularity").isin(*config.granularities) & threshold.isin("", threshold_of(config))


def threshold_of(config: Config) -> str:
    """The toxicity threshold as the fingerprints of rates have it."""
    return f"{config.scoring.toxicity.threshold:g}"


def create_view(spark: SparkSession, config: Config) -> None:
    """``current_metrics`` beside the tables, for other people's queries; folders can't hold a view."""
    output = config.output
    if output.path is not None:
        return
    parts = f"{output.schema_name}.{output.prefix}current_metrics".split(".")
    windows = identifier(PROFILE_METRICS, output)
    # Anew each time: a view keeps the columns that the table had.
    spark.sql(
        f"CREATE OR REPLACE VIEW {'.'.join(f'`{part}`' for part in parts)} AS "  # noqa: S608 (names of the settings)
        f"SELECT * EXCEPT (newest) FROM (SELECT *, {NEWEST} AS newest FROM {windows}) WHERE {IS_NEWEST}"
    )
