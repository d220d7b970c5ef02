"""Gemini ``generateContent`` and ``streamGenerateContent``: contents of parts, candidates, blocked prompts.

Source: Gemini API reference, "Generating content"; both spellings, ``systemInstruction`` and ``system_instruction``.
"""

from __future__ import annotations

from typing import Any

from metrics.unpack import messages
from metrics.unpack.shapes import BEGINNING, Answer, Call, Family, UnreadableError
from metrics.unpack.usage import last_counts

__all__ = ["GEMINI"]


def _request(body: Any) -> Call | None:
    """``contents``: a text, a content, or a list of them; what has no role is the user's."""
    if not isinstance(body, dict) or "contents" not in body:
        return None
    contents = body["contents"]
    if isinstance(contents, str | dict):
        contents = [contents]
    if not isinstance(contents, list):
        return None
    if contents and all(isinstance(one, dict) and "parts" not in one and "text" in one for one in contents):
        contents = [{"role": "user", "parts": contents}]  # parts without a content around them
    system = body.get("systemInstruction", body.get("system_instruction"))
    return Call([messages.chat(contents, system=system)])


def _answer(body: Any) -> Answer | None:
    """The first candidate; none where the prompt, or the answer, was blocked."""
    if not isinstance(body, dict) or not _is_gemini(body):
        return None
    text, finish = _candidate(body)
    return Answer(text, finish or _blocked(body), _usage(body), body.get("error"))


def _is_gemini(body: Any) -> bool:
    return (
        isinstance(body, dict)
        and any(
            name in body
            for name in ("candidates", "promptFeedback", "prompt_feedback", "usageMetadata", "usage_metadata")
        )
        and not isinstance(body.get("content"), str | list)
    )


def _usage(body: dict[str, Any]) -> Any:
    return body.get("usageMetadata", body.get("usage_metadata"))


def _blocked(body: dict[str, Any]) -> Any:
    feedback = body.get("promptFeedback", body.get("prompt_feedback"))
    return feedback.get("blockReason", feedback.get("block_reason")) if isinstance(feedback, dict) else None


def _candidate(body: dict[str, Any]) -> tuple[str | None, Any]:
    """Text and finish reason of the candidate with index 0, which may have none."""
    candidates = body.get("candidates")
    if candidates is None:
        return None, None
    if not isinstance(candidates, list):
        raise UnreadableError
    first = next(
        (one for one in candidates if isinstance(one, dict) and one.get("index") in (None, 0)),
        None if not candidates or isinstance(candidates[0], dict) else candidates[0],
    )
    if first is None:
        return None, None
    if not isinstance(first, dict):
        raise UnreadableError
    content = first.get("content")
    if isinstance(content, dict):
        content = content.get("parts")
    return messages.content_text(content), first.get("finishReason", first.get("finish_reason"))


def _stream(events: list[Any], _call: Call | None) -> Answer | None:
    """Each event is an answer in small: their texts in order, the last reason and the last counts."""
    if not any(_is_gemini(event) for event in events[:BEGINNING]):
        return None
    texts: list[str] = []
    finish = None
    for event in events:
        if not isinstance(event, dict):
            raise UnreadableError
        text, reason = _candidate(event)
        finish = reason or _blocked(event) or finish
        if text is not None:
            texts.append(text)
    return Answer("".join(texts) if texts else None, finish, last_counts(map(_usage, events)))


GEMINI = Family("Gemini", _request, _answer, _stream)
