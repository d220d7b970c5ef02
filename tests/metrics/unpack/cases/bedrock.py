"""Bedrock's Converse and ConverseStream."""

from __future__ import annotations

from typing import Any

from tests.metrics.unpack.cases import Case, cut, lines, sse

PROMPT = "Which knot holds a hammock?"
ANSWER = "A bowline will."


def turn(*parts: Any, role: str = "user") -> dict[str, Any]:
    """A message; texts are text blocks."""
    return {"role": role, "content": [{"text": part} if isinstance(part, str) else part for part in parts]}


def usage(fresh: int, output: int, total: int | None = None, **more: int) -> dict[str, int]:
    """Token counts; the total counts the cache in where it is not given."""
    return {
        "inputTokens": fresh,
        "outputTokens": output,
        "totalTokens": total or fresh + output + sum(more.values()),
    } | more


def answer(*parts: Any, stop: str = "end_turn", usage: dict[str, int] | None = None) -> dict[str, Any]:
    """A whole answer."""
    found = {"output": {"message": turn(*parts, role="assistant")}, "stopReason": stop, "metrics": {"latencyMs": 640}}
    return found | ({} if usage is None else {"usage": usage})


def delta(value: dict[str, Any] | str, index: int = 0) -> dict[str, Any]:
    """A piece of a block."""
    piece = {"text": value} if isinstance(value, str) else value
    return {"contentBlockDelta": {"contentBlockIndex": index, "delta": piece}}


def stop(index: int = 0) -> dict[str, Any]:
    """The end of a block."""
    return {"contentBlockStop": {"contentBlockIndex": index}}


def end(reason: str, counts: dict[str, int]) -> list[dict[str, Any]]:
    """The end of a stream."""
    return [{"messageStop": {"stopReason": reason}}, {"metadata": {"usage": counts, "metrics": {"latencyMs": 700}}}]


CALL = {"toolUse": {"toolUseId": "tooluse_b1", "name": "knots", "input": {"load": "hammock"}}}
RESULT = {"toolResult": {"toolUseId": "tooluse_b1", "content": [{"json": {"knot": "bowline"}}], "status": "success"}}
ASK = {"system": [{"text": "You sail."}], "messages": [turn(PROMPT)], "inferenceConfig": {"maxTokens": 200}}
START = {"messageStart": {"role": "assistant"}}
HALF = [START, delta("A bow"), delta("line ")]
WHOLE = [*HALF, delta("will."), stop(), *end("end_turn", usage(16, 6))]
THINKING = [
    delta({"reasoningContent": {"text": "Loops that "}}),
    delta({"reasoningContent": {"text": "hold."}}),
    delta({"reasoningContent": {"signature": "a25vdA=="}}),
    stop(),
]
CALLING = [
    START,
    {"contentBlockStart": {"contentBlockIndex": 0, "start": {"toolUse": {"toolUseId": "tooluse_b1", "name": "knots"}}}},
    delta({"toolUse": {"input": '{"load": "ham'}}),
    delta({"toolUse": {"input": 'mock"}'}}),
    stop(),
    *end("tool_use", usage(90, 19)),
]

CASES: dict[str, Case] = {
    "bedrock: object": Case(
        ASK, answer(ANSWER, usage=usage(16, 6)), [(PROMPT, ANSWER)], (16, 6, None, None), finish_reason="end_turn"
    ),
    "bedrock: blocks of the user and blocks of the answer": Case(
        {"messages": [turn("It is wet.", {"image": {"format": "png", "source": {"bytes": "a25vdA=="}}}, PROMPT)]},
        answer("A bow", "line will."),
        [(f"It is wet.\n{PROMPT}", ANSWER)],
        finish_reason="end_turn",
    ),
    "bedrock: several turns": Case(
        {"messages": [turn("Hello"), turn("Ahoy.", role="assistant"), turn(PROMPT)]},
        answer(ANSWER),
        [(PROMPT, ANSWER)],
        finish_reason="end_turn",
        turn=2,
    ),
    "bedrock: the user sends a picture only": Case(
        {"messages": [turn({"image": {"format": "png", "source": {"bytes": "a25vdA=="}}})]},
        answer("A reef knot."),
        [(None, "A reef knot.")],
        finish_reason="end_turn",
    ),
    "bedrock: reasoning beside the answer": Case(
        ASK,
        answer({"reasoningContent": {"reasoningText": {"text": "Loops hold.", "signature": "a25vdA=="}}}, ANSWER),
        [(PROMPT, ANSWER)],
        finish_reason="end_turn",
    ),
    "bedrock: tool use only": Case(
        ASK,
        answer(CALL, stop="tool_use", usage=usage(90, 19)),
        [(PROMPT, None)],
        (90, 19, None, None),
        finish_reason="tool_use",
    ),
    "bedrock: tool result last": Case(
        {"messages": [turn(PROMPT), turn("I'll look.", CALL, role="assistant"), turn(RESULT)]},
        answer(ANSWER),
        [(PROMPT, ANSWER)],
        finish_reason="end_turn",
    ),
    "bedrock: stopped by a guardrail": Case(
        ASK,
        answer("I can't talk about that.", stop="guardrail_intervened"),
        [(PROMPT, "I can't talk about that.")],
        finish_reason="guardrail_intervened",
    ),
    "bedrock: filtered with nothing": Case(
        ASK, answer(stop="content_filtered"), [(PROMPT, None)], finish_reason="content_filtered"
    ),
    "bedrock: cache counters beside the input": Case(
        ASK,
        answer(ANSWER, usage=usage(16, 6, cacheReadInputTokens=1500, cacheWriteInputTokens=80)),
        [(PROMPT, ANSWER)],
        (1596, 6, 1500, 80),
        finish_reason="end_turn",
    ),
    "bedrock: cache counters within the input": Case(
        ASK,
        answer(ANSWER, usage=usage(1596, 6, 1602, cacheReadInputTokens=1500, cacheWriteInputTokens=80)),
        [(PROMPT, ANSWER)],
        (1596, 6, 1500, 80),
        finish_reason="end_turn",
    ),
    "bedrock: cache counters of zero": Case(
        ASK,
        answer(ANSWER, usage=usage(16, 6, cacheReadInputTokens=0, cacheWriteInputTokens=0)),
        [(PROMPT, ANSWER)],
        (16, 6, 0, 0),
        finish_reason="end_turn",
    ),
    "bedrock: list of events": Case(ASK, WHOLE, [(PROMPT, ANSWER)], (16, 6, None, None), finish_reason="end_turn"),
    "bedrock: event stream": Case(ASK, sse(WHOLE), [(PROMPT, ANSWER)], (16, 6, None, None), finish_reason="end_turn"),
    "bedrock: JSON lines": Case(ASK, lines(WHOLE), [(PROMPT, ANSWER)], (16, 6, None, None), finish_reason="end_turn"),
    "bedrock: stream with reasoning": Case(
        ASK,
        lines([START, *THINKING, delta(ANSWER, 1), stop(1), *end("end_turn", usage(16, 30))]),
        [(PROMPT, ANSWER)],
        (16, 30, None, None),
        finish_reason="end_turn",
    ),
    "bedrock: stream of tool use only": Case(
        ASK, CALLING, [(PROMPT, None)], (90, 19, None, None), finish_reason="tool_use"
    ),
    "bedrock: stream with cache counters": Case(
        ASK,
        sse([*WHOLE[:-2], *end("end_turn", usage(16, 6, cacheReadInputTokens=200, cacheWriteInputTokens=0))]),
        [(PROMPT, ANSWER)],
        (216, 6, 200, 0),
        finish_reason="end_turn",
    ),
    "bedrock: stream whose end is missing": Case(ASK, lines(HALF), [(PROMPT, "A bowline ")]),
    "bedrock: event stream cut in its last frame": Case(ASK, cut(sse(HALF)), [(PROMPT, "A bow")]),
    "bedrock: JSON lines cut in the last one": Case(ASK, cut(lines(HALF)), [(PROMPT, "A bow")]),
    "bedrock: JSON lines cut in the usage": Case(ASK, cut(lines(WHOLE)), [(PROMPT, ANSWER)], finish_reason="end_turn"),
    "bedrock: broken line within a stream": Case(
        ASK, lines(HALF[:2]) + '{"contentBlockDelta": {"cont\n' + lines(WHOLE[3:]), reason="invalid_response_json"
    ),
    "bedrock: stream with an exception": Case(
        ASK,
        lines([*HALF, {"modelStreamErrorException": {"message": "The model stopped", "originalStatusCode": 500}}]),
        [(PROMPT, "A bowline ")],
        error=True,
    ),
    "bedrock: event stream with a throttling exception": Case(
        ASK, sse([*HALF, {"throttlingException": {"message": "Slow down"}}]), [(PROMPT, "A bowline ")], error=True
    ),
}
