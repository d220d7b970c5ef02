"""``model_versions``: what is known of the registry's versions, for those that show it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from pyspark.sql import functions as F

from jobs.store.tables import read_table, table_exists
from schemas.config import Config
from schemas.model_versions import MODEL_VERSIONS, version_order

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

Row = dict[str, Any]

TIMES = ("created_at", "updated_at")


def rows_of(spark: SparkSession, config: Config, names: Sequence[str] | None = None) -> list[Row]:
    """Rows of ``model_versions`` in order of models and version numbers; none where the table is not there."""
    if not table_exists(spark, MODEL_VERSIONS, config.output):
        return []
    table = read_table(spark, MODEL_VERSIONS, config.output)
    if names is not None:
        table = table.where(F.col("model_name").isin(*names))
    # As seconds, because collect() gives times in the zone of the process.
    seconds = {name: F.col(name).cast("double") for name in TIMES}
    found = [row.asDict() for row in table.withColumns(seconds).collect()]
    for row in found:
        row |= {name: None if row[name] is None else datetime.fromtimestamp(row[name], UTC) for name in TIMES}
    return sorted(found, key=lambda row: (row["model_name"], version_order(row["model_version"])))


def as_json(value: Any) -> Any:
    """Times and arrays for ``json.dumps``."""
    return value.isoformat() if hasattr(value, "isoformat") else list(value)
