"""The list of all tables, and what follows from it."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import schemas
from schemas import Table
from schemas.batches import BATCHES
from schemas.tables import TABLES, as_markdown

ROOT = Path(__file__).parents[2]


def test_every_table_of_the_package_is_in_the_list() -> None:
    sources = [path.read_text(encoding="utf-8") for path in Path(schemas.__file__).parent.glob("*.py")]
    made = [
        ast.unparse(node.targets[0]).lower()
        for source in sources
        for node in ast.parse(source).body
        if isinstance(node, ast.Assign) and ast.unparse(node.value).startswith("Table(")
    ]
    assert sorted(made) == sorted(table.name for table in TABLES)


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_what_is_said_of_a_table_is_there(table: Table) -> None:
    named = {*table.holds_text, *(key.partition(".")[0] for key in table.keys)}
    named |= {name for name in (table.partition_by, table.counted_by) if name}
    assert named <= set(table.column_names)
    assert table.lock in {one.name for one in TABLES if one.lock == one.name}
    # What retention removes, batches counts.
    assert (f"{table.name}_purged" in BATCHES.column_names) == (table.day is not None)
    assert (table.day is None) == (table.counted_by is None)


def test_the_lists_of_columns_are_those_of_the_docs() -> None:
    """``python -m schemas.tables`` prints them; docs/tables.md ends with them."""
    docs = (ROOT / "docs" / "tables.md").read_text(encoding="utf-8")
    assert docs.partition("## Columns\n\n")[2] == as_markdown()
