"""The demo as a user runs it, in small: what it leaves, what it prints, and that the scenarios can be told apart."""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
import pytest
from pyspark.sql import functions as F

from jobs import cli
from jobs.demo.command import SETTINGS, Options, _whole, prepare, version_table
from jobs.demo.registry import SCENARIOS
from jobs.demo.traffic import missing_commits
from jobs.reconcile import reconcile
from jobs.store.tables import read_table
from schemas.batches import BATCHES
from schemas.config import load_config, parse_config
from schemas.feedback import FEEDBACK
from schemas.model_versions import MODEL_VERSIONS
from schemas.profile_metrics import PROFILE_METRICS
from schemas.scores import SCORES

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

SIZE = ("--days", "5", "--requests", "300")
LARGER = ("--days", "8", "--requests", "400")
TIMINGS = ("scored_at", "checkpoint_id", "batch_id")


def run_demo(out: Path, models: Path, scenario: str, size: Sequence[str] = SIZE) -> Path:
    """Runs the command with models that are trained already, as a second run does."""
    shutil.copytree(models, out / "models")
    assert cli.main(["demo", "--out", str(out), "--scenario", scenario, *size]) == 0
    return out


def scores(spark: SparkSession, out: Path) -> list[str]:
    """The rows of ``scores``, but for when they were made."""
    table = read_table(spark, SCORES, load_config(str(out / "config.yaml")).output).drop(*TIMINGS)
    return sorted(map(repr, table.collect()))


def lead(out: Path) -> str:
    """The sentences that the page opens with, without their markup."""
    html = (out / "dashboard" / "index.html").read_text(encoding="utf-8")
    found = " ".join(re.sub(r"<[^>]+>", " ", part) for part in re.findall(r'<p class="verdict.*?</p>', html, re.DOTALL))
    return re.sub(r"\s+", " ", found)


def test_what_it_leaves(spark: SparkSession, demo_folder: Path) -> None:
    config = load_config(str(demo_folder / "config.yaml"))
    assert reconcile(spark, config).problems == []
    names = {path.name for path in (demo_folder / "tables").iterdir()}
    assert {"scores", "quarantine", "feedback", "batches", "profile_metrics", "model_versions"} <= names
    versions: pd.DataFrame = read_table(spark, MODEL_VERSIONS, config.output).toPandas()
    assert sorted(versions["model_version"]) == list("1234567")
    assert set(versions["run_name"]) == {"dbdemos_chatbot_rag"}
    assert {v: list(a) for v, a in zip(versions["model_version"], versions["aliases"], strict=True) if len(a)} == {
        "6": ["champion"],
        "7": ["challenger"],
    }
    scored: pd.DataFrame = read_table(spark, SCORES, config.output).toPandas()
    assert set(scored["model_version"]) == {"6", "7"}
    assert scored["response_toxicity"].notna().mean() > 0.9
    rated: pd.DataFrame = read_table(spark, FEEDBACK, config.output).toPandas()
    assert len(rated) >= 2
    assert set(rated["request_id"]) <= set(scored["request_id"])
    assert rated[["value", "source_hash"]].notna().all(axis=None)


def test_late_rows_change_windows_that_were_written_before(spark: SparkSession, demo_folder: Path) -> None:
    config = load_config(str(demo_folder / "config.yaml"))
    first, second = read_table(spark, BATCHES, config.output).orderBy("finished_at").collect()
    assert first["rows_read"] > second["rows_read"] > 0
    assert second["rows_duplicate"] > 0
    scored = read_table(spark, SCORES, config.output).withColumn("hour", F.date_trunc("hour", "request_time"))
    hours = {
        number: {row["hour"] for row in scored.where(f"batch_id = {number}").select("hour").distinct().collect()}
        for number in (first["batch_id"], second["batch_id"])
    }
    again = hours[first["batch_id"]] & hours[second["batch_id"]]
    assert len(again) > 1, "one is the hour in which the first run ended"
    windows = read_table(spark, PROFILE_METRICS, config.output)
    windows = windows.where("granularity = '1 hour' AND column_name = 'requests' AND model_version = '*'").where(
        "slice_key IS NULL"
    )
    revised = {row["start"] for row in windows.where("revision > 1").select("window.start").collect()}
    assert revised == again


@pytest.mark.long
def test_what_was_interrupted_goes_on_and_ends_the_same(
    spark: SparkSession, demo_folder: Path, demo_models: Path, tmp_path: Path
) -> None:
    """A demo that was killed while the endpoint logged: the models, the registry and four commits are there."""
    for name in ("mlflow.db", "demo.json"):
        shutil.copy(demo_folder / name, tmp_path / name)
    source = spark.read.format("delta").load(str(demo_folder / "inference"))
    shutil.copytree(demo_folder / "inference", tmp_path / "inference")
    for file in (tmp_path / "inference" / "_delta_log").glob("*[45].*"):
        file.unlink()
    assert missing_commits(spark, str(tmp_path / "inference")) == [4, 5]
    before = (tmp_path / "mlflow.db").read_bytes()
    run_demo(tmp_path, demo_models, "improvement")
    assert (tmp_path / "mlflow.db").read_bytes() == before, "nothing is registered again"
    assert sorted(map(repr, spark.read.format("delta").load(str(tmp_path / "inference")).collect())) == sorted(
        map(repr, source.collect())
    )
    assert scores(spark, tmp_path) == scores(spark, demo_folder)


def test_a_second_run_is_of_the_same_demo(
    spark: SparkSession, demo_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def versions_of(name: str) -> int:
        return spark.sql(f"DESCRIBE HISTORY delta.`{demo_folder / 'tables' / name}`").count()

    before = {name: versions_of(name) for name in ("scores", "profile_metrics", "model_versions")}
    assert cli.main(["demo", "--out", str(demo_folder), *SIZE]) == 0
    assert {name: versions_of(name) for name in before} == before
    heading = next(line for line in capsys.readouterr().out.splitlines() if "Flesch-Kincaid" in line)
    assert heading.split()[:2] == ["version", "requests"]
    assert cli.main(["demo", "--out", str(demo_folder), "--seed", "8", *SIZE]) == 2
    assert "--scenario improvement --days 5 --requests 300 --seed 7" in capsys.readouterr().err


@pytest.mark.long
def test_one_seed_gives_the_same_scores(spark: SparkSession, demo_folder: Path, tmp_path: Path) -> None:
    """With models trained and versions registered anew."""
    assert cli.main(["demo", "--out", str(tmp_path / "again"), *SIZE]) == 0
    assert scores(spark, tmp_path / "again") == scores(spark, demo_folder)


@pytest.mark.long
def test_the_scenarios_open_the_page_differently(demo_models: Path, tmp_path: Path) -> None:
    said: dict[str, str] = {name: lead(run_demo(tmp_path / name, demo_models, name, LARGER)) for name in SCENARIOS}
    moved = ("perplexity", "reading grade", "response toxicity", "response time", "output tokens per response")
    for scenario, verdict, other in (("improvement", "better", "worse"), ("regression", "worse", "better")):
        assert f"{verdict} on 5 of 6 measures, {other} on none." in said[scenario]
        listed = re.search(rf"{verdict.capitalize()}: (.*?)\. (No clear|About)", said[scenario])
        assert listed
        assert all(name in listed[1] for name in moved), listed[1]
        assert "error rate" not in listed[1]
    assert re.search("(no clear difference|about the same) on all 6 measures", said["no-change"])
    assert "failures of version 7 stand out" in said["incident"]
    assert "Failures stand out on 7 Apr 2026" in said["incident"]
    for other in ("improvement", "regression", "no-change"):
        assert "failures of version 7 stand out" not in said[other]


def test_a_folder_of_somebody_else_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mlflow.db").write_text("precious")
    assert cli.main(["demo", "--out", str(tmp_path)]) == 2
    assert "is no demo and holds mlflow.db" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["mlflow.db"]


@pytest.mark.parametrize(
    ("wrong", "limits"),
    [
        (["--days", "3"], "4 to 366"),
        (["--days", "400"], "4 to 366"),
        (["--requests", "99"], "100 to 1,000,000"),
        (["--seed", "-1"], "0 to 4,294,967,295"),
    ],
)
def test_too_little_or_too_much_is_wrong_use(
    wrong: list[str], limits: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["demo", "--out", str(tmp_path / "out"), *wrong]) == 2
    assert f"{wrong[0]}: must be from {limits} (got {wrong[1]})" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_what_a_user_changed_in_the_settings_stays(tmp_path: Path) -> None:
    prepare(tmp_path, Options())
    assert load_config(str(tmp_path / "config.yaml")).text.store == "redacted"
    (tmp_path / "config.yaml").write_text("changed: by hand")
    prepare(tmp_path, Options())
    assert (tmp_path / "config.yaml").read_text() == "changed: by hand"


def test_what_was_interrupted_is_made_again(tmp_path: Path) -> None:
    def stopped(folder: Path) -> None:
        folder.mkdir()
        (folder / "half").touch()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        _whole(tmp_path / "models", stopped)
    assert not (tmp_path / "models").exists()
    _whole(tmp_path / "models", lambda folder: folder.mkdir())
    assert list((tmp_path / "models").iterdir()) == []


def test_the_settings_it_leaves_are_valid() -> None:
    assert parse_config(SETTINGS).text.store == "redacted"


def test_the_table_shows_what_is_missing() -> None:
    keys = (
        "requests",
        "response_flesch_kincaid",
        "prompt_toxicity",
        "response_toxicity",
        "input_tokens",
        "output_tokens",
    )
    row: dict[str, object] = {
        **dict.fromkeys(keys, 1234.5),
        "model_version": "7",
        "response_perplexity": None,
        "errors": 3,
    }
    heading, line = version_table([row]).splitlines()
    assert heading.split()[:3] == ["version", "requests", "perplexity"]
    assert line.split() == ["7", "1,234", "-", "1234.5", "1234.500", "1234.500", "1,234", "1,234", "3"]
