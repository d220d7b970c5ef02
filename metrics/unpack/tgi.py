"""text-generation-inference: ``/generate`` and ``/generate_stream``. Requests are ``inputs`` (scoring protocol).

Source: Hugging Face text-generation-inference, OpenAPI (``GenerateResponse``, ``StreamResponse``).
"""

from __future__ import annotations

from typing import Any

from metrics.unpack.shapes import BEGINNING, Answer, Call, Family, UnreadableError

__all__ = ["TGI"]


def _answer(body: Any) -> Answer | None:
    """``generated_text``; a list of them (``best_of``, pipelines) is several texts to one input, the first counts."""
    if isinstance(body, list) and body:
        body = body[0]
    if not isinstance(body, dict) or not isinstance(body.get("generated_text"), str):
        return None
    return _generated(body["generated_text"], body.get("details"))


def _generated(text: str | None, details: Any) -> Answer:
    details = details if isinstance(details, dict) else {}
    return Answer(text, details.get("finish_reason"), details)


def _stream(events: list[Any], _call: Call | None) -> Answer | None:
    """``generated_text`` of the last event; the tokens' texts, but for special ones, of a stream that broke off."""
    if not any(isinstance(event, dict) and isinstance(event.get("token"), dict) for event in events[:BEGINNING]):
        return None
    texts: list[str] = []
    whole = details = None
    for event in events:
        if not isinstance(event, dict):
            raise UnreadableError
        token = event.get("token")
        if isinstance(token, dict) and isinstance(token.get("text"), str) and not token.get("special"):
            texts.append(token["text"])
        if isinstance(event.get("generated_text"), str):
            whole = event["generated_text"]
        details = event.get("details") or details
    return _generated(whole if whole is not None else "".join(texts) if texts else None, details)


TGI = Family("text-generation-inference", answer=_answer, stream=_stream)
