"""A long backlog: batches are bounded, and it is said how far they are."""

from __future__ import annotations

import io
import logging
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from jobs import score_responses
from jobs.source.backlog import Backlog
from schemas.batches import BATCHES
from tests.spine import table
from tests.traffic import append, config_in, row

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.long
def test_a_backlog_is_read_in_bounded_batches_and_says_how_far_it_is(
    spark: SparkSession, language_model: Path, classifier: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = {"path": str(tmp_path / "inference"), "starting_version": 1, "max_files_per_trigger": 1}
    config = config_in(tmp_path, language_model, classifier, source=source)
    for name in "abcd":
        append(spark, config, [row(f"{name}{i}") for i in range(2)])
    with caplog.at_level(logging.INFO):
        score_responses.start(spark, config, trigger="availableNow").awaitTermination()
    batches = table(spark, BATCHES, config)
    assert batches.sort_values("batch_id")["rows_read"].tolist() == [2, 2, 2]
    lines = [re.sub(r"about [\d:]+ left", "about … left", line) for line in caplog.messages if "rows read (" in line]
    assert lines == ["4 of the source's 6 rows read (67%), about … left"]  # from the second on: one batch is no backlog

    # In a terminal there is a bar instead, until the end is near.
    for name in "ef":
        append(spark, config, [row(f"{name}{i}") for i in range(2)])
    terminal = Terminal()
    backlog = Backlog(file=terminal)
    (checkpoint_id,) = set(batches["checkpoint_id"])
    assert backlog.report(spark, config, checkpoint_id, rows=2, started=time.monotonic()) is None
    line = backlog.report(spark, config, checkpoint_id, rows=2, started=time.monotonic())
    assert line is not None
    assert line.startswith("6 of the source's 10 rows read (60%)")
    assert "6.00/10.0" in terminal.getvalue()
    score_responses.start(spark, config, trigger="availableNow").awaitTermination()
    assert backlog.report(spark, config, checkpoint_id, rows=4, started=time.monotonic()) is None
    assert "10.0/10.0" in terminal.getvalue()
