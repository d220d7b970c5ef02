"""What Spark gives a Python worker: cores, and Arrow batches that fit into memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pandas as pd
from pyspark.sql import functions as F

from jobs.command.session import ARROW_BYTES
from metrics.score.udf import _resources

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

MIB = 2**20


def test_a_task_keeps_to_its_cores(spark: SparkSession) -> None:
    def threads(batches: Iterator[pd.DataFrame]) -> Iterator[pd.DataFrame]:
        import torch

        for _ in batches:
            torch.set_num_threads(7)
            _resources()
            yield pd.DataFrame({"threads": [torch.get_num_threads()]})

    assert spark.range(0, 1, 1, 1).mapInPandas(threads, "threads int").collect()[0][0] == 1


def test_arrow_batches_are_bounded_by_bytes(spark: SparkSession) -> None:
    def size(batches: Iterator[pd.Series]) -> Iterator[pd.Series]:
        for texts in batches:
            yield pd.Series([len(texts)] * len(texts))

    udf = F.pandas_udf(size, "int")  # type: ignore[attr-defined]  # not in the stubs
    texts = spark.range(0, 16, 1, 1).select(F.repeat(F.lit("x"), MIB // 2).alias("text"))

    def largest() -> int:
        return int(texts.select(udf("text").alias("size")).agg(F.max("size")).collect()[0][0])

    setting = "spark.sql.execution.arrow.maxBytesPerBatch"
    assert spark.conf.get(setting) == str(ARROW_BYTES)
    assert largest() == 16
    spark.conf.set(setting, str(MIB))
    try:
        assert largest() <= 3
    finally:
        spark.conf.set(setting, str(ARROW_BYTES))
