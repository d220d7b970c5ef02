"""One month in small, how it is run, and what of its tables must not depend on history; shared by the spine tests."""

from __future__ import annotations

import shutil
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest

from jobs import aggregate_windows, score_responses
from jobs.store.tables import read_table
from schemas import Table
from schemas.config import Config
from schemas.feedback import FEEDBACK
from schemas.profile_metrics import PROFILE_METRICS
from schemas.quarantine import QUARANTINE
from schemas.scores import SCORES
from tests.traffic import row

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

#  day 0, minute  0  1  3 | 5        hour 2      | day 1            arrival: "late" comes with the last commit
COMMITS = [
    [
        row("a", prompt="hello world", response="the cat sat on the mat", milliseconds=100),
        row("b", at=timedelta(minutes=1), prompt="you are stupid", response="please run", milliseconds=200),
        row("c", at=timedelta(minutes=5), response="the dog ran under a table", fraction=0.25),
        row("a", prompt="hello world", response="the cat sat on the mat", milliseconds=100),
    ],
    [
        row("d", at=timedelta(hours=2), version="7", response="a cat"),
        row("error", at=timedelta(hours=2), version="7", status=500, response_body='{"error_code": "INTERNAL"}'),
        row("b", at=timedelta(minutes=1), prompt="you are stupid", response="please run", milliseconds=200),
        row("empty", at=timedelta(hours=2, minutes=1), version="7", prompt="", response="   "),
        row("broken", at=timedelta(hours=3), version="7", request='{"messages": [{"role": "us'),
    ],
    [
        row("e", at=timedelta(days=1), version="7", response="hello and hello", fraction=0.5),
        row("late", at=timedelta(minutes=3), version="6", response="slow job"),
        row("broken", at=timedelta(hours=3), version="7", request='{"messages": [{"role": "us'),
        row(
            "batch",
            at=timedelta(days=1, hours=1),
            version="7",
            request='{"dataframe_records": [{"query": "the cat"}, {"query": "the dog"}]}',
            response_body='{"predictions": ["sat", "ran fast"]}',
        ),
        row(
            "rating",
            at=timedelta(days=1),
            request='{"dataframe_records": [{"request_id": "a", "text_assessments": [{"ratings": {"good": 1}}]}]}',
            response_body='{"predictions": [{}]}',
        ),
    ],
]


def run(spark: SparkSession, config: Config) -> None:
    """One availableNow run of both hops."""
    score_responses.start(spark, config, trigger="availableNow").awaitTermination()
    aggregate_windows.start(spark, config, trigger="availableNow").awaitTermination()


def forget_last_commit(config: Config, hop: str) -> None:
    """Take from a query's checkpoint that its last batch is done: it is replayed."""
    commits = Path(config.checkpoint(hop)) / "commits"
    newest = max((p for p in commits.iterdir() if p.name.isdigit()), key=lambda p: int(p.name))
    newest.unlink()
    (commits / f".{newest.name}.crc").unlink(missing_ok=True)


def copy_of(config: Config, folder: Path) -> Config:
    """The same tables and checkpoints in another folder."""
    old = Path(str(config.output.path)).parent
    shutil.copytree(old, folder, dirs_exist_ok=True)
    values = config.model_dump(by_alias=True)
    values["source"]["path"] = str(folder / "inference")
    values["output"]["path"] = str(folder / "tables")
    return Config.model_validate(values)


def table(spark: SparkSession, table: Table, config: Config) -> pd.DataFrame:
    return read_table(spark, table, config.output).toPandas()


HISTORY = ("scored_at", "checkpoint_id", "batch_id", "quarantined_at", "revision", "updated_at")
RANDOM = ("sketch", "quantiles", "median")
IF_KNOWN = {FEEDBACK.name: ("request_date",)}  # of a request that comes after its rating
DIFFERENCE = ("stddev",)  # of nearly equal scores it is nothing but their rounding


def contents(spark: SparkSession, config: Config, *names: str) -> dict[str, list[list[Any]]]:
    """What of the tables (all, or the named ones) must not depend on history: no times, bookkeeping or sketches."""
    other = (*HISTORY, *RANDOM, *DIFFERENCE)
    return {
        one.name: sorted(
            (
                [dict(value) if isinstance(value, dict) else value for value in row]
                for row in read_table(spark, one, config.output).drop(*other, *IF_KNOWN.get(one.name, ())).collect()
            ),
            key=lambda row: repr([value for value in row if not isinstance(value, float | dict)]),
        )
        for one in (SCORES, QUARANTINE, FEEDBACK, PROFILE_METRICS)
        if not names or one.name in names
    }


def assert_same(one: dict[str, list[list[Any]]], other: dict[str, list[list[Any]]]) -> None:
    """Equal rows. Scores may differ by float rounding, since which texts share a batch depends on history."""
    assert one.keys() == other.keys()
    for name, rows in one.items():
        assert len(rows) == len(other[name])
        for left, right in zip(rows, other[name], strict=True):
            for a, b in zip(left, right, strict=True):
                assert a == (pytest.approx(b, rel=1e-5, abs=1e-6) if isinstance(b, float) else b), (name, left, right)
