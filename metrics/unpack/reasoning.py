"""Reasoning that a model writes before its answer, in the answer's own text."""

from __future__ import annotations

import re

__all__ = ["without_reasoning"]

_TAGS = ("think", "thinking", "reasoning", "thought", "seed:think")
_OPENED = re.compile(rf"\s*<({'|'.join(_TAGS)})>", re.IGNORECASE)
_CLOSED = {tag: re.compile(rf"</{tag}>", re.IGNORECASE) for tag in _TAGS}
_CLOSED_ALONE = re.compile(r"(?:^|\n)[ \t]*</(think|thinking)>[ \t]*(?:\n|$)", re.IGNORECASE)


def without_reasoning(text: str) -> str:
    """The answer without ``<think>…</think>`` before it, and without the white space after that.

    Reasoning that is not closed (the model was cut off in it) leaves an empty answer. Some chat templates open it in
    the prompt: then a ``</think>`` on a line of its own, which nothing in the text has opened, ends it. A tag further
    on in an answer is part of it.

    Source: model cards of DeepSeek-R1 and QwQ; vLLM, "Reasoning outputs".
    """
    if "<" not in text:
        return text
    begin = 0
    while match := _OPENED.match(text, begin):
        end = _CLOSED[match[1].lower()].search(text, match.end())
        if end is None:
            return ""
        begin = end.end()
    if begin:
        return text[begin:].lstrip()
    closed = _CLOSED_ALONE.search(text)
    if closed is None or f"<{closed[1].lower()}>" in text[: closed.start()].lower():
        return text
    return text[closed.end() :].lstrip()
