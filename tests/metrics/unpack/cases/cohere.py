"""Cohere's chat, version 2."""

from __future__ import annotations

from typing import Any

from tests.metrics.unpack.cases import Case, assistant, cut, sse, system, user

PROMPT = "Who feeds the lighthouse cat?"
ANSWER = "The keeper does."
ASK = {"model": "harbour-r", "messages": [system("Answer briefly."), user(PROMPT)], "safety_mode": "CONTEXTUAL"}
STREAM = ASK | {"stream": True}
USAGE = {
    "billed_units": {"input_tokens": 9, "output_tokens": 5},
    "tokens": {"input_tokens": 212, "output_tokens": 7},
}
CALL = {"id": "feed_0", "type": "function", "function": {"name": "rota", "arguments": '{"day": "today"}'}}
RESULT = {
    "role": "tool",
    "tool_call_id": "feed_0",
    "content": [{"type": "document", "document": {"data": '{"who": "keeper"}'}}],
}


def answer(*texts: str, finish: str = "COMPLETE", usage: Any = None, **message: Any) -> dict[str, Any]:
    """A whole answer."""
    content = {"content": [{"type": "text", "text": text} for text in texts]} if texts else {}
    found = {"id": "co-1", "finish_reason": finish, "message": {"role": "assistant", **content, **message}}
    return found | ({} if usage is None else {"usage": usage})


def event(kind: str, index: int | None = 0, **message: Any) -> dict[str, Any]:
    """An event of a stream."""
    found: dict[str, Any] = {"type": kind} | ({} if index is None else {"index": index})
    return found | ({"delta": {"message": message}} if message else {})


def said(text: str, index: int = 0) -> dict[str, Any]:
    """A piece of the text."""
    return event("content-delta", index, content={"text": text})


def end(finish: str = "COMPLETE", usage: Any = None, **more: Any) -> dict[str, Any]:
    """The end of a stream."""
    return {
        "type": "message-end",
        "delta": {"finish_reason": finish, **({} if usage is None else {"usage": usage}), **more},
    }


START = {"id": "co-2"} | event(
    "message-start", None, role="assistant", content=[], tool_plan="", tool_calls=[], citations=[]
)
HALF = [START, event("content-start", content={"type": "text", "text": ""}), said("The "), said("keeper ")]
WHOLE = [*HALF, said("does."), event("content-end"), end(usage=USAGE)]
THINKING = [
    event("content-start", content={"type": "thinking", "thinking": ""}),
    event("content-delta", content={"thinking": "Someone at the "}),
    event("content-delta", content={"thinking": "lighthouse."}),
    event("content-end"),
]
CALLING = [
    START,
    event("tool-plan-delta", None, tool_plan="I will look at the rota."),
    event("tool-call-start", tool_calls=CALL | {"function": {"name": "rota", "arguments": ""}}),
    event("tool-call-delta", tool_calls={"function": {"arguments": '{"day": "today"}'}}),
    event("tool-call-end"),
    end("TOOL_CALL", USAGE),
]

CASES: dict[str, Case] = {
    "cohere: object": Case(
        ASK, answer(ANSWER, usage=USAGE), [(PROMPT, ANSWER)], (212, 7, None, None), finish_reason="COMPLETE"
    ),
    "cohere: several text blocks, with citations": Case(
        ASK,
        answer("The keeper ", "does.", citations=[{"start": 4, "end": 10, "text": "keeper", "sources": []}]),
        [(PROMPT, ANSWER)],
        finish_reason="COMPLETE",
    ),
    "cohere: several turns": Case(
        ASK | {"messages": [user("Is there a cat?"), assistant("There is."), user(PROMPT)]},
        answer(ANSWER),
        [(PROMPT, ANSWER)],
        finish_reason="COMPLETE",
        turn=2,
    ),
    "cohere: the user's text as blocks": Case(
        ASK | {"messages": [user([{"type": "text", "text": "A question."}, {"type": "text", "text": PROMPT}])]},
        answer(ANSWER),
        [(f"A question.\n{PROMPT}", ANSWER)],
        finish_reason="COMPLETE",
    ),
    "cohere: thinking beside the answer": Case(
        ASK,
        answer(content=[{"type": "thinking", "thinking": "The keeper?"}, {"type": "text", "text": ANSWER}]),
        [(PROMPT, ANSWER)],
        finish_reason="COMPLETE",
    ),
    "cohere: tool calls only": Case(
        ASK,
        answer(finish="TOOL_CALL", tool_calls=[CALL], usage=USAGE),
        [(PROMPT, None)],
        (212, 7, None, None),
        finish_reason="TOOL_CALL",
    ),
    "cohere: tool calls beside the plan for them": Case(
        ASK,
        answer(finish="TOOL_CALL", tool_plan="I will look at the rota.", tool_calls=[CALL]),
        [(PROMPT, None)],
        finish_reason="TOOL_CALL",
    ),
    "cohere: tool results last": Case(
        ASK | {"messages": [user(PROMPT), {"role": "assistant", "tool_plan": "Rota.", "tool_calls": [CALL]}, RESULT]},
        answer(ANSWER),
        [(PROMPT, ANSWER)],
        finish_reason="COMPLETE",
    ),
    "cohere: cut at max_tokens": Case(
        ASK, answer("The keeper", finish="MAX_TOKENS"), [(PROMPT, "The keeper")], finish_reason="MAX_TOKENS"
    ),
    "cohere: list of events": Case(STREAM, WHOLE, [(PROMPT, ANSWER)], (212, 7, None, None), finish_reason="COMPLETE"),
    "cohere: event stream": Case(
        STREAM, sse(WHOLE, event="type", done=True), [(PROMPT, ANSWER)], (212, 7, None, None), finish_reason="COMPLETE"
    ),
    "cohere: event stream with citations": Case(
        STREAM,
        sse(
            [
                *HALF,
                event("citation-start", citations={"start": 4, "end": 10, "text": "keeper", "sources": []}),
                event("citation-end"),
                *WHOLE[4:],
            ],
            event="type",
        ),
        [(PROMPT, ANSWER)],
        (212, 7, None, None),
        finish_reason="COMPLETE",
    ),
    "cohere: event stream with thinking": Case(
        STREAM,
        sse(
            [
                START,
                *THINKING,
                event("content-start", 1, content={"type": "text", "text": ""}),
                said(ANSWER, 1),
                end(usage=USAGE),
            ],
            event="type",
        ),
        [(PROMPT, ANSWER)],
        (212, 7, None, None),
        finish_reason="COMPLETE",
    ),
    "cohere: event stream of tool calls only": Case(
        STREAM, sse(CALLING, event="type"), [(PROMPT, None)], (212, 7, None, None), finish_reason="TOOL_CALL"
    ),
    "cohere: stream whose end is missing": Case(STREAM, sse(HALF, event="type"), [(PROMPT, "The keeper ")]),
    "cohere: stream cut in its last frame": Case(STREAM, cut(sse(HALF, event="type")), [(PROMPT, "The ")]),
    "cohere: stream cut in message-end": Case(STREAM, cut(sse(WHOLE, event="type")), [(PROMPT, ANSWER)]),
    "cohere: broken frame within a stream": Case(
        STREAM, sse(HALF[:3]) + 'data: {"type": "content-del\n\n' + sse(WHOLE[4:]), reason="invalid_response_json"
    ),
    "cohere: stream that ends in an error": Case(
        STREAM,
        sse([*HALF, end("ERROR", error="The model stopped")], event="type"),
        [(PROMPT, "The keeper ")],
        error=True,
        finish_reason="ERROR",
    ),
}
