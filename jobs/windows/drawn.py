"""The windows that page and cards show, read as rarely as can be."""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING

from pyspark.sql import functions as F

from jobs.store.tables import read_table
from metrics.dashboard.summary import NEEDS, Needs
from schemas.config import Config
from schemas.profile_metrics import PROFILE_METRICS

if TYPE_CHECKING:
    import pandas as pd
    from pyspark.sql import DataFrame, SparkSession

RECENT_DAYS = 31
"""Minutes and hours are drawn for so many days, the newest included; days are drawn for ever."""

LIVE_DAYS = 2
"""The newest days, whose windows every page reads; the others hardly ever change (``Drawn``)."""

MEASURE = ("endpoint_name", "model_name", "model_version", "column_name")
"""What one scorer is the newest of."""

STATISTICS = (
    "count",
    "num_nulls",
    "avg",
    "median",
    "min",
    "max",
    "sum",
    "weighted_count",
    "weighted_avg",
    "sum_wx",
    "sum_w2",
    "sum_w2x",
    "sum_w2x2",
)
"""What is read of each window."""


class Drawn:
    """Windows of days gone by that a page was drawn of, for the next page of the same process.

    They hardly ever change, and who writes windows holds the window hop's lock: a driver knows what it has written.
    """

    def __init__(self) -> None:
        self._newest: date | None = None
        self._needs: Needs | None = None
        self._rows: dict[str, pd.DataFrame] = {}

    def written(self, dates: Collection[date] | None) -> None:
        """Read again what may have changed.

        Args:
            dates: Whose windows were written; None: they may be any.
        """
        if dates is None:
            self._rows.clear()
        elif self._newest is not None and dates:
            recent = self._newest - timedelta(days=RECENT_DAYS)
            if any(recent < day <= self._newest - timedelta(days=LIVE_DAYS) for day in dates):
                self._rows.pop("month", None)
            if any(day <= recent for day in dates):
                self._rows.pop("before", None)

    def read(self, windows: DataFrame, newest: date, needs: Needs) -> list[pd.DataFrame]:
        """The windows of days before the newest ones, from the table where they are not known."""
        if (newest, needs) != (self._newest, self._needs):
            self._rows.clear()
        self._newest, self._needs = newest, needs
        recent = F.col("window_date") > F.lit(newest - timedelta(days=RECENT_DAYS))
        periods = {"month": recent, "before": ~recent & (F.col("granularity") == "1 day")}
        for name, period in periods.items():
            if name not in self._rows:
                self._rows[name] = _read(windows.where(period))
        return list(self._rows.values())


def page_metrics(spark: SparkSession, config: Config, needs: Needs = NEEDS, drawn: Drawn | None = None) -> pd.DataFrame:
    """The rows of ``profile_metrics`` that something is drawn of, with ``window_start`` and ``window_end``.

    Minutes and hours of the last month, and all days. Of each version's measure only the newest scorer's windows, as in
    the view ``current_metrics``: different scorers are never mixed.

    Args:
        spark: Session.
        config: Settings.
        needs: Which measures; the page's are ``metrics.dashboard.charts.NEEDS``.
        drawn: What the page before has read, by this process; None: everything is read.
    """
    import pandas as pd

    windows = read_table(spark, PROFILE_METRICS, config.output)
    # Without a condition, Delta answers this from its log.
    newest = windows.agg(F.max("window_date")).collect()[0][0] or datetime.now(UTC).date()
    wanted = F.lit(False)
    for granularity, names in needs.items():
        wanted = wanted | ((F.col("granularity") == granularity) & F.col("column_name").isin(*names))
    windows = windows.where(wanted & F.col("slice_key").isNull())
    live = F.col("window_date") > F.lit(newest - timedelta(days=LIVE_DAYS))
    found = [_read(windows.where(live)), *(drawn or Drawn()).read(windows.where(~live), newest, needs)]
    rows = pd.concat([some for some in found if len(some)] or found[:1], ignore_index=True)
    # The rule of current_metrics; for a month of minutes Spark takes two seconds longer (tests/jobs/test_dashboard.py).
    last = rows.sort_values(["window_start", "updated_micros", "count"]).drop_duplicates(list(MEASURE), keep="last")
    scorer = [*MEASURE, "scorer_fingerprint"]
    return rows.merge(last[scorer], on=scorer).drop(columns=["scorer_fingerprint", "updated_micros"])


def _read(windows: DataFrame) -> pd.DataFrame:
    """What the page draws of windows, and what tells the newest scorer."""
    return windows.select(
        F.col("window.start").alias("window_start"),
        F.col("window.end").alias("window_end"),
        "granularity",
        *MEASURE,
        *STATISTICS,
        "scorer_fingerprint",
        F.unix_micros("updated_at").alias("updated_micros"),
    ).toPandas()
