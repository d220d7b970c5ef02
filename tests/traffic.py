"""Rows of inference tables, as endpoints log them, for tests."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jobs.store.tables import local_frame
from schemas.config import Config, parse_config

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

START = datetime(2026, 4, 1, tzinfo=UTC)

LEGACY = (
    "client_request_id string, databricks_request_id string, date date, timestamp_ms bigint, status_code int, "
    "sampling_fraction double, execution_time_ms bigint, request string, response string, "
    "request_metadata map<string,string>"
)
AI_GATEWAY = (
    "databricks_request_id string, request_date date, client_request_id string, request_time timestamp, "
    "status_code int, sampling_fraction double, execution_duration_ms bigint, request string, response string, "
    "logging_error_codes array<string>, served_entity_id string, requester string"
)


HI = '{"messages": [{"role": "user", "content": "Hi"}]}'


def chat(prompt: str | None) -> str:
    return json.dumps({"messages": [{"role": "user", "content": prompt}]})


def answer(text: str | None, **usage: int) -> str:
    body: dict[str, Any] = {"choices": [{"index": 0, "message": {"role": "assistant", "content": text}}]}
    return json.dumps(body | ({"usage": usage} if usage else {}))


def row(
    request_id: str,
    *,
    at: timedelta = timedelta(0),
    prompt: str | None = "hello world",
    response: str | None = "the cat sat on the mat",
    request: str | None = None,
    response_body: str | None = None,
    status: int = 200,
    version: str = "6",
    fraction: float | None = 1.0,
    milliseconds: int = 100,
) -> dict[str, Any]:
    """One row of a legacy inference table; ``at`` is its time after START."""
    time = START + at
    return {
        "client_request_id": None,
        "databricks_request_id": request_id,
        "date": time.date(),
        "timestamp_ms": int(time.timestamp() * 1000),
        "status_code": status,
        "sampling_fraction": fraction,
        "execution_time_ms": milliseconds,
        "request": chat(prompt) if request is None else request,
        "response": answer(response) if response_body is None else response_body,
        "request_metadata": {"endpoint_name": "bot", "model_name": "chatbot", "model_version": version},
    }


def gateway_row(request_id: str | None, entity: str) -> dict[str, Any]:
    """One row of an AI Gateway inference table, half an hour before midnight; its own date column is a day late."""
    return {
        "databricks_request_id": request_id,
        "request_date": date(2026, 4, 2),
        "client_request_id": None,
        "request_time": datetime(2026, 4, 1, 23, 30, tzinfo=UTC),
        "status_code": 200,
        "sampling_fraction": 1.0,
        "execution_duration_ms": 12,
        "request": HI,
        "response": answer("the cat"),
        "logging_error_codes": [],
        "served_entity_id": entity,
        "requester": "someone@example.com",
    }


def frame(spark: SparkSession, rows: Iterable[dict[str, Any]], schema: str = LEGACY) -> DataFrame:
    return local_frame(spark, list(rows), schema)


def append(
    spark: SparkSession,
    config: Config,
    rows: Iterable[dict[str, Any]],
    schema: str = LEGACY,
    *,
    merge_schema: bool = False,
) -> None:
    """One commit of the inference table."""
    writer = frame(spark, rows, schema).coalesce(1).write.format("delta").mode("append")
    writer.option("mergeSchema", str(merge_schema).lower()).save(config.source.path)


def settings(folder: Path, language_model: Path, classifier: Path, **extra: Any) -> dict[str, Any]:
    """Settings of a monitor whose inference table and tables are in a folder."""
    values: dict[str, Any] = {
        "source": {"path": str(folder / "inference")},
        "output": {"path": str(folder / "tables")},
        # One type on all machines: bfloat16 rounds to three digits.
        "scoring": {
            "perplexity": {"model": str(language_model), "dtype": "float32"},
            "toxicity": {"model": str(classifier), "dtype": "float32"},
        },
    }
    return values | extra


def config_in(folder: Path, language_model: Path, classifier: Path, **extra: Any) -> Config:
    return parse_config(settings(folder, language_model, classifier, **extra))
