"""What a table of the monitor has from its first commit on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from jobs.tables import create_table, identifier
from schemas import Table
from schemas.batches import BATCHES
from schemas.config import Output
from schemas.profile_metrics import PROFILE_METRICS
from schemas.quarantine import QUARANTINE
from schemas.scores import SCORES

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


@pytest.mark.parametrize("table", [SCORES, QUARANTINE, PROFILE_METRICS, BATCHES], ids=lambda table: table.name)
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
