"""Windows that follow ``scores`` from tick to tick, by its change feed since the version that the last tick met."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from jobs.command.log import LOG
from jobs.store.checkpoints import version_read
from jobs.store.locks import Unlocked
from jobs.store.tables import read_changes_after
from jobs.windows.recompute import Recomputed, recompute_touched
from schemas.config import Config
from schemas.profile_metrics import PROFILE_METRICS
from schemas.scores import SCORES

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

DAY_SECONDS = 86400.0


@dataclass
class Follower:
    """How far the windows have followed ``scores`` in this process.

    The window query's checkpoint is the way back: at the start, after a failure, and once a day, so that what it has
    still to read stays little. Between, the change feed is read without a query, whose start and end take longer than
    the windows of a trigger.

    Args:
        version: Version of ``scores`` that the windows have met whole; None: only the checkpoint knows.
        queried_at: When the query was run, by ``time.monotonic``.
    """

    version: int | None = None
    queried_at: float = 0.0

    def catch_up(
        self, spark: SparkSession, config: Config, locks: Unlocked, start: Callable[[], Any]
    ) -> Recomputed | None:
        """Bring the windows up to date.

        Args:
            spark: Session.
            config: Settings.
            locks: Under which windows are written.
            start: Starts the window query, which ends when it has read everything.

        Returns:
            What was written; None: that may be any window.
        """
        known, self.version = self.version, None
        if known is None or time.monotonic() - self.queried_at > DAY_SECONDS:
            query = start()
            query.awaitTermination()
            self.version, self.queried_at = version_read(query.lastProgress), time.monotonic()
            return None
        changes = read_changes_after(spark, SCORES, config.output, known)
        with locks.step(PROFILE_METRICS.name):
            done = recompute_touched(changes, config, locks)
        if done.dates:
            LOG.info("windows: recomputed those of %d days", len(done.dates))
        self.version = known if done.version is None else max(known, done.version)
        return done
