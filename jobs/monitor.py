"""Monitor: the main job. Scores what the endpoint logs and keeps windows and page up to date.

    inference-metrics monitor --config conf/local.yaml --trigger "5 minutes"
    inference-metrics monitor --config conf/local.yaml --trigger availableNow
    spark-submit --py-files metrics.whl jobs/monitor.py --config conf/local.yaml

The score query stands. After each of its batches, and at least once per trigger interval, one tick runs the later
hops one after another: windows, page, maintenance (retention, OPTIMIZE and VACUUM, once a day). A step that fails is
logged and tried again at the next tick; it never stops scoring. With availableNow everything there is gets scored, then
one tick runs, and a step that fails ends the job with exit code 1. SIGTERM and SIGINT let the running batch finish.
--new-checkpoint reads the source again from its beginning, which changes nothing that is scored: the way out when the
stream can't follow a change of the source. A second driver of the same tables is refused (table locks).
"""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from jobs import aggregate_windows, dashboard, score_responses
from jobs.command.call import Call, add_new_checkpoint, command
from jobs.command.errors import FAILED, OK, described
from jobs.command.fail_points import fail_point
from jobs.command.log import LOG
from jobs.store.checkpoints import AGGREGATE_WINDOWS, SCORE_RESPONSES
from jobs.store.locks import Locks
from jobs.upkeep.maintenance import Timetable, maintain
from jobs.windows.drawn import PageCache
from jobs.windows.follow import Follower
from jobs.windows.settle import settle_windows
from schemas.config import AVAILABLE_NOW, OFF, Config, duration_seconds

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

POLL_SECONDS = 1
SETTLE_SECONDS = 3600.0
"""Windows are looked at for settling so often: verdicts go by hours, and a look takes eight jobs."""

GRACE_SECONDS = 600.0


HOPS = (SCORE_RESPONSES, AGGREGATE_WINDOWS)


@dataclass
class Context:
    """What the steps of a driver's ticks work with.

    Args:
        spark: Session.
        config: Settings.
        locks: The driver's locks.
        timetable: When tables were tidied up.
        follower: How far the windows have followed ``scores``.
        page_cache: What the page before was drawn of.
        is_first: Whether no tick of this driver went well yet.
        settled_at: When windows were looked at for settling, by ``time.monotonic``; None: not yet.
    """

    spark: SparkSession
    config: Config
    locks: Locks
    timetable: Timetable = field(default_factory=Timetable)
    follower: Follower = field(default_factory=Follower)
    page_cache: PageCache = field(default_factory=PageCache)
    is_first: bool = True
    settled_at: float | None = None


@dataclass(frozen=True)
class Step:
    """One hop of a tick; it is left out where one that it ``needs`` has failed."""

    name: str
    run: Callable[[Context], object]
    needs: tuple[str, ...] = ()


def tick(context: Context) -> bool:
    """Run the later hops once, each after the one before it; whether all of them went well."""
    failed: set[str] = set()
    for step in STEPS:
        if failed.intersection(step.needs):
            continue
        try:
            step.run(context)
        except Exception as error:
            LOG.error("%s failed, and is tried again at the next tick: %s", step.name, described(error))
            LOG.debug("%s failed", step.name, exc_info=True)
            failed.add(step.name)
    fail_point("after_tick")
    context.is_first = context.is_first and bool(failed)
    return not failed


def _windows(context: Context) -> None:
    _catch_up(context)
    now = time.monotonic()
    if context.settled_at is None or now - context.settled_at >= SETTLE_SECONDS:
        # Maintenance looks at all windows, where it is on.
        everything = context.is_first and context.config.maintenance == OFF
        settle_windows(context.spark, context.config, context.locks, everything=everything)
        context.settled_at = now


def _catch_up(context: Context) -> None:
    """Bring the windows up to date."""
    spark, config, locks = context.spark, context.config, context.locks
    done = context.follower.catch_up(
        spark, config, locks, lambda: aggregate_windows.start(spark, config, trigger=AVAILABLE_NOW, locks=locks)
    )
    dates, figures = (done.dates, done.figures) if done else (None, None)
    context.page_cache.written(dates, figures)


def _page(context: Context) -> None:
    dashboard.write_page(context.spark, context.config, cache=context.page_cache)


def maintenance(context: Context, *, now: datetime | None = None) -> list[str]:
    """``maintain`` with the windows' part in it; a batch may have ended since the tick's windows were written."""
    done: list[str] | None = None
    try:
        done = maintain(
            context.spark,
            context.config,
            context.locks,
            context.timetable,
            catch_up=lambda: _catch_up(context),
            settle=lambda: settle_windows(context.spark, context.config, everything=True),
            now=now,
        )
        return done
    finally:
        if done != []:  # rows and windows may have been removed
            context.locks.forget_remembered()
            context.page_cache.written(None)


STEPS = (
    Step("windows", _windows),
    Step("page", _page),
    # It removes rows: not those that the windows have not seen.
    Step("maintenance", maintenance, needs=("windows",)),
)
"""The later hops, in the order in which a tick runs them."""


def run_once(
    spark: SparkSession, config: Config, stop: threading.Event | None = None, *, new_checkpoint: bool = False
) -> int:
    """Score to the end of the source, then one tick; ends after the running batch when ``stop`` is set.

    Raises:
        LockedError: Another driver runs one of the hops.
    """
    with Locks(spark, config.output, "monitor", HOPS) as locks:
        query = score_responses.start(spark, config, trigger=AVAILABLE_NOW, new_checkpoint=new_checkpoint, locks=locks)
        while not query.awaitTermination(POLL_SECONDS):
            if stop is not None and stop.is_set():
                LOG.info("stopping")
                _stop(query)
                return OK
        return OK if tick(Context(spark, config, locks)) else FAILED


def run_standing(spark: SparkSession, config: Config, stop: threading.Event, *, new_checkpoint: bool = False) -> int:
    """Score at every trigger until ``stop`` is set or the score query fails.

    Raises:
        LockedError: Another driver runs one of the hops.
    """
    with Locks(spark, config.output, "monitor", HOPS) as locks:
        query = score_responses.start(spark, config, trigger=config.trigger, new_checkpoint=new_checkpoint, locks=locks)
        interval = duration_seconds(config.trigger)
        context = Context(spark, config, locks)
        last_batch, last_tick = None, time.monotonic()
        while query.isActive and not stop.is_set():
            batch = _last_batch(query)
            if batch != last_batch or time.monotonic() - last_tick >= interval:
                last_batch, last_tick = batch, time.monotonic()
                tick(context)
            stop.wait(POLL_SECONDS)
        if stop.is_set():
            LOG.info("stopping")
            _stop(query)
            return OK
        query.awaitTermination()  # raises what ended it
        return FAILED


def _stop(query: Any) -> None:
    """Let the running batch finish, and none after it. One that is cut off is only repeated: every write can be."""
    deadline, batch = time.monotonic() + GRACE_SECONDS, _last_batch(query)
    while query.isActive and query.status["isTriggerActive"] and time.monotonic() < deadline:
        if _last_batch(query) != batch:
            break
        time.sleep(0.2)
    query.stop()


def _last_batch(query: Any) -> Any:
    return (query.lastProgress or {}).get("batchId")


def _work(call: Call) -> int:
    config, stop = call.config, threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    work = run_once if config.trigger == AVAILABLE_NOW else run_standing
    return work(call.spark, config, stop, new_checkpoint=call.options.new_checkpoint)


main = command(__doc__, _work, add_new_checkpoint, trigger=True)


if __name__ == "__main__":
    sys.exit(main())
