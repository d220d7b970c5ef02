"""Touched windows, or all of them, computed anew from ``scores`` and put into ``profile_metrics``."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import partial
from typing import TYPE_CHECKING

from pyspark.sql import functions as F

from jobs.command.fail_points import fail_point
from jobs.command.log import LOG
from jobs.store.checkpoints import AGGREGATE_WINDOWS
from jobs.store.locks import UNLOCKED, Unlocked
from jobs.store.tables import delete_rows, merge, read_table, retried
from jobs.upkeep.retention import purged_until
from jobs.windows.on_driver import TouchedTimes, as_frame, driver_figures, touched_times
from jobs.windows.query import NOT_FROZEN, SAME_FREQUENCIES, is_wanted, unit_length, whole_figures
from jobs.windows.settle import settling_time
from metrics.aggregate.windows import touched_units
from schemas.config import Config
from schemas.forgotten import FORGOTTEN
from schemas.profile_metrics import PROFILE_METRICS, STATISTICS
from schemas.scores import SCORES

if TYPE_CHECKING:
    import pyarrow as pa  # type: ignore[import-untyped]
    from pyspark.sql import DataFrame, SparkSession

CHANGED = " OR ".join(
    [f"NOT (t.{name} <=> s.{name})" for name in ("count", "num_nulls", "min", "max")]
    + [f"NOT ({SAME_FREQUENCIES})"]
    + [
        f"NOT coalesce(abs(t.{name} - s.{name}) <= 1e-9D * greatest(abs(t.{name}), abs(s.{name})), "
        f"t.{name} <=> s.{name})"
        for name in ("sum", "avg", "weighted_count", "weighted_avg", "sum_wx", "sum_w2", "sum_w2x", "sum_w2x2")
    ]
)
"""When a stored window is rewritten. Sums of the same values in another order differ in their last digits, and sketches
are random: neither is a change."""


def aggregate_batch(df: DataFrame, batch_id: int, config: Config, locks: Unlocked = UNLOCKED) -> None:
    """One batch of the window query."""
    days = len(recompute_touched(df, config, locks).dates)
    if days:
        LOG.info("windows %d: recomputed those of %d days", batch_id, days)


@dataclass(frozen=True)
class Recomputed:
    """What was written.

    Attributes:
        dates: The dates that changed rows are on.
        version: The newest version of ``scores`` that one of them is of; None: there is none.
        figures: The windows, where they were computed on the driver.
    """

    dates: frozenset[date]
    version: int | None
    figures: pa.Table | None = None


def recompute_touched(feed: DataFrame, config: Config, locks: Unlocked) -> Recomputed:
    """Recompute the windows that changed rows fall into, from ``scores``, and put them into one MERGE.

    The feed says only which windows are touched, so a replay, a late row and a re-scored row all end in the same
    figures. Deletes are not followed, nor rows of dates that retention has purged: it must not undo windows.

    Args:
        feed: Rows of the change feed.
        config: Settings.
        locks: Under which windows are written.
    """
    spark = feed.sparkSession
    changes = feed.where(F.col("_change_type").isin("insert", "update_preimage", "update_postimage"))
    times = touched_times(changes, config)
    # The rows of older dates are gone: their windows stay as they are.
    dates, figures = sorted(times.dates), None
    if dates:
        horizon = locks.remembered("purged until", lambda: purged_until(spark, config), under=SCORES.name)
        dates = [day for day in dates if horizon is None or day >= horizon]
    if dates:
        figures = retried(lambda: _recompute(changes, times, dates, config, locks))
    return Recomputed(times.dates, times.version, figures)


def _recompute(
    changes: DataFrame, times: TouchedTimes, dates: list[date], config: Config, locks: Unlocked
) -> pa.Table | None:
    """On the driver where the windows and their rows are few, which are returned; else by executors."""
    spark = changes.sparkSession
    forgotten = read_table(spark, FORGOTTEN, config.output)
    is_forgotten = not locks.remembered("nothing is forgotten", forgotten.isEmpty, under=SCORES.name)
    figures = driver_figures(spark, times, dates, config, is_forgotten=is_forgotten) if times.at else None
    if figures is not None:
        fail_point("before_windows")
        write_windows(as_frame(spark, figures), dates, config, locks)
    else:
        units = touched_units(changes, unit_length(config))
        with whole_figures(spark, config, dates=dates, units=units) as computed:
            computed.count()
            fail_point("before_windows")
            write_windows(computed, dates, config, locks)
    fail_point("after_windows")
    return figures


def write_windows(figures: DataFrame, dates: Iterable[date], config: Config, locks: Unlocked) -> None:
    """Put windows of some dates into the table, in one MERGE; what is ``lost`` is ``gone``, too.

    Args:
        figures: Of ``whole_figures``, or without ``gone`` and ``lost`` where no window can be.
        dates: Theirs.
        config: Settings.
        locks: Those under which they were computed.

    Raises:
        LockedError: They were computed under a lock that is another's by now, who may have written newer ones.
    """
    locks.check(PROFILE_METRICS.name)
    spark = figures.sparkSession
    late = locks.remembered(
        "settling time", lambda: settling_time(spark, config), under=AGGREGATE_WINDOWS, seconds=3600
    )
    is_settled = F.col("s.window.end") <= F.lit(datetime.now(UTC) - late)
    values = {name: F.col(f"s.{name}") for name in STATISTICS}
    values |= {"is_settled": is_settled, "updated_at": F.lit(datetime.now(UTC))}
    # A frozen window that has rows again is one like any other.
    again = values | {"revision": F.expr("t.revision + 1"), "is_frozen": F.lit(None).cast("boolean")}
    writer, is_there = merge(figures, PROFILE_METRICS, config.output, dates=dates), None
    if "gone" in figures.columns:
        writer = writer.whenMatchedUpdate("s.lost", {"is_frozen": F.lit(True)}).whenMatchedDelete("s.gone")
        is_there = "NOT s.gone"
    writer = writer.whenMatchedUpdate(f"({CHANGED}) OR t.is_frozen", again)
    writer.whenNotMatchedInsert(is_there, values | {"revision": F.lit(1)}).execute()


def recompute_all(spark: SparkSession, config: Config, locks: Unlocked = UNLOCKED) -> int:
    """Compute all windows anew whose rows are there, a day at a time; how many days. Safe to repeat at any point.

    Windows that no row falls into any more go, as do those that the settings no longer ask for (of another length, or
    toxic by another threshold). Those of rows that retention has removed stay as they are, as do frozen ones.
    """
    horizon = purged_until(spark, config)
    rows = read_table(spark, SCORES, config.output).select("request_date").distinct()
    dates = sorted(day for (day,) in rows.collect() if horizon is None or day >= horizon)

    def compute(day: date) -> None:
        with whole_figures(spark, config, dates=[day]) as computed:
            write_windows(computed, [day], config, locks)

    for day in dates:
        retried(partial(compute, day))
        LOG.info("recomputed the windows of %s", day)
    other = F.col("window_date").isin(dates) & ~is_wanted(config) & F.expr(NOT_FROZEN)
    delete_rows(spark, PROFILE_METRICS, config.output, other)
    return len(dates)
