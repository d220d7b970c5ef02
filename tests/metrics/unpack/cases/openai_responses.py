"""OpenAI's Responses."""

from __future__ import annotations

from typing import Any

from tests.metrics.unpack.cases import Case, cut, sse, system, user

PROMPT = "What rhymes with orange?"
ASK = {"model": "quill-5", "input": PROMPT, "instructions": "You are a poet.", "store": False}
STREAM = ASK | {"stream": True}
USAGE = {
    "input_tokens": 18,
    "input_tokens_details": {"cached_tokens": 0},
    "output_tokens": 7,
    "output_tokens_details": {"reasoning_tokens": 0},
    "total_tokens": 25,
}


def item(*parts: Any, name: str = "msg_p1", status: str = "completed") -> dict[str, Any]:
    """A message item; texts are parts of output_text."""
    content = [
        {"type": "output_text", "text": part, "annotations": [], "logprobs": []} if isinstance(part, str) else part
        for part in parts
    ]
    return {"id": name, "type": "message", "status": status, "role": "assistant", "content": content}


def answer(*items: dict[str, Any], status: str = "completed", usage: Any = None, **more: Any) -> dict[str, Any]:
    """A response, whole or on its way."""
    return {
        "id": "resp_p1",
        "object": "response",
        "created_at": 1790000200,
        "status": status,
        "error": None,
        "incomplete_details": None,
        "model": "quill-5",
        "output": list(items),
        "usage": usage,
    } | more


REFUSAL = {"type": "refusal", "refusal": "I'd rather not."}
REASONING = {"id": "rs_p1", "type": "reasoning", "summary": [{"type": "summary_text", "text": "Nothing does."}]}
CALL = {
    "id": "fc_p1",
    "type": "function_call",
    "call_id": "call_p1",
    "name": "rhymes",
    "arguments": '{"word": "orange"}',
}
OUTPUT = {"type": "function_call_output", "call_id": "call_p1", "output": "[]"}
AT = {"item_id": "msg_p1", "output_index": 0, "content_index": 0}


def event(kind: str, **more: Any) -> dict[str, Any]:
    """An event of a stream."""
    return {"type": f"response.{kind}", **more}


def delta(text: str) -> dict[str, Any]:
    """A piece of the text."""
    return event("output_text.delta", **AT, delta=text)


OPEN = [
    event("created", response=answer(status="in_progress")),
    event("in_progress", response=answer(status="in_progress")),
    event("output_item.added", output_index=0, item=item(status="in_progress")),
    event("content_part.added", **AT, part={"type": "output_text", "text": "", "annotations": []}),
]
SAYING = [*OPEN, delta("Nothing, "), delta("I fear.")]
SAID = [
    *SAYING,
    event("output_text.done", **AT, text="Nothing, I fear."),
    event("content_part.done", **AT, part={"type": "output_text", "text": "Nothing, I fear.", "annotations": []}),
    event("output_item.done", output_index=0, item=item("Nothing, I fear.")),
]
WHOLE = [*SAID, event("completed", response=answer(item("Nothing, I fear."), usage=USAGE))]
FAILED = answer(status="failed", error={"code": "server_error", "message": "It broke"})
CUT_SHORT: dict[str, Any] = {"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}}

CASES: dict[str, Case] = {
    "responses: object": Case(
        ASK, answer(item("Nothing."), usage=USAGE), [(PROMPT, "Nothing.")], (18, 7, 0, None), finish_reason="completed"
    ),
    "responses: usage with cache and reasoning counters": Case(
        ASK,
        answer(
            REASONING,
            item("Nothing."),
            usage=USAGE
            | {
                "input_tokens": 2000,
                "input_tokens_details": {"cached_tokens": 1920},
                "output_tokens": 300,
                "output_tokens_details": {"reasoning_tokens": 256},
            },
        ),
        [(PROMPT, "Nothing.")],
        (2000, 300, 1920, None),
        finish_reason="completed",
    ),
    "responses: items as input": Case(
        {
            "input": [
                {"role": "developer", "content": "Rhyme."},
                user([{"type": "input_text", "text": "Here:"}, {"type": "input_text", "text": "orange"}]),
            ]
        },
        answer(item("Door ", "hinge.")),
        [("Here:\norange", "Door hinge.")],
        finish_reason="completed",
    ),
    "responses: the user sends a picture only": Case(
        {"input": [user([{"type": "input_image", "image_url": "https://img.example.com/orange.png"}])]},
        answer(item("A fruit.")),
        [(None, "A fruit.")],
        finish_reason="completed",
    ),
    "responses: several turns": Case(
        {"input": [system("Rhyme."), user("cat"), item("hat"), user("And dog?")]},
        answer(item("Fog.")),
        [("And dog?", "Fog.")],
        finish_reason="completed",
        turn=2,
    ),
    "responses: reasoning beside the answer": Case(
        ASK, answer(REASONING, item("Nothing.")), [(PROMPT, "Nothing.")], finish_reason="completed"
    ),
    "responses: function call only": Case(
        ASK, answer(REASONING, CALL, usage=USAGE), [(PROMPT, None)], (18, 7, 0, None), finish_reason="completed"
    ),
    "responses: function output last": Case(
        {"input": [user(PROMPT), REASONING, CALL, OUTPUT]},
        answer(item("Nothing.")),
        [(PROMPT, "Nothing.")],
        finish_reason="completed",
    ),
    "responses: function output last, second turn": Case(
        {"input": [user("Hi."), item("Hi."), user(PROMPT), CALL, OUTPUT]},
        answer(item("Nothing.")),
        [(PROMPT, "Nothing.")],
        finish_reason="completed",
        turn=2,
    ),
    "responses: a search beside two messages": Case(
        ASK,
        answer(
            item("I'll look.", name="msg_p0"),
            {"id": "ws_p1", "type": "web_search_call", "status": "completed"},
            item("Nothing."),
        ),
        [(PROMPT, "Nothing.")],
        finish_reason="completed",
    ),
    "responses: refusal": Case(ASK, answer(item(REFUSAL)), [(PROMPT, "I'd rather not.")], finish_reason="completed"),
    "responses: cut at max_output_tokens": Case(
        ASK,
        answer(item("Noth", status="incomplete"), usage=USAGE, **CUT_SHORT),
        [(PROMPT, "Noth")],
        (18, 7, 0, None),
        finish_reason="max_output_tokens",
    ),
    "responses: filtered with nothing": Case(
        ASK,
        answer(status="incomplete", incomplete_details={"reason": "content_filter"}),
        [(PROMPT, None)],
        finish_reason="content_filter",
    ),
    "responses: failed": Case(ASK, FAILED, [(PROMPT, None)], error=True, finish_reason="failed"),
    "responses: failed without a word why": Case(
        ASK, answer(status="failed"), [(PROMPT, None)], error=True, finish_reason="failed"
    ),
    "responses: list of events": Case(
        STREAM, WHOLE, [(PROMPT, "Nothing, I fear.")], (18, 7, 0, None), finish_reason="completed"
    ),
    "responses: event stream": Case(
        STREAM,
        sse(WHOLE, event="type"),
        [(PROMPT, "Nothing, I fear.")],
        (18, 7, 0, None),
        finish_reason="completed",
    ),
    "responses: event stream with reasoning": Case(
        STREAM,
        sse(
            [
                OPEN[0],
                event("reasoning_summary_text.delta", item_id="rs_p1", summary_index=0, delta="Nothing does."),
                event("reasoning_text.delta", item_id="rs_p1", content_index=0, delta="Sporange?"),
                event("output_item.done", output_index=0, item=REASONING),
                delta("Nothing."),
                event("output_item.done", output_index=1, item=item("Nothing.")),
                event("completed", response=answer(REASONING, item("Nothing."), usage=USAGE)),
            ],
            event="type",
        ),
        [(PROMPT, "Nothing.")],
        (18, 7, 0, None),
        finish_reason="completed",
    ),
    "responses: event stream of a function call only": Case(
        STREAM,
        sse(
            [
                OPEN[0],
                event("output_item.added", output_index=0, item=CALL | {"arguments": ""}),
                event("function_call_arguments.delta", item_id="fc_p1", output_index=0, delta='{"word": '),
                event("function_call_arguments.done", item_id="fc_p1", output_index=0, arguments=CALL["arguments"]),
                event("output_item.done", output_index=0, item=CALL),
                event("completed", response=answer(CALL, usage=USAGE)),
            ],
            event="type",
        ),
        [(PROMPT, None)],
        (18, 7, 0, None),
        finish_reason="completed",
    ),
    "responses: event stream, refused": Case(
        STREAM,
        sse(
            [
                OPEN[0],
                event("refusal.delta", **AT, delta="I'd "),
                event("refusal.delta", **AT, delta="rather not."),
                event("refusal.done", **AT, refusal="I'd rather not."),
            ],
            event="type",
        ),
        [(PROMPT, "I'd rather not.")],
        finish_reason=None,
    ),
    "responses: event stream, refused to its end": Case(
        STREAM,
        [
            OPEN[0],
            event("refusal.delta", **AT, delta="I'd rather not."),
            event("completed", response=answer(item(REFUSAL))),
        ],
        [(PROMPT, "I'd rather not.")],
        finish_reason="completed",
    ),
    "responses: event stream, cut at max_output_tokens": Case(
        STREAM,
        sse(
            [*SAYING[:5], event("incomplete", response=answer(item("Nothing, "), usage=USAGE, **CUT_SHORT))],
            event="type",
        ),
        [(PROMPT, "Nothing, ")],
        (18, 7, 0, None),
        finish_reason="max_output_tokens",
    ),
    "responses: stream whose end is missing": Case(
        STREAM, sse(SAYING, event="type"), [(PROMPT, "Nothing, I fear.")], finish_reason=None
    ),
    "responses: list of events whose end is missing": Case(
        STREAM, SAYING[:5], [(PROMPT, "Nothing, ")], finish_reason=None
    ),
    "responses: stream cut in its last frame": Case(
        STREAM, cut(sse(SAYING, event="type")), [(PROMPT, "Nothing, ")], finish_reason=None
    ),
    "responses: stream cut in response.completed": Case(
        STREAM, cut(sse(WHOLE, event="type"), 60), [(PROMPT, "Nothing, I fear.")], finish_reason=None
    ),
    "responses: broken frame within a stream": Case(
        STREAM,
        sse(SAYING[:5], event="type") + 'event: response.output_text.delta\ndata: {"type": "resp\n\n' + sse(WHOLE[-1:]),
        reason="invalid_response_json",
    ),
    "responses: stream with an error event": Case(
        STREAM,
        sse(
            [*SAYING[:5], {"type": "error", "code": "server_error", "message": "It broke", "param": None}], event="type"
        ),
        [(PROMPT, "Nothing, ")],
        error=True,
        finish_reason=None,
    ),
    "responses: stream that ends in response.failed": Case(
        STREAM,
        sse([*SAYING[:5], event("failed", response=FAILED)], event="type"),
        [(PROMPT, "Nothing, ")],
        error=True,
        finish_reason="failed",
    ),
    "responses: status 400": Case(
        ASK,
        {"error": {"message": "No such model", "type": "invalid_request_error", "param": "model", "code": "no_model"}},
        [(PROMPT, None)],
        error=True,
        status=400,
    ),
}
