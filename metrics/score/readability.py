"""Readability: the Flesch-Kincaid grade, as textstat computes it, without a network and three times as fast.

grade = 0.39 words/sentence + 11.8 syllables/word - 15.59 (Kincaid et al. 1975). What is a word, a sentence and a
syllable is textstat's choice (``FOLLOWED``), followed here to the letter: words lose their punctuation,
sentences of one or two words don't count, syllables come from the CMU Pronouncing Dictionary and, for words that it
has not, from hyphenation (pyphen). textstat would download the dictionary through NLTK; its syllable counts are in this
package (``data/``). It would also look up each occurrence of a word anew; here a word is looked up once.
"""

from __future__ import annotations

import lzma
import re
from functools import lru_cache
from importlib import resources
from typing import Any

from pyphen import Pyphen

from metrics.score.batching import Failed
from metrics.score.loaded import Loaded, Machine, Text
from metrics.score.reasons import NO_WORDS
from schemas.scorers import Readability

LANGUAGE = "en_US"
FOLLOWED = "textstat=0.7.13"
"""Whose grades these are, for fingerprints: they differ from version to version."""
CACHED_WORDS = 200_000
"""Words whose counts a process keeps; at this many it forgets all and begins anew."""
CACHED_LENGTH = 64
"""Longer words are counted each time: they are no words, and their like does not come back."""
NO_WORD = -1

_SENTENCE = re.compile(r"\b[^.!?]+[.!?]*")
_NO_CONTRACTION = re.compile(r"'(?![tsd]|ve|ll|re)")
_PUNCTUATION = re.compile(r"[^\w\s']")
_WORD = re.compile(r"\w")


def load(settings: Readability, machine: Machine) -> Loaded:  # noqa: ARG001 (both have no say)
    """Grades of English texts."""
    from metrics.score.models import library_versions  # imports torch

    mark = f"flesch_kincaid_grade {LANGUAGE} {FOLLOWED} {library_versions('pyphen', 'py3langid')}"
    return Loaded(_grades, mark, LANGUAGE.partition("_")[0])


def _grades(texts: list[Text]) -> list[float | Failed]:
    return [Failed(NO_WORDS) if (grade := flesch_kincaid(one.text)) is None else grade for one in texts]


def flesch_kincaid(text: str) -> float | None:
    """Flesch-Kincaid grade of a text in US school years; None for a text without words.

    Any finite value is possible: short words in short sentences give negative grades.
    """
    counts = [_COUNTS[token] for token in text.split()]
    others = counts.count(NO_WORD)
    words = len(counts) - others
    if not words:
        return None
    total = sum(counts) - others * NO_WORD
    # textstat's order of operations, so that grades are equal to the last bit.
    return 0.39 * (words / _sentences(text)) + 11.8 * (total / words) - 15.59 if total else 0.0


def _sentences(text: str) -> int:
    return max(1, sum(map(_has_three_words, _SENTENCE.findall(text))))


def _has_three_words(sentence: str) -> bool:
    # Punctuation and what is left of it is no word; nearly always the first three tokens decide.
    tokens = sentence.split(None, 3)
    if len(tokens) < 3:
        return False
    return all(map(_WORD.search, tokens[:3])) or sum(1 for token in sentence.split() if _WORD.search(token)) > 2


class _Counts(dict[str, int]):
    """Token, as it stands between blanks → syllables of its word, which can be 0 ("hm"); ``NO_WORD`` without one."""

    def __missing__(self, token: str) -> int:
        word = _PUNCTUATION.sub("", _NO_CONTRACTION.sub("", token)).lower()
        count = syllables(word) if word else NO_WORD
        if len(token) <= CACHED_LENGTH:
            if len(self) >= CACHED_WORDS:
                self.clear()
            self[token] = count
        return count


_COUNTS = _Counts()


def syllables(word: str) -> int:
    """Syllables of a word in lower case without punctuation."""
    known = _dictionary().get(word)
    return _hyphens(word) + 1 if known is None else known


@lru_cache(maxsize=1)
def _dictionary() -> dict[str, int]:
    """Word → syllables of its first pronunciation in the CMU Pronouncing Dictionary."""
    packed = (resources.files("metrics.score") / "data" / "cmudict_syllables.txt.xz").read_bytes()
    found: dict[str, int] = {}
    for line in lzma.decompress(packed).decode("utf-8").splitlines():
        count, *words = line.split(" ")
        found.update(dict.fromkeys(words, int(count)))
    return found


def english_words() -> list[str]:
    """The words whose syllables are known, in the dictionary's order."""
    return list(_dictionary())


@lru_cache(maxsize=1)
def _hyphenation() -> Any:
    """As textstat makes it; by itself, because an import of textstat is one of NLTK and scikit-learn, too."""
    return Pyphen(lang=LANGUAGE)


@lru_cache(maxsize=1)
def _patterns() -> dict[str, tuple[int, tuple[int, ...]] | None]:
    """Hyphenation patterns of pyphen, and None for what is only the beginning of some."""
    patterns = _hyphenation().hd.patterns
    beginnings = {pattern[:end]: None for pattern in patterns for end in range(1, len(pattern))}
    return {**beginnings, **patterns}


def _hyphens(word: str) -> int:
    """Number of places where pyphen hyphenates a word (Liang 1983).

    pyphen looks up every substring and keeps every word for ever, which takes seconds for a megabyte without a blank.
    """
    pyphen, patterns = _hyphenation(), _patterns()
    pointed = f".{word.lower()}."
    levels = [0] * (len(pointed) + 1)
    for start in range(len(pointed) - 1):
        for end in range(start + 1, len(pointed) + 1):
            try:
                pattern = patterns[pointed[start:end]]
            except KeyError:
                break
            if pattern:
                offset, values = pattern
                for at, level in enumerate(values, start + offset):
                    levels[at] = max(levels[at], level)
    right = len(word) - pyphen.right
    return sum(level % 2 for level in levels[pyphen.left + 1 : right + 2])
