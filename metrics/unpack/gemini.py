"""Gemini ``generateContent`` and ``streamGenerateContent``: contents of parts, candidates, blocked prompts.

Source: Gemini API reference, "Generating content"; both spellings, ``systemInstruction`` and ``system_instruction``.
"""

from __future__ import annotations

from typing import Any

from metrics.unpack import messages
from metrics.unpack.contents import content_text, says_elsewhere
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
    if not _is_gemini(body):
        return None
    text, finish = _candidate(body)
    return Answer(text, finish or _blocked(body), _usage(body), body.get("error"))


_OWN = frozenset(
    (
        *("candidates", "promptFeedback", "prompt_feedback", "usageMetadata", "usage_metadata", "modelVersion"),
        *("model_version", "responseId", "response_id", "createTime", "create_time", "error", "type", "parsed"),
        *("sdkHttpResponse", "sdk_http_response", "modelStatus", "model_status", "metadata", "model", "id", "object"),
        *("automaticFunctionCallingHistory", "automatic_function_calling_history", "created", "usage", "serviceTier"),
        *("databricks_output", "trafficType", "http_response", "warnings", "error_code"),
    )
)
"""Fields of an answer that has no candidates; beside a text in others, it is another protocol's."""

_OF_A_CANDIDATE = frozenset(
    (
        *("index", "finishReason", "finish_reason", "finishMessage", "finish_message", "safetyRatings"),
        *("safety_ratings", "citationMetadata", "citation_metadata", "groundingMetadata", "grounding_metadata"),
        *("groundingAttributions", "tokenCount", "token_count", "avgLogprobs", "avg_logprobs", "logprobsResult"),
        *("logprobs_result", "urlContextMetadata", "url_context_metadata", "content", "metadata", "retrievalMetadata"),
    )
)
"""Fields of a candidate that says nothing."""

_OLDER = ("text", "output")
"""Where a candidate has its text in older protocols: MLflow's gateway, PaLM."""


def _is_gemini(body: Any) -> bool:
    if not isinstance(body, dict) or _TELLING.isdisjoint(body):
        return False
    candidates = body.get("candidates")
    if not candidates:
        return not says_elsewhere(body, _OWN) and not any(body.get(name) for name in _OTHERS)
    return isinstance(candidates, list) and all(map(_is_candidate, candidates[:BEGINNING]))


_TELLING = frozenset(("candidates", "promptFeedback", "prompt_feedback", "usageMetadata", "usage_metadata"))
"""Fields one of which an answer, or an event of a stream, has."""

_OTHERS = ("messages", "message", "content", "choices", "predictions", "output", "outputs", "data")
"""Fields in which other protocols have an answer, also one without a text."""


def _is_candidate(one: Any) -> bool:
    if not isinstance(one, dict):
        return False
    if isinstance(one.get("content"), dict):
        content = one["content"]
        return not content or any(name in content for name in ("parts", "role", "text"))
    if isinstance(one.get("message"), dict) or any(isinstance(one.get(name), str) for name in _OLDER):
        return True
    if isinstance(one.get("content"), str) and "author" in one:  # chat-bison
        return True
    return (
        one.get("content") is None and not _OF_A_CANDIDATE.isdisjoint(one) and not says_elsewhere(one, _OF_A_CANDIDATE)
    )


def _usage(body: dict[str, Any]) -> Any:
    usage = body.get("usageMetadata", body.get("usage_metadata"))
    return body.get("metadata") if usage is None else usage


def _blocked(body: dict[str, Any]) -> Any:
    feedback = body.get("promptFeedback", body.get("prompt_feedback"))
    return feedback.get("blockReason", feedback.get("block_reason")) if isinstance(feedback, dict) else None


def _candidate(body: dict[str, Any]) -> tuple[str | None, Any]:
    """Text and finish reason of the candidate with index 0, which may have none."""
    first = next((one for one in body.get("candidates") or () if one.get("index") in (None, 0)), None)
    if first is None:
        return None, None
    finish = first.get("finishReason", first.get("finish_reason"))
    content = first.get("content")
    if isinstance(content, dict):
        return content_text(content["parts"] if "parts" in content else content.get("text")), finish
    if isinstance(first.get("metadata"), dict):
        finish = finish or first["metadata"].get("finish_reason")
    if isinstance(first.get("message"), dict):
        return messages.spoken(first["message"]), finish
    return next((first[name] for name in (*_OLDER, "content") if isinstance(first.get(name), str)), None), finish


def _stream(events: list[Any], _call: Call | None) -> Answer | None:
    """Each event is an answer in small: their texts in order, the last reason and the last counts."""
    if not any(_is_gemini(event) for event in events[:BEGINNING]):
        return None
    texts: list[str] = []
    finish = None
    for event in events:
        if not isinstance(event, dict) or (event.get("candidates") and not _is_gemini(event)):
            raise UnreadableError
        text, reason = _candidate(event)
        finish = reason or _blocked(event) or finish
        if text is not None:
            texts.append(text)
    return Answer("".join(texts) if texts else None, finish, last_counts(map(_usage, events)))


GEMINI = Family("Gemini", _request, _answer, _stream)
