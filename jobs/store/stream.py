"""Streaming queries that work batch by batch."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from jobs.store.checkpoints import check_metadata
from schemas.config import AVAILABLE_NOW

if TYPE_CHECKING:
    from pyspark.sql import DataFrame


WARM = 2
"""After so many batches all libraries are loaded: what there is then lasts, and is not looked through any more."""


def stream(df: DataFrame, batch: Callable[[DataFrame, int], None], *, name: str, checkpoint: str, trigger: str) -> Any:
    """Start a foreachBatch query; ``trigger`` is availableNow or a duration.

    Raises:
        CheckpointError: Its checkpoint is damaged.
    """
    done = 0

    def clean_batch(rows: DataFrame, batch_id: int) -> None:
        nonlocal done
        try:
            batch(rows, batch_id)
        finally:
            # Py4J's objects refer to each other in circles, and each keeps a plan in the JVM's memory. In a process
            # with half a million lasting objects (mlflow, plotly) Python looks for circles seldom by itself.
            gc.collect()
            done += 1
            if done == WARM:
                gc.freeze()

    check_metadata(df.sparkSession, checkpoint)
    writer = df.writeStream.queryName(name).option("checkpointLocation", checkpoint).foreachBatch(clean_batch)
    if trigger == AVAILABLE_NOW:
        return writer.trigger(availableNow=True).start()
    return writer.trigger(processingTime=trigger).start()
