"""Every payload shape in one table: what becomes of it."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from pyspark.sql import functions as F

from metrics.unpack.payloads import explode_exchanges, unpack_payload
from tests.payloads import ERROR_CODES, HELLO, MIB, RATING, RATINGS, READABLE, RESPONSES, UNREADABLE, USAGE

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


SCHEMA = (
    "request_id string, request_time timestamp, status_code int, request string, response string, "
    "logging_error_codes array<string>"
)


def unpacked(spark: SparkSession, cases: dict[str, tuple[Any, ...]], status: int = 200) -> dict[str, dict[str, Any]]:
    time = datetime(2026, 4, 1, tzinfo=UTC)
    rows: list[tuple[Any, ...]] = [(name, time, status, case[0], case[1], []) for name, case in cases.items()]
    df = unpack_payload(spark.createDataFrame(rows, SCHEMA)).withColumn("exchange_json", F.to_json("exchanges"))
    return {row["request_id"]: row.asDict(recursive=True) for row in df.collect()}


@pytest.fixture(scope="module")
def readable(spark: SparkSession) -> dict[str, dict[str, Any]]:
    return unpacked(spark, READABLE)


@pytest.fixture(scope="module")
def unreadable(spark: SparkSession) -> dict[str, dict[str, Any]]:
    return unpacked(spark, UNREADABLE)


@pytest.mark.parametrize("name", READABLE)
def test_readable(readable: dict[str, dict[str, Any]], name: str) -> None:
    found = readable[name]
    assert found["reason"] is None
    assert [(e["prompt"], e["response"]) for e in found["exchanges"]] == READABLE[name][2]


@pytest.mark.parametrize("name", UNREADABLE)
def test_unreadable(unreadable: dict[str, dict[str, Any]], name: str) -> None:
    assert (unreadable[name]["reason"], unreadable[name]["exchanges"]) == (UNREADABLE[name][2], None)


def test_a_text_of_1_mib(spark: SparkSession) -> None:
    found = unpacked(spark, {"x": (json.dumps({"prompt": MIB}), HELLO)})["x"]
    assert [(e["prompt"], e["response"]) for e in found["exchanges"]] == [(MIB, "Hello")]


def test_failed_requests_are_never_unreadable(spark: SparkSession) -> None:
    found = unpacked(spark, {"x": ("nope", '{"error_code": "BAD_REQUEST", "message": "m"}')}, status=400)["x"]
    assert (found["reason"], found["error_code"]) == (None, "BAD_REQUEST")
    assert [set(exchange.values()) for exchange in found["exchanges"]] == [{None}]


@pytest.mark.parametrize("rating", [RATING, *RATINGS])
def test_feedback_is_skipped(spark: SparkSession, rating: str) -> None:
    found = unpacked(spark, {"x": (rating, '{"predictions": [{}]}')})["x"]
    assert (found["skip"], found["reason"], found["exchanges"]) == (True, None, None)


USERS = {
    '{"messages": [], "user": "u"}': "u",
    '{"messages": [], "user": 7}': "7",
    '{"messages": [], "metadata": {"user_id": "u"}}': "u",
    '{"dataframe_records": [{"query": "Q", "context": {"user_id": "u"}}]}': "u",
    '{"inputs": [{"query": "Q", "user": "u"}]}': "u",
    '{"messages": [], "user": null}': None,
    '{"messages": [], "context": {"user_id": 7}}': "7",
    '{"messages": [], "metadata": {"user": "u"}}': "u",
    '{"inputs": {"messages": [{"role": "user", "content": "Q"}], "context": {"user_id": "u"}}}': "u",
    '{"inputs": {"query": ["Q"], "user": ["u"]}}': "u",
    '{"dataframe_split": {"columns": ["query", "user"], "data": [["Q", "u"]]}}': "u",
    '{"dataframe_split": {"columns": ["query", "context"], "data": [["Q", {"user_id": "u"}]]}}': "u",
}

PEOPLE = [
    '{"dataframe_records": [{"query": "Q", "user": "u1"}, {"text": "Q", "context": {"user_id": "u2"}}, {"text": ""}]}',
    '{"inputs": [{"query": "Q", "user": "u1"}, {"query": "Q", "user_id": "u2"}, {"query": "Q", "user": null}]}',
    '{"inputs": {"query": ["Q", "Q", "Q"], "user": ["u1", "u2"]}}',
    '{"dataframe_split": {"columns": ["query", "user"], "data": [["Q", "u1"], ["Q", "u2"], ["Q", null]]}}',
]


def test_end_users(spark: SparkSession) -> None:
    found = unpacked(spark, {request: (request, HELLO) for request in USERS})
    assert {request: row["end_user"] for request, row in found.items()} == USERS


def test_each_input_has_its_own_end_user(spark: SparkSession) -> None:
    found = unpacked(spark, {request: (request, '["A1", "A2", "A3"]') for request in PEOPLE})
    users = {request: [exchange["end_user"] for exchange in row["exchanges"]] for request, row in found.items()}
    assert users == {request: ["u1", "u2", None] for request in PEOPLE}


def test_conversations(spark: SparkSession) -> None:
    of_call = '{"inputs": [{"query": "Q"}], "context": {"conversation_id": 7}}'
    of_input = '{"inputs": {"messages": [{"role": "user", "content": "Q"}], "context": {"conversation_id": "x"}}}'
    found = unpacked(spark, {request: (request, '["A"]') for request in (of_call, of_input)})
    assert [found[request]["exchanges"][0]["conversation_id"] for request in (of_call, of_input)] == ["7", "x"]


@pytest.mark.parametrize("name", READABLE)
def test_usage(readable: dict[str, dict[str, Any]], name: str) -> None:
    columns = ("usage_input_tokens", "usage_output_tokens", "cached_input_tokens")
    assert tuple(readable[name][column] for column in columns) == USAGE.get(name, (None, None, None))


def test_kinds(readable: dict[str, dict[str, Any]]) -> None:
    kinds = {"embedding": "embedding", "embeddings": "embedding", "Responses, text": "chat", "SplitChat": "chat"}
    kinds |= {"completions of several prompts": "completion", "stream, text completion": "completion"}
    assert {name: readable[name]["kind"] for name in kinds} == kinds


def test_a_history_is_context_and_no_prompt(readable: dict[str, dict[str, Any]]) -> None:
    histories = {
        name: ["P", "Q"]
        for name in ("SplitChat", *(f"{kind} with a history" for kind in ("records", "split", "inputs")))
    }
    for name, said in {**histories, "Responses, items": ["P", "R", None, "Q"]}.items():
        (exchange,) = readable[name]["exchanges"]
        assert [message.get("content") for message in json.loads(exchange["context"])] == said


@pytest.mark.parametrize("status", sorted({status for status, _, _ in ERROR_CODES}))
def test_error_codes(spark: SparkSession, status: int) -> None:
    cases = {response: (RESPONSES, response) for of_status, response, _ in ERROR_CODES if of_status == status}
    found = {response: row["error_code"] for response, row in unpacked(spark, cases, status=status).items()}
    assert found == {response: code for of_status, response, code in ERROR_CODES if of_status == status}


def test_agent_context(readable: dict[str, dict[str, Any]]) -> None:
    agent = readable["ChatAgent"]
    assert (agent["conversation_id"], agent["end_user"], agent["kind"]) == ("x", "u", "chat")
    assert (readable["completion"]["kind"], readable["nothing logged"]["kind"]) == ("completion", "unknown")


def test_context_holds_all_messages(readable: dict[str, dict[str, Any]]) -> None:
    (exchange,) = readable["chat, the last user message is the prompt"]["exchanges"]
    assert [m["content"] for m in json.loads(exchange["context"])] == ["S", "first", "one", "second"]


def test_exploding_keeps_positions(spark: SparkSession) -> None:
    time = datetime(2026, 4, 1, tzinfo=UTC)
    df = spark.createDataFrame([("a", time, 200, '{"inputs": ["Q1", "Q2"]}', '["A1", "A2"]', [])], SCHEMA)
    found = explode_exchanges(unpack_payload(df)).select("exchange_index", "prompt", "response").collect()
    assert sorted(tuple(r) for r in found) == [(0, "Q1", "A1"), (1, "Q2", "A2")]
