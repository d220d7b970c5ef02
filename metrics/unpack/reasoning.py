"""Reasoning that a model writes before its answer, in the answer's own text."""

from __future__ import annotations

import re

__all__ = ["without_reasoning"]

_TAGS = ("think", "thinking", "reasoning", "thought", "seed:think")
_OPENED = re.compile(rf"\s*(?:<({'|'.join(_TAGS)})(?:\s[^<>]{{0,99}})?>|\[(THINK)\]|◁(think)▷)", re.IGNORECASE)
_CLOSED = {tag: re.compile(rf"</{tag}>", re.IGNORECASE) for tag in _TAGS}
_CLOSED_OTHERS = (re.compile(r"\[/THINK\]", re.IGNORECASE), re.compile("◁/think▷", re.IGNORECASE))
_CLOSED_ALONE = re.compile(r"</(think|thinking)>[ \t]*(?:\n|$)", re.IGNORECASE)
_FINAL = "<|channel|>final<|message|>"
_END = re.compile(r"<\|(?:return|end)\|>\s*$")


def without_reasoning(text: str) -> str:
    """The answer without ``<think>…</think>`` before it, and without the white space after that.

    Reasoning that is not closed (the model was cut off in it) leaves an empty answer. Some chat templates open it in
    the prompt: then a ``</think>`` at the end of a line, which nothing in the text has opened, ends it. A tag further
    on in an answer is part of it.

    Source: model cards of DeepSeek-R1, QwQ, Magistral (``[THINK]``) and Kimi-VL (``◁think▷``); OpenAI, "Harmony
    response format" (channels); vLLM, "Reasoning outputs".
    """
    if text.startswith("<|channel|>") and _FINAL in text:
        return _END.sub("", text.rpartition(_FINAL)[2])
    begin = 0
    while match := _OPENED.match(text, begin):
        closed = _CLOSED[match[1].lower()] if match[1] else _CLOSED_OTHERS[0 if match[2] else 1]
        end = closed.search(text, match.end())
        if end is None:
            return ""
        begin = end.end()
    if begin:
        return text[begin:].lstrip()
    alone = _CLOSED_ALONE.search(text) if "</" in text else None
    if alone is None or f"<{alone[1].lower()}" in text[: alone.start()].lower():
        return text
    return text[alone.end() :].lstrip()
