"""Amazon Bedrock Converse and ConverseStream.

Source: Amazon Bedrock API reference, "Converse" and "ConverseStream". Requests are chats with ``system`` beside them.
An event of the stream is an object with one key, its name; or has its name as ``type`` (from an ``event:`` line).
"""

from __future__ import annotations

from typing import Any

from metrics.unpack import messages
from metrics.unpack.failures import EXCEPTIONS
from metrics.unpack.shapes import BEGINNING, Answer, Call, Family, UnreadableError
from metrics.unpack.usage import last_counts

__all__ = ["BEDROCK"]

_EVENTS = (
    *("messageStart", "contentBlockStart", "contentBlockDelta", "contentBlockStop", "messageStop", "metadata"),
    *EXCEPTIONS,
)


def _answer(body: Any) -> Answer | None:
    """``output.message``."""
    output = body.get("output") if isinstance(body, dict) else None
    message = output.get("message") if isinstance(output, dict) else None
    if not isinstance(message, dict):
        return None
    return Answer(messages.spoken(message), body.get("stopReason"), body.get("usage"))


def _named(event: Any) -> tuple[str | None, dict[str, Any]]:
    """Name and body of an event; None where it is none."""
    if not isinstance(event, dict):
        return None, {}
    if event.get("type") in _EVENTS:
        return event["type"], event
    name = next((name for name in _EVENTS if isinstance(event.get(name), dict)), None)
    return name, event[name] if name else {}


def _stream(events: list[Any], _call: Call | None) -> Answer | None:
    """``contentBlockDelta`` events of text; an exception among the events is a failure."""
    named = [_named(event) for event in events]
    if not any(name is not None and name != "metadata" for name, _ in named[:BEGINNING]):
        return None
    texts: list[str] = []
    usages: list[Any] = []
    finish = error = None
    for event, (name, body) in zip(events, named, strict=True):
        if not isinstance(event, dict):
            raise UnreadableError
        if name == "contentBlockDelta":
            delta = body.get("delta")
            if isinstance(delta, dict) and isinstance(delta.get("text"), str):
                texts.append(delta["text"])
        elif name == "messageStop":
            finish = body.get("stopReason") or finish
        elif name == "metadata":
            usages.append(body.get("usage"))
        elif name is not None and name.endswith("Exception"):
            error = {"code": name}
    return Answer("".join(texts) if texts else None, finish, last_counts(usages), error)


BEDROCK = Family("Bedrock Converse", answer=_answer, stream=_stream)
