"""The inference table: how it is read, what its changes mean for the stream, and what ended the stream.

A Delta stream reads what is added. Of commits that change or remove rows, ``source.on_source_change`` decides: ``fail``
stops there, ``skip`` leaves such commits out and says what they had inserted, ``cdf`` reads the change feed instead of
the files. ``ignoreMissingFiles`` is never set: with it, lost rows look like success.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pyspark.errors import AnalysisException, PySparkException
from pyspark.sql import functions as F

from jobs.runtime import LOG, described
from metrics.unpack.dialects import detect_dialect, with_common_columns
from schemas.errors import MonitorError, SourceError

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

    from schemas.config import Config, ServedEntity, Source

FEED_COLUMNS = ("_change_type", "_commit_version", "_commit_timestamp")
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


def source_identifier(source: Source) -> str:
    """The inference table in SQL."""
    if source.path is not None:
        return f"delta.`{source.path}`"
    return ".".join(f"`{part}`" for part in (source.table or "").split("."))


def stream_source(spark: SparkSession, config: Config) -> DataFrame:
    """The inference table as a stream.

    Raises:
        SourceError: It can't be opened.
    """
    source = config.source
    reader = spark.readStream.format("delta")
    options = {
        "maxFilesPerTrigger": source.max_files_per_trigger,
        "maxBytesPerTrigger": source.max_bytes_per_trigger,
        "startingVersion": source.starting_version,
        "startingTimestamp": source.starting_timestamp,
        "skipChangeCommits": "true" if source.on_source_change == "skip" else None,
        "readChangeFeed": "true" if source.on_source_change == "cdf" else None,
    }
    for key, value in options.items():
        if value is not None:
            reader = reader.option(key, str(value))
    try:
        return reader.load(source.path) if source.path else reader.table(source_identifier(source))
    except AnalysisException as error:
        raise _unreadable(source, error) from error


def read_source(spark: SparkSession, config: Config, *, version: int | None = None) -> DataFrame:
    """The inference table's rows, of now or of a version.

    Raises:
        SourceError: It can't be read.
    """
    reader = spark.read if version is None else spark.read.option("versionAsOf", version)
    try:
        return reader.table(source_identifier(config.source))
    except AnalysisException as error:
        raise _unreadable(config.source, error) from error


def _unreadable(source: Source, error: AnalysisException) -> SourceError:
    return SourceError(
        f"{source_identifier(source)} can't be read as a Delta table ({error.getCondition()}). "
        "Check source.path or source.table, and that this user may read it."
    )


def common_rows(rows: DataFrame, config: Config) -> DataFrame:
    """Rows of the inference table under the names that the rest of the monitor uses.

    Of a change feed, rows as they were inserted and as they are after an update.

    Raises:
        SourceError: The columns are those of no known inference table, or settings name what is not there.
    """
    settings = config.source
    if "_change_type" in rows.columns:
        rows = rows.where(F.col("_change_type").isin("insert", "update_postimage")).drop(*FEED_COLUMNS)
    entities: Mapping[str, ServedEntity] | DataFrame
    if isinstance(settings.served_entities, str):
        try:
            entities = rows.sparkSession.read.table(settings.served_entities)
        except AnalysisException as error:
            message = f"source.served_entities: {settings.served_entities} can't be read ({error.getCondition()})."
            raise SourceError(f"{message} Give the ids in the settings, or the right to read it.") from error
    else:
        entities = settings.served_entities
    return with_common_columns(
        rows,
        dialect=detect_dialect(rows.columns, dialect=settings.dialect),
        served_entities=entities,
        endpoint=config.serving.endpoint,
        columns=settings.columns,
    )


def first_version(spark: SparkSession, config: Config) -> int | None:
    """The version of the source that the settings begin with, which may be still to come; None: they say nothing."""
    source = config.source
    if source.starting_timestamp is None:
        return source.starting_version
    history = spark.sql(f"DESCRIBE HISTORY {source_identifier(source)}")
    later = F.col("timestamp") >= F.lit(source.starting_timestamp).cast("timestamp")
    first = F.coalesce(F.min(F.when(later, F.col("version"))), F.max("version") + 1)
    version: int = history.agg(first).collect()[0][0]
    return version


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


def checkpoint_in_use(spark: SparkSession, base: str, *, new: bool = False) -> str:
    """The checkpoint folder of a query: ``base``, or the newest of ``base-2``, ``base-3``, … that was begun.

    Args:
        spark: Session.
        base: Folder of the first one.
        new: Take the next one, which was not begun yet. The old ones stay as they are: what they read is known by
            their ids in the tables, and nobody has to move files.
    """
    number = 0
    while _begun(spark, _numbered(base, number + 1)):
        number += 1
    return _numbered(base, number + 1 if new else max(number, 1))


def _numbered(base: str, number: int) -> str:
    return base if number == 1 else f"{base}-{number}"


def _begun(spark: SparkSession, checkpoint: str) -> bool:
    try:
        spark.read.text(f"{checkpoint}/metadata")
    except AnalysisException:
        return False
    return True


def read_checkpoint(spark: SparkSession, checkpoint: str, batch_id: int) -> tuple[str, int | None]:
    """Identity of a Delta source's checkpoint, and how far a micro-batch reads.

    Returns:
        The query's id, and the newest source version that is read whole with this batch (None: none is yet).
    """
    query = json.loads(_lines(spark, f"{checkpoint}/metadata")[0])["id"]
    version, in_snapshot = _offset(spark, checkpoint, batch_id)
    return query, None if in_snapshot or version == 0 else version - 1


def begun_version(spark: SparkSession, checkpoint: str, batch_id: int) -> int:
    """The version after which whatever changes the source's rows is still to be met after a micro-batch."""
    version, in_snapshot = _offset(spark, checkpoint, batch_id)
    return version if in_snapshot else version - 1


def _offset(spark: SparkSession, checkpoint: str, batch_id: int) -> tuple[int, bool]:
    """The version that a micro-batch ends before or in, and whether that is a first snapshot not yet read whole."""
    offset = json.loads(_lines(spark, f"{checkpoint}/offsets/{batch_id}")[-1])
    # (v, negative index) is "before v": all of v - 1.
    return offset["reservoirVersion"], offset["index"] >= 0 and offset.get("isStartingVersion", False)


def _lines(spark: SparkSession, path: str) -> list[str]:
    return [row[0] for row in spark.read.text(path).collect()]


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
