"""OpenAI's streams: chunks with ``choices`` of a chat (``delta``) or a text completion (``text``).

Source: OpenAI API reference ("Chat", streaming); Databricks, "Foundation model REST API reference" (content parts in
chunks); Azure OpenAI On Your Data; Groq (``x_groq.usage``).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

from metrics.unpack import messages
from metrics.unpack.body import Events
from metrics.unpack.contents import content_text
from metrics.unpack.shapes import BEGINNING, Answer, Call, UnreadableError
from metrics.unpack.usage import last_counts

__all__ = ["index_of", "read_chunks", "usage_of"]


def read_chunks(events: list[Any], call: Call | None) -> Answer | list[Answer] | None:
    """Chunks with ``choices``, of chats (``delta``) or text completions (``text``)."""
    if not any(_is_chunk(event, streamed=isinstance(events, Events)) for event in events[:BEGINNING]):
        return None
    several = call is not None and call.kind == "completion" and len(call.inputs) > 1
    pieces: list[str] = []
    places: list[int] = []
    others: list[str] = []
    wholes: list[str] = []
    usages: list[Any] = []
    finish = error = None
    first = 0 if several else _lowest_index(events)
    for event in events:
        if not isinstance(event, dict):
            raise UnreadableError
        if "usage" in event or "x_groq" in event:
            usages.append(usage_of(event))
        choices = event.get("choices") or ()
        for choice in choices if several or len(choices) == 1 else _counting(choices, first):
            if not isinstance(choice, dict):
                raise UnreadableError
            get = choice.get
            at = get("index")
            if at != first and at is not None and not several and str(at) != str(first):
                continue
            if "usage" in choice:
                usages.append(choice["usage"])
            finish = get("finish_reason") or finish
            error = get("error") or error
            delta = get("delta")
            if isinstance(delta, dict):
                text = delta.get("content")
                if not text or len(delta) > 1:
                    others += _beside(delta)
                    if "content" not in delta:
                        text = messages.spoken(delta) if others == [] else None
            elif delta:
                raise UnreadableError
            else:
                text = _undivided(choice, wholes)
            if text is not None and not isinstance(text, str):
                text = content_text(text)
            if text is None:
                continue
            pieces.append(text)
            if several:
                places.append(index_of(choice))
    usage = last_counts(usages)
    if several:
        assert call is not None
        texts = _by_prompt(zip(places, pieces, strict=True), len(call.inputs))
        return [Answer(text, finish, usage, error) for text in texts]
    said = "".join(pieces) if pieces else None
    if wholes:
        said = _whole(said, wholes)
    return Answer(said or "".join(others) or said, finish, usage, error)


def _beside(delta: dict[str, Any]) -> list[str]:
    """A piece of a refusal, or of what a voice says, in the content's place."""
    audio = delta.get("audio")
    found = delta.get("refusal") or (audio.get("transcript") if isinstance(audio, dict) else None)
    return [found] if isinstance(found, str) else []


def _counting(choices: Sequence[Any], first: int) -> list[Any]:
    """Of several choices those that may be the one that counts; what has no index is in order."""
    return [
        choice
        for place, choice in enumerate(choices)
        if not isinstance(choice, dict) or place == first or choice.get("index") is not None
    ]


def _undivided(choice: dict[str, Any], wholes: list[str]) -> Any:
    """The text of a choice without a delta: a piece of a text completion; a message's goes to ``wholes``."""
    if isinstance(choice.get("message"), dict):
        text = messages.spoken(choice["message"])
        wholes += [] if text is None else [text]
        return None
    if isinstance(choice.get("messages"), list):
        return _on_your_data(choice["messages"])
    text = choice.get("text")
    return text if isinstance(text, str) else None


def _whole(said: str | None, wholes: list[str]) -> str | None:
    """What the messages in a stream come to: its end, in one piece; or pieces; or each longer by a piece.

    Raises:
        UnreadableError: Nobody can tell which of them they are.
    """
    last = wholes[-1]
    if said is not None:
        if last and not last.startswith(said):
            raise UnreadableError
        return last or said
    longer = sum(after.startswith(before) for before, after in pairwise(wholes))
    if longer == len(wholes) - 1 and len(set(wholes)) != 2:
        return last
    if longer == len(wholes) - 1:
        raise UnreadableError
    return "".join(wholes)


def _on_your_data(said: list[Any]) -> str | None:
    """A piece as Azure OpenAI On Your Data's first version had it: messages with deltas, the tool's among them."""
    deltas = [one["delta"] for one in said if isinstance(one, dict) and isinstance(one.get("delta"), dict)]
    texts = [
        delta["content"]
        for delta in deltas
        if isinstance(delta.get("content"), str) and delta.get("role", messages.ASSISTANT) == messages.ASSISTANT
    ]
    return "".join(texts) if texts else None


def _lowest_index(events: list[Any]) -> int:
    """Index of the choice that counts: that of the first piece, unless a lower one comes later."""
    lowest = None
    for event in events:
        choices = event.get("choices") if isinstance(event, dict) else None
        for choice in choices if isinstance(choices, list) else ():
            if isinstance(choice, dict):
                index = index_of(choice)
                if index == 0:
                    return 0
                lowest = index if lowest is None else min(index, lowest)
    return lowest or 0


def _is_chunk(event: Any, *, streamed: bool) -> bool:
    """Whether an event is a piece of an answer and not one: a list of whole answers is a batch."""
    if not isinstance(event, dict):
        return False
    kind = event.get("object")
    if isinstance(kind, str) and (kind.endswith(".chunk") or (kind == "text_completion" and "choices" in event)):
        return True
    if not isinstance(event.get("choices"), list):
        return False
    choices = event["choices"]
    if not choices:
        return "usage" in event or "prompt_filter_results" in event
    choice = choices[0]
    return isinstance(choice, dict) and ("delta" in choice or (streamed and ("text" in choice or "message" in choice)))


_MOST_CHOICES = 100_000
"""A larger index is none."""


def _by_prompt(pieces: Iterable[tuple[int, str]], prompts: int) -> list[str | None]:
    """Of a completion of several prompts the text of each one's first choice.

    Raises:
        UnreadableError: There is another number of choices than so many for each prompt.
    """
    texts: dict[int, list[str]] = {}
    for at, text in pieces:
        if not isinstance(at, int) or not 0 <= at <= _MOST_CHOICES:
            raise UnreadableError("length_mismatch")
        texts.setdefault(at, []).append(text)
    number = 1 + max(texts, default=0)
    if number % prompts:
        raise UnreadableError("length_mismatch")
    each = number // prompts
    return ["".join(texts[i * each]) if i * each in texts else None for i in range(prompts)]


def index_of(choice: dict[str, Any]) -> int:
    """The index of a choice; one that has none is the first."""
    index = choice.get("index")
    return index if type(index) is int else 0


def usage_of(body: dict[str, Any]) -> Any:
    """The token counts of an answer or a chunk."""
    usage = body.get("usage")
    if usage is None and isinstance(body.get("x_groq"), dict):
        usage = body["x_groq"].get("usage")
    return usage
