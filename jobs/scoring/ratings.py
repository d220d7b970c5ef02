"""Ratings as columns of the requests that they are of: windows follow them by the change feed of ``scores``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyspark.sql import functions as F

from jobs.store.tables import kept, merge, on_dates, read_table, retried
from schemas.config import Config
from schemas.feedback import FEEDBACK, LESS_IS_BETTER
from schemas.scores import RATED_COLUMNS, SCORES

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

CHANGED = " OR ".join(f"NOT (t.{name} <=> s.{name})" for name in RATED_COLUMNS)


def write_ratings(requests: DataFrame, config: Config) -> None:
    """Give requests what ``feedback`` has of them now: the same however often it is done.

    Only ratings from 0 to 1 count (yes and no, thumbs): what a mark of 4 is worth no log tells.

    Args:
        requests: ``request_date`` and ``request_id`` of rated requests, also of those whose ratings are gone; those
            without a date are left out, since ``scores`` did not know them.
        config: Settings.
    """
    spark, output = requests.sparkSession, config.output
    with kept(requests.select("request_date", "request_id").where("request_date IS NOT NULL").distinct()) as rated:
        dates = [day for (day,) in rated.select("request_date").distinct().collect()]
        if not dates:
            return
        ratings = on_dates(read_table(spark, FEEDBACK, output), "request_date", dates).where("value BETWEEN 0 AND 1")
        is_less = F.lower("name").isin(*LESS_IS_BETTER)
        value = F.when(is_less, 1 - F.col("value")).otherwise(F.col("value"))
        means = {"feedback_score": F.avg(value), "feedback_positive": F.avg((value > 0.5).cast("double"))}
        found = ratings.groupBy("request_date", "request_id").agg(*(x.alias(name) for name, x in means.items()))
        rows = rated.join(found, ["request_date", "request_id"], "left").withColumn("exchange_index", F.lit(0))

        def write() -> None:
            values = {name: F.col(f"s.{name}") for name in RATED_COLUMNS}
            merge(rows, SCORES, output, dates=dates).whenMatchedUpdate(CHANGED, values).execute()

        retried(write)
