"""Scorers by description: ours, and those that an installed package brings by entry point."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

from metrics.score.columns import COLUMNS
from schemas import installed
from schemas.config import Config, parse_config
from schemas.errors import ConfigError, ScorerError
from schemas.installed import problems, scorers
from schemas.scorers import SCORERS, ScoreColumn, Scorer, Settings
from schemas.scores import SCORED_COLUMNS, SCORES

EXAMPLE = Path(__file__).parents[1] / "metrics" / "score" / "example_scorer"
GOOD: dict[str, Any] = {"source": {"path": "/in"}, "output": {"path": "/out"}}


@pytest.fixture
def example(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The example package, installed as far as Python is concerned: its dist-info is on the path."""
    monkeypatch.syspath_prepend(str(EXAMPLE))
    scorers.cache_clear()
    yield
    scorers.cache_clear()


def configured(**of_scorers: Any) -> Config:
    return parse_config(GOOD | {"scoring": {"scorers": of_scorers}})


def test_the_table_has_the_columns_of_the_descriptions() -> None:
    assert [name for one in SCORERS for name in one.column_names] == list(SCORED_COLUMNS)
    assert {one.name: one.column_names for one in SCORERS} == COLUMNS
    start = SCORES.column_names.index(SCORED_COLUMNS[0])
    assert tuple(SCORES.column_names[start : start + len(SCORED_COLUMNS)]) == SCORED_COLUMNS
    types = {column.name: column.type for column in SCORES.columns}
    assert (types["response_scored_tokens"], types["response_nll"]) == ("bigint", "double")


def test_an_installed_package_brings_scorers(example: None) -> None:
    assert [one.name for one in scorers()] == [*(one.name for one in SCORERS), "odd", "politeness"]
    politeness = scorers()[-1]
    config = configured(politeness={"words": ["kindly"]})
    assert config.scoring.of_scorer(politeness).model_dump() == {"words": ("kindly",)}
    assert Config.model_validate(config.model_dump(by_alias=True)) == config
    assert configured().scoring.of_scorer(politeness) == politeness.settings()
    assert configured(politeness=None).scoring.of_scorer(politeness) == politeness.settings()


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"politness": {}}, "scoring.scorers.politness: unknown; did you mean politeness?"),
        ({"toxicity": {}}, "scoring.scorers.toxicity: unknown; known here: odd, politeness"),
        ({"politeness": {"word": ["x"]}}, "scoring.scorers.politeness.word: unknown; did you mean words?"),
        ({"politeness": {"words": 3}}, "scoring.scorers.politeness.words: "),
        ({"odd": {"x": 1}}, "scoring.scorers.odd.x: unknown; known here: nothing"),
    ],
)
def test_mistakes_in_their_settings_are_told_with_the_others(
    example: None, given: dict[str, Any], expected: str
) -> None:
    with pytest.raises(ConfigError) as error:
        parse_config(GOOD | {"scoring": {"scorers": given, "devise": "cpu"}})
    assert len(error.value.problems) == 2
    assert any(problem.startswith(expected) for problem in error.value.problems), error.value.problems


def test_without_the_package_its_settings_are_a_mistake() -> None:
    with pytest.raises(ConfigError, match=r"scoring\.scorers\.politeness: unknown"):
        configured(politeness={})


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("tests.schemas.test_scorers:GOOD", r"sad of \S+ is a dict, and no Scorer"),
        ("no.such.module:X", r"sad of \S+ can't be loaded: ModuleNotFoundError"),
        ("tests.schemas.test_scorers:SECOND_TOXICITY", r"sad of \S+: there is another scorer named toxicity"),
    ],
)
def test_what_can_not_be_a_scorer_is_named(monkeypatch: pytest.MonkeyPatch, value: str, expected: str) -> None:
    points = [EntryPoint("sad", value, installed.ENTRY_POINT)]
    monkeypatch.setattr(installed, "entry_points", lambda group: points)
    scorers.cache_clear()
    try:
        with pytest.raises(ScorerError, match=expected):
            scorers()
    finally:
        scorers.cache_clear()


class Needs(Settings):
    model: str


def column(name: str, of: Any = "response", **other: Any) -> ScoreColumn:
    return ScoreColumn(name, other.pop("comment", "It"), of, **other)


def scorer(*columns: ScoreColumn, name: str = "sad", settings: Any = Settings) -> Scorer:
    return Scorer(name, columns, "sad:load", settings)


SECOND_TOXICITY = scorer(column("response_gloom"), name="toxicity")


@pytest.mark.parametrize(
    ("one", "expected"),
    [
        (scorer(column("response_gloom"), name="so sad"), "its name 'so sad' must be"),
        (scorer(), "it has no columns"),
        (scorer(column("gloom")), "column 'gloom' must be prompt_"),
        (scorer(column("prompt_gloom")), "column 'prompt_gloom' must be prompt_"),
        (scorer(column("response_Gloom")), "column 'response_Gloom' must be"),
        (scorer(column("response_gloom_rate")), "not …_rate"),
        (scorer(column("response_log_gloom")), "not …_rate or …_log_…"),
        (scorer(column("response_gloom", of="all")), "must be of prompt, response or both"),
        (scorer(column("response_gloom", type="string")), "must be a double"),
        (scorer(column("response_gloom", comment="one\ntwo")), "its comment must be one line"),
        (scorer(column("response_gloom"), column("response_gloom")), "there is another column response_gloom"),
        (scorer(column("response_nll")), "there is another column response_nll"),
        (scorer(column("response_gloom"), settings=dict), "its settings are no subclass of Settings"),
        (scorer(column("response_gloom"), settings=Needs), "its settings need defaults: model"),
    ],
)
def test_a_description_that_can_not_be_used_says_why(one: Scorer, expected: str) -> None:
    found = list(problems(one, SCORERS))
    assert len(found) == 1
    assert expected in found[0]


def test_ours_keep_the_rules_for_others() -> None:
    for at, one in enumerate(SCORERS):
        mistakes = [text for text in problems(one, SCORERS[:at]) if "must be a double" not in text]
        assert mistakes == []


def test_the_bounds_of_a_column_are_its_check() -> None:
    assert column("response_gloom").check is None
    assert column("c", at_least=0, at_most=2.5).check == "(c IS NULL OR (c >= 0 AND c <= 2.5))"
    assert column("c", at_most=float("inf")).check == "(c IS NULL OR (c < double('Infinity')))"
    bounded = column("c", at_least=0, at_most=1)
    assert [bounded.holds(value) for value in (-0.1, 0, 1, 1.1)] == [False, True, True, False]


def test_the_example_of_the_docs_is_the_package_that_tests_install() -> None:
    docs = (EXAMPLE.parents[3] / "docs" / "how-to-add.md").read_text(encoding="utf-8")
    for language, name in (("py", "politeness.py"), ("toml", "pyproject.toml")):
        assert f"```{language}\n{(EXAMPLE / name).read_text(encoding='utf-8')}```\n" in docs
    installed_by = (EXAMPLE / "politeness_scorer-1.0.dist-info" / "entry_points.txt").read_text(encoding="utf-8")
    assert "\npoliteness = politeness:POLITENESS\n" in installed_by
