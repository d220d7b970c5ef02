"""Ollama's own API: ``/api/chat`` and ``/api/generate``, whole or as JSON lines.

Source: Ollama, "API". Requests are chats, or text completions (``prompt``, ``system``).
"""

from __future__ import annotations

from typing import Any

from metrics.unpack import messages
from metrics.unpack.shapes import BEGINNING, Answer, Call, Family, UnreadableError
from metrics.unpack.usage import last_counts

__all__ = ["OLLAMA"]


def _is_ollama(event: Any) -> bool:
    return (
        isinstance(event, dict) and isinstance(event.get("done"), bool) and ("message" in event or "response" in event)
    )


def _said(body: dict[str, Any]) -> str | None:
    message = body.get("message")
    if isinstance(message, dict):
        return messages.spoken(message)
    response = body.get("response")
    if response is not None and not isinstance(response, str):
        raise UnreadableError
    return response


def _answer(body: Any) -> Answer | None:
    """``message`` of a chat, or ``response`` of a completion, beside ``done``."""
    if not _is_ollama(body):
        return None
    return Answer(_said(body), body.get("done_reason"), body)


def _stream(events: list[Any], _call: Call | None) -> Answer | None:
    """Texts in order; the last line has reason and counts."""
    if not any(map(_is_ollama, events[:BEGINNING])):
        return None
    texts: list[str] = []
    finish = None
    for event in events:
        if not isinstance(event, dict):
            raise UnreadableError
        finish = event.get("done_reason") or finish
        text = _said(event)
        if text is not None:
            texts.append(text)
    return Answer("".join(texts) if texts else None, finish, last_counts(events))


OLLAMA = Family("Ollama", answer=_answer, stream=_stream)
