"""A scorer with all that one from elsewhere may do, and much that it should not: two columns, pairs, and failures."""

from __future__ import annotations

import sys
from typing import Any

from metrics.score.loaded import Loaded, Machine, Text
from schemas.scorers import ScoreColumn, Scorer, Settings


def load(settings: Settings, machine: Machine) -> Loaded:
    return Loaded(lambda texts: [judge(one) for one in texts], mark=f"odd {machine.device}")


def judge(one: Text) -> Any:
    if one.prompt is not None:
        return len(set(one.prompt.split()) & set(one.text.split()))
    if "bomb" in one.text:
        raise ValueError(one.text)
    if "exit" in one.text:
        sys.exit(one.text)
    if "quote" in one.text:
        return {"joy": one.text, "anger": 0.5}  # no word: it is the text itself
    return {
        "joy": 7.0 if "enormous" in one.text else 0.25,
        "anger": "unclear" if one.language == "de" else float("nan") if "nothing" in one.text else 0.5,
    }


ODD = Scorer(
    name="odd",
    columns=(
        ScoreColumn("response_joy", "Joy, 0 to 1", of="response", at_least=0, at_most=1),
        ScoreColumn("response_anger", "Anger", of="response"),
        ScoreColumn("response_shared_words", "Words that are in the prompt, too", of="both"),
    ),
    load="odd_scorer:load",
)
