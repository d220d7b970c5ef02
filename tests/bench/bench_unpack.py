"""How many rows a second are unpacked, against the two expressions of the dbdemos monitoring notebook.

    python -m tests.bench.bench_unpack [--rows 100000] [--rounds 3]

All read one Parquet file per row shape: chat, a batched call, the Responses API, a streamed chat (a tenth of the rows:
each has 130 chunks), and the streams of Anthropic and Gemini. So many that planning the query does not count; the plan
of a batch of 20 rows, its text and what it takes the driver, is measured by itself. The peer (``from_json`` over
``$.messages[*].content`` and ``$[*].result``, last question only) finds something in the chat rows alone and NULL in
the others. Every round times all, in another order. CPU seconds are those of driver, JVM and Python workers.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from pyspark.sql import functions as F

from jobs.command.session import spark_session
from metrics.unpack.arrow import unpack_payload
from metrics.unpack.unpacked import UnpackSettings
from tests.bench.processes import cpu_seconds
from tests.metrics.unpack.cases import sse

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

NOW = datetime(2026, 4, 2, tzinfo=UTC)
QUESTION = "How do I merge two large tables without writing every row again, and what does it cost? " * 2
ANSWER = "Put the date into the condition of the merge, so that only the files of those days are read. " * 8
CHAT = {"messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": QUESTION}]}
WORDS = ANSWER.split()[:130]
MESSAGE = {"role": "assistant", "content": ANSWER}
USAGE = {"prompt_tokens": 60, "completion_tokens": 150, "total_tokens": 210}
ITEM = {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": ANSWER}]}
CHUNKS = [
    {"object": "chat.completion.chunk", "choices": [{"index": 0, "delta": {"content": f"{word} "}}]} for word in WORDS
]
BLOCKS = [
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": f"{word} "}} for word in WORDS
]
CANDIDATES = [
    {"candidates": [{"content": {"role": "model", "parts": [{"text": f"{word} "}]}, "index": 0}]} for word in WORDS
]
CONTENTS = {"contents": [{"role": "user", "parts": [{"text": QUESTION}]}]}
SHAPES: dict[str, tuple[object, object]] = {
    "chat": (CHAT, {"choices": [{"index": 0, "message": MESSAGE, "finish_reason": "stop"}], "usage": USAGE}),
    "batch": ({"dataframe_records": [{"query": QUESTION}] * 4}, {"predictions": [{"result": ANSWER}] * 4}),
    "responses": ({"input": [{"role": "user", "content": QUESTION}]}, {"object": "response", "output": [ITEM]}),
    "stream": (CHAT, CHUNKS),
    "anthropic_stream": (CHAT, sse(BLOCKS, event="type")),
    "gemini_stream": (CONTENTS, sse(CANDIDATES)),
}
SMALL = 20
"""Rows of a batch whose plan is measured."""

Way = Callable[["DataFrame"], "DataFrame"]


def table(spark: SparkSession, folder: Path, shape: str, rows: int) -> DataFrame:
    """Rows of one shape; no two payloads are equal, so that nothing is computed once for all."""
    request, response = (body if isinstance(body, str) else json.dumps(body) for body in SHAPES[shape])
    path = str(folder / f"{shape}-{rows}")
    (
        spark.range(rows, numPartitions=8)
        .select(
            F.col("id").cast("string").alias("request_id"),
            F.lit(datetime(2026, 4, 1, tzinfo=UTC)).alias("request_time"),
            F.lit(200).alias("status_code"),
            F.regexp_replace(F.lit(request), "How", F.concat(F.lit("How "), F.col("id"))).alias("request"),
            F.lit(response).alias("response"),
            F.array().cast("array<string>").alias("logging_error_codes"),
        )
        .write.parquet(path)
    )
    return spark.read.parquet(path)


def ours(rows: DataFrame) -> DataFrame:
    return unpack_payload(rows, UnpackSettings(key=b"a key of a benchmark"), now=NOW)


def peer(rows: DataFrame) -> DataFrame:
    """The notebook's two columns, in open-source Spark's words."""
    asked = F.from_json(F.get_json_object("request", "$.messages[*].content"), "array<string>")
    told = F.from_json(F.get_json_object("response", "$[*].result"), "array<string>")
    return rows.select("request_id", F.element_at(asked, -1).alias("input"), told.alias("output"))


WAYS: dict[str, Way] = {"ours": ours, "peer": peer}


def seconds(transform: Way, rows: DataFrame) -> tuple[float, float]:
    """Wall and CPU seconds."""
    begun, used = time.perf_counter(), cpu_seconds()
    rows.transform(transform).write.format("noop").mode("overwrite").save()
    return time.perf_counter() - begun, cpu_seconds() - used


def plan(transform: Way, rows: DataFrame) -> tuple[int, float]:
    """Characters of the plan of a small batch, and the seconds that the driver needs to make and run it."""
    begun = time.perf_counter()
    frame = rows.transform(transform)
    frame.write.format("noop").mode("overwrite").save()
    taken = time.perf_counter() - begun
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        frame.explain("extended")
    return len(printed.getvalue()), taken


def main() -> None:
    """Run the benchmark."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--rows", type=int, default=100_000)
    arguments.add_argument("--rounds", type=int, default=3)
    options = arguments.parse_args()
    spark = spark_session("bench unpack")
    found: dict[str, float] = {}
    with TemporaryDirectory() as folder:
        for shape in SHAPES:
            count = options.rows // 10 if "stream" in shape else options.rows
            rows = table(spark, Path(folder), shape, count)
            for transform in WAYS.values():
                seconds(transform, rows)  # warms all
            times: dict[str, list[tuple[float, float]]] = {name: [] for name in WAYS}
            for number in range(options.rounds):
                order = list(WAYS.items())
                for name, transform in order if number % 2 else order[::-1]:
                    times[name].append(seconds(transform, rows))
            line = f"{shape:<17}"
            for name, taken in times.items():
                wall, cpu = (count / median(column) for column in zip(*taken, strict=True))
                line += f"  {name} {wall:>8,.0f} rows/s, {cpu:>8,.0f} per CPU second"
                found |= {f"{shape}_{name}_rows_per_second": round(wall), f"{shape}_{name}_per_cpu_second": round(cpu)}
            print(line, flush=True)
        small = table(spark, Path(folder), "chat", SMALL)
        for name, transform in WAYS.items():
            plan(transform, small)
            taken_plans = [plan(transform, small) for _ in range(max(options.rounds, 5))]
            length, wall = taken_plans[0][0], median(taken for _, taken in taken_plans)
            print(f"{SMALL} rows: {name} plan of {length:,} characters, {wall:.2f} s", flush=True)
            found |= {f"{name}_plan_characters": length, f"{name}_small_batch_seconds": round(wall, 3)}
    cores = spark.sparkContext.defaultParallelism
    print(json.dumps({"bench": "unpack", "rows": options.rows, "cores": cores, **found}))


if __name__ == "__main__":
    main()
