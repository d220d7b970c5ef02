"""What a payload says, whatever protocol it is of; and the fingerprint of one that no protocol knows."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

__all__ = ["BEGINNING", "Answer", "Call", "Family", "Input", "UnreadableError", "fingerprint"]

MAX_INPUTS = 2048
"""Inputs of one call: a call of more is ``too_large``. OpenAI's API takes as many texts to embed."""


class UnreadableError(Exception):
    """A payload can't be read; ``reason`` is one of quarantine's, or a kind of them: ``invalid``, ``unknown``."""

    def __init__(self, reason: str = "unknown") -> None:
        self.reason = reason
        super().__init__(reason)


BEGINNING = 64
"""Events of a stream that are looked at for what protocol it is of."""


@dataclass(slots=True)
class Input:
    """One input of a call.

    Attributes:
        prompt: What the user said last; None where that has no text.
        messages: All messages, each a dict of ``role`` and ``content`` (without those that are None).
        system: The system's texts.
        turn: In how many messages the user said something.
        end_user: Who this input names.
        conversation_id: Which conversation it names.
    """

    prompt: str | None = None
    messages: list[dict[str, str]] | None = None
    system: list[str] = field(default_factory=list)
    turn: int = 0
    end_user: str | None = None
    conversation_id: str | None = None


@dataclass(slots=True)
class Call:
    """What a request asks: its inputs, and ``kind`` (chat, completion or embedding)."""

    inputs: list[Input]
    kind: str = "chat"


@dataclass(slots=True)
class Answer:
    """What was answered to one input.

    Attributes:
        text: What the user was told; None where nothing was, as beside a tool call.
        finish_reason: Why the model stopped, as the payload words it.
        usage: The payload's token counts, as it has them.
        error: What stands where a failure is told; ``failures.error_code`` judges it.
    """

    text: str | None = None
    finish_reason: Any = None
    usage: Any = None
    error: Any = None


@dataclass(frozen=True)
class Family:
    """How the payloads of one protocol are read; each function returns None for what is none of its business.

    ``UnreadableError`` says that a payload is of this family and can't be read all the same. The functions are pure,
    and take time that is linear in the payload.

    Attributes:
        name: The protocol.
        request: A parsed request → what it asks.
        answer: A parsed answer (of a batched call one of several) → what it says.
        stream: The events of a streamed answer → what they come to: one answer, or one per input of the call.
    """

    name: str
    request: Callable[[Any], Call | None] | None = None
    answer: Callable[[Any], Answer | None] | None = None
    stream: Callable[[list[Any], Call | None], Answer | list[Answer] | None] | None = None


_KEY = re.compile(r"[A-Za-z_$][\w$.-]{0,47}", re.ASCII)
DEPTH, KEYS, ITEMS, LENGTH = 5, 24, 50, 1000
"""How much of a payload its fingerprint shows: levels, keys of an object, elements of a list, characters."""

_TYPES = {str: "string", bool: "boolean", int: "number", float: "number", type(None): "null"}


def fingerprint(value: Any) -> str:
    """Keys and types of a parsed payload, never values: equal shapes have equal fingerprints.

    For example ``{"messages":[{"content":string,"role":string}]}``. Keys are in alphabetical order; one that looks
    like no name (it may be text) is ``*``, and so is what is beyond the limits. Of a list, each shape once.
    """
    return _shape(value, DEPTH)[:LENGTH]


def _shape(value: Any, depth: int) -> str:
    if type(value) in _TYPES:
        return _TYPES[type(value)]
    if not depth:
        return "*"
    if isinstance(value, dict):
        named = sorted(key for key in value if _KEY.fullmatch(key))
        shown = [f'"{key}":{_shape(value[key], depth - 1)}' for key in named[:KEYS]]
        return "{" + ",".join(shown + ["*"] * (len(shown) < len(value))) + "}"
    shapes = list(dict.fromkeys(_shape(one, depth - 1) for one in value[:ITEMS]))
    return "[" + "|".join(sorted(shapes)) + "]"
