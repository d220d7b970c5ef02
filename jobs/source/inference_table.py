"""The inference table: how it is read, under which names, and from where on.

``ignoreMissingFiles`` is never set: with it, lost rows look like success.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING

from pyspark.errors import AnalysisException
from pyspark.sql import functions as F

from metrics.unpack.dialects import detect_dialect, with_common_columns
from metrics.updates import AFTER, BEFORE, INSERT
from schemas.errors import SourceError

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

    from schemas.config import Config, ServedEntity, Source

FEED_COLUMNS = ("_change_type", "_commit_version", "_commit_timestamp")


def source_identifier(source: Source) -> str:
    """The inference table in SQL."""
    if source.path is not None:
        return f"delta.{quoted(source.path)}"
    return ".".join(quoted(part) for part in (source.table or "").split("."))


def quoted(name: str) -> str:
    """A name or a path as SQL has it, whatever it holds."""
    return f"`{name.replace('`', '``')}`"


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


def common_rows(rows: DataFrame, config: Config, *, with_changes: bool = False) -> DataFrame:
    """Rows of the inference table under the names that the rest of the monitor uses.

    Of a change feed, rows as they were inserted and as they are after an update; ``with_changes`` also as they were
    before it, with the feed's ``_change_type`` and ``_commit_version``.

    Raises:
        SourceError: The columns are those of no known inference table, or settings name what is not there.
    """
    settings = config.source
    keep: tuple[str, ...] = ()
    if "_change_type" in rows.columns:
        keep = FEED_COLUMNS[:2] if with_changes else ()
        wanted = (INSERT, AFTER, BEFORE) if with_changes else (INSERT, AFTER)
        rows = rows.where(F.col("_change_type").isin(*wanted)).drop(*(set(FEED_COLUMNS) - set(keep)))
    entities: Mapping[str, ServedEntity] | DataFrame
    if isinstance(settings.served_entities, str):
        try:
            entities = rows.sparkSession.read.table(settings.served_entities)
        except AnalysisException as error:
            message = f"source.served_entities: {settings.served_entities} can't be read ({error.getCondition()})."
            raise SourceError(f"{message} Give the ids in the settings, or the right to read it.") from error
    else:
        entities = settings.served_entities
    dialect = detect_dialect(rows.columns, dialect=settings.dialect)
    # A user's expression that fails on a row would stop the stream, and put the row's values into the error.
    with without_ansi(rows.sparkSession) if dialect == "columns" else nullcontext():
        return with_common_columns(
            rows,
            dialect=dialect,
            served_entities=entities,
            endpoint=config.serving.endpoint,
            columns=settings.columns,
            keep=keep,
        )


@contextmanager
def without_ansi(spark: SparkSession) -> Iterator[None]:
    """Expressions that are made within give NULL where they would fail on a row."""
    before = spark.conf.get("spark.sql.ansi.enabled") or "true"
    spark.conf.set("spark.sql.ansi.enabled", "false")
    try:
        yield
    finally:
        spark.conf.set("spark.sql.ansi.enabled", before)


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
