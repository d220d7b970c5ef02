"""The windows that page and cards show, read as rarely as can be."""

from __future__ import annotations

import time
from collections.abc import Collection
from datetime import UTC, date, datetime, timedelta
from functools import reduce
from typing import TYPE_CHECKING, Any

import numpy as np
from pyspark.sql import functions as F

from jobs.store.tables import on_dates, read_table
from metrics.dashboard.summary import NEEDS, Needs
from schemas.config import Config
from schemas.profile_metrics import PROFILE_METRICS

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa  # type: ignore[import-untyped]
    from pyspark.sql import DataFrame, SparkSession

RECENT_DAYS = 31
"""Minutes and hours are drawn for so many days, the newest included; days are drawn for ever."""

MEASURE = ("endpoint_name", "model_name", "model_version", "column_name")
"""What one scorer is the newest of."""

COLUMNS = (
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


SAME = ("count", "num_nulls", "sum", "weighted_count")
"""Two windows with the same of these are the same: the one that was written first stands."""


class PageCache:
    """The windows that a page was drawn of, for the next page of the same process.

    Who writes windows holds the window hop's lock: a driver knows what it has written, and reads it from the table only
    where it was not computed on the driver.
    """

    def __init__(self) -> None:
        self.shape: tuple[Any, tuple[str, str, int] | None] | None = None
        """How many rows quarantine had, and the most frequent shape among them; None: not looked yet."""
        self._needs: Needs | None = None
        self._rows: pd.DataFrame | None = None
        self._stale: set[date] = set()

    def written(self, dates: Collection[date] | None, figures: pa.Table | None = None) -> None:
        """Take note of windows that this process has written.

        Args:
            dates: Theirs; None: they may be of any date.
            figures: The windows themselves (``STATISTICS``); None: they are read again.
        """
        if dates is None:
            self._rows = None
        elif self._rows is not None and self._needs is not None and dates:
            if figures is None:
                self._stale.update(dates)
            else:
                self._rows = _replaced(self._rows, _as_frame(figures, self._needs))

    def rows(self, windows: DataFrame, needs: Needs) -> pd.DataFrame:
        """All that is drawn, read from the table where it is not known; and what tells the newest scorer."""
        import pandas as pd

        wanted = F.lit(False)
        for granularity, names in needs.items():
            wanted = wanted | ((F.col("granularity") == granularity) & F.col("column_name").isin(*names))
        windows = windows.where(wanted & F.col("slice_key").isNull())
        if self._rows is None or needs != self._needs:
            newest = windows.agg(F.max("window_date")).collect()[0][0] or datetime.now(UTC).date()
            is_recent = F.col("window_date") > F.lit(newest - timedelta(days=RECENT_DAYS))
            self._rows = _read(windows.where(is_recent | (F.col("granularity") == "1 day")))
        elif self._stale:
            others = self._rows[~self._rows["window_start"].dt.date.isin(self._stale)]
            found = [others, _read(on_dates(windows, "window_date", self._stale))]
            self._rows = pd.concat([some for some in found if len(some)] or found[:1], ignore_index=True)
        self._needs, self._stale = needs, set()
        start = self._rows["window_start"]
        oldest = start.max().normalize() - pd.Timedelta(days=RECENT_DAYS - 1) if len(start) else None
        self._rows = self._rows[(start >= oldest) | (self._rows["granularity"] == "1 day")]
        return self._rows


def page_metrics(
    spark: SparkSession, config: Config, needs: Needs = NEEDS, cache: PageCache | None = None
) -> pd.DataFrame:
    """The rows of ``profile_metrics`` that something is drawn of, with ``window_start`` and ``window_end`` (UTC).

    Minutes and hours of the last month, and all days. Of each version's measure only the newest scorer's windows, as in
    the view ``current_metrics``: different scorers are never mixed.

    Args:
        spark: Session.
        config: Settings.
        needs: Which measures; the page's are ``metrics.dashboard.charts.NEEDS``.
        cache: What the page before was drawn of, by this process; None: everything is read.
    """
    rows = (cache or PageCache()).rows(read_table(spark, PROFILE_METRICS, config.output), needs)
    # The rule of current_metrics; for a month of minutes Spark takes two seconds longer (tests/jobs/test_dashboard.py).
    last = rows.sort_values(["window_start", "updated_micros", "count"]).drop_duplicates(list(MEASURE), keep="last")
    scorer = [*MEASURE, "scorer_fingerprint"]
    return rows.merge(last[scorer], on=scorer).drop(columns=["scorer_fingerprint", "updated_micros"])


def _read(windows: DataFrame) -> pd.DataFrame:
    """What the page draws of windows, and what tells the newest scorer."""
    import pandas as pd

    rows: pd.DataFrame = windows.select(
        F.unix_micros("window.start").alias("window_start"),
        F.unix_micros("window.end").alias("window_end"),
        "granularity",
        *MEASURE,
        *COLUMNS,
        "scorer_fingerprint",
        F.unix_micros("updated_at").alias("updated_micros"),
    ).toPandas()
    # Not as timestamps: those are of the session's zone.
    times = {name: pd.to_datetime(rows[name], unit="us") for name in ("window_start", "window_end")}
    return rows.assign(**times)


def _as_frame(figures: pa.Table, needs: Needs) -> pd.DataFrame:
    """Windows that were computed on the driver, as ``_read`` has those of the table."""
    import pandas as pd
    import pyarrow as pa
    import pyarrow.compute as pc  # type: ignore[import-untyped]

    wanted = [pc.and_(pc.equal(figures["granularity"], granularity),
                      pc.is_in(figures["column_name"], value_set=pa.array(names)))
              for granularity, names in needs.items()]  # fmt: skip
    chosen = figures.filter(pc.and_(reduce(pc.or_, wanted), pc.is_null(figures["slice_key"])))
    rows = chosen.select(["granularity", *MEASURE, *COLUMNS, "scorer_fingerprint"]).to_pandas()
    times = {
        f"window_{side}": pd.to_datetime(
            pc.cast(pc.struct_field(chosen["window"], side), "int64").to_numpy(), unit="us"
        )
        for side in ("start", "end")
    }
    return rows.assign(**times, updated_micros=time.time_ns() // 1000)


def _replaced(rows: pd.DataFrame, written: pd.DataFrame) -> pd.DataFrame:
    """Rows with those that were written in the place of what they had been, but for those that are the same."""
    import pandas as pd

    key = ["granularity", "window_start", *MEASURE, "scorer_fingerprint"]
    before = written[key].merge(rows[[*key, *SAME]], on=key, how="left")
    is_same = pd.Series(True, index=written.index)
    for name in SAME:
        a, b = (pd.to_numeric(column).to_numpy(dtype=float) for column in (written[name], before[name]))
        is_same &= np.isclose(a, b, rtol=1e-9, atol=0, equal_nan=True) & before["count"].notna().to_numpy()
    changed = written[~is_same]
    found = [some for some in (rows, changed[rows.columns]) if len(some)]
    both = pd.concat(found, ignore_index=True) if found else rows
    return both.drop_duplicates(key, keep="last", ignore_index=True)
