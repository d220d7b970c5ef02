"""Any range out of stored windows, on the demo's month: equal to pandas on the rows, and without reading them."""

from __future__ import annotations

import json
import shutil
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest

from jobs import cli
from jobs.range_metrics import as_json, metrics_between
from metrics.aggregate.ranges import Tile, tiles
from schemas.config import Config, load_config
from schemas.errors import ConfigError
from tests import oracle

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

GRANULARITIES = ("1 minute", "5 minutes", "1 hour", "1 day")
RANK_ERROR = 0.017


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def test_a_range_is_tiled_by_few_windows() -> None:
    found = tiles(at("2026-04-01 22:58"), at("2026-04-04 00:06"), GRANULARITIES)
    assert [(one.granularity, (one.until - one.since) // 60) for one in found] == [
        ("1 minute", 2), ("1 hour", 60), ("1 day", 2880), ("5 minutes", 5), ("1 minute", 1),
    ]  # fmt: skip
    assert [one.since for one in found[1:]] == [one.until for one in found[:-1]]
    start = int(at("2026-04-01").timestamp())
    assert tiles(at("2026-04-01"), at("2026-04-03"), GRANULARITIES) == [Tile("1 day", start, start + 172800)]
    # Lengths that don't divide each other: a long one is no help where its ends can't be reached.
    odd = tiles(at("2026-04-01 00:45"), at("2026-04-01 03:00"), ("45 minutes", "1 hour"))
    assert odd == [Tile("45 minutes", start + 2700, start + 10800)]
    for since, until in (("2026-04-01 00:00:30", "2026-04-02"), ("2026-04-01", "2026-04-02 00:00:01")):
        with pytest.raises(ValueError, match="the shortest of which are of 1 minute"):
            tiles(at(since), at(until), GRANULARITIES)


@pytest.fixture(scope="module")
def scores(spark: SparkSession, demo_folder: Path) -> pd.DataFrame:
    frame: pd.DataFrame = spark.read.format("delta").load(str(demo_folder / "tables/scores")).toPandas()
    return frame.sort_values("request_time", ignore_index=True)


@pytest.fixture(scope="module")
def config(demo_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Config:
    """The demo's windows alone: there is no other table to read."""
    folder = tmp_path_factory.mktemp("windows")
    shutil.copytree(demo_folder / "tables/profile_metrics", folder / "profile_metrics")
    return load_config(str(demo_folder / "config.yaml"), [f"output.path={folder}"])


def check(row: dict[str, Any], rows: pd.DataFrame) -> None:
    """One merged row against the rows of ``scores`` in its range."""
    values, _ = oracle.measured(rows, 0.5)[row["column_name"]]
    weights = (1 / rows["sampling_fraction"].where(rows["sampling_fraction"] > 0)).fillna(1.0)
    figures = oracle.figures(values, weights)
    for name in ("count", "num_nulls", "avg", "stddev", "min", "max", "sum", "weighted_count", "weighted_avg"):
        # A deviation of nearly equal values is nothing but their rounding.
        rel, least = (1e-6, 1e-9) if name == "stddev" else (1e-9, 1e-12)
        expected = None if figures[name] is None else pytest.approx(figures[name], rel=rel, abs=least)
        assert row[name] == expected, (row["column_name"], name)
    if row["median"] is None:
        return
    ordered = np.sort(values.dropna().to_numpy())
    for p, quantile in zip(np.arange(21) / 20, row["quantiles"], strict=True):
        below = np.searchsorted(ordered, quantile, "left") / len(ordered)
        upto = np.searchsorted(ordered, quantile, "right") / len(ordered)
        assert below - RANK_ERROR <= p <= upto + RANK_ERROR, (row["column_name"], p)


def test_a_ragged_range_equals_its_rows(spark: SparkSession, config: Config, scores: pd.DataFrame) -> None:
    times = scores["request_time"].dt.floor("min")
    since, until = times.iloc[len(times) // 10], times.iloc[len(times) * 9 // 10]
    inside = scores[(scores["request_time"] >= since) & (scores["request_time"] < until)]
    assert len(inside) > 200, "more than a sketch keeps exactly"
    found = as_json(metrics_between(spark, config, at(str(since)), at(str(until)), by=["version"]))
    assert {one["model_version"] for one in found} == set(inside["model_version"])
    checked = 0
    for one in found:
        rows = inside[inside["model_version"] == one["model_version"]]
        if one["column_name"] in oracle.CATEGORIES:
            expected = rows[one["column_name"]].dropna().value_counts().to_dict()
            assert (one["count"], one["frequencies"]) == (sum(expected.values()), expected)
        elif one["column_name"] == "corpus_perplexity":
            scored = rows.dropna(subset=["response_nll"])
            expected = np.exp(scored["response_nll"].sum() / scored["response_scored_tokens"].sum())
            assert (one["count"], one["avg"]) == (len(scored), pytest.approx(expected, rel=1e-9))
            assert (one["sum"], one["quantiles"]) == (None, None)
        else:
            check(one, rows)
            checked += 1
    assert checked > 60
    whole = as_json(metrics_between(spark, config, at(str(since)), at(str(until)), columns=["requests"]))
    assert [(one["model_version"], one["count"]) for one in whole] == [("*", len(inside))]


@pytest.mark.parametrize("granularity", ["6 hours", "2 days"])
def test_periods_equal_their_rows(spark: SparkSession, config: Config, scores: pd.DataFrame, granularity: str) -> None:
    # Periods that don't divide a day begin with the range.
    first = scores["request_time"].iloc[0].floor("D") - pd.Timedelta("1 day")
    until = scores["request_time"].iloc[-1].ceil("D")
    length = pd.Timedelta(granularity)
    found = as_json(
        metrics_between(
            spark, config, at(str(first)), at(str(until)), granularity=granularity, columns=["response_perplexity"]
        )
    )
    pieces = (scores["request_time"] - first) // length
    assert len(found) == pieces.nunique() > 2
    for one, (_, rows) in zip(found, scores.groupby(pieces), strict=True):
        check(one, rows)


def test_the_command(demo_folder: Path, scores: pd.DataFrame, capsys: pytest.CaptureFixture[str]) -> None:
    day = scores["request_time"].dt.date.iloc[len(scores) // 2]
    of_day = scores[scores["request_time"].dt.date == day]
    command = ["metrics", "--config", str(demo_folder / "config.yaml"), "--since", str(day)]
    # A date is a whole day, a time an end.
    until = str(day + timedelta(days=1))
    for end in (str(day), f"{until} 00:00", f"{until}T02:00:00+02:00"):
        assert cli.main([*command, "--until", end, "--column", "requests", "--json"]) == 0
        (one,) = json.loads(capsys.readouterr().out)
        assert (one["count"], one["column_name"]) == (len(of_day), "requests")
        assert one["since"] >= f"{day}T00:00:00+00:00"
    assert cli.main([*command, "--until", str(day), "--by", "version"]) == 0
    out = capsys.readouterr().out
    assert "response_perplexity" in out
    assert "endpoint_name " in out.splitlines()[2]
    assert cli.main([*command, "--until", "2001-01-01", "--since", "2000-01-01"]) == 0
    assert capsys.readouterr().out == "no windows in this range\n"

    assert cli.main([*command, "--until", f"{until} 00:00:30"]) == 2
    assert "must begin and end with windows, the shortest of which are of 1 minute" in capsys.readouterr().err
    assert cli.main([*command, "--until", str(day), "--granularity", "90 seconds"]) == 2
    assert cli.main([*command, "--until", "2000-01-01"]) == 2
    assert "is not before --until 2000-01-02" in capsys.readouterr().err
    for wrong in (["--until", "tomorrow"], ["--until", str(day), "--granularity", "day"]):
        with pytest.raises(SystemExit) as ended:
            cli.main([*command, *wrong])
        assert ended.value.code == 2


def test_a_range_needs_windows_that_fit(spark: SparkSession, config: Config) -> None:
    days = config.model_copy(update={"granularities": ("1 day",)})
    with pytest.raises(ConfigError, match="the shortest of which are of 1 day"):
        metrics_between(spark, days, at("2026-04-01 12:00"), at("2026-04-03"))
    with pytest.raises(ConfigError, match="has no periods of 1 hour: windows are of 1 day"):
        metrics_between(spark, days, at("2026-04-01"), at("2026-04-03"), granularity="1 hour")


def test_windows_of_a_length_that_came_later_are_missed(spark: SparkSession, config: Config) -> None:
    more = config.model_copy(update={"granularities": (*GRANULARITIES, "6 hours")})
    with pytest.raises(ConfigError, match="lacks windows of 6 hours from 2026-04-0"):
        metrics_between(spark, more, at("2026-04-01 06:00"), at("2026-04-30 18:00"))
    assert metrics_between(spark, more, at("2026-04-01"), at("2026-05-01")).count() > 0, "days are there"


def test_of_several_lengths_that_are_there_any_misses_a_longer_one(
    spark: SparkSession, config: Config, tmp_path: Path
) -> None:
    shutil.copytree(f"{config.output.path}/profile_metrics", tmp_path / "profile_metrics")
    few = config.model_copy(update={"output": config.output.model_copy(update={"path": str(tmp_path)})})
    spark.sql(f"DELETE FROM delta.`{tmp_path}/profile_metrics` WHERE granularity IN ('1 minute', '1 day')")
    with pytest.raises(ConfigError, match="lacks windows of 1 day from 2026-04-0"):
        metrics_between(spark, few, at("2026-04-01"), at("2026-05-01"))


def test_version_9_comes_before_10(spark: SparkSession, config: Config, tmp_path: Path) -> None:
    shutil.copytree(f"{config.output.path}/profile_metrics", tmp_path / "profile_metrics")
    renamed = config.model_copy(update={"output": config.output.model_copy(update={"path": str(tmp_path)})})
    spark.sql(
        f"UPDATE delta.`{tmp_path}/profile_metrics` SET model_version = CAST(model_version + 3 AS int) "
        "WHERE granularity = '1 day' AND model_version <> '*'"
    )
    found = metrics_between(spark, renamed, at("2026-04-01"), at("2026-05-01"), by=["version"], columns=["requests"])
    assert [one["model_version"] for one in found.collect()] == ["9", "10"]


def test_times_are_utc_wherever_it_runs(spark: SparkSession, config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    found = metrics_between(spark, config, at("2026-04-01"), at("2026-05-01"), columns=["requests"])
    (here,) = as_json(found)
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    try:
        assert as_json(found) == [here]
    finally:
        monkeypatch.undo()
        time.tzset()
    assert here["since"].endswith("+00:00")
