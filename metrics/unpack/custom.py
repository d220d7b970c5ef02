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

ANSWER_FIELDS = (
    *("result", "answer", "output_text", "output", "response", "generated_text", "text"),
    *("completion", "generation"),
)
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
    finish, usage = body.get("finish_reason") or body.get("stop_reason"), body.get("usage")
    content = body.get("content")
    if messages.said_by(body) == messages.USER:
        return None
    is_agents = messages.said_by(body) == messages.ASSISTANT
    if (isinstance(content, str | list) and (is_agents or not _has_answer(body))) or (
        is_agents and (content is not None or "tool_calls" in body)
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
    for name in _LISTS:
        if isinstance(body.get(name), list) and body[name]:
            first = body[name][0]
            if isinstance(first, str):
                return Answer(first, None, usage) if name == "replies" else None
            return _listed(first, usage or body)
    return None


_LISTS = ("results", "outputs", "replies")
"""Where models of Bedrock (Titan, Mistral) and Haystack list answers; others list there what they have found."""


def _listed(first: Any, usage: Any) -> Answer | None:
    if not isinstance(first, dict):
        return None
    finish = first.get("completionReason") or first.get("stop_reason") or first.get("finish_reason")
    text = first.get("outputText", first.get("text") if finish is not None else None)
    return Answer(text, finish, usage) if isinstance(text, str) else None


def _has_answer(body: dict[str, Any]) -> bool:
    """Whether an object has a field that is named as custom models name their answers, with something in it."""
    return any(isinstance(body.get(name), str | dict | list) and body[name] for name in ANSWER_FIELDS)


def _within(value: dict[str, Any], depth: int) -> Answer | None:
    """The answer in an envelope."""
    for family in _WITHIN:
        found = family.answer(value) if family.answer else None
        if found is not None:
            return found
    return _answer(value, depth)


CUSTOM = Family("custom model", _custom_request, _custom_answer)
