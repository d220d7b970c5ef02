"""OpenAI's embeddings, and the same through MLflow."""

from __future__ import annotations

from typing import Any

from tests.metrics.unpack.cases import Case, twice

TEXT = "Moss grows on the north side."
ASK = {"model": "vec-3", "input": TEXT, "encoding_format": "float"}


def vectors(count: int, usage: dict[str, Any] | None = None, vector: Any = (0.25, -0.5)) -> dict[str, Any]:
    """An answer of so many vectors."""
    data = [{"object": "embedding", "index": index, "embedding": vector} for index in range(count)]
    return {"object": "list", "data": data, "model": "vec-3"} | ({} if usage is None else {"usage": usage})


CASES: dict[str, Case] = {
    "embeddings: one text": Case(
        ASK, vectors(1, {"prompt_tokens": 8, "total_tokens": 8}), [(TEXT, None)], (8, None, None, None), turn=None
    ),
    "embeddings: one text, an output of zero is right": Case(
        ASK,
        vectors(1, {"prompt_tokens": 8, "completion_tokens": 0, "total_tokens": 8}),
        [(TEXT, None)],
        (8, 0, None, None),
        turn=None,
    ),
    "embeddings: one text in a list": Case(
        ASK | {"input": [TEXT]},
        vectors(1, {"prompt_tokens": 8, "total_tokens": 8}),
        [(TEXT, None)],
        (8, None, None, None),
        turn=None,
    ),
    "embeddings: vectors in base64": Case(
        ASK | {"encoding_format": "base64"}, vectors(1, vector="AACAPgAAAL8="), [(TEXT, None)], turn=None
    ),
    "embeddings: without usage": Case(ASK | {"dimensions": 2}, vectors(1), [(TEXT, None)], turn=None),
    "embeddings: usage of strings": Case(
        ASK, vectors(1, {"prompt_tokens": "8", "total_tokens": "8"}), [(TEXT, None)], (8, None, None, None), turn=None
    ),
    "embeddings: several texts": Case(
        ASK | {"input": ["moss", "lichen", "fern"]},
        vectors(3, {"prompt_tokens": 5, "total_tokens": 5}),
        [("moss", None), ("lichen", None), ("fern", None)],
        turn=None,
    ),
    "embeddings: several texts, vectors out of order": Case(
        ASK | {"input": ["moss", "fern"]},
        vectors(2) | {"data": vectors(2)["data"][::-1]},
        [("moss", None), ("fern", None)],
        turn=None,
    ),
    "embeddings: fewer vectors than texts": Case(
        ASK | {"input": ["moss", "lichen", "fern"]}, vectors(2), reason="length_mismatch", turn=None
    ),
    "embeddings: more vectors than texts": Case(
        ASK | {"input": ["moss", "fern"]}, vectors(3), reason="length_mismatch", turn=None
    ),
    "embeddings: token ids": Case(ASK | {"input": [17, 512, 9]}, vectors(1), [(None, None)], turn=None),
    "embeddings: an empty text": Case(ASK | {"input": ""}, vectors(1), [("", None)], turn=None),
    "embeddings: answer JSON encoded twice": Case(ASK, twice(vectors(1)), [(TEXT, None)], turn=None),
    "embeddings: an error in place of the vectors": Case(
        ASK, {"error": {"message": "Too long", "type": "invalid_request_error"}}, [(TEXT, None)], error=True, turn=None
    ),
    "embeddings: status 429 for several texts": Case(
        ASK | {"input": ["moss", "fern"]},
        {"error_code": "REQUEST_LIMIT_EXCEEDED", "message": "Slow down"},
        [("moss", None), ("fern", None)],
        error=True,
        status=429,
        turn=None,
    ),
}
