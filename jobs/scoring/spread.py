"""Work spread over the cores."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame, SparkSession


def spread(df: DataFrame, size: Column, *, keys: Sequence[str]) -> DataFrame:
    """The rows over as many partitions as there are cores, each with its share of ``size``, not only of rows.

    Within each partition that there is, rows are dealt out by size, longest first, in snake order; each begins at
    another core. No row is moved twice.

    Args:
        df: Rows.
        size: Work that a row makes.
        keys: Columns that tell rows apart, so that a task that is repeated deals them out alike.
    """
    from pyspark.sql import functions as F

    n = _cores(df.sparkSession)
    place = (F.monotonically_increasing_id() + F.spark_partition_id()) % (2 * n)
    dealt = df.withColumn("size", size).sortWithinPartitions(F.desc("size"), *keys).withColumn("place", place)
    to = F.when(F.col("place") < n, F.col("place")).otherwise(2 * n - 1 - F.col("place"))
    return dealt.withColumn("place", to.cast("int")).repartitionById(n, "place").drop("size", "place")


def _cores(spark: SparkSession) -> int:
    try:
        return int(spark.sparkContext.defaultParallelism)
    except Exception:  # Spark Connect has no context: as many as it shuffles to
        setting = spark.conf.get("spark.sql.shuffle.partitions") or ""
        return int(setting) if setting.isdigit() else 64
