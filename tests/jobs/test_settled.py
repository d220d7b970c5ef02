"""When a window counts as settled: as long after its end as 99 % of the rows are late."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest
import yaml
from pyspark.sql import functions as F

from jobs import aggregate_windows, monitor
from jobs.reconcile import reconcile
from jobs.store.tables import create_table, insert_new, local_frame, set_rows
from jobs.windows.settle import NOT_KNOWN, VERY_LATE, settle_windows, settling_time
from schemas.batches import BATCHES
from schemas.config import Config, parse_config
from schemas.profile_metrics import PROFILE_METRICS
from tests.spine import copy_of, run, table
from tests.traffic import START, append, config_in, row, settings

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

HOUR, DAY = timedelta(hours=1), timedelta(days=1)


def batch(batch_id: int, lag: float | None, ago: timedelta = HOUR, **lateness: int) -> dict[str, Any]:
    counts = {name.removeprefix("in_").replace("_", " "): count for name, count in lateness.items()}
    values = {"batch_id": batch_id, "checkpoint_id": "c", "lag_seconds": lag, "lateness": counts}
    return values | {"finished_at": datetime.now(UTC) - ago}


@pytest.mark.parametrize(
    ("batches", "expected"),
    [
        ([], NOT_KNOWN),
        ([batch(0, 30, in_5_minutes=990, in_1_hour=10)], timedelta(minutes=5)),
        ([batch(0, 30, in_5_minutes=989, in_1_hour=11)], HOUR),
        ([batch(0, 30, in_5_minutes=50), batch(1, 30, in_7_days=50)], timedelta(days=7)),
        ([batch(0, 30, in_5_minutes=98, older=2)], VERY_LATE),
        ([batch(0, 3601, older=1000), batch(1, 30, in_5_minutes=1)], timedelta(minutes=5)),  # had fallen behind
        ([batch(0, 30, timedelta(days=31), older=1000), batch(1, 30, in_1_day=1)], DAY),  # long ago
        ([batch(0, None)], NOT_KNOWN),
    ],
)
def test_settling_time(spark: SparkSession, tmp_path: Path, batches: list[dict[str, Any]], expected: timedelta) -> None:
    config = parse_config({"source": {"path": "/none"}, "output": {"path": str(tmp_path)}})
    create_table(spark, BATCHES, config.output)
    if batches:
        insert_new(local_frame(spark, batches, BATCHES.schema), BATCHES, config.output)
    assert settling_time(spark, config) == expected


def unlike(windows: pd.DataFrame, until: datetime) -> pd.DataFrame:
    """Windows that are not settled as one would expect of those that end before a moment."""
    ended = windows["window"].map(lambda window: window["end"] <= until.replace(tzinfo=None))
    return windows[windows["is_settled"].ne(ended)]


@pytest.mark.long
def test_windows_settle_and_stay_settled(
    spark: SparkSession, language_model: Path, classifier: Path, tmp_path: Path
) -> None:
    config: Config = config_in(tmp_path, language_model, classifier)
    now = datetime.now(UTC)
    append(spark, config, [row("new", at=now - START)])
    run(spark, config)
    assert not table(spark, PROFILE_METRICS, config)["is_settled"].any()
    for later in (timedelta(minutes=12), 2 * HOUR, DAY + 2 * HOUR):
        settle_windows(spark, config, now=now + later)
        assert unlike(table(spark, PROFILE_METRICS, config), now + later - timedelta(minutes=5)).empty

    # A week later is more than two days later: the daily look finds what the tick no longer looks at.
    append(spark, config, [row("newer", at=now - START), row("late", at=now - START - timedelta(hours=20))])
    run(spark, config)
    windows = table(spark, PROFILE_METRICS, config)
    assert settling_time(spark, config) == DAY, "one of three was late by up to a day"
    assert not windows["is_settled"].all()
    week = now + timedelta(days=8)
    settle_windows(spark, config, now=week)
    assert not table(spark, PROFILE_METRICS, config)["is_settled"].all()
    settle_windows(spark, config, now=week, everything=True)
    after = table(spark, PROFILE_METRICS, config)
    assert after["is_settled"].all()
    assert sorted(after["revision"]) == sorted(windows["revision"]), "no figure has changed"
    assert reconcile(spark, config).problems == []


@pytest.mark.long
def test_the_command_settles_windows(
    spark: SparkSession, month: Config, language_model: Path, classifier: Path, tmp_path: Path
) -> None:
    """A job of its own has no monitor that does it."""
    config = copy_of(month, tmp_path)
    set_rows(spark, PROFILE_METRICS, config.output, F.lit(True), {"is_settled": F.lit(False)})
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(settings(tmp_path, language_model, classifier)))
    assert aggregate_windows.main(["--config", str(tmp_path / "config.yaml"), "--trigger", "availableNow"]) == 0
    assert table(spark, PROFILE_METRICS, config)["is_settled"].all()

    # So does a monitor that has no maintenance to do it once a day.
    set_rows(spark, PROFILE_METRICS, config.output, F.lit(True), {"is_settled": F.lit(False)})
    assert monitor.run_once(spark, config.model_copy(update={"maintenance": "off"})) == 0
    assert table(spark, PROFILE_METRICS, config)["is_settled"].all()
