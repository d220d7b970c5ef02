"""Retention and tidying up: rows go, what they came to stays, and the account goes on balancing."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
import pytest
from pyspark.sql import functions as F

from jobs import score_responses
from jobs.forget import forget
from jobs.monitor import Context, maintenance
from jobs.range_metrics import metrics_between
from jobs.reconcile import reconcile
from jobs.store.checkpoints import SCORE_RESPONSES
from jobs.store.locks import Locks
from jobs.store.tables import read_table
from jobs.upkeep.maintenance import Timetable
from jobs.upkeep.retention import purge_scores
from jobs.windows.drawn import page_metrics
from metrics.dashboard.charts import NEEDS
from schemas.batches import BATCHES
from schemas.config import Config
from schemas.errors import ConfigError
from schemas.locks import LOCKS
from schemas.profile_metrics import PROFILE_METRICS
from schemas.quarantine import QUARANTINE
from schemas.scores import SCORES
from tests.spine import copy_of, forget_last_commit, run, table
from tests.traffic import START, append, config_in, row

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

NOW = datetime.now(UTC)
OLD, RECENT = NOW - timedelta(days=100) - START, NOW - timedelta(days=2) - START
RETENTION = {"scores": "90 days", "minute_metrics": "95 days"}
FATES = ["rows_read", "rows_scored", "rows_quarantined", "rows_duplicate", "rows_skipped", "rows_expired"]


@pytest.fixture(scope="module")
def begun(
    spark: SparkSession, language_model: Path, classifier: Path, tmp_path_factory: pytest.TempPathFactory
) -> Config:
    """A monitor that keeps everything, with two batches of old and new rows."""
    config = config_in(tmp_path_factory.mktemp("kept"), language_model, classifier)
    append(spark, config, [row("old", at=OLD), row("old broken", at=OLD, request="{"), row("new", at=RECENT)])
    run(spark, config)
    two = [{"query": "mine", "user": "eve"}, {"query": "hers", "user": "mallory"}]
    call = row("call", at=OLD, request=json.dumps({"dataframe_records": two}), response_body='["A1", "A2"]')
    append(spark, config, [row("old too", at=OLD), row("newer", at=RECENT), call])
    run(spark, config)
    return config


@pytest.fixture
def monitored(begun: Config, tmp_path: Path) -> Config:
    values = copy_of(begun, tmp_path).model_dump(by_alias=True)
    return Config.model_validate(values | {"retention": RETENTION})


def windows(spark: SparkSession, config: Config) -> pd.DataFrame:
    df = read_table(spark, PROFILE_METRICS, config.output).withColumn("start", F.col("window.start"))
    frame: pd.DataFrame = df.where("column_name = 'requests' AND slice_key IS NULL").toPandas()
    columns = ["granularity", "start", "model_version", "count", "revision"]
    return frame[columns].sort_values(columns[:3], ignore_index=True)


@pytest.mark.long
def test_old_rows_go_and_their_windows_stay(spark: SparkSession, monitored: Config) -> None:
    before = windows(spark, monitored)
    assert before["start"].min() < pd.Timestamp(NOW.date() - timedelta(days=95))
    assert purge_scores(spark, monitored, NOW.date()) == {"scores": 4, "quarantine": 1}
    assert purge_scores(spark, monitored, NOW.date()) == {}
    assert sorted(table(spark, SCORES, monitored)["request_id"]) == ["new", "newer"]
    assert table(spark, QUARANTINE, monitored).empty
    account = reconcile(spark, monitored)
    assert (account.problems, account.rows["source_rows"], account.rows["past_retention"]) == ([], 2, 4)
    pd.testing.assert_frame_equal(windows(spark, monitored), before)

    # A batch that is replayed knows which of its rows went.
    ledger = table(spark, BATCHES, monitored)[[*FATES, "scores_purged"]].values.tolist()
    forget_last_commit(monitored, SCORE_RESPONSES)
    run(spark, monitored)
    assert table(spark, BATCHES, monitored)[[*FATES, "scores_purged"]].values.tolist() == ledger
    assert reconcile(spark, monitored).problems == []

    # Later ones are skipped before they are scored, and so is what is read again.
    append(spark, monitored, [row("old at last", at=OLD), row("old junk", at=OLD, request="{"), row("last", at=RECENT)])
    run(spark, monitored)
    score_responses.start(spark, monitored, trigger="availableNow", new_checkpoint=True).awaitTermination()
    assert sorted(table(spark, SCORES, monitored)["request_id"]) == ["last", "new", "newer"]
    ledger = table(spark, BATCHES, monitored).sort_values("finished_at")
    assert ledger[FATES].values.tolist() == [
        [3, 2, 1, 0, 0, 0], [3, 3, 0, 0, 0, 0], [3, 1, 0, 0, 2, 2], [9, 0, 0, 3, 6, 6],
    ]  # fmt: skip
    account = reconcile(spark, monitored)
    assert (account.problems, account.rows["source_rows"], account.rows["past_retention"]) == ([], 3, 6)
    old = before["start"] < pd.Timestamp(NOW.date() - timedelta(days=90))
    after = windows(spark, monitored)
    kept = after[after["start"].isin(before[old]["start"])]
    pd.testing.assert_frame_equal(kept.reset_index(drop=True), before[old].reset_index(drop=True))

    # What went decides, not what the settings say by now: with one row of a purged day its windows would be wrong.
    for_ever = Config.model_validate(monitored.model_dump(by_alias=True) | {"retention": {}})
    append(spark, for_ever, [row("old again", at=OLD)])
    run(spark, for_ever)
    assert sorted(table(spark, SCORES, for_ever)["request_id"]) == ["last", "new", "newer"]
    pd.testing.assert_frame_equal(windows(spark, for_ever), after)
    assert reconcile(spark, for_ever).problems == []


@pytest.mark.long
def test_a_call_of_two_people_of_whom_one_was_forgotten(spark: SparkSession, monitored: Config) -> None:
    assert forget(spark, monitored, end_users=["mallory"]) == {"scores": 1, "quarantine": 0, "feedback": 0}
    assert purge_scores(spark, monitored, NOW.date()) == {"scores": 3, "quarantine": 1}
    assert reconcile(spark, monitored).problems == []


@pytest.mark.long
def test_rows_without_a_time_lose_what_they_held(
    spark: SparkSession, language_model: Path, classifier: Path, tmp_path: Path
) -> None:
    config = config_in(tmp_path, language_model, classifier, text={"store": "full"}, retention=RETENTION)
    to_come = datetime.now(UTC) + timedelta(days=4000) - START
    append(spark, config, [row("no time") | {"timestamp_ms": None}, row("to come", at=to_come), row("new", at=RECENT)])
    run(spark, config)
    assert table(spark, QUARANTINE, config)["request"].notna().all()
    assert purge_scores(spark, config, NOW.date() + timedelta(days=80)) == {}
    assert table(spark, QUARANTINE, config)["request"].notna().all()
    assert purge_scores(spark, config, NOW.date() + timedelta(days=100)) == {"scores": 1}
    held = table(spark, QUARANTINE, config)
    assert sorted(held["request_id"]) == ["no time", "to come"]
    assert held[["request", "response"]].isna().all(axis=None)
    assert reconcile(spark, config).problems == []


@pytest.mark.long
def test_a_purge_that_was_cut_off_is_repeated(
    spark: SparkSession, monitored: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*_: object) -> None:
        raise RuntimeError("killed")

    with monkeypatch.context() as killed, pytest.raises(RuntimeError):
        killed.setattr("jobs.upkeep.retention.delete_rows", die)
        purge_scores(spark, monitored, NOW.date())
    assert purge_scores(spark, monitored, NOW.date()) == {"scores": 4, "quarantine": 1}
    assert reconcile(spark, monitored).problems == []


@pytest.mark.long
def test_a_row_that_is_lost_is_no_purge(spark: SparkSession, monitored: Config) -> None:
    purge_scores(spark, monitored, NOW.date())
    spark.sql(f"DELETE FROM delta.`{monitored.output.path}/scores` WHERE request_id = 'new'")
    problems = reconcile(spark, monitored).problems
    assert any("scores holds 1 of its rows" in one for one in problems)
    assert any("in no table: new" in one for one in problems)


def test_tables_are_tidied_up_when_it_is_time(spark: SparkSession, monitored: Config) -> None:
    driver = Context(spark, monitored, Locks(spark, monitored.output, "monitor"))
    assert maintenance(driver) == [], "not on the first day"

    def files(name: str) -> int:
        return int(spark.sql(f"DESCRIBE DETAIL delta.`{monitored.output.path}/{name}`").collect()[0]["numFiles"])

    rows, before = table(spark, SCORES, monitored), windows(spark, monitored)
    recent = sorted(one for one in rows["request_id"] if one.startswith("new"))
    assert recent == ["new", "newer"]
    assert files("scores") >= 4
    tomorrow = datetime.now(UTC) + timedelta(days=1, minutes=1)
    off = monitored.model_copy(update={"maintenance": "off"})
    assert maintenance(replace(driver, config=off), now=tomorrow) == []
    again = replace(driver, timetable=Timetable())  # as after a restart
    assert maintenance(again, now=tomorrow) == ["scores", "profile_metrics"]
    assert maintenance(again, now=tomorrow) == []
    assert maintenance(replace(driver, timetable=Timetable()), now=tomorrow) == []
    assert sorted(table(spark, SCORES, monitored)["request_id"]) == recent
    assert files("scores") == 1
    assert table(spark, LOCKS, monitored)["owner"].isna().all()
    # Of the windows of old days, those of minutes went.
    gone = (before["granularity"] == "1 minute") & (before["start"] < pd.Timestamp(NOW.date() - timedelta(days=95)))
    assert gone.any()
    pd.testing.assert_frame_equal(windows(spark, monitored), before[~gone].reset_index(drop=True))
    assert reconcile(spark, monitored).problems == []

    # A page draws minutes and hours of late, and all days.
    drawn = page_metrics(spark, monitored, NEEDS).groupby("granularity")["window_start"].agg(["min", "max"])
    assert (drawn["max"] > pd.Timestamp(NOW.date() - timedelta(days=3))).all()
    assert drawn.loc[drawn["min"] < pd.Timestamp(NOW.date() - timedelta(days=31))].index.tolist() == ["1 day"]

    # What is no longer there is not silently left out of a range.
    day = (NOW - timedelta(days=100)).replace(hour=0, minute=0, second=0, microsecond=0)
    (whole,) = metrics_between(spark, monitored, day, day + timedelta(days=1), columns=["requests"]).collect()
    assert (whole["count"], whole["sum"]) == (4, 3)
    with pytest.raises(
        ConfigError, match=r"needs windows of 1 minute before .*; retention.minute_metrics removes them"
    ):
        metrics_between(spark, monitored, day, day + timedelta(minutes=1))
    for_ever = Config.model_validate(monitored.model_dump(by_alias=True) | {"retention": {}})
    with pytest.raises(ConfigError, match=r"retention.minute_metrics removes them"):
        metrics_between(spark, for_ever, day, day + timedelta(minutes=1))


@pytest.mark.long
def test_what_the_windows_have_not_seen_does_not_go(spark: SparkSession, monitored: Config) -> None:
    """A batch that was begun when its rows were younger ends between the tick's windows and its maintenance."""
    begun = Config.model_validate(monitored.model_dump(by_alias=True) | {"retention": {}})
    driver = Context(spark, monitored, Locks(spark, monitored.output, "monitor"))
    assert maintenance(driver) == []

    def of_old_day() -> list[int]:
        stored = windows(spark, monitored).query("granularity == '1 day' and model_version == '*'")
        return [int(count) for count in stored["count"]][:1]

    assert of_old_day() == [4]
    append(spark, begun, [row("at last", at=OLD)])
    score_responses.start(spark, begun, trigger="availableNow").awaitTermination()
    maintenance(driver, now=datetime.now(UTC) + timedelta(days=1, minutes=1))
    assert sorted(table(spark, SCORES, monitored)["request_id"]) == ["new", "newer"]
    assert of_old_day() == [5]
    assert reconcile(spark, monitored).problems == []
