"""LangChain messages, LangServe and LangGraph: messages with a ``type``, envelopes, and their streams.

Source: langchain_core.messages (``HumanMessage``, ``AIMessageChunk``), langchain_core.load.dumps; LangServe
(``input``, ``output``); LangGraph, "Streaming" (modes ``messages``, ``values`` and ``updates``). Requests are chats, or
an ``input`` around what would be one.
"""

from __future__ import annotations

from itertools import accumulate
from typing import Any

from metrics.unpack import failures, messages
from metrics.unpack.body import Events
from metrics.unpack.contents import says_elsewhere
from metrics.unpack.mlflow import OF_A_STATE
from metrics.unpack.shapes import Answer, Call, Family
from metrics.unpack.usage import last_counts

__all__ = ["LANGCHAIN"]


def _answer(body: Any) -> Answer | None:
    """A message of the agent's, or a list of messages, of which the agent's last one counts."""
    if isinstance(body, list):
        if messages.looks_like_messages(body) and any(map(_is_agents, body)):
            return _of_messages(body)
        return None
    if not isinstance(body, dict) or "role" in body or not _is_agents(body):
        return None
    opened = messages.opened(body)
    return Answer(messages.spoken(opened), _finish(opened), _usage(opened))


def _is_agents(message: Any) -> bool:
    return messages.said_by(message) == messages.ASSISTANT


def _of_messages(said: list[Any]) -> Answer:
    last = messages.last_answer(said)
    opened = messages.opened(last) if isinstance(last, dict) else {}
    return Answer(messages.last_answered(said), _finish(opened), _usage(opened))


def _usage(message: dict[str, Any]) -> Any:
    """Counts of a message: LangChain's own, else the provider's."""
    usage = message.get("usage_metadata")
    metadata = message.get("response_metadata")
    if usage or not isinstance(metadata, dict):
        return usage
    return metadata.get("token_usage") or metadata.get("usage")


def _finish(message: dict[str, Any]) -> Any:
    metadata = message.get("response_metadata")
    if not isinstance(metadata, dict):
        return None
    return metadata.get("finish_reason") or metadata.get("stop_reason") or metadata.get("done_reason")


def _stream(events: list[Any], call: Call | None) -> Answer | None:
    """Pieces of the agent's last message; else the state after the last step; else strings."""
    whole = isinstance(events, Events)
    pieces: list[dict[str, Any]] = []
    said: list[Any] | None = None
    strings: list[str] = []
    for event in events:
        message = _chunk(event)
        if message is not None:
            if _is_agents(message):
                pieces.append(message)
        elif isinstance(event, str) and whole:
            strings.append(event)
        elif isinstance(event, dict) and (whole or call is None or len(call.inputs) == 1):
            said = _after(event, said)
    if pieces:
        ids: list[Any] = list(accumulate((piece.get("id") for piece in pieces), lambda before, one: one or before))
        texts = [
            text
            for piece, of in zip(pieces, ids, strict=True)
            if of == ids[-1] and (text := messages.spoken(piece)) is not None
        ]
        finish = next((found for piece in reversed(pieces) if (found := _finish(piece)) is not None), None)
        usage = last_counts(map(_usage, pieces))
        return Answer("".join(texts) if texts else None, finish, usage)
    if said is not None:
        found = _of_messages(said)
        if found.text is None and any(_is_other_state(event) for event in events):
            return None
        return found
    if strings and all(isinstance(event, str) or (isinstance(event, dict) and _beside(event)) for event in events):
        return Answer("".join(strings))
    return None


def _beside(event: dict[str, Any]) -> bool:
    """Whether an event is one of those that LangServe sends beside the answer's: a run's id, or a failure."""
    return "run_id" in event or failures.told_by_events([event]) is not None or "status_code" in event


def _chunk(event: Any) -> dict[str, Any] | None:
    """A piece of a message: alone, or in a pair with its metadata, as is a whole message of a step without pieces."""
    is_pair = isinstance(event, list) and len(event) == 2 and isinstance(event[1], dict)
    found = event[0] if is_pair else event
    if not isinstance(found, dict):
        return None
    message: dict[str, Any] = messages.opened(found)
    kind = message.get("type")
    if isinstance(kind, str) and (kind.endswith("MessageChunk") or (is_pair and "content" in message)):
        return message
    return None


def _after(event: dict[str, Any], said: list[Any] | None) -> list[Any] | None:
    """The messages after an event: all of them (mode values), or those of a step more (updates)."""
    state = event.get("messages")
    if isinstance(state, list) and all(isinstance(one, dict) for one in state):
        return list(state)
    for name, update in event.items():
        if name != "type" and isinstance(update, dict) and isinstance(update.get("messages"), list):
            if said is None:
                said = []
            said += [_by_node(one, name) for one in update["messages"]]
    return said


def _is_other_state(event: Any) -> bool:
    """Whether a state says something beside its messages."""
    return isinstance(event, dict) and isinstance(event.get("messages"), list) and says_elsewhere(event, OF_A_STATE)


def _by_node(message: Any, node: str) -> Any:
    """A message of a step; one in the user's name that is named like the step is the agent's."""
    if isinstance(message, dict) and message.get("name") == node and messages.said_by(message) == messages.USER:
        return message | {"type": "ai", "role": messages.ASSISTANT}
    return message


LANGCHAIN = Family("LangChain", answer=_answer, stream=_stream)
