"""The standing monitor: scores what arrives, keeps windows and page up to date, stops cleanly on SIGTERM."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml

from jobs import aggregate_windows, dashboard, monitor
from jobs.reconcile import reconcile
from schemas.batches import BATCHES
from schemas.config import Config
from schemas.forgotten import FORGOTTEN
from schemas.profile_metrics import PROFILE_METRICS
from schemas.quarantine import QUARANTINE
from schemas.scores import SCORES
from tests.spine import table
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


def wait_for(process: subprocess.Popen[bytes], log: Path, text: str, *, times: int = 1) -> None:
    """Wait until the monitor has logged a text; fails when the monitor ends first."""
    while log.read_text().count(text) < times:
        assert process.poll() is None, log.read_text()[-3000:]
        time.sleep(0.5)


def test_standing_monitor(spark: SparkSession, language_model: Path, classifier: Path, tmp_path: Path) -> None:
    config = config_in(tmp_path, language_model, classifier)
    append(spark, config, [row("a", response=" and ".join(CANARIES))])
    config_file = tmp_path / "config.yaml"
    config_file.write_text(yaml.safe_dump(settings(tmp_path, language_model, classifier)))
    log = tmp_path / "log"
    with log.open("wb") as stream:
        command = [sys.executable, "-m", "jobs.cli", "monitor", "--config", str(config_file), "--trigger", "10 seconds"]
        process = subprocess.Popen(command, stderr=stream, stdout=stream)
        try:
            wait_for(process, log, "windows ")
            append(spark, config, [row("b"), row("c", version="7"), *CARRIERS])
            wait_for(process, log, "windows ", times=2)
            process.send_signal(signal.SIGTERM)
            assert process.wait() == 0
        finally:
            process.kill()
    text = log.read_text()
    assert "batch 0: 1 rows, 1 scored, 0 quarantined, 0 duplicates, 0 skipped; 0 with a scorer error; " in text
    assert "batch 1: 9 rows, 4 scored, 4 quarantined, 1 duplicates, 0 skipped; 0 with a scorer error; " in text
    assert sorted(table(spark, SCORES, config)["request_id"]) == ["a", "b", "c", "failed", "user"]
    assert reconcile(spark, config).problems == []
    assert (tmp_path / "dashboard" / "index.html").exists()
    assert found_in(spark, config, tmp_path, CANARIES) == []


def test_a_redacted_text_names_nobody_where_a_pattern_can_know(
    spark: SparkSession, language_model: Path, classifier: Path, tmp_path: Path
) -> None:
    config = config_in(tmp_path, language_model, classifier, text={"store": "redacted"})
    append(spark, config, [row("canaries", prompt=" and ".join(CANARIES)), *CARRIERS])
    assert monitor.run_once(spark, config) == 0
    mail, key, name = CANARIES
    assert found_in(spark, config, tmp_path, [mail, key]) == []
    assert "[email] and [key] and " in table(spark, SCORES, config).set_index("request_id").loc["canaries", "prompt"]
    # A name is a word like any other; it is in the tables' excerpts, and nowhere else.
    assert {place for place, _ in found_in(spark, config, tmp_path, [name])} == {"scores", "quarantine"}


def found_in(spark: SparkSession, config: Config, folder: Path, canaries: Sequence[str]) -> list[tuple[str, str]]:
    """Where a text is, of all that the monitor has written: rows of its tables, their logs, checkpoints, page, log."""
    names = [one.name for one in (SCORES, QUARANTINE, BATCHES, PROFILE_METRICS, FORGOTTEN)]
    places = {name: spark.read.format("delta").load(f"{config.output.path}/{name}") for name in names}
    texts = {name: str([one.asDict(recursive=True) for one in rows.collect()]) for name, rows in places.items()}
    files = [file for file in folder.rglob("*") if file.is_file() and folder / "inference" not in file.parents]
    texts |= {str(file): file.read_bytes().decode("utf-8", "replace") for file in files if file.suffix != ".parquet"}
    return [(place, canary) for place, text in texts.items() for canary in canaries if canary in text]


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

    # Maintenance removes rows, and goes by the windows: without them not, without the page it does.
    maintained: list[int] = []
    monkeypatch.setattr(monitor, "maintain", lambda *_: maintained.append(1))
    assert monitor.run_once(spark, config) == 1
    assert maintained == []
    monkeypatch.undo()
    monkeypatch.setattr(monitor, "maintain", lambda *_: maintained.append(1))
    monkeypatch.setattr(dashboard, "write_page", fail)
    assert monitor.run_once(spark, config) == 1
    assert maintained == [1]
