"""How batches are entered into ``batches``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from jobs.scoring.ledger import Ledger
from jobs.store.tables import create_table, identifier, local_frame, read_table
from schemas.batches import BATCHES
from schemas.config import Output

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


def test_a_row_that_may_be_there_is_replaced_and_a_new_one_appended(spark: SparkSession, tmp_path: Path) -> None:
    output = Output(path=str(tmp_path))
    create_table(spark, BATCHES, output)

    def enter(ledger: Ledger, batch_id: int, rows: int, output: Output = output) -> None:
        row = {"checkpoint_id": "one", "batch_id": batch_id, "rows_read": rows}
        ledger.enter(local_frame(spark, [row], BATCHES.schema), batch_id, output)

    first, second = Ledger(), Ledger()
    enter(first, 3, 1)
    enter(first, 3, 2)  # tried again
    enter(first, 4, 3)
    enter(second, 4, 4)  # a restart, which replays the last one
    enter(second, 5, 5)
    (tmp_path / "file").touch()
    with pytest.raises(Exception, match="file"):
        enter(second, 6, 6, Output(path=str(tmp_path / "file")))
    enter(second, 6, 7)  # what failed may have been written all the same
    rows = read_table(spark, BATCHES, output).select("batch_id", "rows_read").orderBy("batch_id").collect()
    assert [tuple(row) for row in rows] == [(3, 2), (4, 4), (5, 5), (6, 7)]
    history = spark.sql(f"DESCRIBE HISTORY {identifier(BATCHES, output)}").orderBy("version").collect()
    assert [row["operation"] for row in history][1:] == ["MERGE", "MERGE", "WRITE", "MERGE", "WRITE", "MERGE"]
