"""What the tables and the settings hold. Nothing here reads or writes; ``installed`` asks which packages there are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pyspark.sql.types import StructType

__all__ = ["Column", "Table", "columns"]


@dataclass(frozen=True)
class Column:
    """One column of a table: its name, its Spark DDL type and what a reader has to know of it."""

    name: str
    type: str
    comment: str


def columns(*rows: tuple[str, str, str] | Column) -> tuple[Column, ...]:
    """Column objects from ``(name, DDL type, comment)`` rows; those that are columns already stay as they are."""
    return tuple(row if isinstance(row, Column) else Column(*row) for row in rows)


@dataclass(frozen=True)
class Table:
    """A Delta table of the monitor.

    Attributes:
        name: The table's folder under ``output.path``, or its name in ``output.schema``.
        comment: What one row is.
        columns: The columns, in order.
        keys: Columns (or dotted fields) that identify a row; compared null-safe.
        partition_by: The date column that prunes every read and MERGE, if any.
        checks: CHECK constraints by name: the last fence behind the code that computes the values.
        properties: Delta table properties.
        lock: The table whose lock is held when this one is written, or tidied up.
        day: SQL: the UTC date by which ``retention.scores`` removes a row; None: it removes none.
        counted_by: The column that tells apart what ``batches`` counts of the removed rows.
        holds_text: Columns with text of users, as text.store allows.
    """

    name: str
    comment: str
    columns: tuple[Column, ...]
    keys: tuple[str, ...]
    partition_by: str | None = None
    checks: Mapping[str, str] = field(default_factory=dict)
    properties: Mapping[str, str] = field(default_factory=dict)
    lock: str = "scores"
    day: str | None = None
    counted_by: str | None = None
    holds_text: tuple[str, ...] = ()

    @property
    def schema(self) -> StructType:
        """The columns as a Spark schema (needs a running session: Spark parses the DDL)."""
        from pyspark.sql.types import StructType

        schema = StructType.fromDDL(", ".join(f"`{c.name}` {c.type}" for c in self.columns))
        assert isinstance(schema, StructType)
        return schema

    @property
    def column_names(self) -> list[str]:
        """Names of the columns, in order."""
        return [c.name for c in self.columns]

    def match(self, target: str = "t", source: str = "s") -> str:
        """The MERGE condition on the keys; ``<=>`` so that a NULL key matches itself."""
        return " AND ".join(f"{target}.{key} <=> {source}.{key}" for key in self.keys)
