"""How much of the source is read, and how long the rest will take: a line per batch, or a bar in a terminal."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, TextIO

from pyspark.sql import functions as F
from tqdm import tqdm

from jobs.runtime import LOG
from jobs.source import first_version, read_source
from jobs.tables import read_table
from schemas.batches import BATCHES
from schemas.errors import SourceError

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from schemas.config import Config


class Backlog:
    """Progress through a source that is longer than one batch.

    Rows are counted from ``batches``, so that a restart goes on where it was; the source's rows come from its log.
    """

    def __init__(self, *, file: TextIO = sys.stderr) -> None:
        self._file, self._started = file, time.monotonic()
        self._read_before: int | None = None
        self._skipped_ahead: int | None = None
        self._bar: tqdm[None] | None = None

    def report(self, spark: SparkSession, config: Config, checkpoint_id: str) -> str | None:
        """Say how far the reading is, where at least as much as the last batch is still to come.

        Returns:
            The line that was logged, or would have been without a terminal; None near the end of the source.
        """
        read, last = _rows_read(spark, config, checkpoint_id)
        if self._read_before is None:
            self._read_before = read - last
        total = read_source(spark, config).count() - self._rows_ahead(spark, config)
        line = self._line(read, total) if last and total - read >= last else None
        if self._file.isatty():
            self._draw(read, total, over=line is None)
        elif line:
            LOG.info(line)
        return line

    def _line(self, read: int, total: int) -> str:
        rate = (read - (self._read_before or 0)) / (time.monotonic() - self._started)
        left = _duration((total - read) / rate)
        return f"{read:,} of the source's {total:,} rows read ({read / total:.0%}), about {left} left"

    def _draw(self, read: int, total: int, *, over: bool) -> None:
        if self._bar is None and not over:
            self._bar = tqdm(total=total, initial=self._read_before, unit=" rows", unit_scale=True, file=self._file)
        if self._bar is not None:
            self._bar.total = max(total, read)
            self._bar.update(read - self._bar.n)
            if over:
                self._bar.close()
                self._bar = None

    def _rows_ahead(self, spark: SparkSession, config: Config) -> int:
        """Rows before the settings' starting point, which are not read."""
        if self._skipped_ahead is None:
            first = first_version(spark, config)
            try:
                self._skipped_ahead = read_source(spark, config, version=first - 1).count() if first else 0
            except SourceError:  # that version is gone from the log
                self._skipped_ahead = 0
        return self._skipped_ahead


def _rows_read(spark: SparkSession, config: Config, checkpoint_id: str) -> tuple[int, int]:
    """Source rows that a checkpoint's batches have dealt with, and those of the last batch."""
    left_out = F.aggregate(
        F.coalesce("skipped_versions", F.array()),
        F.lit(0).cast("bigint"),
        lambda total, one: total + F.coalesce(one["rows_inserted"], F.lit(0)),
    )
    batches = read_table(spark, BATCHES, config.output).where(F.col("checkpoint_id") == checkpoint_id)
    found = batches.agg(F.sum(F.col("rows_read") + left_out), F.max_by("rows_read", "batch_id")).collect()[0]
    return found[0] or 0, found[1] or 0


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = seconds / 60
    return f"{minutes:.0f} min" if minutes < 90 else f"{minutes / 60:.1f} h"
