"""Custom models: any object with a field that holds the prompt or the answer, texts alone, and envelopes around them.

The last family that is tried: its fields are words that many protocols use for something else.
"""

from __future__ import annotations

from typing import Any

from metrics.unpack import messages
from metrics.unpack.langchain import LANGCHAIN
from metrics.unpack.mlflow import CHAT_AGENT, inputs_of, record_of
from metrics.unpack.openai import CHAT
from metrics.unpack.shapes import Answer, Call, Family

__all__ = ["CUSTOM"]

ANSWER_FIELDS = ("result", "answer", "output_text", "output", "response", "generated_text", "text")
"""What custom models call what they answer, in the order in which they are looked at."""

_DEPTH = 4
"""Envelopes around an answer that are opened."""

_WITHIN = (CHAT, CHAT_AGENT, LANGCHAIN)
"""What LangServe and others put into an envelope."""


def _custom_request(body: Any) -> Call | None:
    """Any other object with a field that holds the prompt, a text alone, or a list of such."""
    if isinstance(body, list):
        if not body:
            return None
        return Call([messages.chat(body)]) if messages.looks_like_messages(body) else Call(inputs_of(body))
    found = record_of(body)
    if found is None:
        return None
    if isinstance(body, dict):
        found.end_user = found.conversation_id = None  # the call's own, which ``payloads`` looks for
    return Call([found])


def _custom_answer(body: Any) -> Answer | None:
    """A text, a message, or an object with a field that holds the answer."""
    return _answer(body, _DEPTH)


def _answer(body: Any, depth: int) -> Answer | None:
    if isinstance(body, str):
        return Answer(body)
    if not isinstance(body, dict):
        return None
    finish, usage = body.get("finish_reason"), body.get("usage")
    content = body.get("content")
    if messages.said_by(body) == messages.USER:
        return None
    if isinstance(content, str | list) or (
        body.get("role") == messages.ASSISTANT and (content is not None or "tool_calls" in body)
    ):
        return Answer(messages.spoken(body), finish, usage)
    for name in ANSWER_FIELDS:
        value = body.get(name)
        if isinstance(value, str):
            return Answer(value, finish, usage)
        if isinstance(value, dict) and depth:
            inner = _within(value, depth - 1)
            if inner is not None:
                inner.usage, inner.finish_reason = inner.usage or usage, inner.finish_reason or finish
                return inner
    return None


def _within(value: dict[str, Any], depth: int) -> Answer | None:
    """The answer in an envelope."""
    for family in _WITHIN:
        found = family.answer(value) if family.answer else None
        if found is not None:
            return found
    return _answer(value, depth)


CUSTOM = Family("custom model", _custom_request, _custom_answer)
