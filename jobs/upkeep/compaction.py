"""Compaction: packs the tables' small files, and removes those that no version needs."""

from __future__ import annotations

from datetime import date, timedelta
from typing import TYPE_CHECKING

from jobs.store.tables import identifier, retried
from schemas import Table
from schemas.config import Config

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

RECENT = timedelta(days=8)
"""Of partitioned tables, files of so many days are packed: older ones were, and late rows to them are few."""


def tidy_up(spark: SparkSession, config: Config, table: Table, today: date) -> None:
    """Pack small files, and remove those that no version within ``delta.deletedFileRetentionDuration`` needs."""
    name = identifier(table, config.output)
    recent = f" WHERE {table.partition_by} >= DATE'{today - RECENT}'" if table.partition_by else ""
    retried(lambda: spark.sql(f"OPTIMIZE {name}{recent}"))
    spark.sql(f"VACUUM {name}")
