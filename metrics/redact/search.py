"""Searching a text for what has to be masked."""

from __future__ import annotations

import re
from collections.abc import Callable

Finder = Callable[[re.Match[str]], tuple[int, int] | None]
"""What of a match to mask: where it starts and ends (nothing if those are equal); None to search on within it."""

# JSON has line breaks as \n and may have a quote as \u201c: those letters are no part of the word that follows.
ESCAPE = r"(?<=\\[nrt])|(?<=\\u[0-9A-Fa-f]{4})"
START = rf"(?:(?<![A-Za-z0-9_])|{ESCAPE})"
UUID = r"[0-9A-Fa-f]{8}-(?:[0-9A-Fa-f]{4}-){3}[0-9A-Fa-f]{12}(?![0-9A-Za-z])"

IN_UUID = re.compile(UUID)
MASK = re.compile(r"\[(?:email|phone|card|iban|ip|key|secret)\]")


def replace(text: str, pattern: re.Pattern[str], find: Finder, mask: str) -> str:
    """Masks what ``find`` says of each match; where that is nothing, the search goes on within the match."""
    pieces, copied, at = [], 0, 0
    while match := pattern.search(text, at):
        span = find(match)
        if span is None:
            at = match.start() + 1
            continue
        start, at = span
        if start < at:
            pieces += [text[copied:start], mask]
            copied = at
    return "".join([*pieces, text[copied:]]) if copied else text


def skip(match: re.Match[str]) -> tuple[int, int]:
    """Masks nothing, and goes on after the match."""
    return match.end(), match.end()


def group(match: re.Match[str]) -> tuple[int, int]:
    """Masks the match's group ``value``, unless it is a mask already."""
    return skip(match) if MASK.fullmatch(match["value"]) else match.span("value")
