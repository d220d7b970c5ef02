"""Maintenance: removes what is older than ``retention`` says, and tidies up the tables' files.

The monitor's tick does it once per ``maintenance`` (a day), each table under its lock.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from jobs.command.errors import described
from jobs.command.log import LOG
from jobs.store.locks import Locks
from jobs.store.tables import table_exists
from jobs.upkeep.compaction import tidy_up
from jobs.upkeep.retention import purge_scores, purge_windows
from schemas import Table
from schemas.batches import BATCHES
from schemas.config import OFF, Config, duration_seconds
from schemas.feedback import FEEDBACK
from schemas.forgotten import FORGOTTEN
from schemas.locks import LOCKS
from schemas.profile_metrics import PROFILE_METRICS
from schemas.quarantine import QUARANTINE
from schemas.scores import SCORES

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

BELONGS: Mapping[str, tuple[Table, ...]] = {
    SCORES.name: (SCORES, QUARANTINE, FEEDBACK, BATCHES, FORGOTTEN, LOCKS),
    PROFILE_METRICS.name: (PROFILE_METRICS,),
}
"""Tables by the one whose lock is held."""


def maintain(
    spark: SparkSession,
    config: Config,
    locks: Locks,
    *,
    catch_up: Callable[[], None],
    settle: Callable[[], None],
    now: datetime | None = None,
) -> list[str]:
    """Do what is due. Safe to cut off at any point, and to repeat.

    Args:
        spark: Session.
        config: Settings.
        locks: This driver's locks.
        catch_up: Brings the windows up to date; called before rows are removed, which they must have seen.
        settle: Marks windows as settled; called with their table's lock held.
        now: Moment to judge by; None for this one.

    Returns:
        The names of the tables that it was due for.
    """
    now = now or datetime.now(UTC)
    if config.maintenance == OFF:
        return []
    every = timedelta(seconds=duration_seconds(config.maintenance))
    last = locks.maintained()
    due = [name for name in BELONGS if name in last and now - last[name] >= every]
    errors: list[Exception] = []
    for name in due:
        with locks.step(name):
            try:
                if name == SCORES.name:
                    if config.retention.horizon("scores", now.date()):
                        catch_up()
                    purge_scores(spark, config, now.date())
                else:
                    purge_windows(spark, config, now.date())
                    settle()
                for one in BELONGS[name]:
                    if table_exists(spark, one, config.output):
                        tidy_up(spark, config, one, now.date())
            except Exception as error:
                LOG.error(
                    "maintenance of %s failed, and is tried again in %s: %s", name, config.maintenance, described(error)
                )
                errors.append(error)
            locks.set_maintained(name, now)
    if errors:
        raise errors[0]
    return due
