"""How much of the source is read, and how long the rest will take: a line per batch, or a bar in a terminal."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, TextIO

from pyspark.sql import functions as F
from tqdm import tqdm

from jobs.command.log import LOG
from jobs.source.inference_table import first_version, read_source
from jobs.store.tables import read_table
from schemas.batches import BATCHES
from schemas.errors import SourceError

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from schemas.config import Config

PAUSE_SECONDS = 5
"""A batch that begins later than this after the one before it had nothing to wait for: there is no backlog."""


class Backlog:
    """Progress through a source that is longer than one batch.

    What earlier runs have read is in ``batches``, so that a restart goes on where it was; the source's rows come from
    its log, and are counted again only when those that were known are read.
    """

    def __init__(self, *, file: TextIO = sys.stderr) -> None:
        self._file, self._started = file, time.monotonic()
        self._read: int | None = None
        self._read_before = self._total = 0
        self._ahead: int | None = None
        self._bar: tqdm[None] | None = None
        self._ended: float | None = None

    def report(
        self, spark: SparkSession, config: Config, checkpoint_id: str, *, rows: int, started: float
    ) -> str | None:
        """Say how far the reading is, where batches follow each other and as much as the last is still to come.

        Args:
            spark: Session.
            config: Settings.
            checkpoint_id: Of the query; its batches are in ``batches``, the last one, too.
            rows: Source rows that the last batch has dealt with.
            started: When it began, as ``time.monotonic()`` says.

        Returns:
            The line that was logged, or would have been without a terminal; None near the end of the source.
        """
        follows = self._ended is not None and started - self._ended < PAUSE_SECONDS
        self._ended = time.monotonic()
        if not follows and self._bar is None:
            self._read, self._started = None, self._ended
            return None
        if self._read is None:
            self._read = _rows_read(spark, config, checkpoint_id)
            self._read_before = self._read - rows
        else:
            self._read += rows
        if self._read >= self._total:
            self._total = read_source(spark, config).count() - self._rows_ahead(spark, config)
        line = self._line(self._read, self._total) if rows and self._total - self._read >= rows else None
        if self._file.isatty():
            self._draw(self._read, self._total, over=line is None)
        elif line:
            LOG.info(line)
        return line

    def _line(self, read: int, total: int) -> str:
        rate = (read - self._read_before) / (time.monotonic() - self._started)
        left = tqdm.format_interval((total - read) / rate)
        return f"{read:,} of the source's {total:,} rows read ({read / total:.0%}), about {left} left"

    def _draw(self, read: int, total: int, *, over: bool) -> None:
        if self._bar is None and not over:
            self._bar = tqdm(total=total, initial=self._read_before, unit=" rows", unit_scale=True, file=self._file)
        if self._bar is not None:
            self._bar.total = max(total, read)
            self._bar.update(read - self._bar.n)
            self._bar.refresh()
            if over:
                self._bar.close()
                self._bar = None

    def _rows_ahead(self, spark: SparkSession, config: Config) -> int:
        """Rows before the settings' starting point, which are not read."""
        if self._ahead is None:
            first = first_version(spark, config)
            try:
                self._ahead = read_source(spark, config, version=first - 1).count() if first else 0
            except SourceError:  # that version is gone from the log
                self._ahead = 0
        return self._ahead


def _rows_read(spark: SparkSession, config: Config, checkpoint_id: str) -> int:
    """Source rows that a checkpoint's batches have dealt with."""
    left_out = F.aggregate(
        F.coalesce("skipped_versions", F.array()),
        F.lit(0).cast("bigint"),
        lambda total, one: total + F.coalesce(one["rows_inserted"], F.lit(0)),
    )
    batches = read_table(spark, BATCHES, config.output).where(F.col("checkpoint_id") == checkpoint_id)
    return batches.agg(F.sum(F.col("rows_read") + left_out)).collect()[0][0] or 0
