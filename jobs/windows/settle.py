"""When a window is settled: rows that come later than that are unlikely."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from pyspark.sql import functions as F

from jobs.store.locks import UNLOCKED, Unlocked
from jobs.store.tables import read_table, set_rows
from schemas.batches import BATCHES, LATENESS
from schemas.config import Config
from schemas.profile_metrics import PROFILE_METRICS

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

NOT_KNOWN = timedelta(days=7)
"""How long a window has to wait while no batch tells how late rows are."""

VERY_LATE = timedelta(days=30)
"""How long it has to wait where more than one row in a hundred is later than all bounds of the histogram."""


def settling_time(spark: SparkSession, config: Config) -> timedelta:
    """How long after its end a window has to be left alone until late rows are unlikely.

    The lateness (by ``batches``, of the last 30 days) that no more than one row in a hundred exceeds. Batches whose
    newest row was older than an hour are taken for a backlog and left out: what they read is not late, they are.
    """
    since = F.lit(datetime.now(UTC) - timedelta(days=30))
    batches = read_table(spark, BATCHES, config.output).where(
        (F.col("finished_at") > since) & (F.col("lag_seconds") <= 3600)
    )
    counted = batches.select(F.explode("lateness")).groupBy("key").agg(F.sum("value").alias("rows")).collect()
    rows = {row["key"]: row["rows"] for row in counted}
    left = sum(rows.values())
    if not left:
        return NOT_KNOWN
    allowed = left / 100
    for label, seconds in LATENESS:
        left -= rows.get(label, 0)
        if left <= allowed:
            return timedelta(seconds=seconds)
    return VERY_LATE


def settle_windows(
    spark: SparkSession,
    config: Config,
    locks: Unlocked = UNLOCKED,
    *,
    now: datetime | None = None,
    everything: bool = False,
) -> None:
    """Mark the windows as settled whose time has come since they were written.

    Args:
        spark: Session.
        config: Settings.
        locks: Take the table's lock where there is something to do.
        now: Moment to judge by; None for this one.
        everything: Look at all windows, and not only at those whose time has come within two days.
    """
    until = (now or datetime.now(UTC)) - settling_time(spark, config)
    wanted = (F.col("window.end") <= F.lit(until)) & ~F.coalesce("is_settled", F.lit(False))
    if not everything:
        wanted = wanted & (F.col("window_date") >= F.lit(until.date() - timedelta(days=2)))
    # Looking is cheaper than an UPDATE that finds nothing.
    if not read_table(spark, PROFILE_METRICS, config.output).where(wanted).isEmpty():
        with locks.step(PROFILE_METRICS.name):
            set_rows(spark, PROFILE_METRICS, config.output, wanted, {"is_settled": F.lit(True)})
