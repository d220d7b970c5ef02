"""Inference tables by their columns."""

from __future__ import annotations

from datetime import date, datetime
from typing import TYPE_CHECKING

import pytest

from metrics.unpack.dialects import DIALECTS, detect_dialect, with_common_columns
from schemas.config import ServedEntity
from schemas.errors import SourceError
from tests.traffic import AI_GATEWAY, frame, gateway_row, row

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


@pytest.mark.parametrize("dialect", DIALECTS)
def test_columns_tell_the_dialect(dialect: str) -> None:
    assert detect_dialect([*DIALECTS[dialect], "something_else"]) == dialect


def test_unknown_columns_are_shown() -> None:
    with pytest.raises(SourceError, match=r"Expected legacy: databricks_request_id.*Present: bar, foo\."):
        detect_dialect(["foo", "bar"])
    with pytest.raises(SourceError, match="Expected ai_gateway: "):
        detect_dialect(DIALECTS["legacy"], dialect="ai_gateway")


def test_legacy(spark: SparkSession) -> None:
    df = with_common_columns(frame(spark, [row("a")]), dialect="legacy", served_entities={})
    found = df.collect()[0]
    assert (found["endpoint_name"], found["model_name"], found["model_version"]) == ("bot", "chatbot", "6")
    assert found["request_time"] == datetime(2026, 4, 1)
    assert (found["execution_duration_ms"], found["latency_ms"]) == (100, None)


@pytest.mark.parametrize("ms", [1_775_001_600_000_000, 253_402_300_800_000, 2**63 - 1, -1, None])
def test_a_time_that_is_none_is_null_and_breaks_nothing(spark: SparkSession, ms: int | None) -> None:
    df = with_common_columns(frame(spark, [row("a") | {"timestamp_ms": ms}]), dialect="legacy", served_entities={})
    assert [(r["request_time"], r["request_date"]) for r in df.collect()] == [(None, None)]


def test_legacy_with_loose_types(spark: SparkSession) -> None:
    df = frame(spark, [row("a")]).selectExpr(
        "* EXCEPT (status_code, request_metadata)",
        "CAST(status_code AS string) AS status_code",
        "to_json(request_metadata) AS request_metadata",
    )
    found = with_common_columns(df, dialect="legacy", served_entities={}).collect()[0]
    assert (found["status_code"], found["model_version"]) == (200, "6")


def test_ai_gateway_versions_come_from_the_served_entities(spark: SparkSession) -> None:
    known = {"e1": ServedEntity(model_name="chatbot", model_version="7")}
    df = frame(spark, [gateway_row("a", "e1"), gateway_row("b", "e2")], AI_GATEWAY)
    found = {
        r["request_id"]: r
        for r in with_common_columns(df, dialect="ai_gateway", served_entities=known, endpoint="bot").collect()
    }
    assert (found["a"]["model_name"], found["a"]["model_version"]) == ("chatbot", "7")
    assert (found["b"]["model_name"], found["b"]["model_version"]) == ("e2", None)
    assert found["a"]["request_date"] == date(2026, 4, 1), "the UTC date of the time, not the source's own column"
    assert (found["a"]["endpoint_name"], found["a"]["requester"]) == ("bot", "someone@example.com")


def test_a_missing_request_id_is_made_from_payload_and_time(spark: SparkSession) -> None:
    df = frame(spark, [gateway_row(None, "e1"), gateway_row(None, "e1")], AI_GATEWAY)
    ids = [r["request_id"] for r in with_common_columns(df, dialect="ai_gateway", served_entities={}).collect()]
    assert ids[0] == ids[1]
    assert ids[0].startswith("hash:")
