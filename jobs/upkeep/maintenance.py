"""Maintenance: removes what is older than ``retention`` says, and tidies up the tables' files.

The monitor's tick does it once per ``maintenance`` (a day), each table under its lock.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from jobs.command.errors import described
from jobs.command.log import LOG
from jobs.store.locks import Locks
from jobs.store.tables import set_table_properties, table_exists, table_properties
from jobs.upkeep.compaction import tidy_up
from jobs.upkeep.retention import purge_scores, purge_windows
from schemas import Table
from schemas.config import OFF, Config, duration_seconds
from schemas.scores import SCORES
from schemas.tables import TABLES

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

MAINTAINED = "inference_metrics.maintained_at"
"""Property of these tables: when they were last tidied up, at first when a driver first met them."""


@dataclass
class Timetable:
    """When the tables were last tidied up, as far as this driver knows: it alone does it, and a look takes two jobs."""

    last: dict[str, datetime] = field(default_factory=dict)

    def due(self, spark: SparkSession, config: Config, locks: Locks, now: datetime) -> list[str]:
        """The tables whose time has come; where none is noted, this moment is."""
        every = timedelta(seconds=duration_seconds(config.maintenance))
        for table in (one for one in TABLES if one.name == one.lock):
            if table.name not in self.last and table_exists(spark, table, config.output):
                noted = table_properties(spark, table, config.output).get(MAINTAINED)
                if noted is None:
                    with locks.step(table.name):
                        self.note(spark, config, table, now)
                else:
                    self.last[table.name] = datetime.fromisoformat(noted)
        return [name for name, last in self.last.items() if now - last >= every]

    def note(self, spark: SparkSession, config: Config, table: Table, now: datetime) -> None:
        """Note that a table was tidied up, and those that belong to it."""
        set_table_properties(spark, table, config.output, {MAINTAINED: now.isoformat(timespec="seconds")})
        self.last[table.name] = now


def maintain(
    spark: SparkSession,
    config: Config,
    locks: Locks,
    timetable: Timetable,
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
        timetable: This driver's.
        catch_up: Brings the windows up to date; called before rows are removed, which they must have seen.
        settle: TouchedTimes windows as settled; called with their table's lock held.
        now: Moment to judge by; None for this one.

    Returns:
        The names of the tables that it was due for.
    """
    now = now or datetime.now(UTC)
    if config.maintenance == OFF:
        return []
    due = timetable.due(spark, config, locks, now)
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
                for one in TABLES:
                    if one.lock == name and table_exists(spark, one, config.output):
                        tidy_up(spark, config, one, now.date())
            except Exception as error:
                LOG.error(
                    "maintenance of %s failed, and is tried again in %s: %s", name, config.maintenance, described(error)
                )
                errors.append(error)
            timetable.note(spark, config, next(one for one in TABLES if one.name == name), now)
    if errors:
        raise errors[0]
    return due
