"""Readability: textstat's own grades, without a network."""

from __future__ import annotations

import socket
from typing import Any

import pytest
import textstat

from metrics.score import readability
from metrics.score.readability import flesch_kincaid


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # 13 words, 1 sentence, 24 syllables: 0.39 * 13 + 11.8 * 24 / 13 - 15.59
        ("The Australian platypus is seemingly a hybrid of a mammal and reptilian creature.", 11.2646),
        ("The cat sat on the mat.", -1.45),  # 0.39 * 6 + 11.8 - 15.59
        ("Yes", -3.4),
        ("", None),
        ("   \n", None),
        ("😀 ...", None),
    ],
)
def test_known_grades(text: str, expected: float | None) -> None:
    assert flesch_kincaid(text) == (None if expected is None else pytest.approx(expected, abs=1e-3))


def test_no_network_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("readability opened a socket")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    readability._english_phones.cache_clear()
    assert flesch_kincaid("An unusual sentence about refrigerators.") is not None


def test_dictionary_counts_differ_from_hyphenation() -> None:
    # "area" has three syllables in the dictionary; hyphenation finds one.
    readability.use_bundled_dictionary()
    assert textstat.syllable_count("area") == 3
    assert len(readability._english_phones()) > 120_000
