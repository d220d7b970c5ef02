"""Kinds of faults that readers of such logs are known for, a few cases each, over all protocols."""

from __future__ import annotations

import json
from typing import Any

from tests.metrics.unpack.cases import Case, assistant, lines, sse, system, twice, user

HELLO = "Good morning"
ASK = {"messages": [user(HELLO)]}
GEMINI_ASK = {"contents": [{"role": "user", "parts": [{"text": HELLO}]}]}
CLAUDE_ASK = {"model": "verse-4", "max_tokens": 99, "messages": [user(HELLO)]}
CALL = {"id": "call_z9", "type": "function", "function": {"name": "tide", "arguments": "{}"}}


def chat(message: dict[str, Any] | None, finish: str | None = "stop", **more: Any) -> dict[str, Any]:
    """OpenAI's answer of one choice, or of none."""
    choices = [] if message is None else [{"index": 0, "message": message, "finish_reason": finish}]
    return {"id": "chatcmpl-z", "object": "chat.completion", "choices": choices} | more


def chunk(delta: dict[str, Any] | None, finish: str | None = None, **more: Any) -> dict[str, Any]:
    """OpenAI's chunk of one choice, or of none."""
    choices = [] if delta is None else [{"index": 0, "delta": delta, "finish_reason": finish}]
    return {"id": "chatcmpl-z", "object": "chat.completion.chunk", "choices": choices} | more


def said(*texts: Any) -> list[dict[str, Any]]:
    """OpenAI's chunks of these contents."""
    return [chunk({"content": text}) for text in texts]


def prose(text: str | None, finish: str | None = None, **more: Any) -> dict[str, Any]:
    """A text completion, or a chunk of it."""
    choices = [] if text is None else [{"index": 0, "text": text, "finish_reason": finish}]
    return {"id": "cmpl-z", "object": "text_completion", "choices": choices} | more


def claude(*blocks: dict[str, Any], stop: str | None = "end_turn", **more: Any) -> dict[str, Any]:
    """Anthropic's answer."""
    return {"id": "msg_z", "type": "message", "role": "assistant", "content": list(blocks), "stop_reason": stop} | more


def claude_events(*texts: str, start: Any = None, end: Any = None) -> list[dict[str, Any]]:
    """Anthropic's events of one text block."""
    return [
        {"type": "message_start", "message": claude(stop=None, usage=start or {})},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        *({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}} for text in texts),
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": end or {}},
        {"type": "message_stop"},
    ]


def gemini(*texts: str, finish: str | None = "STOP", **more: Any) -> dict[str, Any]:
    """Gemini's answer, or a chunk of it."""
    candidate = {"content": {"role": "model", "parts": [{"text": text} for text in texts]}, "index": 0}
    return {"candidates": [candidate | ({"finishReason": finish} if finish else {})]} | more


def text(value: Any) -> dict[str, Any]:
    """A text part."""
    return {"type": "text", "text": value}


def counts(prompt: Any, completion: Any, **more: Any) -> dict[str, Any]:
    """OpenAI's token counts."""
    return {"prompt_tokens": prompt, "completion_tokens": completion, **more}


TICKS = [{"kind": "tick", "seq": index, "body": body} for index, body in enumerate(("Good ", "day"))]
FROGS = [{"frog": {"croak": "Good "}}, {"frog": {"croak": "day"}}]

UNKNOWN_STREAMS = {
    "kind 1: event stream of no known protocol": Case(ASK, sse(TICKS), reason="unknown_response_shape"),
    "kind 1: event stream of no known protocol that ends in [DONE]": Case(
        ASK, sse(FROGS, done=True), reason="unknown_response_shape"
    ),
    "kind 1: event stream of no known protocol with event lines": Case(
        CLAUDE_ASK, sse(TICKS, event="tick"), reason="unknown_response_shape"
    ),
    "kind 1: list of chunks of no known protocol": Case(ASK, TICKS, reason="unknown_response_shape"),
    "kind 1: one chunk of no known protocol": Case(GEMINI_ASK, sse(FROGS[:1]), reason="unknown_response_shape"),
}

USAGE_OF_STREAMS = {
    "kind 2: input in the first chunk, output in the last": Case(
        ASK,
        [chunk({"content": "Hi."}, usage={"prompt_tokens": 8}), chunk({}, "stop", usage={"completion_tokens": 3})],
        [(HELLO, "Hi.")],
        (8, 3, None, None),
        finish_reason="stop",
    ),
    "kind 2: an empty usage object after the usage": Case(
        ASK,
        sse([*said("Hi."), chunk({}, "stop", usage=counts(8, 3)), chunk(None, usage={})], done=True),
        [(HELLO, "Hi.")],
        (8, 3, None, None),
        finish_reason="stop",
    ),
    "kind 2: nulls after the usage": Case(
        ASK,
        sse([chunk({"content": "Hi."}, usage=counts(8, 3)), chunk({}, "stop", usage=counts(None, None))]),
        [(HELLO, "Hi.")],
        (8, 3, None, None),
        finish_reason="stop",
    ),
    "kind 2: cached tokens are named in one chunk only": Case(
        ASK,
        [
            chunk({"content": "Hi."}, usage=counts(80, 1, prompt_tokens_details={"cached_tokens": 64})),
            chunk({}, "stop", usage=counts(80, 3)),
        ],
        [(HELLO, "Hi.")],
        (80, 3, 64, None),
        finish_reason="stop",
    ),
    "kind 2: Anthropic's message_start and message_delta": Case(
        CLAUDE_ASK,
        sse(
            claude_events("Hi.", start={"input_tokens": 25, "output_tokens": 1}, end={"output_tokens": 4}), event="type"
        ),
        [(HELLO, "Hi.")],
        (25, 4, None, None),
        finish_reason="end_turn",
    ),
    "kind 2: Anthropic's message_start alone": Case(
        CLAUDE_ASK,
        claude_events("Hi.", start={"input_tokens": 25}),
        [(HELLO, "Hi.")],
        (25, None, None, None),
        finish_reason="end_turn",
    ),
    "kind 2: running usage of a text completion": Case(
        {"prompt": HELLO},
        [prose(", ", usage=counts(2, 1)), prose("all", usage=counts(2, 2)), prose(None, usage=counts(2, 3))],
        [(HELLO, ", all")],
        (2, 3, None, None),
    ),
}

PROMPTS_OF_TOOL_TURNS = {
    "kind 3: two rounds of tools": Case(
        {
            "messages": [
                user("When is high tide?"),
                assistant(None, tool_calls=[CALL]),
                {"role": "tool", "tool_call_id": "call_z9", "content": "no port"},
                assistant("Let me try again.", tool_calls=[CALL]),
                {"role": "tool", "tool_call_id": "call_z9", "content": "14:10"},
            ]
        },
        chat(assistant("At ten past two.")),
        [("When is high tide?", "At ten past two.")],
        finish_reason="stop",
    ),
    "kind 3: Anthropic's tool result beside its reminder of the cache": Case(
        CLAUDE_ASK
        | {
            "messages": [
                user([text("When is high tide?")]),
                assistant([{"type": "tool_use", "id": "toolu_z", "name": "tide", "input": {}}]),
                user(
                    [
                        {
                            "type": "tool_result",
                            "tool_use_id": "toolu_z",
                            "content": "14:10",
                            "cache_control": {"type": "ephemeral"},
                        }
                    ]
                ),
            ]
        },
        claude(text("At ten past two.")),
        [("When is high tide?", "At ten past two.")],
        finish_reason="end_turn",
    ),
    "kind 3: Gemini's function response with a snapshot of the thread": Case(
        {
            "contents": [
                {"role": "user", "parts": [{"text": "When is high tide?"}]},
                {
                    "role": "model",
                    "parts": [{"functionCall": {"name": "tide", "args": {}}, "thoughtSignature": "eg=="}],
                },
                {"role": "user", "parts": [{"functionResponse": {"name": "tide", "response": {"result": "14:10"}}}]},
            ]
        },
        gemini("At ten past two."),
        [("When is high tide?", "At ten past two.")],
        finish_reason="STOP",
    ),
    "kind 3: Bedrock's tool result after a second question": Case(
        {
            "messages": [
                {"role": "user", "content": [{"text": "Hello"}]},
                {"role": "assistant", "content": [{"text": "Ahoy."}]},
                {"role": "user", "content": [{"text": "When is high tide?"}]},
                {"role": "assistant", "content": [{"toolUse": {"toolUseId": "t", "name": "tide", "input": {}}}]},
                {"role": "user", "content": [{"toolResult": {"toolUseId": "t", "content": [{"text": "14:10"}]}}]},
            ]
        },
        {
            "output": {"message": {"role": "assistant", "content": [{"text": "Ten past two."}]}},
            "stopReason": "end_turn",
        },
        [("When is high tide?", "Ten past two.")],
        finish_reason="end_turn",
        turn=2,
    ),
    "kind 3: a thread of tools in a table": Case(
        {
            "dataframe_split": {
                "columns": ["messages"],
                "data": [
                    [
                        [
                            user("When is high tide?"),
                            assistant(None, tool_calls=[CALL]),
                            {"role": "tool", "content": "14:10"},
                        ]
                    ]
                ],
            }
        },
        {"predictions": ["Ten past two."]},
        [("When is high tide?", "Ten past two.")],
    ),
}

REFUSALS = {
    "kind 4: streamed, after an empty content": Case(
        ASK,
        sse(
            [
                chunk({"role": "assistant", "content": ""}),
                chunk({"refusal": "No, "}),
                chunk({"refusal": "sorry."}),
                chunk({}, "stop"),
            ]
        ),
        [(HELLO, "No, sorry.")],
        finish_reason="stop",
    ),
    "kind 4: in a Responses stream without its end": Case(
        {"input": HELLO},
        sse([{"type": "response.refusal.delta", "item_id": "m", "delta": t} for t in ("No, ", "sorry.")], event="type"),
        [(HELLO, "No, sorry.")],
    ),
    "kind 4: beside an empty content": Case(
        ASK, chat(assistant("", refusal="No, sorry.")), [(HELLO, "No, sorry.")], finish_reason="stop"
    ),
    "kind 4: without a content": Case(
        ASK, chat({"role": "assistant", "refusal": "No, sorry."}), [(HELLO, "No, sorry.")], finish_reason="stop"
    ),
    "kind 4: a refusal of null is none": Case(
        ASK, chat(assistant("Hello.", refusal=None)), [(HELLO, "Hello.")], finish_reason="stop"
    ),
}

MIXED_CONTENT = {
    "kind 5: strings, then lists": Case(
        ASK, said("Good ", [text("day")], [text(" to "), text("you")]), [(HELLO, "Good day to you")]
    ),
    "kind 5: lists, then strings": Case(
        ASK, sse(said([text("Good ")], "day", None, "."), done=True), [(HELLO, "Good day.")]
    ),
    "kind 5: a list of reasoning, then strings": Case(
        ASK,
        sse(said([{"type": "reasoning", "summary": [{"type": "summary_text", "text": "Polite."}]}], "Good ", "day.")),
        [(HELLO, "Good day.")],
    ),
    "kind 5: a ChatAgent's strings and lists": Case(
        ASK,
        [{"delta": {"role": "assistant", "id": "m-9", "content": content}} for content in ("Good ", [text("day.")])],
        [(HELLO, "Good day.")],
    ),
}

CACHE_COUNTERS = {
    "kind 6: Anthropic, read and written": Case(
        CLAUDE_ASK,
        claude(
            text("Hi."),
            usage={
                "input_tokens": 3,
                "cache_read_input_tokens": 500,
                "cache_creation_input_tokens": 40,
                "output_tokens": 2,
            },
        ),
        [(HELLO, "Hi.")],
        (543, 2, 500, 40),
        finish_reason="end_turn",
    ),
    "kind 6: Anthropic, only the read counter": Case(
        CLAUDE_ASK,
        claude(text("Hi."), usage={"input_tokens": 3, "cache_read_input_tokens": 500, "output_tokens": 2}),
        [(HELLO, "Hi.")],
        (503, 2, 500, None),
        finish_reason="end_turn",
    ),
    "kind 6: in chat form the total is there already": Case(
        ASK,
        chat(
            assistant("Hi."),
            usage=counts(543, 2, total_tokens=545, cache_read_input_tokens=500, cache_creation_input_tokens=40),
        ),
        [(HELLO, "Hi.")],
        (543, 2, 500, 40),
        finish_reason="stop",
    ),
    "kind 6: a total that is input and output": Case(
        CLAUDE_ASK,
        claude(
            text("Hi."),
            usage={"input_tokens": 543, "cache_read_input_tokens": 500, "output_tokens": 2, "total_tokens": 545},
        ),
        [(HELLO, "Hi.")],
        (543, 2, 500, None),
        finish_reason="end_turn",
    ),
    "kind 6: streamed in chat form": Case(
        ASK,
        sse([*said("Hi."), chunk({}, "stop", usage=counts(543, 2, cache_read_input_tokens=500, total_tokens=545))]),
        [(HELLO, "Hi.")],
        (543, 2, 500, None),
        finish_reason="stop",
    ),
}

ZEROS = {
    "kind 7: all zero beside a text": Case(
        ASK, chat(assistant("Hi."), usage=counts(0, 0, total_tokens=0)), [(HELLO, "Hi.")], finish_reason="stop"
    ),
    "kind 7: no output beside a text": Case(
        ASK, chat(assistant("Hi."), usage=counts(6, 0)), [(HELLO, "Hi.")], (6, None, None, None), finish_reason="stop"
    ),
    "kind 7: no input beside a prompt": Case(
        ASK, chat(assistant("Hi."), usage=counts(0, 2)), [(HELLO, "Hi.")], (None, 2, None, None), finish_reason="stop"
    ),
    "kind 7: zeros of a stream": Case(
        ASK, [*said("Hi."), chunk({}, "stop", usage=counts(0, 0))], [(HELLO, "Hi.")], finish_reason="stop"
    ),
    "kind 7: zeros of Anthropic's": Case(
        CLAUDE_ASK,
        claude(text("Hi."), usage={"input_tokens": 0, "output_tokens": 0}),
        [(HELLO, "Hi.")],
        finish_reason="end_turn",
    ),
    "kind 7: an embedding has no output": Case(
        {"input": HELLO},
        {"object": "list", "data": [{"object": "embedding", "index": 0, "embedding": [0.1]}], "usage": counts(2, 0)},
        [(HELLO, None)],
        (2, 0, None, None),
        turn=None,
    ),
}

FAILED_CHOICES = {
    "kind 8: finish_reason error beside half an answer": Case(
        ASK, chat(assistant("Good"), "error"), [(HELLO, "Good")], error=True, finish_reason="error"
    ),
    "kind 8: an error object in the choice": Case(
        ASK,
        {
            "choices": [
                {"index": 0, "message": assistant("Good"), "error": {"code": 502, "message": "Lost the upstream"}}
            ]
        },
        [(HELLO, "Good")],
        error=True,
    ),
    "kind 8: an error object in a streamed choice": Case(
        ASK,
        sse(
            [
                *said("Good"),
                {
                    "object": "chat.completion.chunk",
                    "choices": [{"index": 0, "delta": {}, "error": {"code": 502, "message": "Lost the upstream"}}],
                },
            ],
            done=True,
        ),
        [(HELLO, "Good")],
        error=True,
    ),
    "kind 8: a text completion's choice failed": Case(
        {"prompt": HELLO},
        {"object": "text_completion", "choices": [{"index": 0, "text": ", my", "finish_reason": "error"}]},
        [(HELLO, ", my")],
        error=True,
        finish_reason="error",
    ),
}

EMPTY_ERRORS = {
    f"kind 9: an error that is {name}": Case(
        ASK, chat(assistant("Hi."), error=value), [(HELLO, "Hi.")], finish_reason="stop"
    )
    for name, value in {
        "an empty object": {},
        "all nulls": {"message": None, "type": None, "code": None},
        "an empty text": "",
        "false": False,
        "null": None,
    }.items()
} | {
    "kind 9: an empty error of the platform": Case(
        ASK, chat(assistant("Hi."), databricks_output={"error": {}}), [(HELLO, "Hi.")], finish_reason="stop"
    ),
    "kind 9: an error of null in every chunk": Case(
        ASK, sse([event | {"error": None} for event in said("Good ", "day.")]), [(HELLO, "Good day.")]
    ),
    "kind 9: an error of null in the choice": Case(
        ASK, {"choices": [{"index": 0, "message": assistant("Hi."), "error": None}]}, [(HELLO, "Hi.")]
    ),
    "kind 9: an error text that is not empty": Case(
        ASK, chat(assistant("Hi."), error="overloaded"), [(HELLO, "Hi.")], error=True, finish_reason="stop"
    ),
}

ODD_MESSAGES = {
    "kind 10: pairs": Case(
        {"messages": [["system", "Be kind."], ["user", HELLO]]},
        chat(assistant("Hi.")),
        [(HELLO, "Hi.")],
        finish_reason="stop",
    ),
    "kind 10: a bare string": Case(
        {"messages": [HELLO]}, chat(assistant("Hi.")), [(HELLO, "Hi.")], finish_reason="stop"
    ),
    "kind 10: pairs in a table": Case(
        {"dataframe_records": [{"messages": [["user", HELLO]]}]}, {"predictions": ["Hi."]}, [(HELLO, "Hi.")]
    ),
    "kind 10: serialised objects whose class alone tells the role": Case(
        {
            "messages": [
                {
                    "lc": 1,
                    "type": "constructor",
                    "id": ["langchain_core", "messages", *name],
                    "kwargs": {"content": content},
                }
                for name, content in ((("system", "SystemMessage"), "Be kind."), (("human", "HumanMessage"), HELLO))
            ]
        },
        chat(assistant("Hi.")),
        [(HELLO, "Hi.")],
        finish_reason="stop",
    ),
    "kind 10: an answer of an object": Case(
        ASK,
        chat(assistant({"greeting": "Hi", "tone": {"warm": True}})),
        [(HELLO, '{"greeting":"Hi","tone":{"warm":true}}')],
        finish_reason="stop",
    ),
}

LANGCHAIN_TYPES = {
    "kind 11: human, then ai, then human": Case(
        {
            "messages": [
                {"type": "human", "content": "Hello"},
                {"type": "ai", "content": "Hi."},
                {"type": "human", "content": "More"},
            ]
        },
        {"messages": [{"type": "ai", "content": "More it is."}]},
        [("More", "More it is.")],
        turn=2,
    ),
    "kind 11: the AI speaks last in the request": Case(
        {"messages": [{"type": "human", "content": HELLO}, {"type": "ai", "content": "Hi, I am"}]},
        chat(assistant(" a parrot.")),
        [(HELLO, " a parrot.")],
        finish_reason="stop",
    ),
    "kind 11: types in a table": Case(
        {
            "dataframe_records": [
                {"messages": [{"type": "system", "content": "S"}, {"type": "human", "content": HELLO}]}
            ]
        },
        {"predictions": ["Hi."]},
        [(HELLO, "Hi.")],
    ),
    "kind 11: roles in the request, types in the answer": Case(
        ASK,
        {
            "messages": [
                {"type": "human", "content": HELLO},
                {"type": "tool", "content": "x"},
                {"type": "ai", "content": "Hi."},
            ]
        },
        [(HELLO, "Hi.")],
    ),
}

JOINED_PARTS = {
    "kind 12: parts of a chat answer": Case(
        {"messages": [user([text("One"), text("two")])]},
        chat(assistant([text("Th"), text("ree"), text(".")])),
        [("One\ntwo", "Three.")],
        finish_reason="stop",
    ),
    "kind 12: parts of a Responses item": Case(
        {"input": [user([{"type": "input_text", "text": "One"}, {"type": "input_text", "text": "two"}])]},
        {
            "object": "response",
            "status": "completed",
            "output": [
                {
                    "type": "message",
                    "content": [{"type": "output_text", "text": "Th"}, {"type": "output_text", "text": "ree"}],
                }
            ],
        },
        [("One\ntwo", "Three")],
        finish_reason="completed",
    ),
    "kind 12: Gemini's parts": Case(
        {"contents": [{"parts": [{"text": "One"}, {"text": "two"}]}]},
        gemini("Th", "ree"),
        [("One\ntwo", "Three")],
        finish_reason="STOP",
    ),
    "kind 12: a ChatAgent's parts": Case(
        ASK, {"messages": [assistant([text("Th"), text("ree\n"), text("four")])]}, [(HELLO, "Three\nfour")]
    ),
}

SPOKEN = {
    "kind 13: a transcript": Case(
        ASK,
        chat(
            assistant(
                None, audio={"id": "audio_z", "data": "UklGRg==", "transcript": "Morning!", "expires_at": 1790000900}
            )
        ),
        [(HELLO, "Morning!")],
        finish_reason="stop",
    ),
    "kind 13: a transcript, streamed": Case(
        ASK,
        sse(
            [
                chunk({"role": "assistant", "content": None, "audio": {"id": "audio_z", "transcript": "Mor"}}),
                chunk({"audio": {"data": "UklGRg=="}}),
                chunk({"audio": {"transcript": "ning!"}}),
                chunk({"audio": {"expires_at": 1790000900}}),
                chunk({}, "stop"),
            ],
            done=True,
        ),
        [(HELLO, "Morning!")],
        finish_reason="stop",
    ),
    "kind 13: the user speaks too": Case(
        {
            "messages": [
                user(HELLO),
                {"role": "assistant", "audio": {"id": "audio_y"}},
                user([{"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "wav"}}]),
            ]
        },
        chat({"role": "assistant", "audio": {"id": "audio_z", "data": "UklGRg==", "transcript": "It's seven."}}),
        [(None, "It's seven.")],
        finish_reason="stop",
        turn=2,
    ),
}

SPLIT_EMOJI = {
    "kind 14: halves in two chunks of a list": Case(ASK, said("A whale: \ud83d", "\udc33."), [(HELLO, "A whale: 🐳.")]),
    "kind 14: halves in two of Anthropic's events": Case(
        CLAUDE_ASK,
        sse(claude_events("A whale: \ud83d", "\udc33."), event="type"),
        [(HELLO, "A whale: 🐳.")],
        finish_reason="end_turn",
    ),
    "kind 14: halves in two of Gemini's chunks": Case(
        GEMINI_ASK, sse([gemini("\ud83d", finish=None), gemini("\udc33")]), [(HELLO, "🐳")], finish_reason="STOP"
    ),
    "kind 14: halves in two lines of Ollama's": Case(
        ASK,
        lines([{"message": assistant(half), "done": False} for half in ("\ud83d", "\udc33")]),
        [(HELLO, "🐳")],
    ),
    "kind 14: a half without its other": Case(ASK, sse(said("A whale: \ud83d", "!")), [(HELLO, "A whale: \ufffd!")]),
}

INLINE_REASONING = {
    "kind 20: before the answer": Case(
        ASK, chat(assistant("<think>They greet me.</think>\n\nHi.")), [(HELLO, "Hi.")], finish_reason="stop"
    ),
    "kind 20: streamed, its tags split": Case(
        ASK, sse(said("<th", "ink>", "They ", "greet me.", "</thi", "nk>\n", "\nHi", ".")), [(HELLO, "Hi.")]
    ),
    "kind 20: empty": Case(ASK, chat(assistant("<think>\n\n</think>\n\nHi.")), [(HELLO, "Hi.")], finish_reason="stop"),
    "kind 20: within the answer it stays": Case(
        ASK,
        chat(assistant("Write <think>x</think> first.")),
        [(HELLO, "Write <think>x</think> first.")],
        finish_reason="stop",
    ),
    "kind 20: counts stay the log's": Case(
        ASK,
        chat(assistant("<think>Hm.</think>Hi."), usage=counts(4, 9)),
        [(HELLO, "Hi.")],
        (4, 9, None, None),
        finish_reason="stop",
    ),
    "kind 20: in a prediction": Case(
        {"inputs": [HELLO]}, {"predictions": ["<think>Hm.</think>\nHi."]}, [(HELLO, "Hi.")]
    ),
}

ENCODED_TWICE = {
    "kind 21: a chat answer": Case(
        ASK,
        twice(chat(assistant("Hi."), usage=counts(4, 2))),
        [(HELLO, "Hi.")],
        (4, 2, None, None),
        finish_reason="stop",
    ),
    "kind 21: Anthropic's answer": Case(
        CLAUDE_ASK, twice(claude(text("Hi."))), [(HELLO, "Hi.")], finish_reason="end_turn"
    ),
    "kind 21: a ChatAgent's answer": Case(ASK, twice({"messages": [assistant("Hi.")]}), [(HELLO, "Hi.")]),
    "kind 21: a list of chunks": Case(ASK, twice(said("Good ", "day.")), [(HELLO, "Good day.")]),
    "kind 21: a text is the answer": Case(ASK, json.dumps("Hi there."), [(HELLO, "Hi there.")]),
    "kind 21: a text that is JSON of no protocol is the answer": Case(
        ASK, twice({"colour": "green"}), [(HELLO, '{"colour": "green"}')]
    ),
}

WITHOUT_TEXT = {
    "kind 22: Anthropic's empty content": Case(CLAUDE_ASK, claude(), [(HELLO, None)], finish_reason="end_turn"),
    "kind 22: two tools at once": Case(
        CLAUDE_ASK,
        claude(
            {"type": "tool_use", "id": "toolu_1", "name": "tide", "input": {}},
            {"type": "tool_use", "id": "toolu_2", "name": "wind", "input": {"port": "Skagen"}},
            stop="tool_use",
        ),
        [(HELLO, None)],
        finish_reason="tool_use",
    ),
    "kind 22: thinking, then a tool": Case(
        CLAUDE_ASK,
        claude(
            {"type": "thinking", "thinking": "Tide?", "signature": "eg=="},
            {"type": "tool_use", "id": "toolu_1", "name": "tide", "input": {}},
            stop="tool_use",
        ),
        [(HELLO, None)],
        finish_reason="tool_use",
    ),
    "kind 22: a chat answer of an empty list": Case(ASK, chat(assistant([])), [(HELLO, None)], finish_reason="stop"),
    "kind 22: Bedrock's empty content": Case(
        {"messages": [{"role": "user", "content": [{"text": HELLO}]}]},
        {"output": {"message": {"role": "assistant", "content": []}}, "stopReason": "end_turn"},
        [(HELLO, None)],
        finish_reason="end_turn",
    ),
}

NO_CHOICES = {
    "kind 23: an empty list, and usage": Case(
        ASK, chat(None, usage={"prompt_tokens": 6, "total_tokens": 6}), [(HELLO, None)], (6, None, None, None)
    ),
    "kind 23: null, and usage": Case(
        ASK,
        {"object": "chat.completion", "choices": None, "usage": {"prompt_tokens": 6}},
        [(HELLO, None)],
        (6, None, None, None),
    ),
    "kind 23: no choice in any chunk": Case(
        ASK,
        sse([chunk(None), chunk(None, usage={"prompt_tokens": 6})], done=True),
        [(HELLO, None)],
        (6, None, None, None),
    ),
    "kind 23: a text completion without choices": Case(
        {"prompt": HELLO}, {"object": "text_completion", "choices": []}, [(HELLO, None)]
    ),
    "kind 23: Azure's results of the filter": Case(
        ASK,
        chat(
            None,
            prompt_filter_results=[{"prompt_index": 0, "content_filter_results": {"violence": {"filtered": True}}}],
        ),
        [(HELLO, None)],
    ),
}

COMPLETION_CHUNKS = {
    "kind 24: a list": Case(
        {"prompt": HELLO}, [prose(","), prose(" all"), prose("", "stop")], [(HELLO, ", all")], finish_reason="stop"
    ),
    "kind 24: a list of one": Case(
        {"prompt": HELLO}, [prose(", all", "length")], [(HELLO, ", all")], finish_reason="length"
    ),
    "kind 24: a list with nothing but usage at its end": Case(
        {"prompt": HELLO, "stream": True},
        [prose(", all", "stop"), prose(None, usage=counts(2, 2))],
        [(HELLO, ", all")],
        (2, 2, None, None),
        finish_reason="stop",
    ),
    "kind 24: a list that ends in an error": Case(
        {"prompt": HELLO}, [prose(","), {"error": {"message": "It broke", "code": 500}}], [(HELLO, ",")], error=True
    ),
}

NATIVE = {
    "kind 25: Gemini": Case(
        GEMINI_ASK,
        gemini("Hi.", usageMetadata={"promptTokenCount": 2, "candidatesTokenCount": 2, "totalTokenCount": 4}),
        [(HELLO, "Hi.")],
        (2, 2, None, None),
        finish_reason="STOP",
    ),
    "kind 25: Bedrock": Case(
        {"messages": [{"role": "user", "content": [{"text": HELLO}]}], "inferenceConfig": {}},
        {
            "output": {"message": {"role": "assistant", "content": [{"text": "Hi."}]}},
            "stopReason": "max_tokens",
            "usage": {"inputTokens": 3, "outputTokens": 2, "totalTokens": 5},
        },
        [(HELLO, "Hi.")],
        (3, 2, None, None),
        finish_reason="max_tokens",
    ),
    "kind 25: Cohere": Case(
        {"model": "harbour-r", "messages": [system("Be kind."), user(HELLO)]},
        {
            "id": "co-9",
            "message": {"role": "assistant", "content": [text("Hi.")]},
            "finish_reason": "STOP_SEQUENCE",
            "usage": {
                "billed_units": {"input_tokens": 2, "output_tokens": 2},
                "tokens": {"input_tokens": 70, "output_tokens": 2},
            },
        },
        [(HELLO, "Hi.")],
        (70, 2, None, None),
        finish_reason="STOP_SEQUENCE",
    ),
    "kind 25: Ollama": Case(
        ASK | {"model": "pond:8b"},
        {
            "model": "pond:8b",
            "message": assistant("Hi."),
            "done": True,
            "done_reason": "stop",
            "prompt_eval_count": 5,
            "eval_count": 2,
        },
        [(HELLO, "Hi.")],
        (5, 2, None, None),
        finish_reason="stop",
    ),
    "kind 25: TGI": Case(
        {"inputs": HELLO, "parameters": {}},
        [{"generated_text": " to you", "details": {"finish_reason": "stop_sequence", "generated_tokens": 2}}],
        [(HELLO, " to you")],
        (None, 2, None, None),
        finish_reason="stop_sequence",
    ),
}

KINDS: list[dict[str, Case]] = [
    UNKNOWN_STREAMS, USAGE_OF_STREAMS, PROMPTS_OF_TOOL_TURNS, REFUSALS, MIXED_CONTENT, CACHE_COUNTERS, ZEROS,
    FAILED_CHOICES, EMPTY_ERRORS, ODD_MESSAGES, LANGCHAIN_TYPES, JOINED_PARTS, SPOKEN, SPLIT_EMOJI, INLINE_REASONING,
    ENCODED_TWICE, WITHOUT_TEXT, NO_CHOICES, COMPLETION_CHUNKS, NATIVE,
]  # fmt: skip
CASES: dict[str, Case] = {name: case for cases in KINDS for name, case in cases.items()}
assert len(CASES) == sum(map(len, KINDS)), "names are unique"
