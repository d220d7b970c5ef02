"""The current windows: of each version's measure those of the newest scorer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyspark.sql import functions as F

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

NEWEST = (
    "max_by(scorer_fingerprint, struct(window.start, updated_at, count)) "
    "OVER (PARTITION BY endpoint_name, model_name, model_version, column_name)"
)

IS_NEWEST = "scorer_fingerprint <=> newest"


def current_metrics(windows: DataFrame) -> DataFrame:
    """Of each version's measure only the newest scorer's windows: different scorers are never mixed.

    The newest is the one whose last window begins last, and of several the one that was written last.
    """
    return windows.withColumn("newest", F.expr(NEWEST)).where(IS_NEWEST).drop("newest")
