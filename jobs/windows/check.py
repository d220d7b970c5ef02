"""Whether stored windows equal a recomputation from ``scores``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyspark.sql import functions as F

from jobs.store.tables import read_table
from jobs.upkeep.retention import purged_until
from jobs.windows.query import SAME_FREQUENCIES, window_figures
from metrics.aggregate.windows import holding
from schemas.config import Config
from schemas.forgotten import FORGOTTEN
from schemas.profile_metrics import PROFILE_METRICS

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame, SparkSession

TOLERANCE = 1e-9


def check_windows(spark: SparkSession, config: Config, *, most: int) -> tuple[dict[str, int], list[str]]:
    """Compare all windows whose rows are there.

    Args:
        spark: Session.
        config: Settings.
        most: So many of those that differ are named.

    Returns:
        How many ``windows`` there are, and how many of them are not checked since rows in them were forgotten
        (``windows_forgotten``). And those that differ.
    """
    with window_figures(spark, config) as figures:
        counts, wrong = _compared(spark, config, figures)
        return counts, [row["window"] for row in wrong.limit(most).collect()]


def _compared(spark: SparkSession, config: Config, figures: DataFrame) -> tuple[dict[str, int], DataFrame]:
    keys = ", ".join(key.replace("window.start", "start") for key in PROFILE_METRICS.keys)
    stored = read_table(spark, PROFILE_METRICS, config.output).withColumn("start", F.col("window.start")).alias("t")
    expected = figures.withColumn("start", F.col("window.start")).alias("s")
    if (horizon := purged_until(spark, config)) is not None:
        stored, expected = (windows.where(F.col("window_date") >= F.lit(horizon)) for windows in (stored, expected))
    same_key = F.expr(" AND ".join(f"t.{key} <=> s.{key}" for key in keys.split(", ")))
    both = stored.join(expected, same_key, "full_outer")
    names = ("count", "num_nulls", "avg", "stddev", "min", "max", "sum", "weighted_count", "weighted_avg")
    sums = ("sum_wx", "sum_w2", "sum_w2x", "sum_w2x2")
    differs = F.lit(False)
    for name in (*names, *sums):
        differs = differs | ~_equal(F.col(f"t.{name}"), F.col(f"s.{name}"))
    differs = differs | F.expr(f"NOT ({SAME_FREQUENCIES})")
    wrong = both.where(F.col("t.column_name").isNull() | F.col("s.column_name").isNull() | differs)
    # Frozen is what is no longer in ``scores``.
    wrong = wrong.where(F.col("s.column_name").isNotNull() | F.expr("NOT coalesce(t.is_frozen, false)"))
    named = ("granularity", "start", "model_version", "column_name")
    wrong = wrong.select(*(F.coalesce(f"t.{c}", f"s.{c}").alias(c) for c in named))
    exempt = holding(stored, read_table(spark, FORGOTTEN, config.output).where("table_name = 'scores'"))
    wrong = wrong.join(exempt, ["granularity", "start"], "left_anti").select(F.concat_ws(" ", *named).alias("window"))
    left = stored.join(exempt, ["granularity", "start"], "left_semi").count()
    return {"windows": stored.count(), "windows_forgotten": left}, wrong


def _equal(stored: Column, expected: Column) -> Column:
    a, b = stored.cast("double"), expected.cast("double")
    close = F.abs(a - b) <= TOLERANCE * F.greatest(F.abs(a), F.abs(b), F.lit(1.0))
    return F.coalesce(close, a.eqNullSafe(b))
