"""Payload pairs of every protocol that endpoints log, and what is right for each: an oracle of its own.

The payloads follow the public descriptions of each protocol; their values are made up.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Case:
    """A payload pair and what is right."""

    request: Any  # a JSON value, or a str taken as the raw text; None: not logged
    response: Any  # the same
    # (prompt, response) per exchange; none where quarantined
    exchanges: list[tuple[str | None, str | None]] = field(default_factory=list)
    # What the log's usage says: (input, output, cached input, cache-write input); None: it does not say
    tokens: tuple[int | None, int | None, int | None, int | None] = (None, None, None, None)
    error: bool = False  # whether the call failed in spite of its status, so that an error code is set
    finish_reason: str | None = None  # as the payload words it; None: it names none
    reason: str | None = None  # why it is quarantined
    status: int = 200
    turn: int | None = 1  # user messages so far, without those of nothing but tool results; None: not checked


def raw(value: Any) -> str | None:
    """The text that is logged for a request or response of a case."""
    return value if value is None or isinstance(value, str) else json.dumps(value)


def sse(
    events: Iterable[Any], *, event: str | None = None, done: bool = False, space: bool = True, end: str = "\n"
) -> str:
    """Server-sent events.

    Args:
        events: What the frames hold.
        event: Name of the ``event:`` lines; ``"type"``: each event's own type; None: no such lines.
        done: Whether ``[DONE]`` closes the stream.
        space: Whether there is one after ``data:``.
        end: What ends a line.
    """
    frames = []
    for value in events:
        name = value["type"] if event == "type" else event
        frames.append(f"event: {name}{end}" if name else "")
        frames.append(f"data:{' ' * space}{json.dumps(value)}{end}{end}")
    return "".join(frames) + (f"data: [DONE]{end}{end}" if done else "")


def lines(events: Iterable[Any]) -> str:
    """JSON lines."""
    return "".join(f"{json.dumps(value)}\n" for value in events)


def cut(text: str, end: int = 9) -> str:
    """A stream without its end: the last frame breaks off within its JSON."""
    return text.rstrip()[:-end]


def twice(value: Any) -> str:
    """JSON encoded twice."""
    return json.dumps(json.dumps(value))


def user(content: Any) -> dict[str, Any]:
    """A user's message."""
    return {"role": "user", "content": content}


def assistant(content: Any, **more: Any) -> dict[str, Any]:
    """A model's message."""
    return {"role": "assistant", "content": content, **more}


def system(content: Any) -> dict[str, Any]:
    """A system message."""
    return {"role": "system", "content": content}


from tests.metrics.unpack.cases import (  # noqa: E402
    anthropic,
    bedrock,
    cohere,
    embeddings,
    gemini,
    kinds,
    langchain,
    mlflow,
    ollama,
    openai_chat,
    openai_completions,
    openai_responses,
    servers,
    tgi,
)

FAMILIES = {
    "openai_chat": openai_chat.CASES,
    "openai_completions": openai_completions.CASES,
    "openai_responses": openai_responses.CASES,
    "embeddings": embeddings.CASES,
    "anthropic": anthropic.CASES,
    "gemini": gemini.CASES,
    "bedrock": bedrock.CASES,
    "cohere": cohere.CASES,
    "servers": servers.CASES,
    "ollama": ollama.CASES,
    "tgi": tgi.CASES,
    "mlflow": mlflow.CASES,
    "langchain": langchain.CASES,
    "kinds": kinds.CASES,
}
CASES: dict[str, Case] = {name: case for cases in FAMILIES.values() for name, case in cases.items()}
assert len(CASES) == sum(map(len, FAMILIES.values())), "names are unique"
