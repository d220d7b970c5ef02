"""Politeness: the share of a text's sentences that have a polite word. A scorer from elsewhere, in full."""

from __future__ import annotations

import re

from metrics.score.loaded import Loaded, Machine, Text
from schemas.scorers import ScoreColumn, Scorer, Settings

VERSION = 1


class PolitenessSettings(Settings):
    """In the configuration: scoring.scorers.politeness."""

    words: tuple[str, ...] = ("please", "thank", "thanks", "sorry")


def load(settings: PolitenessSettings, machine: Machine) -> Loaded:
    """Called once per worker process: the place for imports and models (on ``machine.device``)."""
    polite = re.compile(rf"\b({'|'.join(map(re.escape, settings.words))})\b", re.IGNORECASE)

    def score(texts: list[Text]) -> list[float | str]:
        return [share(one.text, polite) for one in texts]

    return Loaded(score, mark=f"politeness version={VERSION} words={','.join(settings.words)}", language="en")


def share(text: str, polite: re.Pattern[str]) -> float | str:
    """A number, or a word that says why there is none."""
    sentences = [one for one in re.split(r"[.!?]+", text) if re.search(r"\w", one)]
    return sum(1 for one in sentences if polite.search(one)) / len(sentences) if sentences else "no_words"


POLITENESS = Scorer(
    name="politeness",
    columns=(
        ScoreColumn("prompt_politeness", "Share of polite sentences in the prompt", of="prompt", at_least=0, at_most=1),
        ScoreColumn("response_politeness", "The same of the response", of="response", at_least=0, at_most=1),
    ),
    load=load,
    settings=PolitenessSettings,
)
