"""One reader and one writer for every table of the monitor."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date
from typing import TYPE_CHECKING, Any, TypeVar

from delta import exceptions
from delta.tables import DeltaTable
from pyspark.errors import AnalysisException, PySparkException
from pyspark.sql import functions as F
from pyspark.sql.types import StructType

from schemas import Table
from schemas.errors import TableError

if TYPE_CHECKING:
    from delta.tables import DeltaMergeBuilder
    from pyspark.sql import Column, DataFrame, SparkSession

    from schemas.config import Output

R = TypeVar("R")

CONFLICTS = (
    exceptions.ConcurrentAppendException,
    exceptions.ConcurrentDeleteDeleteException,
    exceptions.ConcurrentDeleteReadException,
    exceptions.ConcurrentTransactionException,
    exceptions.ConcurrentWriteException,
    exceptions.MetadataChangedException,
)
"""Another writer came between; Delta's Python classes for it have no common base."""

_ARROW_SCHEMAS: dict[str, Any] = {}
"""Arrow's schema for one of Spark's, as JSON."""

_UP_TO_DATE: set[str] = set()
"""Tables that this process has looked at; a look costs half a second."""

NO_CACHE = {"NOT_SUPPORTED_WITH_SERVERLESS", "UNSUPPORTED_FEATURE.PERSIST"}
"""Spark's error conditions where it keeps no frames."""

NOT_THERE = {"PATH_NOT_FOUND", "DELTA_TABLE_NOT_FOUND", "DELTA_MISSING_DELTA_TABLE", "TABLE_OR_VIEW_NOT_FOUND"}
"""Spark's and Delta's error conditions for a table that was not created."""


def local_frame(spark: SparkSession, rows: Sequence[Mapping[str, Any]], schema: StructType | str) -> DataFrame:
    """A frame of rows that this process has.

    Sent as Arrow: Spark reads a list with Python workers, and those with a daemon of their own.

    Args:
        spark: Session.
        rows: Values by column; structs are mappings, too. What ``schema`` doesn't name is left out.
        schema: Names and types.
    """
    import pyarrow as pa  # type: ignore[import-untyped]

    columns = StructType.fromDDL(schema) if isinstance(schema, str) else schema
    assert isinstance(columns, StructType)
    kind = columns.json()
    if kind not in _ARROW_SCHEMAS:  # Spark's own translation, which takes a query
        empty = spark.range(0).select(*(F.lit(None).cast(field.dataType).alias(field.name) for field in columns))
        _ARROW_SCHEMAS[kind] = empty.toArrow().schema
    return spark.createDataFrame(pa.Table.from_pylist(list(rows), _ARROW_SCHEMAS[kind]), columns)


def identifier(table: Table, output: Output) -> str:
    """The table in SQL: delta.`folder`, or `catalog`.`schema`.`name`."""
    if output.path is not None:
        return f"delta.`{output.path}/{table.name}`"
    return ".".join(f"`{part}`" for part in f"{output.schema_name}.{output.prefix}{table.name}".split("."))


def create_table(spark: SparkSession, table: Table, output: Output) -> None:
    """Create the table with comments, properties and CHECK constraints, or bring one of an older version up to date.

    The constraints are part of the first commit where Delta takes them as properties, so that nothing that happens
    between leaves a table without them; else they are added to it.
    """
    if table_exists(spark, table, output):
        _bring_up_to_date(spark, table, output)
        return
    try:
        _create(spark, table, output, {f"delta.constraints.{name}": check for name, check in table.checks.items()})
    except AnalysisException as error:
        if error.getCondition() != "DELTA_ADD_CONSTRAINTS":
            raise
        _create(spark, table, output, {})
        for name, condition in table.checks.items():
            spark.sql(f"ALTER TABLE {identifier(table, output)} ADD CONSTRAINT {name} CHECK ({condition})")


def _bring_up_to_date(spark: SparkSession, table: Table, output: Output) -> None:
    """Add columns and properties that it lacks, and replace CHECK constraints that say something else."""
    name = identifier(table, output)
    if name in _UP_TO_DATE:
        return
    present = set(read_table(spark, table, output).columns)
    if missing := [column for column in table.columns if column.name not in present]:
        columns = ", ".join(f"`{c.name}` {c.type} COMMENT '{c.comment.replace(chr(39), chr(8217))}'" for c in missing)
        spark.sql(f"ALTER TABLE {name} ADD COLUMNS ({columns})")
    properties = table_properties(spark, table, output)
    if lacking := {key: value for key, value in table.properties.items() if properties.get(key) != value}:
        set_table_properties(spark, table, output, lacking)
    for constraint, condition in table.checks.items():
        present_condition = properties.get(f"delta.constraints.{constraint}", "")
        if "".join(present_condition.split()) != "".join(condition.split()):  # Delta spaces it in its own way
            spark.sql(f"ALTER TABLE {name} DROP CONSTRAINT IF EXISTS {constraint}")
            spark.sql(f"ALTER TABLE {name} ADD CONSTRAINT {constraint} CHECK ({condition})")
    _UP_TO_DATE.add(name)


def table_properties(spark: SparkSession, table: Table, output: Output) -> dict[str, str]:
    """The table's properties."""
    return dict(spark.sql(f"DESCRIBE DETAIL {identifier(table, output)}").select("properties").collect()[0][0])


def set_table_properties(spark: SparkSession, table: Table, output: Output, properties: Mapping[str, str]) -> None:
    """Set properties of the table; their keys and values are ours, and hold no quotes."""
    listed = ", ".join(f"'{key}' = '{value}'" for key, value in properties.items())
    spark.sql(f"ALTER TABLE {identifier(table, output)} SET TBLPROPERTIES ({listed})")


def _create(spark: SparkSession, table: Table, output: Output, constraints: Mapping[str, str]) -> None:
    builder = DeltaTable.createIfNotExists(spark).comment(table.comment)
    if output.path is not None:
        builder = builder.location(f"{output.path}/{table.name}")
    else:
        builder = builder.tableName(identifier(table, output))
    for column in table.columns:
        builder = builder.addColumn(column.name, column.type, comment=column.comment)
    for name, value in {**table.properties, **constraints}.items():
        builder = builder.property(name, value)
    if table.partition_by:
        builder = builder.partitionedBy(table.partition_by)
    builder.execute()


def table_exists(spark: SparkSession, table: Table, output: Output) -> bool:
    """Whether the table was created, by this process or another."""
    try:
        read_table(spark, table, output)
    except TableError:
        return False
    return True


def read_table(spark: SparkSession, table: Table, output: Output) -> DataFrame:
    """The table's rows.

    Raises:
        TableError: It does not exist yet.
    """
    # DeltaTable.isDeltaTable is no help: asked while another process is creating the table, it caches its "no".
    try:
        return spark.read.table(identifier(table, output))
    except AnalysisException as error:
        if error.getCondition() not in NOT_THERE:
            raise
        message = f"{identifier(table, output)} does not exist yet. Run monitor or score-responses first."
        raise TableError(message) from error


def read_changes(spark: SparkSession, table: Table, output: Output) -> DataFrame:
    """The table's change feed as a stream; the initial snapshot arrives as inserts, however old the table's log is."""
    reader = spark.readStream.format("delta").option("readChangeFeed", "true")
    if output.path is not None:
        return reader.load(f"{output.path}/{table.name}")
    return reader.table(identifier(table, output))


def read_changes_after(spark: SparkSession, table: Table, output: Output, version: int) -> DataFrame:
    """The table's change feed after a version, up to now; empty where there is no later version.

    For that the session is told to take versions that are still to come for none.
    """
    spark.conf.set("spark.databricks.delta.changeDataFeed.timestampOutOfRange.enabled", "true")
    reader = spark.read.format("delta").option("readChangeFeed", "true").option("startingVersion", version + 1)
    if output.path is not None:
        return reader.load(f"{output.path}/{table.name}")
    return reader.table(identifier(table, output))


def merge(df: DataFrame, table: Table, output: Output, *, dates: Iterable[date] | None = None) -> DeltaMergeBuilder:
    """A MERGE of ``df`` (as ``s``) into the table (as ``t``) on the table's keys.

    Args:
        df: Rows with the table's columns.
        table: Target.
        output: Where the table is.
        dates: Values of the partition column that the rows can have; as literals they prune what the MERGE reads.
    """
    target = _target(df.sparkSession, table, output)
    condition = table.match()
    if dates is not None and table.partition_by:
        condition = f"{date_filter(f't.{table.partition_by}', dates)} AND {condition}"
    return target.alias("t").merge(df.alias("s"), condition)


def _target(spark: SparkSession, table: Table, output: Output) -> DeltaTable:
    if output.path is not None:
        return DeltaTable.forPath(spark, f"{output.path}/{table.name}")
    return DeltaTable.forName(spark, identifier(table, output))


def insert_new(df: DataFrame, table: Table, output: Output, *, dates: Iterable[date] | None = None) -> int:
    """Insert-only MERGE on the table's keys, so that a replay changes nothing; how many rows were inserted.

    Columns that the table has beside those (of a later version, of a scorer that is not installed) stay NULL.
    """
    rows, values = df.select(table.column_names), table_values(table)
    done = retried(lambda: merge(rows, table, output, dates=dates).whenNotMatchedInsert(values=values).execute())
    return int(done.collect()[0]["num_inserted_rows"])


def table_values(table: Table) -> dict[str, str]:
    """The table's columns, each from the same one of the rows of a MERGE."""
    return {name: f"s.`{name}`" for name in table.column_names}


def append(df: DataFrame, table: Table, output: Output) -> None:
    """Add rows that are known not to be there."""
    writer = df.select(table.column_names).write.format("delta").mode("append")
    if output.path is not None:
        writer.save(f"{output.path}/{table.name}")
    else:
        writer.saveAsTable(identifier(table, output))


def upsert(df: DataFrame, table: Table, output: Output) -> None:
    """Insert rows, and replace those with the same keys."""
    values = table_values(table)
    retried(
        lambda: merge(df, table, output).whenMatchedUpdate(set=values).whenNotMatchedInsert(values=values).execute()
    )


def update_rows(
    df: DataFrame, table: Table, output: Output, values: Mapping[str, Column], *, dates: Iterable[date] | None = None
) -> int:
    """Update-only MERGE on the table's keys; how many rows it changed.

    ``df`` is kept while it lasts: where another writer comes between, only the MERGE is repeated.
    """
    with kept(df) as rows:
        done = retried(lambda: merge(rows, table, output, dates=dates).whenMatchedUpdate(set=dict(values)).execute())
        return int(done.collect()[0]["num_updated_rows"])


@contextmanager
def kept(df: DataFrame) -> Iterator[DataFrame]:
    """The frame, computed once while it lasts; where Spark keeps none (serverless), once for each use."""
    try:
        df = df.persist()
    except PySparkException as error:
        if error.getCondition() not in NO_CACHE:
            raise
        yield df
        return
    try:
        yield df
    finally:
        df.unpersist()


def set_rows(
    spark: SparkSession, table: Table, output: Output, condition: Column, values: Mapping[str, Column]
) -> None:
    """Set columns of the table's rows for which the condition holds."""
    retried(lambda: _target(spark, table, output).update(condition, dict(values)))


def delete_rows(spark: SparkSession, table: Table, output: Output, condition: Column) -> None:
    """Delete the table's rows for which the condition holds."""
    retried(lambda: _target(spark, table, output).delete(condition))


def retried(write: Callable[[], R]) -> R:
    """Write, and write again when another writer came between: Delta lets one of two that touch the same files fail.

    A frame goes on seeing the tables as they were when it was made: what must see the other's rows is made by ``write``
    itself.

    Raises:
        Exception: Delta's conflict, where there is still one at the fifth time.
    """
    for wait in (1.0, 4.0, 16.0, 64.0):
        try:
            return write()
        except CONFLICTS:
            time.sleep(wait * (0.5 + random.random()))  # noqa: S311 (no secret)
    return write()


def date_filter(column: str, dates: Iterable[date]) -> str:
    """SQL condition with the dates as literals; false for none."""
    literals = ", ".join(f"DATE'{day.isoformat()}'" for day in sorted(dates))
    return f"{column} IN ({literals})" if literals else "false"


def on_dates(df: DataFrame, column: str, dates: Iterable[date]) -> DataFrame:
    """The rows of these dates."""
    return df.where(F.expr(date_filter(column, dates)))
