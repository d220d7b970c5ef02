"""Tables: what they have from their first commit on, and that one which another process creates is seen."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from pyspark.sql import functions as F

from jobs.source.inference_table import read_source
from jobs.store import tables
from jobs.store.tables import create_table, identifier, insert_new, read_table, table_exists
from schemas import Table
from schemas.batches import BATCHES
from schemas.config import Output, parse_config
from schemas.errors import TableError
from schemas.quarantine import QUARANTINE
from schemas.tables import TABLES

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


def test_a_table_that_another_process_is_creating_is_seen_when_it_is_there(spark: SparkSession, tmp_path: Path) -> None:
    made, watched = Output(path=str(tmp_path / "made")), Output(path=str(tmp_path / "watched"))
    create_table(spark, BATCHES, made)
    folder = tmp_path / "watched" / BATCHES.name
    assert not table_exists(spark, BATCHES, watched)
    # The other process has made the folders and not written the first commit yet.
    (folder / "_delta_log").mkdir(parents=True)
    assert not table_exists(spark, BATCHES, watched)
    with pytest.raises(TableError, match="does not exist yet"):
        read_table(spark, BATCHES, watched)
    shutil.copytree(tmp_path / "made" / BATCHES.name, folder, dirs_exist_ok=True)
    assert table_exists(spark, BATCHES, watched)
    assert read_table(spark, BATCHES, watched).columns == BATCHES.column_names


def test_creating_a_table_twice_keeps_its_rows_and_comments(spark: SparkSession, tmp_path: Path) -> None:
    output = Output(path=str(tmp_path))
    create_table(spark, BATCHES, output)
    spark.sql(f"INSERT INTO {identifier(BATCHES, output)} (batch_id, checkpoint_id) VALUES (1, 'a')")
    create_table(spark, BATCHES, output)
    table = read_table(spark, BATCHES, output)
    assert table.count() == 1
    # A source may be anywhere; of our own tables Delta itself would not take such a place.
    place = shutil.copytree(tmp_path / BATCHES.name, tmp_path / "it `has` ticks")
    config = parse_config({"source": {"path": str(place)}, "output": {"path": str(tmp_path)}})
    assert read_source(spark, config).count() == 1
    assert [field.metadata["comment"] for field in table.schema] == [column.comment for column in BATCHES.columns]


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_one_commit_makes_a_table_with_its_constraints(spark: SparkSession, table: Table, tmp_path: Path) -> None:
    output = Output(path=str(tmp_path))
    create_table(spark, table, output)
    create_table(spark, table, output)
    name = identifier(table, output)
    assert spark.sql(f"DESCRIBE HISTORY {name}").count() == 1
    properties = {row["key"]: row["value"] for row in spark.sql(f"SHOW TBLPROPERTIES {name}").collect()}
    assert {key for key in properties if "constraints" in key} == {
        f"delta.constraints.{check}" for check in table.checks
    }
    if table.checks:
        with pytest.raises(Exception, match="DELTA_VIOLATE_CONSTRAINT"):
            spark.sql(f"INSERT INTO {name} ({table.column_names[0]}) VALUES (NULL)")


@pytest.mark.long
def test_a_table_of_an_older_version_is_brought_up_to_date(spark: SparkSession, tmp_path: Path) -> None:
    output = Output(path=str(tmp_path))
    old = replace(
        QUARANTINE,
        columns=tuple(column for column in QUARANTINE.columns if column.name != "end_user_hash"),
        checks={"known_reason": "reason IN ('no_request_time')"},
        properties={},
    )
    create_table(spark, old, output)
    name = identifier(QUARANTINE, output)
    spark.sql(f"INSERT INTO {name} (source_row_hash, reason) VALUES ('a', 'no_request_time')")
    create_table(spark, QUARANTINE, output)
    commits = spark.sql(f"DESCRIBE HISTORY {name}").count()
    rows = spark.createDataFrame(
        [("b", "future_request_time", "hash")], "source_row_hash string, reason string, end_user_hash string"
    )
    others = {c.name: F.lit(None).cast(c.type) for c in QUARANTINE.columns if c.name not in rows.columns}
    insert_new(rows.withColumns(others), QUARANTINE, output)
    found = read_table(spark, QUARANTINE, output).select("source_row_hash", "end_user_hash").collect()
    assert sorted(map(tuple, found)) == [("a", None), ("b", "hash")]
    with pytest.raises(Exception, match="DELTA_VIOLATE_CONSTRAINT"):
        spark.sql(f"INSERT INTO {name} (source_row_hash, reason) VALUES ('c', 'nonsense')")
    properties = dict(spark.sql(f"DESCRIBE DETAIL {name}").select("properties").collect()[0][0])
    assert QUARANTINE.properties.items() <= properties.items()
    # Nothing is left to do, also for a process that has not looked yet.
    tables._UP_TO_DATE.clear()
    create_table(spark, QUARANTINE, output)
    assert spark.sql(f"DESCRIBE HISTORY {name}").count() == commits + 1
