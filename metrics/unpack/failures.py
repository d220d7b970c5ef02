"""Failures that a payload tells of, whatever the status: the code of an error, never its message."""

from __future__ import annotations

import re
from typing import Any

from metrics.unpack.body import parse
from metrics.unpack.shapes import UnreadableError

__all__ = ["as_code", "blocked_by", "error_code", "failed_finish", "instead", "told_by", "told_by_events"]

ERROR = "error"
"""The code of a failure that names none, or something that does not look like one."""

_CODE = re.compile(r"[\w.:/-]{1,80}")
_NAMES = ("error_code", "code", "status", "type", "error_type", "__type")

_FAILED = frozenset({"error", "network_error", "insufficient_system_resource", "failed"})
"""Reasons to stop that are failures (OpenRouter, Zhipu, DeepSeek); Cohere's begin with ERROR."""


def as_code(value: Any) -> str | None:
    """A code as it is, ``error`` for what looks like none: messages can quote the user. None of None."""
    if value is None:
        return None
    text = str(value) if isinstance(value, str) or type(value) is int else ""
    return text if _CODE.fullmatch(text) else ERROR


def error_code(error: Any) -> str | None:
    """The code of what stands where an error is told; None where that tells of none.

    An empty object, one that has nulls only, "", 0, false and null tell of none.
    """
    if not error:
        return None
    if isinstance(error, list):
        return next((code for one in error[:8] if (code := error_code(one)) is not None), None)
    if not isinstance(error, dict):
        return as_code(error) if isinstance(error, str) else ERROR
    if not any(value is not None and value != "" and value is not False for value in error.values()):
        return None
    named = next((error[name] for name in _NAMES if isinstance(error.get(name), str) and error[name]), None)
    if named is not None and named != ERROR:
        return as_code(named)
    inner = error.get("error")
    if isinstance(inner, dict) and inner:
        return error_code(inner) or ERROR
    number = next((error[name] for name in _NAMES if type(error.get(name)) is int), None)
    return as_code(number) if number is not None else ERROR


def told_by(body: Any) -> str | None:
    """The code of a failure that a JSON object tells of in place of an answer, or beside it.

    ``error`` (OpenAI, Gemini, Anthropic, Ollama, TGI), ``databricks_output.error`` (Databricks agents).
    """
    if not isinstance(body, dict):
        return None
    output = body.get("databricks_output")
    code = error_code(output.get("error")) if isinstance(output, dict) else None
    if code is not None:
        return code
    error = body.get("error")
    code = error_code(error)
    if code == ERROR and not isinstance(error, dict):
        kind = body.get("error_type")
        return as_code(kind) if isinstance(kind, str) and kind else ERROR
    return code


def instead(body: Any) -> str | None:
    """The code of an object that stands where an answer belongs: ``error_code`` (Databricks) or ``code``, too."""
    if isinstance(body, dict) and isinstance(body.get("error_code"), str) and body["error_code"]:
        return as_code(body["error_code"])
    code = told_by(body)
    if code is not None or not isinstance(body, dict):
        return code
    named = next((body[name] for name in ("code", "__type") if isinstance(body.get(name), str) and body[name]), None)
    return as_code(named)


def told_by_events(events: list[Any]) -> str | None:
    """The code of the last failure that the events of a stream tell of: within an event, or one of its own."""
    apart = _TELLING.isdisjoint
    telling = [one for one in events if isinstance(one, dict) and (not apart(one) or one.get("type") == ERROR)]
    found = None
    for event in telling:
        code = told_by(event)
        if code is None and isinstance(event.get("response"), dict):
            code = error_code(event["response"].get("error"))
        if code is None and isinstance(event.get("error_code"), str) and event["error_code"]:
            code = as_code(event["error_code"])
        if code is None and event.get("type") == ERROR:
            code = as_code(event["code"]) if isinstance(event.get("code"), str) else ERROR
        found = code or found
    return found


_TELLING = frozenset({"error", "databricks_output", "response", "error_code"})
"""Fields of an event that may tell of a failure."""


def blocked_by(body: Any) -> dict[str, Any] | None:
    """What a guardrail says of a call that it blocked: JSON within the error's message.

    Source: Databricks, "AI guardrails": ``finishReason`` is, for example, ``input_guardrail_triggered``.
    """
    message = body.get("message") if isinstance(body, dict) else None
    if not isinstance(message, str) or "finishReason" not in message:
        return None
    try:
        told = parse(message.encode("utf-8", "replace"))
    except UnreadableError:
        return None
    return told if isinstance(told, dict) and isinstance(told.get("finishReason"), str) else None


def failed_finish(reason: Any) -> bool:
    """Whether a reason to stop is a failure."""
    return isinstance(reason, str) and (reason in _FAILED or reason.startswith("ERROR"))
