"""The spine on real Delta tables: inference table → scores → profile_metrics, exactly once.

One month in small: rows of two versions, a late row, duplicates, broken payloads; then replays and restarts.
"""

from __future__ import annotations

import math
import shutil
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
import pytest
from pyspark.sql import functions as F

from jobs import aggregate_windows
from jobs.reconcile import reconcile
from jobs.store.checkpoints import AGGREGATE_WINDOWS, SCORE_RESPONSES
from jobs.store.tables import read_table, table_exists
from schemas.batches import BATCHES
from schemas.config import Config
from schemas.profile_metrics import ALL_VERSIONS, PROFILE_METRICS, QUANTILES
from schemas.quarantine import QUARANTINE
from schemas.scores import SCORES
from schemas.tables import TABLES
from tests import oracle
from tests.spine import assert_same, contents, copy_of, forget_last_commit, run, table
from tests.traffic import answer, append, chat, config_in, row

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

UNIQUE = {"a", "b", "c", "d", "e", "error", "empty", "late", "batch"}


def test_each_request_is_scored_once(spark: SparkSession, month: Config) -> None:
    scores = table(spark, SCORES, month)
    assert sorted(scores["request_id"]) == sorted([*UNIQUE, "batch"])
    words = ["exchange_index", "prompt_words", "response_words"]
    assert sorted(scores.query("request_id == 'batch'")[words].values.tolist()) == [[0, 2, 1], [1, 2, 2]]


def test_broken_rows_are_quarantined_with_a_reason(spark: SparkSession, month: Config) -> None:
    (broken,) = table(spark, QUARANTINE, month).to_dict("records")
    assert (broken["request_id"], broken["reason"]) == ("broken", "invalid_request_json")
    assert broken["request_chars"] == len('{"messages": [{"role": "us')


def test_batches_account_for_every_row(spark: SparkSession, month: Config) -> None:
    batches = table(spark, BATCHES, month).sort_values("batch_id")
    columns = ["rows_read", "rows_scored", "rows_quarantined", "rows_duplicate", "rows_skipped", "exchanges"]
    assert batches[columns].values.tolist() == [[4, 3, 0, 1, 0, 3], [5, 3, 1, 1, 0, 3], [5, 3, 0, 1, 1, 4]]
    assert batches["source_version"].tolist() == [0, 1, 2]
    account = reconcile(spark, month)
    assert account.problems == []
    fates = ("source_rows", "scored", "quarantined", "duplicate", "skipped", "forgotten", "missing")
    assert [account.rows[fate] for fate in fates] == [14, 9, 1, 3, 1, 0, 0]
    days = {day: [counts[fate] for fate in fates] for day, counts in account.days.items()}
    assert days == {"2026-04-01": [11, 7, 1, 3, 0, 0, 0], "2026-04-02": [3, 2, 0, 0, 1, 0, 0]}


def test_errors_keep_their_prompt_and_have_no_response(spark: SparkSession, month: Config) -> None:
    error = table(spark, SCORES, month).query("request_id == 'error'").iloc[0]
    assert (error["status_code"], error["error_code"]) == (500, "INTERNAL")
    assert error["prompt_perplexity"] > 0
    assert math.isnan(error["response_perplexity"])
    assert dict(error["score_errors"])["response_perplexity"] == "missing"


def test_empty_texts_have_no_score_and_a_reason(spark: SparkSession, month: Config) -> None:
    empty = table(spark, SCORES, month).query("request_id == 'empty'").iloc[0]
    scored = list(dict(empty["scorers"]))
    assert all(pd.isna(empty[c]) for c in scored)
    assert set(dict(empty["score_errors"])) == set(scored)
    assert set(dict(empty["score_errors"]).values()) == {"empty"}


def test_windows_equal_a_recomputation_in_pandas(spark: SparkSession, month: Config) -> None:
    expected = oracle.profile(table(spark, SCORES, month), month.granularities)
    df = read_table(spark, PROFILE_METRICS, month.output).withColumn("start", F.col("window.start"))
    windows: pd.DataFrame = df.toPandas()
    names = ["granularity", "start", "model_version", "column_name", "scorer_fingerprint"]
    stored = {tuple(w[name] for name in names): w for w in windows.to_dict("records")}
    assert set(stored) == set(expected)
    for key, figures in expected.items():
        for name, value in figures.items():
            assert oracle.same(stored[key][name], value), (key, name, stored[key][name], value)


def test_quantiles_are_exact_on_few_values(spark: SparkSession, month: Config) -> None:
    # A KLL sketch keeps all of its first 200 values.
    whole = read_table(spark, PROFILE_METRICS, month.output).where(
        "granularity = '1 day' AND window_date = '2026-04-01' AND model_version = '6' "
        "AND column_name = 'execution_duration_ms' AND slice_key IS NULL"
    )
    (day,) = whole.collect()
    assert (day["min"], day["median"], day["max"]) == (100.0, 100.0, 200.0)
    assert len(day["quantiles"]) == len(QUANTILES)
    assert (day["quantiles"][0], day["quantiles"][-1]) == (100.0, 200.0)
    assert day["quantiles"] == sorted(day["quantiles"])


def test_a_late_row_corrects_its_windows(spark: SparkSession, month: Config) -> None:
    #  minute   0  1 | 3 (late)         [0,5) held a and b, and is revised when the late row arrives
    window = read_table(spark, PROFILE_METRICS, month.output).where(
        "granularity = '5 minutes' AND window.start = '2026-04-01 00:00:00' AND model_version = '6' "
        "AND column_name = 'requests' AND slice_key IS NULL"
    )
    (late,) = window.collect()
    assert (late["count"], late["sum"], late["revision"]) == (3, 3.0, 2)


def test_sampled_rows_weigh_more(spark: SparkSession, month: Config) -> None:
    window = read_table(spark, PROFILE_METRICS, month.output).where(
        "granularity = '1 day' AND window_date = '2026-04-01' AND model_version = '6' AND column_name = 'requests' "
        "AND slice_key IS NULL"
    )
    (day,) = window.collect()
    assert (day["count"], day["weighted_count"]) == (4, 7.0)  # a, b, late weigh 1; c, logged at 25 %, weighs 4


def test_a_second_run_changes_nothing(spark: SparkSession, month: Config, tmp_path: Path) -> None:
    config = copy_of(month, tmp_path)
    before, batches = contents(spark, config), len(table(spark, BATCHES, config))
    run(spark, config)
    assert contents(spark, config) == before
    assert len(table(spark, BATCHES, config)) == batches


def test_a_replayed_batch_changes_nothing(spark: SparkSession, month: Config, tmp_path: Path) -> None:
    # Without its commit marks, Spark runs the last batch of both hops again.
    config = copy_of(month, tmp_path)
    before = contents(spark, config)
    timings = ["finished_at", "score_seconds", "lag_seconds", "lateness", "skipped_versions"]
    ledger = table(spark, BATCHES, config).drop(columns=timings)
    for hop in (SCORE_RESPONSES, AGGREGATE_WINDOWS):
        forget_last_commit(config, hop)
    run(spark, config)
    assert_same(contents(spark, config), before)
    after = table(spark, BATCHES, config).drop(columns=timings)
    assert sorted(after.values.tolist()) == sorted(ledger.values.tolist())
    windows = table(spark, PROFILE_METRICS, config)
    assert windows["revision"].max() == table(spark, PROFILE_METRICS, month)["revision"].max()


@pytest.mark.long
def test_a_new_checkpoint_reads_again_and_changes_nothing(spark: SparkSession, month: Config, tmp_path: Path) -> None:
    config = copy_of(month, tmp_path)
    before = contents(spark, config)
    shutil.rmtree(f"{config.output.path}/_checkpoints")
    run(spark, config)
    assert_same(contents(spark, config), before)
    newest = table(spark, BATCHES, config).sort_values("finished_at").iloc[-1]
    assert (newest["rows_read"], newest["rows_scored"], newest["rows_duplicate"]) == (14, 0, 13)
    assert reconcile(spark, config).problems == []


def test_reconcile_finds_a_row_that_was_lost(spark: SparkSession, month: Config, tmp_path: Path) -> None:
    config = copy_of(month, tmp_path)
    spark.sql(f"DELETE FROM delta.`{config.output.path}/scores` WHERE request_id = 'c'")
    account = reconcile(spark, config)
    problems = "\n".join(account.problems)
    assert "in the source, and in no table: c" in problems
    assert "windows that differ" in problems
    assert "batch 0 of checkpoint" in problems
    assert "batches says rows_read 4, rows_scored 3, " in problems
    assert "scores holds 2 of its rows" in problems
    assert (account.rows["scored"], account.rows["missing"], account.days["2026-04-01"]["missing"]) == (8, 1, 1)


@pytest.mark.long
def test_reconcile_doubts_what_batches_says(spark: SparkSession, month: Config, tmp_path: Path) -> None:
    config = copy_of(month, tmp_path)
    batches = f"UPDATE delta.`{config.output.path}/batches` SET rows_duplicate = rows_duplicate"
    spark.sql(f"{batches} + 1, rows_skipped = rows_skipped - 1 WHERE rows_skipped > 0")
    assert reconcile(spark, month).problems == []
    assert reconcile(spark, config).problems == [
        "batches says that 4 rows were duplicate, the rows say 3",
        "batches says that 0 rows were skipped, the rows say 1",
    ]


@pytest.mark.long
def test_reconcile_finds_an_exchange_that_was_lost(spark: SparkSession, month: Config, tmp_path: Path) -> None:
    config = copy_of(month, tmp_path)
    spark.sql(f"DELETE FROM delta.`{config.output.path}/scores` WHERE request_id = 'batch' AND exchange_index = 1")
    assert "in scores with fewer exchanges than the request has: batch" in reconcile(spark, config).problems


def test_a_window_without_rows_is_deleted_when_it_is_touched(
    spark: SparkSession, month: Config, tmp_path: Path
) -> None:
    config = copy_of(month, tmp_path)
    # The only row of version 6 at minute 5 becomes one of version 7: an update, which the change feed reports.
    spark.sql(f"UPDATE delta.`{config.output.path}/scores` SET model_version = '7' WHERE request_id = 'c'")
    aggregate_windows.start(spark, config, trigger="availableNow").awaitTermination()
    minute = read_table(spark, PROFILE_METRICS, config.output).where(
        "granularity = '1 minute' AND window.start = '2026-04-01 00:05:00' AND column_name = 'requests'"
    )
    assert sorted(row["model_version"] for row in minute.collect()) == ["*", "7"]


LONG = "the cat sat on the mat. " * 8_334


@pytest.fixture(scope="module")
def odd(
    spark: SparkSession, language_model: Path, classifier: Path, tmp_path_factory: pytest.TempPathFactory
) -> Config:
    """One batch of odd rows, with no text stored."""
    config = config_in(tmp_path_factory.mktemp("odd"), language_model, classifier)
    usage = answer("the cat", prompt_tokens=70, completion_tokens=7)
    odd_rows = [
        row("long", response=LONG),
        row("canary", prompt="canary7431", response="canary7431"),
        row("broken canary", request="{canary7431"),
        row(
            "rating canary",
            request='{"dataframe_records": [{"text_assessments": [{"free_text_comment": "canary7431"}]}]}',
        ),
        row("usage", response_body=usage),
        row("half usage", response_body=answer("the cat", prompt_tokens=900)),
        row("bad time") | {"timestamp_ms": 2**60},
        row("failed batch", request='{"inputs": ["a", "b", "c"]}', status=500, version="8"),
        row("no usage", request=chat("the cat"), response="a dog"),
        row("star", version=ALL_VERSIONS),
    ]
    append(spark, config, odd_rows)
    run(spark, config)
    return config


def test_a_text_of_50000_words_is_scored_whole(spark: SparkSession, odd: Config) -> None:
    assert len(LONG.split()) >= 50_000
    long = table(spark, SCORES, odd).set_index("request_id").loc["long"]
    assert long["response_words"] == len(LONG.split())
    assert long["response_scored_tokens"] == long["output_tokens"] >= 50_000
    assert long[["response_perplexity", "response_toxicity", "response_flesch_kincaid"]].notna().all()
    assert dict(long["score_errors"]) == {}


def test_without_text_nothing_of_it_is_stored(spark: SparkSession, odd: Config) -> None:
    assert "broken canary" in table(spark, QUARANTINE, odd)["request_id"].tolist()
    for one in TABLES:
        if not table_exists(spark, one, odd.output):
            assert one.name in ("locks", "model_versions"), "this run has none"
            continue
        stored = read_table(spark, one, odd.output)
        stored = stored.drop("sketch", "request_id") if "sketch" in stored.columns else stored
        frame: pd.DataFrame = stored.toPandas()
        assert "canary7431" not in frame.to_json(default_handler=str)


def test_usage_of_the_log_is_preferred_to_counting(spark: SparkSession, odd: Config) -> None:
    scores = table(spark, SCORES, odd).set_index("request_id")
    columns = ["input_tokens", "output_tokens", "token_source"]
    assert scores.loc["usage", columns].tolist() == [70, 7, "usage"]
    assert scores.loc["half usage", ["input_tokens", "token_source"]].tolist() == [900, "usage+tokenizer"]
    assert scores.loc["half usage", "output_tokens"] == scores.loc["half usage", "response_scored_tokens"]
    assert scores.loc["no usage", "token_source"] == "tokenizer"
    assert scores.loc["no usage", "output_tokens"] == scores.loc["no usage", "response_scored_tokens"]


def test_a_time_that_is_none_stops_nothing(spark: SparkSession, odd: Config) -> None:
    reasons = table(spark, QUARANTINE, odd).set_index("request_id")["reason"]
    assert reasons["bad time"] == "no_request_time"
    assert reconcile(spark, odd).problems == []


@pytest.mark.long
def test_one_id_on_two_dates_is_two_rows_and_reported(spark: SparkSession, month: Config, tmp_path: Path) -> None:
    config = copy_of(month, tmp_path)
    assert reconcile(spark, config).rows["ids_on_two_dates"] == 0
    append(spark, config, [row("a", at=timedelta(days=3))])
    run(spark, config)
    account = reconcile(spark, config)
    assert (account.rows["ids_on_two_dates"], account.problems) == (1, [])
    assert table(spark, SCORES, config)["request_id"].tolist().count("a") == 2


def test_a_batched_call_that_failed_is_one_error(spark: SparkSession, odd: Config) -> None:
    windows = read_table(spark, PROFILE_METRICS, odd.output).where("granularity = '1 day' AND slice_key IS NULL")
    windows = windows.where("model_version = '8'")
    sums = {w["column_name"]: (w["sum"], w["count"]) for w in windows.collect()}
    assert (sums["requests"], sums["error_rate"]) == ((1.0, 3), (1.0, 1))


def test_a_version_with_the_name_of_all_counts_once(spark: SparkSession, odd: Config) -> None:
    scores = table(spark, SCORES, odd)
    assert (scores["model_version"] == ALL_VERSIONS).sum() == 1
    windows = read_table(spark, PROFILE_METRICS, odd.output).where("granularity = '1 day' AND column_name = 'requests'")
    (of_all,) = windows.where("slice_key IS NULL").where(F.col("model_version") == ALL_VERSIONS).collect()
    assert (of_all["count"], of_all["sum"]) == (len(scores), scores["request_id"].nunique())
