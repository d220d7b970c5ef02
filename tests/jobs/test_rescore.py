"""Other scorers for what is scored already, sampling, and windows of two scorers side by side; on real Delta tables."""

from __future__ import annotations

import json
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest
import torch
import yaml
from pyspark.sql import functions as F

from jobs import aggregate_windows, rescore, score_responses
from jobs.reconcile import reconcile
from jobs.scoring import rescoring
from jobs.scoring.scorers import scorer_settings
from jobs.scoring.spread import spread
from jobs.store.checkpoints import AGGREGATE_WINDOWS
from jobs.store.tables import read_table
from jobs.windows import recompute
from jobs.windows.drawn import page_metrics
from metrics.score.columns import COLUMNS
from metrics.score.exchanges import load_scorers
from metrics.score.models import pick_dtype
from schemas.config import Config
from schemas.measures import MEASURES
from schemas.profile_metrics import PROFILE_METRICS
from schemas.scores import SCORED_COLUMNS, SCORES
from tests.spine import copy_of, run, table
from tests.traffic import append, config_in, row, settings

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

FIRST, SECOND = date(2026, 4, 1), date(2026, 4, 2)
ENGLISH = "How do I restart my cluster when it does not answer any more?"


def other_label(config: Config) -> Config:
    """The same monitor with the opposite label: every probability becomes one minus what it was."""
    values = config.model_dump(by_alias=True)
    values["scoring"]["toxicity"]["label"] = "nothate"
    return Config.model_validate(values)


def by_key(spark: SparkSession, config: Config) -> pd.DataFrame:
    return table(spark, SCORES, config).set_index(["request_id", "exchange_index"]).sort_index()


def windows(spark: SparkSession, config: Config) -> dict[str, pd.DataFrame]:
    """Windows of response toxicity, by the scorer's label."""
    rows = read_table(spark, PROFILE_METRICS, config.output).where("column_name = 'response_toxicity'")
    rows = pd.DataFrame(rows.where("slice_key IS NULL").toPandas()).drop(
        columns=["sketch", "quantiles", "median", "is_frozen"]
    )
    label = rows["scorer_fingerprint"].str.extract(r"label=(\w+)")[0]
    return {name: part.sort_values(["granularity", "start", "model_version"], ignore_index=True)
            for name, part in rows.assign(start=rows["window"].map(lambda w: w["start"])).groupby(label)}  # fmt: skip


def test_a_day_gets_another_scorer_and_keeps_the_windows_of_the_first(
    spark: SparkSession, month: Config, tmp_path: Path
) -> None:
    config = other_label(copy_of(month, tmp_path))
    before, windows_before = by_key(spark, config), windows(spark, config)
    done = rescoring.rescore(spark, config, since=FIRST, until=FIRST)
    assert (done.days, done.rows, done.scorers, done.without_source) == (1, 7, ("toxicity",), 0)

    after = by_key(spark, config)
    first = after["request_date"] == FIRST
    assert first.sum() == 7
    for column in COLUMNS["toxicity"]:
        assert after.loc[first, column].to_numpy() == pytest.approx(
            1 - before.loc[first, column], abs=1e-6, nan_ok=True
        )
    same = [name for name in before.columns if name not in (*COLUMNS["toxicity"], "scorers", "scored_at")]
    pd.testing.assert_frame_equal(after[same], before[same])
    pd.testing.assert_frame_equal(after[~first], before[~first])
    for scorers in after.loc[first, "scorers"]:
        assert set(dict(scorers)) == set(SCORED_COLUMNS)
        assert {name for name, mark in dict(scorers).items() if "label=nothate" in mark} == set(COLUMNS["toxicity"])

    aggregate_windows.start(spark, config, trigger="availableNow").awaitTermination()
    frozen = table(spark, PROFILE_METRICS, config).query("is_frozen == True")
    assert set(frozen["column_name"]) == {one.name for one in MEASURES if one.scorer in COLUMNS["toxicity"]}
    assert set(frozen["window_date"]) == {FIRST}
    windows_after = windows(spark, config)
    pd.testing.assert_frame_equal(windows_after["hate"], windows_before["hate"])
    assert set(windows_after["nothate"]["window_date"]) == {FIRST}
    of_first = windows_before["hate"][windows_before["hate"]["window_date"] == FIRST].reset_index(drop=True)
    assert windows_after["nothate"]["count"].tolist() == of_first["count"].tolist()
    assert windows_after["nothate"]["avg"].to_numpy() == pytest.approx(1 - of_first["avg"], abs=1e-6, nan_ok=True)
    assert reconcile(spark, config).problems == []


def test_rows_of_an_older_unpacker_are_read_again(spark: SparkSession, month: Config, tmp_path: Path) -> None:
    """Version 1 had no column ``unpacker``, and read less: of one answer nothing, of another a failure as a success."""
    config = copy_of(month, tmp_path)
    expected = by_key(spark, config)
    scores = f"delta.`{config.output.path}/scores`"
    nothing = ", ".join(f"{name} = NULL" for name in SCORED_COLUMNS if name.startswith("response_"))
    unread = "unpacker = NULL, finish_reason = NULL, turn = NULL, system_prompt_hash = NULL, content_hash = NULL"
    spark.sql(f"UPDATE {scores} SET {unread} WHERE request_date = '2026-04-01'")
    spark.sql(
        f"UPDATE {scores} SET {nothing}, response_hash = NULL, response_chars = NULL, response_words = NULL, "
        "output_tokens = 99 WHERE request_id = 'c'"
    )
    spark.sql(f"UPDATE {scores} SET error_code = NULL WHERE request_id = 'error'")
    done = rescoring.rescore(spark, config, since=FIRST, until=SECOND)
    # Six calls of the first day, of which one has another text than it had.
    assert (done.days, done.reread, done.rows, done.without_source) == (1, 7, 1, 0)
    assert set(done.scorers) == set(COLUMNS)
    found = by_key(spark, config)
    same = [name for name in expected.columns if name != "scored_at"]
    pd.testing.assert_frame_equal(found[same], expected[same], check_exact=False, rtol=1e-5)
    assert rescoring.rescore(spark, config, since=FIRST, until=SECOND) == rescoring.Rescored()


@pytest.mark.long
def test_two_scorers_of_two_days(spark: SparkSession, month: Config, tmp_path: Path) -> None:
    config = other_label(copy_of(month, tmp_path))
    windows_before = windows(spark, config)
    assert rescoring.rescore(spark, config, since=FIRST, until=FIRST).days == 1
    aggregate_windows.start(spark, config, trigger="availableNow").awaitTermination()

    # The second day still has the first scorer, which reaches further: it is the one that a page shows.
    shown = page_metrics(spark, config).query("column_name == 'response_toxicity' and model_version == '7'")
    assert set(shown["window_start"].dt.date) == {FIRST, SECOND}
    assert rescoring.rescore(spark, config, since=FIRST, until=SECOND).days == 1
    aggregate_windows.start(spark, config, trigger="availableNow").awaitTermination()
    shown = page_metrics(spark, config).query("column_name == 'response_toxicity' and granularity == '1 day'")
    newest = windows(spark, config)["nothate"]
    assert sorted(shown["avg"]) == pytest.approx(sorted(newest.query("granularity == '1 day'")["avg"]))
    assert reconcile(spark, config).problems == []
    assert rescoring.rescore(spark, config, since=FIRST, until=SECOND) == rescoring.Rescored()

    # A late row comes to the windows of its scorer; the other one's stay.
    append(spark, config, [row("later", response="the dog ran")])
    run(spark, config)
    windows_later = windows(spark, config)
    pd.testing.assert_frame_equal(windows_later["hate"], windows_before["hate"])
    assert windows_later["nothate"]["count"].sum() > newest["count"].sum()
    assert reconcile(spark, config).problems == []


@pytest.mark.long
def test_a_window_is_frozen_while_no_row_has_its_scorer(spark: SparkSession, month: Config, tmp_path: Path) -> None:
    values = copy_of(month, tmp_path).model_dump(by_alias=True)
    values["source"]["on_source_change"] = "skip"
    first = Config.model_validate(values)
    config = other_label(first)

    def of_first_day(label: str) -> list[Any]:
        day = (
            "granularity = '1 day' AND model_version = '*' AND column_name = 'response_toxicity' AND slice_key IS NULL"
        )
        df = read_table(spark, PROFILE_METRICS, config.output).where(day).where(F.col("window_date") == F.lit(FIRST))
        found = df.where(F.col("scorer_fingerprint").contains(f"label={label} ")).collect()
        return [(one["count"], one["is_frozen"]) for one in found]

    before = windows(spark, config)["hate"]
    ((all_rows, _),) = of_first_day("hate")
    spark.sql(f"DELETE FROM delta.`{config.source.path}` WHERE databricks_request_id = 'a'")
    done = rescoring.rescore(spark, config, since=FIRST, until=SECOND)
    assert (done.days, done.without_source) == (2, 1)
    # Both scorers' windows go into one MERGE.
    aggregate_windows.start(spark, config, trigger="availableNow").awaitTermination()
    assert of_first_day("hate") == [(1, None)], "one row has kept the first scorer"
    assert of_first_day("nothate") == [(all_rows - 1, None)]
    after = windows(spark, config)
    second = before["window_date"] == SECOND
    assert second.any()
    pd.testing.assert_frame_equal(
        after["hate"][after["hate"]["window_date"] == SECOND].reset_index(drop=True),
        before[second].reset_index(drop=True),
    )
    assert reconcile(spark, config).problems == []
    shown = page_metrics(spark, config).query("column_name == 'response_toxicity' and granularity == '1 day'")
    newest = after["nothate"].query("granularity == '1 day'")
    assert sorted(shown["avg"]) == pytest.approx(sorted(newest["avg"]))

    # A monitor that still has the old settings, in a minute that was scored anew: frozen windows get a row.
    append(spark, first, [row("later", at=timedelta(minutes=1), response="the dog ran")])
    run(spark, first)
    assert of_first_day("hate") == [(2, None)]
    assert of_first_day("nothate") == [(all_rows - 1, None)]
    assert reconcile(spark, config).problems == []

    # Back to the first scorer: all its windows count again, and the other's are frozen.
    assert rescoring.rescore(spark, first, since=FIRST, until=SECOND).days == 2
    aggregate_windows.start(spark, first, trigger="availableNow").awaitTermination()
    assert of_first_day("hate") == [(all_rows + 1, None)]
    assert of_first_day("nothate") == [(all_rows - 1, True)]
    assert reconcile(spark, first).problems == []


@pytest.mark.long
@pytest.mark.parametrize("checkpoint", ["stays", "is moved away"])
def test_a_day_is_scored_anew_before_its_windows_were_written(
    spark: SparkSession, month: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, checkpoint: str
) -> None:
    first = copy_of(month, tmp_path)
    config = other_label(first)
    before = windows(spark, first)["hate"]
    append(spark, first, [row("half past", at=timedelta(minutes=30), response="the dog ran")])
    score_responses.start(spark, first, trigger="availableNow").awaitTermination()

    def die(name: str) -> None:
        if name == "before_windows":
            raise RuntimeError("killed")

    with monkeypatch.context() as killed, pytest.raises(Exception, match="killed"):
        killed.setattr(recompute, "fail_point", die)
        aggregate_windows.start(spark, first, trigger="availableNow").awaitTermination()
    assert rescoring.rescore(spark, config, since=FIRST, until=FIRST).rows == 8
    if checkpoint == "is moved away":
        Path(config.checkpoint(AGGREGATE_WINDOWS)).rename(tmp_path / "away")
    aggregate_windows.start(spark, config, trigger="availableNow").awaitTermination()
    assert reconcile(spark, config).problems == []
    after = windows(spark, config)
    pd.testing.assert_frame_equal(after["hate"], before)
    assert set(after["nothate"]["window_date"]) == {FIRST}


@pytest.mark.long
def test_a_frozen_window_that_is_lost_or_wrong_rows_are_still_found(
    spark: SparkSession, month: Config, tmp_path: Path
) -> None:
    config = copy_of(month, tmp_path)
    spark.sql(
        f"DELETE FROM delta.`{config.output.path}/profile_metrics` "
        "WHERE column_name = 'response_toxicity' AND granularity = '1 hour' AND model_version = '7'"
    )
    (problem,) = reconcile(spark, config).problems
    assert "windows that differ" in problem


@pytest.mark.long
def test_what_could_not_be_scored_is_filled_in(
    spark: SparkSession, month: Config, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = copy_of(month, tmp_path)
    before = by_key(spark, config)
    spark.sql(
        f"UPDATE delta.`{config.output.path}/scores` SET response_toxicity = NULL, "
        "score_errors = map('response_toxicity', 'circuit_open') WHERE request_id IN ('c', 'e')"
    )
    spark.sql(f"DELETE FROM delta.`{config.source.path}` WHERE databricks_request_id = 'e'")
    # The same id with another text, and earlier: what was scored is what is scored again.
    append(spark, config, [row("c", at=timedelta(minutes=1), response="you are stupid and slow")])
    values = settings(tmp_path, Path(config.scoring.perplexity.model), Path(config.scoring.toxicity.model))
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(values))
    command = ["--config", str(tmp_path / "config.yaml"), "--since", "2026-04-01", "--until", "2026-04-30"]
    assert rescore.main([*command, "--json"]) == 0
    done = json.loads(capsys.readouterr().out)
    assert done == {"days": 2, "reread": 0, "rows": 1, "scorers": ["toxicity"], "without_source": 1}
    after = by_key(spark, config)
    assert after.loc[("c", 0), "response_toxicity"] == pytest.approx(
        before.loc[("c", 0), "response_toxicity"], abs=1e-6
    )
    assert dict(after.loc[("c", 0), "score_errors"]) == {}
    assert dict(after.loc[("e", 0), "score_errors"]) == {"response_toxicity": "circuit_open"}

    assert rescore.main(["--since", "2026-04-02", "--until", "2026-04-01"]) == 2


def test_what_auto_means_is_decided_by_the_workers(
    spark: SparkSession, month: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = copy_of(month, tmp_path).model_dump(by_alias=True)
    values["scoring"]["perplexity"]["dtype"] = "auto"
    config = Config.model_validate(values)
    rescoring.rescore(spark, config, since=FIRST, until=SECOND)
    of_worker = set(table(spark, SCORES, config)["scorers"].map(lambda marks: dict(marks)["response_perplexity"]))

    def other_hardware(dtype: str, device: str) -> torch.dtype:
        return torch.float32 if pick_dtype(dtype, device) == torch.bfloat16 else torch.bfloat16

    for module in ("models", "perplexity"):
        monkeypatch.setattr(f"metrics.score.{module}.pick_dtype", other_hardware)
    load_scorers.cache_clear()
    of_driver = load_scorers(scorer_settings(config)).fingerprints["response_perplexity"]
    load_scorers.cache_clear()
    assert of_worker != {of_driver}
    assert rescoring.rescore(spark, config, since=FIRST, until=SECOND) == rescoring.Rescored()


def sampling(config: Config, rate: float) -> Config:
    values = config.model_dump(by_alias=True)
    values["scoring"]["sample_rate"] = rate
    return Config.model_validate(values)


@pytest.fixture
def sampled(spark: SparkSession, language_model: Path, classifier: Path, tmp_path: Path) -> Config:
    """A monitor that has scored two in five of 200 requests, and all five that failed."""
    # The last ones have minutes of their own, in which nothing changes but what their scores weigh.
    rows = [
        row(f"request {i}", at=timedelta(minutes=max(0, i - 190)), prompt=ENGLISH, response="the cat " * (i % 9 + 1))
        for i in range(200)
    ]
    failed = [row(f"failed {i}", status=500, response_body='{"error_code": "INTERNAL"}') for i in range(5)]
    config = sampling(config_in(tmp_path, language_model, classifier), 0.4)
    append(spark, config, [*rows, *failed])
    run(spark, config)
    return config


def not_sampled(scores: pd.DataFrame) -> pd.Series[bool]:
    return scores["score_errors"].map(lambda errors: dict(errors).get("prompt_toxicity") == "not_sampled")


def test_a_sample_is_scored_and_weighs_for_all(spark: SparkSession, sampled: Config) -> None:
    scores = by_key(spark, sampled)
    left_out = not_sampled(scores)
    assert len(scores) == 205
    assert 60 <= left_out.sum() <= 160, "about 120 of 200"
    assert scores["sampled"].tolist() == (~left_out).tolist()
    assert not left_out[[name.startswith("failed") for name, _ in scores.index]].any(), "failures are all scored"
    assert scores.loc[left_out, list(SCORED_COLUMNS)].isna().all(axis=None)
    assert scores["output_tokens"].notna().sum() == 200, "what costs nothing is there for all"
    assert set(scores.loc[left_out, "language"]) == {"en"}

    day = read_table(spark, PROFILE_METRICS, sampled.output).where("granularity = '1 day' AND model_version = '6'")
    day = day.where("slice_key IS NULL")
    figures = {w["column_name"]: w for w in day.collect()}
    assert (figures["requests"]["count"], figures["requests"]["weighted_count"]) == (205, 205.0)
    taken = int((~left_out).sum()) - 5
    toxicity = figures["response_toxicity"]
    assert (toxicity["count"], toxicity["num_nulls"]) == (taken, 5), "what was left out is no missing value"
    assert toxicity["weighted_count"] == pytest.approx(taken / 0.4)
    assert figures["prompt_toxicity"]["weighted_count"] == pytest.approx(taken / 0.4 + 5)


@pytest.mark.long
def test_a_larger_sample_holds_the_smaller_one(spark: SparkSession, sampled: Config) -> None:
    left_out = not_sampled(by_key(spark, sampled))
    # The same requests again are the same sample; a larger one holds it, and rescore fills it up.
    more = sampling(sampled, 0.7)
    done = rescoring.rescore(spark, more, since=FIRST, until=FIRST)
    assert done.rows > left_out.sum() - 100
    still_out = not_sampled(by_key(spark, more))
    assert by_key(spark, more)["sampled"].tolist() == (~still_out).tolist()
    assert still_out.sum() < left_out.sum()
    assert not (still_out & ~left_out).any()
    score_responses.start(spark, more, trigger="availableNow", new_checkpoint=True).awaitTermination()
    aggregate_windows.start(spark, more, trigger="availableNow").awaitTermination()
    assert reconcile(spark, more).problems == []

    # Requests that were left out have no scorer: when those that were not get another, its windows are all frozen.
    before = windows(spark, more)["hate"]
    other = other_label(more)
    assert rescoring.rescore(spark, other, since=FIRST, until=FIRST).rows == 205 - still_out.sum()
    aggregate_windows.start(spark, other, trigger="availableNow").awaitTermination()
    after_all = windows(spark, other)
    pd.testing.assert_frame_equal(after_all["hate"], before)
    assert after_all["nothate"]["count"].tolist() == before["count"].tolist()
    assert reconcile(spark, other).problems == []


def test_work_is_spread_by_length_of_text(spark: SparkSession, monkeypatch: pytest.MonkeyPatch) -> None:
    lengths = [4000, 10, 10, 3000, 2000, 10, 10, 1000, *([10] * 16)]  # dealt out as they come, all long ones meet
    rows = spark.createDataFrame([(i, length) for i, length in enumerate(lengths)], "id int, length int").coalesce(1)
    for cores in (2, 4):
        monkeypatch.setattr("jobs.scoring.spread._cores", lambda spark, cores=cores: cores)
        dealt = spread(rows, F.col("length"), keys=["id"])
        assert dealt.columns == ["id", "length"]
        sums = work_of(dealt)
        assert (sum(sums), len(sums)) == (sum(lengths), cores)
        if cores == 2:
            assert max(sums) - min(sums) <= 10
        else:  # the longest text is more than a share
            assert max(sums) <= max(lengths) + 60


def test_work_that_comes_in_small_pieces_is_spread_too(spark: SparkSession, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jobs.scoring.spread._cores", lambda spark: 8)
    pieces = spark.range(0, 96, 1, 32).select("id", F.lit(10).alias("length"))  # three rows each
    assert work_of(spread(pieces, F.col("length"), keys=["id"])) == [120] * 8


def work_of(dealt: DataFrame) -> list[int]:
    """Length of the texts in each partition that has some."""
    sums = dealt.groupBy(F.spark_partition_id()).agg(F.sum("length").alias("work"))
    return [row["work"] for row in sums.collect()]


@pytest.mark.parametrize("days", [timedelta(0), timedelta(days=1)])
def test_days_that_need_nothing_cost_nothing(spark: SparkSession, month: Config, days: timedelta) -> None:
    assert rescoring.rescore(spark, month, since=FIRST, until=FIRST + days) == rescoring.Rescored()
