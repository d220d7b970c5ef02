"""Gemini's generateContent and streamGenerateContent."""

from __future__ import annotations

from typing import Any

from tests.metrics.unpack.cases import Case, cut, sse, twice

PROMPT = "Which cheese squeaks?"


def said(*parts: Any, role: str | None = "user") -> dict[str, Any]:
    """A content of texts and other parts."""
    found: dict[str, Any] = {"parts": [{"text": part} if isinstance(part, str) else part for part in parts]}
    return found | ({} if role is None else {"role": role})


def counts(prompt: int, candidates: int | None = None, thoughts: int | None = None, **more: Any) -> dict[str, Any]:
    """Token counts with their total."""
    found = {"promptTokenCount": prompt, "candidatesTokenCount": candidates, "thoughtsTokenCount": thoughts}
    found["totalTokenCount"] = prompt + (candidates or 0) + (thoughts or 0)
    return {key: value for key, value in found.items() if value is not None} | more


def answer(*parts: Any, finish: str | None = "STOP", usage: dict[str, Any] | None = None) -> dict[str, Any]:
    """An answer, or a chunk of one."""
    candidate: dict[str, Any] = {"index": 0}
    candidate |= {"content": said(*parts, role="model")} if parts else {}
    candidate |= {"finishReason": finish} if finish else {}
    found: dict[str, Any] = {"candidates": [candidate], "modelVersion": "gem-9", "responseId": "r9"}
    return found | ({} if usage is None else {"usageMetadata": usage})


CALL = {"functionCall": {"name": "pantry", "args": {"item": "halloumi"}}}
RESULT = {"functionResponse": {"name": "pantry", "response": {"left": 3}}}
ASK = {
    "systemInstruction": {"parts": [{"text": "You sell cheese."}]},
    "contents": [said(PROMPT)],
    "generationConfig": {"temperature": 0.2},
    "safetySettings": [],
}
HALF = [
    answer("Hallo", finish=None, usage=counts(11)),
    answer("umi, if ", finish=None, usage=counts(11, 4)),
    answer("fresh.", finish=None, usage=counts(11, 6)),
]
WHOLE = [*HALF, answer("", usage=counts(11, 7))]

CASES: dict[str, Case] = {
    "gemini: object": Case(
        ASK,
        answer("Halloumi.", usage=counts(11, 4)),
        [(PROMPT, "Halloumi.")],
        (11, 4, None, None),
        finish_reason="STOP",
    ),
    "gemini: without roles": Case(
        {"contents": [said(PROMPT, role=None)]},
        {"candidates": [{"content": said("Halloumi.", role=None), "finishReason": "STOP"}]},
        [(PROMPT, "Halloumi.")],
        finish_reason="STOP",
    ),
    "gemini: parts of the user and parts of the answer": Case(
        {"contents": [said("I bite.", {"inlineData": {"mimeType": "image/png", "data": "Y2hl"}}, "Why the squeak?")]},
        answer("Its pro", "teins rub."),
        [("I bite.\nWhy the squeak?", "Its proteins rub.")],
        finish_reason="STOP",
    ),
    "gemini: several turns": Case(
        {"contents": [said("Hello"), said("Hello, what may it be?", role="model"), said("Something mild.")]},
        answer("A young Gouda."),
        [("Something mild.", "A young Gouda.")],
        finish_reason="STOP",
        turn=2,
    ),
    "gemini: the user sends a picture only": Case(
        {"contents": [said({"fileData": {"mimeType": "image/png", "fileUri": "https://files.example.com/f1"}})]},
        answer("That is Brie."),
        [(None, "That is Brie.")],
        finish_reason="STOP",
    ),
    "gemini: function call only": Case(
        ASK,
        answer(CALL, usage=counts(52, 12)),
        [(PROMPT, None)],
        (52, 12, None, None),
        finish_reason="STOP",
    ),
    "gemini: a text before the function call": Case(
        ASK, answer("I'll look.", CALL), [(PROMPT, "I'll look.")], finish_reason="STOP"
    ),
    "gemini: function response last": Case(
        {"contents": [said("Any halloumi left?"), said(CALL, role="model"), said(RESULT)]},
        answer("Three pieces."),
        [("Any halloumi left?", "Three pieces.")],
        finish_reason="STOP",
    ),
    "gemini: function response last, in the role function, second turn": Case(
        {
            "contents": [
                said("Hello"),
                said("Hello.", role="model"),
                said("Any halloumi left?"),
                said(CALL, role="model"),
                said(RESULT, RESULT, role="function"),
            ]
        },
        answer("Three pieces."),
        [("Any halloumi left?", "Three pieces.")],
        finish_reason="STOP",
        turn=2,
    ),
    "gemini: thoughts beside the answer": Case(
        ASK,
        answer({"text": "Squeaking means protein.", "thought": True}, "Halloumi.", usage=counts(11, 4, 80)),
        [(PROMPT, "Halloumi.")],
        (11, 84, None, None),
        finish_reason="STOP",
    ),
    "gemini: thoughts are in the candidates' count already": Case(
        ASK,
        answer(
            "Halloumi.",
            usage={"promptTokenCount": 11, "candidatesTokenCount": 84, "thoughtsTokenCount": 80, "totalTokenCount": 95},
        ),
        [(PROMPT, "Halloumi.")],
        (11, 84, None, None),
        finish_reason="STOP",
    ),
    "gemini: usage with cached content": Case(
        ASK,
        answer("Halloumi.", usage=counts(4200, 4, cachedContentTokenCount=4096)),
        [(PROMPT, "Halloumi.")],
        (4200, 4, 4096, None),
        finish_reason="STOP",
    ),
    "gemini: cut at maxOutputTokens": Case(
        ASK,
        answer("Hallo", finish="MAX_TOKENS", usage=counts(11, 2)),
        [(PROMPT, "Hallo")],
        (11, 2, None, None),
        finish_reason="MAX_TOKENS",
    ),
    "gemini: blocked prompt": Case(
        ASK,
        {"promptFeedback": {"blockReason": "PROHIBITED_CONTENT", "safetyRatings": []}, "usageMetadata": counts(11)},
        [(PROMPT, None)],
        (11, None, None, None),
        finish_reason="PROHIBITED_CONTENT",
    ),
    "gemini: blocked prompt beside empty candidates": Case(
        ASK,
        {"candidates": [], "promptFeedback": {"blockReason": "SAFETY"}},
        [(PROMPT, None)],
        finish_reason="SAFETY",
    ),
    "gemini: answer held back": Case(
        ASK,
        answer(finish="RECITATION", usage=counts(11)),
        [(PROMPT, None)],
        (11, None, None, None),
        finish_reason="RECITATION",
    ),
    "gemini: half an answer, then held back": Case(
        ASK, answer("Hallou", finish="SAFETY"), [(PROMPT, "Hallou")], finish_reason="SAFETY"
    ),
    "gemini: several candidates, the first one last": Case(
        ASK,
        {
            "candidates": [
                {"index": 1, "content": said("Curds.", role="model"), "finishReason": "MAX_TOKENS"},
                {"index": 0, "content": said("Halloumi.", role="model"), "finishReason": "STOP"},
            ]
        },
        [(PROMPT, "Halloumi.")],
        finish_reason="STOP",
    ),
    "gemini: code that was run beside the answer": Case(
        ASK,
        answer(
            {"executableCode": {"language": "PYTHON", "code": "print(3)"}},
            {"codeExecutionResult": {"outcome": "OUTCOME_OK", "output": "3\n"}},
            "Three.",
        ),
        [(PROMPT, "Three.")],
        finish_reason="STOP",
    ),
    "gemini: list of chunks": Case(
        ASK, WHOLE, [(PROMPT, "Halloumi, if fresh.")], (11, 7, None, None), finish_reason="STOP"
    ),
    "gemini: event stream": Case(
        ASK, sse(WHOLE), [(PROMPT, "Halloumi, if fresh.")], (11, 7, None, None), finish_reason="STOP"
    ),
    "gemini: event stream with CRLF": Case(
        ASK, sse(WHOLE, end="\r\n"), [(PROMPT, "Halloumi, if fresh.")], (11, 7, None, None), finish_reason="STOP"
    ),
    "gemini: event stream with thoughts": Case(
        ASK,
        sse(
            [
                answer({"text": "It is about ", "thought": True}, finish=None, usage=counts(11, thoughts=5)),
                answer({"text": "protein.", "thought": True}, finish=None, usage=counts(11, thoughts=9)),
                answer("Hallo", finish=None, usage=counts(11, 2, 9)),
                answer("umi.", usage=counts(11, 4, 9)),
            ]
        ),
        [(PROMPT, "Halloumi.")],
        (11, 13, None, None),
        finish_reason="STOP",
    ),
    "gemini: event stream of function calls only": Case(
        ASK,
        sse([answer(CALL, finish=None), answer(CALL, usage=counts(52, 24))]),
        [(PROMPT, None)],
        (52, 24, None, None),
        finish_reason="STOP",
    ),
    "gemini: event stream, blocked prompt": Case(
        ASK,
        sse([{"promptFeedback": {"blockReason": "SAFETY"}, "usageMetadata": counts(11)}]),
        [(PROMPT, None)],
        (11, None, None, None),
        finish_reason="SAFETY",
    ),
    "gemini: event stream, held back on the way": Case(
        ASK,
        sse([*HALF[:2], answer(finish="SAFETY")]),
        [(PROMPT, "Halloumi, if ")],
        (11, 4, None, None),
        finish_reason="SAFETY",
    ),
    "gemini: stream whose end is missing": Case(ASK, sse(HALF), [(PROMPT, "Halloumi, if fresh.")], (11, 6, None, None)),
    "gemini: list of chunks whose end is missing": Case(
        ASK, HALF[:2], [(PROMPT, "Halloumi, if ")], (11, 4, None, None)
    ),
    "gemini: stream cut in its last frame": Case(ASK, cut(sse(HALF)), [(PROMPT, "Halloumi, if ")], (11, 4, None, None)),
    "gemini: broken frame within a stream": Case(
        ASK, sse(HALF[:1]) + 'data: {"candidates": [{"con\n\n' + sse(HALF[2:]), reason="invalid_response_json"
    ),
    "gemini: stream with an error event": Case(
        ASK,
        sse([*HALF[:2], {"error": {"code": 503, "message": "Try later", "status": "UNAVAILABLE"}}]),
        [(PROMPT, "Halloumi, if ")],
        (11, 4, None, None),
        error=True,
    ),
    "gemini: list of chunks with an error": Case(
        ASK,
        [HALF[0], {"error": {"code": 500, "message": "It broke", "status": "INTERNAL"}}],
        [(PROMPT, "Hallo")],
        (11, None, None, None),
        error=True,
    ),
    "gemini: an error in place of the answer": Case(
        ASK, {"error": {"code": 500, "message": "It broke", "status": "INTERNAL"}}, [(PROMPT, None)], error=True
    ),
    "gemini: status 429": Case(
        ASK,
        {"error": {"code": 429, "message": "Quota", "status": "RESOURCE_EXHAUSTED"}},
        [(PROMPT, None)],
        error=True,
        status=429,
    ),
    "gemini: answer JSON encoded twice": Case(
        ASK, twice(answer("Halloumi.")), [(PROMPT, "Halloumi.")], finish_reason="STOP"
    ),
}
