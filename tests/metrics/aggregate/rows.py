"""Rows of ``scores`` as an Arrow table, for tests without Spark."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa  # type: ignore[import-untyped]

from metrics.aggregate.rows import ROW_COLUMNS
from schemas.scores import SCORED_COLUMNS, SCORES

START = datetime(2026, 4, 1, tzinfo=UTC)

_TYPES = {
    "int": pa.int32(),
    "bigint": pa.int64(),
    "double": pa.float64(),
    "string": pa.string(),
    "boolean": pa.bool_(),
    "timestamp": pa.timestamp("us", "UTC"),
    "map<string,string>": pa.map_(pa.string(), pa.string()),
}
SCHEMA = pa.schema([(c.name, _TYPES[c.type]) for c in SCORES.columns if c.name in ROW_COLUMNS])

MARKS = dict.fromkeys(SCORED_COLUMNS, "first")


def exchange(at: timedelta = timedelta(), **values: Any) -> dict[str, Any]:
    """A row as the score hop writes it: a successful chat with scores."""
    return {
        "exchange_index": 0,
        "request_time": START + at,
        "endpoint_name": "e",
        "model_name": "m",
        "model_version": "7",
        "kind": "chat",
        "status_code": 200,
        "finish_reason": "stop",
        "execution_duration_ms": 100,
        "prompt_words": 5,
        "response_words": 20,
        "prompt_toxicity": 0.1,
        "response_toxicity": 0.2,
        "response_nll": 6.0,
        "response_scored_tokens": 3,
        "sample_rate": 1.0,
        "scorers": MARKS,
    } | values


def table_of(rows: Iterable[Mapping[str, Any]]) -> pa.Table:
    """The rows as Spark hands them over."""
    as_maps = (
        {name: list(value.items()) if isinstance(value, Mapping) else value for name, value in row.items()}
        for row in rows
    )
    return pa.Table.from_pylist(list(as_maps), SCHEMA)
