"""What a scorer gives for texts, right or wrong, becomes values and reasons by column."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from metrics.score.batching import Circuit
from metrics.score.loaded import ExchangeTexts, Failed, Loaded, Text, contained, per_text
from metrics.score.reasons import MISSING
from schemas.scorers import ScoreColumn

PROMPT, RESPONSE = ScoreColumn("prompt_x", "x", "prompt"), ScoreColumn("response_x", "x", "response")
SHARED = ScoreColumn("response_shared", "shared", "both")


def filled(
    score: Callable[[list[Text]], Sequence[Any]],
    *exchanges: tuple[str | None, str | None],
    columns: Sequence[ScoreColumn] = (PROMPT, RESPONSE),
    **more: Any,
) -> dict[str, list[Any]]:
    texts = [*(prompt for prompt, _ in exchanges), *(response for _, response in exchanges)]
    languages = [None if text is None else "de" if "ü" in text else "en" for text in texts]
    absent = [Failed(MISSING) if text is None else None for text in texts]
    return per_text(Loaded(score, "mark", **more), columns, ExchangeTexts(texts, languages, absent))


def test_each_text_is_scored_once_with_its_language() -> None:
    seen: list[Text] = []

    def score(texts: list[Text]) -> list[float]:
        seen.extend(texts)
        return [len(one.text) for one in texts]

    found = filled(score, ("a", "bb"), ("bb", "für"), ("a", None))
    assert found == {"prompt_x": [1.0, 2.0, 1.0], "response_x": [2.0, 3.0, Failed(MISSING)]}
    assert seen == [Text("a", "en"), Text("bb", "en"), Text("für", "de")]


def test_only_the_texts_of_its_columns_are_scored() -> None:
    found = filled(lambda texts: [ord(one.text) for one in texts], ("a", "b"), columns=[RESPONSE])
    assert found == {"response_x": [98.0]}


def test_columns_of_both_get_the_prompt_and_miss_whichever_is_missing() -> None:
    def score(texts: list[Text]) -> list[Any]:
        return [9 if one.prompt is None else len({*one.prompt} & {*one.text}) for one in texts]

    found = filled(score, ("ab", "bc"), (None, "b"), ("b", None), columns=[RESPONSE, SHARED])
    assert found["response_shared"] == [1.0, Failed(MISSING), Failed(MISSING)]
    assert found["response_x"] == [9.0, 9.0, Failed(MISSING)]


def test_several_columns_of_a_text_come_as_a_mapping() -> None:
    joy, anger = (ScoreColumn(f"response_{name}", name, "response") for name in ("joy", "anger"))
    found = filled(
        lambda texts: [{"joy": 1, "anger": "unclear", "other": 2}] * len(texts), ("a", "b"), columns=[joy, anger]
    )
    assert found == {"response_joy": [1.0], "response_anger": [Failed("unclear")]}


@pytest.mark.parametrize(("wrong", "error"), [({"x": 1}, "KeyError"), (1, "TypeError")])
def test_a_column_that_is_not_in_the_mapping_is_an_error(wrong: Any, error: str) -> None:
    columns = [RESPONSE, ScoreColumn("response_y", "y", "response")]
    found = filled(lambda texts: [wrong] * len(texts), ("a", "b"), columns=columns)
    assert found == {"response_x": [Failed(f"error:{error}")], "response_y": [Failed(f"error:{error}")]}


def test_another_language_than_its_own_is_a_reason() -> None:
    found = filled(lambda texts: [1] * len(texts), ("für", "a"), columns=[PROMPT, RESPONSE, SHARED], language="en")
    assert found["prompt_x"] == found["response_shared"] == [Failed("language")]
    assert found["response_x"] == [1.0]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (True, 1.0),
        (3, 3.0),
        ("too_rude", Failed("too_rude")),
        (Failed("empty"), Failed("empty")),
        (None, Failed("error:TypeError")),
        ([0.5], Failed("error:TypeError")),
        (10**400, Failed("error:OverflowError")),
        ("My password is hunter2", Failed("error:ValueError")),
        ("x" * 100, Failed("error:ValueError")),
        ("", Failed("error:ValueError")),
    ],
)
def test_what_is_no_number_and_no_word_is_an_error(value: Any, expected: Any) -> None:
    found = filled(lambda texts: [value if one.text == "odd" else 0.5 for one in texts], ("odd", "even"))
    assert found == {"prompt_x": [expected], "response_x": [0.5]}


def test_infinite_values_are_left_to_the_columns_bounds() -> None:
    (value,) = filled(lambda texts: [float("nan")] * len(texts), ("a", None), columns=[PROMPT])["prompt_x"]
    assert math.isnan(value)


class Panic(BaseException):
    """As pyo3's of Rust code: no Exception."""


class Mute(Exception):  # noqa: N818
    def __str__(self) -> str:
        raise ValueError


@pytest.mark.parametrize(
    ("what", "reason"),
    [
        (ValueError, "ValueError"),
        (Mute, "Mute"),
        (SystemExit, "RuntimeError"),
        (Panic, "RuntimeError"),
        (MemoryError, "RuntimeError"),
    ],
)
def test_a_text_on_which_it_fails_costs_no_other_its_score(what: type[BaseException], reason: str) -> None:
    def score(texts: list[Text]) -> list[float]:
        if any("bad" in one.text for one in texts):
            raise what("bad")
        return [0.5] * len(texts)

    found = filled(contained(score), *((f"text {at}", "bad" if at == 3 else "good") for at in range(9)))
    assert found["prompt_x"] == [0.5] * 9
    assert found["response_x"] == [Failed(f"error:{reason}") if at == 3 else 0.5 for at in range(9)]


def test_results_of_another_number_than_texts_are_an_error() -> None:
    found = filled(lambda texts: [0.5], ("a", "b"))
    assert found == {"prompt_x": [0.5], "response_x": [0.5]}, "one by one they are right"
    found = filled(lambda texts: [], ("a", "b"))
    assert found == {"prompt_x": [Failed("error:ValueError")], "response_x": [Failed("error:ValueError")]}


def test_a_scorer_that_always_fails_is_not_tried_for_ever() -> None:
    calls: list[int] = []

    def broken(texts: list[Text]) -> list[float]:
        calls.append(len(texts))
        raise ValueError

    circuit = Circuit(limit=3)
    found = filled(broken, *((f"{at}", None) for at in range(50)), columns=[PROMPT], circuit=circuit)["prompt_x"]
    assert found == [Failed("error:ValueError")] * 3 + [Failed("circuit_open")] * 47
    assert len(calls) < 20
