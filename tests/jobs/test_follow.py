"""Windows from tick to tick: by the change feed of ``scores``, or by the query where that may not be enough."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from pyspark.sql import functions as F

from jobs import aggregate_windows, score_responses
from jobs.forget import forget
from jobs.reconcile import reconcile
from jobs.store.locks import UNLOCKED
from jobs.store.tables import read_table
from jobs.windows import on_driver, recompute
from jobs.windows.follow import Follower
from jobs.windows.recompute import Recomputed
from schemas.config import Config
from schemas.profile_metrics import PROFILE_METRICS
from tests.traffic import append, config_in, row

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

LATE = timedelta(minutes=30)


def requests(spark: SparkSession, config: Config) -> dict[str, float]:
    """Of the first hour, by version."""
    windows = read_table(spark, PROFILE_METRICS, config.output).where(
        "column_name = 'requests' AND granularity = '1 hour' AND slice_key IS NULL AND hour(window.start) = 0"
    )
    return {one["model_version"]: one["sum"] for one in windows.collect()}


def test_ticks_follow_the_feed(
    spark: SparkSession, language_model: Path, classifier: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, follower, started = config_in(tmp_path, language_model, classifier), Follower(), list[int]()

    def start() -> Any:
        started.append(1)
        return aggregate_windows.start(spark, config, trigger="availableNow")

    def tick(*rows: dict[str, Any]) -> Recomputed | None:
        if rows:
            append(spark, config, list(rows))
            score_responses.start(spark, config, trigger="availableNow").awaitTermination()
        return follower.catch_up(spark, config, UNLOCKED, start)

    assert tick(row("a"), row("b", version="7"), row("c", at=timedelta(hours=1))) is None, "the query has read all"
    assert len(started) == 1

    # New rows: on the driver, which says what it has written. Nothing new: nothing is written.
    done = tick(row("late", at=LATE, version="7"))
    assert done is not None
    assert done.figures is not None
    assert {day.isoformat() for day in done.dates} == {"2026-04-01"}
    assert requests(spark, config) == {"6": 1.0, "7": 2.0, "*": 3.0}
    nothing = tick()
    assert nothing is not None
    assert (nothing.dates, nothing.figures, len(started)) == (frozenset(), None, 1)

    # A row that becomes another version's: no stored window may stay as it was.
    scores = f"delta.`{config.output.path}/scores`"
    spark.sql(f"UPDATE {scores} SET model_version = '8' WHERE request_id = 'a'")
    done = tick()
    assert done is not None
    assert done.figures is None, "a window of version 6 is gone: that is for the executors"
    assert requests(spark, config) == {"8": 1.0, "7": 2.0, "*": 3.0}
    spark.sql(f"UPDATE {scores} SET execution_duration_ms = 7 WHERE request_id = 'b'")
    done = tick()
    assert done is not None
    assert done.figures is not None, "every window is still there"

    # The only row of version 8 is forgotten; beside a row that comes later its windows would not add up.
    forget(spark, config, request_ids=["a"])
    assert requests(spark, config) == {"8": 1.0, "7": 2.0, "*": 3.0}
    tick(row("later", at=LATE, version="7"))
    assert requests(spark, config) == {"7": 3.0, "*": 3.0}

    # Too many rows for the driver.
    with monkeypatch.context() as small:
        small.setattr(on_driver, "MOST_ROWS", 1)
        done = tick(row("more", at=LATE, version="7"))
    assert done is not None
    assert done.figures is None
    assert requests(spark, config) == {"7": 4.0, "*": 4.0}

    # After a failure the query is asked: it has not met all that the feed has.
    with monkeypatch.context() as failing, pytest.raises(RuntimeError, match="disk"):
        failing.setattr(recompute, "write_windows", _fail)
        tick(row("last", at=LATE, version="7"))
    assert follower.version is None
    assert tick() is None
    assert (requests(spark, config), len(started)) == ({"7": 5.0, "*": 5.0}, 2)
    assert reconcile(spark, config).problems == []
    revised = read_table(spark, PROFILE_METRICS, config.output).where("column_name = 'requests' AND revision > 1")
    assert revised.where(F.col("window.start") == F.lit("2026-04-01 01:00:00")).count() == 0, "no row came there"


def _fail(*_: object) -> None:
    raise RuntimeError("disk")
