"""What a page reads: windows once, and again where they were written elsewhere than on the driver."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa  # type: ignore[import-untyped]
import pytest
from pyspark.sql import functions as F

from jobs.store.tables import create_table, delete_rows, insert_new, local_frame, read_table, set_rows
from jobs.windows.drawn import PageCache, page_metrics
from metrics.aggregate.current import current_metrics
from metrics.aggregate.statistics import STATISTICS_SCHEMA
from metrics.dashboard.charts import NEEDS
from schemas.config import Config, parse_config
from schemas.profile_metrics import PROFILE_METRICS

if TYPE_CHECKING:
    from pyspark.sql import Column, SparkSession

NEWEST = date(2026, 4, 1)
LONG_AGO = NEWEST - timedelta(days=200)
LENGTHS = {"1 minute": timedelta(minutes=1), "1 hour": timedelta(hours=1), "1 day": timedelta(days=1)}


def window(day: date, granularity: str = "1 day", **values: Any) -> dict[str, Any]:
    start = datetime.combine(day, datetime.min.time(), UTC)
    column = {"1 minute": "response_flesch_kincaid", "1 hour": "output_tokens", "1 day": "requests"}[granularity]
    return {
        "window": {"start": start, "end": start + LENGTHS[granularity]},
        "window_date": day,
        "granularity": granularity,
        "model_version": "7",
        "column_name": column,
        "count": 1,
        "num_nulls": 0,
        "sum": 1.0,
        "revision": 1,
        "updated_at": datetime(2026, 4, 2, tzinfo=UTC),
    } | values


def insert(spark: SparkSession, config: Config, *windows: dict[str, Any]) -> None:
    insert_new(local_frame(spark, windows, PROFILE_METRICS.schema), PROFILE_METRICS, config.output)


@pytest.fixture
def config(spark: SparkSession, tmp_path: Path) -> Config:
    config = parse_config({"source": {"path": "/none"}, "output": {"path": str(tmp_path)}})
    create_table(spark, PROFILE_METRICS, config.output)
    insert(spark, config, window(LONG_AGO), window(NEWEST))
    return config


def shown(spark: SparkSession, config: Config, cache: PageCache) -> dict[date, float]:
    """Sums of the day windows of a page."""
    days = page_metrics(spark, config, NEEDS, cache).query("granularity == '1 day'")
    return {start.date(): total for start, total in zip(days["window_start"], days["sum"], strict=True)}


def of(day: date) -> Column:
    return F.col("window_date") == F.lit(day)


def test_a_page_has_all_days_and_a_month_of_minutes_and_hours(spark: SparkSession, config: Config) -> None:
    ages = (0, 1, 2, 30, 31, 199)
    some = [window(NEWEST - timedelta(days=age), length) for age in ages for length in LENGTHS]
    insert(spark, config, *(one for one in some if one["window_date"] != NEWEST or one["granularity"] != "1 day"))
    found = page_metrics(spark, config, NEEDS)
    found["age"] = [(NEWEST - start.date()).days for start in found["window_start"]]
    assert found.groupby("granularity")["age"].apply(sorted).to_dict() == {
        "1 minute": [0, 1, 2, 30],
        "1 hour": [0, 1, 2, 30],
        "1 day": [0, 1, 2, 30, 31, 199, 200],
    }


def test_windows_are_read_once(spark: SparkSession, config: Config) -> None:
    """Again only where this process has written them; who else writes windows is refused by the hop's lock."""
    yesterday, before = NEWEST - timedelta(days=1), NEWEST - timedelta(days=2)
    insert(spark, config, window(yesterday), window(before))
    everything, cache = (LONG_AGO, before, yesterday, NEWEST), PageCache()
    assert shown(spark, config, cache) == dict.fromkeys(everything, 1.0)
    set_rows(spark, PROFILE_METRICS, config.output, F.lit(True), {"sum": F.lit(5.0)})
    assert shown(spark, config, cache) == dict.fromkeys(everything, 1.0)
    cache.written({NEWEST, LONG_AGO})
    assert shown(spark, config, cache) == {LONG_AGO: 5.0, before: 1.0, yesterday: 1.0, NEWEST: 5.0}
    insert(spark, config, window(NEWEST + timedelta(days=1)))
    delete_rows(spark, PROFILE_METRICS, config.output, of(LONG_AGO))
    cache.written({LONG_AGO, NEWEST + timedelta(days=1)})
    assert shown(spark, config, cache) == {before: 1.0, yesterday: 1.0, NEWEST: 5.0, NEWEST + timedelta(days=1): 1.0}
    cache.written(None)
    assert shown(spark, config, cache)[before] == 5.0


def figures(*windows: dict[str, Any]) -> pa.Table:
    """Windows as they are computed on the driver."""
    return pa.Table.from_pylist(list(windows), STATISTICS_SCHEMA)


def test_what_was_computed_here_is_not_read(spark: SparkSession, config: Config) -> None:
    cache, tomorrow = PageCache(), NEWEST + timedelta(days=1)
    assert shown(spark, config, cache) == {LONG_AGO: 1.0, NEWEST: 1.0}
    sliced = window(NEWEST, sum=9.0) | {"slice_key": "prompt_length", "slice_value": "over 300 words"}
    other = window(NEWEST, sum=9.0, column_name="cost")
    cache.written({NEWEST, tomorrow}, figures(window(NEWEST, sum=3.0), sliced, other, window(tomorrow, sum=4.0)))
    assert shown(spark, config, cache) == {LONG_AGO: 1.0, NEWEST: 3.0, tomorrow: 4.0}
    minute = window(NEWEST, "1 minute")
    cache.written({NEWEST}, figures(minute))
    assert len(page_metrics(spark, config, NEEDS, cache).query("granularity == '1 minute'")) == 1
    # The month moves on, and the minute with it.
    cache.written({NEWEST + timedelta(days=31)}, figures(window(NEWEST + timedelta(days=31))))
    assert set(page_metrics(spark, config, NEEDS, cache)["granularity"]) == {"1 day"}


def test_a_window_that_was_only_computed_again_stays_as_old_as_it_is(spark: SparkSession, config: Config) -> None:
    """Of two scorers of one window the one that was written last is drawn: as the table has it."""
    insert(spark, config, window(NEWEST, scorer_fingerprint="first", count=9, sum=9.0))
    cache = PageCache()
    shown(spark, config, cache)
    marks = {"first": 9, "second": 1}
    both = (window(NEWEST, scorer_fingerprint=name, count=n, sum=float(n)) for name, n in marks.items())
    cache.written({NEWEST}, figures(*both))
    assert shown(spark, config, cache)[NEWEST] == 1.0


def test_of_several_scorers_the_newest_is_drawn(spark: SparkSession, config: Config) -> None:
    """The same as the view ``current_metrics`` has."""
    scorers = [
        # measure, days ago, scorer, hours after which it was written, count
        ("prompt_toxicity", 0, "b", 0, 1),  # began last
        ("prompt_toxicity", 1, "a", 9, 9),
        ("prompt_toxicity", 200, "a", 0, 1),
        ("response_toxicity", 50, "b", 1, 1),  # was written last
        ("response_toxicity", 50, "a", 0, 9),
        ("response_perplexity", 50, "b", 1, 9),  # has more rows
        ("response_perplexity", 50, "a", 1, 1),
        ("input_tokens", 0, None, 0, 1),  # began last
        ("input_tokens", 1, "a", 0, 1),
    ]
    rows = [
        window(
            NEWEST - timedelta(days=ago),
            column_name=measure,
            scorer_fingerprint=scorer,
            updated_at=datetime(2026, 4, 2, hours, tzinfo=UTC),
            count=count,
            sum=float(index),
        )
        for index, (measure, ago, scorer, hours, count) in enumerate(scorers)
    ]
    insert(spark, config, *rows)
    for version in ("6", None):
        insert(spark, config, window(NEWEST, model_version=version, column_name="prompt_toxicity", sum=20.0))
    found = page_metrics(spark, config, NEEDS)
    windows = read_table(spark, PROFILE_METRICS, config.output).transform(current_metrics)
    expected = sorted(tuple(row) for row in windows.select("column_name", "sum").collect())
    assert sorted(zip(found["column_name"], found["sum"], strict=True)) == expected
    assert sorted(found.query("column_name != 'requests'")["sum"]) == [0.0, 3.0, 5.0, 7.0, 20.0, 20.0]
