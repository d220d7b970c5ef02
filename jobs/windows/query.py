"""Windows as they are stored, and as ``scores`` has them now."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date
from typing import TYPE_CHECKING

from pyspark.sql import Window
from pyspark.sql import functions as F

from jobs.store.tables import identifier, on_dates, read_table
from metrics.aggregate.current import IS_NEWEST, NEWEST
from metrics.aggregate.windows import GROUP, KEYS, aggregate_windows, holding, in_windows, with_lost, with_windows
from schemas.config import Config
from schemas.forgotten import FORGOTTEN
from schemas.profile_metrics import PROFILE_METRICS
from schemas.scores import SCORES

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame, SparkSession

NOT_FROZEN = "NOT coalesce(is_frozen, false)"


def stored_windows(spark: SparkSession, config: Config, dates: Iterable[date]) -> DataFrame:
    """Windows of some dates as they are, with their ``start`` and ``end``; but for frozen ones."""
    windows = on_dates(read_table(spark, PROFILE_METRICS, config.output), "window_date", dates)
    return windows.where(NOT_FROZEN).select("*", "window.start", "window.end")


def whole_figures(
    spark: SparkSession, config: Config, *, dates: list[date], touched: DataFrame | None = None
) -> DataFrame:
    """Windows of some dates (all, or the touched ones), each from all of its rows, and which are ``gone`` or ``lost``.

    A window whose rows have all got another scorer (``rescore``) is to be kept as it is. So is one whose rows were all
    forgotten, but only as long as no row of its model is left in that time: beside a version or slice that has lost
    rows, the others and the whole would not add up.
    """
    keys = stored_windows(spark, config, dates).select(*KEYS).where(is_wanted(config))
    if touched is not None:
        keys = in_windows(keys, touched)
    figures = with_lost(window_figures(spark, config, dates=dates, touched=touched, stored=keys))
    forgotten = holding(figures, read_table(spark, FORGOTTEN, config.output).where("table_name = 'scores'"))
    marked = figures.withColumn("start", F.col("window.start")).join(
        F.broadcast(forgotten.withColumn("forgotten", F.lit(True))), ["granularity", "start"], "left"
    )
    is_left = F.max(~F.col("gone")).over(Window.partitionBy(*GROUP))
    lost = F.col("lost") | (F.col("gone") & F.coalesce("forgotten", F.lit(False)) & ~is_left)
    return marked.withColumn("lost", lost).drop("start", "forgotten")


def is_wanted(config: Config) -> Column:
    """Whether a window is of a length and a threshold that the settings ask for."""
    threshold = F.coalesce(F.regexp_extract("scorer_fingerprint", " threshold=(.*)$", 1), F.lit(""))
    return F.col("granularity").isin(*config.granularities) & threshold.isin("", threshold_of(config))


def threshold_of(config: Config) -> str:
    """The toxicity threshold as the fingerprints of rates have it."""
    return f"{config.scoring.toxicity.threshold:g}"


def window_figures(
    spark: SparkSession,
    config: Config,
    *,
    dates: Iterable[date] | None = None,
    touched: DataFrame | None = None,
    stored: DataFrame | None = None,
    granularities: Sequence[str] | None = None,
) -> DataFrame:
    """``profile_metrics`` as ``scores`` has it now, of some dates, windows and lengths or of all."""
    rows = read_table(spark, SCORES, config.output)
    if dates is not None:
        rows = on_dates(rows, "request_date", dates)
    rows = with_windows(rows, granularities=granularities or config.granularities)
    if touched is not None:
        rows = in_windows(rows, touched)
    return aggregate_windows(rows, toxicity_threshold=config.scoring.toxicity.threshold, stored=stored)


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
