"""What a trigger costs when the tables hold a day, a month and a year: both hops and the page, one after the other.

    python -m tests.bench.bench_age [--days 1 30 365] [--rows-per-day 60000] [--rounds 5]

The tables are generated: rows of ``scores`` for every day, and their windows (one day's are computed by the product,
and repeated for the others). In each round two triggers go through both hops, and the page is drawn: a usual trigger
(200 new requests of the last day, and 5 that are late by hours), and one with late rows (200, and 5 that are late by up
to 28 days: six days change where the table has them). Medians of the rounds; the last line is JSON, with each length's
usual trigger against the shortest table's, and its late one against that of the shortest table that has all six days.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from pyspark.sql import functions as F

from jobs import score_responses
from jobs.command.session import spark_session
from jobs.dashboard import write_page
from jobs.scoring.batch import create_tables
from jobs.scoring.scorers import scorer_settings
from jobs.store.tables import create_table, read_table, set_table_properties
from jobs.windows.query import window_figures
from jobs.windows.recompute import aggregate_batch
from jobs.windows.settle import settle_windows
from metrics.score.exchanges import load_scorers
from schemas.profile_metrics import PROFILE_METRICS
from schemas.scores import SCORED_COLUMNS, SCORES
from tests.models import save_classifier, save_language_model
from tests.traffic import START, append, config_in, row

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

    from schemas.config import Config

DAY = 86400
LAST = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=1)
"""The newest day of the tables, yesterday; the traffic of the triggers belongs to it."""

BLOCK = 10
"""Days that are written at a time."""


def generated_scores(
    spark: SparkSession, marks: Mapping[str, str], first: int, days: int, rows_per_day: int
) -> DataFrame:
    """Rows of ``scores`` of some days, the first one so many days before the last; ``marks`` are fingerprints."""
    scorers = F.create_map(*(F.lit(part) for pair in marks.items() for part in pair))
    second = int(LAST.timestamp()) - first * DAY
    at = F.timestamp_seconds(F.lit(second) + F.floor(F.col("id") * DAY / rows_per_day))
    made = {
        "request_id": F.concat(F.lit(f"old {first} "), F.col("id").cast("string")),
        "exchange_index": F.lit(0),
        "request_time": at,
        "request_date": F.to_date(at),
        "endpoint_name": F.lit("bot"),
        "model_name": F.lit("chatbot"),
        "model_version": F.when(F.col("id") % 3 == 0, "7").otherwise("6"),
        "kind": F.lit("chat"),
        "status_code": F.lit(200),
        "sampling_fraction": F.lit(1.0),
        "execution_duration_ms": (F.rand(1) * 5000).cast("bigint"),
        "score_errors": F.expr("map()"),
        "slices": F.expr("map()"),
        "scorers": scorers,
        "sample_rate": F.lit(1.0),
        "sampled": F.lit(True),
        "scored_at": at,
        "checkpoint_id": F.lit("generated"),
        "batch_id": F.lit(0),
        "response_scored_tokens": F.lit(40) + F.col("id") % 200,
    }
    made |= {name: F.rand(seed) for seed, name in enumerate(SCORED_COLUMNS) if name != "response_scored_tokens"}
    for name in ("prompt_words", "response_words", "input_tokens", "output_tokens", "prompt_chars", "response_chars"):
        made[name] = F.lit(10) + F.col("id") % 300
    rows = spark.range(days * rows_per_day)
    return rows.select(*(made.get(c.name, F.lit(None)).cast(c.type).alias(c.name) for c in SCORES.columns))


def build(spark: SparkSession, config: Config, days: int, rows_per_day: int, marks: Mapping[str, str]) -> None:
    """Tables of so many days, scored by scorers with these fingerprints."""
    output = config.output
    create_tables(spark, config)
    create_table(spark, PROFILE_METRICS, output)
    for first in range(days - 1, -1, -BLOCK):
        some = min(BLOCK, first + 1)
        rows = generated_scores(spark, marks, first, some, rows_per_day)
        rows.repartition(some, "request_date").write.format("delta").mode("append").save(f"{output.path}/scores")
    now = F.lit(datetime.now(UTC))
    values = {"revision": F.lit(1), "is_settled": F.lit(True), "is_frozen": F.lit(None), "updated_at": now}
    target = f"{output.path}/{PROFILE_METRICS.name}"
    with window_figures(spark, config, dates=[LAST.date()]) as today:
        day = today.withColumns(values).select(*(F.col(c.name).cast(c.type) for c in PROFILE_METRICS.columns))
        day.coalesce(1).write.format("delta").mode("append").save(target)
    written = read_table(spark, PROFILE_METRICS, output).where(F.col("window_date") == F.lit(LAST.date()))
    for first in range(days - 1, 0, -BLOCK):
        back = spark.range(max(1, first - BLOCK + 1), first + 1).withColumnRenamed("id", "back")
        shift = F.make_dt_interval(days=F.col("back").cast("int"))
        copies = written.crossJoin(F.broadcast(back)).withColumns(
            {
                "window": F.struct(
                    (F.col("window.start") - shift).alias("start"), (F.col("window.end") - shift).alias("end")
                ),
                "window_date": F.date_sub("window_date", F.col("back").cast("int")),
            }
        )
        copies.drop("back").repartition("window_date").write.format("delta").mode("append").save(target)


LATE = {
    "usual": [timedelta(hours=-h) for h in (1, 2, 4, 7, 11)],
    "late": [timedelta(days=-d) for d in (1, 2, 7, 14, 28)],
}
"""How late the late rows of a trigger are, against noon of the last day."""


def trigger(spark: SparkSession, config: Config, number: int, kind: str) -> tuple[float, float, float]:
    """Seconds of the score hop, of the window hop and of the page for one trigger's rows."""
    late = [timedelta(hours=12) + by for by in LATE[kind]]
    times = [timedelta(hours=12, minutes=5 * number, seconds=i) for i in range(200)]
    rows = [
        row(f"{kind} {number} {i}", at=LAST - START + at, prompt=f"hello {i} world", response="the cat sat on the mat")
        for i, at in enumerate([*times, *late])
    ]
    append(spark, config, rows)
    began = time.monotonic()
    before = spark.sql(f"DESCRIBE HISTORY delta.`{config.output.path}/scores` LIMIT 1").collect()[0]["version"]
    score_responses.start(spark, config, trigger="availableNow").awaitTermination()
    scored = time.monotonic()
    # The batch that the stream hands over: the change feed since the trigger before.
    feed = spark.read.option("readChangeFeed", "true").option("startingVersion", before + 1)
    changes = feed.format("delta").load(f"{config.output.path}/scores")
    aggregate_batch(changes, number, config)
    settle_windows(spark, config)
    aggregated = time.monotonic()
    write_page(spark, config)
    return scored - began, aggregated - scored, time.monotonic() - aggregated


def main() -> None:
    """Run the benchmark."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--days", type=int, nargs="+", default=[1, 30, 365])
    arguments.add_argument("--rows-per-day", type=int, default=60_000)
    arguments.add_argument("--rounds", type=int, default=5)
    arguments.add_argument("--no-deletion-vectors", action="store_true", help="without those of profile_metrics")
    options = arguments.parse_args()
    spark = spark_session("bench age")
    with TemporaryDirectory() as folder:
        place = Path(folder)
        models = save_language_model(place / "lm"), save_classifier(place / "classifier")
        configs = {days: config_in(place / str(days), *models) for days in options.days}
        sizes = {}
        for days, config in configs.items():
            began = time.monotonic()
            marks = load_scorers(scorer_settings(config)).fingerprints
            build(spark, config, days, options.rows_per_day, marks)
            if options.no_deletion_vectors:
                off = {"delta.enableDeletionVectors": "false"}
                set_table_properties(spark, PROFILE_METRICS, config.output, off)
            sizes[days] = (
                read_table(spark, SCORES, config.output).count(),
                read_table(spark, PROFILE_METRICS, config.output).count(),
            )
            print(f"{days} days: {sizes[days][0]:,} rows, {sizes[days][1]:,} windows, built in ", end="")
            print(f"{time.monotonic() - began:,.0f} s", flush=True)
        seconds: dict[tuple[str, int], list[tuple[float, float, float]]] = {}
        for number in range(options.rounds + 1):
            for days, config in configs.items():
                for kind in LATE:
                    one = trigger(spark, config, number, kind)
                    took = "score {:.1f} s, windows {:.1f} s, page {:.1f} s".format(*one)
                    print(f"round {number}, {days} days, {kind}: {took}", flush=True)
                    if number:  # the first warms everything
                        seconds.setdefault((kind, days), []).append(one)
    result: dict[str, object] = {"bench": "age", "rows_per_day": options.rows_per_day, "rounds": options.rounds}
    whole = [days for days in options.days if timedelta(days=days) > -min(LATE["late"])]
    for kind, lengths in (("usual", options.days), ("late", whole)):
        for days in lengths:
            score, windows, drawn = (median(one) for one in zip(*seconds[kind, days], strict=True))
            ratio = median(map(sum, seconds[kind, days])) / median(map(sum, seconds[kind, lengths[0]]))
            result |= {
                f"{kind}_score_seconds_{days}": round(score, 2),
                f"{kind}_window_seconds_{days}": round(windows, 2),
                f"{kind}_page_seconds_{days}": round(drawn, 2),
                f"{kind}_ratio_{days}": round(ratio, 3),
            }
            took = f"score {score:.1f} s, windows {windows:.1f} s, page {drawn:.1f} s"
            print(f"{kind}, {days} days: {took}, {ratio:.2f} times that of {lengths[0]} days")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
