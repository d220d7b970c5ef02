"""Ratings of answers, which review apps send to the endpoint that they rate: they land in the same table.

Source: Databricks, "Agent evaluation: feedback" (``text_assessments``, ``retrieval_assessments``), and MLflow's
assessments (``assessment_name``, ``source``, ``feedback``, ``rationale``).
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any

from metrics.unpack.names import as_id

__all__ = ["Rating", "ratings"]

_FORMS = ("text_assessments", "retrieval_assessments", "assessments")

MOST = 100
"""Ratings of one request that are read."""

_NAME = re.compile(r"[\w.:/-]{1,80}", re.ASCII)
_LABEL = re.compile(r"(?!.*\d{4})[\w.:/-]{1,40}", re.ASCII)
"""A category. What is longer, has more than three words or a number of four digits may be a text."""

LABEL_WORDS = 3

_VALUES = {
    **dict.fromkeys(("positive", "yes", "true", "good", "correct", "thumbs_up", "like", "pass"), 1.0),
    **dict.fromkeys(("negative", "no", "false", "bad", "incorrect", "thumbs_down", "dislike", "fail"), 0.0),
}

_SOURCES = {
    "human": "HUMAN",
    "llm_judge": "LLM_JUDGE",
    "ai_judge": "LLM_JUDGE",
    "llm": "LLM_JUDGE",
    "code": "CODE",
}


@dataclass(slots=True)
class Rating:
    """One rating of one answer.

    Attributes:
        request_id: The request that is rated.
        name: What is rated, for example ``answer_correct``.
        value: As a number: 1 for yes and positive, 0 for no and negative; None where it is no such thing.
        label: As the rating words it, where that is a category (spaces become underscores) and no number or text.
        source_type: HUMAN, LLM_JUDGE or CODE; None where it is another.
        source: Who has rated.
        comment: What they say about it.
    """

    request_id: str | None
    name: str | None
    value: float | None
    label: str | None
    source_type: str | None
    source: str | None
    comment: str | None


def ratings(body: Any) -> list[Rating] | None:
    """The ratings that a request holds; None where it is no feedback, but a question to the chatbot."""
    records = _records(body)
    if not records or not _is_feedback(records[0]):
        return None
    found: list[Rating] = []
    for record in records:
        if isinstance(record, dict):
            found += _of_record(record)
        if len(found) >= MOST:
            break
    return found[:MOST]


def _records(body: Any) -> list[Any]:
    if not isinstance(body, dict):
        return []
    if isinstance(body.get("dataframe_records"), list):
        return list(body["dataframe_records"])
    table = body.get("dataframe_split")
    if isinstance(table, dict) and isinstance(table.get("columns"), list) and isinstance(table.get("data"), list):
        names = [name if isinstance(name, str) else "" for name in table["columns"]]
        if any(name in _FORMS for name in names):
            return [dict(zip(names, row, strict=False)) for row in table["data"] if isinstance(row, list)]
    return []


def _is_feedback(record: Any) -> bool:
    """Whether a record rates an answer. ``assessments`` alone may as well be a field of a chatbot: it needs an id."""
    if not isinstance(record, dict):
        return False
    if any(isinstance(record.get(name), list | dict) for name in _FORMS[:2]):
        return True
    assessments = record.get("assessments")
    return isinstance(assessments, list) and any(_rated(one) for one in (record, *assessments[:1]))


def _rated(record: Any) -> str | None:
    """The id of what a record rates."""
    if not isinstance(record, dict):
        return None
    return _id(record.get("request_id")) or _id(record.get("trace_id"))


def _of_record(record: dict[str, Any]) -> list[Rating]:
    request_id = _rated(record)
    found: list[Rating] = []
    for form in _FORMS:
        assessments = record.get(form)
        for one in assessments if isinstance(assessments, list) else ():
            if isinstance(one, dict):
                source = one.get("source") if isinstance(one.get("source"), dict) else record.get("source")
                found += _of_assessment(one, request_id or _rated(one), source)
    return found


def _of_assessment(one: dict[str, Any], request_id: str | None, source: Any) -> list[Rating]:
    source = source if isinstance(source, dict) else {}
    kind = source.get("source_type") or source.get("type")
    source_type = _SOURCES.get(str(kind).lower())
    user = _id(source.get("source_id")) or _id(source.get("id"))
    comment = _text(one.get("free_text_comment")) or _text(one.get("rationale"))

    def rating(name: Any, value: Any, why: Any = None, *, labelled: bool = True) -> Rating:
        number, label = _value(value, labelled=labelled)
        return Rating(request_id, _word(name, _NAME), number, label, source_type, user, _text(why) or comment)

    rated = one.get("ratings")
    if isinstance(rated, dict) and rated:
        return [
            rating(name, value.get("value"), value.get("rationale")) if isinstance(value, dict) else rating(name, value)
            for name, value in rated.items()
        ]
    for form in ("feedback", "expectation"):
        if isinstance(one.get(form), dict) and "value" in one[form]:
            # What an answer is expected to be is a text, even where it is one word.
            name = one.get("assessment_name") or one.get("name")
            return [rating(name, one[form]["value"], labelled=form == "feedback")]
    return [rating(None, None)] if comment is not None else []


def _value(value: Any, *, labelled: bool) -> tuple[float | None, str | None]:
    """A rating as a number and as a word."""
    if isinstance(value, bool):
        return float(value), str(value).lower()
    if isinstance(value, int | float):
        return _finite(value), None
    if not isinstance(value, str):
        return None, None
    word = value.strip()
    number = _VALUES.get(word.lower().replace(" ", "_"))
    if number is not None:
        return number, _word(word, _LABEL)
    try:
        return _finite(float(word)), None
    except ValueError:
        return None, _word(word, _LABEL) if labelled and len(word.split()) <= LABEL_WORDS else None


def _finite(number: float) -> float | None:
    return float(number) if abs(number) < 1e15 and math.isfinite(number) else None


def _word(value: Any, form: re.Pattern[str]) -> str | None:
    """A name, its spaces as underscores; None of what may be a text."""
    if not isinstance(value, str):
        return None
    word = "_".join(value.split())
    return word if form.fullmatch(word) else None


def _id(value: Any) -> str | None:
    """An id that names something."""
    found = as_id(value)
    return found if found and found.strip() else None


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value.strip() else None
