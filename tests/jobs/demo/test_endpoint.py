"""What the endpoint logs of a call."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import pytest

from jobs.demo.endpoint import MAX_PAYLOAD_BYTES, Endpoint, broken_copy, feedback_row
from jobs.demo.registry import MODEL, load_version, mlflow_store

WHEN = datetime(2026, 4, 3, 12, 30, 15, 250_000, tzinfo=UTC)
QUESTION = "How do I restore an older version of a table?"


@pytest.fixture
def endpoint(demo_registry: Path) -> Endpoint:
    return Endpoint({"6": load_version(demo_registry, 6), "7": load_version(demo_registry, 7)}, Random(1))


def chat(text: str, **options: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": text}], **options}


def test_a_chat(endpoint: Endpoint) -> None:
    row = endpoint.call("7", chat(QUESTION, temperature=0.2, client_request_id="c1"), WHEN, fraction=0.5)
    body = json.loads(row["response"])
    assert (
        body["choices"][0]["message"]["content"]
        == endpoint.models["7"].unwrap_python_model().answer(QUESTION, max_tokens=4096)[0]
    )
    assert (body["object"], body["model"]) == ("chat.completion", MODEL)
    assert (row["status_code"], row["sampling_fraction"], row["client_request_id"]) == (200, 0.5, "c1")
    assert (row["date"], row["timestamp_ms"]) == (WHEN.date(), round(WHEN.timestamp() * 1000))
    assert json.loads(row["request"]) == chat(QUESTION, temperature=0.2, client_request_id="c1")
    assert row["request_metadata"]["model_version"] == "7"


def test_other_shapes(endpoint: Endpoint) -> None:
    chain = json.loads(endpoint.call("7", chat(QUESTION, return_sources=True), WHEN)["response"])
    assert [set(item) for item in chain] == [{"result", "sources"}]
    records = {"dataframe_records": [{"query": QUESTION}, {"query": "Hello"}]}
    split = {"dataframe_split": {"index": [0], "columns": ["query"], "data": [[QUESTION]]}}
    several, one = (json.loads(endpoint.call("7", body, WHEN)["response"]) for body in (records, split))
    assert [item["result"] for item in one["predictions"]] == [chain[0]["result"]]
    assert len(several["predictions"]) == 2


def test_a_payload_that_is_too_large_is_left_out(endpoint: Endpoint) -> None:
    row = endpoint.call("7", chat(QUESTION + " x" * (MAX_PAYLOAD_BYTES // 2)), WHEN)
    assert row["request"] is None
    assert row["status_code"] == 200
    assert json.loads(row["response"])["choices"]


def test_a_user_may_ask_five_times_a_minute(endpoint: Endpoint) -> None:
    def status(user: str | None, seconds: int) -> int:
        body = chat("Hello", user=user) if user else chat("Hello")
        return int(endpoint.call("6", body, WHEN + timedelta(seconds=seconds))["status_code"])

    assert [status("a", second) for second in range(7)] == [200] * 5 + [429] * 2
    assert [status("b", 10), status("a", 60)] == [200, 200]
    assert [status(None, 20) for _ in range(7)] == [200] * 7


def test_errors(endpoint: Endpoint) -> None:
    crashed = endpoint.call("6", chat("Hello"), WHEN, crash=True)
    assert (crashed["status_code"], json.loads(crashed["response"])["error_code"]) == (500, "INTERNAL_ERROR")
    malformed = endpoint.call("6", {"messages": [{"role": "user"}]}, WHEN)
    assert malformed["status_code"] == 400
    assert json.loads(malformed["response"]) == {"error_code": "BAD_REQUEST", "message": "Failed to enforce schema"}


def test_longer_answers_take_longer(endpoint: Endpoint) -> None:
    short, long = (
        [endpoint.call(version, chat(QUESTION), WHEN)["execution_time_ms"] for _ in range(30)] for version in "76"
    )
    assert sum(long) > sum(short)


def test_a_broken_index_breaks_the_answers(demo_registry: Path, endpoint: Endpoint) -> None:
    with mlflow_store(demo_registry):
        broken = Endpoint({"7": broken_copy(f"models:/{MODEL}/7", Random(1))}, Random(1))
    whole, garbled = (
        json.loads(one.call("7", chat(QUESTION), WHEN)["response"])["choices"][0]["message"]["content"]
        for one in (endpoint, broken)
    )
    manual = set(" ".join(endpoint.models["7"].unwrap_python_model().manual.values()).split())
    assert whole != garbled
    assert len(set(garbled.split()) & manual) > 10, "the words are the manual's"
    assert load_version(demo_registry, 7).unwrap_python_model().passages == (
        endpoint.models["7"].unwrap_python_model().passages
    ), "what is registered is not touched"


def test_a_rating_names_the_answer(endpoint: Endpoint) -> None:
    row = endpoint.call("7", chat(QUESTION), WHEN)
    rating = feedback_row(row, WHEN, Random(1))
    (record,) = json.loads(rating["request"])["dataframe_records"]
    assert record["request_id"] == row["databricks_request_id"]
    assert record["text_assessments"]
    assert set(rating) == set(row)
