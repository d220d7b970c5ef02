"""Messages, as all chat protocols have them in one form or another: who speaks, what was asked, what was answered."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from metrics.unpack.contents import as_json, content_text, has_tool_result, object_text, says_elsewhere
from metrics.unpack.shapes import Input, UnreadableError

__all__ = [
    "chat",
    "last_answer",
    "last_answered",
    "looks_like_messages",
    "opened",
    "role_of",
    "said_by",
    "spoken",
    "text_input",
]

USER, ASSISTANT, SYSTEM = "user", "assistant", "system"

_ROLES = {
    "user": USER,
    "human": USER,
    "humanmessage": USER,
    "humanmessagechunk": USER,
    "assistant": ASSISTANT,
    "ai": ASSISTANT,
    "aimessage": ASSISTANT,
    "aimessagechunk": ASSISTANT,
    "model": ASSISTANT,
    "chatbot": ASSISTANT,
    "bot": ASSISTANT,
    "gpt": ASSISTANT,
    "agent": ASSISTANT,
    "customer": USER,
    "client": USER,
    "end_user": USER,
    "system": SYSTEM,
    "systemmessage": SYSTEM,
    "systemmessagechunk": SYSTEM,
    "developer": SYSTEM,
    "tool": "tool",
    "toolmessage": "tool",
    "toolmessagechunk": "tool",
    "function": "function",
    "functionmessage": "function",
}
"""Who speaks, by what protocols call them: OpenAI, Anthropic, Gemini (model), LangChain (human, ai, class names),
ShareGPT (gpt), Cohere (chatbot).
"""


def spoken(message: dict[str, Any]) -> str | None:
    """What an agent's message tells the user: its content, else its refusal, else the transcript of its voice.

    A content that is a JSON object is an answer in JSON; one under another key than ``content`` is read as well.

    Raises:
        UnreadableError: The content is of no known form.
    """
    content = message["content"] if "content" in message else _elsewhere(message)
    text = object_text(content) if isinstance(content, dict) else content_text(content)
    if text:
        return text
    if isinstance(message.get("refusal"), str) and message["refusal"]:
        return str(message["refusal"])
    audio = message.get("audio")
    if isinstance(audio, dict) and isinstance(audio.get("transcript"), str):
        return str(audio["transcript"])
    more = message.get("additional_kwargs")  # where langchain-openai has a refusal
    if isinstance(more, dict) and isinstance(more.get("refusal"), str) and more["refusal"]:
        return str(more["refusal"])
    beside = next((message[key] for key in _BESIDE if message.get(key)), None)
    return text if beside is None else content_text(beside)


_CONTENTS = ("parts", "text", "blocks", "value", "items", "message")
"""Where messages have their content if not in ``content``: Gemini, LlamaIndex (blocks), ShareGPT (value)."""

_BESIDE = ("text", "parts", "blocks", "output_text")
"""Where a message may have its text while ``content`` is empty."""

_WITHOUT = frozenset(
    (
        *("role", "type", "id", "name", "status", "index", "object", "author", "from", "sender", "recipient", "weight"),
        *("refusal", "audio", "annotations", "tool_calls", "tool_call_id", "call_id", "function_call", "arguments"),
        *("output", "reasoning", "reasoning_content", "reasoning_details", "thinking", "thinking_blocks", "images"),
        *("additional_kwargs", "response_metadata", "usage_metadata", "invalid_tool_calls", "example", "metadata"),
        *("provider_specific_fields", "tool_plan", "citations", "attachments", "files", "created_at", "timestamp"),
        *("prefix", "context", "usage", "model", "stop_reason", "finish_reason", "phase", "tool_call_chunks"),
        *("chunk_position", "executed_tools", "search_results", "channel", "reasoning_items", "reasoning_signature"),
        *("signature", "reasoning_text", "encrypted_content", "cache_control", "logprobs", "custom_outputs", "parsed"),
        *("extra_content", "stop_details", "server_tool_use", "tool_use", "function_calls", "ref", "video"),
        *("code_interpreter", "content_filter_results", "safety_ratings", "grounding_metadata", "groundingMetadata"),
    )
)
"""Fields of a message that say nothing by themselves."""


def _elsewhere(message: dict[str, Any]) -> Any:
    """The content of a message that has no ``content``; None where it says nothing.

    Raises:
        UnreadableError: It has a text in a field of which nothing is known.
    """
    for key in _CONTENTS:
        if message.get(key) is not None:
            return message[key]
    if not (message.get("tool_calls") or message.get("function_call")) and says_elsewhere(message, _WITHOUT):
        raise UnreadableError
    return None


def opened(message: Any) -> Any:
    """A message that LangChain has serialised, without its envelope.

    Source: langchain_core, ``load.dumps`` (``lc``, ``id``, ``kwargs``) and ``messages.messages_to_dict`` (``data``).
    """
    if isinstance(message.get("kwargs"), dict) and isinstance(message.get("id"), list) and message["id"]:
        return {"type": str(message["id"][-1]), **message["kwargs"]}
    if isinstance(message.get("data"), dict) and "content" in message["data"] and "content" not in message:
        return {"type": message.get("type"), **message["data"]}
    return message


def role_of(message: dict[str, Any]) -> str | None:
    """Who speaks: ``user``, ``assistant``, ``system``, ``tool``, ``function``, or as the message words it.

    None where it names nobody. The ``type`` of a message that is no role is what it is: an item of another kind.
    """
    role = _named(message)
    if role is None:
        role = message.get("type")
        if not isinstance(role, str) or role in ("message", "chat", "data"):
            return None
    return _ROLES.get(role) or _ROLES.get(role.lower(), role)


def _named(message: dict[str, Any]) -> str | None:
    """The role that a message names, as it words it: ``role``, ``author`` (also with a role of its own), ``from``."""
    role = message.get("role")
    if isinstance(role, str):
        return role
    for key in ("author", "from", "sender"):
        found = message.get(key)
        if isinstance(found, dict):
            found = found.get("role")
        if isinstance(found, str) and found.lower() in _ROLES:
            return found
    return None


def _message(message: Any) -> tuple[str | None, str | None, Any]:
    """Who speaks as the context has it, who it is, and the content.

    An object that says neither who speaks nor anything else that is known is ``_UNKNOWN``.

    Raises:
        UnreadableError: It is no message.
    """
    if isinstance(message, dict):
        named = message.get("role")
        if "content" not in message:
            message = opened(message)
        elif named in (USER, SYSTEM):  # what most are
            return named, named, message["content"]
        named = _named(message)
        role = role_of(message)
        if named is not None:
            shown: str | None = "assistant" if named == "model" else named
        else:
            shown = role
        if "content" in message:
            return shown, role, message["content"]
        if role in _TEXT_ITEMS:  # a user's part in a message's place
            return USER, USER, message.get("text")
        for key in _CONTENTS:
            if message.get(key) is not None:
                return shown, role, message[key]
        if role == USER:
            _elsewhere(message)
        if role is None and (_NO_TEXT_MESSAGE & message.keys() or ("id" in message and _WITHOUT.issuperset(message))):
            return shown, "item_reference", None
        return shown, _UNKNOWN if role is None else role, None
    if isinstance(message, str):
        return USER, USER, message
    if isinstance(message, list) and len(message) == 2 and isinstance(message[0], str):
        role = _ROLES.get(message[0].lower())
        if role is not None:
            return role, role, message[1]
    raise UnreadableError


_TEXT_ITEMS = ("text", "input_text")

_NO_TEXT_MESSAGE = {"tool_calls", "tool_call_id", "call_id", "output", "arguments", "function_call"}
"""Fields of messages that say nothing, and may not say who is speaking."""

_UNKNOWN = "unknown"

_ITEMS = frozenset(
    (
        *("message", "reasoning", "item_reference", "compaction", "mcp_list_tools", "computer_call_output", "ipython"),
        *("document", "documents", "context", "control", "data", "observation", "environment", "knowledge", "memory"),
        *("tool_result", "retrieval", "reference", "search", "execution", "interpreter", "code", "error", "remove"),
        "latest_reminder",
    )
)
"""Kinds of items, and roles, that are known not to be the user's."""


def _is_known(role: str | None) -> bool:
    """Whether a role, or the kind of an item in its place, is one that is not the user's for sure."""
    return role is None or role in _SAID or is_item(role) or role.startswith("document")


def is_item(kind: str) -> bool:
    """Whether an item of the Responses API is of a kind that is known."""
    return kind in _ITEMS or kind.endswith(("_call", "_output", "_request", "_response"))


_SAID = frozenset(_ROLES.values())


def chat(messages: Iterable[Any], *, system: Any = None) -> Input:
    """A conversation: what the user said last, all messages, and the system's texts.

    What has no role was said by the user.

    Args:
        messages: Objects, ``[role, content]`` pairs or bare strings.
        system: What the system says where that stands beside the messages: a string, a part or a list of parts.

    Raises:
        UnreadableError: A message, or a content, is of no known form.
    """
    found = Input(messages=[])
    assert found.messages is not None
    unknown = False
    if system is not None:
        text = content_text(system, "\n")
        if text is not None:
            found.system.append(text)
            found.messages.append({"role": SYSTEM, "content": text})
    for one in messages:
        shown, role, content = _message(one)
        text = content if content is None or isinstance(content, str) else _said(content, role)
        entry: dict[str, str] = {}
        if shown is not None:
            entry["role"] = shown
        if text is not None:
            entry["content"] = text
        found.messages.append(entry)
        if role == USER or (role is None and text is not None):
            if not text and has_tool_result(content):
                continue
            found.prompt = text
            found.turn += 1
            unknown = False
        elif role == SYSTEM:
            if text is not None:
                found.system.append(text)
        elif role not in _SAID:
            # An item of another kind without a text is nobody's word.
            unknown |= not _is_known(role) and (bool(text) or role == _UNKNOWN or _named(one) is not None)
    if unknown:  # nobody knows whether the user said it, and nothing after it
        raise UnreadableError
    return found


def _said(content: Any, role: str | None) -> str | None:
    """The text of a content; of what tools and agents say in another form its JSON."""
    try:
        return content_text(content, "\n")
    except UnreadableError:
        if role in (USER, None):
            raise
        return as_json(content)


def text_input(text: str | None) -> Input:
    """An input that is one text; None for one whose text is not there (token ids, an empty cell)."""
    if text is None:
        return Input(messages=[])
    return Input(prompt=text, messages=[{"role": USER, "content": text}], turn=1)


def looks_like_messages(value: Any) -> bool:
    """Whether a value is a list of messages that say who speaks."""
    return (
        isinstance(value, list)
        and bool(value)
        and all(
            isinstance(one, dict)
            and (isinstance(one.get("role"), str) or _ROLES.get(str(opened(one).get("type")).lower()) is not None)
            for one in value
        )
    )


def said_by(message: Any) -> str | None:
    """Who speaks; None where it is no message, or names nobody."""
    if isinstance(message, list) and len(message) == 2 and isinstance(message[0], str):
        return _ROLES.get(message[0].lower())
    return role_of(opened(message)) if isinstance(message, dict) else None


def last_answer(messages: list[Any]) -> Any:
    """The agent's last message, after the user's last one; where none is marked as the agent's, the last one.

    An agent among several may give its result as a user's message with its own name (LangGraph, AutoGen). None where
    nothing was answered.
    """
    asked = next((one for one in messages if said_by(one) == USER), None)
    asker = asked.get("name") if isinstance(asked, dict) else None
    for one in reversed(messages):
        who = said_by(one)
        if who == ASSISTANT:
            return one
        if who == USER:
            name = opened(one).get("name") if isinstance(one, dict) else None
            return one if one is not asked and isinstance(name, str) and name and name != asker else None
        if who not in _SAID and (who is None or not is_item(who)) and _spoken(one):
            return one
    return None


def last_answered(messages: list[Any]) -> str | None:
    """What ``last_answer`` says.

    Raises:
        UnreadableError: It is of no known form.
    """
    last = last_answer(messages)
    return None if last is None else _spoken(last)


def _spoken(message: Any) -> str | None:
    return spoken(opened(message)) if isinstance(message, dict) else content_text(_message(message)[2])
