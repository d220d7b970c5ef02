"""What a warm trigger costs, as the monitor runs it: the standing score query, then a tick; Delta's own sink beside it.

    python -m tests.bench.bench_trigger [--rows 10000] [--rounds 5] [--day-rows 60000]

Locks, windows, settling, page and maintenance's look are part of it; the scorers are free (null_scorers.py). Triggers
of 20 rows and of ``--rows`` take turns, on young tables and on tables that hold a day. The source's commits are made
beforehand and moved into its folder, so that writing them costs nothing here. CPU seconds are those of driver, JVM and
Python workers. The peer is a stream that appends the same commits to a Delta table as they are, its triggers warm, too.
Medians of the rounds; the last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import astuple, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from jobs import monitor, score_responses
from jobs.command.session import spark_session
from jobs.store.checkpoints import SCORE_RESPONSES
from jobs.store.locks import Locks
from tests.bench.bench_age import LAST, build
from tests.bench.null_scorers import MARKS
from tests.bench.processes import cpu_seconds
from tests.models import save_classifier, save_language_model
from tests.traffic import START, append, config_in, row

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from schemas.config import Config

SMALL = 20
"""Rows of a small trigger."""

WARM_UP = 3
"""Triggers of each size that are not measured."""

POLL = "2 seconds"
"""Trigger of the standing query: how long a commit waits at most."""


@dataclass(frozen=True)
class Cost:
    """Of one trigger: wall seconds of batch and tick, CPU seconds of all processes, Spark jobs, and Delta commits."""

    seconds: float
    cpu: float
    jobs: int
    commits: int


def make_commits(spark: SparkSession, config: Config, sizes: list[int]) -> Path:
    """A source table with a commit per size, the rows of each within five minutes; and its folder."""
    for number, size in enumerate(sizes):
        at = LAST - START + timedelta(hours=12, minutes=5 * number)
        rows = [
            row(
                f"{number} {i}",
                at=at + timedelta(seconds=300 * i / size),
                prompt=f"hello {i} world of commit {number}",
                response=f"the cat {i} sat on mat {number}",
                version="67"[i % 2],
            )
            for i in range(size)
        ]
        append(spark, config, rows)
    return Path(str(config.source.path))


def feed(staged: Path, source: Path, version: int) -> None:
    """Move one commit of a staged table into the source: its data files first, then its file of the log, whole."""
    log = f"_delta_log/{version:020}.json"
    (source / "_delta_log").mkdir(parents=True, exist_ok=True)
    for line in (staged / log).read_text().splitlines():
        if added := json.loads(line).get("add"):
            shutil.copy(staged / added["path"], source / added["path"])
    draft = source / f"_delta_log/.{version}.part"
    shutil.copy(staged / log, draft)
    draft.rename(source / log)


def commits_of(config: Config) -> int:
    """Commits that the monitor's tables have seen."""
    return sum(1 for _ in Path(str(config.output.path)).glob("*/_delta_log/*.json"))


def jobs_of(spark: SparkSession) -> int:
    """Spark jobs that the session has run."""
    return int(spark.sparkContext._jsc.sc().dagScheduler().numTotalJobs())


def triggers(spark: SparkSession, config: Config, staged: Path, sizes: list[int]) -> list[Cost]:
    """Feed a commit at a time to a standing monitor."""
    source = Path(str(config.source.path))
    feed(staged, source, 0)
    costs = []
    with Locks(spark, config.output, "monitor", monitor.HOPS) as locks:
        standing = score_responses.start(spark, config, trigger=POLL, locks=locks)
        (query,) = (one for one in spark.streams.active if one.name == SCORE_RESPONSES)
        context = monitor.Context(spark, config, locks)
        for version in range(len(sizes)):
            jobs, commits, cpu = jobs_of(spark), commits_of(config), cpu_seconds()
            if version:
                feed(staged, source, version)
            seconds = wait_for_batch(query, version)
            began = time.monotonic()
            assert monitor.tick(context)
            seconds += time.monotonic() - began
            cost = Cost(seconds, cpu_seconds() - cpu, jobs_of(spark) - jobs, commits_of(config) - commits)
            print(f"  {sizes[version]:,} rows: {described(cost)}", flush=True)
            costs.append(cost)
        standing.stop()
    return costs


def wait_for_batch(query: Any, batch: int) -> float:
    """Wait until a batch is done; the seconds that it took."""
    while True:
        for progress in query.recentProgress:
            if progress["batchId"] == batch and progress["numInputRows"]:
                return float(progress["durationMs"]["triggerExecution"]) / 1000
        query.awaitTermination(0.05)


def native_sink(spark: SparkSession, folder: Path, staged: Path, sizes: list[int]) -> list[float]:
    """Seconds of the triggers of a stream that appends the commits as they are."""
    source = folder / "source"
    feed(staged, source, 0)
    rows = spark.readStream.format("delta").load(str(source))
    writer = rows.writeStream.format("delta").option("checkpointLocation", str(folder / "checkpoint"))
    query = writer.trigger(processingTime=POLL).start(str(folder / "sink"))
    seconds = []
    for version in range(len(sizes)):
        if version:
            feed(staged, source, version)
        seconds.append(wait_for_batch(query, version))
    query.stop()
    return seconds


def of_size(costs: list[Cost], sizes: list[int], size: int) -> Cost:
    """Medians of the measured triggers of a size."""
    measured = [astuple(cost) for cost, rows in zip(costs, sizes, strict=True) if rows == size][WARM_UP:]
    seconds, cpu, jobs, commits = (median(values) for values in zip(*measured, strict=True))
    return Cost(seconds, cpu, round(jobs), round(commits))


def described(cost: Cost) -> str:
    return f"{cost.seconds:.1f} s, {cost.cpu:.1f} CPU s, {cost.jobs} jobs, {cost.commits} commits"


@contextmanager
def bench_session() -> Iterator[SparkSession]:
    """The product's local session, with scorers that are free."""
    spark = spark_session("bench trigger", local_settings={"spark.python.daemon.module": "tests.bench.null_scorers"})
    try:
        yield spark
    finally:
        spark.stop()


def main() -> None:
    """Run the benchmark."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--rows", type=int, default=10_000, help="of a large trigger")
    arguments.add_argument("--rounds", type=int, default=5, help="triggers of each size that are measured")
    arguments.add_argument("--day-rows", type=int, default=60_000, help="rows of the day that the older tables hold")
    options = arguments.parse_args()
    sizes = [SMALL, options.rows] * (WARM_UP + options.rounds)
    ages = {"young": 0, "day": options.day_rows} if options.day_rows else {"young": 0}
    result: dict[str, object] = {"bench": "trigger", "date": f"{datetime.now(UTC):%Y-%m-%d}", "rows": options.rows}
    with TemporaryDirectory() as name, bench_session() as spark:
        folder = Path(name)
        models = save_language_model(folder / "lm"), save_classifier(folder / "classifier")
        staged = make_commits(spark, config_in(folder / "staged", *models), sizes)
        found: dict[tuple[str, int], Cost] = {}
        for age, rows in ages.items():
            config = config_in(folder / age, *models)
            if rows:
                build(spark, config, 1, rows, MARKS)
            print(f"{age} tables:", flush=True)
            costs = triggers(spark, config, staged, sizes)
            found |= {(age, size): of_size(costs, sizes, size) for size in (SMALL, options.rows)}
        native = native_sink(spark, folder / "native", staged, sizes)
    sink = {
        size: median([s for s, rows in zip(native, sizes, strict=True) if rows == size][WARM_UP:])
        for size in (SMALL, options.rows)
    }
    for (age, size), cost in found.items():
        print(f"{age} tables, {size:,} rows: {described(cost)}; the native sink takes {sink[size]:.2f} s, ", end="")
        print(f"{cost.seconds / sink[size]:.1f} times")
    for age in ages:
        small, large = found[age, SMALL], found[age, options.rows]
        prefix = "" if age == "young" else f"{age}_"
        result |= {
            f"{prefix}small_cpu_seconds": round(small.cpu, 2),
            f"{prefix}small_jobs": small.jobs,
            f"{prefix}small_commits": small.commits,
            f"{prefix}small_seconds": round(small.seconds, 2),
            f"{prefix}cpu_seconds": round(large.cpu, 2),
            f"{prefix}jobs": large.jobs,
            f"{prefix}trigger_seconds": round(large.seconds, 2),
            f"{prefix}ratio": round(large.seconds / sink[options.rows], 2),
        }
    small_ratio = found["young", SMALL].seconds / sink[SMALL]
    result |= {"native_sink_seconds": round(sink[options.rows], 3), "small_ratio": round(small_ratio, 2)}
    print(json.dumps(result))


if __name__ == "__main__":
    main()
