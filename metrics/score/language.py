"""The language of a text, by byte n-grams (Lui and Baldwin 2012, "langid.py"), with py3langid's model, offline."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

UNDETERMINED = "und"
"""ISO 639 code of a language that can't be told, because the text is short, or code, or numbers."""

CONFIDENCE = 0.5
"""From this probability on a language is named."""

LENGTH = 4096
"""So many characters of a text are looked at."""


def detect_languages(texts: Sequence[str]) -> list[str]:
    """ISO 639 code of each text: two letters where there are such, else three; below CONFIDENCE ``UNDETERMINED``."""
    identifier = _identifier()
    return [str(identifier.classify(text[:LENGTH])[0]) for text in texts]


@lru_cache(maxsize=1)
def _identifier() -> Any:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier  # type: ignore[import-untyped]

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True, min_confidence=CONFIDENCE)


def language_mark(language: str | None) -> str:
    """What a scorer of one language has in its fingerprint: it decides which texts have no score."""
    from metrics.score.models import library_versions  # imports torch

    return f" language={language} {library_versions('py3langid')}" if language else ""
