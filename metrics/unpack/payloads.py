"""Prompts, answers, token counts and failures out of the two payloads of a logged call, in plain Python.

Each protocol is a ``Family`` of small functions over parsed JSON (one file each beside this one); they are tried in the
order of ``FAMILIES``, and what one returns is what counts. Families from elsewhere (entry point
``inference_metrics.payloads``) come before ours. docs/payloads.md says how to add one.

What is not understood is never taken for "said nothing": it has a ``reason`` (schemas/quarantine.py), a ``shape``, and
no exchanges.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import entry_points
from typing import Any

from metrics.hashes import kind_hash
from metrics.unpack import failures, messages
from metrics.unpack.anthropic import ANTHROPIC
from metrics.unpack.bedrock import BEDROCK
from metrics.unpack.body import Events, has_halves, parse, parse_response, repaired
from metrics.unpack.cohere import COHERE
from metrics.unpack.contents import as_json
from metrics.unpack.custom import CUSTOM
from metrics.unpack.feedback import ratings
from metrics.unpack.gemini import GEMINI
from metrics.unpack.langchain import LANGCHAIN
from metrics.unpack.mlflow import CHAT_AGENT, SCORING, SPLIT_CHAT
from metrics.unpack.names import as_word, caller, prompt_version
from metrics.unpack.ollama import OLLAMA
from metrics.unpack.openai import (
    CHAT,
    COMPLETIONS,
    limited,
    several_completions,
    token_inputs,
    vectors,
)
from metrics.unpack.reasoning import without_reasoning
from metrics.unpack.responses import RESPONSES
from metrics.unpack.shapes import Answer, Call, Family, Input, UnreadableError, fingerprint
from metrics.unpack.tgi import TGI
from metrics.unpack.unpacked import Exchange, Unpacked, UnpackSettings
from metrics.unpack.usage import Tokens, tokens
from schemas.errors import PayloadError

__all__ = ["FAMILIES", "families", "unpack", "unpacker_mark"]

FAMILIES = (
    *(CHAT, RESPONSES, COMPLETIONS, SCORING, SPLIT_CHAT, ANTHROPIC, GEMINI, BEDROCK, COHERE, OLLAMA, TGI, CHAT_AGENT),
    *(LANGCHAIN, CUSTOM),
)
"""In the order in which they are tried; ``CUSTOM``, which takes nearly everything, is the last."""

ENTRY_POINT = "inference_metrics.payloads"

VERSION = 2
"""Of the unpacker: one more each time it reads something else from payloads that it read before. 1 was SQL."""

MOST_EVENTS = 200_000
"""A stream of more events is ``too_large``."""


def unpacker_mark(settings: UnpackSettings) -> str:
    """What has read a payload: version, settings that matter, and families from elsewhere; column ``unpacker``."""
    others = [f"+{family.name}" for family in families() if family not in FAMILIES]
    return " ".join([str(VERSION), f"reasoning={settings.reasoning}", *others])


@lru_cache(maxsize=1)
def families() -> tuple[Family, ...]:
    """All families, those of entry points first.

    Raises:
        PayloadError: An entry point can't be loaded, or is no family.
    """
    found: list[Family] = []
    for point in sorted(entry_points(group=ENTRY_POINT), key=lambda point: point.name):
        try:
            family = point.load()
        except Exception as error:
            raise PayloadError(
                f"entry point {point.name} of {ENTRY_POINT} can't be loaded: {type(error).__name__}"
            ) from error
        if not isinstance(family, Family):
            raise PayloadError(f"entry point {point.name} of {ENTRY_POINT} is a {type(family).__name__}, and no Family")
        found.append(family)
    return (*found, *FAMILIES)


def unpack(
    request: bytes | None,
    response: bytes | None,
    *,
    ok: bool,
    settings: UnpackSettings,
    known: Sequence[Family] = FAMILIES,
) -> Unpacked:
    """What a call's payloads hold. Never raises: what a family raises makes the row unreadable.

    A request that failed (``ok`` is false) is never unreadable: whatever its payloads are, it is part of the error
    rate. Its answer is an error, and no text.

    Args:
        request: UTF-8 text as logged; None where the log has none.
        response: Likewise.
        ok: Whether the call's status is 200.
        settings: See there.
        known: Families, in order.
    """
    try:
        found = _unpack(request, response, ok=ok, settings=settings, known=known)
        if (request and has_halves(request)) or (response and has_halves(response)):
            _repair(found)
        return found
    except Exception as error:  # a fault of ours, or of a family from elsewhere
        return (
            Unpacked(reason="unpacker_failed", detail=type(error).__name__) if ok else Unpacked(exchanges=[Exchange()])
        )


def _unpack(
    request: bytes | None, response: bytes | None, *, ok: bool, settings: UnpackSettings, known: Sequence[Family]
) -> Unpacked:
    asked = _parsed(request, parse, _known_call, known)
    if asked.body is not None and (rated := ratings(asked.body)) is not None:
        return Unpacked(ratings=rated if ok else [])  # what the endpoint refused was not given
    told = _parsed(response, parse_response, _known_answer, known)
    call = None
    if asked.is_there and not asked.problem:
        try:
            call = _read_request(asked.body, told.body, known)
        except UnreadableError as error:
            asked.problem = error.reason
    found = Unpacked(kind=call.kind if call else "unknown")
    if isinstance(asked.body, dict):
        found.end_user, found.conversation_id = caller(asked.body)
        found.prompt_version = prompt_version(asked.body, told.body)
    if not ok:
        return _failed(found, call, told.body, settings)
    if asked.problem and (asked.problem != "unknown" or told.problem in (None, "unknown")):
        return _refused(found, asked.problem, "request", asked.body)
    if told.problem:
        return _refused(found, told.problem, "response", told.body)
    answers: list[Answer] = []
    if told.is_there:
        try:
            answers = _read_response(told.body, call, known)
        except UnreadableError as error:
            told.problem = error.reason
            code = _told(told.body)
            if code is None:
                return _refused(found, error.reason, "response", told.body)
            answers = [Answer(error=code)]
        found.error_code = _first_code(answers)
        if found.kind == "chat" and vectors(told.body) is not None:
            found.kind = "embedding"
        if call and found.error_code is None and len(call.inputs) != len(answers):
            found.reason, found.detail = "length_mismatch", f"{len(call.inputs)} inputs, {len(answers)} outputs"
            return found
    found.exchanges = _exchanges(call, answers, settings)
    _of_the_first(found)
    if len(found.exchanges) == 1:
        found.tokens = _tokens(told.body, answers[0] if answers else None, found.exchanges[0])
    return found


def _first_code(answers: list[Answer]) -> str | None:
    """The code of the first answer that is a failure: of its error, else of why it stopped."""
    for answer in answers:
        if answer.error and (code := failures.error_code(answer.error)) is not None:
            return failures.as_code(code)
        if failures.failed_finish(answer.finish_reason):
            return failures.as_code(answer.finish_reason)
    return None


def _repair(found: Unpacked) -> None:
    """Join the halves of characters in all texts: a half may come in one piece of an answer, the other in the next."""
    for one in (found, *(found.exchanges or ()), *(found.ratings or ())):
        for name in one.__slots__:
            text = getattr(one, name)
            if isinstance(text, str):
                setattr(one, name, repaired(text))


@dataclass(slots=True)
class _Payload:
    """One of the two payloads: its body, or the ``problem`` why there is none."""

    is_there: bool
    body: Any = None
    problem: str | None = None


_IsKnown = Callable[[Any, Sequence[Family]], Any]


def _parsed(data: bytes | None, read: Callable[[bytes], Any], is_known: _IsKnown, known: Sequence[Family]) -> _Payload:
    """A payload parsed; JSON that was encoded twice is opened where what it holds is known."""
    if data is None:
        return _Payload(is_there=False)
    try:
        body = read(data)
    except UnreadableError as error:
        return _Payload(is_there=True, problem=error.reason)
    if isinstance(body, str) and body.lstrip().startswith(("{", "[", "data:", "event:")):
        body = _opened(body, read, is_known, known) or body
    return _Payload(is_there=True, body=body)


def _opened(text: str, read: Callable[[bytes], Any], is_known: _IsKnown, known: Sequence[Family]) -> Any:
    """What a text holds as JSON, where that is known; else None: it is a text."""
    try:
        inner = read(text.encode("utf-8", "replace"))
    except UnreadableError:
        return None
    return inner if isinstance(inner, dict | list) and is_known(inner, known) else None


def _protocols(known: Sequence[Family]) -> list[Family]:
    return [family for family in known if family is not CUSTOM]


def _known_call(body: Any, known: Sequence[Family]) -> Call | None:
    """What a request is that was encoded twice; None: it is a text. Of a list only protocols know enough."""
    try:
        return _read_request(body, None, known if isinstance(body, dict) else _protocols(known))
    except UnreadableError:
        return None


def _refused(found: Unpacked, kind: str, name: str, body: Any) -> Unpacked:
    """Why a payload can't be read, as ``quarantine`` words it."""
    words = {"invalid": f"invalid_{name}_json", "unknown": f"unknown_{name}_shape"}
    found.reason = words.get(kind, kind)
    if kind == "too_large":
        found.detail = name
    elif kind != "invalid":
        found.shape = fingerprint(body)
    return found


def _read_request(body: Any, told: Any, known: Sequence[Family]) -> Call:
    """What a request asks.

    Raises:
        UnreadableError: No family knows it, or it can't be read.
    """
    if isinstance(body, dict) and isinstance(body.get("input"), list) and vectors(told) is not None:
        ids = token_inputs(body["input"])
        if ids is not None:
            return Call(ids)
    for family in known:
        call = family.request(body) if family.request else None
        if call is not None and call.inputs:
            return call
    raise UnreadableError


def _read_response(body: Any, call: Call | None, known: Sequence[Family]) -> list[Answer]:
    """What was answered, one answer per input of the call.

    Raises:
        UnreadableError: No family knows it, or it can't be read.
    """
    if isinstance(body, list):
        return _read_list(body, call, known)
    embedded = vectors(body)
    if embedded is not None:
        return [Answer(usage=body.get("usage") or body) for _ in limited(embedded)]
    if isinstance(body, dict) and body.get("predictions") is not None:
        given = body["predictions"]
        answers = [_answer(one, known) for one in limited(given if isinstance(given, list) else [given])]
        if len(answers) == 1 and isinstance(body.get("usage"), dict):
            answers[0].usage = body["usage"]
        _tell(answers, failures.told_by(body))
        return answers
    prompts = len(call.inputs) if call and call.kind == "completion" else 1
    if prompts > 1 and isinstance(body, dict) and isinstance(body.get("choices"), list):
        several = several_completions(body, prompts)
        _tell(several, failures.told_by(body))
        return several
    try:
        return [_answer(body, known)]
    except UnreadableError:
        streamed = _stream([body], call, known)  # a stream of one event
        if streamed is None:
            raise
        return streamed


def _read_list(body: list[Any], call: Call | None, known: Sequence[Family]) -> list[Answer]:
    """A stream; or the answers to a batched call, or the messages of one answer."""
    if len(body) > MOST_EVENTS:
        raise UnreadableError("too_large")
    streamed = _stream(body, call, known)
    if streamed is not None:
        return streamed
    if isinstance(body, Events):
        if len(body) == 1:
            return [_answer(body[0], known)]
        if body:
            raise UnreadableError
        return [Answer()]
    inputs = len(call.inputs) if call else 1
    if messages.looks_like_messages(body) and not 1 < inputs == len(body):
        return [_answer(body, known)]
    return [_answer(one, known, null=True) for one in limited(body)]


def _stream(events: list[Any], call: Call | None, known: Sequence[Family]) -> list[Answer] | None:
    for family in known:
        found = family.stream(events, call) if family.stream else None
        if found is not None:
            answers = [found] if isinstance(found, Answer) else found
            _tell(answers, failures.told_by_events(events))
            return answers
    return None


def _tell(answers: list[Answer], code: str | None) -> None:
    """The failure that the whole of an answer tells of is that of all its parts."""
    if code is not None:
        for answer in answers:
            answer.error = code


def _known_answer(body: Any, known: Sequence[Family]) -> bool:
    """Whether what was encoded twice says something as an answer, has counts or an error; else it is a text.

    Of a list only protocols know enough.
    """
    try:
        answers = _read_response(body, None, known if isinstance(body, dict) else _protocols(known))
    except UnreadableError:
        return False
    if isinstance(body, dict) and isinstance(body.get("error"), dict):
        return True
    return any(answer.text is not None or isinstance(answer.usage, dict) for answer in answers)


def _answer(value: Any, known: Sequence[Family], *, null: bool = True) -> Answer:
    """One answer; null is one, too, and none was given.

    Raises:
        UnreadableError: No family knows it, and it tells of no failure either.
    """
    if value is None and null:
        return Answer()
    if isinstance(value, str) and value.lstrip()[:1] == "{":
        value = _opened(value, parse, _is_envelope, known) or value
    for family in known:
        found = family.answer(value) if family.answer else None
        if found is not None:
            if isinstance(value, dict):
                # A code of its own is a failure's where nothing was said.
                told = failures.instead if found.text is None and "code" in value else failures.told_by
                found.error = told(value) or found.error
            return found
    if isinstance(value, list) and len(value) == 1:
        return _answer(value[0], known, null=null)
    code = _told(value)
    if code is None:
        raise UnreadableError
    return Answer(error=code)


def _is_envelope(body: Any, _known: Sequence[Family]) -> bool:
    """Whether what a text holds in an answer's place is an answer of a protocol for sure, and not one that is JSON."""
    if not isinstance(body, dict):
        return False
    choices, said = body.get("choices"), body.get("messages")
    if isinstance(choices, list) and choices and isinstance(choices[0], dict):
        return isinstance(choices[0].get("message"), dict)
    if isinstance(said, list):
        return messages.looks_like_messages(said) and messages.last_answer(said) is not None
    return body.get("object") == "response" or (body.get("type") == "message" and isinstance(body.get("content"), list))


def _told(body: Any) -> str | None:
    """The code of a failure that stands in place of an answer."""
    if isinstance(body, list):
        return failures.told_by_events(body)
    blocked = failures.blocked_by(body)
    return failures.as_code(blocked["finishReason"]) if blocked else failures.instead(body)


def _failed(found: Unpacked, call: Call | None, told: Any, settings: UnpackSettings) -> Unpacked:
    """A request with another status than 200: what was asked, and the code of the failure."""
    blocked = failures.blocked_by(told)
    found.error_code = _told(told)
    found.exchanges = _exchanges(call, [], settings)
    _of_the_first(found)
    if len(found.exchanges) == 1:
        if blocked:
            found.exchanges[0].finish_reason = failures.as_code(blocked["finishReason"])
        found.tokens = _counts((blocked or told).get("usage") if isinstance(told, dict) else None, found.exchanges[0])
    return found


def _exchanges(call: Call | None, answers: list[Answer], settings: UnpackSettings) -> list[Exchange]:
    """The exchanges of a call; where the log holds neither payload there is still one: the request was made."""
    number = len(call.inputs) if call else max(len(answers), 1)
    found = []
    for i in range(number):
        answer = answers[i] if i < len(answers) else None
        exchange = Exchange()
        if call:
            _set_asked(exchange, call.inputs[i], settings)
        if answer is not None:
            text = answer.text
            exchange.response = without_reasoning(text) if text and settings.reasoning == "strip" else text
            exchange.finish_reason = as_word(answer.finish_reason)
        found.append(exchange)
    return found


def _set_asked(exchange: Exchange, asked: Input, settings: UnpackSettings) -> None:
    exchange.prompt, exchange.turn = asked.prompt, asked.turn
    exchange.end_user, exchange.conversation_id = asked.end_user, asked.conversation_id
    if asked.messages is not None:
        exchange.context = as_json(asked.messages)
    if asked.system:
        text = asked.system[0] if len(asked.system) == 1 else "\n".join(asked.system)
        hashed = _short_prompt_hash if len(text) <= SHORT else _prompt_hash
        exchange.system_prompt_hash = hashed(text, settings.key)


SHORT = 10_000
"""Characters of a system prompt whose hash is remembered: most calls of an endpoint have the same."""


def _prompt_hash(text: str, key: bytes) -> str:
    return kind_hash("system_prompt", text.encode("utf-8", "replace"), key)


_short_prompt_hash = lru_cache(maxsize=256)(_prompt_hash)


def _of_the_first(found: Unpacked) -> None:
    """Who calls, of each exchange; the row's own is the call's, else that of its first input."""
    assert found.exchanges is not None
    for exchange in found.exchanges:
        exchange.end_user = found.end_user or exchange.end_user
        exchange.conversation_id = found.conversation_id or exchange.conversation_id
    found.end_user = found.exchanges[0].end_user
    found.conversation_id = found.exchanges[0].conversation_id


def _tokens(body: Any, answer: Answer | None, exchange: Exchange) -> Tokens:
    usage = answer.usage if answer is not None else None
    if not usage and isinstance(body, dict):
        usage = body.get("usage")
    return _counts(usage, exchange)


def _counts(usage: Any, exchange: Exchange) -> Tokens:
    """The log's counts, but for zeros that can't be: of an input, and of an answer with a text."""
    found = tokens(usage)
    if found.input == 0:
        found.input = None
    if found.output == 0 and exchange.response:
        found.output = None
    return found
