"""Touched windows, or all of them, computed anew from ``scores`` and put into ``profile_metrics``."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, date, datetime
from functools import partial
from typing import TYPE_CHECKING

from pyspark.sql import functions as F

from jobs.command.fail_points import fail_point
from jobs.command.log import LOG
from jobs.store.locks import Locks
from jobs.store.tables import delete_rows, kept, merge, read_table, retried
from jobs.upkeep.retention import purged_until
from jobs.windows.query import NOT_FROZEN, is_wanted, stored_windows, whole_figures, window_figures
from jobs.windows.settle import settling_time
from metrics.aggregate.ranges import is_long, long_windows, part_of_long
from metrics.aggregate.windows import KEYS, in_windows, touched_windows
from schemas.config import Config
from schemas.profile_metrics import PROFILE_METRICS
from schemas.scores import SCORES

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

FIGURES = [c for c in PROFILE_METRICS.column_names if c not in ("revision", "is_settled", "is_frozen", "updated_at")]

CHANGED = " OR ".join(
    [f"NOT (t.{name} <=> s.{name})" for name in ("count", "num_nulls", "min", "max")]
    + [
        f"NOT coalesce(abs(t.{name} - s.{name}) <= 1e-9D * greatest(abs(t.{name}), abs(s.{name})), "
        f"t.{name} <=> s.{name})"
        for name in ("sum", "avg", "weighted_count", "weighted_avg", "sum_wx", "sum_w2", "sum_w2x", "sum_w2x2")
    ]
)
"""When a stored window is rewritten. Sums of the same values in another order differ in their last digits, and sketches
are random: neither is a change."""


def aggregate_batch(df: DataFrame, batch_id: int, config: Config, locks: Locks | None = None) -> None:
    """Recompute the windows that changed rows fall into, from ``scores``, and put them into one MERGE.

    The batch says only which windows are touched, so a replay, a late row and a re-scored row all end in the same
    figures. Deletes are not followed, nor rows of dates that retention has purged: it must not undo windows.
    """
    changes = df.where(F.col("_change_type").isin("insert", "update_preimage", "update_postimage"))
    found = changes.select("request_date", F.col("_change_type") != "insert").distinct().collect()
    # The rows of older dates are gone: their windows stay as they are.
    horizon = purged_until(df.sparkSession, config)
    dates = sorted({day for day, _ in found if horizon is None or day >= horizon})
    if dates:
        updated = any(updated for _, updated in found)
        with kept(touched_windows(changes, granularities=config.granularities)) as touched:
            retried(lambda: _recompute(touched, dates, config, locks, updated=updated))
        LOG.info("windows %d: recomputed those of %d days", batch_id, len(dates))


def _recompute(touched: DataFrame, dates: list[date], config: Config, locks: Locks | None, *, updated: bool) -> None:
    """The windows that changed rows of some dates fall into; ``updated``: some of the rows are not new."""
    part = None if updated else part_of_long(config.granularities)
    if not (part and _recompute_parts(touched, dates, part, config, locks)):
        with kept(whole_figures(touched.sparkSession, config, dates=dates, touched=touched)) as computed:
            fail_point("before_windows")
            write_windows(computed, dates, config, locks)
    fail_point("after_windows")


def _recompute_parts(touched: DataFrame, dates: list[date], part: str, config: Config, locks: Locks | None) -> bool:
    """As ``_recompute`` of new rows: of a long window they touch few parts, of the length ``part``.

    The others are taken from the table, whose lock is held, and not from their rows. False, with nothing written, where
    rows have left windows or changed their scorer since the new ones came (``rescore``): no sum of parts is right then.
    """
    spark = touched.sparkSession
    stored = stored_windows(spark, config, dates)
    lengths = [one for one in config.granularities if not is_long(one)]
    keys = in_windows(stored.where(F.col("granularity").isin(lengths)).select(*KEYS), touched)
    figures = window_figures(spark, config, dates=dates, touched=touched, stored=keys, granularities=lengths)
    with kept(figures.withColumn("lost", F.lit(False))) as computed:
        if not computed.where("gone").isEmpty():
            return False
        others = in_windows(stored.where(F.col("granularity") == part), touched, how="left_anti")
        parts = computed.where(F.col("granularity") == part).unionByName(others, allowMissingColumns=True)
        longer = [one for one in config.granularities if is_long(one)]
        long = long_windows(parts, touched, granularities=longer).withColumn("lost", F.lit(False))
        fail_point("before_windows")
        write_windows(computed.unionByName(long), dates, config, locks)
    return True


def write_windows(figures: DataFrame, dates: Iterable[date], config: Config, locks: Locks | None) -> None:
    """Put windows of some dates into the table, in one MERGE; what is ``lost`` is ``gone``, too.

    Raises:
        LockedError: They were computed under a lock that is another's by now, who may have written newer ones.
    """
    if locks:
        locks.check(PROFILE_METRICS.name)
    spark = figures.sparkSession
    is_settled = F.col("s.window.end") <= F.lit(datetime.now(UTC) - settling_time(spark, config))
    values = {name: F.col(f"s.{name}") for name in FIGURES}
    values |= {"is_settled": is_settled, "updated_at": F.lit(datetime.now(UTC))}
    # A frozen window that has rows again is one like any other.
    again = values | {"revision": F.expr("t.revision + 1"), "is_frozen": F.lit(None).cast("boolean")}
    (
        merge(figures, PROFILE_METRICS, config.output, dates=dates)
        .whenMatchedUpdate("s.lost", {"is_frozen": F.lit(True)})
        .whenMatchedDelete("s.gone")
        .whenMatchedUpdate(f"({CHANGED}) OR t.is_frozen", again)
        .whenNotMatchedInsert("NOT s.gone", values | {"revision": F.lit(1)})
        .execute()
    )


def recompute_all(spark: SparkSession, config: Config, locks: Locks | None = None) -> int:
    """Compute all windows anew whose rows are there, a day at a time; how many days. Safe to repeat at any point.

    Windows that no row falls into any more go, as do those that the settings no longer ask for (of another length, or
    toxic by another threshold). Those of rows that retention has removed stay as they are, as do frozen ones.
    """
    horizon = purged_until(spark, config)
    rows = read_table(spark, SCORES, config.output).select("request_date").distinct()
    dates = sorted(day for (day,) in rows.collect() if horizon is None or day >= horizon)

    def compute(day: date) -> None:
        with kept(whole_figures(spark, config, dates=[day])) as computed:
            write_windows(computed, [day], config, locks)

    for day in dates:
        retried(partial(compute, day))
        LOG.info("recomputed the windows of %s", day)
    other = F.col("window_date").isin(dates) & ~is_wanted(config) & F.expr(NOT_FROZEN)
    delete_rows(spark, PROFILE_METRICS, config.output, other)
    return len(dates)
