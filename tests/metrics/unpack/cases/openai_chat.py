"""OpenAI's Chat Completions, and what speaks its language."""

from __future__ import annotations

from typing import Any

from tests.metrics.unpack.cases import Case, assistant, cut, sse, system, user

ASK = {"model": "fable-2", "messages": [system("You know trees."), user("Which tree drops its bark?")]}
STREAM = ASK | {"stream": True, "stream_options": {"include_usage": True}}
PROMPT = "Which tree drops its bark?"
WEATHER_CALL = {
    "id": "call_k1",
    "type": "function",
    "function": {"name": "forecast", "arguments": '{"town": "Oulu"}'},
}


def answer(message: dict[str, Any], finish: str | None = "stop", usage: Any = None, **more: Any) -> dict[str, Any]:
    """A whole answer of one choice."""
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": finish}
    found = {
        "id": "chatcmpl-tree7",
        "object": "chat.completion",
        "created": 1790000000,
        "model": "fable-2",
        "choices": [choice],
    }
    return found | ({"usage": usage} if usage is not None else {}) | more


def chunk(delta: dict[str, Any] | None, finish: str | None = None, **more: Any) -> dict[str, Any]:
    """A chunk of one choice, or of none."""
    choices = [] if delta is None else [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}]
    return {
        "id": "chatcmpl-tree8",
        "object": "chat.completion.chunk",
        "created": 1790000001,
        "model": "fable-2",
        "choices": choices,
    } | more


def usage(prompt: Any, completion: Any, **more: Any) -> dict[str, Any]:
    """Token counts."""
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion} | more


USAGE = usage(27, 6, prompt_tokens_details={"cached_tokens": 16, "audio_tokens": 0})
START = chunk({"role": "assistant", "content": "", "refusal": None})
BIRCH = [START, chunk({"content": "The bir"}), chunk({"content": "ch"}), chunk({"content": " does."})]
ENDED = [*BIRCH, chunk({}, "stop"), chunk(None, usage=USAGE)]
TOOL_TURN = [
    user("Do I need a coat in Oulu?"),
    assistant(None, tool_calls=[WEATHER_CALL]),
    {"role": "tool", "tool_call_id": "call_k1", "content": '{"celsius": -11}'},
]

CASES: dict[str, Case] = {
    "openai chat: object": Case(
        ASK,
        answer(assistant("The plane tree.", refusal=None, annotations=[]), usage=usage(27, 5)),
        [(PROMPT, "The plane tree.")],
        (27, 5, None, None),
        finish_reason="stop",
    ),
    "openai chat: usage with cache and reasoning counters": Case(
        ASK,
        answer(
            assistant("The plane tree."),
            usage=usage(1300, 90)
            | {
                "prompt_tokens_details": {"cached_tokens": 1152},
                "completion_tokens_details": {"reasoning_tokens": 64, "accepted_prediction_tokens": 0},
            },
        ),
        [(PROMPT, "The plane tree.")],
        (1300, 90, 1152, None),
        finish_reason="stop",
    ),
    "openai chat: no token was cached": Case(
        ASK,
        answer(assistant("The plane tree."), usage=usage(27, 5, prompt_tokens_details={"cached_tokens": 0})),
        [(PROMPT, "The plane tree.")],
        (27, 5, 0, None),
        finish_reason="stop",
    ),
    "openai chat: counts are strings": Case(
        ASK,
        answer(assistant("Plane."), usage={"prompt_tokens": "27", "completion_tokens": "2", "total_tokens": "29"}),
        [(PROMPT, "Plane.")],
        (27, 2, None, None),
        finish_reason="stop",
    ),
    "openai chat: cut at max_tokens": Case(
        ASK | {"max_completion_tokens": 3},
        answer(assistant("The plane"), "length", usage(27, 3)),
        [(PROMPT, "The plane")],
        (27, 3, None, None),
        finish_reason="length",
    ),
    "openai chat: several turns": Case(
        {
            "messages": [
                {"role": "developer", "content": "Be brief."},
                user("Name a conifer."),
                assistant("Larch."),
                user("Is it evergreen?"),
            ]
        },
        answer(assistant("No, it sheds its needles.")),
        [("Is it evergreen?", "No, it sheds its needles.")],
        finish_reason="stop",
        turn=2,
    ),
    "openai chat: several text parts of the user, with a picture": Case(
        {
            "messages": [
                user(
                    [
                        {"type": "text", "text": "Here is a leaf."},
                        {"type": "image_url", "image_url": {"url": "https://img.example.com/leaf.png"}},
                        {"type": "text", "text": "Whose is it?"},
                    ]
                )
            ]
        },
        answer(assistant("A lime tree's.")),
        [("Here is a leaf.\nWhose is it?", "A lime tree's.")],
        finish_reason="stop",
    ),
    "openai chat: the user sends a picture only": Case(
        {
            "messages": [
                user("I'll send a leaf next."),
                assistant("Go ahead."),
                user([{"type": "image_url", "image_url": {"url": "https://img.example.com/leaf.png"}}]),
            ]
        },
        answer(assistant("Hazel.")),
        [(None, "Hazel.")],
        finish_reason="stop",
        turn=2,
    ),
    "openai chat: tool calls only": Case(
        {"messages": [user("Do I need a coat in Oulu?")], "tools": [{"type": "function"}]},
        answer(assistant(None, tool_calls=[WEATHER_CALL]), "tool_calls", usage(40, 17)),
        [("Do I need a coat in Oulu?", None)],
        (40, 17, None, None),
        finish_reason="tool_calls",
    ),
    "openai chat: tool calls beside a text": Case(
        {"messages": [user("Do I need a coat in Oulu?")]},
        answer(assistant("Let me check the forecast.", tool_calls=[WEATHER_CALL]), "tool_calls"),
        [("Do I need a coat in Oulu?", "Let me check the forecast.")],
        finish_reason="tool_calls",
    ),
    "openai chat: tool results last": Case(
        {"messages": TOOL_TURN},
        answer(assistant("Yes, a thick one."), usage=usage(66, 5)),
        [("Do I need a coat in Oulu?", "Yes, a thick one.")],
        (66, 5, None, None),
        finish_reason="stop",
    ),
    "openai chat: two results of parallel tools last, second turn": Case(
        {
            "messages": [
                user("Hello there"),
                assistant("Hello."),
                *TOOL_TURN,
                {"role": "tool", "tool_call_id": "call_k2", "content": "windy"},
            ]
        },
        answer(assistant("A windproof one.")),
        [("Do I need a coat in Oulu?", "A windproof one.")],
        finish_reason="stop",
        turn=2,
    ),
    "openai chat: result of an old function call last": Case(
        {
            "messages": [
                user("How old is the oak?"),
                assistant(None, function_call={"name": "rings", "arguments": "{}"}),
                {"role": "function", "name": "rings", "content": "312"},
            ]
        },
        answer(assistant("312 years.")),
        [("How old is the oak?", "312 years.")],
        finish_reason="stop",
    ),
    "openai chat: refusal beside null": Case(
        {"messages": [user("Help me poison my neighbour's oak.")]},
        answer(assistant(None, refusal="I won't help to harm a tree.")),
        [("Help me poison my neighbour's oak.", "I won't help to harm a tree.")],
        finish_reason="stop",
    ),
    "openai chat: refusal beside an empty text": Case(
        {"messages": [user("Help me poison my neighbour's oak.")]},
        answer(assistant("", refusal="I won't help to harm a tree."), usage=usage(14, 9)),
        [("Help me poison my neighbour's oak.", "I won't help to harm a tree.")],
        (14, 9, None, None),
        finish_reason="stop",
    ),
    "openai chat: refusal as a part": Case(
        {"messages": [user("Help me poison my neighbour's oak.")]},
        answer(assistant([{"type": "refusal", "refusal": "Not with this."}])),
        [("Help me poison my neighbour's oak.", "Not with this.")],
        finish_reason="stop",
    ),
    "openai chat: an empty answer": Case(ASK, answer(assistant("")), [(PROMPT, "")], finish_reason="stop"),
    "openai chat: filtered, nothing said": Case(
        ASK,
        answer({"role": "assistant"}, "content_filter", {"prompt_tokens": 27, "total_tokens": 27}),
        [(PROMPT, None)],
        (27, None, None, None),
        finish_reason="content_filter",
    ),
    "openai chat: reasoning beside the answer": Case(
        ASK,
        answer(assistant("The plane tree.", reasoning="Bark that flakes: plane, birch.", reasoning_details=[])),
        [(PROMPT, "The plane tree.")],
        finish_reason="stop",
    ),
    "openai chat: reasoning as parts before the answer": Case(
        ASK,
        answer(
            assistant(
                [
                    {"type": "reasoning", "summary": [{"type": "summary_text", "text": "Bark that flakes."}]},
                    {"type": "text", "text": "The plane "},
                    {"type": "text", "text": "tree."},
                ]
            )
        ),
        [(PROMPT, "The plane tree.")],
        finish_reason="stop",
    ),
    "openai chat: Mistral's thinking part before the answer": Case(
        ASK,
        answer(
            assistant(
                [
                    {"type": "thinking", "thinking": [{"type": "text", "text": "Bark that flakes."}]},
                    {"type": "text", "text": "The plane tree."},
                ]
            )
        ),
        [(PROMPT, "The plane tree.")],
        finish_reason="stop",
    ),
    "openai chat: several choices, the first one last": Case(
        ASK | {"n": 2},
        {
            "object": "chat.completion",
            "choices": [
                {"index": 1, "message": assistant("Birch."), "finish_reason": "length"},
                {"index": 0, "message": assistant("Plane."), "finish_reason": "stop"},
            ],
        },
        [(PROMPT, "Plane.")],
        finish_reason="stop",
    ),
    "openai chat: an answer that is a JSON text stays as it is": Case(
        ASK | {"response_format": {"type": "json_object"}},
        answer(assistant('{"choices": ["plane", "birch"]}')),
        [(PROMPT, '{"choices": ["plane", "birch"]}')],
        finish_reason="stop",
    ),
    "openai chat: list of chunks": Case(
        STREAM, ENDED, [(PROMPT, "The birch does.")], (27, 6, 16, None), finish_reason="stop"
    ),
    "openai chat: event stream": Case(
        STREAM, sse(ENDED, done=True), [(PROMPT, "The birch does.")], (27, 6, 16, None), finish_reason="stop"
    ),
    "openai chat: event stream without spaces and with CRLF": Case(
        STREAM,
        sse(ENDED, done=True, space=False, end="\r\n"),
        [(PROMPT, "The birch does.")],
        (27, 6, 16, None),
        finish_reason="stop",
    ),
    "openai chat: usage in the chunk that ends the stream": Case(
        STREAM,
        sse([*BIRCH, chunk({}, "stop", usage=usage(27, 6))]),
        [(PROMPT, "The birch does.")],
        (27, 6, None, None),
        finish_reason="stop",
    ),
    "openai chat: null usage in all chunks but the last": Case(
        STREAM,
        [event | {"usage": None} for event in ENDED[:-1]] + ENDED[-1:],
        [(PROMPT, "The birch does.")],
        (27, 6, 16, None),
        finish_reason="stop",
    ),
    "openai chat: stream whose end is missing": Case(STREAM, sse(BIRCH[:3]), [(PROMPT, "The birch")]),
    "openai chat: list of chunks whose end is missing": Case(STREAM, BIRCH[:3], [(PROMPT, "The birch")]),
    "openai chat: stream cut in its last frame": Case(STREAM, cut(sse(BIRCH)), [(PROMPT, "The birch")]),
    "openai chat: stream cut in the frame of its usage": Case(
        STREAM, cut(sse(ENDED), 25), [(PROMPT, "The birch does.")], finish_reason="stop"
    ),
    "openai chat: stream cut right after data": Case(STREAM, sse(BIRCH) + "data: {", [(PROMPT, "The birch does.")]),
    "openai chat: broken frame within a stream": Case(
        STREAM,
        sse(BIRCH[:2]) + 'data: {"id": "chatcmpl-tree8", "cho\n\n' + sse(BIRCH[2:]),
        reason="invalid_response_json",
    ),
    "openai chat: stream with an error event": Case(
        STREAM,
        sse([*BIRCH[:3], {"error": {"message": "The upstream went away", "type": "server_error", "code": None}}]),
        [(PROMPT, "The birch")],
        error=True,
    ),
    "openai chat: stream ends with finish_reason error": Case(
        STREAM,
        sse([*BIRCH[:3], chunk({}, "error")], done=True),
        [(PROMPT, "The birch")],
        error=True,
        finish_reason="error",
    ),
    "openai chat: streamed tool calls only": Case(
        STREAM,
        sse(
            [
                chunk({"role": "assistant", "content": None, "tool_calls": [{"index": 0, **WEATHER_CALL}]}),
                chunk({"tool_calls": [{"index": 0, "function": {"arguments": "{}"}}]}),
                chunk({}, "tool_calls"),
                chunk(None, usage=usage(40, 17)),
            ],
            done=True,
        ),
        [(PROMPT, None)],
        (40, 17, None, None),
        finish_reason="tool_calls",
    ),
    "openai chat: streamed refusal": Case(
        STREAM,
        [
            chunk({"role": "assistant", "content": None, "refusal": ""}),
            chunk({"refusal": "I won't "}),
            chunk({"refusal": "do that."}),
            chunk({}, "stop"),
        ],
        [(PROMPT, "I won't do that.")],
        finish_reason="stop",
    ),
    "openai chat: streamed reasoning before the answer": Case(
        STREAM,
        sse(
            [
                chunk({"role": "assistant", "content": None, "reasoning_content": "Bark that "}),
                chunk({"content": None, "reasoning_content": "flakes."}),
                chunk({"content": "The plane ", "reasoning_content": None}),
                chunk({"content": "tree."}),
                chunk({}, "stop"),
            ],
            done=True,
        ),
        [(PROMPT, "The plane tree.")],
        finish_reason="stop",
    ),
    "openai chat: streamed filter, nothing said": Case(
        STREAM,
        sse(
            [
                chunk(None, prompt_filter_results=[{"prompt_index": 0, "content_filter_results": {}}]),
                chunk({}, "content_filter"),
            ],
            done=True,
        ),
        [(PROMPT, None)],
        finish_reason="content_filter",
    ),
    "openai chat: streamed choices take turns": Case(
        STREAM | {"n": 2},
        [
            {"object": "chat.completion.chunk", "choices": [{"index": index, "delta": {"content": text}}]}
            for index, text in ((1, "Bir"), (0, "Pla"), (1, "ch"), (0, "ne"))
        ],
        [(PROMPT, "Plane")],
    ),
    "openai chat: an error object in place of the answer": Case(
        ASK,
        {"error": {"message": "The engine is down", "type": "server_error", "param": None, "code": "engine_down"}},
        [(PROMPT, None)],
        error=True,
    ),
    "openai chat: status 429": Case(
        ASK,
        {"error": {"message": "Slow down", "type": "requests", "param": None, "code": "rate_limit_exceeded"}},
        [(PROMPT, None)],
        error=True,
        status=429,
    ),
    "openai chat: status 500 and no JSON": Case(ASK, "<html>Bad gateway</html>", [(PROMPT, None)], status=500),
    "openai chat: status 400, and a request that is no JSON": Case(
        '{"messages": [{"role": "user", "content": ',
        {"error": {"message": "Could not parse the body", "type": "invalid_request_error", "code": None}},
        [(None, None)],
        error=True,
        status=400,
        turn=None,
    ),
}
