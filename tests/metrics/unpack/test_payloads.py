"""Every payload shape in one table: what becomes of it. In Spark, only what Arrow and the columns add is tried."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from metrics.unpack.arrow import explode_exchanges, unpack_payload
from metrics.unpack.payloads import unpack
from metrics.unpack.unpacked import Exchange, Unpacked, UnpackSettings
from tests.payloads import ERROR_CODES, HELLO, HI, MIB, RATING, RATINGS, READABLE, RESPONSES, UNREADABLE, USAGE

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

SETTINGS = UnpackSettings(key=b"a key of the tests")


def read(
    request: str | None, response: str | None, *, status: int = 200, settings: UnpackSettings = SETTINGS
) -> Unpacked:
    given = (None if text is None else text.encode() for text in (request, response))
    return unpack(*given, ok=status == 200, settings=settings)


def exchanges(request: str | None, response: str | None, **options: Any) -> list[Exchange]:
    found = read(request, response, **options)
    assert found.reason is None
    assert found.exchanges is not None
    return found.exchanges


@pytest.mark.parametrize("name", READABLE)
def test_readable(name: str) -> None:
    request, response, expected = READABLE[name]
    assert [(one.prompt, one.response) for one in exchanges(request, response)] == expected


@pytest.mark.parametrize("name", UNREADABLE)
def test_unreadable(name: str) -> None:
    request, response, reason = UNREADABLE[name]
    found = read(request, response)
    assert (found.reason, found.exchanges) == (reason, None)


def test_a_text_of_1_mib() -> None:
    (found,) = exchanges(json.dumps({"prompt": MIB}), HELLO)
    assert (found.prompt, found.response) == (MIB, "Hello")


def test_failed_requests_are_never_unreadable() -> None:
    found = read("nope", '{"error_code": "BAD_REQUEST", "message": "m"}', status=400)
    assert (found.reason, found.error_code, found.exchanges) == (None, "BAD_REQUEST", [Exchange()])


@pytest.mark.parametrize("rating", [RATING, *RATINGS])
def test_feedback_is_no_traffic(rating: str) -> None:
    found = read(rating, '{"predictions": [{}]}')
    assert found.ratings is not None
    assert (found.reason, found.exchanges) == (None, None)


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


@pytest.mark.parametrize("request_", USERS)
def test_end_users(request_: str) -> None:
    assert read(request_, HELLO).end_user == USERS[request_]


@pytest.mark.parametrize("request_", PEOPLE)
def test_each_input_has_its_own_end_user(request_: str) -> None:
    assert [one.end_user for one in exchanges(request_, '["A1", "A2", "A3"]')] == ["u1", "u2", None]


def test_conversations() -> None:
    of_call = '{"inputs": [{"query": "Q"}], "context": {"conversation_id": 7}}'
    of_input = '{"inputs": {"messages": [{"role": "user", "content": "Q"}], "context": {"conversation_id": "x"}}}'
    found = [exchanges(request, '["A"]')[0].conversation_id for request in (of_call, of_input)]
    assert found == ["7", "x"]
    of_agent = read('{"input": "Q", "conversation": {"id": "conv_1"}, "safety_identifier": "u"}', HELLO)
    assert (of_agent.conversation_id, of_agent.end_user) == ("conv_1", "u")


@pytest.mark.parametrize("name", READABLE)
def test_usage(name: str) -> None:
    tokens = read(*READABLE[name][:2]).tokens
    assert (tokens.input, tokens.output, tokens.cached_input) == USAGE.get(name, (None, None, None))


def test_kinds() -> None:
    kinds = {"embedding": "embedding", "embeddings": "embedding", "Responses, text": "chat", "SplitChat": "chat"}
    kinds |= {"completions of several prompts": "completion", "stream, text completion": "completion"}
    kinds |= {"completion": "completion", "nothing logged": "unknown", "ChatAgent": "chat"}
    assert {name: read(*READABLE[name][:2]).kind for name in kinds} == kinds


def test_a_history_is_context_and_no_prompt() -> None:
    histories = {
        name: ["P", "Q"]
        for name in ("SplitChat", *(f"{kind} with a history" for kind in ("records", "split", "inputs")))
    }
    for name, said in {**histories, "Responses, items": ["P", "R", None, "Q"]}.items():
        (exchange,) = exchanges(*READABLE[name][:2])
        assert [message.get("content") for message in json.loads(exchange.context or "")] == said


@pytest.mark.parametrize(("status", "response", "code"), ERROR_CODES)
def test_error_codes(status: int, response: str, code: str | None) -> None:
    assert read(RESPONSES, response, status=status).error_code == code


def test_context_holds_all_messages() -> None:
    (exchange,) = exchanges(*READABLE["chat, the last user message is the prompt"][:2])
    assert exchange.context == (
        '[{"role":"system","content":"S"},{"role":"user","content":"first"},{"role":"assistant","content":"one"},'
        '{"role":"user","content":"second"}]'
    )
    assert exchange.turn == 2


def test_the_system_prompt_is_hashed_with_its_kind() -> None:
    """Who sends a system prompt as a prompt must not have an equal hash, and where it stands makes no difference."""
    forms = [
        '{"messages": [{"role": "system", "content": "S"}, {"role": "user", "content": "Q"}]}',
        '{"messages": [{"role": "developer", "content": "S"}, {"role": "user", "content": "Q"}]}',
        '{"system": "S", "messages": [{"role": "user", "content": "Q"}]}',
        '{"system": [{"text": "S"}], "messages": [{"role": "user", "content": [{"text": "Q"}]}]}',
        '{"system_instruction": {"parts": [{"text": "S"}]}, "contents": [{"parts": [{"text": "Q"}]}]}',
        '{"instructions": "S", "input": "Q"}',
        '{"prompt": "Q", "system": "S"}',
    ]
    hashes = {exchanges(form, HELLO)[0].system_prompt_hash for form in forms}
    # HMAC-SHA-256 of "system_prompt", NUL and the text, by openssl
    assert hashes == {"96c15aa3d93243bc1ec38ded5ce80158f908a5c4082e47db6b0da646844a8f30"}
    assert exchanges(HI, HELLO)[0].system_prompt_hash is None


VERSIONS = {
    '{"input": "Q", "prompt": {"id": "pmpt_1", "version": "3"}}': "pmpt_1/3",
    '{"messages": [], "metadata": {"prompt_version": 4}}': "4",
    '{"input": "Q", "custom_inputs": {"prompt_name": "rag", "prompt_version": "4"}}': "rag/4",
    '{"messages": [], "metadata": {"prompt_version": "as it was before we changed it"}}': None,
    HI: None,
}


@pytest.mark.parametrize("request_", VERSIONS)
def test_prompt_versions(request_: str) -> None:
    assert read(request_, HELLO).prompt_version == VERSIONS[request_]


def test_the_prompt_of_a_trace() -> None:
    linked = json.dumps([{"name": "rag", "version": "2"}])
    trace = {"info": {"tags": {"mlflow.linkedPrompts": linked}}, "data": {"spans": []}}
    response = json.dumps({"choices": [{"message": {"content": "A"}}], "databricks_output": {"trace": trace}})
    assert read(HI, response).prompt_version == "rag/2"


def test_reasoning_can_be_kept() -> None:
    text = "<think>hm</think>\n\nYes."
    response = json.dumps({"choices": [{"message": {"content": text}}]})
    for reasoning, expected in (("strip", "Yes."), ("keep", text)):
        (found,) = exchanges(HI, response, settings=UnpackSettings(reasoning=reasoning))
        assert found.response == expected


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("<think>a</think>b", "b"),
        ("\n<think>a</think>\n\n<think>c</think> b", "b"),
        ("<THINK>a</THINK>b", "b"),
        ("<think>a", ""),
        ("hm\n</think>\n\nb", "b"),
        ("</think>\nb", "b"),
        ("Close it with </think> then.", "Close it with </think> then."),
        ("b <think>a</think>", "b <think>a</think>"),
        ("1 < 2", "1 < 2"),
    ],
)
def test_reasoning_before_the_answer(text: str, answer: str) -> None:
    (found,) = exchanges(HI, json.dumps({"content": text}))
    assert found.response == answer


def test_an_unknown_shape_is_told_without_its_values() -> None:
    secret = {"jane@example.com": "a", "asked": [{"by": "b", "x": 1}, {"by": "c", "x": None}], "n": {"deep": [[1.5]]}}
    found = read(json.dumps(secret), HELLO)
    assert found.reason == "unknown_request_shape"
    assert found.shape == '{"asked":[{"by":string,"x":null}|{"by":string,"x":number}],"n":{"deep":[[number]]},*}'
    assert read(HI, '{"x": true}').shape == '{"x":boolean}'
    assert read("nope", HELLO).shape is None


SCHEMA = (
    "request_id string, request_time timestamp, status_code int, request string, response string, "
    "logging_error_codes array<string>"
)
TIME = datetime(2026, 4, 1, tzinfo=UTC)


def unpacked(spark: SparkSession, rows: dict[str, tuple[Any, ...]]) -> DataFrame:
    """Rows by id: request, response, and a time and status that differ from the usual."""
    given = [(name, *(row[2:] or (TIME, 200)), *row[:2], []) for name, row in rows.items()]
    return unpack_payload(spark.createDataFrame(given, SCHEMA), SETTINGS, now=TIME + timedelta(days=1))


def test_rows_as_spark_has_them(spark: SparkSession) -> None:
    batch = ('{"inputs": ["Q1", "Q2"]}', '["A1", "A2"]')
    frame = unpacked(
        spark,
        {
            "chat": (HI, HELLO),
            "batch": batch,
            "unknown": ('{"x": 1}', HELLO),
            "rating": (RATING, None),
            "no time": (HI, HELLO, None, 200),
            "seconds for milliseconds": (HI, HELLO, datetime(1970, 1, 21, tzinfo=UTC), 200),
            "tomorrow": (HI, HELLO, TIME + timedelta(days=1, hours=2), 200),
            "tomorrow, unknown": ('{"x": 1}', HELLO, TIME + timedelta(days=1, hours=2), 200),
            "rating of no time": (RATING, None, None, 200),
            "nothing": (None, None),
        },
    )
    found = {row["request_id"]: row.asDict(recursive=True) for row in frame.collect()}
    assert {name: row["reason"] for name, row in found.items() if row["reason"]} == {
        "unknown": "unknown_request_shape",
        "no time": "no_request_time",
        "seconds for milliseconds": "past_request_time",
        "tomorrow": "future_request_time",
        "tomorrow, unknown": "unknown_request_shape",
    }
    # Payloads are passed on only where quarantine needs them.
    assert {name for name, row in found.items() if row["request"]} == {
        name for name, row in found.items() if row["reason"]
    }
    assert {name for name, row in found.items() if row["skip"]} == {"rating", "rating of no time"}
    assert [one["request_id"] for one in found["rating"]["feedback"]] == []
    assert found["unknown"]["exchanges"] is None
    assert found["chat"]["exchanges"] == [
        {
            "prompt": "Hi",
            "response": "Hello",
            "context": '[{"role":"user","content":"Hi"}]',
            "end_user": None,
            "conversation_id": None,
            "finish_reason": None,
            "system_prompt_hash": None,
            "turn": 1,
        }
    ]
    rows = explode_exchanges(frame).select("request_id", "exchange_index", "prompt", "response", "content_hash")
    exploded = sorted(tuple(row) for row in rows.collect())
    assert [row[:4] for row in exploded] == [
        ("batch", 0, "Q1", "A1"),
        ("batch", 1, "Q2", "A2"),
        ("chat", 0, "Hi", "Hello"),
        ("nothing", 0, None, None),
    ]
    assert len({row[4] for row in exploded}) == 3


def test_contents_are_told_apart(spark: SparkSession) -> None:
    """Equal status and payloads have equal hashes, whatever else the row says; any other content has another."""
    rows: dict[str, tuple[Any, ...]] = {
        "a": (HI, HELLO),
        "same": (HI, HELLO, TIME + timedelta(hours=1), 200),
        "status": (HI, HELLO, TIME, 429),
        "no answer": (HI, None),
        "empty answer": (HI, ""),
        "moved": (HI + HELLO, ""),
    }
    found = {row["request_id"]: row["content_hash"] for row in unpacked(spark, rows).collect()}
    assert found["a"] == found["same"]
    assert len(set(found.values())) == len(rows) - 1
    assert len({hash_[:8] for hash_ in found.values()}) == 1, "the key's check value"
