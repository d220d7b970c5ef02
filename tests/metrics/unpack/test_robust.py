"""No payload raises, stops a batch, or takes more than linear time: what an attacker or a broken server may send."""

from __future__ import annotations

import gc
import json
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable
from importlib.metadata import EntryPoint
from typing import Any

import pyarrow as pa  # type: ignore[import-untyped]
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metrics.unpack import arrow, payloads
from metrics.unpack.body import MAX_VALUES
from metrics.unpack.payloads import families, unpack
from metrics.unpack.shapes import LENGTH, MAX_INPUTS, Answer, Call, Family, Input
from metrics.unpack.unpacked import Unpacked, UnpackSettings
from schemas.errors import PayloadError
from schemas.quarantine import REASONS
from tests.metrics.unpack.cases import CASES, raw, sse
from tests.payloads import HELLO, HI

SETTINGS = UnpackSettings(key=b"a key of the tests")
REQUEST, RESPONSE = HI.encode(), HELLO.encode()


def read(request: bytes | None, response: bytes | None, *, ok: bool = True) -> Unpacked:
    found = unpack(request, response, ok=ok, settings=SETTINGS)
    assert found.reason is None or found.reason in REASONS
    assert (found.exchanges is None) == (found.reason is not None or found.ratings is not None)
    assert ok or found.reason is None
    return found


CHUNK = '{"object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":"a"}}]}'

HOSTILE: dict[str, tuple[bytes, str | None]] = {
    # as answer to HI: what becomes of it
    "1 MiB of brackets": (b"[" * 2**20, "too_large"),
    "half a MiB of brackets": (b"[" * 2**19, "invalid_response_json"),
    "100,000 chunks": (f"[{','.join([CHUNK] * 100_000)}]".encode(), None),
    "100,000 chunks as a stream": (f"data: {CHUNK}\n\n".encode() * 100_000, None),
    "depth 10,000": (b'{"output":' * 10_000 + b"1" + b"}" * 10_000, "invalid_response_json"),
    "depth 500 of what is looked into": (
        b'{"output":' * 500 + b'{"result":"A"}' + b"}" * 500,
        "unknown_response_shape",
    ),
    "depth 500 of contents": (
        b'{"content":' + b'[{"content":' * 250 + b'"A"' + b"}]" * 250 + b"}",
        "unknown_response_shape",
    ),
    "keys that are repeated": (b"{" + b'"content":"B",' * 50_000 + b'"content":"A"}', None),
    "NaN": (b'{"content": NaN}', "invalid_response_json"),
    "infinity": (b'{"content": "A", "score": -Infinity}', "invalid_response_json"),
    "half of a character beside NaN": (b'{"content": "\\ud83d", "score": NaN}', "invalid_response_json"),
    "a number of a million digits": (b'{"content": "A", "n": ' + b"9" * 10**6 + b"}", "invalid_response_json"),
    "a number of forty digits": (b'{"content": "A", "usage": {"prompt_tokens": ' + b"9" * 40 + b"}}", None),
    "lone surrogates": (b'{"content": "' + b"\\ud800" * 100_000 + b'"}', None),
    "NUL": (b'{"content": "\\u0000"}', None),
    "raw NUL": (b'{"content": "\0"}', "invalid_response_json"),
    "no UTF-8": (b'{"content": "\xff\xfe"}', "invalid_response_json"),
    "BOM": (b'\xef\xbb\xbf{"content": "A"}', "invalid_response_json"),
    "64 MiB": (b'{"content": "' + b"a" * 2**26 + b'"}', "too_large"),
    "more values than are read": (b"[" + b"0," * MAX_VALUES + b"0]", "too_large"),
    "more answers than are read": (json.dumps(["A"] * (MAX_INPUTS + 1)).encode(), "too_large"),
    "a million backslashes": (b'{"content": "' + b"\\\\" * 10**6 + b'"}', None),
    "reasoning within reasoning": (json.dumps({"content": "<think>" * 100_000 + "A"}).encode(), None),
    "reasoning after reasoning": (json.dumps({"content": "<think></think>" * 70_000 + "A"}).encode(), None),
    "100,000 empty lines of a stream": (b"data: {}\n\n" * 100_000, "unknown_response_shape"),
    "100,000 comments": (b": hm\n\n" * 100_000, None),
    "a quarter of a million lines of digits": (b"1\n" * 250_000, "invalid_response_json"),
    "types that are no text": (
        json.dumps([{"type": {}, "object": [], "choices": {}}]).encode(),
        "unknown_response_shape",
    ),
    "ids of any length": (json.dumps({"choices": [{"index": 10**30, "message": {"content": "A"}}]}).encode(), None),
    "JSON in JSON in JSON": (json.dumps(json.dumps(json.dumps({"x": 1}))).encode(), None),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_answers(name: str) -> None:
    response, reason = HOSTILE[name]
    found = read(REQUEST, response)
    assert found.reason == reason
    assert found.shape is None or len(found.shape) <= LENGTH


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_requests_of_failed_calls(name: str) -> None:
    """They are never unreadable, and never more than one exchange where they can't be read."""
    found = read(HOSTILE[name][0], b'{"error_code": "BAD_REQUEST"}', ok=False)
    assert len(found.exchanges or []) == 1
    assert found.error_code == "BAD_REQUEST"


def test_a_call_of_more_inputs_than_are_read() -> None:
    for inputs in ({"inputs": [""] * 300_000}, {"prompt": ["a"] * 3000}, {"input": ["a"] * 3000}):
        request = json.dumps(inputs).encode()
        assert read(request, RESPONSE).reason == "too_large"
        assert len(read(request, None, ok=False).exchanges or []) == 1


def wide_table(size: int) -> bytes:
    """Security finding 1: positions of columns were looked up per cell name and row."""
    columns = [f"c{i}" for i in range(size)] + ["query"]
    return json.dumps({"dataframe_split": {"columns": columns, "data": [[0] * size + ["Q"]] * 2}}).encode()


def empty_rows(size: int) -> bytes:
    """Columns beside so many rows without cells: a row was looked through for each column."""
    columns = [*(f"c{i}" for i in range(size * 5)), "query"]
    return json.dumps({"dataframe_split": {"columns": columns, "data": [[]] * size}}).encode()


def empty_columns(size: int) -> bytes:
    return json.dumps({"inputs": {"query": ["Q"] * size, **{f"c{i}": [] for i in range(size * 5)}}}).encode()


def piece(**choice: Any) -> dict[str, Any]:
    return {"object": "chat.completion.chunk", "choices": [{"index": 0, **choice}]}


GROWING: dict[str, Callable[[int], tuple[bytes, bytes]]] = {
    "columns of a table": lambda n: (wide_table(n * 20), b'["A", "B"]'),
    "rows of a table": lambda n: (
        json.dumps({"dataframe_split": {"columns": ["query"], "data": [["Q"]] * n}}).encode(),
        json.dumps(["A"] * n).encode(),
    ),
    "columns beside empty rows": lambda n: (empty_rows(n), json.dumps(["A"] * n).encode()),
    "empty columns": lambda n: (empty_columns(n), json.dumps(["A"] * n).encode()),
    "counts of any name": lambda n: (
        REQUEST,
        json.dumps([piece(delta={"content": "a"}) | {"usage": {"d": {f"k{i}": 1}}} for i in range(n * 5)]).encode(),
    ),
    "messages in pieces": lambda n: (
        REQUEST,
        sse([piece(message={"role": "assistant", "content": f"a{i}"}) for i in range(n * 5)]).encode(),
    ),
    "messages": lambda n: (json.dumps({"messages": [{"role": "user", "content": "Q"}] * n * 10}).encode(), RESPONSE),
    "parts": lambda n: (
        json.dumps({"messages": [{"role": "user", "content": [{"type": "text", "text": "Q"}] * n * 10}]}).encode(),
        RESPONSE,
    ),
    "chunks": lambda n: (REQUEST, f"[{','.join([CHUNK] * n * 10)}]".encode()),
    "frames": lambda n: (REQUEST, f"data: {CHUNK}\n\n".encode() * n * 10),
    "choices of prompts": lambda n: (
        json.dumps({"prompt": ["Q"] * n}).encode(),
        json.dumps({"choices": [{"index": i, "text": "A"} for i in range(n)]}).encode(),
    ),
    "pieces of messages": lambda n: (
        REQUEST,
        json.dumps([{"delta": {"role": "assistant", "content": "a", "id": str(i)}} for i in range(n * 10)]).encode(),
    ),
    "items": lambda n: (
        REQUEST,
        sse(
            [{"type": "response.output_item.done", "item": {"id": str(i), "type": "x"}} for i in range(n * 10)]
        ).encode(),
    ),
    "updates of a graph": lambda n: (
        REQUEST,
        sse([{"node": {"messages": [{"type": "ai", "content": "a"}]}} for _ in range(n * 10)]).encode(),
    ),
    "reasoning": lambda n: (REQUEST, json.dumps({"content": "<think>a</think> " * n * 100 + "A"}).encode()),
    "unknown keys": lambda n: (json.dumps({f"k{i}": {f"l{i}": i} for i in range(n * 10)}).encode(), RESPONSE),
    "ratings": lambda n: (
        json.dumps(
            {"dataframe_records": [{"text_assessments": [{"ratings": {"a": {"value": "yes"}}}] * n * 10}]}
        ).encode(),
        RESPONSE,
    ),
}


def cpu_seconds(request: bytes, response: bytes) -> float:
    """The least of several tries, of this thread alone and without the garbage collector.

    The collector's work grows with all that the process holds, and not only with the payload.
    """
    times = []
    gc.collect()
    gc.disable()
    try:
        for _ in range(5):
            begun = time.thread_time()
            read(request, response)
            times.append(time.thread_time() - begun)
    finally:
        gc.enable()
    return min(times)


@pytest.mark.parametrize("name", GROWING)
def test_work_grows_with_the_payload(name: str) -> None:
    """Sixteen times the payload takes about sixteen times the work; a square would be 256 times as much."""
    small, large = GROWING[name](100), GROWING[name](1600)
    grown = sum(map(len, large)) / sum(map(len, small))
    assert cpu_seconds(*large) <= max(cpu_seconds(*small), 0.0005) * grown * 4


@pytest.mark.parametrize("name", GROWING)
def test_memory_grows_with_the_payload(name: str) -> None:
    def peak(request: bytes, response: bytes) -> int:
        tracemalloc.start()
        read(request, response)
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    small, large = GROWING[name](25), GROWING[name](200)
    grown = sum(map(len, large)) / sum(map(len, small))
    assert peak(*large) <= peak(*small) * grown * 1.5 + 100_000


ATOMS = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8)
)
WORDS = st.sampled_from(
    (
        *("messages", "role", "content", "type", "text", "input", "prompt", "inputs", "query", "history", "choices"),
        *(
            "message",
            "delta",
            "index",
            "finish_reason",
            "output",
            "predictions",
            "usage",
            "error",
            "candidates",
            "parts",
        ),
        *("contents", "user", "assistant", "system", "human", "ai", "tool_result", "thinking", "response.completed"),
        *(
            "content_block_delta",
            "message_start",
            "contentBlockDelta",
            "dataframe_split",
            "dataframe_records",
            "columns",
        ),
        *(
            "data",
            "object",
            "embedding",
            "chat.completion.chunk",
            "refusal",
            "audio",
            "kwargs",
            "id",
            "response",
            "item",
        ),
        *("done", "token", "generated_text", "databricks_output", "trace", "info", "tags", "metadata", "context"),
        *("text_assessments", "ratings", "value", "source", "system_instruction", "instructions"),
        *("parts", "columns", "item", "conversation"),
    )
)
VALUES = st.recursive(
    ATOMS | WORDS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(WORDS, inner, max_size=5),
    max_leaves=24,
)


def as_payload(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=True).encode()


def check_any(request: Any, response: Any, ok: bool) -> None:
    found = read(as_payload(request), as_payload(response), ok=ok)
    assert found.reason != "unpacker_failed", found.detail


@settings(deadline=None, max_examples=100, database=None, print_blob=True)
@given(VALUES, VALUES, st.booleans())
def test_any_json(request: Any, response: Any, ok: bool) -> None:
    check_any(request, response, ok)


@pytest.mark.long
@settings(deadline=None, max_examples=20_000, database=None, print_blob=True)
@given(VALUES, VALUES, st.booleans())
def test_much_json(request: Any, response: Any, ok: bool) -> None:
    check_any(request, response, ok)


@pytest.mark.long
@settings(deadline=None, max_examples=20_000, database=None, print_blob=True)
@given(st.sampled_from(sorted(CASES)), st.integers(0, 10**6), st.binary(max_size=6), st.booleans())
def test_payloads_with_other_bytes_in_them(name: str, at: int, bytes_: bytes, in_response: bool) -> None:
    """Every case, cut, or with a few bytes replaced."""
    request, response = (
        None if text is None else text.encode() for text in (raw(CASES[name].request), raw(CASES[name].response))
    )
    given_ = (response if in_response else request) or b""
    at %= len(given_) + 1
    changed = given_[:at] + bytes_ + given_[at + len(bytes_) :] if bytes_ else given_[:at]
    found = read(request, changed) if in_response else read(changed, response)
    assert found.reason != "unpacker_failed", found.detail


def test_halves_of_characters_are_joined_in_every_text() -> None:
    """One alone, anywhere, must not reach Arrow, which refuses it and the whole batch with it."""
    asked = {
        "messages": [{"role": "user", "content": "a\ud83d"}],
        "user": "u\ude00",
        "metadata": {"conversation_id": "\ud83d"},
    }
    found = read(json.dumps(asked).encode(), RESPONSE)
    assert found.exchanges is not None
    (one,) = found.exchanges
    assert (one.prompt, one.end_user, found.end_user) == ("a\ufffd", "u\ufffd", "u\ufffd")
    assert one.context == '[{"role":"user","content":"a\ufffd"}]'
    rated = {
        "dataframe_records": [
            {"request_id": "\ud83d", "text_assessments": [{"free_text_comment": "\ud83d\ude00 \ude00"}]}
        ]
    }
    (rating,) = read(json.dumps(rated).encode(), None).ratings or []
    assert (rating.request_id, rating.comment) == ("\ufffd", "\U0001f600 \ufffd")


@pytest.mark.long
def test_any_bytes() -> None:
    """Coverage-guided fuzzing; see ``fuzz``. Not on Pythons that atheris has no wheel for."""
    pytest.importorskip("atheris")
    command = [sys.executable, "-m", "tests.metrics.unpack.fuzz", "-runs=400000", "-max_len=4096"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "Done 400000 runs" in done.stderr


def test_what_a_family_raises_is_that_rows_reason() -> None:
    def broken(body: Any) -> Call | None:
        raise ZeroDivisionError(f"of {body}")

    found = unpack(REQUEST, RESPONSE, ok=True, settings=SETTINGS, known=(Family("broken", broken),))
    assert (found.reason, found.detail, found.exchanges) == ("unpacker_failed", "ZeroDivisionError", None)
    failed = unpack(REQUEST, RESPONSE, ok=False, settings=SETTINGS, known=(Family("broken", broken),))
    assert (failed.reason, len(failed.exchanges or [])) == (None, 1)


ODD_ANSWERS = {
    "a number": Answer(5),  # type: ignore[arg-type]
    "half of a character": Answer("\ud83d"),
    "a number to stop": Answer("A", finish_reason=7),
}


@pytest.mark.parametrize("name", ODD_ANSWERS)
def test_what_arrow_refuses_is_that_rows_reason(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A family from elsewhere may give anything: the other rows of its batch are read."""
    odd = Family("odd", answer=lambda body: ODD_ANSWERS[name] if body == {"odd": True} else None)
    monkeypatch.setattr(arrow, "families", lambda: (odd, *payloads.FAMILIES))
    rows = {
        "request": [REQUEST.decode()] * 3,
        "response": ['{"content": "A"}', '{"odd": true}', '{"content": "B"}'],
        "status_code": pa.array([200, 200, 200], pa.int32()),
        "time_reason": pa.array([None] * 3, pa.string()),
    }
    found = arrow.unpacked_batch(
        pa.RecordBatch.from_pydict(rows), ["status_code"], UnpackSettings(reasoning="keep", key=b"key")
    ).to_pydict()
    assert [None if one is None else one[0]["response"] for one in found["exchanges"]][::2] == ["A", "B"]
    odd_one = found["exchanges"][1]
    if name == "a number to stop":
        assert odd_one[0]["finish_reason"] is None
    else:
        assert (odd_one, found["reason"][1], found["response"][1]) == (None, "unpacker_failed", '{"odd": true}')


def test_bytes_that_are_no_text_reach_quarantine() -> None:
    rows = {
        "request": pa.array([b"\xff{"], pa.binary()),
        "response": pa.array([RESPONSE], pa.binary()),
        "status_code": pa.array([200], pa.int32()),
        "time_reason": pa.array([None], pa.string()),
    }
    found = arrow.unpacked_batch(pa.RecordBatch.from_pydict(rows), [], SETTINGS).to_pydict()
    assert (found["reason"], found["request"]) == (["invalid_request_json"], ["\ufffd{"])


def test_families_of_entry_points_come_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """As an installed package has them: ``[project.entry-points."inference_metrics.payloads"]``."""
    points = [EntryPoint("haiku", "tests.metrics.unpack.test_robust:HAIKU", payloads.ENTRY_POINT)]
    monkeypatch.setattr(payloads, "entry_points", lambda group: points)
    families.cache_clear()
    try:
        assert families() == (HAIKU, *payloads.FAMILIES)
        request, response = b'{"season": "autumn"}', b'{"lines": ["Rain", "again"]}'
        assert read(request, response).reason == "unknown_request_shape"
        found = unpack(request, response, ok=True, settings=SETTINGS, known=families())
        assert found.exchanges is not None
        assert (found.exchanges[0].prompt, found.exchanges[0].response) == ("autumn", "Rain\nagain")
        points[0] = EntryPoint("haiku", "tests.metrics.unpack.test_robust:SETTINGS", payloads.ENTRY_POINT)
        families.cache_clear()
        with pytest.raises(PayloadError, match=r"haiku of \S+ is a UnpackSettings, and no Family"):
            families()
        points[0] = EntryPoint("haiku", "no.such.module:X", payloads.ENTRY_POINT)
        families.cache_clear()
        with pytest.raises(PayloadError, match=r"haiku .* can't be loaded: ModuleNotFoundError"):
            families()
    finally:
        families.cache_clear()


def haiku_request(body: Any) -> Call | None:
    season = body.get("season") if isinstance(body, dict) else None
    if not isinstance(season, str):
        return None
    return Call([Input(season, [{"role": "user", "content": season}], turn=1)])


def haiku_answer(body: Any) -> Answer | None:
    lines = body.get("lines") if isinstance(body, dict) else None
    return Answer("\n".join(lines)) if isinstance(lines, list) else None


HAIKU = Family("haiku", haiku_request, haiku_answer)
