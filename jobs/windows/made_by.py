"""By which settings the windows were made: where those are others now, all are recomputed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jobs.command.log import LOG
from jobs.store.checkpoints import AGGREGATE_WINDOWS, is_begun
from jobs.store.locks import Unlocked
from jobs.store.tables import read_table, set_table_properties, table_properties
from jobs.windows.query import threshold_of
from jobs.windows.recompute import recompute_all
from schemas.config import Config, duration_seconds
from schemas.measures import measures_mark
from schemas.profile_metrics import PROFILE_METRICS

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

GRANULARITIES, THRESHOLD = "inference_metrics.granularities", "inference_metrics.toxicity_threshold"
MEASURED = "inference_metrics.measures"
"""Table properties that say which settings the windows were made by."""

CUT_OFF = "unknown (a recomputation was cut off)"
"""What they say while windows are recomputed for other settings."""


def follow_settings(spark: SparkSession, config: Config, locks: Unlocked) -> None:
    """Recompute all windows where they were made by other settings or with another checkpoint, and note the settings.

    A checkpoint of its own has not met what happened to rows since the windows were made: which were re-scored.
    """
    lengths = sorted(config.granularities, key=duration_seconds)
    wanted = {GRANULARITIES: ", ".join(lengths), THRESHOLD: threshold_of(config), MEASURED: measures_mark()}
    locks.remembered(f"made by {wanted}", lambda: _follow(spark, config, locks, wanted), under=AGGREGATE_WINDOWS)


def _follow(spark: SparkSession, config: Config, locks: Unlocked, wanted: dict[str, str]) -> None:
    properties = table_properties(spark, PROFILE_METRICS, config.output)
    had = {key: value for key, value in properties.items() if key in wanted}
    changes = [
        f"{key.partition('.')[2]} from {had.get(key)} to {to}" for key, to in wanted.items() if had.get(key) != to
    ]
    reason = None
    begun = is_begun(spark, config.checkpoint(AGGREGATE_WINDOWS))
    there = not read_table(spark, PROFILE_METRICS, config.output).isEmpty()
    if had and changes:
        reason = f"settings changed ({'; '.join(changes)})"
    elif there and not begun:
        reason = "the checkpoint is new and the windows are not"
    elif begun and not had:  # made by a program that did not note them, or their table is new
        reason = "it is not known by which settings the windows were made"
    if reason or changes:
        with locks.step(PROFILE_METRICS.name):
            if reason:
                LOG.warning("%s: all windows whose rows are there are recomputed", reason)
                set_table_properties(spark, PROFILE_METRICS, config.output, dict.fromkeys(wanted, CUT_OFF))
                recompute_all(spark, config, locks)
            set_table_properties(spark, PROFILE_METRICS, config.output, wanted)
