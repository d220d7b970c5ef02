"""Changes of the inference table: what a stream leaves out of them, and what it says when it can't follow.

A Delta stream reads what is added. Of commits that change or remove rows, ``source.on_source_change`` decides: ``fail``
stops there, ``skip`` leaves such commits out and says what they had inserted, ``cdf`` reads the change feed instead of
the files.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pyspark.errors import PySparkException

from jobs.command.errors import described
from jobs.command.log import LOG
from jobs.source.inference_table import source_identifier
from schemas.errors import MonitorError, SourceError

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from schemas.config import Config

NO_DATA_CHANGE = ("OPTIMIZE", "REORG", "VACUUM START", "VACUUM END")
"""Operations that remove files and not rows."""

REMOVED = (
    *("numRemovedFiles", "numDeletionVectorsAdded", "numDeletionVectorsUpdated"),
    *("numTargetFilesRemoved", "numTargetDeletionVectorsAdded", "numTargetDeletionVectorsUpdated"),
)
"""Figures of Delta's history that say that a commit took rows away."""

AGAIN = "--new-checkpoint reads the table again (nothing is scored twice)"

CAUSES: tuple[tuple[str, str], ...] = (
    (
        "DELTA_TIMESTAMP_GREATER_THAN_COMMIT",
        "source.starting_timestamp is later than its newest version; start when it has one, or set an earlier time",
    ),
    (
        "DELTA_SOURCE_TABLE_IGNORE_CHANGES|DELTA_SOURCE_IGNORE_DELETE",
        "{version} changed or removed rows{operation}, and source.on_source_change is fail: set it to skip (such "
        f"versions are left out and reported) or cdf (exact, with the table's change feed), or {AGAIN}",
    ),
    (
        "DELTA_STREAMING_INCOMPATIBLE_SCHEMA_CHANGE\\w*|DELTA_STREAMING_CANNOT_CONTINUE\\w*|DELTA_BLOCK_CDF_COLUMN\\w*",
        f"a column was renamed or dropped, or has another type; if the columns that are read are still there, {AGAIN}",
    ),
    ("DELTA_SCHEMA_CHANGED\\w*", f"its columns changed in a way that the stream can't follow; {AGAIN}"),
    (
        "DIFFERENT_DELTA_TABLE_READ_BY_STREAMING_SOURCE",
        f"it was dropped and created anew, or is another table than before; {AGAIN}",
    ),
    (
        "DELTA_LOG_FILE_NOT_FOUND\\w*|DELTA_STREAMING_TRAILING_COMMIT_MISSING|DELTA_VERSION_NOT_FOUND"
        "|DELTA_VERSIONS_NOT_CONTIGUOUS|DELTA_CDC_NOT_ALLOWED_IN_THIS_VERSION",
        "its log no longer reaches back to where the stream stopped (delta.logRetentionDuration is shorter than the "
        f"stand-still); {AGAIN}",
    ),
    (
        "DELTA_MISSING_CHANGE_DATA|DELTA_CHANGE_DATA_FILE_NOT_FOUND",
        "its change feed does not reach back to where the stream is, and source.on_source_change is cdf: enable "
        f"delta.enableChangeDataFeed on it; then {AGAIN}, from the rows of now on",
    ),
    (
        "FAILED_READ_FILE\\.FILE_NOT_EXIST|DELTA_FILE_NOT_FOUND\\w*|FileNotFoundException|SparkFileNotFoundException",
        "data files are missing that the stream has not read yet (VACUUM removed them: "
        f"delta.deletedFileRetentionDuration is shorter than the stand-still); {AGAIN}",
    ),
)
"""Error conditions of Spark and Delta, and what to say."""


@dataclass(frozen=True)
class SkippedVersion:
    """A version of the source that ``on_source_change: skip`` left out.

    ``rows_inserted`` is None where Delta doesn't say.
    """

    version: int
    operation: str
    rows_inserted: int | None

    def __str__(self) -> str:
        """One to read."""
        inserted = "an unknown number of" if self.rows_inserted is None else f"{self.rows_inserted:,}"
        return f"version {self.version} ({self.operation}, {inserted} rows inserted)"


def skipped_versions(spark: SparkSession, config: Config, *, after: int, until: int) -> list[SkippedVersion]:
    """Versions whose rows a stream under ``on_source_change: skip`` did not read, from the table's history.

    Args:
        spark: Session.
        config: Settings.
        after: Version that had been read before; -1 for none.
        until: Version that has been read now.
    """
    history = f"DESCRIBE HISTORY {source_identifier(config.source)}"
    newest = spark.sql(f"{history} LIMIT 1").collect()[0]["version"]
    if after >= newest:
        return []
    rows = spark.sql(f"{history} LIMIT {newest - after}").where(f"version BETWEEN {after + 1} AND {until}")
    found = rows.select("version", "operation", "operationMetrics").orderBy("version").collect()
    return [
        SkippedVersion(row["version"], row["operation"], _inserted(row["operation"], row["operationMetrics"] or {}))
        for row in found
        if _rewrote(row["operation"], row["operationMetrics"] or {})
    ]


def _rewrote(operation: str, figures: Mapping[str, str]) -> bool:
    """Whether a commit took rows away or put others in their place."""
    return operation not in NO_DATA_CHANGE and any(int(figures.get(name, 0)) > 0 for name in REMOVED)


def _inserted(operation: str, figures: Mapping[str, str]) -> int | None:
    if operation in ("DELETE", "UPDATE", "TRUNCATE"):
        return 0
    name = "numTargetRowsInserted" if operation == "MERGE" else "numOutputRows"
    return int(figures[name]) if name in figures else None


def explained(error: Exception, config: Config) -> Exception:
    """The error in one sentence with its cause and the way out, where the source is the cause; else as it is."""
    text = str(error)
    if isinstance(error, MonitorError):
        return error
    if "schemas.errors." in text:  # said in a batch, and passed on by Spark
        return SourceError(re.sub(r"^.*schemas\.errors\.\w+: ", "", described(error)))
    if not isinstance(error, PySparkException):
        return error
    start = config.source.starting_version
    to_come = re.search(r"DELTA_VERSION_NOT_FOUND.*? version (\d+)\. Available versions: \[\d+, (\d+)\]", text)
    if to_come and start is not None and int(to_come[1]) == start > int(to_come[2]):
        said = f"source.starting_version is {start}, and its newest version is {to_come[2]}; set another"
        return SourceError(f"{source_identifier(config.source)}: {said}.")
    for conditions, sentence in CAUSES:
        if re.search(rf"\b({conditions})\b", text):
            version = re.search(r"at version (\d+)", text)
            operation = re.search(r"for example ([A-Z]+)\b", text)
            said = sentence.format(
                version=f"its version {version[1]}" if version else "a version",
                operation=f" ({operation[1]})" if operation else "",
            )
            return SourceError(f"{source_identifier(config.source)}: {said}.")
    return error


class SourceQuery:
    """The score query: begins again when the source has got a column, and says in one sentence what else ended it.

    A running stream keeps the columns that it began with. A new query from the same checkpoint has the new ones; if it
    ends at the same place again, the change is one that no stream can follow.
    """

    def __init__(self, begin: Callable[[], Any], config: Config) -> None:
        self._begin, self._config = begin, config
        self._query = begin()
        self._failed_after: int | None = None

    def awaitTermination(self, timeout: float | None = None) -> bool:  # noqa: N802 (as Spark's query)
        """Wait for the end, or for some seconds; whether it has ended.

        Raises:
            SourceError: A change of the source ended it.
        """
        while True:
            try:
                ended = self._query.awaitTermination(timeout) if timeout else self._query.awaitTermination()
            except Exception as error:
                if self._follows(error):
                    continue
                raise explained(error, self._config) from error
            return timeout is None or bool(ended)

    @property
    def isActive(self) -> bool:  # noqa: N802 (as Spark's query)
        """Whether it runs, or goes on after a change of the source's columns."""
        if self._query.isActive:
            return True
        error = self._query.exception()
        return error is not None and self._follows(error)

    @property
    def lastProgress(self) -> Any:  # noqa: N802 (as Spark's query)
        """Of the running query, as Spark reports it."""
        return self._query.lastProgress

    @property
    def status(self) -> Any:
        """Of the running query, as Spark reports it."""
        return self._query.status

    def stop(self) -> None:
        """End it."""
        self._query.stop()

    def _follows(self, error: Exception) -> bool:
        """Begin again after a change of columns, but not twice after the same batch."""
        batch = (self._query.lastProgress or {}).get("batchId", -1)
        if "DELTA_SCHEMA_CHANGED" not in str(error) or batch == self._failed_after:
            return False
        LOG.info("the source has other columns than before; the stream begins again with them")
        self._failed_after = batch
        self._query = self._begin()
        return True
