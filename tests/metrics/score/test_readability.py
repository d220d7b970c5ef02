"""Readability: textstat's own grades, without a network."""

from __future__ import annotations

import random
import socket
from typing import Any

import pytest
import textstat
from hypothesis import given
from hypothesis import strategies as st
from textstat.backend.counts import _count_syllables

from metrics.score import readability
from metrics.score.readability import english_words, flesch_kincaid, syllables

WORDS = [
    *english_words()[::500], "hm", "don't", "'tis", "o'clock", "rock'n'roll", "it’s", "''ve'", "--", "e.g.", "U.S.",
    "...",
    "İSTANBUL", "ΑΣ", "naïve", "你好", "😀", "x\x00y", "a\u200bb", "foo_bar", "100%", "3.14", "\u0301", "ß", "ŉ",
    "antidisestablishmentarianism", "http://example.com/a?b=c",
]  # fmt: skip
GAPS = [" ", " ", " ", "  ", "\n", "\t", "\u00a0", "\u2028", "\x1c", ". ", "! ", "? ", ".", "'", " - ", ", "]


@pytest.fixture(scope="module", autouse=True)
def _textstat_without_network() -> Any:
    """textstat with the dictionary that it would download."""
    phones = {word: [["0"] * syllables(word)] for word in english_words()}
    before = _count_syllables.get_cmudict
    _count_syllables.get_cmudict = lambda lang: phones
    yield
    _count_syllables.get_cmudict = before


def of_textstat(text: str) -> float | None:
    return float(textstat.flesch_kincaid_grade(text)) if textstat.lexicon_count(text) else None


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


@pytest.mark.parametrize("seed", range(10))
def test_grades_are_textstats_to_the_last_bit(seed: int) -> None:
    draw = random.Random(seed)
    for _ in range(100):
        text = "".join(draw.choice(WORDS) + draw.choice(GAPS) for _ in range(draw.randrange(60)))
        assert flesch_kincaid(text) == of_textstat(text), repr(text)


@given(st.text(max_size=200))
def test_any_text_has_textstats_grade(text: str) -> None:
    assert flesch_kincaid(text) == of_textstat(text)


def test_a_word_without_end_is_counted_as_textstat_counts_it() -> None:
    letters = "".join(random.Random(1).choices("abcdefghijklmnopqrstuvwxyzABC0123456789+/", k=20_000))
    assert flesch_kincaid(letters) == of_textstat(letters)
    grade = flesch_kincaid(letters * 50)
    assert grade is not None
    assert grade > 1000, "a megabyte without a blank comes to an end"
    assert max(map(len, readability._COUNTS)) <= readability.CACHED_LENGTH, "and is not kept"


def test_the_cache_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readability, "CACHED_WORDS", 100)
    before = flesch_kincaid("The cat sat on the mat.")
    for i in range(1000):
        flesch_kincaid(f"word{i}")
    assert len(readability._COUNTS) <= 100
    assert flesch_kincaid("The cat sat on the mat.") == before


def test_no_network_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("readability opened a socket")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    readability._dictionary.cache_clear()
    assert flesch_kincaid("An unusual sentence about refrigerators.") is not None


def test_dictionary_counts_differ_from_hyphenation() -> None:
    assert (syllables("area"), readability._hyphens("area") + 1) == (3, 1)
    assert len(english_words()) > 120_000
