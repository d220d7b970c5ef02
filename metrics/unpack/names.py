"""What a log names: who calls, which conversation it is, and which version of a prompt."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from metrics.unpack.body import parse
from metrics.unpack.shapes import UnreadableError

__all__ = ["as_id", "as_word", "caller", "person", "prompt_version"]


def as_id(value: Any) -> str | None:
    """An id, which is a string or a whole number, as text."""
    if isinstance(value, str):
        return value
    return str(value) if type(value) is int else None


_WORD = re.compile(r"[\w.:/@-]{1,128}", re.ASCII)


def as_word(value: Any) -> str | None:
    """A name or code as it is; None for what looks like neither, since it may be text."""
    return value if isinstance(value, str) and _WORD.fullmatch(value) else None


_PLACES = ("context", "metadata")


def person(record: dict[str, Any]) -> tuple[str | None, str | None]:
    """End user and conversation that an input names, in its context, its metadata or itself."""
    places = [place for name in _PLACES if isinstance(place := record.get(name), dict)]
    places.append(record)
    user = next((found for place in places for name in ("user_id", "user") if (found := as_id(place.get(name)))), None)
    conversation = next((found for place in places if (found := as_id(place.get("conversation_id")))), None)
    return user, conversation


_NAMING = frozenset(
    ("context", "metadata", "user", "safety_identifier", "databricks_options", "conversation", "config")
)
"""Fields of a request that may name who calls, or which conversation it belongs to."""


def caller(body: dict[str, Any]) -> tuple[str | None, str | None]:
    """End user and conversation that a call names, as a whole."""
    if _NAMING.isdisjoint(body):
        return None, None

    def within(name: str, *fields: str) -> list[Any]:
        place = body.get(name)
        return [place.get(one) for one in fields] if isinstance(place, dict) else []

    conversation = body.get("conversation")
    users = [
        *within("context", "user_id", "user"),
        *within("metadata", "user_id", "user"),
        *(body.get("user"), body.get("safety_identifier")),
    ]
    conversations = [
        *within("context", "conversation_id"),
        *within("databricks_options", "conversation_id"),
        conversation.get("id") if isinstance(conversation, dict) else conversation,
        *(place.get("thread_id") for place in within("config", "configurable") if isinstance(place, dict)),
    ]
    return _first_id(users), _first_id(conversations)


def _first_id(values: Iterable[Any]) -> str | None:
    return next((found for value in values if (found := as_id(value)) is not None), None)


def prompt_version(asked: dict[str, Any], told: Any) -> str | None:
    """The version of the prompt that the log names, as ``name/version`` where it has a name.

    Source: OpenAI Responses (``prompt: {id, version}``); MLflow prompt registry (``prompts:/name/version``, linked to a
    trace as ``mlflow.linkedPrompts``); ``prompt_version`` in metadata or custom inputs.
    """
    prompt = asked.get("prompt")
    if isinstance(told, dict):
        if not isinstance(prompt, dict):
            prompt = told.get("prompt")
        linked = _linked_prompt(told) if "databricks_output" in told else None
    else:
        linked = None
    if isinstance(prompt, dict) and (version := as_id(prompt.get("version"))):
        name = as_id(prompt.get("id"))
        return as_word(f"{name}/{version}" if name else version)
    for place in ("metadata", "custom_inputs"):
        inputs = asked.get(place)
        if isinstance(inputs, dict) and (version := as_id(inputs.get("prompt_version"))):
            name = as_id(inputs.get("prompt_name"))
            return as_word(f"{name}/{version}" if name else version)
    return linked


def _linked_prompt(told: dict[str, Any]) -> str | None:
    output = told["databricks_output"]
    trace = output.get("trace") if isinstance(output, dict) else None
    info = trace.get("info") if isinstance(trace, dict) else None
    for place in ("tags", "trace_metadata", "request_metadata"):
        tags = info.get(place) if isinstance(info, dict) else None
        linked = tags.get("mlflow.linkedPrompts") if isinstance(tags, dict) else None
        if isinstance(linked, str):
            try:
                linked = parse(linked.encode("utf-8", "replace"))
            except UnreadableError:
                continue
        if isinstance(linked, list) and linked and isinstance(linked[0], dict):
            name, version = as_id(linked[0].get("name")), as_id(linked[0].get("version"))
            if name and version:
                return as_word(f"{name}/{version}")
    return None
