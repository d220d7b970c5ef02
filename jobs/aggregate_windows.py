"""Aggregate windows: scores → profile_metrics.

inference-metrics aggregate-windows --config conf/local.yaml
spark-submit --py-files metrics.whl jobs/aggregate_windows.py --config conf/local.yaml

Windows are settled, too, at its end or once per trigger interval. --recompute computes all windows anew whose rows are
there: the way out when reconcile says that some differ.
"""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Any

from jobs.command.call import Call, command
from jobs.command.errors import OK
from jobs.store.checkpoints import AGGREGATE_WINDOWS
from jobs.store.locks import UNLOCKED, Locks, Unlocked
from jobs.store.stream import stream
from jobs.store.tables import create_table, read_changes
from jobs.windows.made_by import follow_settings
from jobs.windows.query import create_view
from jobs.windows.recompute import aggregate_batch, recompute_all
from jobs.windows.settle import settle_windows
from schemas.batches import BATCHES
from schemas.config import AVAILABLE_NOW, Config, duration_seconds
from schemas.forgotten import FORGOTTEN
from schemas.profile_metrics import PROFILE_METRICS
from schemas.scores import SCORES

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession


def start(spark: SparkSession, config: Config, *, trigger: str, locks: Unlocked = UNLOCKED) -> Any:
    """Start the window query on the change feed of ``scores``; each of its batches takes the table's lock.

    Where ``granularities`` or the toxicity threshold are others than last time, or the checkpoint is not the one that
    the windows were made with, all windows are recomputed first.

    Raises:
        LockedError: Another driver runs it.
    """
    locks.begin()
    for table in (SCORES, PROFILE_METRICS, BATCHES, FORGOTTEN):
        create_table(spark, table, config.output)
    create_view(spark, config)
    follow_settings(spark, config, locks)
    changes = read_changes(spark, SCORES, config.output)

    def aggregate(df: DataFrame, batch_id: int) -> None:
        with locks.step(PROFILE_METRICS.name):
            aggregate_batch(df, batch_id, config, locks)

    return stream(
        changes, aggregate, name=AGGREGATE_WINDOWS, checkpoint=config.checkpoint(AGGREGATE_WINDOWS), trigger=trigger
    )


def _settle_until_it_ends(spark: SparkSession, config: Config, locks: Locks, query: Any) -> None:
    """Wait for the query, and settle windows at its end or once per trigger interval."""
    interval = None if config.trigger == AVAILABLE_NOW else duration_seconds(config.trigger)
    everything, ended = True, False
    while not ended:
        ended = query.awaitTermination(interval) if interval else query.awaitTermination() is None
        settle_windows(spark, config, locks, everything=everything)
        everything = False


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--recompute", action="store_true", help="compute all windows anew whose rows are there")


def _work(call: Call) -> int:
    config, spark = call.config, call.spark
    with Locks(spark, config.output, call.name, [AGGREGATE_WINDOWS]) as locks:
        query = start(spark, config, trigger=config.trigger, locks=locks)
        if call.options.recompute:
            with locks.step(PROFILE_METRICS.name):
                recompute_all(spark, config, locks)
        _settle_until_it_ends(spark, config, locks, query)
    return OK


main = command(__doc__, _work, _arguments, trigger=True)


if __name__ == "__main__":
    sys.exit(main())
