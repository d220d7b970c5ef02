"""What the start of Python workers costs a micro-batch: first batch, next batch, and one after workers have idled away.

    python -m tests.bench.bench_workers [--rows 64]

A batch of short exchanges is scored by small models in a local session, with the daemon of this package (torch and
transformers imported before it forks) and with pyspark's own. Spark ends workers that idle for a minute; at a trigger
of five minutes every batch is one "after idling".
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

IDLE_SECONDS = 75
DAEMONS = {"ours": "metrics.score.daemon", "peer": "pyspark.daemon"}


def measure(daemon: str, folder: Path, rows: int) -> dict[str, float]:
    """Seconds of the three batches, in a process of its own."""
    from pyspark.sql import functions as F

    from jobs.command.session import spark_session
    from metrics.score.udf import with_scores
    from tests.models import scorers_of

    spark = spark_session("bench", local_settings={"spark.python.daemon.module": daemon})
    settings = scorers_of(folder / "lm", folder / "classifier")

    def batch() -> float:
        begun = time.perf_counter()
        exchanges = spark.range(rows, numPartitions=2).select(
            F.concat(F.lit("the cat sat on mat "), "id").alias("prompt"),
            F.concat(F.lit("the dog ran under a table "), "id").alias("response"),
            *(F.lit(None).cast("string").alias(name) for name in ("context", "requester", "end_user")),
            F.lit(False).alias("count_tokens"),
            F.lit(True).alias("sampled"),
        )
        scored = with_scores(exchanges, settings, key=b"").agg(F.count("scored.response_toxicity"))
        assert scored.collect()[0][0] == rows
        return time.perf_counter() - begun

    found = {"first": batch(), "next": batch()}
    time.sleep(IDLE_SECONDS)
    return found | {"after_idling": batch()}


def main() -> None:
    """Run the benchmark."""
    arguments = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    arguments.add_argument("--rows", type=int, default=64)
    arguments.add_argument("--measure", nargs=2, metavar=("DAEMON", "FOLDER"), help=argparse.SUPPRESS)
    options = arguments.parse_args()
    if options.measure:
        daemon, folder = options.measure
        print(json.dumps(measure(daemon, Path(folder), options.rows)))
        return
    from tests.models import save_classifier, save_language_model

    result: dict[str, object] = {"bench": "workers", "rows": options.rows}
    with tempfile.TemporaryDirectory() as folder:
        save_language_model(Path(folder) / "lm")
        save_classifier(Path(folder) / "classifier")
        for name, daemon in DAEMONS.items():
            command = [sys.executable, "-m", "tests.bench.bench_workers", "--rows", str(options.rows)]
            done = subprocess.run(
                [*command, "--measure", daemon, folder], stdout=subprocess.PIPE, text=True, check=True
            )
            seconds = json.loads(done.stdout.splitlines()[-1])
            print(
                f"{name:<5}" + "".join(f"{what.replace('_', ' '):>14} {took:6.2f} s" for what, took in seconds.items())
            )
            result |= {f"{what}_seconds_{name}": round(took, 3) for what, took in seconds.items()}
    print(json.dumps(result))


if __name__ == "__main__":
    main()
