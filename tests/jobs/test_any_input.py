"""Whatever the order of arrival, however it is cut into commits and batches, whatever comes twice: the same tables."""

from __future__ import annotations

import random
import shutil
from collections.abc import Sequence
from pathlib import Path
from tempfile import mkdtemp
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from jobs.reconcile import reconcile
from schemas.config import Config
from tests.spine import COMMITS, assert_same, contents, run
from tests.traffic import append, config_in, row

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

Rows = list[dict[str, Any]]
Commits = list[Rows]
Models = tuple[Path, Path]
Tables = dict[str, list[list[Any]]]
NO_KEY = [row("", prompt="no id"), row("no time") | {"timestamp_ms": None}]
ROWS = [one for commit in COMMITS for one in commit] + NO_KEY
FULL: dict[str, Any] = {"text": {"store": "full"}}


@st.composite
def arrivals(draw: st.DrawFn) -> tuple[Commits, int]:
    """The rows in any order with some of them again, cut into one to three commits; and how many files make a batch."""
    again = draw(st.lists(st.sampled_from(ROWS), max_size=6))
    order = draw(st.permutations([*ROWS, *again]))
    cuts = sorted(draw(st.lists(st.integers(0, len(order)), max_size=2)))
    commits = [order[a:b] for a, b in zip([0, *cuts], [*cuts, len(order)], strict=True)]
    return [commit for commit in commits if commit], draw(st.integers(1, 2))


@pytest.fixture(scope="module")
def models(language_model: Path, classifier: Path) -> Models:
    return language_model, classifier


def monitored(
    spark: SparkSession, models: Models, folder: Path, commits: Sequence[Rows], files: int, **extra: Any
) -> Config:
    source = {"path": str(folder / "inference"), "max_files_per_trigger": files}
    config = config_in(folder, *models, source=source, **extra)
    for commit in commits:
        append(spark, config, commit)
    run(spark, config)
    return config


@pytest.fixture(scope="module")
def expected(spark: SparkSession, models: Models, tmp_path_factory: pytest.TempPathFactory) -> Tables:
    """Everything in one batch."""
    config = monitored(spark, models, tmp_path_factory.mktemp("expected"), [ROWS], 1, **FULL)
    assert reconcile(spark, config).problems == []
    return contents(spark, config)


def check(spark: SparkSession, models: Models, expected: Tables, arrival: tuple[Commits, int], **extra: Any) -> None:
    folder = Path(mkdtemp())
    try:
        config = monitored(spark, models, folder, *arrival, **extra)
        assert_same(contents(spark, config), expected)
        assert reconcile(spark, config).problems == []
    finally:
        shutil.rmtree(folder)


SLOW = settings(deadline=None, suppress_health_check=list(HealthCheck), database=None, print_blob=True)


def reversed_in_two(rows: Rows) -> tuple[Commits, int]:
    """The reverse order, in two commits of a batch each, and some rows in both."""
    back = rows[::-1]
    return [back[:9], [*back[9:], *back[3:12]]], 1


def test_any_arrival_gives_the_same_tables(spark: SparkSession, models: Models, month: Config) -> None:
    """In another order each time the tests run, in two commits, with some rows twice; pytest shows a failure's seed."""
    seed = random.SystemRandom().randrange(2**32)
    print(f"seed {seed}")
    draw, rows = random.Random(seed), ROWS[: -len(NO_KEY)]
    order = draw.sample([*rows, *draw.choices(rows, k=6)], len(rows) + 6)
    cut = draw.randrange(4, len(rows))
    check(spark, models, contents(spark, month), ([order[:cut], order[cut:]], 1))


@pytest.mark.long
@settings(SLOW, max_examples=40)
@example(arrival=reversed_in_two(ROWS))
@given(arrival=arrivals())
def test_many_arrivals_give_the_same_tables(
    spark: SparkSession, models: Models, expected: Tables, arrival: tuple[Commits, int]
) -> None:
    check(spark, models, expected, arrival, **FULL)
