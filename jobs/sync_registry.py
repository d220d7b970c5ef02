"""Sync registry: MLflow registry → model_versions.

inference-metrics sync-registry --config conf/local.yaml [--json]

Reads metadata only: no model is loaded, and nothing of its artifacts is run. Which models:
mlflow.registered_model, else those that scores holds.
"""

from __future__ import annotations

import sys
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from pyspark.sql import functions as F

from jobs.command.call import Call, command
from jobs.command.errors import OK
from jobs.command.log import LOG
from jobs.services.mlflow_registry import UnknownModelError, open_registry
from jobs.services.model_versions import Row, as_json, rows_of
from jobs.store.tables import create_table, local_frame, read_table, table_exists, upsert
from schemas.config import Config
from schemas.errors import ConfigError
from schemas.model_versions import DELETED, MODEL_VERSIONS
from schemas.scores import SCORES

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession


def sync(spark: SparkSession, config: Config) -> int:
    """Bring ``model_versions`` up to date with the registry.

    Returns:
        How many versions the registry has.

    Raises:
        ConfigError: No setting and no score names a model.
        RegistryError: The registry can't be read, or has none of the models and never had.
    """
    names = model_names(spark, config)
    rows = read_versions(config, names, known={row["model_name"] for row in rows_of(spark, config, names)})
    create_table(spark, MODEL_VERSIONS, config.output)
    stored = read_table(spark, MODEL_VERSIONS, config.output).where(F.col("model_name").isin(*names))
    now = local_frame(spark, rows, MODEL_VERSIONS.schema)
    changed = _with_deleted(now, stored).exceptAll(stored)
    count = changed.count()
    if count:  # a MERGE that changes nothing would be one more commit of the table all the same
        upsert(changed, MODEL_VERSIONS, config.output)
    LOG.info("registry %s: %d versions, %d new or changed", ", ".join(names), len(rows), count)
    return len(rows)


def _with_deleted(now: DataFrame, stored: DataFrame) -> DataFrame:
    """The registry's rows, and those that it lost, which keep what was known of them."""
    lost = stored.join(now, list(MODEL_VERSIONS.keys), "left_anti")
    lost = lost.withColumns({"status": F.lit(DELETED), "aliases": F.expr("CAST(array() AS array<string>)")})
    return now.unionByName(lost)


def model_names(spark: SparkSession, config: Config) -> list[str]:
    """The registered models that are of interest.

    Raises:
        ConfigError: No setting and no score names one.
    """
    if config.mlflow.registered_model:
        return [config.mlflow.registered_model]
    if table_exists(spark, SCORES, config.output):
        names = read_table(spark, SCORES, config.output).select("model_name").distinct().collect()
        if found := sorted(row[0] for row in names if row[0] is not None):
            return found
    raise ConfigError("sync-registry", ["mlflow.registered_model: is missing, and no score names a model yet"])


def read_versions(config: Config, names: Sequence[str], *, known: Collection[str] = ()) -> list[Row]:
    """The versions of the models as rows of ``model_versions``.

    Args:
        config: The settings.
        names: Registered models.
        known: Those that the registry had once: that it has none of them any more is no mistake.

    Raises:
        RegistryError: The registry can't be read, or has none of the models.
    """
    rows: list[Row] = []
    missing: list[UnknownModelError] = []
    for name in names:
        try:
            rows += open_registry(config.mlflow, name).versions(name)
        except UnknownModelError as error:
            missing.append(error)
            LOG.warning("%s", error)
    if missing and not rows and not known:
        raise missing[0]
    return rows


def show(rows: Sequence[Row]) -> str:
    """The versions as a table to read."""
    lines = [("version", "status", "aliases", "run", "registered")]
    for row in rows:
        registered = f"{row['created_at']:%Y-%m-%d %H:%M}" if row["created_at"] else "-"
        aliases = ", ".join(row["aliases"]) if row["aliases"] is not None else ""
        lines.append((row["model_version"], row["status"], aliases or "-", row["run_name"] or "-", registered))
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    return "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in lines)


def _work(call: Call) -> int:
    config, spark = call.config, call.spark
    sync(spark, config)
    rows = rows_of(spark, config, model_names(spark, config))
    call.show(rows, lambda: show(rows), default=as_json)
    return OK


main = command(__doc__, _work, as_json="the versions")


if __name__ == "__main__":
    sys.exit(main())
