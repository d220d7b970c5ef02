"""Token counts of a payload, under the names that protocols have for them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["Tokens", "last_counts", "tokens"]

MOST = 2**31 - 1
"""A larger number is no count."""

_INPUT = (
    *("prompt_tokens", "input_tokens", "promptTokenCount", "inputTokens", "prompt_eval_count", "inputTokenCount"),
    *("prompt_token_count", "inputTextTokenCount"),
)
_OUTPUT = (
    *("completion_tokens", "output_tokens", "outputTokens", "eval_count", "generated_tokens", "outputTokenCount"),
    *("generation_token_count",),
)
_TOTAL = ("total_tokens", "totalTokens", "totalTokenCount", "total_token_count")
_CANDIDATES = ("candidatesTokenCount", "candidates_token_count")
_THOUGHTS = ("thoughtsTokenCount", "thoughts_token_count")
_TOOLS = ("toolUsePromptTokenCount", "tool_use_prompt_token_count")
_CONTENT = (
    "cachedContentTokenCount",
    "cached_content_token_count",
    "prompt_cache_hit_tokens",
    "cached_tokens",
    "num_cached_tokens",
)
_READ = ("cache_read_input_tokens", "cacheReadInputTokens", "cacheReadInputTokenCount")
_WRITTEN = ("cache_creation_input_tokens", "cacheWriteInputTokens", "cacheWriteInputTokenCount")
_DETAILS = ("prompt_tokens_details", "input_tokens_details", "input_token_details")
_CACHED = ("cached_tokens", "cache_read", "cached_tokens_internal")
_CREATED = ("cache_creation_tokens", "cache_write_tokens", "cache_creation")
_INCLUSIVE = ("prompt_tokens", "promptTokenCount", "prompt_token_count", "prompt_eval_count")
"""Names of an input count that has the cached tokens in it; under others they are beside it (Anthropic, Bedrock)."""


@dataclass(slots=True)
class Tokens:
    """Token counts; None: not logged.

    Attributes:
        input: Of all input, what came from a cache or went into one included.
        output: Of the answer, reasoning included.
        cached_input: Of the input, those read from a cache.
        cache_write_input: Of the input, those written into one.
    """

    input: int | None = None
    output: int | None = None
    cached_input: int | None = None
    cache_write_input: int | None = None


def tokens(usage: Any) -> Tokens:
    """The counts of a usage object, whatever protocol it is of; none of what is no object.

    Anthropic and Bedrock count what a cache was read for or written to beside ``input_tokens``: their sum is the input,
    unless ``total_tokens`` says that it is in there already. Gemini counts thoughts beside the candidates, likewise.

    Source: OpenAI, Anthropic ("Prompt caching"), Amazon Bedrock (``TokenUsage``), Gemini (``UsageMetadata``), Cohere v2
    (``usage.tokens``), Ollama and text-generation-inference API references; MLflow ``mlflow.chat.tokenUsage``.
    """
    if not isinstance(usage, dict):
        return Tokens()
    if _ELSEWHERE.isdisjoint(usage):  # nothing but OpenAI's plain counts
        return Tokens(_count(usage.get("prompt_tokens")), _count(usage.get("completion_tokens")))
    if isinstance(usage.get("tokens"), dict):  # Cohere; billed_units leaves out what it adds to the prompt
        usage = {**usage, **usage["tokens"]}
    elif isinstance(usage.get("billed_units"), dict):
        usage = {**usage, **usage["billed_units"]}
    found = Tokens()
    inclusive = False
    for name in _INPUT:
        if not found.input and name in usage and (count := _count(usage[name])) is not None:
            # Some fill in all names, and zero where they don't count.
            found.input, inclusive = count, name in _INCLUSIVE
    found.output = _first(usage, _OUTPUT)
    if not _GEMINI.isdisjoint(usage):
        found.output = _candidates(usage, found.input)
        if found.input is not None:
            found.input += _first(usage, _TOOLS) or 0
    reasoned = usage.get("completion_tokens_details")
    if isinstance(reasoned, dict) and found.input is not None and found.output is not None:
        thought = _first(reasoned, ("reasoning_tokens",)) or 0
        if _first(usage, _TOTAL) == found.input + found.output + thought:  # xAI counts it beside the answer
            found.output += thought
    for details in _DETAILS:
        part = usage.get(details)
        if isinstance(part, dict):
            inclusive = True
            if found.cached_input is None:
                found.cached_input = _first(part, _CACHED)
            if found.cache_write_input is None:
                found.cache_write_input = _first(part, _CREATED)
    read, written = _first(usage, _READ), _first(usage, _WRITTEN)
    if read is not None or written is not None:
        total = _first(usage, _TOTAL)
        fresh = found.input
        if fresh is not None and not inclusive and (total is None or total != fresh + (found.output or 0)):
            found.input = fresh + (read or 0) + (written or 0)
        found.cached_input = read if found.cached_input is None else found.cached_input
        found.cache_write_input = written if found.cache_write_input is None else found.cache_write_input
    elif found.cached_input is None:
        found.cached_input = _first(usage, _CONTENT)
    return found


_GEMINI = frozenset((*_CANDIDATES, *_THOUGHTS, *_TOOLS))

_ELSEWHERE = frozenset(("tokens", "billed_units", "completion_tokens_details", *_CONTENT)).union(
    _GEMINI, set(_INPUT) - {"prompt_tokens"}, set(_OUTPUT) - {"completion_tokens"}, _READ, _WRITTEN, _DETAILS
)
"""Fields whose presence takes a closer look."""


def _candidates(usage: Mapping[str, Any], prompt: int | None) -> int | None:
    said, thought = _first(usage, _CANDIDATES), _first(usage, _THOUGHTS)
    total = _first(usage, _TOTAL)
    if said is None or thought is None or (prompt is not None and total == prompt + said):
        return thought if said is None else said
    return said + thought


def _first(usage: Mapping[str, Any], names: Iterable[str]) -> int | None:
    found = None
    for name in names:
        if not found and name in usage and (count := _count(usage[name])) is not None:
            found = count
    return found


def _count(value: Any) -> int | None:
    """A count: a number, or one written as a string; of a fraction the whole part."""
    if type(value) is int:
        return value if 0 <= value <= MOST else None
    if isinstance(value, str) and len(value) <= 12:
        try:
            value = float(value)
        except ValueError:
            return None
    if isinstance(value, float) and 0 <= value <= MOST:
        return int(value)
    return None


def last_counts(usages: Iterable[Any]) -> dict[str, Any] | None:
    """One usage object out of a stream's: each count is that of the last one that has it and is not zero.

    An empty object overrides nothing. None where there is none.
    """
    merged: dict[str, Any] = {}
    for usage in usages:
        if isinstance(usage, dict) and usage:
            _merge(merged, usage)
    return merged or None


def _merge(into: dict[str, Any], usage: Mapping[str, Any]) -> None:
    for name, value in usage.items():
        if isinstance(value, dict):
            inner = into.get(name)
            if not isinstance(inner, dict):  # of our own, never one of the payload's
                inner = into[name] = {}
            for key, count in value.items():
                if count or key not in inner:
                    inner[key] = count
        elif value or name not in into:
            into[name] = value
