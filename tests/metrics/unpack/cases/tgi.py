"""Text Generation Inference: generate and generate_stream."""

from __future__ import annotations

from typing import Any

from tests.metrics.unpack.cases import Case, cut, sse, twice

PROMPT = "A kettle is"
ANSWER = " for tea."
ASK = {"inputs": PROMPT, "parameters": {"max_new_tokens": 8, "details": True}}
STREAM = ASK | {"stream": True}
DETAILS = {"finish_reason": "eos_token", "generated_tokens": 4, "seed": None, "prefill": [], "tokens": []}


def token(
    index: int, text: str, whole: str | None = None, *, special: bool = False, details: Any = None
) -> dict[str, Any]:
    """A frame of a stream."""
    word = {"id": 300 + index, "text": text, "logprob": -0.5, "special": special}
    return {"index": index, "token": word, "generated_text": whole, "details": details}


HALF = [token(1, " for"), token(2, " tea")]
WHOLE = [
    *HALF,
    token(3, "."),
    token(4, "</s>", ANSWER, special=True, details={"finish_reason": "eos_token", "generated_tokens": 4, "seed": None}),
]
FAILURE = {"error": "Request failed during generation: out of memory", "error_type": "generation"}

CASES: dict[str, Case] = {
    "tgi: object": Case(ASK, {"generated_text": ANSWER}, [(PROMPT, ANSWER)]),
    "tgi: object with details": Case(
        ASK,
        {"generated_text": ANSWER, "details": DETAILS},
        [(PROMPT, ANSWER)],
        (None, 4, None, None),
        finish_reason="eos_token",
    ),
    "tgi: list of one": Case(
        ASK,
        [{"generated_text": ANSWER, "details": DETAILS}],
        [(PROMPT, ANSWER)],
        (None, 4, None, None),
        finish_reason="eos_token",
    ),
    "tgi: stopped at max_new_tokens": Case(
        ASK,
        {"generated_text": " for", "details": {"finish_reason": "length", "generated_tokens": 1}},
        [(PROMPT, " for")],
        (None, 1, None, None),
        finish_reason="length",
    ),
    "tgi: the text with its prompt": Case(
        ASK | {"parameters": {"return_full_text": True}},
        {"generated_text": PROMPT + ANSWER},
        [(PROMPT, PROMPT + ANSWER)],
    ),
    "tgi: several inputs": Case(
        {"inputs": ["A kettle is", "A cup is"]},
        [{"generated_text": " for tea."}, {"generated_text": " for milk."}],
        [("A kettle is", " for tea."), ("A cup is", " for milk.")],
        turn=None,
    ),
    "tgi: fewer texts than inputs": Case(
        {"inputs": ["A kettle is", "A cup is", "A pot is"]},
        [{"generated_text": " for tea."}, {"generated_text": " for milk."}],
        reason="length_mismatch",
        turn=None,
    ),
    "tgi: inline reasoning before the answer": Case(
        ASK, {"generated_text": "<think>Tea?</think>\n\nFor tea."}, [(PROMPT, "For tea.")]
    ),
    "tgi: answer JSON encoded twice": Case(ASK, twice({"generated_text": ANSWER}), [(PROMPT, ANSWER)]),
    "tgi: event stream": Case(
        STREAM, sse(WHOLE, space=False), [(PROMPT, ANSWER)], (None, 4, None, None), finish_reason="eos_token"
    ),
    "tgi: list of frames": Case(STREAM, WHOLE, [(PROMPT, ANSWER)], (None, 4, None, None), finish_reason="eos_token"),
    "tgi: stream whose end is missing": Case(STREAM, sse(HALF, space=False), [(PROMPT, " for tea")]),
    "tgi: stream cut in its last frame": Case(STREAM, cut(sse(HALF, space=False)), [(PROMPT, " for")]),
    "tgi: stream cut in the frame that tells the end": Case(STREAM, cut(sse(WHOLE, space=False)), [(PROMPT, ANSWER)]),
    "tgi: broken frame within a stream": Case(
        STREAM, sse(HALF[:1]) + 'data:{"index": 2, "tok\n\n' + sse(WHOLE[2:]), reason="invalid_response_json"
    ),
    "tgi: stream with an error event": Case(
        STREAM, sse([*HALF, FAILURE], space=False), [(PROMPT, " for tea")], error=True
    ),
    "tgi: an error in place of the answer": Case(ASK, FAILURE, [(PROMPT, None)], error=True),
    "tgi: status 422": Case(
        ASK, {"error": "Input validation error", "error_type": "validation"}, [(PROMPT, None)], error=True, status=422
    ),
}
