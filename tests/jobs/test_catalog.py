"""An AI Gateway inference table by name, and the monitor's tables in a schema."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from jobs.reconcile import reconcile
from schemas.config import Config, parse_config
from tests.spine import run
from tests.traffic import AI_GATEWAY, frame, gateway_row

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


@pytest.fixture
def catalogued(spark: SparkSession, language_model: Path, classifier: Path, tmp_path: Path) -> Iterator[Config]:
    spark.sql("CREATE SCHEMA chatbots")
    rows = [gateway_row("a", "e1"), gateway_row("a", "e1"), gateway_row("b", "e2")]
    # As Databricks makes them: clustered tables with change feed and deletion vectors.
    spark.sql(
        f"CREATE TABLE chatbots.bot_payload ({AI_GATEWAY}) USING delta CLUSTER BY (request_date) "
        "TBLPROPERTIES (delta.enableChangeDataFeed = true, delta.enableDeletionVectors = true)"
    )
    frame(spark, rows, AI_GATEWAY).write.format("delta").mode("append").saveAsTable("chatbots.bot_payload")
    yield parse_config(
        {
            "source": {
                "table": "chatbots.bot_payload",
                "served_entities": {"e1": {"model_name": "chatbot", "model_version": 7}},
            },
            "output": {"schema": "chatbots", "prefix": "bot_"},
            "checkpoints": str(tmp_path / "checkpoints"),
            "scoring": {"perplexity": {"model": str(language_model)}, "toxicity": {"model": str(classifier)}},
            "serving": {"endpoint": "bot"},
        }
    )
    spark.sql("DROP SCHEMA chatbots CASCADE")


def test_tables_by_name(spark: SparkSession, catalogued: Config) -> None:
    run(spark, catalogued)
    # Compaction moves rows and changes none: nothing is read twice.
    spark.sql("OPTIMIZE chatbots.bot_payload")
    more = frame(spark, [gateway_row("c", "e2")], AI_GATEWAY)
    more.write.format("delta").mode("append").saveAsTable("chatbots.bot_payload")
    run(spark, catalogued)
    scores = spark.table("chatbots.bot_scores").select("request_id", "model_name", "model_version", "endpoint_name")
    assert sorted(map(tuple, scores.collect()), key=repr) == [
        ("a", "chatbot", "7", "bot"),
        ("b", "e2", None, "bot"),
        ("c", "e2", None, "bot"),
    ]
    windows = spark.table("chatbots.bot_profile_metrics").where("column_name = 'requests' AND granularity = '1 day'")
    found = sorted((w["model_name"], w["model_version"] or "", w["sum"]) for w in windows.collect())
    # A version that the log does not name is a group of its own, and is found again by its NULL key.
    assert found == [("chatbot", "*", 1.0), ("chatbot", "7", 1.0), ("e2", "", 2.0), ("e2", "*", 2.0)]
    assert reconcile(spark, catalogued).problems == []
