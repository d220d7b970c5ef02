"""Ratings: what is read from each form, what is no rating, and what of a text may not become a label."""

from __future__ import annotations

import json
from typing import Any

import pytest

from metrics.unpack.feedback import MOST, Rating, ratings
from metrics.unpack.payloads import unpack
from metrics.unpack.unpacked import UnpackSettings

BOB = {"type": "human", "id": "bob"}
GOOD = {"ratings": {"good": {"value": "positive"}}}


def records(*some: Any) -> dict[str, Any]:
    return {"dataframe_records": list(some)}


def split(columns: list[Any], *rows: Any) -> dict[str, Any]:
    return {"dataframe_split": {"columns": columns, "data": list(rows)}}


def text(*assessments: Any, **others: Any) -> dict[str, Any]:
    return {"request_id": "q", "text_assessments": list(assessments)} | others


def mlflow(**assessment: Any) -> dict[str, Any]:
    return {"trace_id": "tr-1", "assessments": [{"assessment_name": "correct"} | assessment]}


def rating(
    name: str | None = "good",
    value: float | None = 1.0,
    label: str | None = "positive",
    source_type: str | None = None,
    source: str | None = None,
    comment: str | None = None,
    of: str | None = "q",
) -> Rating:
    return Rating(of, name, value, label, source_type, source, comment)


FORMS: dict[str, tuple[Any, list[Rating]]] = {
    "text": (records(text(GOOD, source=BOB)), [rating(source_type="HUMAN", source="bob")]),
    "several ratings, one with a reason": (
        records(text({"ratings": {"a": {"value": "yes", "rationale": "R"}, "b": {"value": False}}, "rationale": "C"})),
        [rating("a", 1.0, "yes", comment="R"), rating("b", 0.0, "false", comment="C")],
    ),
    "bare values": (
        records(text({"ratings": {"a": "no", "b": 3}})),
        [rating("a", 0.0, "no"), rating("b", 3.0, None)],
    ),
    "a comment alone": (
        records(text({"ratings": {}, "free_text_comment": "C"})),
        [rating(None, None, None, comment="C")],
    ),
    "nothing in it": (records(text({"ratings": {}})), []),
    "no assessments": (records(text()), []),
    "assessments that are none": (records(text(1, None, "x", [], {"ratings": [1]})), []),
    "no list of assessments": (records({"request_id": "q", "text_assessments": {"ratings": {}}}), []),
    "retrieval": (
        records({"request_id": "q", "text_assessments": None, "retrieval_assessments": [GOOD | {"position": 0}, GOOD]}),
        [rating(), rating()],
    ),
    "text and retrieval": (records(text(GOOD, retrieval_assessments=[GOOD])), [rating(), rating()]),
    "several records": (
        records(text(GOOD), "no record", text(GOOD, request_id="p")),
        [rating(), rating(of="p")],
    ),
    "split": (
        split(["request_id", "source", "text_assessments"], ["q", BOB, [GOOD]], ["p", None, [GOOD]], 7, ["short"]),
        [rating(source_type="HUMAN", source="bob"), rating(of="p")],
    ),
    "split, names that are none": (split([1, "text_assessments"], ["q", [GOOD]]), [rating(of=None)]),
    "MLflow": (
        records(mlflow(source={"source_type": "LLM_JUDGE", "source_id": "j"}, feedback={"value": True}, rationale="R")),
        [rating("correct", 1.0, "true", "LLM_JUDGE", "j", "R", of="tr-1")],
    ),
    "MLflow, the trace within": (
        records({"assessments": [{"name": "correct", "trace_id": "tr-2", "feedback": {"value": 0.5}}]}),
        [rating("correct", 0.5, None, of="tr-2")],
    ),
    "MLflow, expectation": (
        records(mlflow(expectation={"value": "Paris"})),
        [rating("correct", None, None, of="tr-1")],
    ),
    "source of the assessment first": (
        records(text(GOOD | {"source": {"source_type": "CODE", "source_id": 7}}, source=BOB)),
        [rating(source_type="CODE", source="7")],
    ),
    "source without a type, and without a name": (
        records(text(GOOD, source={"source_type": None, "type": "AI_JUDGE", "source_id": " ", "id": ""})),
        [rating(source_type="LLM_JUDGE")],
    ),
    "source of another kind": (records(text(GOOD, source={"type": ["human"], "id": {"a": 1}})), [rating()]),
    "ids that are none": (records(text(GOOD, request_id=" ", trace_id={})), [rating(of=None)]),
    "a number as id": (records(text(GOOD, request_id=12)), [rating(of="12")]),
}


@pytest.mark.parametrize("name", FORMS)
def test_forms(name: str) -> None:
    body, expected = FORMS[name]
    assert ratings(body) == expected


@pytest.mark.parametrize(
    "body",
    [
        None,
        "text_assessments",
        [text(GOOD)],
        {},
        records(),
        records("text"),
        records({"query": "Q"}),
        records({"query": "Q", "text_assessments": None, "retrieval_assessments": None}),
        records({"query": "Q", "assessments": ["math", "music"]}),
        records({"query": "Q", "request_id": "q", "assessments": "all"}),
        {"text_assessments": [GOOD]},
        {"dataframe_records": {"text_assessments": [GOOD]}},
        split(["query"], ["Q"]),
        split(["text_assessments"]),
        split(["text_assessments"], [None]),
        {"dataframe_split": {"columns": "text_assessments", "data": [[[GOOD]]]}},
    ],
)
def test_questions_are_no_ratings(body: Any) -> None:
    assert ratings(body) is None


VALUES: list[tuple[Any, float | None, str | None]] = [
    ("positive", 1.0, "positive"),
    (" Negative ", 0.0, "Negative"),
    ("thumbs up", 1.0, "thumbs_up"),
    ("Very good", None, "Very_good"),
    ("sehr gut", None, "sehr_gut"),
    ("4", 4.0, None),
    ("0.25", 0.25, None),
    ("nan", None, None),
    ("1e999", None, None),
    ("Infinity", None, None),
    (True, 1.0, "true"),
    (False, 0.0, "false"),
    (5, 5.0, None),
    (-0.5, -0.5, None),
    (10**30, None, None),
    (float("inf"), None, None),
    ("", None, None),
    ("error", None, "error"),
    (None, None, None),
    ([1], None, None),
    ({"value": 1}, None, None),
    # Texts, and what may be one.
    ("The answer should be 42", None, None),
    ("write to jane@example.com", None, None),
    ("call 555-1234", None, None),
    ("It's wrong", None, None),
    ("x" * 41, None, None),
]


@pytest.mark.parametrize(("value", "number", "label"), VALUES)
def test_values(value: Any, number: float | None, label: str | None) -> None:
    found = ratings(records(text({"ratings": {"good": {"value": value}}})))
    assert found == [rating("good", number, label)]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("answer_correct", "answer_correct"),
        ("Is the answer right", "Is_the_answer_right"),
        ("Is it so?", None),
        ("", None),
        ("x" * 81, None),
    ],
)
def test_names(name: str, expected: str | None) -> None:
    assert ratings(records(text({"ratings": {name: 1}}))) == [rating(expected, 1.0, None)]


def test_so_many_and_no_more() -> None:
    found = ratings(records(text(*[GOOD] * (MOST - 1)), text(GOOD, GOOD, request_id="p"), text(GOOD)))
    assert found is not None
    assert [one.request_id for one in found] == ["q"] * (MOST - 1) + ["p"]


def test_half_a_character_is_no_text_that_arrow_refuses() -> None:
    record = text(GOOD | {"free_text_comment": "C\ud83d", "source": {"id": "b\ud83d\ude00"}}, request_id="\ud83d")
    found = unpack(json.dumps(records(record)).encode(), None, ok=True, settings=UnpackSettings()).ratings
    assert found == [rating(source="b😀", comment="C\ufffd", of="\ufffd")]
