"""The standing monitor: scores what arrives, keeps windows and page up to date, stops cleanly on SIGTERM."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml

from jobs import aggregate_windows, monitor
from jobs.reconcile import reconcile
from schemas.scores import SCORES
from tests.spine import table
from tests.traffic import append, config_in, row, settings

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


def wait_for(process: subprocess.Popen[bytes], log: Path, text: str, *, times: int = 1) -> None:
    """Wait until the monitor has logged a text; fails when the monitor ends first."""
    while log.read_text().count(text) < times:
        assert process.poll() is None, log.read_text()[-3000:]
        time.sleep(0.5)


def test_standing_monitor(spark: SparkSession, language_model: Path, classifier: Path, tmp_path: Path) -> None:
    config = config_in(tmp_path, language_model, classifier)
    append(spark, config, [row("a", response="secret4711 text")])
    config_file = tmp_path / "config.yaml"
    config_file.write_text(yaml.safe_dump(settings(tmp_path, language_model, classifier)))
    log = tmp_path / "log"
    with log.open("wb") as stream:
        command = [sys.executable, "-m", "jobs.cli", "monitor", "--config", str(config_file), "--trigger", "10 seconds"]
        process = subprocess.Popen(command, stderr=stream, stdout=stream)
        try:
            wait_for(process, log, "windows ")
            append(spark, config, [row("b"), row("c", version="7"), row("a", response="secret4711 text")])
            wait_for(process, log, "windows ", times=2)
            process.send_signal(signal.SIGTERM)
            assert process.wait() == 0
        finally:
            process.kill()
    text = log.read_text()
    assert "batch 0: 1 rows, 1 scored, 0 quarantined, 0 duplicates, 0 skipped; 0 with a scorer error; " in text
    assert "batch 1: 3 rows, 2 scored, 0 quarantined, 1 duplicates, 0 skipped; 0 with a scorer error; " in text
    assert "secret4711" not in text
    assert sorted(table(spark, SCORES, config)["request_id"]) == ["a", "b", "c"]
    assert reconcile(spark, config).problems == []
    assert (tmp_path / "dashboard" / "index.html").exists()


def test_a_step_that_fails_does_not_stop_the_others(
    spark: SparkSession,
    language_model: Path,
    classifier: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    config = config_in(tmp_path, language_model, classifier)
    append(spark, config, [row("a")])
    assert monitor.run_once(spark, config) == 0
    (tmp_path / "dashboard" / "index.html").unlink()

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("first line\nsecret second line")

    monkeypatch.setattr(aggregate_windows, "start", fail)
    assert monitor.run_once(spark, config) == 1
    assert (tmp_path / "dashboard" / "index.html").exists(), "the page comes after the windows and is still drawn"
    assert "windows failed, and is tried again at the next tick: RuntimeError: first line" in caplog.text
    assert "secret second line" not in caplog.text
