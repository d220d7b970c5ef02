"""Anthropic's Messages, as itself, through Bedrock's InvokeModel, and as chunks of a stream."""

from __future__ import annotations

from typing import Any

from tests.metrics.unpack.cases import Case, assistant, cut, sse, user

PROMPT = "How long does a hedgehog sleep?"
ASK = {"model": "verse-4", "max_tokens": 400, "system": "You work at a wildlife shelter.", "messages": [user(PROMPT)]}
STREAM = ASK | {"stream": True}
LOOKUP = {"type": "tool_use", "id": "toolu_h1", "name": "weigh", "input": {"animal": "hedgehog"}}


def text(value: str, **more: Any) -> dict[str, Any]:
    """A text block."""
    return {"type": "text", "text": value, **more}


def usage(fresh: Any, output: Any, read: Any = None, written: Any = None, **more: Any) -> dict[str, Any]:
    """Token counts."""
    cache = {"cache_creation_input_tokens": written, "cache_read_input_tokens": read}
    return {"input_tokens": fresh, **{k: v for k, v in cache.items() if v is not None}, "output_tokens": output} | more


def answer(*blocks: dict[str, Any], stop: str | None = "end_turn", usage: Any = None, **more: Any) -> dict[str, Any]:
    """A whole message."""
    found = {
        "id": "msg_hedge",
        "type": "message",
        "role": "assistant",
        "model": "verse-4",
        "content": list(blocks),
        "stop_reason": stop,
        "stop_sequence": None,
    }
    return found | ({} if usage is None else {"usage": usage}) | more


def start(counts: dict[str, Any] | None = None) -> dict[str, Any]:
    """The event that opens a stream."""
    return {"type": "message_start", "message": answer(stop=None, usage=counts or usage(41, 1))}


def block(index: int, kind: dict[str, Any], *deltas: dict[str, Any]) -> list[dict[str, Any]]:
    """The events of one block."""
    return [
        {"type": "content_block_start", "index": index, "content_block": kind},
        *({"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas),
        {"type": "content_block_stop", "index": index},
    ]


def spoken(index: int, *texts: str) -> list[dict[str, Any]]:
    """The events of a text block."""
    return block(index, text(""), *({"type": "text_delta", "text": value} for value in texts))


def stop(reason: str, counts: dict[str, Any]) -> list[dict[str, Any]]:
    """The events that close a stream."""
    delta = {"stop_reason": reason, "stop_sequence": None}
    return [{"type": "message_delta", "delta": delta, "usage": counts}, {"type": "message_stop"}]


PING = {"type": "ping"}
THINKING = block(
    0,
    {"type": "thinking", "thinking": "", "signature": ""},
    {"type": "thinking_delta", "thinking": "They hibernate "},
    {"type": "thinking_delta", "thinking": "in winter."},
    {"type": "signature_delta", "signature": "bm90IHJlYWw="},
)
CALLING = block(
    0,
    {"type": "tool_use", "id": "toolu_h1", "name": "weigh", "input": {}},
    {"type": "input_json_delta", "partial_json": ""},
    {"type": "input_json_delta", "partial_json": '{"animal": "hedge'},
    {"type": "input_json_delta", "partial_json": 'hog"}'},
)
WHOLE = [start(), PING, *spoken(0, "About five ", "months."), *stop("end_turn", {"output_tokens": 9})]
RESULT = {"type": "tool_result", "tool_use_id": "toolu_h1", "content": [text("612 g")]}

CASES: dict[str, Case] = {
    "anthropic: object": Case(
        ASK,
        answer(text("About five months."), usage=usage(41, 9)),
        [(PROMPT, "About five months.")],
        (41, 9, None, None),
        finish_reason="end_turn",
    ),
    "anthropic: text blocks are joined as they are": Case(
        ASK,
        answer(
            text("The leaflet says "),
            text("five months", citations=[{"type": "page_location", "cited_text": "5 months", "document_index": 0}]),
            text(" of winter."),
        ),
        [(PROMPT, "The leaflet says five months of winter.")],
        finish_reason="end_turn",
    ),
    "anthropic: system as blocks, user's text as blocks": Case(
        ASK
        | {
            "system": [text("You work at a shelter.", cache_control={"type": "ephemeral"})],
            "messages": [user([text("Look at this one."), text("Is it thin?")])],
        },
        answer(text("A little.")),
        [("Look at this one.\nIs it thin?", "A little.")],
        finish_reason="end_turn",
    ),
    "anthropic: the user sends a picture only": Case(
        ASK
        | {
            "messages": [
                user([{"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGVkZ2U="}}])
            ]
        },
        answer(text("That is a young one.")),
        [(None, "That is a young one.")],
        finish_reason="end_turn",
    ),
    "anthropic: a document and a question": Case(
        ASK
        | {
            "messages": [
                user(
                    [
                        {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "Report"}},
                        text("What does it say?"),
                    ]
                )
            ]
        },
        answer(text("Nothing new.")),
        [("What does it say?", "Nothing new.")],
        finish_reason="end_turn",
    ),
    "anthropic: the answer's beginning comes with the request": Case(
        ASK | {"messages": [user(PROMPT), assistant("It sleeps for")]},
        answer(text(" five months.")),
        [(PROMPT, " five months.")],
        finish_reason="end_turn",
    ),
    "anthropic: thinking beside the answer": Case(
        ASK | {"thinking": {"type": "enabled", "budget_tokens": 1024}},
        answer(
            {"type": "thinking", "thinking": "They hibernate.", "signature": "bm90IHJlYWw="},
            {"type": "redacted_thinking", "data": "aGlkZGVu"},
            text("Five months."),
            usage=usage(44, 61),
        ),
        [(PROMPT, "Five months.")],
        (44, 61, None, None),
        finish_reason="end_turn",
    ),
    "anthropic: tool use only": Case(
        ASK,
        answer(LOOKUP, stop="tool_use", usage=usage(300, 25)),
        [(PROMPT, None)],
        (300, 25, None, None),
        finish_reason="tool_use",
    ),
    "anthropic: a text before the tool use": Case(
        ASK,
        answer(text("I'll weigh it first."), LOOKUP, stop="tool_use"),
        [(PROMPT, "I'll weigh it first.")],
        finish_reason="tool_use",
    ),
    "anthropic: tool result last": Case(
        ASK | {"messages": [user(PROMPT), assistant([text("I'll weigh it."), LOOKUP]), user([RESULT])]},
        answer(text("At 612 g, five months.")),
        [(PROMPT, "At 612 g, five months.")],
        finish_reason="end_turn",
    ),
    "anthropic: tool result last, second turn": Case(
        ASK
        | {
            "messages": [
                user("Hi!"),
                assistant("Hi."),
                user("Is this one heavy enough?"),
                assistant([LOOKUP]),
                user([RESULT, {"type": "tool_result", "tool_use_id": "toolu_h2", "content": "ok", "is_error": False}]),
            ]
        },
        answer(text("Just about.")),
        [("Is this one heavy enough?", "Just about.")],
        finish_reason="end_turn",
        turn=2,
    ),
    "anthropic: words of the user beside a tool result": Case(
        ASK | {"messages": [user(PROMPT), assistant([LOOKUP]), user([RESULT, text("Hurry up, please.")])]},
        answer(text("Five months.")),
        [("Hurry up, please.", "Five months.")],
        finish_reason="end_turn",
        turn=2,
    ),
    "anthropic: a tool of the server beside the answer": Case(
        ASK,
        answer(
            {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "hedgehog"}},
            {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": []},
            text("Five months."),
        ),
        [(PROMPT, "Five months.")],
        finish_reason="end_turn",
    ),
    "anthropic: refused without a word": Case(
        ASK,
        answer(stop="refusal", usage={"input_tokens": 41}),
        [(PROMPT, None)],
        (41, None, None, None),
        finish_reason="refusal",
    ),
    "anthropic: refused in words": Case(
        ASK, answer(text("I can't say that."), stop="refusal"), [(PROMPT, "I can't say that.")], finish_reason="refusal"
    ),
    "anthropic: cut at max_tokens": Case(
        ASK | {"max_tokens": 2},
        answer(text("About five"), stop="max_tokens", usage=usage(41, 2)),
        [(PROMPT, "About five")],
        (41, 2, None, None),
        finish_reason="max_tokens",
    ),
    "anthropic: cache counters": Case(
        ASK,
        answer(text("Five months."), usage=usage(12, 5, read=2048, written=310, service_tier="standard")),
        [(PROMPT, "Five months.")],
        (2370, 5, 2048, 310),
        finish_reason="end_turn",
    ),
    "anthropic: cache counters of zero": Case(
        ASK,
        answer(text("Five months."), usage=usage(12, 5, read=0, written=0)),
        [(PROMPT, "Five months.")],
        (12, 5, 0, 0),
        finish_reason="end_turn",
    ),
    "anthropic: first write of a cache, split by lifetime": Case(
        ASK,
        answer(
            text("Five months."),
            usage=usage(
                9, 5, 0, 700, cache_creation={"ephemeral_5m_input_tokens": 700, "ephemeral_1h_input_tokens": 0}
            ),
        ),
        [(PROMPT, "Five months.")],
        (709, 5, 0, 700),
        finish_reason="end_turn",
    ),
    "anthropic: list of events": Case(
        STREAM, WHOLE, [(PROMPT, "About five months.")], (41, 9, None, None), finish_reason="end_turn"
    ),
    "anthropic: event stream": Case(
        STREAM,
        sse(WHOLE, event="type"),
        [(PROMPT, "About five months.")],
        (41, 9, None, None),
        finish_reason="end_turn",
    ),
    "anthropic: event stream without event lines": Case(
        STREAM, sse(WHOLE), [(PROMPT, "About five months.")], (41, 9, None, None), finish_reason="end_turn"
    ),
    "anthropic: event stream of two text blocks": Case(
        STREAM,
        sse(
            [
                start(),
                *spoken(0, "About ", "five"),
                *spoken(1, " mon", "ths."),
                *stop("end_turn", {"output_tokens": 8}),
            ],
            event="type",
        ),
        [(PROMPT, "About five months.")],
        (41, 8, None, None),
        finish_reason="end_turn",
    ),
    "anthropic: event stream with thinking": Case(
        STREAM,
        sse(
            [start(), *THINKING, *spoken(1, "Five ", "months."), *stop("end_turn", {"output_tokens": 33})], event="type"
        ),
        [(PROMPT, "Five months.")],
        (41, 33, None, None),
        finish_reason="end_turn",
    ),
    "anthropic: event stream of tool use only": Case(
        STREAM,
        sse([start(), *CALLING, *stop("tool_use", {"output_tokens": 28})], event="type"),
        [(PROMPT, None)],
        (41, 28, None, None),
        finish_reason="tool_use",
    ),
    "anthropic: event stream of a text and a tool use": Case(
        STREAM,
        [
            start(),
            *spoken(0, "I'll weigh it."),
            *(event | {"index": 1} for event in CALLING),
            *stop("tool_use", {"output_tokens": 34}),
        ],
        [(PROMPT, "I'll weigh it.")],
        (41, 34, None, None),
        finish_reason="tool_use",
    ),
    "anthropic: event stream, refused": Case(
        STREAM,
        sse([start(), *spoken(0, "I can't "), *stop("refusal", {"output_tokens": 3})], event="type"),
        [(PROMPT, "I can't ")],
        (41, 3, None, None),
        finish_reason="refusal",
    ),
    "anthropic: event stream with cache counters at its start": Case(
        STREAM,
        sse(
            [start(usage(5, 2, 900, 95)), *spoken(0, "Five months."), *stop("end_turn", {"output_tokens": 6})],
            event="type",
        ),
        [(PROMPT, "Five months.")],
        (1000, 6, 900, 95),
        finish_reason="end_turn",
    ),
    "anthropic: event stream with all counters again at its end": Case(
        STREAM,
        sse(
            [start(usage(5, 2, 900, 95)), *spoken(0, "Five months."), *stop("end_turn", usage(7, 6, 900, 95))],
            event="type",
        ),
        [(PROMPT, "Five months.")],
        (1002, 6, 900, 95),
        finish_reason="end_turn",
    ),
    "anthropic: stream whose end is missing": Case(
        STREAM,
        sse([start(), *spoken(0, "About five ", "months.")[:2]], event="type"),
        [(PROMPT, "About five ")],
        (41, None, None, None),
    ),
    "anthropic: list of events whose end is missing": Case(
        STREAM, WHOLE[:5], [(PROMPT, "About five months.")], (41, None, None, None)
    ),
    "anthropic: stream cut in its last frame": Case(
        STREAM, cut(sse(WHOLE[:5], event="type")), [(PROMPT, "About five ")], (41, None, None, None)
    ),
    "anthropic: stream cut in message_delta": Case(
        STREAM, cut(sse(WHOLE[:-1], event="type"), 20), [(PROMPT, "About five months.")], (41, None, None, None)
    ),
    "anthropic: broken frame within a stream": Case(
        STREAM,
        sse(WHOLE[:3], event="type")
        + 'event: content_block_delta\ndata: {"type": "content_block_del\n\n'
        + sse(WHOLE[4:], event="type"),
        reason="invalid_response_json",
    ),
    "anthropic: stream with an error event": Case(
        STREAM,
        sse(
            [*WHOLE[:4], {"type": "error", "error": {"type": "overloaded_error", "message": "Too busy"}}], event="type"
        ),
        [(PROMPT, "About five ")],
        (41, None, None, None),
        error=True,
    ),
    "anthropic: an error in place of the answer": Case(
        ASK, {"type": "error", "error": {"type": "api_error", "message": "It broke"}}, [(PROMPT, None)], error=True
    ),
    "anthropic: status 529": Case(
        ASK,
        {"type": "error", "error": {"type": "overloaded_error", "message": "Too busy"}, "request_id": "req_h"},
        [(PROMPT, None)],
        error=True,
        status=529,
    ),
    "anthropic: Bedrock's InvokeModel": Case(
        {"anthropic_version": "bedrock-2023-05-31", "max_tokens": 50, "messages": [user([text(PROMPT)])]},
        answer(text("Five months."), usage=usage(19, 5)),
        [(PROMPT, "Five months.")],
        (19, 5, None, None),
        finish_reason="end_turn",
    ),
    "anthropic: stopped at a stop sequence": Case(
        ASK | {"stop_sequences": ["END"]},
        answer(text("Five months. "), stop="stop_sequence") | {"stop_sequence": "END"},
        [(PROMPT, "Five months. ")],
        finish_reason="stop_sequence",
    ),
}
