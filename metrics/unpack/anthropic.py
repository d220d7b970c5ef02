"""Anthropic Messages: content blocks, ``stop_reason``, and a stream of typed events.

Source: Anthropic API reference, "Messages" and "Streaming messages". Requests are chats with ``system`` beside them.
"""

from __future__ import annotations

from typing import Any

from metrics.unpack.contents import content_text
from metrics.unpack.shapes import BEGINNING, Answer, Call, Family, UnreadableError
from metrics.unpack.usage import last_counts

__all__ = ["ANTHROPIC"]

_EVENTS = ("message_start", "content_block_start", "content_block_delta", "message_delta", "message_stop")

_DELTAS = (
    *("text_delta", "thinking_delta", "signature_delta", "input_json_delta", "citations_delta", "compaction_delta"),
    "None",
)
"""Kinds of pieces that are known."""


def _answer(body: Any) -> Answer | None:
    """``content`` blocks; without text blocks (only ``tool_use``, or none) nothing was said."""
    if not isinstance(body, dict) or not isinstance(body.get("content"), list):
        return None
    if body.get("type") != "message" and "stop_reason" not in body:
        return None
    return Answer(content_text(body["content"]), body.get("stop_reason"), body.get("usage"))


def _stream(events: list[Any], _call: Call | None) -> Answer | None:
    """``content_block_delta`` events of text; thinking, tool input and signatures are not said to anyone."""
    if not any(isinstance(event, dict) and event.get("type") in _EVENTS for event in events[:BEGINNING]):
        return None
    texts: list[str] = []
    usages: list[Any] = []
    finish = None
    for event in events:
        if not isinstance(event, dict):
            raise UnreadableError
        kind, delta = event.get("type"), event.get("delta")
        if kind == "content_block_delta":
            if isinstance(delta, dict) and isinstance(delta.get("text"), str):
                texts.append(delta["text"])
            elif isinstance(delta, dict) and str(delta.get("type")) not in _DELTAS:
                raise UnreadableError
        elif kind == "content_block_start":
            block = event.get("content_block")
            if isinstance(block, dict) and block.get("type") == "text" and isinstance(block.get("text"), str):
                texts.append(block["text"])
        elif kind == "message_start" and isinstance(event.get("message"), dict):
            message = event["message"]
            usages.append(message.get("usage"))
            finish = message.get("stop_reason") or finish
            if message.get("content"):
                texts.append(content_text(message["content"]) or "")
        elif kind == "message_delta":
            usages.append(event.get("usage"))
            finish = (delta.get("stop_reason") if isinstance(delta, dict) else None) or finish
    usage = last_counts(usages)
    text = "".join(texts) if texts else None
    if usage and not any(isinstance(one, dict) and "output_tokens" in one for one in usages[1:]):
        usage.pop("output_tokens", None)  # that of message_start is of the beginning alone
    return Answer(text, finish, usage)


ANTHROPIC = Family("Anthropic Messages", answer=_answer, stream=_stream)
