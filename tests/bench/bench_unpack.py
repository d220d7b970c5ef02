"""How many rows a second are unpacked, against the two expressions of the dbdemos monitoring notebook.

    python -m tests.bench.bench_unpack [--rows 100000] [--rounds 3]

Both read one Parquet file per row shape: chat, a batched call, the Responses API, a streamed chat (a tenth of the rows:
each has 130 chunks). So many that planning the query, about a second whatever the rows, does not count. The peer
(``from_json`` over ``$.messages[*].content`` and ``$[*].result``, last question only) finds something in the chat rows
alone and NULL in the others. Every round times both, ours first in one and second in the next.
"""

from __future__ import annotations

import argparse
import json
import time
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from pyspark.sql import functions as F

from jobs.runtime import spark_session
from tests.metrics.unpack.sql_payloads import unpack_payload

if TYPE_CHECKING:
    from collections.abc import Callable

    from pyspark.sql import DataFrame, SparkSession

QUESTION = "How do I merge two large tables without writing every row again, and what does it cost? " * 2
ANSWER = "Put the date into the condition of the merge, so that only the files of those days are read. " * 8
CHAT = {"messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": QUESTION}]}
MESSAGE = {"role": "assistant", "content": ANSWER}
USAGE = {"prompt_tokens": 60, "completion_tokens": 150, "total_tokens": 210}
ITEM = {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": ANSWER}]}
CHUNKS = [
    {"object": "chat.completion.chunk", "choices": [{"index": 0, "delta": {"content": f"{word} "}}]}
    for word in ANSWER.split()
]
SHAPES = {
    "chat": (CHAT, {"choices": [{"index": 0, "message": MESSAGE, "finish_reason": "stop"}], "usage": USAGE}),
    "batch": ({"dataframe_records": [{"query": QUESTION}] * 4}, {"predictions": [{"result": ANSWER}] * 4}),
    "responses": ({"input": [{"role": "user", "content": QUESTION}]}, {"object": "response", "output": [ITEM]}),
    "stream": (CHAT, CHUNKS),
}


def table(spark: SparkSession, folder: Path, shape: str, rows: int) -> DataFrame:
    request, response = (json.dumps(body) for body in SHAPES[shape])
    path = str(folder / shape)
    (
        spark.range(rows, numPartitions=8)
        .select(
            F.col("id").cast("string").alias("request_id"),
            F.lit(datetime(2026, 4, 1, tzinfo=UTC)).alias("request_time"),
            F.lit(200).alias("status_code"),
            # No two payloads are equal, so that nothing is computed once for all.
            F.regexp_replace(F.lit(request), "How", F.concat(F.lit("How "), F.col("id"))).alias("request"),
            F.lit(response).alias("response"),
            F.array().cast("array<string>").alias("logging_error_codes"),
        )
        .write.parquet(path)
    )
    return spark.read.parquet(path)


def peer(rows: DataFrame) -> DataFrame:
    """The notebook's two columns, in open-source Spark's words."""
    asked = F.from_json(F.get_json_object("request", "$.messages[*].content"), "array<string>")
    told = F.from_json(F.get_json_object("response", "$[*].result"), "array<string>")
    return rows.select("request_id", F.element_at(asked, -1).alias("input"), told.alias("output"))


def seconds(transform: Callable[[DataFrame], DataFrame], rows: DataFrame) -> float:
    started = time.perf_counter()
    rows.transform(transform).write.format("noop").mode("overwrite").save()
    return time.perf_counter() - started


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
            count = options.rows // 10 if shape == "stream" else options.rows
            rows = table(spark, Path(folder), shape, count)
            for transform in (unpack_payload, peer):
                seconds(transform, rows)  # warms both
            times: dict[str, list[float]] = {"ours": [], "peer": []}
            for number in range(options.rounds):
                pair = [("ours", unpack_payload), ("peer", peer)]
                for name, transform in pair if number % 2 else pair[::-1]:
                    times[name].append(seconds(transform, rows))
            ours, theirs = (count / median(times[name]) for name in ("ours", "peer"))
            print(
                f"{shape:<10} ours {ours:>9,.0f} rows/s   peer {theirs:>9,.0f} rows/s   ratio {ours / theirs:.2f}",
                flush=True,
            )
            found |= {f"{shape}_rows_per_second": round(ours), f"{shape}_ratio_to_peer": round(ours / theirs, 3)}
    print(
        json.dumps({"bench": "unpack", "rows": options.rows, "cores": spark.sparkContext.defaultParallelism, **found})
    )


if __name__ == "__main__":
    main()
