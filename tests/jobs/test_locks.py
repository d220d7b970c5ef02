"""Locks: one driver per hop, one writer per table, and what becomes of those of a process that died."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest
from pyspark.sql import functions as F

from jobs import aggregate_windows, monitor, score_responses
from jobs.reconcile import reconcile
from jobs.store import locks as module
from jobs.store import processes
from jobs.store.checkpoints import AGGREGATE_WINDOWS
from jobs.store.locks import UNLOCKED, Locks
from jobs.store.tables import set_rows
from jobs.windows import recompute
from schemas.config import Config, Output
from schemas.errors import LockedError
from schemas.locks import LOCKS
from tests.spine import contents, copy_of, run, table
from tests.traffic import append, config_in, row

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


@pytest.fixture
def output(tmp_path: Path) -> Output:
    return Output(path=str(tmp_path / "tables"))


def test_a_second_owner_is_refused_until_the_first_gives_it_back(spark: SparkSession, output: Output) -> None:
    first, second = Locks(spark, output, "monitor"), Locks(spark, output, "rescore")
    with first.held("scores", "profile_metrics"):
        with first.held("scores"):  # its own
            pass
        refused = pytest.raises(LockedError, match=rf"^scores is in use by monitor \(host .*, process {os.getpid()}, ")
        with refused, second.held("another", "scores"):
            pass
        with second.held("another"):
            pass
    with second.held("scores"):
        rows = {one["table_name"]: one for one in spark.read.format("delta").load(f"{output.path}/locks").collect()}
        assert sorted(rows) == ["another", "profile_metrics", "scores"]
        assert (rows["scores"]["command"], rows["scores"]["pid"]) == ("rescore", os.getpid())
        assert (rows["another"]["owner"], rows["profile_metrics"]["owner"]) == (None, None)


def test_one_that_waits_gets_it(spark: SparkSession, output: Output, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", logger="inference_metrics")
    order: list[str] = []
    first, second = Locks(spark, output, "monitor"), Locks(spark, output, "forget")

    def wait() -> None:
        with second.step("scores"):
            order.append("second")

    with first.held("scores"):
        waiting = threading.Thread(target=wait)
        waiting.start()
        while "waiting for scores, which is in use by monitor" not in caplog.text:
            time.sleep(0.1)
        order.append("first")
    waiting.join()
    assert order == ["first", "second"]


def test_two_threads_of_one_process_take_turns(spark: SparkSession, output: Output) -> None:
    locks, order, inside = Locks(spark, output, "monitor"), [], threading.Event()

    def batch() -> None:
        with locks.step("scores"):
            inside.set()
            with locks.step("scores"):  # a step of its own step
                time.sleep(2)
            order.append("batch")

    thread = threading.Thread(target=batch)
    thread.start()
    inside.wait()
    with pytest.raises(LockedError, match="another thread"), locks.held("scores"):
        pass
    with locks.step("scores"):
        order.append("maintenance")
        with pytest.raises(LockedError), Locks(spark, output, "forget").held("scores"):
            pass
    thread.join()
    assert order == ["batch", "maintenance"]
    with Locks(spark, output, "forget").held("scores"):
        pass


def test_what_could_not_be_given_back_is_ones_own(
    spark: SparkSession, output: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    locks = Locks(spark, output, "monitor")

    def fail(*_: object) -> None:
        raise RuntimeError("no connection")

    with monkeypatch.context() as broken, locks.held("scores"):
        broken.setattr(locks, "_free", fail)
    with pytest.raises(LockedError), Locks(spark, output, "forget").held("scores"):
        pass
    with locks.held("scores"):
        pass
    with Locks(spark, output, "forget").held("scores"):
        pass


def test_an_owner_that_stood_still_for_too_long_stops(
    spark: SparkSession, output: Output, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "LEASE", timedelta(seconds=8))
    locks = Locks(spark, output, "monitor", ["score_responses"])
    with locks:
        locks.begin()
        other = {"owner": F.lit("elsewhere/1/2/3"), "host": F.lit("elsewhere")}
        set_rows(spark, LOCKS, output, F.lit(True), other)
        while "score_responses was lost to monitor (host elsewhere" not in caplog.text:
            time.sleep(0.2)
        with pytest.raises(LockedError, match="elsewhere"), locks.step("scores"):
            pass


@pytest.mark.long
def test_what_was_computed_under_a_lock_that_is_lost_is_not_written(
    spark: SparkSession, month: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = copy_of(month, tmp_path)
    append(spark, config, [row("later")])
    score_responses.start(spark, config, trigger="availableNow").awaitTermination()
    before = contents(spark, config, "profile_metrics")

    def stand_still(point: str) -> None:
        if point == "before_windows":
            set_rows(spark, LOCKS, config.output, F.lit(True), {"owner": F.lit("elsewhere/1/2/3")})

    with monkeypatch.context() as slow, Locks(spark, config.output, "monitor", [AGGREGATE_WINDOWS]) as locks:
        slow.setattr(recompute, "fail_point", stand_still)
        with pytest.raises(Exception, match=r"(profile_metrics|aggregate_windows) is in use by monitor"):
            aggregate_windows.start(spark, config, trigger="availableNow", locks=locks).awaitTermination()
    assert contents(spark, config, "profile_metrics") == before
    run(spark, config)
    assert reconcile(spark, config).problems == []


def test_of_several_at_once_one_gets_it(spark: SparkSession, output: Output) -> None:
    with Locks(spark, output, "before").held("scores"):
        pass
    together, refused, holders = threading.Barrier(3), [], []

    def take(number: int) -> None:
        locks = Locks(spark, output, f"driver {number}")
        together.wait()
        try:
            with locks.held("scores"):
                holders.append(number)
                together.wait()
        except LockedError as error:
            refused.append(str(error))
            together.wait()

    threads = [threading.Thread(target=take, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (holder,) = holders
    assert len(refused) == 2
    assert all(f"in use by driver {holder} " in one for one in refused)


def test_a_process_that_died_is_succeeded_at_once_on_its_machine_only(
    spark: SparkSession, output: Output, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    dead = Locks(spark, output, "monitor")
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    machine, _, _, mark = dead._owner.split("/")
    dead._owner = f"{machine}/{process.pid}/{processes.started(process.pid)}/{mark}"
    entered = dead.held("scores")
    entered.__enter__()
    after = Locks(spark, output, "monitor")
    with pytest.raises(LockedError):
        after._take(["scores"], wait=0)
    process.kill()  # and nobody has asked yet what became of it: a zombie is dead, too
    while processes.started(process.pid) != "ended":
        time.sleep(0.1)

    dead._done.set()  # it answers nobody
    with after.held("scores"):
        assert "scores: taking over from monitor (host " in caplog.text
    process.wait()


def test_elsewhere_an_owner_is_dead_that_leaves_a_question_without_an_answer(
    spark: SparkSession, output: Output, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "LEASE", timedelta(seconds=6))
    first = Locks(spark, output, "monitor")
    entered = first.held("scores")
    entered.__enter__()
    first._done.set()  # it answers nobody
    # What it was asked long ago, by one who is dead by now, is no question.
    past = F.lit(datetime.now(UTC) - timedelta(hours=1))
    long_ago = {"lease_until": past, "asked_by": F.lit("elsewhere/1/2/3"), "asked_until": past}
    set_rows(spark, LOCKS, output, F.lit(True), long_ago)
    monkeypatch.setattr(processes, "machine", lambda: "another machine")
    began = time.monotonic()
    with Locks(spark, output, "monitor").held("scores"):
        assert time.monotonic() - began >= 6
        assert "scores: taking over from monitor (host " in caplog.text


def test_elsewhere_an_owner_that_answers_is_alive(
    spark: SparkSession, output: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Locks(spark, output, "monitor", ["score_responses"]) as first:
        first.begin()
        monkeypatch.setattr(processes, "machine", lambda: "another machine")
        other = Locks(spark, output, "monitor", ["score_responses"])
        with pytest.raises(LockedError, match="score_responses is in use by monitor"):
            other.begin()
        (held,) = of_table(spark, output)
        assert (held["owner"], held["asked_by"]) == (first._owner, None)


def of_table(spark: SparkSession, output: Output) -> list[dict[str, object]]:
    rows = spark.read.format("delta").load(f"{output.path}/locks").orderBy("table_name").collect()
    return [one.asDict() for one in rows]


def commits(output: Output) -> int:
    return len(list(Path(f"{output.path}/locks/_delta_log").glob("*.json")))


def test_a_driver_keeps_its_locks_until_somebody_asks(spark: SparkSession, output: Output) -> None:
    with Locks(spark, output, "monitor", ["score_responses"]) as driver:
        driver.begin()
        with driver.step("scores"):
            pass
        before = commits(output)
        for _ in range(3):
            with driver.step("scores"):
                driver.check("scores")
        assert commits(output) == before, "nobody asks, and nothing is written"

        # The driver is idle: who asks gets it at once. Within a step the other waits, and after it the driver does.
        with Locks(spark, output, "forget").step("scores"):
            assert [one["command"] for one in of_table(spark, output)] == ["monitor", "forget"]
        order: list[str] = []
        inside = threading.Event()

        def ask() -> None:
            inside.set()
            with Locks(spark, output, "rescore").step("scores"):
                order.append("rescore")

        with driver.step("scores"):
            thread = threading.Thread(target=ask)
            thread.start()
            inside.wait()
            while of_table(spark, output)[1]["asked_by"] is None:
                time.sleep(0.1)
            order.append("step")
        with driver.step("scores"):
            order.append("next step")
        thread.join()
        assert order == ["step", "rescore", "next step"]
    assert [one["owner"] for one in of_table(spark, output)] == [None, None]


def test_a_lock_is_not_kept_for_one_who_does_not_wait_any_more(
    spark: SparkSession, output: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(_: float) -> None:
        raise KeyboardInterrupt

    with Locks(spark, output, "monitor", ["score_responses"]) as driver:
        with driver.step("scores"):
            # Interrupted while it waits: it takes its question back.
            with monkeypatch.context() as impatient, pytest.raises(KeyboardInterrupt):
                # Of the locks alone: other threads of this process sleep, too.
                impatient.setattr(module, "time", SimpleNamespace(sleep=interrupt, monotonic=time.monotonic))
                Locks(spark, output, "rescore")._take(["scores"], wait=60)
            (held,) = of_table(spark, output)
            assert (held["owner"], held["asked_by"]) == (driver._owner, None)
            # Killed while it waits.
            process = subprocess.Popen([sys.executable, "-c", ""])
            machine, *_ = driver._owner.split("/")
            process.wait()
            killed = f"{machine}/{process.pid}/1/0"
            until = F.lit(datetime.now(UTC) + timedelta(hours=1))
            set_rows(spark, LOCKS, output, F.lit(True), {"asked_by": F.lit(killed), "asked_until": until})
            while driver._asked != {"scores"}:
                time.sleep(0.1)
        assert of_table(spark, output)[0]["owner"] is None
        with driver.step("scores"):
            assert of_table(spark, output)[0]["owner"] == driver._owner


def test_a_log_that_nobody_can_see_is_looked_at_in_time(tmp_path: Path) -> None:
    assert not module._Log(Output(path="s3://bucket/tables")).is_visible
    assert not module._Log(Output.model_validate({"schema": "main.quality"})).is_visible
    log = module._Log(Output(path=str(tmp_path)))
    assert log.is_visible
    folder = tmp_path / "locks" / "_delta_log"
    folder.mkdir(parents=True)
    (folder / f"{7:020}.json").touch()
    assert log.has_news()
    assert not log.has_news()
    for version in (8, 9):
        (folder / f"{version:020}.json").touch()
    assert log.has_news()
    assert not log.has_news()
    # The next ones were cleaned up while this process stood still.
    (folder / f"{12:020}.json").touch()
    log._asked_at -= 2 * module.LEASE.total_seconds()
    assert log.has_news()
    assert not log.has_news()


def test_a_second_monitor_is_refused(
    spark: SparkSession, language_model: Path, classifier: Path, tmp_path: Path
) -> None:
    config = config_in(tmp_path, language_model, classifier)
    append(spark, config, [row("a")])
    with Locks(spark, config.output, "monitor", monitor.HOPS) as first:
        first.begin()
        first.begin()  # what it has it has
        with pytest.raises(LockedError, match="is in use by monitor"):
            monitor.run_once(spark, config)
        with pytest.raises(LockedError, match="is in use by monitor"):
            monitor.run_standing(spark, config, threading.Event())
    assert not (tmp_path / "tables" / "scores").exists(), "refused before the first write"
    assert table(spark, LOCKS, config)["owner"].isna().all()


def test_what_is_remembered_ends_with_the_lock(spark: SparkSession, output: Output) -> None:
    """Between two locks anybody may write; and who holds none remembers nothing."""
    asked: list[int] = []

    def look() -> int:
        asked.append(1)
        return len(asked)

    with Locks(spark, output, "monitor", ["aggregate_windows"]) as driver:
        assert [driver.remembered("rows", look, under="scores") for _ in range(2)] == [1, 2], "not held yet"
        with driver.step("scores"):
            assert driver.remembered("rows", look, under="scores") == 3
        assert driver.remembered("rows", look, under="scores") == 3, "kept until somebody asks"
        assert driver.remembered("others", look, under="profile_metrics") == 4
        assert driver.remembered("rows", look, under="scores", seconds=0) == 5
        with Locks(spark, output, "forget").step("scores"):
            pass
        with driver.step("scores"):
            assert driver.remembered("rows", look, under="scores") == 6
            driver.forget_remembered()
            assert driver.remembered("rows", look, under="scores") == 7
    assert UNLOCKED.remembered("rows", look, under="scores") == 8
