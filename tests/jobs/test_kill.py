"""kill -9 between the writes, and restart: the tables equal those of an undisturbed run."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml

from jobs.command.fail_points import FAIL_POINT_VARIABLE, FAIL_POINTS
from jobs.reconcile import reconcile
from jobs.scoring import batch
from jobs.store.tables import table_exists
from jobs.windows import recompute
from schemas.batches import BATCHES
from schemas.config import Config
from schemas.profile_metrics import PROFILE_METRICS
from tests.spine import COMMITS, assert_same, contents, run, table
from tests.traffic import append, config_in, settings

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


def monitor(config_file: Path, **environment: str) -> int:
    """``monitor --trigger availableNow`` in a process of its own; its exit code, negative for a signal."""
    command = [sys.executable, "-m", "jobs.cli", "monitor", "--config", str(config_file), "--trigger", "availableNow"]
    ended = subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, check=False)
    print(ended.stderr[-5000:])  # pytest shows it where the test fails
    return ended.returncode


@pytest.fixture
def killed(spark: SparkSession, language_model: Path, classifier: Path, tmp_path: Path) -> tuple[Config, Path]:
    """The same commits, for a monitor in processes of its own; and the file with its settings."""
    folder, config_file = tmp_path / "killed", tmp_path / "config.yaml"
    config = config_in(folder, language_model, classifier)
    for commit in COMMITS:
        append(spark, config, commit)
    config_file.write_text(yaml.safe_dump(settings(folder, language_model, classifier)))
    return config, config_file


def assert_undisturbed(spark: SparkSession, config: Config, month: Config) -> None:
    assert_same(contents(spark, config), contents(spark, month))
    counts = ["rows_read", "rows_scored", "rows_quarantined", "rows_duplicate", "rows_skipped"]
    assert table(spark, BATCHES, config)[counts].values.tolist() == [[14, 9, 1, 3, 1]]
    assert reconcile(spark, config).problems == []


def test_cut_off_at_each_point_in_turn(
    spark: SparkSession, month: Config, killed: tuple[Config, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One history that breaks off at every point of both hops, each time at the next; by an error, in one process."""
    config, _ = killed
    reached: list[str] = []

    def die_at(point: str) -> Callable[[str], None]:
        def fail_point(name: str) -> None:
            reached.append(name)
            if name == point:
                raise RuntimeError(f"cut off at {point}")

        return fail_point

    hops = [point for point in FAIL_POINTS if point != "after_tick"]
    for point in hops:
        for hop in (batch, recompute):
            monkeypatch.setattr(hop, "fail_point", die_at(point))
        reached.clear()
        with pytest.raises(Exception, match=f"cut off at {point}"):
            run(spark, config)
        assert reached[-1] == point
    monkeypatch.undo()
    run(spark, config)
    assert_undisturbed(spark, config, month)


@pytest.mark.long
@pytest.mark.parametrize("point", FAIL_POINTS)
def test_killed_at_each_point_and_restarted(
    spark: SparkSession, month: Config, killed: tuple[Config, Path], point: str
) -> None:
    config, config_file = killed
    assert monitor(config_file, **{FAIL_POINT_VARIABLE: point}) == -signal.SIGKILL
    windows = table_exists(spark, PROFILE_METRICS, config.output) and table(spark, PROFILE_METRICS, config).size > 0
    assert windows == (point in ("after_windows", "after_tick"))
    assert monitor(config_file) == 0
    assert_undisturbed(spark, config, month)
    assert (config_file.parent / "killed" / "dashboard" / "index.html").stat().st_size > 0
