"""What every job needs: arguments, configuration, a Spark session, logging, and the fail points of the kill tests."""

from __future__ import annotations

import argparse
import atexit
import gc
import logging
import os
import re
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jobs.checkpoints import WAY_OUT, check_metadata
from jobs.java import use_java
from schemas.config import AVAILABLE_NOW, Config, load_config
from schemas.errors import ConfigError, MonitorError, SourceError

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame, SparkSession

LOG = logging.getLogger("inference_metrics")
FAIL_POINT_VARIABLE = "INFERENCE_METRICS_FAIL_POINT"
OK, FAILED, WRONG_USE = 0, 1, 2

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


def parser(command: str, description: str, *, config: bool = True) -> argparse.ArgumentParser:
    """Arguments that all commands share; ``config`` for those that read a configuration."""
    arguments = argparse.ArgumentParser(
        prog=f"inference-metrics {command}",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    if not config:
        return arguments
    arguments.add_argument("--config", metavar="FILE", help="YAML file with settings (conf/local.yaml is an example)")
    arguments.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        dest="overrides",
        help="override a setting, for example scoring.device=cpu; repeatable",
    )
    return arguments


def add_trigger(arguments: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """The option of commands that stream."""
    arguments.add_argument("--trigger", help="a duration such as '5 minutes' (stays up), or availableNow (ends)")
    return arguments


def run(main: Callable[[], int]) -> int:
    """Run a command: errors that users can mend become one message and an exit code."""
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    for name in ("py4j", "mlflow", "alembic", "httpx"):
        logging.getLogger(name).setLevel(logging.WARNING)
    try:
        return main()
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        return WRONG_USE
    except MonitorError as error:
        print(f"error: {error}", file=sys.stderr)
        return FAILED
    except Exception as error:
        print(f"error: {described(error)}", file=sys.stderr)
        LOG.debug("traceback", exc_info=True)
        return FAILED


STORAGE = re.compile(
    r"No space left on device|Disk quota exceeded|Read-only file system|Permission denied"
    r"|\S+ is not a Parquet file|Encountered error while reading file \S*[^\s.]|Checksum error: \S+"
)
"""What Spark says of files and disks, far below the first line of its errors."""

CUT_OFF = re.compile(r"Incomplete log file|STREAMING_CHECKPOINT_MISSING_METADATA_FILE")
"""What it says of a checkpoint that lacks a file, or the end of one."""


def described(error: Exception) -> str:
    """Type and first line of an error; of what Spark has below, an error of ours and what is wrong with files and disk.

    No more: what Spark adds below can quote rows.
    """
    text = str(error)
    lines = text.splitlines() or [""]
    ours = next((line for line in lines[1:] if line.startswith("schemas.errors.")), "")
    below = "; ".join(dict.fromkeys(STORAGE.findall(text.removeprefix(lines[0]))))
    way_out = WAY_OUT if CUT_OFF.search(text) else ""
    return " ".join(part for part in (f"{type(error).__name__}: {lines[0][:500]}", ours, below, way_out) if part)


def read_config(arguments: argparse.Namespace, **extra: str | None) -> Config:
    """The command's configuration; ``extra`` are settings that have an option of their own."""
    options = [f"{key}={value}" for key, value in extra.items() if value is not None]
    return load_config(arguments.config, [*arguments.overrides, *options])


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
    wheel = Path(__file__).parents[1]
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


def spread(df: DataFrame, size: Column, *, keys: Sequence[str]) -> DataFrame:
    """The rows over as many partitions as there are cores, each with its share of ``size``, not only of rows.

    Within each partition that there is, rows are dealt out by size, longest first, to and fro; each begins at another
    core. No row is moved twice.

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


FAIL_POINTS = (
    *("before_scores", "after_scores", "after_quarantine", "after_feedback", "after_batches"),
    *("before_windows", "after_windows", "after_tick"),
)
"""Where ``fail_point`` can be asked to die, in the order in which a run comes by."""


def fail_point(name: str) -> None:
    """Die here, as by SIGKILL, when the environment asks for it; for tests of what a crash leaves behind."""
    assert name in FAIL_POINTS
    if os.environ.get(FAIL_POINT_VARIABLE) == name:
        os.kill(os.getpid(), signal.SIGKILL)


def stream(df: DataFrame, batch: Callable[[DataFrame, int], None], *, name: str, checkpoint: str, trigger: str) -> Any:
    """Start a foreachBatch query; ``trigger`` is availableNow or a duration.

    Raises:
        CheckpointError: Its checkpoint is damaged.
    """

    def clean_batch(rows: DataFrame, batch_id: int) -> None:
        try:
            batch(rows, batch_id)
        finally:
            # Py4J's objects refer to each other in circles, and each keeps a plan in the JVM's memory. In a process
            # with half a million lasting objects (torch, mlflow) Python looks for circles seldom by itself.
            gc.collect()

    check_metadata(df.sparkSession, checkpoint)
    writer = df.writeStream.queryName(name).option("checkpointLocation", checkpoint).foreachBatch(clean_batch)
    if trigger == AVAILABLE_NOW:
        return writer.trigger(availableNow=True).start()
    return writer.trigger(processingTime=trigger).start()
