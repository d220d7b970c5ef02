"""The Spark session: the cluster's own, or a local one with Delta."""

from __future__ import annotations

import atexit
import os
import shutil
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from jobs.command.java import use_java
from schemas.errors import SourceError

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

ARROW_RECORDS = 2000
"""Exchanges per Arrow batch: the pool within which texts are sorted by length and scored once."""

ARROW_BYTES = 64 * 2**20
"""Bytes per Arrow batch: with texts of a megabyte fewer exchanges are one."""

DELTA_SETTINGS = {
    "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
    "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
}

LOCAL_SETTINGS = {
    "spark.sql.shuffle.partitions": "4",
    "spark.databricks.delta.snapshotPartitions": "2",
    # VACUUM lists folders in so many tasks: 10,000 by default, which takes a minute on one machine.
    "spark.sql.sources.parallelPartitionDiscovery.parallelism": "8",
    "spark.driver.memory": "4g",
    "spark.python.daemon.module": "metrics.score.daemon",
    # A worker that gives nothing for four hours hangs (an Arrow batch is 2,000 exchanges at most): it is killed, and
    # its task tried again.
    "spark.python.worker.idleTimeoutSeconds": "14400",
    "spark.python.worker.killOnIdleTimeout": "true",
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
    # What the UI would show of queries that are over: 2 MiB a batch of ours, and 1,000 queries are kept by default.
    "spark.sql.ui.retainedExecutions": "20",
    "spark.ui.retainedJobs": "100",
    "spark.ui.retainedStages": "100",
    "spark.ui.retainedTasks": "1000",
    # KLL sketches are object aggregates, which fall back to sorting above 128 groups by default.
    "spark.sql.objectHashAggregate.sortBased.fallbackThreshold": "65536",
}


def spark_session(name: str, *, local_settings: Mapping[str, str] = {}) -> SparkSession:
    """The cluster's session where there is one (Databricks, spark-submit), else a local one with Delta.

    Args:
        name: Application name.
        local_settings: Spark settings of a local session, over ``LOCAL_SETTINGS``.
    """
    from pyspark.sql import SparkSession

    builder: SparkSession.Builder = SparkSession.builder.appName(name)
    if _submitted():
        spark = _submitted_session(builder)
    elif "DATABRICKS_RUNTIME_VERSION" in os.environ or SparkSession.getActiveSession() is not None:
        spark = builder.getOrCreate()
    else:
        spark = _local_session(builder, {**LOCAL_SETTINGS, **local_settings})
    # Dates and windows are UTC whatever the cluster's zone is.
    spark.conf.set("spark.sql.session.timeZone", "UTC")
    # JSON may repeat a key, and VARIANT refuses it; as in most readers the last one counts.
    spark.conf.set("spark.sql.variant.allowDuplicateKeys", "true")
    spark.conf.set("spark.sql.execution.arrow.maxRecordsPerBatch", str(ARROW_RECORDS))
    spark.conf.set("spark.sql.execution.arrow.maxBytesPerBatch", str(ARROW_BYTES))
    return spark


def _submitted() -> bool:
    """Whether spark-submit runs this, on a cluster that is not Databricks' (which brings Delta)."""
    return "PYSPARK_GATEWAY_PORT" in os.environ and "DATABRICKS_RUNTIME_VERSION" not in os.environ


def _submitted_session(builder: SparkSession.Builder) -> SparkSession:
    """A session with Delta of spark-submit's settings.

    Raises:
        SourceError: Delta's jars are not on its class path.
    """
    from delta.tables import DeltaTable
    from pyspark import SparkConf

    submitted = SparkConf()
    for key, value in DELTA_SETTINGS.items():
        if not submitted.get(key):
            builder = builder.config(key, value)
    spark: SparkSession = builder.getOrCreate()
    try:
        DeltaTable.isDeltaTable(spark, "/")
    except TypeError:  # a Java class that is not there looks like a package
        message = (
            "Spark has no Delta Lake. Start it with --packages io.delta:delta-spark_SPARK_2.13:VERSION, "
            "for example io.delta:delta-spark_4.2_2.13:4.4.0 on Spark 4.2."
        )
        raise SourceError(message) from None
    _ship_wheel(spark)
    return spark


def _ship_wheel(spark: SparkSession) -> None:
    """Put the wheel of ``--py-files`` on the workers' path, too.

    Spark copies it to them, but takes only .zip, .egg and .jar for archives of modules; a wheel is a .zip.
    """
    wheel = Path(__file__).parents[2]
    if not wheel.is_file():
        return
    folder = tempfile.mkdtemp()
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    archive = Path(folder) / f"{wheel.stem}.zip"
    shutil.copyfile(wheel, archive)
    spark.sparkContext.addPyFile(str(archive))


def _local_session(builder: SparkSession.Builder, settings: Mapping[str, str]) -> SparkSession:
    from delta import configure_spark_with_delta_pip

    use_java()
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    # Three tries per task: a killed Python worker costs a retry and not the query.
    builder = builder.master("local[*,3]")
    for key, value in {**DELTA_SETTINGS, **settings}.items():
        builder = builder.config(key, value)
    spark: SparkSession = configure_spark_with_delta_pip(builder).getOrCreate()
    spark.sparkContext.setLogLevel("ERROR")
    return spark
