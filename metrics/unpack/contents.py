"""Contents of messages: a text, or parts of which some hold text; in all protocols' forms."""

from __future__ import annotations

import json
from typing import Any

import msgspec

from metrics.unpack.shapes import UnreadableError

__all__ = ["as_json", "content_text", "has_tool_result", "object_text", "says_elsewhere"]

_REASONING = frozenset({"thinking", "redacted_thinking", "reasoning", "reasoning_content"})

_PLAIN = (None, "text", "input_text", "output_text")

_TOOL_RESULTS = frozenset({"tool_result", "tool-result", "function_call_output", "function_response", "toolResult"})

_NO_TEXT = frozenset(
    (
        *("image", "image_url", "image_file", "input_image", "output_image", "audio", "audio_url", "input_audio"),
        *("output_audio", "video", "video_url", "input_video", "file", "file_url", "input_file", "document", "media"),
        *("tool_use", "server_tool_use", "mcp_tool_use", "tool_call", "tool-call", "function_call", "functionCall"),
        *("search_result", "container_upload", "compaction", "non_standard", "cachePoint", "source", "citation"),
        *("input_json_delta", "signature_delta", "citations_delta", "tool_call_chunk", "server_tool_call"),
        *_TOOL_RESULTS,
    )
)
"""``type`` of parts that are known to hold no text of the speaker."""

_NO_TEXT_KEYS = (
    *("image_url", "input_audio", "image", "audio", "video", "document", "file", "toolUse", "toolResult"),
    *("reasoningContent", "cachePoint", "inlineData", "inline_data", "fileData", "file_data", "functionCall"),
    *("function_call", "functionResponse", "function_response", "executableCode", "codeExecutionResult"),
    *("executable_code", "code_execution_result", "searchResult", "json", "SYSTEM_CACHE_POINT", "audioTranscript"),
)
"""Keys of parts without a ``type`` (Bedrock, Gemini) that are known to hold no text of the speaker."""

_DEPTH = 4
"""Levels of parts within parts that are read."""


class _Unknown:
    """A part that nothing is known of."""


def content_text(content: Any, joint: str = "") -> str | None:
    """The text of a message's content: a string, a part, or a list of parts; None where it has none.

    Args:
        content: As the payload has it.
        joint: What stands between the text parts.

    Raises:
        UnreadableError: It has no text, and something in it is of no known form.
    """
    if content is None or isinstance(content, str):
        return content
    if isinstance(content, list) and len(content) == 1 and isinstance(content[0], dict):
        part = content[0]
        if isinstance(part.get("text"), str) and part.get("type") in _PLAIN and "thought" not in part:
            return str(part["text"])  # what most are
    texts, unknown = _texts(content, _DEPTH)
    if texts:
        return texts[0] if len(texts) == 1 else joint.join(texts)
    if unknown:
        raise UnreadableError
    return None


def object_text(content: dict[str, Any]) -> str | None:
    """The text of a content that is an object: of its parts, or its JSON where it is an answer in JSON."""
    if not content:
        return None
    texts, unknown = _texts(content, _DEPTH)
    if unknown:
        return as_json(content)
    return "".join(texts) if texts else None


def _texts(content: Any, depth: int) -> tuple[list[str], bool]:
    """Texts of a content's parts in order, and whether one of the parts is of no known form."""
    texts: list[str] = []
    unknown = False
    for part in content if isinstance(content, list) else (content,):
        if isinstance(part, str):
            texts.append(part)
        elif isinstance(part, dict):
            found = _part(part, depth)
            if isinstance(found, str):
                texts.append(found)
            elif isinstance(found, list):
                texts += found
            unknown |= found is _Unknown
        else:
            unknown |= part is not None
    return texts, unknown


def _part(part: dict[str, Any], depth: int) -> Any:
    """Text or texts of a part, None where it is known to have none, _Unknown where nothing is known of it."""
    kind = part.get("type")
    if not isinstance(kind, str):
        kind = None
    if kind in _REASONING or part.get("thought") is True:
        return None
    if kind in _TOOL_RESULTS:
        return None
    if kind in _NO_TEXT and "transcript" not in part:
        return None
    text = part.get("text")
    if isinstance(text, str):
        return text
    if isinstance(text, dict):
        text = text.get("value") if "value" in text else text.get("text")
        return text if isinstance(text, str) else _Unknown
    for key in ("refusal", "transcript", "value"):
        if isinstance(part.get(key), str):
            return part[key]
    if kind is not None and (kind in _NO_TEXT or kind.endswith(("_tool_result", "_tool_use", "_call"))):
        return None
    for key in ("parts", "citationsContent", "guardContent", "content"):
        inner = part.get(key)
        if isinstance(inner, str) and key == "content":
            return inner
        if isinstance(inner, dict | list) and depth:
            inner = inner.get("content", inner) if key == "citationsContent" and isinstance(inner, dict) else inner
            texts, unknown = _texts(inner, depth - 1)
            return texts or (_Unknown if unknown else None)
    if "text" in part and text is None:
        return None
    return None if any(key in part for key in _NO_TEXT_KEYS) else _Unknown


def as_json(value: Any) -> str:
    """A JSON value as compact text.

    Raises:
        UnreadableError: It is nested too deeply.
    """
    try:
        try:
            return msgspec.json.encode(value).decode()
        except UnicodeEncodeError:  # half of a character
            return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    except RecursionError as error:
        raise UnreadableError from error


def says_elsewhere(value: dict[str, Any], known: frozenset[str]) -> bool:
    """Whether an object has a text in a field that is not among the known ones; ids are no texts."""
    if known.issuperset(value):
        return False
    for key, one in value.items():
        if key in known or key.endswith(("_id", "Id")):
            continue
        if (isinstance(one, str) and one) or (isinstance(one, dict | list) and any(_texts(one, _DEPTH)[0])):
            return True
    return False


def has_tool_result(content: Any) -> bool:
    """Whether a content without a text has what a tool gave back: the user said nothing then, whatever is beside it."""
    return isinstance(content, list) and any(
        isinstance(part, dict)
        and (
            str(part.get("type")) in _TOOL_RESULTS
            or any(key in part for key in ("toolResult", "functionResponse", "function_response"))
        )
        for part in content
    )
