"""Readability: the Flesch-Kincaid grade, as textstat computes it.

grade = 0.39 words/sentence + 11.8 syllables/word - 15.59 (Kincaid et al. 1975). textstat counts English syllables with
the CMU Pronouncing Dictionary, which it would download through NLTK at the first call. Executors have no network, so
textstat is handed the dictionary's syllable counts from this package instead (``data/``); the grades are the same.
"""

from __future__ import annotations

import lzma
from functools import lru_cache
from importlib import resources

import textstat
from textstat.backend.counts import _count_syllables


@lru_cache(maxsize=1)
def _english_phones() -> dict[str, list[list[str]]]:
    """Word → pronunciations, as NLTK's ``cmudict.dict()``, with no more in them than textstat counts: stress digits."""
    packed = (resources.files("metrics.score") / "data" / "cmudict_syllables.txt.xz").read_bytes()
    phones: dict[str, list[list[str]]] = {}
    for line in lzma.decompress(packed).decode("utf-8").splitlines():
        count, *words = line.split(" ")
        pronunciations = [["0"] * int(count)]
        phones.update(dict.fromkeys(words, pronunciations))
    return phones


def english_words() -> list[str]:
    """The words whose syllables are known, in the dictionary's order."""
    return list(_english_phones())


def _cmudict(lang: str) -> dict[str, list[list[str]]] | None:
    return _english_phones() if lang.partition("_")[0] == "en" else None


def use_bundled_dictionary() -> None:
    """Let textstat take syllables from this package; it then never asks NLTK for a download."""
    _count_syllables.get_cmudict = _cmudict


def flesch_kincaid(text: str) -> float | None:
    """Flesch-Kincaid grade of a text in US school years; None for a text without words.

    Any finite value is possible: short words in short sentences give negative grades.
    """
    use_bundled_dictionary()
    if textstat.lexicon_count(text) == 0:
        return None
    return float(textstat.flesch_kincaid_grade(text))
