"""The unpacker against the one before it, which was SQL text: equal on payloads as they come, and on broken ones equal
but for what is explained here. Both go with the next commit."""

from __future__ import annotations

import json
import random
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from metrics.unpack.payloads import Unpacked, UnpackSettings, unpack
from tests import payloads
from tests.metrics.unpack.sql_payloads import unpack_payload
from tests.metrics.unpack.test_payloads import PEOPLE, USERS

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

Pair = tuple[str | None, str | None, int]

SCHEMA = (
    "request_id string, request_time timestamp, status_code int, request string, response string, "
    "logging_error_codes array<string>"
)
ATOMS: list[Any] = [None, True, False, 0, 1, 3.5, "", "x", "Q", [], {}, ["x"], {"text": "y"}, {"value": "v"}]
ATOMS += [[{"type": "text", "text": "z"}], [{"role": "user", "content": "m"}]]
KEYS = "messages content role type text query input prompt inputs predictions choices message delta output error usage "
KEYS += "index user context history refusal data dataframe_records instances code error_code"


def pairs_as_they_come() -> list[Pair]:
    cases = [*payloads.READABLE.values(), *payloads.UNREADABLE.values()]
    requests = dict.fromkeys([case[0] for case in cases] + [*USERS, *PEOPLE])
    responses = dict.fromkeys([case[1] for case in cases] + [response for _, response, _ in payloads.ERROR_CODES])
    small = [[text for text in texts if text is None or len(text) < 50_000] for texts in (requests, responses)]
    found: list[Pair] = [(request, response, 200) for request in small[0] for response in small[1]]
    return found + [(request, response, 500) for request in small[0] for response in small[1][::7]]


def broken_pairs(seed: int, number: int) -> list[Pair]:
    draw = random.Random(seed)
    given = [case[:2] for case in payloads.READABLE.values() if all(text and len(text) < 9000 for text in case[:2])]

    def change(value: Any) -> Any:
        dice = draw.random()
        if isinstance(value, dict) and value:
            key = draw.choice(list(value))
            if dice < 0.15:
                return {name: one for name, one in value.items() if name != key}
            if dice < 0.3:
                return value | {draw.choice(KEYS.split()): draw.choice(ATOMS)}
            if dice < 0.4:
                return {draw.choice(KEYS.split()) if name == key else name: one for name, one in value.items()}
            return value | {key: change(value[key])}
        if isinstance(value, list) and value:
            at = draw.randrange(len(value))
            if dice < 0.3:
                return draw.choice([value[:at] + value[at + 1 :], [*value, value[at]], value[at]])
            return [*value[:at], change(value[at]), *value[at + 1 :]]
        return draw.choice(ATOMS)

    def changed(text: Any) -> Any:
        try:
            return json.dumps(change(json.loads(text)))
        except ValueError:
            return text

    found = []
    for _ in range(number):
        request, response = draw.choice(given)
        request, response = (changed(request), response) if draw.random() < 0.5 else (request, changed(response))
        found.append((request, response, 200))
    return found


def both(spark: SparkSession, pairs: list[Pair]) -> list[tuple[Pair, dict[str, Any], Unpacked]]:
    rows: list[tuple[Any, ...]] = [
        (str(i), datetime(2026, 4, 1, tzinfo=UTC), s, q, r, []) for i, (q, r, s) in enumerate(pairs)
    ]
    old = {
        int(row["request_id"]): row.asDict(recursive=True)
        for row in unpack_payload(spark.createDataFrame(rows, SCHEMA)).collect()
    }

    def new(pair: Pair) -> Unpacked:
        request, response = (None if text is None else text.encode() for text in pair[:2])
        return unpack(request, response, ok=pair[2] == 200, settings=UnpackSettings())

    return [(pair, old[i], new(pair)) for i, pair in enumerate(pairs)]


def texts(found: list[tuple[Any, ...]]) -> list[Any]:
    return [text for one in found for text in one[:2]]


def refused(pair: Pair) -> bool:
    """Of no known form though a text was found: a user's content, an item, a prompt, or an answer of the user's."""
    told = json.loads(pair[1] or "null") if (pair[1] or "")[:1] in "[{" else None
    answers = told.get("predictions") if isinstance(told, dict) else told
    if any(
        isinstance(one, dict) and one.get("role") == "user" for one in (answers if isinstance(answers, list) else ())
    ):
        return True
    asked = json.loads(pair[0] or "null")
    if not isinstance(asked, dict):
        return False
    prompt = asked.get("prompt")
    mixed = isinstance(prompt, list) and len({type(one) for one in prompt}) > 1
    said = [*(asked.get("messages") or []), *(asked.get("input") or []), *(asked.get("history") or [])]
    odd = [one for one in said if not isinstance(one, dict) or not isinstance(one.get("content", ""), str | list)]
    return mixed or bool(odd)


def difference(pair: Pair, old: dict[str, Any], new: Unpacked, *, broken: bool) -> str | None:
    """What differs and is not explained."""
    ok = pair[2] == 200
    if old["skip"] or new.ratings is not None:
        return None if old["skip"] == (new.ratings is not None) else "feedback"
    if old["reason"] != new.reason:
        if new.reason == "unpacker_failed":
            return "failed"
        # Several prompts, and chunks of a chat: its choices are taken for theirs.
        if (old["reason"], new.reason) == ("length_mismatch", None):
            return None
        if not broken:
            return f"reason {old['reason']} {new.reason}"
        # What was taken for "said nothing" is not understood; much that was not understood is read.
        if old["reason"] is None and new.reason is not None:
            said = texts([(one["prompt"], one["response"]) for one in old["exchanges"]])
            return None if None in said or refused(pair) else f"reason None {new.reason}"
        return None
    if old["reason"] is not None:
        return None
    was = [(e["prompt"], e["response"], e["context"], e["end_user"], e["conversation_id"]) for e in old["exchanges"]]
    now = [(e.prompt, e.response, e.context, e.end_user, e.conversation_id) for e in new.exchanges or []]
    if not broken:
        of_error = old["error_code"] is not None and len(was) > 1  # choices of several prompts that are too few
        if was != now and not of_error:
            return f"exchanges {was} {now}"
        # A failure may have no name; an embedding that failed is none.
        named = old["error_code"] or (None if ok else new.error_code)
        if named != new.error_code or (ok and old["kind"] != new.kind):
            return f"code {old['error_code']} {new.error_code}"
        tokens = (old["usage_input_tokens"], old["usage_output_tokens"], old["cached_input_tokens"])
        if ok and tokens != (new.tokens.input, new.tokens.output, new.tokens.cached_input):
            return f"tokens {tokens} {new.tokens}"
    elif lost := [(a, b) for a, b in zip(texts(was), texts(now), strict=False) if a and b is None]:
        return f"lost {lost}"
    return None


def test_payloads_as_they_come(spark: SparkSession) -> None:
    found = both(spark, pairs_as_they_come())
    unlike = [(pair, why) for pair, old, new in found if (why := difference(pair, old, new, broken=False))]
    assert unlike == []


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_broken_payloads(spark: SparkSession, seed: int) -> None:
    found = both(spark, broken_pairs(seed, 5000))
    unlike = [(pair, why) for pair, old, new in found if (why := difference(pair, old, new, broken=True))]
    assert unlike == []
