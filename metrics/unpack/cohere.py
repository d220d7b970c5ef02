"""Cohere v2 chat. Requests are chats.

Source: Cohere API reference, "Chat" and "Chat with streaming" (v2).
"""

from __future__ import annotations

from typing import Any

from metrics.unpack import messages
from metrics.unpack.shapes import BEGINNING, Answer, Call, Family, UnreadableError

__all__ = ["COHERE"]

_EVENTS = ("message-start", "content-start", "content-delta", "content-end", "tool-plan-delta", "message-end")


def _answer(body: Any) -> Answer | None:
    """``message`` of parts, beside ``finish_reason``; a plan of tool calls is not said to anyone."""
    message = body.get("message") if isinstance(body, dict) else None
    if not isinstance(message, dict) or not isinstance(message.get("content"), list | None) or "done" in body:
        return None
    if "finish_reason" not in body and "role" not in message:
        return None
    return Answer(messages.spoken(message), body.get("finish_reason"), body.get("usage"))


def _content(event: dict[str, Any]) -> Any:
    delta = event.get("delta")
    message = delta.get("message") if isinstance(delta, dict) else None
    return message.get("content") if isinstance(message, dict) else None


def _stream(events: list[Any], _call: Call | None) -> Answer | None:
    """``content-delta`` events of text; ``message-end`` has reason and counts."""
    if not any(isinstance(event, dict) and event.get("type") in _EVENTS for event in events[:BEGINNING]):
        return None
    texts: list[str] = []
    finish = usage = error = None
    for event in events:
        if not isinstance(event, dict):
            raise UnreadableError
        kind = event.get("type")
        if kind in ("content-start", "content-delta"):
            content = _content(event)
            if isinstance(content, dict) and isinstance(content.get("text"), str):
                texts.append(content["text"])
        elif kind == "message-end" and isinstance(event.get("delta"), dict):
            finish, usage = event["delta"].get("finish_reason"), event["delta"].get("usage")
            error = event["delta"].get("error")
    text = "".join(texts)
    return Answer(text if texts else None, finish, usage, error)


COHERE = Family("Cohere v2", answer=_answer, stream=_stream)
