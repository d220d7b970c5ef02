"""Messages of LangChain, and what LangGraph streams."""

from __future__ import annotations

from typing import Any

from tests.metrics.unpack.cases import Case, cut, lines, sse, twice, user

PROMPT = "Where is my parcel?"
ANSWER = "At the depot."
CALL = {"name": "track", "args": {"parcel": "P-77"}, "id": "call_g1", "type": "tool_call"}


def human(content: Any, **more: Any) -> dict[str, Any]:
    """What a user said."""
    return {"type": "human", "content": content, "additional_kwargs": {}, "id": "h-1"} | more


def ai(content: Any, **more: Any) -> dict[str, Any]:
    """What the model said."""
    found = {"type": "ai", "content": content, "additional_kwargs": {}, "response_metadata": {}, "id": "run-1"}
    return found | {"tool_calls": [], "invalid_tool_calls": []} | more


def tool(content: str) -> dict[str, Any]:
    """What a tool gave."""
    return {"type": "tool", "content": content, "name": "track", "tool_call_id": "call_g1", "status": "success"}


def lc(name: str, content: Any, **more: Any) -> dict[str, Any]:
    """A serialised object of LangChain."""
    kinds = {"HumanMessage": "human", "AIMessage": "ai", "SystemMessage": "system", "ToolMessage": "tool"}
    kwargs = {"content": content, "type": kinds[name], **more}
    return {"lc": 1, "type": "constructor", "id": ["langchain", "schema", "messages", name], "kwargs": kwargs}


def piece(content: Any, run: str = "run-1", node: str = "agent", **more: Any) -> list[Any]:
    """A chunk of a message, and whence it came."""
    return [ai(content, type="AIMessageChunk", id=run, **more), {"langgraph_step": 1, "langgraph_node": node}]


def state(*messages: dict[str, Any]) -> dict[str, Any]:
    """All messages so far."""
    return {"messages": list(messages)}


ASK = state(human(PROMPT))
THREAD = [
    {"type": "system", "content": "You work at a post office."},
    human("Hello"),
    ai("Hello, what can I do?"),
    human(PROMPT),
]
CALLING = ai("", tool_calls=[CALL])
RAN = [human(PROMPT), CALLING, tool("depot"), ai(ANSWER, id="run-2")]
PIECES = [piece("At "), piece("the "), piece("depot.")]
VALUES = [state(*RAN[:1]), state(*RAN[:2]), state(*RAN[:3]), state(*RAN)]
UPDATES = [{"agent": state(CALLING)}, {"tools": state(tool("depot"))}, {"agent": state(ai(ANSWER, id="run-2"))}]
SERIALISED = state(lc("SystemMessage", "Be brief."), lc("HumanMessage", PROMPT))

CASES: dict[str, Case] = {
    "langchain: types in place of roles": Case(ASK, state(human(PROMPT), ai(ANSWER)), [(PROMPT, ANSWER)]),
    "langchain: several turns": Case(state(*THREAD), state(*THREAD, ai(ANSWER)), [(PROMPT, ANSWER)], turn=2),
    "langchain: the AI's message is no prompt": Case(
        state(human(PROMPT), ai("It left on Monday.")), state(ai(ANSWER)), [(PROMPT, ANSWER)]
    ),
    "langchain: a tool's message last": Case(
        state(human(PROMPT), CALLING, tool("depot")), state(ai(ANSWER)), [(PROMPT, ANSWER)]
    ),
    "langchain: all messages of the run answer": Case(ASK, state(*RAN), [(PROMPT, ANSWER)]),
    "langchain: content of parts": Case(
        state(human([{"type": "text", "text": "A question:"}, {"type": "text", "text": PROMPT}])),
        state(ai([{"type": "text", "text": "At the "}, {"type": "text", "text": "depot."}])),
        [(f"A question:\n{PROMPT}", ANSWER)],
    ),
    "langchain: thinking part before the answer": Case(
        ASK,
        state(ai([{"type": "thinking", "thinking": "Depot?"}, {"type": "text", "text": ANSWER}])),
        [(PROMPT, ANSWER)],
    ),
    "langchain: a chat model's message": Case(ASK, ai(ANSWER), [(PROMPT, ANSWER)]),
    "langchain: pairs of role and text": Case(
        {"messages": [["system", "Be brief."], ["human", "Hello"], ["ai", "Hello."], ["human", PROMPT]]},
        state(ai(ANSWER)),
        [(PROMPT, ANSWER)],
        turn=2,
    ),
    "langchain: pairs with OpenAI's roles": Case(
        {"messages": [["user", "Hello"], ["assistant", "Hello."], ["user", PROMPT]]},
        state(ai(ANSWER)),
        [(PROMPT, ANSWER)],
        turn=2,
    ),
    "langchain: bare strings": Case({"messages": [PROMPT]}, state(ai(ANSWER)), [(PROMPT, ANSWER)]),
    "langchain: serialised objects": Case(
        SERIALISED, state(lc("HumanMessage", PROMPT), lc("AIMessage", ANSWER)), [(PROMPT, ANSWER)]
    ),
    "langchain: serialised objects, a tool's message last": Case(
        state(
            lc("HumanMessage", PROMPT),
            lc("AIMessage", "", tool_calls=[CALL]),
            lc("ToolMessage", "depot", tool_call_id="call_g1"),
        ),
        state(lc("AIMessage", ANSWER)),
        [(PROMPT, ANSWER)],
    ),
    "langchain: answer JSON encoded twice": Case(ASK, twice(state(*RAN)), [(PROMPT, ANSWER)]),
    "langgraph: event stream of message chunks": Case(ASK, sse(PIECES, event="messages"), [(PROMPT, ANSWER)]),
    "langgraph: list of message chunks": Case(ASK, PIECES, [(PROMPT, ANSWER)]),
    "langgraph: JSON lines of message chunks": Case(ASK, lines(PIECES), [(PROMPT, ANSWER)]),
    "langgraph: message chunks of a call, a tool, and the answer": Case(
        ASK,
        sse(
            [
                piece("Let me see.", "run-0", tool_calls=[CALL]),
                [tool("depot"), {"langgraph_step": 2, "langgraph_node": "tools"}],
                *PIECES,
            ],
            event="messages",
        ),
        [(PROMPT, ANSWER)],
    ),
    "langgraph: message chunks with content of parts": Case(
        ASK,
        [
            piece([]),
            piece([{"type": "thinking", "thinking": "Depot?", "index": 0}]),
            piece([{"type": "text", "text": "At the ", "index": 1}]),
            piece([{"type": "text", "text": "depot.", "index": 1}]),
        ],
        [(PROMPT, ANSWER)],
    ),
    "langgraph: event stream of values": Case(ASK, sse(VALUES, event="values"), [(PROMPT, ANSWER)]),
    "langgraph: list of values": Case(ASK, VALUES, [(PROMPT, ANSWER)]),
    "langgraph: JSON lines of values": Case(ASK, lines(VALUES), [(PROMPT, ANSWER)]),
    "langgraph: event stream of updates": Case(ASK, sse(UPDATES, event="updates"), [(PROMPT, ANSWER)]),
    "langgraph: list of updates": Case(ASK, UPDATES, [(PROMPT, ANSWER)]),
    "langgraph: JSON lines of updates": Case(ASK, lines(UPDATES), [(PROMPT, ANSWER)]),
    "langgraph: values with roles": Case(
        {"messages": [user(PROMPT)]},
        [{"messages": [user(PROMPT)]}, {"messages": [user(PROMPT), {"role": "assistant", "content": ANSWER}]}],
        [(PROMPT, ANSWER)],
    ),
    "langgraph: stream whose end is missing": Case(ASK, sse(PIECES[:2], event="messages"), [(PROMPT, "At the ")]),
    "langgraph: event stream cut in its last frame": Case(
        ASK, cut(sse(PIECES, event="messages")), [(PROMPT, "At the ")]
    ),
    "langgraph: JSON lines cut in the last one": Case(ASK, cut(lines(PIECES)), [(PROMPT, "At the ")]),
    "langgraph: values cut in the last frame": Case(
        ASK,
        cut(sse([state(human(PROMPT), ai("At the gate.")), state(*RAN)], event="values")),
        [(PROMPT, "At the gate.")],
    ),
    "langgraph: broken frame within a stream": Case(
        ASK,
        sse(PIECES[:1], event="messages")
        + 'event: messages\ndata: [{"content": "th\n\n'
        + sse(PIECES[2:], event="messages"),
        reason="invalid_response_json",
    ),
    "langgraph: stream with an error event": Case(
        ASK,
        sse(PIECES[:2], event="messages") + sse([{"error": "TimeoutError", "message": "Too late"}], event="error"),
        [(PROMPT, "At the ")],
        error=True,
    ),
}
