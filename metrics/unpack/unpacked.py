"""What is made of a logged call: its exchanges with their columns, or the reason why there are none."""

from __future__ import annotations

from dataclasses import dataclass, field

from metrics.unpack.feedback import Rating
from metrics.unpack.usage import Tokens

__all__ = ["Exchange", "UnpackSettings", "Unpacked"]


@dataclass(frozen=True)
class UnpackSettings:
    """What decides how payloads are read, beside the payloads.

    Attributes:
        reasoning: ``strip``: reasoning within the text of an answer is left out of it; ``keep``: it is part of it.
        key: Of the keyed hashes.
    """

    reasoning: str = "strip"
    key: bytes = b""


@dataclass(slots=True)
class Exchange:
    """One prompt and its answer, with the columns of ``scores`` that they come with.

    ``context`` is all input messages as JSON, a list of role and content.
    """

    prompt: str | None = None
    response: str | None = None
    context: str | None = None
    end_user: str | None = None
    conversation_id: str | None = None
    finish_reason: str | None = None
    system_prompt_hash: str | None = None
    turn: int | None = None


@dataclass(slots=True)
class Unpacked:
    """What the payloads of a row hold.

    Attributes:
        exchanges: One per input of the call; None where there is a ``reason``, and for feedback.
        kind: chat, completion, embedding or unknown.
        conversation_id: Of the call, else of its first input.
        end_user: Likewise.
        prompt_version: Version of the prompt that the log names, as ``name/version`` where it has a name.
        error_code: Code of a failure.
        tokens: The log's counts; none for a batched call, since they can't be divided.
        reason: Why the row can't be unpacked.
        detail: What exactly was wrong; never text of the payload.
        shape: Keys and types of the payload that is not understood.
        ratings: What a review app has sent; None: the row is a call.
    """

    exchanges: list[Exchange] | None = None
    kind: str = "unknown"
    conversation_id: str | None = None
    end_user: str | None = None
    prompt_version: str | None = None
    error_code: str | None = None
    tokens: Tokens = field(default_factory=Tokens)
    reason: str | None = None
    detail: str | None = None
    shape: str | None = None
    ratings: list[Rating] | None = None
