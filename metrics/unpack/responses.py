"""OpenAI's Responses API, which Databricks' ResponsesAgent speaks, too: items in and out, and their events.

Source: OpenAI API reference, "Responses" and "Streaming events"; MLflow ``mlflow.types.responses``.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from metrics.unpack import messages
from metrics.unpack.openai import limited, token_inputs
from metrics.unpack.shapes import BEGINNING, Answer, Call, Family, Input, UnreadableError
from metrics.unpack.usage import last_counts

__all__ = ["RESPONSES"]

_MESSAGE_ITEM = "message"


def _responses_request(body: Any) -> Call | None:
    """``input`` of the Responses API: a text, or items; or the texts to embed.

    Only a message is said by somebody: reasoning, a call and its output have their type in the role's place.
    """
    if not isinstance(body, dict):
        return None
    if "input" not in body:
        prompt = body.get("prompt")  # one of the project's own, whose text the log does not have
        return Call([Input(messages=[])]) if isinstance(prompt, dict) and isinstance(prompt.get("id"), str) else None
    given, system = body["input"], body.get("instructions")
    if isinstance(given, str):
        if any(isinstance(body.get(name), str) for name in ("query", "question", "prompt")):
            return None
        if isinstance(system, str) and system:
            return Call([messages.chat([given], system=system)])
        return Call([messages.text_input(given)])
    if not isinstance(given, list) or not given:
        return None
    if all(isinstance(one, str) for one in given):
        return Call([messages.text_input(one) for one in limited(given)])
    if any(isinstance(one, dict) and (one.get("role") or one.get("type")) for one in given):
        return Call([messages.chat(given, system=system if isinstance(system, str | list) else None)])
    if token_inputs(given) is not None:
        return None  # only an embedding is asked for with them: the answer tells
    return None


def _output_answer(body: Any) -> Answer | None:
    """``output`` items of the Responses API: the last message; calls and reasoning are not said to anyone."""
    if not isinstance(body, dict) or not isinstance(body.get("output"), list):
        return None
    items = body["output"]
    if not all(isinstance(item, dict) for item in items):
        return None
    if items and body.get("object") != "response" and not any(_is_item(item) for item in items):
        return None
    text = items_text(items)
    if text is None and isinstance(body.get("output_text"), str):
        text = body["output_text"]
    return Answer(text, _status(body), body.get("usage"), _failed(body))


def _is_item(item: dict[str, Any]) -> bool:
    kind = item.get("type")
    return ("content" in item and "role" in item) or (isinstance(kind, str) and messages.is_item(kind))


def _failed(response: dict[str, Any]) -> Any:
    return response.get("error") or ("failed" if response.get("status") == "failed" else None)


def _status(response: dict[str, Any]) -> Any:
    details = response.get("incomplete_details")
    reason = details.get("reason") if isinstance(details, dict) else None
    status = response.get("status")
    return reason or (status if status not in ("in_progress", "queued") else None) or response.get("finish_reason")


def items_text(items: Iterable[Any]) -> str | None:
    """What the last message among output items says; None without one."""
    last = None
    for item in items:
        kind = item.get("type") if isinstance(item, dict) else None
        if isinstance(item, dict) and (kind == _MESSAGE_ITEM or not isinstance(kind, str)):
            said = messages.spoken(item)
            last = said if said is not None else last
    return last


_PIECES = {
    "response.output_text.delta": "delta",
    "response.refusal.delta": "delta",
    "response.output_audio_transcript.delta": "delta",
    "response.audio.transcript.delta": "delta",
}


def _response_events(events: list[Any], _call: Call | None) -> Answer | None:
    """Events of the Responses API: the response that ends them, else the items that are done, else the pieces."""
    if not any(
        isinstance(event, dict) and str(event.get("type")).startswith("response.") for event in events[:BEGINNING]
    ):
        return None
    pieces: list[tuple[Any, str]] = []
    done: list[Any] = []
    completed = finish = error = None
    for event in events:
        if not isinstance(event, dict):
            raise UnreadableError
        kind = str(event.get("type"))
        if kind in _PIECES:
            if isinstance(event.get("delta"), str):
                pieces.append((event.get("item_id"), event["delta"]))
        elif isinstance(event.get("item"), dict) and kind != "response.output_item.added":
            done.append(event["item"])
        response = event.get("response")
        if isinstance(response, dict):
            if response.get("output"):
                completed = response["output"]
            finish = _status(response) or finish
            error = _failed(response) or error
    text = items_text(completed) if isinstance(completed, list) else None
    if text is None:
        text = items_text(done)
        begun = pieces[-1][0] if pieces else None
        # Of a stream that broke off, the last item was begun and is not done.
        if pieces and (
            text is None or (begun is not None and all(item.get("id") not in (None, begun) for item in done))
        ):
            text = "".join([piece for of, piece in pieces if of == begun])
    usage = last_counts(
        event["response"].get("usage") if isinstance(event.get("response"), dict) else event.get("usage")
        for event in events
    )
    return Answer(text, finish, usage, error)


RESPONSES = Family("OpenAI Responses", _responses_request, _output_answer, _response_events)
