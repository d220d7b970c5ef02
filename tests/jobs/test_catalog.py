"""An AI Gateway inference table by name, and the monitor's tables in a schema: README's first example."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml

from jobs.reconcile import reconcile
from schemas.config import Config, parse_config
from tests.spine import run
from tests.traffic import AI_GATEWAY, frame, gateway_row

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

README = Path(__file__).parent.parent.parent / "README.md"


@pytest.fixture
def catalogued(spark: SparkSession, language_model: Path, classifier: Path, tmp_path: Path) -> Iterator[Config]:
    spark.sql("CREATE SCHEMA chatbots")
    example = re.search(r"```yaml\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    assert example
    # A local session has one catalog.
    values = yaml.safe_load(example[1].replace("main.chatbots", "chatbots"))
    (entity,) = values["source"]["served_entities"]
    rows = [gateway_row("a", entity), gateway_row("a", entity), gateway_row("b", "e2")]
    # As Databricks makes them: clustered tables with change feed and deletion vectors.
    spark.sql(
        f"CREATE TABLE chatbots.support_bot_payload ({AI_GATEWAY}) USING delta CLUSTER BY (request_date) "
        "TBLPROPERTIES (delta.enableChangeDataFeed = true, delta.enableDeletionVectors = true)"
    )
    frame(spark, rows, AI_GATEWAY).write.format("delta").mode("append").saveAsTable("chatbots.support_bot_payload")
    values["checkpoints"] = str(tmp_path / "checkpoints")
    values["scoring"]["perplexity"]["model"] = str(language_model)
    values["scoring"]["toxicity"]["model"] = str(classifier)
    yield parse_config(values)
    spark.sql("DROP SCHEMA chatbots CASCADE")


def test_tables_by_name(spark: SparkSession, catalogued: Config) -> None:
    run(spark, catalogued)
    scores = spark.table("chatbots.support_bot_scores").select(
        "request_id", "model_name", "model_version", "endpoint_name"
    )
    assert sorted(map(tuple, scores.collect()), key=repr) == [
        ("a", "chatbots.support_bot", "7", "support_bot"),
        ("b", "e2", None, "support_bot"),
    ]
    windows = spark.table("chatbots.support_bot_profile_metrics").where(
        "column_name = 'requests' AND granularity = '1 day' AND slice_key IS NULL"
    )
    found = sorted((w["model_name"], w["model_version"] or "", w["sum"]) for w in windows.collect())
    # A version that the log does not name is a group of its own, and is found again by its NULL key.
    model = "chatbots.support_bot"
    assert found == [(model, "*", 1.0), (model, "7", 1.0), ("e2", "", 1.0), ("e2", "*", 1.0)]
    assert reconcile(spark, catalogued).problems == []


@pytest.mark.long
def test_the_view_shows_the_newest_scorer(spark: SparkSession, catalogued: Config) -> None:
    run(spark, catalogued)
    # Compaction moves rows and changes none: nothing is read twice.
    spark.sql("OPTIMIZE chatbots.support_bot_payload")
    more = frame(spark, [gateway_row("c", "e2")], AI_GATEWAY)
    more.write.format("delta").mode("append").saveAsTable("chatbots.support_bot_payload")
    run(spark, catalogued)
    scores = spark.table("chatbots.support_bot_scores")
    assert sorted(row["request_id"] for row in scores.collect()) == ["a", "b", "c"]
    assert reconcile(spark, catalogued).problems == []
    # Another scorer from now on: the view shows its windows alone, and all of what no scorer makes.
    spark.sql(
        "UPDATE chatbots.support_bot_scores SET scorers = transform_values(scorers, (k, v) -> "
        "CASE WHEN k LIKE '%toxicity' THEN 'another' ELSE v END) WHERE request_date = '2026-04-01'"
    )
    run(spark, catalogued)
    current = spark.table("chatbots.support_bot_current_metrics")
    stored = spark.table("chatbots.support_bot_profile_metrics")
    assert current.columns == stored.columns
    toxicity = "column_name = 'prompt_toxicity' AND model_version = '7'"
    marks = {row[0] for row in stored.where(toxicity).select("scorer_fingerprint").distinct().collect()}
    assert len(marks) == 2
    assert {row[0] for row in current.where(toxicity).select("scorer_fingerprint").collect()} == {"another"}
    assert current.where("column_name = 'requests'").count() == stored.where("column_name = 'requests'").count()
