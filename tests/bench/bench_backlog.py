"""A backlog of many small files: rows a second, and how much memory it takes as it grows.

    python -m tests.bench.bench_backlog [--files 10000] [--files-per-trigger 250]

One row per file, scored by the tests' small models, in this process and its children (Spark's JVM, Python workers).
Memory is taken at the end of each batch, of the JVM what living objects take (its heap is filled before it looks for
garbage); it is bounded if it does not grow with the number of batches.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from datetime import timedelta
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

from pyspark.sql import functions as F

from jobs import score_responses
from jobs.command.session import spark_session
from jobs.scoring.batch import score_batch
from tests.models import save_classifier, save_language_model
from tests.traffic import config_in, frame, row

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from schemas.config import Config


def memory_mib(spark: SparkSession) -> float:
    """MiB of the JVM's living objects, and of this process and its workers (PSS, see proc(5): shared pages once)."""
    jvm: Any = spark.sparkContext._jvm
    jvm.System.gc()
    runtime = jvm.Runtime.getRuntime()
    living: float = (runtime.totalMemory() - runtime.freeMemory()) / 2**20
    parents, shares = {}, {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parents[int(entry.name)] = int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1])
                if (entry / "comm").read_text().strip() != "java":
                    rollup = (entry / "smaps_rollup").read_text()
                    shares[int(entry.name)] = int(rollup.split("Pss:")[1].split()[0])
            except (OSError, IndexError):
                continue
    ours = {os.getpid()}
    while more := {pid for pid, parent in parents.items() if parent in ours} - ours:
        ours |= more
    return living + sum(shares.get(pid, 0) for pid in ours) / 2**10


def write_files(spark: SparkSession, config: Config, files: int) -> None:
    one = frame(spark, [row("x", response="the cat sat on the mat and ran")])
    same = F.from_json(F.lit(one.toJSON().collect()[0]), one.schema).alias("same")
    rows = spark.range(files, numPartitions=files).select("id", same).select("id", "same.*")
    rows = rows.withColumns(
        {
            "databricks_request_id": F.col("id").cast("string"),
            "timestamp_ms": F.col("timestamp_ms") + F.col("id") * 1000,
        }
    )
    rows.drop("id").write.format("delta").mode("append").save(str(config.source.path))
    found = len(spark.read.format("delta").load(str(config.source.path)).inputFiles())
    assert found == files, f"{found} files were written"


def main() -> None:
    """Run the benchmark."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--files", type=int, default=10_000)
    arguments.add_argument("--files-per-trigger", type=int, default=250)
    options = arguments.parse_args()
    spark = spark_session("bench backlog")
    held: list[float] = []
    with TemporaryDirectory() as folder:
        place = Path(folder)
        source = {"path": str(place / "inference"), "max_files_per_trigger": options.files_per_trigger}
        models = save_language_model(place / "lm"), save_classifier(place / "classifier")
        config = config_in(place, *models, source=source)
        write_files(spark, config, options.files)

        def measured(*args: Any, **kwargs: Any) -> None:
            score_batch(*args, **kwargs)
            held.append(memory_mib(spark))
            print(f"batch {len(held)}: {held[-1]:,.0f} MiB after {timedelta(seconds=round(time.monotonic() - began))}")

        began = time.monotonic()
        with patch.object(score_responses, "score_batch", measured):
            score_responses.start(spark, config, trigger="availableNow").awaitTermination()
        seconds = time.monotonic() - began
        rows = spark.read.format("delta").load(f"{config.output.path}/scores").count()
    third = max(1, len(held) // 3)
    growth = median(held[-third:]) / median(held[:third])
    print(f"{rows:,} rows of {options.files:,} files in {len(held)} batches: {rows / seconds:,.0f} rows/s, ", end="")
    print(f"memory of the last third of the batches {growth:.2f} times that of the first")
    result = {"files": options.files, "rows": rows, "batches": len(held), "rows_per_second": round(rows / seconds, 1)}
    print(json.dumps({"bench": "backlog", **result, "max_mib": round(max(held)), "growth": round(growth, 3)}))


if __name__ == "__main__":
    main()
