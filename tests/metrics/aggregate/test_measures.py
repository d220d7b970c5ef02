"""``MEASURES``: every one has what it is read and compared by."""

from __future__ import annotations

import pytest

from metrics.aggregate.rows import ROW_COLUMNS
from schemas.measures import BY_NAME, MEASURES, Measure, measures_mark
from schemas.scores import SCORED_COLUMNS, SCORES

NUMBERS = ("int", "bigint", "double")
NO_MEASURES = {"exchange_index", "status_code", "batch_id", "sample_rate"}
"""Numeric columns of scores that are codes, ids or settings."""


def test_every_numeric_column_is_a_measure() -> None:
    columns = {c.name for c in SCORES.columns if c.type in NUMBERS}
    assert columns - set(BY_NAME) == NO_MEASURES
    assert set(SCORED_COLUMNS) <= set(BY_NAME)


def test_names_are_distinct() -> None:
    assert len(BY_NAME) == len(MEASURES)


@pytest.mark.parametrize("one", MEASURES, ids=lambda one: one.name)
def test_a_measure_says_what_it_is(one: Measure) -> None:
    assert one.title
    assert (one.value is None) == (one.kind == "category")
    assert one.kind != "ratio" or {one.scorer, one.over} <= set(BY_NAME)
    assert one.scorer is None or one.scorer in SCORED_COLUMNS
    assert not one.log or f"log_{one.name}" in BY_NAME
    assert one.kind != "category" or one.name in ROW_COLUMNS


def test_another_list_has_another_mark() -> None:
    assert measures_mark().startswith(f"{len(MEASURES)} ")
