"""OpenAI's text completions, also as vLLM and llama.cpp serve them."""

from __future__ import annotations

from typing import Any

from tests.metrics.unpack.cases import Case, cut, sse, twice

PROMPT = "The lighthouse keeper said"
ASK = {"model": "prose-1", "prompt": PROMPT, "max_tokens": 12}
STREAM = ASK | {"stream": True}
USAGE = {"prompt_tokens": 5, "completion_tokens": 6, "total_tokens": 11}


def piece(text: str | None, finish: str | None = None, index: int = 0, **more: Any) -> dict[str, Any]:
    """An answer of one choice, or a chunk of it."""
    choice = {"index": index, "text": text, "logprobs": None, "finish_reason": finish}
    found = {"id": "cmpl-sea", "object": "text_completion", "created": 1790000100, "model": "prose-1"}
    return found | {"choices": [] if text is None else [choice]} | more


def several(*texts: str) -> dict[str, Any]:
    """An answer of several choices."""
    return piece(None) | {"choices": [{"index": index, "text": text} for index, text in enumerate(texts)]}


CHUNKS = [piece(" that"), piece(" the fog"), piece(" would lift", "length")]

CASES: dict[str, Case] = {
    "completions: object": Case(
        ASK,
        piece(" nothing at all.", "stop", usage=USAGE),
        [(PROMPT, " nothing at all.")],
        (5, 6, None, None),
        finish_reason="stop",
    ),
    "completions: usage with cached tokens": Case(
        ASK,
        piece(" no.", "stop", usage=USAGE | {"prompt_tokens_details": {"cached_tokens": 4}}),
        [(PROMPT, " no.")],
        (5, 6, 4, None),
        finish_reason="stop",
    ),
    "completions: one prompt in a list": Case(
        ASK | {"prompt": [PROMPT]},
        piece(" no.", "stop", usage=USAGE),
        [(PROMPT, " no.")],
        (5, 6, None, None),
        finish_reason="stop",
    ),
    "completions: one prompt, several choices": Case(
        ASK | {"n": 3}, several(" no.", " yes.", " perhaps."), [(PROMPT, " no.")]
    ),
    "completions: several prompts": Case(
        ASK | {"prompt": ["North", "South", "West"]},
        several(" Sea", " Pole", " Indies") | {"usage": USAGE},
        [("North", " Sea"), ("South", " Pole"), ("West", " Indies")],
        turn=None,
    ),
    "completions: several prompts, two choices each": Case(
        ASK | {"prompt": ["North", "South"], "n": 2},
        several(" Sea", " Star", " Pole", " Wind"),
        [("North", " Sea"), ("South", " Pole")],
        turn=None,
    ),
    "completions: fewer choices than prompts": Case(
        ASK | {"prompt": ["North", "South", "West"]}, several(" Sea", " Pole"), reason="length_mismatch", turn=None
    ),
    "completions: token ids as prompt": Case(
        ASK | {"prompt": [464, 1657, 2257]}, piece(" no.", "stop"), [(None, " no.")], finish_reason="stop", turn=None
    ),
    "completions: an empty answer": Case(ASK, piece("", "stop"), [(PROMPT, "")], finish_reason="stop"),
    "completions: filtered with no choice": Case(
        ASK, piece(None, usage={"prompt_tokens": 5, "total_tokens": 5}), [(PROMPT, None)], (5, None, None, None)
    ),
    "completions: list of chunks": Case(STREAM, CHUNKS, [(PROMPT, " that the fog would lift")], finish_reason="length"),
    "completions: list of chunks with usage": Case(
        STREAM,
        [*CHUNKS, piece(None, usage=USAGE)],
        [(PROMPT, " that the fog would lift")],
        (5, 6, None, None),
        finish_reason="length",
    ),
    "completions: event stream": Case(
        STREAM,
        sse([*CHUNKS, piece(None, usage=USAGE)], done=True),
        [(PROMPT, " that the fog would lift")],
        (5, 6, None, None),
        finish_reason="length",
    ),
    "completions: event stream of several prompts": Case(
        STREAM | {"prompt": ["North", "South"]},
        sse([piece(" S", index=0), piece(" Po", index=1), piece("ea", index=0), piece("le", index=1)], done=True),
        [("North", " Sea"), ("South", " Pole")],
        turn=None,
    ),
    "completions: stream whose end is missing": Case(STREAM, sse(CHUNKS[:2]), [(PROMPT, " that the fog")]),
    "completions: stream cut in its last frame": Case(STREAM, cut(sse(CHUNKS)), [(PROMPT, " that the fog")]),
    "completions: broken frame within a stream": Case(
        STREAM, 'data: {"id": "cmpl-sea", "choi\n\n' + sse(CHUNKS), reason="invalid_response_json"
    ),
    "completions: stream with an error event": Case(
        STREAM,
        sse([*CHUNKS[:2], {"error": {"message": "Out of memory", "type": "InternalServerError", "code": 500}}]),
        [(PROMPT, " that the fog")],
        error=True,
    ),
    "completions: the choice failed": Case(
        ASK, piece(" that", "error"), [(PROMPT, " that")], error=True, finish_reason="error"
    ),
    "completions: inline reasoning before the answer": Case(
        ASK,
        piece("<think>Fog, surely.</think>\nIt will lift.", "stop"),
        [(PROMPT, "It will lift.")],
        finish_reason="stop",
    ),
    "completions: answer JSON encoded twice": Case(
        ASK, twice(piece(" no.", "stop")), [(PROMPT, " no.")], finish_reason="stop"
    ),
    "completions: status 400": Case(
        ASK,
        {"error": {"message": "Too long", "type": "invalid_request_error", "code": "context_length_exceeded"}},
        [(PROMPT, None)],
        error=True,
        status=400,
    ),
}
