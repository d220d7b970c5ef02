"""Every payload shape in one table: what becomes of it."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from pyspark.sql import functions as F

from metrics.unpack.payloads import explode_exchanges, unpack_payload

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

HI = '{"messages": [{"role": "user", "content": "Hi"}]}'
HELLO = '{"choices": [{"index": 0, "message": {"role": "assistant", "content": "Hello"}}]}'
MULTI_TURN = json.dumps(
    {
        "messages": [
            {"role": "system", "content": "S"},
            {"role": "user", "content": "first"},
            {"role": "assistant", "content": "one"},
            {"role": "user", "content": "second"},
        ]
    }
)
PARTS = '{"messages": [{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "image_url", "image_url": {}}, {"type": "text", "text": "b"}]}]}'
SPLIT_CHAT = (
    '{"dataframe_split": {"index": [0], "columns": ["messages"], "data": [[[{"role": "user", "content": "Q"}]]]}}'
)
SPLIT_QUERY = '{"dataframe_split": {"columns": ["k", "query"], "data": [[3, "Q1"], [3, "Q2"]]}}'
AGENT = (
    '{"messages": [{"id": "1", "role": "user", "content": "Q"}], "context": {"conversation_id": "x", "user_id": "u"}}'
)
AGENT_ANSWER = '{"messages": [{"role": "assistant", "content": "A0"}, {"role": "tool", "content": "T"}, {"role": "assistant", "content": "A"}]}'
TOOL_CALL = '{"choices": [{"message": {"role": "assistant", "content": null, "tool_calls": [{"id": "c"}]}}]}'
TWO_CHOICES = '{"choices": [{"message": {"content": "first"}}, {"message": {"content": "second"}}]}'
RESPONSES = (
    '{"input": [{"type": "message", "role": "user", "content": "P"}, {"role": "assistant", "content": "R"}, '
    '{"type": "function_call_output", "call_id": "c", "output": "r"}, '
    '{"role": "user", "content": [{"type": "input_text", "text": "Q"}]}], "custom_inputs": {}}'
)
RESPONSES_ANSWER = json.dumps(
    {
        "object": "response",
        "output": [
            {"type": "reasoning", "summary": []},
            {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "let me look"}]},
            {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "c", "output": "r"},
            {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "A"}]},
        ],
        "usage": {"input_tokens": 12, "output_tokens": 3, "input_tokens_details": {"cached_tokens": 7}},
    }
)
REFUSAL = '{"object": "response", "output": [{"type": "message", "content": [{"type": "refusal", "refusal": "No."}]}]}'
ONLY_CALLS = '{"object": "response", "output": [{"type": "function_call", "call_id": "c", "name": "f"}]}'
CHUNKS: list[dict[str, Any]] = [
    {"object": "chat.completion.chunk", "choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}]},
    {"object": "chat.completion.chunk", "choices": [{"index": 0, "delta": {"content": "He"}, "finish_reason": None}]},
    {"object": "chat.completion.chunk", "choices": [{"index": 1, "delta": {"content": "other choice"}}]},
    {"object": "chat.completion.chunk", "choices": [{"index": 0, "delta": {"content": "llo"}}], "usage": None},
    {"object": "chat.completion.chunk", "choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 2}},
]
DELTAS: list[dict[str, Any]] = [
    {"type": "response.created", "response": {"id": "r", "output": []}},
    {"type": "response.output_text.delta", "item_id": "m1", "delta": "He"},
    {"type": "response.output_text.delta", "item_id": "m1", "delta": "llo"},
]
ITEM_DONE = {
    "type": "response.output_item.done",
    "item": {"type": "message", "id": "m1", "content": [{"type": "output_text", "text": "Hello."}]},
}
COMPLETED = {
    "type": "response.completed",
    "response": {**json.loads(RESPONSES_ANSWER), "usage": {"input_tokens": 8, "output_tokens": 4}},
}
AGENT_CHUNKS = [{"delta": {"role": "assistant", "content": text, "id": "1"}} for text in ("He", "llo")]
COMPLETION_CHUNKS = [{"object": "text_completion", "choices": [{"text": text}]} for text in (" up", "on")]
BROKEN_STREAM = [*DELTAS, {"databricks_output": {"error": {"error_code": "TIMEOUT", "message": "m"}}}]
EMBEDDED = '{"object": "list", "data": [{"object": "embedding", "index": 0, "embedding": [0.1]}]}'


def sse(events: list[dict[str, Any]], end: str = "\n\n") -> str:
    """Server-sent events."""
    return end.join([*(f"data: {json.dumps(event)}" for event in events), "data: [DONE]", ""])


READABLE = {
    # name: (request, response, [(prompt, response), …])
    "chat": (HI, HELLO, [("Hi", "Hello")]),
    "chat, the last user message is the prompt": (MULTI_TURN, HELLO, [("second", "Hello")]),
    "chat, content parts": (PARTS, HELLO, [("a\nb", "Hello")]),
    "chat, tool call without text": (HI, TOOL_CALL, [("Hi", None)]),
    "chat, several choices are one exchange": (HI, TWO_CHOICES, [("Hi", "first")]),
    "chat, empty prompt": ('{"messages": [{"role": "user", "content": ""}]}', HELLO, [("", "Hello")]),
    "completion": ('{"prompt": "Once"}', '{"choices": [{"index": 0, "text": " upon"}]}', [("Once", " upon")]),
    "completion with predictions": ('{"prompt": ["A", "B"]}', '{"predictions": ["1", "2"]}', [("A", "1"), ("B", "2")]),
    "records": ('{"dataframe_records": [{"query": "Q1"}, {"query": "Q2"}]}', '{"predictions": ["A1", "A2"]}', [("Q1", "A1"), ("Q2", "A2")]),
    "records with messages": ('{"dataframe_records": [{"messages": [{"role": "user", "content": "Q"}]}]}', '{"predictions": ["A"]}', [("Q", "A")]),
    "split with messages": (SPLIT_CHAT, '{"predictions": ["A"]}', [("Q", "A")]),
    "split with a query column": (SPLIT_QUERY, '{"predictions": ["A1", "A2"]}', [("Q1", "A1"), ("Q2", "A2")]),
    "split with an unknown column": ('{"dataframe_split": {"columns": ["0"], "data": [["Q"]]}}', '{"predictions": ["A"]}', [("Q", "A")]),
    "inputs": ('{"inputs": [{"query": "Q"}]}', '{"predictions": [{"result": "A", "sources": ["u"]}]}', [("Q", "A")]),
    "inputs, strings": ('{"inputs": ["Q1", "Q2"]}', '{"predictions": ["A1", "A2"]}', [("Q1", "A1"), ("Q2", "A2")]),
    "inputs by columns": ('{"inputs": {"query": ["Q1", "Q2"]}}', '["A1", "A2"]', [("Q1", "A1"), ("Q2", "A2")]),
    "inputs, one chat": ('{"inputs": {"messages": [{"role": "user", "content": "Q"}]}}', HELLO, [("Q", "Hello")]),
    "instances": ('{"instances": [{"query": "Q"}]}', '{"predictions": "A"}', [("Q", "A")]),
    "bare array": (HI, '[{"result": "A", "sources": ["u"]}]', [("Hi", "A")]),
    "ChatAgent": (AGENT, AGENT_ANSWER, [("Q", "A")]),
    "SplitChat": ('{"query": "Q", "history": [{"role": "user", "content": "P"}]}', '{"content": "A"}', [("Q", "A")]),
    "Responses, text": ('{"input": "Q"}', RESPONSES_ANSWER, [("Q", "A")]),
    "Responses, items": (RESPONSES, RESPONSES_ANSWER, [("Q", "A")]),
    "Responses, refusal": (RESPONSES, REFUSAL, [("Q", "No.")]),
    "Responses, only calls": (RESPONSES, ONLY_CALLS, [("Q", None)]),
    "Responses, nothing said": (RESPONSES, '{"object": "response", "output": []}', [("Q", None)]),
    "Responses request with a chat answer": ('{"input": [{"role": "user", "content": "Q"}]}', HELLO, [("Q", "Hello")]),
    "embedding": ('{"input": "Q"}', EMBEDDED, [("Q", None)]),
    "embeddings": ('{"input": ["Q1", "Q2"]}', '{"data": [{"object": "embedding"}, {"object": "embedding"}]}', [("Q1", None), ("Q2", None)]),
    "completions of several prompts": ('{"prompt": ["A", "B"]}', '{"choices": [{"text": "1"}, {"text": "2"}]}', [("A", "1"), ("B", "2")]),
    "completions of several prompts, two choices each": ('{"prompt": ["A", "B"], "n": 2}', '{"choices": [{"text": "1"}, {"text": "1b"}, {"text": "2"}, {"text": "2b"}]}', [("A", "1"), ("B", "2")]),
    "stream, chunks": (HI, json.dumps(CHUNKS), [("Hi", "Hello")]),
    "stream, data lines": (HI, sse(CHUNKS), [("Hi", "Hello")]),
    "stream, data lines of another system": (HI, sse(CHUNKS, "\r\n\r\n"), [("Hi", "Hello")]),
    "stream, one chunk": (HI, sse(CHUNKS[1:2]), [("Hi", "He")]),
    "stream, nothing said": (HI, sse(CHUNKS[4:]), [("Hi", None)]),
    "stream, text completion": ('{"prompt": "Once"}', sse(COMPLETION_CHUNKS), [("Once", " upon")]),
    "stream, ChatAgent": (AGENT, json.dumps(AGENT_CHUNKS), [("Q", "Hello")]),
    "stream, Responses deltas": (RESPONSES, json.dumps(DELTAS), [("Q", "Hello")]),
    "stream, Responses item": (RESPONSES, sse([*DELTAS, ITEM_DONE]), [("Q", "Hello.")]),
    "stream, Responses to its end": (RESPONSES, json.dumps([*DELTAS, ITEM_DONE, COMPLETED]), [("Q", "A")]),
    "stream that broke off": (RESPONSES, json.dumps(BROKEN_STREAM), [("Q", "Hello")]),
    "predictions in chat form": ('{"dataframe_records": [{"query": "Q"}]}', f'{{"predictions": [{HELLO}]}}', [("Q", "Hello")]),
    "response not logged": (HI, None, [("Hi", None)]),
    "nothing logged": (None, None, [(None, None)]),
    "request not logged": (None, HELLO, [(None, "Hello")]),
    "no answers to a request that was not logged": (None, '{"predictions": []}', [(None, None)]),
    "lone surrogate": ('{"prompt": "bad \\ud800 x"}', '{"choices": [{"text": "low \\udc00 y"}]}', [("bad \ufffd x", "low \ufffd y")]),
    "a surrogate pair is one character": ('{"prompt": "\\ud83d\\ude00"}', '{"choices": [{"text": "ok"}]}', [("😀", "ok")]),
    "special tokens are text": ('{"prompt": "<|endoftext|> [SEP]"}', '{"choices": [{"text": "</s>"}]}', [("<|endoftext|> [SEP]", "</s>")]),
}  # fmt: skip

UNREADABLE = {
    "not JSON": ("nope", HELLO, "invalid_request_json"),
    "cut off": ('{"messages": [{"role": "us', HELLO, "invalid_request_json"),
    "empty": ("", HELLO, "invalid_request_json"),
    "trailing garbage": (HI + HI, HELLO, "invalid_request_json"),
    "garbage that looks like more of our own": (HI + ",0] " + HI, HELLO, "invalid_request_json"),
    "response not JSON": (HI, "nope", "invalid_response_json"),
    "response with trailing garbage": (HI, '{"a": 1}{"b": 2}', "invalid_response_json"),
    "unknown request": ('{"foo": 1}', HELLO, "unknown_request_shape"),
    "number": ("3", HELLO, "unknown_request_shape"),
    "null": ("null", HELLO, "unknown_request_shape"),
    "no inputs": ('{"dataframe_records": []}', '{"predictions": []}', "unknown_request_shape"),
    "unknown response": (HI, '{"x": 1}', "unknown_response_shape"),
    "several unknown columns": (
        '{"dataframe_split": {"columns": ["u", "v"], "data": [["a@x.org", "Q"]]}}',
        '{"predictions": ["A"]}',
        "unknown_request_shape",
    ),
    "input of numbers": ('{"input": [1, 2]}', HELLO, "unknown_request_shape"),
    "stream with broken lines": (HI, 'data: {"choices": [\n\ndata: [DONE]\n', "invalid_response_json"),
    "embeddings for another number of texts": ('{"input": ["Q1", "Q2"]}', EMBEDDED, "length_mismatch"),
    "choices for another number of prompts": (
        '{"prompt": ["A", "B"]}',
        '{"choices": [{"text": "1"}]}',
        "length_mismatch",
    ),
    "fewer answers than inputs": ('{"inputs": ["Q1", "Q2"]}', '{"predictions": ["A1"]}', "length_mismatch"),
}


def unpacked(spark: SparkSession, cases: dict[str, tuple[Any, ...]], status: int = 200) -> dict[str, dict[str, Any]]:
    time = datetime(2026, 4, 1, tzinfo=UTC)
    rows: list[tuple[Any, ...]] = [(name, time, status, case[0], case[1], []) for name, case in cases.items()]
    schema = "request_id string, request_time timestamp, status_code int, request string, response string, logging_error_codes array<string>"
    df = unpack_payload(spark.createDataFrame(rows, schema)).withColumn("exchange_json", F.to_json("exchanges"))
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


def test_failed_requests_are_never_unreadable(spark: SparkSession) -> None:
    found = unpacked(spark, {"x": ("nope", '{"error_code": "BAD_REQUEST", "message": "m"}')}, status=400)["x"]
    assert (found["reason"], found["error_code"]) == (None, "BAD_REQUEST")
    assert found["exchanges"] == [{"prompt": None, "response": None, "context": None}]


def test_feedback_is_skipped(spark: SparkSession) -> None:
    rating = '{"dataframe_records": [{"request_id": "a", "text_assessments": [{"ratings": {}}]}]}'
    found = unpacked(spark, {"x": (rating, '{"predictions": [{}]}')})["x"]
    assert (found["skip"], found["reason"], found["exchanges"]) == (True, None, None)


def test_usage_in_both_spellings(spark: SparkSession) -> None:
    openai = '{"choices": [{"text": "A"}], "usage": {"prompt_tokens": 2, "completion_tokens": 3, "prompt_tokens_details": {"cached_tokens": 1}}}'
    responses = '{"content": "A", "usage": {"input_tokens": 4, "output_tokens": 5}}'
    found = unpacked(spark, {"openai": (HI, openai), "responses": (HI, responses)})
    names = ("usage_input_tokens", "usage_output_tokens", "cached_input_tokens")
    assert [found["openai"][n] for n in names] == [2, 3, 1]
    assert [found["responses"][n] for n in names] == [4, 5, None]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("stream, chunks", [5, 2, None]),
        ("stream, data lines", [5, 2, None]),
        ("stream, Responses to its end", [8, 4, None]),
        ("stream, Responses deltas", [None, None, None]),
        ("Responses, items", [12, 3, 7]),
    ],
)
def test_usage_of_streams_and_responses(readable: dict[str, dict[str, Any]], name: str, expected: list[int]) -> None:
    names = ("usage_input_tokens", "usage_output_tokens", "cached_input_tokens")
    assert [readable[name][column] for column in names] == expected


def test_kinds(readable: dict[str, dict[str, Any]]) -> None:
    kinds = {"embedding": "embedding", "embeddings": "embedding", "Responses, text": "chat", "SplitChat": "chat"}
    kinds |= {"completions of several prompts": "completion", "stream, text completion": "completion"}
    assert {name: readable[name]["kind"] for name in kinds} == kinds


def test_a_history_is_context_and_no_prompt(readable: dict[str, dict[str, Any]]) -> None:
    for name, said in (("SplitChat", ["P", "Q"]), ("Responses, items", ["P", "R", None, "Q"])):
        (exchange,) = readable[name]["exchanges"]
        assert [message.get("content") for message in json.loads(exchange["context"])] == said


GUARDRAIL = json.dumps(
    {
        "error_code": "BAD_REQUEST",
        "message": json.dumps({"usage": {}, "input_guardrail": [], "finishReason": "input_guardrail_triggered"}),
    }
)


ERROR_CODES: list[tuple[int, str, str | None]] = [
    (400, GUARDRAIL, "input_guardrail_triggered"),
    (400, '{"error_code": "BAD_REQUEST", "message": "{no JSON"}', "BAD_REQUEST"),
    (400, '{"error_code": "BAD_REQUEST", "message": "[1]"}', "BAD_REQUEST"),
    (429, '{"error": {"code": "rate_limit", "type": "t"}}', "rate_limit"),
    (500, '{"error": {"code": null, "type": "server_error"}}', "server_error"),
    (500, "nope", None),
    (500, '{"error_code": "failed for jane.doe@example.com"}', "error"),
    (200, HELLO, None),
    (200, '{"output": [], "databricks_output": {"error": null}}', None),
    (200, '{"output": [], "databricks_output": {"error": {"error_code": "TIMEOUT"}}}', "TIMEOUT"),
    (200, '{"output": [], "databricks_output": {"error": "it stopped"}}', "error"),
    (200, '{"output": [], "databricks_output": {"error": {"x": 1}}}', "error"),
    (200, json.dumps(BROKEN_STREAM), "TIMEOUT"),
]


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
    schema = "request_id string, request_time timestamp, status_code int, request string, response string, logging_error_codes array<string>"
    df = spark.createDataFrame([("a", time, 200, '{"inputs": ["Q1", "Q2"]}', '["A1", "A2"]', [])], schema)
    found = explode_exchanges(unpack_payload(df)).select("exchange_index", "prompt", "response").collect()
    assert sorted(tuple(r) for r in found) == [(0, "Q1", "A1"), (1, "Q2", "A2")]
