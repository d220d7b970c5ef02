"""Sync registry: MLflow registry → model_versions.

inference-metrics sync-registry --config conf/local.yaml [--json]

Reads metadata only: no model is loaded, and nothing of its artifacts is run. Which models:
mlflow.registered_model, else those that scores holds.
"""

from __future__ import annotations

import json
import logging
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from pyspark.sql import functions as F

from jobs.runtime import LOG, OK, parser, read_config, run, spark_session
from jobs.tables import create_table, merge, read_table, table_exists
from schemas.config import Config
from schemas.errors import ConfigError, RegistryError
from schemas.model_versions import DELETED, MODEL_VERSIONS
from schemas.scores import SCORES

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from pyspark.sql import DataFrame, SparkSession

Row = dict[str, Any]
TIMES = ("created_at", "updated_at")


def sync(spark: SparkSession, config: Config) -> int:
    """Bring ``model_versions`` up to date with the registry.

    Returns:
        How many versions the registry has.

    Raises:
        ConfigError: No setting and no score names a model.
        RegistryError: The registry can't be read, or lacks a model.
    """
    names = model_names(spark, config)
    rows = [row for name in names for row in read_versions(config.mlflow.tracking_uri, name)]
    create_table(spark, MODEL_VERSIONS, config.output)
    stored = read_table(spark, MODEL_VERSIONS, config.output).where(F.col("model_name").isin(*names))
    now = spark.createDataFrame(
        [tuple(row[c] for c in MODEL_VERSIONS.column_names) for row in rows], MODEL_VERSIONS.schema
    )
    changed = _with_deleted(now, stored).exceptAll(stored)
    count = changed.count()
    if count:  # a MERGE that changes nothing would be one more commit of the table all the same
        merge(changed, MODEL_VERSIONS, config.output).whenMatchedUpdateAll().whenNotMatchedInsertAll().execute()
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


def read_versions(tracking_uri: str | None, name: str) -> list[Row]:
    """All versions of a registered model, as rows of ``model_versions``, in order of their numbers.

    Args:
        tracking_uri: MLflow store; None is the environment's.
        name: Registered model; with three parts on Databricks, one of Unity Catalog.

    Raises:
        RegistryError: The store can't be reached, or has no such model.
    """
    client = _client(tracking_uri, name)
    from mlflow.exceptions import MlflowException

    quote = '"' if "'" in name else "'"
    try:
        aliases = client.get_registered_model(name).aliases
        found = _all_pages(client, f"name={quote}{name}{quote}")
    except MlflowException as error:
        where = tracking_uri or "the environment's MLflow store"
        raise RegistryError(
            f"the registered model {name} can't be read from {where}: {str(error).splitlines()[0]}. "
            "Check mlflow.tracking_uri and mlflow.registered_model."
        ) from error
    run_of = cache(lambda run_id: _run(client, run_id))
    versions = sorted(found, key=lambda one: int(one.version))
    with _quiet_mlflow():
        return [
            {
                "model_name": name,
                "model_version": str(one.version),
                "run_id": one.run_id or None,
                **run_of(one.run_id or None),
                "status": str(one.status),
                "aliases": sorted(alias for alias, number in aliases.items() if str(number) == str(one.version)),
                "created_at": _time(one.creation_timestamp),
                "updated_at": _time(one.last_updated_timestamp),
                **_model_file(client, tracking_uri, name, str(one.version), one.source),
            }
            for one in versions
        ]


def _client(tracking_uri: str | None, name: str) -> MlflowClient:
    try:
        from mlflow import MlflowClient
    except ImportError as error:
        raise RegistryError("mlflow is not installed here; pip install mlflow") from error
    file = re.match(r"^sqlite:///(.+)$", tracking_uri or "")
    if file and not Path(file[1]).exists():  # MLflow would make an empty store
        raise RegistryError(f"there is no MLflow store {file[1]}. Check mlflow.tracking_uri.")
    in_unity_catalog = (tracking_uri or "").startswith("databricks") and name.count(".") == 2
    return MlflowClient(tracking_uri, "databricks-uc" if in_unity_catalog else tracking_uri)


def _all_pages(client: MlflowClient, condition: str) -> list[Any]:
    found, token = [], None
    while True:
        page = client.search_model_versions(condition, max_results=200, page_token=token)
        found += page
        token = page.token
        if not token:
            return found


def _run(client: MlflowClient, run_id: str | None) -> Row:
    """Name and experiment of a run; None where it is gone or out of reach."""
    from mlflow.exceptions import MlflowException

    if run_id is None:
        return {"run_name": None, "experiment": None}
    try:
        info = client.get_run(run_id).info
        return {"run_name": info.run_name, "experiment": client.get_experiment(info.experiment_id).name}
    except MlflowException:
        LOG.warning("run %s can't be read", run_id)
        return {"run_name": None, "experiment": None}


def _model_file(client: MlflowClient, tracking_uri: str | None, name: str, version: str, source: str | None) -> Row:
    """What the files MLmodel and requirements.txt say; None where they are gone or broken."""
    from mlflow.artifacts import download_artifacts
    from mlflow.models import Model

    row: Row = dict.fromkeys(("signature_inputs", "signature_outputs", "flavors", "python_version", "requirements"))
    row["artifact_uri"] = source
    try:
        row["artifact_uri"] = uri = client.get_model_version_download_uri(name, version)
        with TemporaryDirectory() as folder:

            def fetched(file: str) -> str:
                return str(download_artifacts(artifact_uri=f"{uri}/{file}", tracking_uri=tracking_uri, dst_path=folder))

            model = Model.load(fetched("MLmodel"))
            if model.signature is not None:
                for side in ("inputs", "outputs"):
                    schema = getattr(model.signature, side)
                    row[f"signature_{side}"] = None if schema is None else schema.to_json()
            row["flavors"] = sorted(model.flavors)
            row["python_version"] = model.flavors.get("python_function", {}).get("python_version")
            lines = Path(fetched("requirements.txt")).read_text(encoding="utf-8").splitlines()
            row["requirements"] = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    except Exception as error:  # artifacts are other people's files: whatever is wrong with one, the others count
        LOG.warning("the files of %s version %s can't be read: %s", name, version, type(error).__name__)
    return row


@contextmanager
def _quiet_mlflow() -> Iterator[None]:
    """No progress bar for a file of a kilobyte."""
    from mlflow.environment_variables import MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR as BARS

    logger, shown = logging.getLogger("mlflow"), BARS.get()
    level = logger.level
    logger.setLevel(logging.ERROR)
    BARS.set(False)
    try:
        yield
    finally:
        logger.setLevel(level)
        BARS.set(shown)


def _time(milliseconds: float | None) -> datetime | None:
    return None if milliseconds is None else datetime.fromtimestamp(milliseconds / 1000, UTC)


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
        row |= {name: _time(None if row[name] is None else row[name] * 1000) for name in TIMES}
    return sorted(found, key=lambda row: (row["model_name"], int(row["model_version"])))


def show(rows: Sequence[Row]) -> str:
    """The versions as a table to read."""
    lines = [("version", "status", "aliases", "run", "registered")]
    for row in rows:
        registered = f"{row['created_at']:%Y-%m-%d %H:%M}" if row["created_at"] else "-"
        aliases = ", ".join(row["aliases"]) if row["aliases"] is not None else ""
        lines.append((row["model_version"], row["status"], aliases or "-", row["run_name"] or "-", registered))
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    return "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in lines)


def as_json(value: Any) -> Any:
    """Times and arrays for ``json.dumps``."""
    return value.isoformat() if hasattr(value, "isoformat") else list(value)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    arguments = parser("sync-registry", __doc__ or "")
    arguments.add_argument("--json", action="store_true", help="print the versions as JSON")
    options = arguments.parse_args(argv)

    def command() -> int:
        config = read_config(options)
        spark = spark_session("inference-metrics sync-registry")
        sync(spark, config)
        rows = rows_of(spark, config, model_names(spark, config))
        print(json.dumps(rows, default=as_json) if options.json else show(rows))
        return OK

    return run(command)


if __name__ == "__main__":
    sys.exit(main())
