"""Forgetting a person, trying quarantine again, and what the doctor says, on the tables of one small monitor."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest
import yaml

from jobs import doctor, forget, score_responses
from jobs.range_metrics import metrics_between
from jobs.reconcile import reconcile
from jobs.scoring import batch
from metrics.slices import OTHER
from metrics.unpack import arrow
from schemas.batches import BATCHES
from schemas.config import Config
from schemas.forgotten import FORGOTTEN
from schemas.profile_metrics import PROFILE_METRICS
from schemas.quarantine import QUARANTINE
from schemas.scores import SCORES
from tests.spine import contents, copy_of, run, table
from tests.traffic import START, append, config_in, row, settings

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


def sent(request_id: str, user: str, *queries: str, hours: int = 0, answers: int | None = None) -> dict[str, Any]:
    """A request that names its end user; with another number of answers than queries, it can't be read."""
    request = {"dataframe_records": [{"query": query} for query in queries], "context": {"user_id": user}}
    response = {"predictions": ["the cat sat"] * (len(queries) if answers is None else answers)}
    at = timedelta(hours=hours)
    return row(request_id, at=at, request=json.dumps(request), response_body=json.dumps(response))


ROWS = [
    sent("ada 1", "ada", "hello", "the dog"),
    sent("ada 2", "ada", "hello", hours=1),
    sent("ada 3", "ada", "hello", hours=1, answers=2),
    sent("bob 1", "bob", "hello", hours=1),
    row("nobody"),
]


@pytest.fixture(scope="module")
def begun(
    spark: SparkSession, language_model: Path, classifier: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Config]:
    """One run on ROWS; the tests work on copies of its folder."""
    config = config_in(tmp_path_factory.mktemp("begun"), language_model, classifier)
    append(spark, config, ROWS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TEXT_HASH_KEY", "a key")
        run(spark, config)
        yield config


@pytest.fixture
def monitored(begun: Config, language_model: Path, classifier: Path, tmp_path: Path) -> Config:
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(settings(tmp_path, language_model, classifier)))
    return copy_of(begun, tmp_path)


def test_a_person_is_forgotten_for_good(
    spark: SparkSession, monitored: Config, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    windows = contents(spark, monitored, "profile_metrics")
    assert sorted(table(spark, QUARANTINE, monitored)["request_id"]) == ["ada 3"]
    command = ["--config", str(tmp_path / "config.yaml")]
    assert forget.main([*command, "--end-user", "ada"]) == 0
    deleted = "3 rows of scores, 1 rows of quarantine, 0 rows of feedback deleted; old files hold them "
    assert capsys.readouterr().out.startswith(deleted)
    assert forget.main([*command, "--request-id", "nobody", "--request-id", "to come"]) == 0
    assert capsys.readouterr().out.startswith("1 rows of scores, 0 rows of quarantine, 0 rows of feedback deleted; ")
    assert forget.main([*command, "--end-user", "ada"]) == 0
    assert capsys.readouterr().out.startswith("0 rows of scores, 0 rows of quarantine, 0 rows of feedback deleted; ")
    assert sorted(table(spark, SCORES, monitored)["request_id"]) == ["bob 1"]
    assert table(spark, QUARANTINE, monitored).empty
    assert contents(spark, monitored, "profile_metrics") == windows
    # Ids are not kept, but as hashes.
    assert "ada " not in (kept := table(spark, FORGOTTEN, monitored).to_json())  # a hash may well hold "ada"
    assert "nobody" not in kept

    account = reconcile(spark, monitored)
    fates = ("source_rows", "scored", "quarantined", "duplicate", "skipped", "forgotten", "missing")
    assert (account.problems, [account.rows[fate] for fate in fates]) == ([], [5, 1, 0, 0, 0, 4, 0])
    assert account.windows["windows_forgotten"] > 0


@pytest.mark.long
def test_reading_again_brings_nobody_back(spark: SparkSession, monitored: Config) -> None:
    forget.forget(spark, monitored, end_users=["ada"], request_ids=["nobody", "to come"])
    # Neither reading on nor reading again brings them back; what the person sends from now on is another matter.
    late = row("late", at=timedelta(minutes=30))
    append(spark, monitored, [ROWS[0], row("to come"), sent("ada 4", "ada", "hello", hours=24), late])
    run(spark, monitored)
    score_responses.start(spark, monitored, trigger="availableNow", new_checkpoint=True).awaitTermination()
    assert sorted(table(spark, SCORES, monitored)["request_id"]) == ["ada 4", "bob 1", "late"]
    assert table(spark, QUARANTINE, monitored).empty
    ledger = table(spark, BATCHES, monitored).sort_values("finished_at")
    columns = ["rows_read", "rows_scored", "rows_quarantined", "rows_duplicate"]
    assert ledger[columns].values.tolist() == [[5, 4, 1, 0], [4, 2, 0, 2], [9, 0, 0, 9]]
    assert reconcile(spark, monitored).problems == []
    # The late row's hour was computed without them, and the day from its hours; other windows still count them.
    (day,) = metrics_between(spark, monitored, START, START + timedelta(days=1), columns=["requests"]).collect()
    assert day["count"] == 3


@pytest.mark.long
def test_quarantine_is_tried_again(
    spark: SparkSession,
    monitored: Config,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    early = datetime.now(UTC) + timedelta(hours=2) - START
    other = row("other", at=early) | {"request_metadata": {"endpoint_name": "bot", "model_name": "other"}}
    append(spark, monitored, [row("early", at=early), row("early", at=early), other, row("broken", request="{")])
    run(spark, monitored)
    reasons = table(spark, QUARANTINE, monitored).set_index("request_id")["reason"].to_dict()
    too_early = dict.fromkeys(["early", "other"], "future_request_time")
    assert reasons == {"ada 3": "length_mismatch", "broken": "invalid_request_json"} | too_early
    # Its time has come; until it is asked for, the row stays where it is, also when it is read again.
    monkeypatch.setattr(arrow, "FUTURE", timedelta(hours=3))
    score_responses.start(spark, monitored, trigger="availableNow", new_checkpoint=True).awaitTermination()
    assert "early" not in table(spark, SCORES, monitored)["request_id"].tolist()
    # Who was forgotten in between is still one of the batch's rows.
    assert forget.forget(spark, monitored, request_ids=["bob 1"]) == {"scores": 1, "quarantine": 0, "feedback": 0}
    again = ["--config", str(tmp_path / "config.yaml"), "--retry-quarantine", "--set", "max_models=1"]
    assert score_responses.main(again) == 0
    assert capsys.readouterr().out == "4 rows of quarantine tried, 2 scored\n"
    scores = table(spark, SCORES, monitored).set_index("request_id")
    assert scores.loc[["early", "other"], "model_name"].tolist() == ["chatbot", OTHER]
    assert sorted(table(spark, QUARANTINE, monitored)["request_id"]) == ["ada 3", "broken"]
    ledger = table(spark, BATCHES, monitored).sort_values("finished_at")
    columns = ["rows_read", "rows_scored", "rows_quarantined", "rows_duplicate", "exchanges"]
    assert ledger[columns].values.tolist() == [[5, 4, 1, 0, 5], [4, 2, 1, 1, 2], [9, 0, 0, 9, 0]]
    run(spark, monitored)
    assert reconcile(spark, monitored).problems == []


@pytest.mark.long
def test_what_happens_between_a_kill_and_the_restart_does_not_unbalance_the_account(
    spark: SparkSession, monitored: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    early = datetime.now(UTC) + timedelta(hours=2) - START
    append(spark, monitored, [row("c"), row("d"), row("early", at=early), row("requester")])

    def die(point: str) -> None:
        if point == "after_batches":
            raise RuntimeError("killed")

    with monkeypatch.context() as killed:
        killed.setattr(batch, "fail_point", die)
        with pytest.raises(Exception, match="killed"):
            run(spark, monitored)
    # A request is forgotten, and the row from the future can be read by now.
    assert forget.forget(spark, monitored, request_ids=["c"]) == {"scores": 1, "quarantine": 0, "feedback": 0}
    monkeypatch.setattr(arrow, "FUTURE", timedelta(hours=3))
    run(spark, monitored)
    ledger = table(spark, BATCHES, monitored).sort_values("batch_id")
    columns = ["rows_read", "rows_scored", "rows_quarantined", "rows_duplicate", "rows_skipped"]
    assert ledger[columns].values.tolist() == [[5, 4, 1, 0, 0], [4, 3, 1, 0, 0]]
    assert reconcile(spark, monitored).problems == []


@pytest.mark.long
def test_one_person_of_a_batched_call_is_forgotten(spark: SparkSession, monitored: Config) -> None:
    two = [{"query": "mine", "user": "eve"}, {"query": "hers", "user": "mallory"}]
    append(spark, monitored, [row("two", request=json.dumps({"dataframe_records": two}), response_body='["A1", "A2"]')])
    run(spark, monitored)
    assert forget.forget(spark, monitored, end_users=["mallory"]) == {"scores": 1, "quarantine": 0, "feedback": 0}
    score_responses.start(spark, monitored, trigger="availableNow", new_checkpoint=True).awaitTermination()
    scores = table(spark, SCORES, monitored)
    assert scores[scores["request_id"] == "two"]["exchange_index"].tolist() == [0]
    assert reconcile(spark, monitored).problems == []


def said(findings: list[doctor.Finding], check: str) -> list[tuple[str, str]]:
    return [(one.level, one.text) for one in findings if one.check == check]


def test_the_doctor_looks_and_writes_nothing(
    spark: SparkSession, monitored: Config, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def versions() -> list[Any]:
        places = (monitored.source.path, *(f"{monitored.output.path}/{one.name}" for one in (SCORES, PROFILE_METRICS)))
        return [spark.sql(f"DESCRIBE HISTORY delta.`{place}`").count() for place in places]

    before = versions()
    now = pd.Timestamp(table(spark, BATCHES, monitored)["finished_at"].max()).to_pydatetime().replace(tzinfo=UTC)
    well = doctor.examine(spark, monitored, now=now + timedelta(days=5))
    assert {one.level for one in well} == {"ok"}
    assert {one.check for one in well} == {
        *("versions", "source", "retention", "tables", "models", "payloads", "hashes")
    }
    assert said(well, "source") == [("ok", f"delta.`{monitored.source.path}`: legacy, 5 rows")]

    # Seven days of files are less than six and a half and a margin; thirty of the log are enough.
    late = said(doctor.examine(spark, monitored, now=now + timedelta(days=6, hours=12)), "retention")
    assert [level for level, _ in late] == ["ok", "warning"]
    assert late[1][1].startswith("delta.deletedFileRetentionDuration is 7 days, and the last batch ended 6 days ago")
    spark.sql(
        f"ALTER TABLE delta.`{monitored.source.path}` SET TBLPROPERTIES "
        "('delta.logRetentionDuration' = 'interval 36 hours', 'delta.deletedFileRetentionDuration' = 'interval 1 day')"
    )
    short = said(doctor.examine(spark, monitored, now=now + timedelta(hours=13)), "retention")
    assert [level for level, _ in short] == ["warning", "warning"]
    assert short[0][1].startswith("delta.logRetentionDuration is 36 hours, and the last batch ended 13 hours ago")

    spark.sql(f"DELETE FROM delta.`{monitored.source.path}` WHERE databricks_request_id = 'nobody'")
    unknown = "reason = 'unknown_request_shape', shape = '{\"x\":number}'"
    spark.sql(f"UPDATE delta.`{monitored.output.path}/quarantine` SET {unknown}")
    findings = doctor.examine(spark, monitored, now=now)
    assert said(findings, "payloads")[1:] == [("warning", 'unknown_request_shape, 1 in quarantine: {"x":number}')]
    found = said(findings, "source")
    assert [level for level, _ in found] == ["ok", "warning"]
    assert "the last one in version 2 (DELETE, 0 rows inserted); source.on_source_change is fail" in found[1][1]
    before[0] += 2
    assert versions() == before

    # The command, with what ends a run.
    command = ["--config", str(tmp_path / "config.yaml"), "--json", "--set", "source.on_source_change=cdf"]
    assert doctor.main([*command, "--set", "scoring.toxicity.label=nope"]) == 1
    findings = [doctor.Finding(**one) for one in json.loads(capsys.readouterr().out)]
    assert [level for level, _ in said(findings, "source")] == ["ok", "failed"]
    ((level, text),) = said(findings, "models")
    assert level == "failed"
    assert "nope" in text
    assert doctor.main(["--config", str(tmp_path / "config.yaml"), "--set", f"source.path={tmp_path}/nowhere"]) == 1
    assert "failed   source     delta.`" in capsys.readouterr().out
