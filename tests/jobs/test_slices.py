"""Slices: expressions over the whole row and text, their windows, and what becomes of them when scores change."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest
from pyspark.sql import functions as F

from jobs import aggregate_windows, doctor, score_responses
from jobs.forget import forget
from jobs.range_metrics import metrics_between
from jobs.reconcile import reconcile
from jobs.scoring import batch, slicing
from jobs.scoring.rescoring import rescore
from jobs.store.tables import local_frame, read_table
from metrics.slices import OTHER
from schemas.config import Config
from schemas.errors import ConfigError
from schemas.measures import PROMPT_LENGTH
from schemas.profile_metrics import PROFILE_METRICS
from schemas.scores import SCORES
from tests import oracle
from tests.spine import COMMITS, run, table
from tests.traffic import START, append, config_in, row

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

CATS = "prompt LIKE '%cat%'"
FIRST_WORD = "element_at(split(prompt, ' '), 1)"
TOXIC = "response_toxicity > 0.5"
FAILS = "100 / (status_code - 200) > 0"
INCOMPLETE = "size(score_errors) > 0"
EXPRS: list[Any] = [CATS, {"expr": FIRST_WORD, "values": ["hello", "the"]}, TOXIC, FAILS, INCOMPLETE]


@pytest.fixture(scope="module")
def sliced(
    spark: SparkSession, language_model: Path, classifier: Path, tmp_path_factory: pytest.TempPathFactory
) -> Config:
    """The spine's month in small in one batch, with slices and without text."""
    config = config_in(tmp_path_factory.mktemp("sliced"), language_model, classifier, slicing_exprs=EXPRS)
    for commit in COMMITS:
        append(spark, config, commit)
    run(spark, config)
    return config


def windows(spark: SparkSession, config: Config) -> pd.DataFrame:
    df = read_table(spark, PROFILE_METRICS, config.output).withColumn("start", F.col("window.start"))
    frame: pd.DataFrame = df.toPandas()
    return frame


def test_each_row_has_one_value_of_each_expression(spark: SparkSession, sliced: Config) -> None:
    scores = table(spark, SCORES, sliced).set_index(["request_id", "exchange_index"])
    slices = {key: dict(one) for key, one in scores["slices"].items()}
    assert {key: one[CATS] for key, one in slices.items() if one[CATS] == "true"} == {("batch", 0): "true"}
    assert {key[0]: one[FIRST_WORD] for key, one in slices.items() if key[1] == 0} == {
        "a": "hello", "b": OTHER, "c": "hello", "d": "hello", "error": "hello", "empty": OTHER, "e": "hello",
        "late": "hello", "batch": "the",
    }  # fmt: skip
    assert {key[0] for key, one in slices.items() if one[FAILS] != OTHER} == {"error"}, "an error is no value"
    assert slices["error", 0][TOXIC] == OTHER, "NULL is none of the values"
    assert scores["prompt"].isna().all(), "text that is not stored can be sliced by"


def test_windows_of_a_slice_equal_a_recomputation_in_pandas(spark: SparkSession, sliced: Config) -> None:
    stored, scores = windows(spark, sliced), table(spark, SCORES, sliced)
    names = ["granularity", "start", "model_version", "column_name", "scorer_fingerprint"]
    longer = [one for one in sliced.granularities if one != "1 minute"]
    for expr in (CATS, FIRST_WORD, TOXIC, FAILS):
        values = scores["slices"].map(lambda slices, expr=expr: dict(slices)[expr])
        for value in values.unique():
            mine = stored[(stored["slice_key"] == expr) & (stored["slice_value"] == value)]
            found = {tuple(one[name] for name in names): one for one in mine.to_dict("records")}
            expected = oracle.profile(scores[values == value].reset_index(drop=True), longer)
            assert set(found) == set(expected)
            for key, figures in expected.items():
                for name in ("count", "num_nulls", "sum", "weighted_count"):
                    if name in figures:
                        assert oracle.same(found[key][name], figures[name]), (expr, value, key, name)
    assert set(stored[stored["slice_key"].isna()]["granularity"]) == set(sliced.granularities)
    assert reconcile(spark, sliced).problems == []


def test_a_range_of_slices_sums_up_to_the_whole(spark: SparkSession, sliced: Config) -> None:
    since, until = START, START + timedelta(days=2)
    columns = {"columns": ["requests"], "by": ["slice"]}
    found: pd.DataFrame = metrics_between(spark, sliced, since, until, **columns).toPandas()  # type: ignore[arg-type]
    sums = found.groupby("slice_key")["count"].sum().to_dict()
    assert sums == dict.fromkeys([*(one.expr for one in sliced.slicing_exprs), PROMPT_LENGTH], 10)
    with pytest.raises(ConfigError, match="the shortest of which are of 5 minutes"):
        metrics_between(spark, sliced, since, since + timedelta(minutes=6), by=["slice"])


@pytest.mark.long
def test_a_function_that_fails_on_a_row_stops_nothing(
    spark: SparkSession,
    language_model: Path,
    classifier: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    no_group = "regexp_extract(prompt, 'hello') <> ''"
    config = config_in(tmp_path, language_model, classifier, slicing_exprs=[no_group, CATS])
    append(spark, config, [row("a", prompt="no match")])

    # Another failure is none of an expression's.
    def full(*_: object, **__: object) -> None:
        raise OSError("No space left on device")

    with monkeypatch.context() as disk, pytest.raises(Exception, match="No space left on device"):
        disk.setattr(batch, "insert_new", full)
        score_responses.start(spark, config, trigger="availableNow").awaitTermination()
    assert "fails on some rows" not in caplog.text

    append(spark, config, [row("b", prompt="a cat says hello"), row("c", prompt="a cat")])
    score_responses.start(spark, config, trigger="availableNow").awaitTermination()

    def slices() -> dict[str, list[str]]:
        scores = table(spark, SCORES, config).set_index("request_id")["slices"].map(dict)
        return {key: [one[no_group], one[CATS]] for key, one in scores.items()}

    expected = {"a": ["false", "false"], "b": [OTHER, "true"], "c": ["false", "true"]}
    assert slices() == expected
    assert f"fails on some rows, which are in {OTHER}: {no_group}" in caplog.text
    assert "says hello" not in caplog.text

    values = config.model_dump(by_alias=True)
    values["scoring"]["toxicity"]["label"] = "nothate"
    again = Config.model_validate(values)
    assert rescore(spark, again, since=START.date(), until=START.date()).rows == 3
    assert slices() == expected


def test_an_expression_that_fails_on_many_rows_is_given_up(
    spark: SparkSession, monkeypatch: pytest.MonkeyPatch, language_model: Path, classifier: Path, tmp_path: Path
) -> None:
    monkeypatch.setattr(slicing, "TRIES", 4)
    fails = "regexp_extract(prompt, 'h') <> ''"
    config = config_in(tmp_path, language_model, classifier, slicing_exprs=[fails, CATS])
    rows = [{"request_id": f"{i}", "exchange_index": 0, "prompt": f"h cat {i}"} for i in range(32)]
    written = []
    slicing.write_sliced(
        local_frame(spark, rows, SCORES.schema), config, lambda df: written.append(df.select("slices").collect())
    )
    assert [one["slices"] for one in written[0]] == [{fails: OTHER, CATS: "true"}] * 32


def test_slices_of_an_expression_sum_up_to_the_whole(spark: SparkSession, sliced: Config) -> None:
    requests = windows(spark, sliced).query("column_name == 'requests' and granularity != '1 minute'")
    keys = ["granularity", "start", "model_version"]
    whole = requests[requests["slice_key"].isna()].set_index(keys)["sum"].sort_index()
    for _, slices in requests.groupby("slice_key"):
        pd.testing.assert_series_equal(slices.groupby(keys)["sum"].sum(), whole)


@pytest.mark.long
def test_slices_by_a_score_follow_it(spark: SparkSession, sliced: Config) -> None:
    values = sliced.model_dump(by_alias=True)
    values["scoring"]["toxicity"]["label"] = "nothate"
    config = Config.model_validate(values)
    before = table(spark, SCORES, sliced).set_index(["request_id", "exchange_index"])["slices"].map(dict)
    assert rescore(spark, config, since=date(2026, 4, 1), until=date(2026, 4, 2)).days == 2
    after = table(spark, SCORES, config).set_index(["request_id", "exchange_index"])["slices"].map(dict)
    other = {"true": "false", "false": "true", OTHER: OTHER}
    for key, slices in after.items():
        assert slices == before[key] | {TOXIC: other[before[key][TOXIC]]}
    aggregate_windows.start(spark, config, trigger="availableNow").awaitTermination()
    assert reconcile(spark, config).problems == []
    test_slices_of_an_expression_sum_up_to_the_whole(spark, config)


@pytest.mark.long
def test_slices_sum_up_to_the_whole_when_one_was_forgotten(
    spark: SparkSession, language_model: Path, classifier: Path, tmp_path: Path
) -> None:
    config = config_in(tmp_path, language_model, classifier, slicing_exprs=[CATS])
    hour = timedelta(hours=1)
    rows = [row("cat", prompt="the cat"), row("dog", prompt="the dog", version="7"), row("alone", at=hour)]
    append(spark, config, rows)
    run(spark, config)
    forget(spark, config, request_ids=["cat", "alone"])
    append(spark, config, [row("late", at=timedelta(minutes=30), prompt="the dog", version="7")])
    run(spark, config)
    requests = windows(spark, config).query("column_name == 'requests' and granularity == '1 hour'")
    requests = requests[requests["slice_key"].isna() | (requests["slice_key"] == CATS)]
    first = requests["start"] == requests["start"].min()
    assert set(requests[first]["model_version"]) == {"7", "*"}
    whole = requests["slice_key"].isna()
    assert requests[first & whole]["sum"].tolist() == requests[first & ~whole]["sum"].tolist() == [2.0, 2.0]
    # What was forgotten alone stays: nothing is beside it.
    assert requests[~first & whole]["sum"].tolist() == [1.0, 1.0]
    assert reconcile(spark, config).problems == []


def test_mistakes_are_listed_before_anything_is_written(
    spark: SparkSession, language_model: Path, classifier: Path, tmp_path: Path
) -> None:
    wrong = ["no_such_column > 1", "prompt", "count(*) > 1", "prompt >", CATS]
    config = config_in(tmp_path, language_model, classifier, slicing_exprs=wrong)
    append(spark, config, COMMITS[0])
    with pytest.raises(ConfigError) as error:
        score_responses.start(spark, config, trigger="availableNow")
    assert [problem.split(":")[0] for problem in error.value.problems] == [f"slicing_exprs.{i}" for i in range(4)]
    assert "list its values (got 'prompt')" in error.value.problems[1]
    assert not (tmp_path / "tables").exists()
    found = [one for one in doctor.examine(spark, config, now=datetime.now(UTC)) if one.check == "slices"]
    assert [one.level for one in found] == ["failed"]
    assert "no_such_column" in found[0].text
    right = config_in(tmp_path, language_model, classifier, slicing_exprs=[CATS])
    found = [one for one in doctor.examine(spark, right, now=datetime.now(UTC)) if one.check == "slices"]
    assert [(one.level, one.text) for one in found] == [("ok", CATS)]
    with pytest.raises(ConfigError, match="must be different ones"):
        config_in(tmp_path, language_model, classifier, slicing_exprs=[CATS, {"expr": CATS}])
