"""What happens to disks, files, clocks, settings and tables under the monitor: loud, and right once it is mended."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest
from pyspark.sql import functions as F

from jobs import aggregate_windows, score_responses
from jobs.command.errors import described
from jobs.command.session import spark_session
from jobs.reconcile import reconcile
from jobs.scoring import batch
from jobs.store.checkpoints import AGGREGATE_WINDOWS, SCORE_RESPONSES
from jobs.store.tables import read_table, table_properties
from jobs.windows import recompute
from jobs.windows.made_by import GRANULARITIES, MEASURED, THRESHOLD
from schemas.batches import BATCHES
from schemas.config import Config
from schemas.profile_metrics import PROFILE_METRICS
from schemas.scores import SCORES
from tests.soak import differing_windows
from tests.spine import assert_same, contents, copy_of, run, table
from tests.traffic import START, append, config_in, row

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame, SparkSession

SCORE, WINDOWS = SCORE_RESPONSES, AGGREGATE_WINDOWS


@pytest.fixture
def monitored(two_thirds: Config, tmp_path: Path) -> Config:
    """A monitor that has run twice; more rows wait in its source."""
    return copy_of(two_thirds, tmp_path)


def assert_undisturbed(spark: SparkSession, config: Config, month: Config) -> None:
    assert_same(contents(spark, config), contents(spark, month))
    assert reconcile(spark, config).problems == []


def failure(spark: SparkSession, config: Config) -> str:
    """What a run that fails says to its user."""
    with pytest.raises(Exception) as caught:
        run(spark, config)
    return described(caught.value)


# Disks


@pytest.fixture
def small_disk(monitored: Config) -> Iterator[Path]:
    """The folder of the tables and checkpoints on a disk of its own, of 16 MiB."""
    folder = Path(str(monitored.output.path))
    kept = folder.rename(folder.with_name("kept"))
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=16m", "none", str(folder)]
    if not shutil.which("mount") or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("this machine lets nobody mount a disk")
    try:
        shutil.copytree(kept, folder, dirs_exist_ok=True)
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(disk: Path, *, but: int) -> Path:
    """A file that takes all of the disk's room but for some bytes."""
    filler = disk / "filler"
    room = os.statvfs(disk)
    with filler.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, room.f_bavail * room.f_frsize - but)
    return filler


@pytest.mark.long
@pytest.mark.parametrize("left", [0, 64 * 2**10])
def test_a_full_disk(spark: SparkSession, monitored: Config, month: Config, small_disk: Path, left: int) -> None:
    filler = fill(small_disk, but=left)
    for _ in range(2):
        assert "No space left on device" in failure(spark, monitored)
    filler.unlink()
    run(spark, monitored)
    assert_undisturbed(spark, monitored, month)


@pytest.mark.long
def test_a_disk_that_can_only_be_read(spark: SparkSession, monitored: Config, month: Config, small_disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    try:
        assert "Read-only file system" in failure(spark, monitored)
    finally:
        subprocess.run(["mount", "-o", "remount,rw", str(small_disk)], check=True)
    run(spark, monitored)
    assert_undisturbed(spark, monitored, month)


# Files


def newest(folder: str) -> Path:
    """The file of the last micro-batch."""
    return max((path for path in Path(folder).iterdir() if path.name.isdigit()), key=lambda path: int(path.name))


def last_data_file(folder: str) -> Path:
    return max(Path(folder).rglob("part-*.parquet"), key=lambda path: path.stat().st_mtime_ns)


CUT_OFF = {
    "offsets": lambda config: newest(f"{config.checkpoint(SCORE)}/offsets"),
    "commit": lambda config: newest(f"{config.checkpoint(SCORE)}/commits"),
    "metadata": lambda config: Path(config.checkpoint(SCORE)) / "metadata",
    "offsets of the windows": lambda config: newest(f"{config.checkpoint(WINDOWS)}/offsets"),
    "metadata of the windows": lambda config: Path(config.checkpoint(WINDOWS)) / "metadata",
    "source": lambda config: last_data_file(config.source.path),
    "scores": lambda config: last_data_file(f"{config.output.path}/scores"),
    "windows": lambda config: last_data_file(f"{config.output.path}/profile_metrics"),
}
"""Files that can lose their end."""


@pytest.mark.long
@pytest.mark.parametrize("what", CUT_OFF)
def test_a_file_that_is_cut_off(spark: SparkSession, monitored: Config, month: Config, what: str) -> None:
    file: Path = CUT_OFF[what](monitored)
    whole = file.read_bytes()
    # A checksum beside it would give it away; object storage has none.
    (file.parent / f".{file.name}.crc").unlink(missing_ok=True)
    file.write_bytes(whole[: 0 if file.suffix != ".parquet" else 100])
    said = failure(spark, monitored)
    assert str(file) in said
    in_checkpoint = "_checkpoints" in file.parts
    assert ("move its folder away" in said) == in_checkpoint
    if in_checkpoint:
        checkpoint = next(path for path in file.parents if path.parent.name == "_checkpoints")
        checkpoint.rename(checkpoint.with_name("damaged"))
    else:
        file.write_bytes(whole)
    run(spark, monitored)
    assert_undisturbed(spark, monitored, month)


@pytest.mark.long
def test_a_checkpoint_without_metadata(spark: SparkSession, monitored: Config, month: Config) -> None:
    (Path(monitored.checkpoint(SCORE)) / "metadata").unlink()
    said = failure(spark, monitored)
    assert "metadata file is missing" in said
    assert "move its folder away" in said
    query = score_responses.start(spark, monitored, trigger="availableNow", new_checkpoint=True)
    query.awaitTermination()
    run(spark, monitored)
    assert_undisturbed(spark, monitored, month)


@pytest.mark.long
def test_a_checkpoint_that_is_moved_away_in_the_middle_of_a_batch(
    spark: SparkSession, monitored: Config, month: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(point: str) -> None:
        if point == "after_quarantine":
            raise RuntimeError("killed")

    append(spark, monitored, [row("unreadable", request="{")])
    with monkeypatch.context() as killed, pytest.raises(Exception, match="killed"):
        killed.setattr(batch, "fail_point", die)
        run(spark, monitored)
    assert reconcile(spark, monitored).problems != []
    Path(monitored.checkpoint(SCORE)).rename(Path(monitored.checkpoint(SCORE)).with_name("damaged"))
    run(spark, monitored)
    assert reconcile(spark, monitored).problems == []
    assert contents(spark, monitored, "scores") == contents(spark, month, "scores")
    ledger = table(spark, BATCHES, monitored).sort_values("finished_at")
    columns = ["rows_read", "rows_scored", "rows_quarantined", "rows_duplicate", "rows_skipped"]
    assert ledger[columns].values.tolist()[-2:] == [[4, 3, 1, 0, 0], [15, 0, 0, 14, 1]]


# Clocks


@pytest.mark.long
def test_zones_and_summer_time(
    spark: SparkSession, language_model: Path, classifier: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the days on which New York's clocks change, and on a machine there, windows are those of UTC."""
    changes = [datetime(2026, 3, 8, 6, tzinfo=UTC), datetime(2025, 11, 2, 5, tzinfo=UTC)]
    times = [change + timedelta(minutes=m) for change in changes for m in (-60, 0, 29, 59, 60, 61, 120, 1439)]
    config = config_in(tmp_path, language_model, classifier)
    append(spark, config, [row(f"{i}", at=time - START) for i, time in enumerate(times)])
    zones = spark._jvm.java.util.TimeZone  # type: ignore[union-attr]
    before = zones.getDefault()
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    zones.setDefault(zones.getTimeZone("America/New_York"))
    spark.conf.set("spark.sql.session.timeZone", "America/New_York")
    try:
        spark_session("in New York")
        run(spark, config)
        assert reconcile(spark, config).problems == []
    finally:
        monkeypatch.undo()
        time.tzset()
        zones.setDefault(before)
        spark.conf.set("spark.sql.session.timeZone", "UTC")
    windows = read_table(spark, PROFILE_METRICS, config.output).where(
        "column_name = 'requests' AND model_version = '*' AND slice_key IS NULL"
    )
    found = {
        (one["granularity"], one["start"], one["window_date"]): one["count"]
        for one in windows.select("granularity", "window.start", "window_date", "count").collect()
    }
    expected: dict[tuple[str, datetime, object], int] = {}
    for granularity in config.granularities:
        for start in pd.Series(times).dt.floor(pd.Timedelta(granularity)):
            key = (granularity, start.tz_localize(None).to_pydatetime(), start.date())
            expected[key] = expected.get(key, 0) + 1
    assert found == expected


# Settings


@pytest.fixture
def changed(monitored: Config) -> Config:
    """The same monitor with other lengths of windows and another threshold."""
    values = monitored.model_dump(by_alias=True)
    values["granularities"] = ["1 minute", "15 minutes", "1 day"]
    values["scoring"]["toxicity"]["threshold"] = 0.25
    return Config.model_validate(values)


@pytest.mark.long
def test_settings_that_change_in_between(
    spark: SparkSession, changed: Config, caplog: pytest.LogCaptureFixture
) -> None:
    run(spark, changed)
    lengths = "granularities from 1 minute, 5 minutes, 1 hour, 1 day to 1 minute, 15 minutes, 1 day"
    said = f"settings changed ({lengths}; toxicity_threshold from 0.5 to 0.25): all windows whose rows are there are"
    assert said in caplog.text
    assert differing_windows(spark, changed, table(spark, SCORES, changed)) == []
    assert reconcile(spark, changed).problems == []


@pytest.mark.long
def test_a_change_of_settings_that_was_cut_off(
    spark: SparkSession,
    monitored: Config,
    changed: Config,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # The same settings again: nothing is recomputed.
    run(spark, changed)
    caplog.clear()
    run(spark, changed)
    assert "settings changed" not in caplog.text

    # The first ones again, cut off, and not after all; and a window that no row falls into.
    stray = read_table(spark, PROFILE_METRICS, changed.output).where("column_name = 'requests'").limit(1)
    stray = stray.withColumns({"slice_key": F.lit("stray"), "slice_value": F.lit("true")})
    stray.write.format("delta").mode("append").save(f"{changed.output.path}/profile_metrics")

    def die(*_: object) -> None:
        raise RuntimeError("killed")

    with monkeypatch.context() as killed, pytest.raises(RuntimeError):
        killed.setattr(recompute, "delete_rows", die)
        run(spark, monitored)
    run(spark, changed)
    assert "toxicity_threshold from unknown (a recomputation was cut off) to 0.25" in caplog.text
    assert reconcile(spark, changed).problems == []
    assert set(table(spark, PROFILE_METRICS, changed)["granularity"]) == set(changed.granularities)
    properties = table_properties(spark, PROFILE_METRICS, changed.output)
    assert properties["inference_metrics.toxicity_threshold"] == "0.25"


@pytest.mark.long
def test_windows_of_unknown_settings(spark: SparkSession, monitored: Config, caplog: pytest.LogCaptureFixture) -> None:
    """As a program leaves them that did not note its settings."""
    windows = f"delta.`{monitored.output.path}/profile_metrics`"
    spark.sql(f"DELETE FROM {windows} WHERE granularity = '1 hour'")
    keys = ", ".join(f"'{one}'" for one in (GRANULARITIES, THRESHOLD, MEASURED))
    spark.sql(f"ALTER TABLE {windows} UNSET TBLPROPERTIES ({keys})")
    run(spark, monitored)
    assert "it is not known by which settings the windows were made" in caplog.text
    assert reconcile(spark, monitored).problems == []


# Workers


@pytest.mark.long
def test_a_worker_that_hangs_is_killed_and_its_task_tried_again(spark: SparkSession, tmp_path: Path) -> None:
    hung = tmp_path / "hung"

    def hang_once(values: pd.Series) -> pd.Series:
        if not hung.exists():
            hung.touch()
            time.sleep(3600)
        return values + 1

    udf = F.pandas_udf(hang_once, "bigint")  # type: ignore[attr-defined]  # not in the stubs
    kill = "spark.sql.execution.pyspark.udf.killOnIdleTimeout"
    seconds = "spark.sql.execution.pyspark.udf.idleTimeoutSeconds"
    assert (spark.conf.get(kill), spark.conf.get(seconds)) == ("true", "14400000ms")  # as local sessions are begun
    spark.conf.set(seconds, "3")
    try:
        assert [value for (value,) in spark.range(3).coalesce(1).select(udf("id")).collect()] == [1, 2, 3]
    finally:
        spark.conf.unset(seconds)
    assert hung.exists()


# Other writers


@pytest.mark.long
def test_another_writer_comes_between_a_merge(
    spark: SparkSession, monitored: Config, month: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """OPTIMIZE packs the files that the MERGE of windows has read, before it commits: it reads again."""
    if spark.sparkContext.defaultParallelism < 2:
        pytest.skip("two writers at once need two cores")
    score_responses.start(spark, monitored, trigger="availableNow").awaitTermination()
    windows = f"{monitored.output.path}/profile_metrics"
    in_pieces = spark.read.format("delta").load(windows).repartition(3).write.format("delta").mode("overwrite")
    in_pieces.option("dataChange", "false").save(windows)
    waiting, go = tmp_path / "waiting", tmp_path / "go"
    write = recompute.write_windows
    calls: list[int] = []

    def hold(values: pd.Series) -> pd.Series:
        waiting.touch()
        while not go.exists():
            time.sleep(0.05)
        return values

    def write_held(figures: DataFrame, *args: Any) -> None:
        calls.append(figures.count())  # from here on they are there, and one task waits: the other writer needs a core
        same: Column = F.pandas_udf(hold, "bigint")("count")  # type: ignore[attr-defined]  # not in the stubs
        write(figures.coalesce(1).withColumn("count", same), *args)

    monkeypatch.setattr(recompute, "write_windows", write_held)
    removed: list[int] = []

    def optimize() -> None:
        while not waiting.exists():
            time.sleep(0.05)
        done = spark.sql(f"OPTIMIZE delta.`{windows}`").collect()[0]["metrics"]
        removed.append(done["numFilesRemoved"])
        go.touch()

    other = threading.Thread(target=optimize)
    other.start()
    try:
        aggregate_windows.start(spark, monitored, trigger="availableNow").awaitTermination()
    finally:
        go.touch()
        waiting.touch()
        other.join()
    assert removed[0] > 1
    assert len(calls) == 2, "the first MERGE met the other writer's commit, and all of it was done again"
    monkeypatch.undo()
    assert_undisturbed(spark, monitored, month)
