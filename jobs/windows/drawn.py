"""The windows that page and cards show, read as rarely as can be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING

from pyspark.sql import functions as F

from jobs.store.tables import identifier, read_table
from metrics.dashboard.summary import NEEDS, Needs
from schemas.config import Config
from schemas.profile_metrics import PROFILE_METRICS

if TYPE_CHECKING:
    import pandas as pd
    from pyspark.sql import Column, DataFrame, Row, SparkSession

RECENT_DAYS = 31
"""Minutes and hours are drawn for so many days, the newest included; days are drawn for ever."""

LIVE_DAYS = 2
"""The newest days, whose windows every page reads; the others hardly ever change (``_kept``)."""

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

HISTORY = 50
"""Commits that are looked through for removed windows; a tick makes a few."""

LEAVES_ROWS = ("MERGE", "UPDATE", "OPTIMIZE", "VACUUM START", "VACUUM END", "SET TBLPROPERTIES")
"""Operations that remove no window, unless a MERGE counts one."""


@dataclass(frozen=True)
class _Kept:
    """Windows that a page has read, by period: with which newest date, and of which version of the table."""

    newest: date
    version: int
    rows: Mapping[str, pd.DataFrame]

    @property
    def written(self) -> Column:
        """When the last of them was written."""
        times = [int(some["updated_micros"].max()) for some in self.rows.values() if len(some)]
        return F.timestamp_micros(F.lit(max(times, default=0)))


_KEPT: dict[tuple[str, str], _Kept] = {}
"""By table and what is read of it, for the next page of this process."""


def page_metrics(spark: SparkSession, config: Config, needs: Needs = NEEDS) -> pd.DataFrame:
    """The rows of ``profile_metrics`` that something is drawn of, with ``window_start`` and ``window_end``.

    Minutes and hours of the last month, and all days. Of each version's measure only the newest scorer's windows, as in
    the view ``current_metrics``: different scorers are never mixed.

    Args:
        spark: Session.
        config: Settings.
        needs: Which measures; the page's are ``metrics.dashboard.charts.NEEDS``.
    """
    import pandas as pd

    windows = read_table(spark, PROFILE_METRICS, config.output)
    # Without a condition, Delta answers this from its log.
    newest = windows.agg(F.max("window_date")).collect()[0][0] or datetime.now(UTC).date()
    drawn = F.lit(False)
    for granularity, names in needs.items():
        drawn = drawn | ((F.col("granularity") == granularity) & F.col("column_name").isin(*names))
    windows = windows.where(drawn & F.col("slice_key").isNull())
    live = F.col("window_date") > F.lit(newest - timedelta(days=LIVE_DAYS))
    found = [_read(windows.where(live)), *_kept(spark, config, windows.where(~live), newest, needs)]
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


def _kept(spark: SparkSession, config: Config, windows: DataFrame, newest: date, needs: Needs) -> list[pd.DataFrame]:
    """Windows of days gone by: a period's are read again only where one was written or may have been removed since.

    What was written is found without reading them all: the files' statistics have ``updated_at``.
    """
    recent = F.col("window_date") > F.lit(newest - timedelta(days=RECENT_DAYS))
    periods = {"month": recent, "before": ~recent & (F.col("granularity") == "1 day")}
    table = identifier(PROFILE_METRICS, config.output)
    # Asked before the rows are read: what comes in between is found by the next page.
    commits = spark.sql(f"DESCRIBE HISTORY {table} LIMIT {HISTORY}").collect()  # newest first
    key = (table, repr(needs))
    known, again = _KEPT.get(key), dict.fromkeys(periods, True)
    if known is not None and known.newest == newest and not _may_have_lost_rows(commits, known.version):
        later = windows.where(F.col("updated_at") > known.written)
        again = later.agg(*(F.bool_or(period).alias(name) for name, period in periods.items())).collect()[0].asDict()
    rows = {
        name: _read(windows.where(period)) if known is None or again[name] else known.rows[name]
        for name, period in periods.items()
    }
    _KEPT[key] = _Kept(newest, commits[0]["version"], rows)
    return list(rows.values())


def _may_have_lost_rows(commits: Sequence[Row], version: int) -> bool:
    """Whether a commit after that version removed rows; also where the newest commits, which are given, begin later."""
    later = [commit for commit in commits if commit["version"] > version]
    removed = [(commit["operationMetrics"] or {}).get("numTargetRowsDeleted", "0") != "0" for commit in later]
    other = [commit["operation"] not in LEAVES_ROWS for commit in later]
    return any(removed) or any(other) or commits[-1]["version"] > version + 1
