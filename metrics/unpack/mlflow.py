"""MLflow's and Databricks' protocols: the scoring protocol, ChatAgent and SplitChat.

Source: MLflow, "Deploy MLflow models" (``dataframe_split``, ``dataframe_records``, ``inputs``, ``instances``,
``predictions``), ``mlflow.types.agent`` (ChatAgent) and ``mlflow.models.rag_signatures`` (SplitChat).
"""

from __future__ import annotations

from typing import Any

from metrics.unpack import messages
from metrics.unpack.contents import content_text, says_elsewhere
from metrics.unpack.names import person
from metrics.unpack.openai import limited
from metrics.unpack.shapes import BEGINNING, Answer, Call, Family, Input, UnreadableError
from metrics.unpack.usage import last_counts

__all__ = ["CHAT_AGENT", "OF_A_STATE", "SCORING", "SPLIT_CHAT", "inputs_of", "record_of"]

PROMPT_FIELDS = ("query", "question", "prompt", "input", "text")
"""What custom models call what they are asked, in the order in which they are looked at."""

_SYSTEM = ("system", "system_prompt", "system_instruction", "instructions")
"""What custom models call the system's text."""

_DEPTH = 4
"""Envelopes around an input that are opened."""


def _scoring_request(body: Any) -> Call | None:
    """Rows of a table, or a list: an input each."""
    if not isinstance(body, dict):
        return None
    if isinstance(body.get("dataframe_split"), dict):
        return Call(inputs_of(_table_rows(body["dataframe_split"])))
    if isinstance(body.get("dataframe_records"), list):
        return Call(inputs_of(body["dataframe_records"]))
    given = body.get("inputs")
    if given is None:
        given = body.get("instances")
    if not isinstance(given, str | list | dict):
        return None
    if isinstance(given, list):
        if messages.looks_like_messages(given):
            return Call([messages.chat(given)])
        return Call(inputs_of(given))
    if isinstance(given, dict):
        columns = _columns(given)
        if columns is not None:
            return Call(inputs_of(columns))
    found = record_of(given)
    if found is None:
        raise UnreadableError
    return Call([found])


def _table_rows(table: dict[str, Any]) -> list[Any]:
    """Rows of ``dataframe_split`` as objects; a row of one cell that has no known name is its text.

    Raises:
        UnreadableError: It is no such table.
    """
    names, rows = table.get("columns", []), table.get("data")
    if not isinstance(names, list) or not isinstance(rows, list) or not all(isinstance(row, list) for row in rows):
        raise UnreadableError
    limited(rows)
    columns = {name: at for at, name in reversed(list(enumerate(names))) if isinstance(name, str)}
    named = [name if isinstance(name, str) and columns[name] == at else None for at, name in enumerate(names)]
    found: list[Any] = []
    for row in rows:
        record = {name: cell for name, cell in zip(named, row, strict=False) if name is not None}
        if len(row) == 1 and isinstance(row[0], str) and record_of(record) is None:
            record = {"text": row[0]}
        found.append(record)
    return found


def _columns(given: dict[str, Any]) -> list[Any] | None:
    """Rows of a table by columns, ``{"query": ["…", "…"]}``; None where it is none."""
    listed = {name: values for name, values in given.items() if isinstance(values, list)}
    chats = listed.get("messages")
    if chats is not None:
        name = "messages" if chats and all(isinstance(chat, list) for chat in chats) else None
    elif "history" in listed or _is_items(listed.get("input")):
        name = None
    else:
        name = next((name for name in PROMPT_FIELDS if name in listed), None)
    if name is None:
        return None
    rows = [{name: value} for value in limited(listed[name])]
    for key, values in listed.items():
        if key not in PROMPT_FIELDS and key != name:
            for row, value in zip(rows, values, strict=False):
                row[key] = value
    return rows


def inputs_of(records: list[Any]) -> list[Input]:
    """Inputs of the records of a call.

    Rows of a table have the same columns: where one of them has a prompt, those with null in its place have none.

    Raises:
        UnreadableError: They are none, too many, or of no known form.
    """
    found = [record_of(record) for record in limited(records)]
    if all(one is None for one in found):
        raise UnreadableError
    if any(one is None and not isinstance(record, dict) for one, record in zip(found, records, strict=True)):
        raise UnreadableError
    return [Input(messages=[]) if one is None else one for one in found]


def record_of(record: Any, depth: int = _DEPTH) -> Input | None:
    """One input: a text, or an object with messages, items, a history, or a field that holds the prompt."""
    if isinstance(record, str):
        return messages.text_input(record)
    if not isinstance(record, dict):
        return None
    said = record.get("messages")
    if isinstance(said, str):
        said = [said]
    if isinstance(said, list) and (said or not any(isinstance(record.get(name), str) for name in PROMPT_FIELDS)):
        found = messages.chat(said, system=record.get("system"))
    elif _is_items(record.get("input")):
        found = messages.chat(record["input"])
    elif isinstance(record.get("history"), list) and isinstance(record.get("query"), str):
        found = messages.chat([*record["history"], {"role": "user", "content": record["query"]}])
    elif isinstance(record.get("contents"), list):
        found = messages.chat(record["contents"], system=record.get("systemInstruction"))
    else:
        text = inner = None
        for name in PROMPT_FIELDS:
            value = record.get(name)
            if value is None:
                continue
            if isinstance(value, str):
                text = value
            elif isinstance(value, list):
                text = content_text(value, "\n") if value else None
            elif isinstance(value, dict) and depth:
                inner = record_of(value, depth - 1) or inner
            if text is not None or inner is not None:
                break
        if text is None and inner is None:
            return None
        system = next((record[name] for name in _SYSTEM if isinstance(record.get(name), str) and record[name]), None)
        found = inner or (messages.text_input(text) if system is None else messages.chat([text], system=system))
    found.end_user, found.conversation_id = person(record)
    return found


def _is_items(value: Any) -> bool:
    """Whether a value is a list of messages, as objects with a role or as pairs."""
    return isinstance(value, list) and any(
        isinstance(one, list) if not isinstance(one, dict) else isinstance(one.get("role"), str)
        for one in value
        if messages.said_by(one) is not None
    )


def _split_request(body: Any) -> Call | None:
    """SplitChat: ``query`` with the messages before it."""
    if not isinstance(body, dict) or not isinstance(body.get("query"), str):
        return None
    history = body.get("history")
    if not isinstance(history, list):
        return None
    return Call([messages.chat([*history, {"role": "user", "content": body["query"]}])])


def _agent_answer(body: Any) -> Answer | None:
    """``messages``: the agent's last one."""
    if not isinstance(body, dict) or not isinstance(body.get("messages"), list):
        return None
    said = body["messages"]
    if not said:
        return None
    text = messages.last_answered(said)
    if text is None and (not messages.looks_like_messages(said) or says_elsewhere(body, OF_A_STATE)):
        return None
    return Answer(text, body.get("finish_reason"), body.get("usage"))


OF_A_STATE = frozenset(
    (
        *("messages", "id", "object", "model", "created", "finish_reason", "type", "status", "next", "user", "sender"),
        *("usage", "custom_inputs", "custom_outputs", "databricks_output", "metadata", "context", "__interrupt__"),
        *("error", "error_code", "x_groq", "base_resp", "__error__", "errors", "success"),
    )
)
"""Fields that may stand beside an agent's messages, and are no answer."""


def _agent_stream(events: list[Any], _call: Call | None) -> Answer | None:
    """Chunks with a ``delta`` that is a message; the last message's count, and what a tool said is no answer."""
    if not any(_agent_delta(event) for event in events[:BEGINNING]):
        return None
    pieces: list[tuple[Any, str]] = []
    finish = of = None
    for event in events:
        if not isinstance(event, dict):
            raise UnreadableError
        delta = _agent_delta(event)
        finish = event.get("finish_reason") or finish
        if delta and delta.get("role", messages.ASSISTANT) == messages.ASSISTANT:
            text = messages.spoken(delta)
            of = delta.get("id") or of  # a piece without an id goes on with the message before it
            if text is not None:
                pieces.append((of, text))
    last = pieces[-1][0] if pieces else None
    text = "".join([piece for of, piece in pieces if of == last]) if pieces else None
    return Answer(text, finish, last_counts(event.get("usage") for event in events))


def _agent_delta(event: Any) -> dict[str, Any] | None:
    delta = event.get("delta") if isinstance(event, dict) and "choices" not in event else None
    return (
        delta
        if isinstance(delta, dict) and ("content" in delta or "tool_calls" in delta) and "type" not in delta
        else None
    )


SCORING = Family("MLflow scoring protocol", _scoring_request)
CHAT_AGENT = Family("ChatAgent", answer=_agent_answer, stream=_agent_stream)
SPLIT_CHAT = Family("SplitChat", _split_request)
