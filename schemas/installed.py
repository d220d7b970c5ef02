"""All scorers: ours, and those that installed packages bring, by an entry point that is a ``Scorer``.

    [project.entry-points."inference_metrics.scorers"]
    politeness = "politeness:POLITENESS"

The package has to be installed wherever a command runs, and where Spark's workers do.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from importlib.metadata import entry_points
from typing import Any

from schemas.errors import ScorerError
from schemas.scorers import SCORERS, Scorer, Settings

__all__ = ["ENTRY_POINT", "scorers"]

ENTRY_POINT = "inference_metrics.scorers"

_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")
_COLUMN = re.compile(r"(prompt|response)_(?!log_)[a-z][a-z0-9_]{0,62}(?<!_rate)")
"""Logarithms and rates are made of columns; the windows have them under such names."""


@lru_cache(maxsize=1)
def scorers() -> tuple[Scorer, ...]:
    """All scorers, ours first.

    Raises:
        ScorerError: An entry point can't be loaded, or is no scorer, or one that can't be used.
    """
    found = list(SCORERS)
    for point in sorted(entry_points(group=ENTRY_POINT), key=lambda point: point.name):
        where = f"entry point {point.name} of {ENTRY_POINT}"
        try:
            scorer = point.load()
        except Exception as error:
            raise ScorerError(f"{where} can't be loaded: {type(error).__name__}") from error
        if not isinstance(scorer, Scorer):
            raise ScorerError(f"{where} is a {type(scorer).__name__}, and no Scorer")
        if mistakes := list(problems(scorer, found)):
            raise ScorerError(f"{where}: {'; '.join(mistakes)}")
        found.append(scorer)
    return tuple(found)


def problems(scorer: Scorer, others: Sequence[Scorer]) -> Iterator[str]:
    """Why a scorer from elsewhere can't be used beside others."""
    if not _NAME.fullmatch(scorer.name):
        yield f"its name {scorer.name!r} must be lower-case letters, digits and _"
    if scorer.name in {one.name for one in others}:
        yield f"there is another scorer named {scorer.name}"
    if not scorer.columns:
        yield "it has no columns"
    taken = [name for one in others for name in one.column_names]
    for column in scorer.columns:
        of = str(column.of)
        if not _COLUMN.fullmatch(column.name) or (of == "prompt") != column.name.startswith("prompt_"):
            yield (
                f"column {column.name!r} must be prompt_… (of the prompt) or response_… (of the response, or of both), "
                "in lower case, and not …_rate or …_log_…"
            )
        if of not in ("prompt", "response", "both"):
            yield f"column {column.name!r} must be of prompt, response or both"
        if column.type != "double":
            yield f"column {column.name!r} must be a double"
        if not column.comment.isprintable() or "\\" in column.comment:
            yield f"column {column.name!r}: its comment must be one line without backslashes"
        if column.name in taken:
            yield f"there is another column {column.name}"
        taken.append(column.name)
    settings: Any = scorer.settings
    if not (isinstance(settings, type) and issubclass(settings, Settings)):
        yield "its settings are no subclass of Settings"
    elif missing := [name for name, field in settings.model_fields.items() if field.is_required()]:
        yield f"its settings need defaults: {', '.join(missing)}"
