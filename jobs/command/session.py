"""The Spark session: the cluster's own, or a local one with Delta."""

from __future__ import annotations

import atexit
import os
import re
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

DEFAULTS = {
    # Generated code that is kept: a trigger needs some hundred classes, and with the 100 that are kept by default each
    # trigger compiles all of them again.
    "spark.sql.codegen.cache.maxEntries": "5000",
    # A worker that gives nothing for four hours hangs (an Arrow batch is 2,000 exchanges at most): it is killed, and
    # its task tried again.
    "spark.python.worker.idleTimeoutSeconds": "14400",
    "spark.python.worker.killOnIdleTimeout": "true",
    # What the UI would show of queries that are over: 2 MiB a batch of ours, and 1,000 queries are kept by default.
    "spark.sql.ui.retainedExecutions": "20",
    "spark.ui.retainedJobs": "100",
    "spark.ui.retainedStages": "100",
    "spark.ui.retainedTasks": "1000",
}
"""Of a session that we make, also of one that spark-submit has settings for: where it has none of these."""

COLLECTOR = "-XX:+UseSerialGC -XX:NewRatio=1"
"""Of local sessions: parallel collectors take more processor time than they save with a heap of this size."""

LOCAL_SETTINGS = DEFAULTS | {
    "spark.python.daemon.module": "metrics.score.daemon",
    "spark.sql.shuffle.partitions": "4",
    "spark.databricks.delta.snapshotPartitions": "2",
    # VACUUM lists folders in so many tasks: 10,000 by default, which takes a minute on one machine.
    "spark.sql.sources.parallelPartitionDiscovery.parallelism": "8",
    # Each shuffle would be a job of its own.
    "spark.sql.adaptive.enabled": "false",
    "spark.driver.memory": "4g",
    # Classes beyond MetaspaceSize make it collect everything, again and again; when the code cache is full, what comes
    # later is interpreted.
    "spark.driver.extraJavaOptions": f"{COLLECTOR} -XX:MetaspaceSize=512m -XX:ReservedCodeCacheSize=512m",
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
}

JAVA_OPTIONS = ("JDK_JAVA_OPTIONS", "JAVA_TOOL_OPTIONS", "_JAVA_OPTIONS")
"""Variables in which the user's environment has options of Java."""


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
    spark.conf.set("spark.sql.execution.arrow.maxRecordsPerBatch", str(ARROW_RECORDS))
    spark.conf.set("spark.sql.execution.arrow.maxBytesPerBatch", str(ARROW_BYTES))
    return spark


def _submitted() -> bool:
    """Whether spark-submit runs this, on a cluster that is not Databricks' (which brings Delta)."""
    return "PYSPARK_GATEWAY_PORT" in os.environ and "DATABRICKS_RUNTIME_VERSION" not in os.environ


def _submitted_session(builder: SparkSession.Builder) -> SparkSession:
    """A session with Delta of spark-submit's settings, and of our defaults where it has none.

    Spark's own are made for large tables: 7,412 tasks for a batch of 300 rows. What goes by the number of cores is set
    when it is known.

    Raises:
        SourceError: Delta's jars are not on its class path.
    """
    from delta.tables import DeltaTable
    from pyspark import SparkConf

    submitted = SparkConf()
    for key, value in {**DELTA_SETTINGS, **DEFAULTS}.items():
        if not submitted.get(key):
            builder = builder.config(key, value)
    spark: SparkSession = builder.getOrCreate()
    for key, value in by_cores(spark.sparkContext.defaultParallelism).items():
        if not submitted.get(key):
            spark.conf.set(key, value)
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


def by_cores(cores: int) -> dict[str, str]:
    """Settings of a session by the cores that it has now."""
    return {
        "spark.sql.shuffle.partitions": str(max(4, 2 * cores)),
        "spark.databricks.delta.snapshotPartitions": str(max(2, min(50, cores))),
        "spark.sql.sources.parallelPartitionDiscovery.parallelism": str(max(8, 4 * cores)),
    }


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
        if key == "spark.driver.extraJavaOptions" and _has_collector():  # two would keep Java from starting
            value = value.replace(COLLECTOR, "").strip()  # noqa: PLW2901
        builder = builder.config(key, value)
    spark: SparkSession = configure_spark_with_delta_pip(builder).getOrCreate()
    spark.sparkContext.setLogLevel("ERROR")
    return spark


def _has_collector() -> bool:
    """Whether the environment chooses Java's garbage collector."""
    return bool(re.search(r"-XX:\+Use\w+GC\b", " ".join(os.environ.get(name, "") for name in JAVA_OPTIONS)))
