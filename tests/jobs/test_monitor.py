"""The standing monitor: scores what arrives, keeps windows and page up to date, outlives kill -9, stops on SIGTERM."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml

from jobs import aggregate_windows, dashboard, monitor
from jobs.command.fail_points import FAIL_POINT_VARIABLE
from jobs.reconcile import reconcile
from jobs.store.tables import read_table, table_exists
from schemas.batches import BATCHES
from schemas.config import Config
from schemas.profile_metrics import PROFILE_METRICS
from schemas.scores import SCORES
from schemas.tables import TABLES
from tests.spine import copy_of, table
from tests.traffic import append, config_in, row, settings

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


CANARIES = ("ophelia.canary@example.org", "sk-" + "canary4711Abcdefgh1234", "Ophelia Kanarienvogel")
"""An e-mail address, a key and a name; the key is put together, so that no scanner takes it for one."""

SAID = " and ".join(CANARIES)
CARRIERS = [
    row("a", response=SAID),
    row("broken", prompt=SAID) | {"request": '{"messages": "' + SAID},
    row("unknown", request=json.dumps({SAID: SAID}), response_body=json.dumps({SAID: SAID})),
    row("mismatch", request=json.dumps({"inputs": [SAID, SAID]}), response_body=json.dumps([SAID])),
    row("control", request='{"prompt": "\x01' + SAID + '"}'),
    row("failed", prompt=SAID, status=500, response_body=json.dumps({"error_code": SAID, "message": SAID})),
    row("user", request=json.dumps({"messages": [{"role": "user", "content": SAID}], "user": SAID})),
]


def wait_for(process: subprocess.Popen[bytes], log: Path, text: str) -> None:
    """Wait until the monitor has logged a text; fails when the monitor ends first."""
    while text not in log.read_text():
        assert process.poll() is None, log.read_text()[-3000:]
        time.sleep(0.5)


def has_windows_of(spark: SparkSession, config: Config, version: str) -> bool:
    there = table_exists(spark, PROFILE_METRICS, config.output)
    return there and version in table(spark, PROFILE_METRICS, config)["model_version"].tolist()


@pytest.fixture
def begun(spark: SparkSession, language_model: Path, classifier: Path, tmp_path: Path) -> Config:
    """A source with one request, and the settings of its monitor in config.yaml."""
    extra = {"trigger": "5 seconds"}
    config = config_in(tmp_path, language_model, classifier, **extra)
    append(spark, config, [row("a", response=SAID)])
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(settings(tmp_path, language_model, classifier, **extra)))
    return config


def command(folder: Path) -> list[str]:
    return [sys.executable, "-m", "jobs.cli", "monitor", "--config", str(folder / "config.yaml")]


def check(spark: SparkSession, config: Config, log: str) -> None:
    """What is there after a request, two more, and the carriers."""
    assert "batch 0: 1 rows, 1 scored, 0 quarantined, 0 duplicates, 0 skipped; 0 with a scorer error; " in log
    assert "batch 1: 9 rows, 4 scored, 4 quarantined, 1 duplicates, 0 skipped; 0 with a scorer error; " in log
    assert [canary for canary in CANARIES if canary in log] == []
    assert sorted(table(spark, SCORES, config)["request_id"]) == ["a", "b", "c", "failed", "user"]
    assert reconcile(spark, config).problems == []
    folder = Path(str(config.output.path)).parent
    assert (folder / "dashboard" / "index.html").exists()
    assert found_in(spark, config, folder, CANARIES) == []


def test_a_monitor_that_was_killed_goes_on(
    spark: SparkSession, begun: Config, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    # scores is written; quarantine, batches and windows are not
    at_a_point = os.environ | {FAIL_POINT_VARIABLE: "after_scores"}
    killed = subprocess.run(command(tmp_path), env=at_a_point, capture_output=True, text=True, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr[-3000:]
    assert table(spark, SCORES, begun)["request_id"].tolist() == ["a"]
    assert table(spark, BATCHES, begun).empty

    stop, ended = threading.Event(), []
    standing = threading.Thread(target=lambda: ended.append(monitor.run_standing(spark, begun, stop)))
    with caplog.at_level(logging.INFO):
        standing.start()
        try:
            for arrives in ([], [row("b"), row("c", version="7"), *CARRIERS]):
                if arrives:
                    append(spark, begun, arrives)
                while not has_windows_of(spark, begun, "7" if arrives else "6"):
                    assert standing.is_alive(), caplog.text[-3000:]
                    time.sleep(0.5)
        finally:
            stop.set()
            standing.join()
    assert ended == [0]
    check(spark, begun, caplog.text)


@pytest.mark.long
def test_sigterm_ends_a_standing_monitor(spark: SparkSession, begun: Config, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with log.open("wb") as stream:
        process = subprocess.Popen(command(tmp_path), stderr=stream, stdout=stream)
        try:
            wait_for(process, log, "batch 0: ")
            append(spark, begun, [row("b"), row("c", version="7"), *CARRIERS])
            wait_for(process, log, "batch 1: ")
            while not has_windows_of(spark, begun, "7"):
                assert process.poll() is None, log.read_text()[-3000:]
                time.sleep(1)
            process.send_signal(signal.SIGTERM)
            assert process.wait() == 0
        finally:
            process.kill()
    check(spark, begun, log.read_text())


@pytest.fixture(scope="module")
def redacted(
    spark: SparkSession, language_model: Path, classifier: Path, tmp_path_factory: pytest.TempPathFactory
) -> Config:
    """What one run leaves, with excerpts of the texts in its tables."""
    config = config_in(tmp_path_factory.mktemp("redacted"), language_model, classifier, text={"store": "redacted"})
    append(spark, config, [row("canaries", prompt=" and ".join(CANARIES)), *CARRIERS])
    assert monitor.run_once(spark, config) == 0
    return config


def test_a_redacted_text_names_nobody_where_a_pattern_can_know(spark: SparkSession, redacted: Config) -> None:
    mail, key, name = CANARIES
    folder = Path(str(redacted.output.path)).parent
    assert found_in(spark, redacted, folder, [mail, key]) == []
    assert "[email] and [key] and " in table(spark, SCORES, redacted).set_index("request_id").loc["canaries", "prompt"]
    # A name is a word like any other; it is in the tables' excerpts, and nowhere else.
    assert {place for place, _ in found_in(spark, redacted, folder, [name])} == {"scores", "quarantine"}


def found_in(spark: SparkSession, config: Config, folder: Path, canaries: Sequence[str]) -> list[tuple[str, str]]:
    """Where a text is, of all that the monitor has written: rows of its tables, their logs, checkpoints, page, log."""
    there = [one for one in TABLES if table_exists(spark, one, config.output)]
    assert [one.name for one in TABLES if one not in there] in ([], ["model_versions"])
    places = {one.name: read_table(spark, one, config.output) for one in there}
    texts = {name: str([one.asDict(recursive=True) for one in rows.collect()]) for name, rows in places.items()}
    files = [file for file in folder.rglob("*") if file.is_file() and folder / "inference" not in file.parents]
    texts |= {str(file): file.read_bytes().decode("utf-8", "replace") for file in files if file.suffix != ".parquet"}
    return [(place, canary) for place, text in texts.items() for canary in canaries if canary in text]


def test_a_step_that_fails_does_not_stop_the_others(
    spark: SparkSession,
    redacted: Config,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    config = copy_of(redacted, tmp_path)
    (tmp_path / "dashboard" / "index.html").unlink()

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("first line\nsecret second line")

    monkeypatch.setattr(aggregate_windows, "start", fail)
    assert monitor.run_once(spark, config) == 1
    assert (tmp_path / "dashboard" / "index.html").exists(), "the page comes after the windows and is still drawn"
    assert "windows failed, and is tried again at the next tick: RuntimeError: first line" in caplog.text
    assert "secret second line" not in caplog.text

    # Maintenance removes rows, and goes by the windows: without them not, without the page it does.
    maintained: list[int] = []
    monkeypatch.setattr(monitor, "maintain", lambda *_, **__: maintained.append(1))
    assert monitor.run_once(spark, config) == 1
    assert maintained == []
    monkeypatch.undo()
    monkeypatch.setattr(monitor, "maintain", lambda *_, **__: maintained.append(1))
    monkeypatch.setattr(dashboard, "write_page", fail)
    assert monitor.run_once(spark, config) == 1
    assert maintained == [1]
