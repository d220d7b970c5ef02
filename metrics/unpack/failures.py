"""Failures that a payload tells of, whatever the status: the code of an error, never its message."""

from __future__ import annotations

import re
from typing import Any

from metrics.unpack.body import parse
from metrics.unpack.shapes import UnreadableError

__all__ = ["as_code", "blocked_by", "error_code", "failed_finish", "instead", "told_by", "told_by_events"]

ERROR = "error"
"""The code of a failure that names none, or something that does not look like one."""

_CODE = re.compile(r"[\w.:/-]{1,80}", re.ASCII)
_NAMES = ("error_code", "code", "status", "type", "error_type", "__type")

_FAILED = frozenset({"error", "network_error", "insufficient_system_resource", "failed", "TIMEOUT"})
"""Reasons to stop that are failures (OpenRouter, Zhipu, DeepSeek, Cohere); others of Cohere's begin with ERROR."""

_NONE = frozenset(
    {"", "none", "null", "nil", "n/a", "na", "-", "undefined", "false", "no", "ok", "success", "succeeded", "0", "200"}
)
"""Words in an error's place, in lower case, that tell of none."""


def as_code(value: Any) -> str | None:
    """A code as it is, ``error`` for what looks like none: messages can quote the user. None of None."""
    if value is None:
        return None
    text = str(value) if isinstance(value, str) or type(value) is int else ""
    return text if _CODE.fullmatch(text) else ERROR


def error_code(error: Any) -> str | None:
    """The code of what stands where an error is told; None where that tells of none.

    An empty object, one that has nulls, zeros and empty texts only, "", "none", 0, false and null tell of none.
    """
    if not _tells(error):
        return None
    if isinstance(error, list):
        return next((code for one in error[:8] if (code := error_code(one)) is not None), None)
    if not isinstance(error, dict):
        return as_code(error) if isinstance(error, str) else ERROR
    if not any(map(_tells, error.values())):
        return None
    named = next((error[name] for name in _NAMES if isinstance(error.get(name), str) and error[name]), None)
    if named is not None and named != ERROR:
        return as_code(named)
    inner = error.get("error")
    if isinstance(inner, dict) and inner:
        return error_code(inner) or ERROR
    number = next((error[name] for name in _NAMES if type(error.get(name)) is int), None)
    return as_code(number) if number is not None else ERROR


def _tells(value: Any) -> bool:
    """Whether what stands in the place of an error, or of its code, tells of one."""
    if isinstance(value, dict | list):
        return any(map(_tells, value.values() if isinstance(value, dict) else value))
    return bool(value) and not (isinstance(value, str) and value.strip().lower() in _NONE)


def told_by(body: Any) -> str | None:
    """The code of a failure that a JSON object tells of in place of an answer, or beside it.

    ``error`` (OpenAI, Gemini, Anthropic, Ollama, TGI), ``databricks_output.error`` (Databricks agents), ``error_code``
    (Databricks, FastChat), ``x_groq.error``, ``base_resp.status_code`` (MiniMax), ``__error__`` (LangGraph).
    """
    if not isinstance(body, dict) or TELLING.isdisjoint(body):
        return None
    for name in _AROUND:
        around = body.get(name)
        code = error_code(around.get("error")) if isinstance(around, dict) else None
        if code is not None:
            return code
    error = body.get("error")
    code = error_code(error)
    if code is not None:
        kind = body.get("error_type")
        return as_code(kind) if isinstance(error, str) and isinstance(kind, str) and kind else code
    code = body.get("error_code")
    if (isinstance(code, str) or type(code) is int) and _tells(code):
        return as_code(code)
    resp = body.get("base_resp")
    if isinstance(resp, dict) and type(resp.get("status_code")) is int and resp["status_code"]:
        return as_code(resp["status_code"])
    if body.get("success") is False or body.get("status") in ("error", "failure"):
        return error_code(body.get("errors")) or ERROR
    exception = next((name for name in EXCEPTIONS if isinstance(body.get(name), dict)), None)
    return exception or error_code(body.get("__error__")) or error_code(body.get("errors"))


EXCEPTIONS = (
    *("internalServerException", "modelStreamErrorException", "serviceUnavailableException", "throttlingException"),
    *("validationException", "modelTimeoutException", "serviceQuotaExceededException", "modelErrorException"),
    *("accessDeniedException", "resourceNotFoundException", "modelNotReadyException"),
)
"""Failures within a stream of Amazon Bedrock: an object with one key, its name."""

_AROUND = ("databricks_output", "x_groq")

TELLING = frozenset(
    {"error", "error_code", "errors", "success", "status", "base_resp", "__error__", *_AROUND, *EXCEPTIONS}
)
"""Fields of an object that may tell of a failure."""


def instead(body: Any) -> str | None:
    """The code of an object that stands where an answer belongs: ``code`` or ``object: error`` (vLLM), too."""
    code = told_by(body)
    if code is not None or not isinstance(body, dict):
        return code
    if body.get("object") == ERROR or body.get("type") == ERROR:
        return error_code({name: body.get(name) for name in _NAMES if body.get(name) != ERROR}) or ERROR
    if body.keys() == {"detail"}:  # FastAPI
        return ERROR
    named = next((body[name] for name in ("code", "__type") if isinstance(body.get(name), str)), None)
    if named is None and type(body.get("code")) is int and isinstance(body.get("message"), str):
        named = body["status"] if isinstance(body.get("status"), str) else body["code"]
    # A code alone may be anything's.
    if named is None or not _tells(str(named)) or _ABOUT.isdisjoint(body):
        return None
    return as_code(named)


_ABOUT = frozenset({"message", "msg", "error_msg", "detail", "details", "request_id", "requestId", "choices", "__type"})
"""Fields beside the code of a failure."""


def told_by_events(events: list[Any]) -> str | None:
    """The code of the last failure that the events of a stream tell of: within an event, or one of its own."""
    apart = _EVENT.isdisjoint
    telling = [one for one in events if isinstance(one, dict) and (not apart(one) or one.get("type") == ERROR)]
    found = None
    for event in telling:
        code = told_by(event)
        if code is None and isinstance(event.get("response"), dict):
            code = error_code(event["response"].get("error"))
        if code is None:
            code = instead(event)
        found = code or found
    return found


_EVENT = TELLING | {"response", "code", "detail"}
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
