"""Inference tables by their columns."""

from __future__ import annotations

from datetime import date, datetime
from typing import TYPE_CHECKING, Any

import pytest

from metrics.unpack.dialects import DIALECTS, detect_dialect, with_common_columns
from schemas.config import ServedEntity
from schemas.errors import SourceError
from schemas.source import COMMON_COLUMNS
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


def test_ai_gateway_with_loose_types(spark: SparkSession) -> None:
    row = gateway_row("a", "e1") | {"logging_error_codes": ["MAX_REQUEST_SIZE_EXCEEDED"]}
    df = frame(spark, [row], AI_GATEWAY).selectExpr(
        "* EXCEPT (status_code, logging_error_codes, request_time)",
        "CAST(status_code AS string) AS status_code",
        "to_json(logging_error_codes) AS logging_error_codes",
        "CAST(request_time AS string) AS request_time",
    )
    found = with_common_columns(df, dialect="ai_gateway", served_entities={}).collect()[0]
    assert (found["status_code"], found["logging_error_codes"]) == (200, ["MAX_REQUEST_SIZE_EXCEEDED"])
    assert found["request_time"] == datetime(2026, 4, 1, 23, 30)


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


ENTITIES = "served_entity_id string, entity_name string, entity_version string, endpoint_config_version int"


def test_served_entities_from_a_table(spark: SparkSession) -> None:
    """An entity recurs with every configuration that serves it; the newest one counts."""
    table = spark.createDataFrame(
        [
            ("e1", "main.bots.chat", "8", 3),
            ("e1", "main.bots.chat", "7", 1),
            ("e3", "other", "1", 1),
            (None, "x", "1", 9),
        ],
        ENTITIES,
    )
    rows = [gateway_row("a", "e1"), gateway_row("b", "e2"), gateway_row("c", "e1") | {"served_entity_id": None}]
    df = frame(spark, rows, AI_GATEWAY)
    found = with_common_columns(df, dialect="ai_gateway", served_entities=table).collect()
    assert sorted((r["request_id"], r["model_name"], r["model_version"]) for r in found) == [
        ("a", "main.bots.chat", "8"),
        ("b", "e2", None),
        ("c", None, None),
    ]
    with pytest.raises(SourceError, match=r"has no entity_version\. It needs the columns of system\.serving"):
        with_common_columns(df, dialect="ai_gateway", served_entities=table.drop("entity_version"))


UNITY = (
    "event_time timestamp, request_id string, invocation_id string, request_tags map<string,string>, status_code int, "
    "sampling_fraction double, latency_ms bigint, time_to_first_byte_ms bigint, request string, response string, "
    "destination_type string, destination_name string, destination_model string, logging_error_codes array<string>, "
    "requester string, schema_version string, url string, api_type string"
)


def test_unity_gateway(spark: SparkSession) -> None:
    time = datetime(2026, 4, 1, 23, 30)
    common: tuple[Any, ...] = (
        {},
        200,
        0.5,
        900,
        120,
        "{}",
        "{}",
        "MODEL",
        "support",
        "main.bots.chat",
        [],
        "me",
        "1",
        "/",
        "chat",
    )
    rows = [(time, "r1", "i1", *common), (time, "r2", None, *common)]
    df = spark.createDataFrame(rows, UNITY)
    dialect = detect_dialect(df.columns)
    assert dialect == "unity_gateway"
    known = {"main.bots.chat": ServedEntity(model_name="main.bots.chat", model_version="7")}
    for entities, version in ((known, "7"), ({}, None)):
        found = with_common_columns(df, dialect=dialect, served_entities=entities, endpoint="support").collect()
        assert sorted(r["request_id"] for r in found) == ["i1", "r2"]
        assert {(r["model_name"], r["model_version"], r["endpoint_name"]) for r in found} == {
            ("main.bots.chat", version, "support")
        }
    assert (found[0]["latency_ms"], found[0]["time_to_first_byte_ms"], found[0]["execution_duration_ms"]) == (
        900,
        120,
        None,
    )
    assert (found[0]["request_time"], found[0]["request_date"]) == (time, time.date())


def test_any_other_log(spark: SparkSession) -> None:
    df = spark.createDataFrame(
        [("7", "1775001600", "200", "Hi", "Hello"), ("8", "later", "no", "Hi", "Hello")],
        "id string, at string, code string, question string, reply string",
    )
    with pytest.raises(SourceError, match=r"Of any other log, map the columns in source\.columns"):
        detect_dialect(df.columns)
    columns = {
        "request_id": "id",
        "request_time": "timestamp_seconds(try_cast(at AS bigint))",
        "status_code": "code",
        "request": "to_json(named_struct('prompt', question))",
        "response": "to_json(array(reply))",
        "model_version": "concat('v', id)",
    }

    def read(**other: str) -> Any:
        return with_common_columns(df, dialect="columns", served_entities={}, columns=columns | other)

    first, second = sorted(read().collect(), key=lambda r: str(r["request_id"]))
    assert (first["request_time"], first["status_code"], first["model_version"]) == (datetime(2026, 4, 1), 200, "v7")
    assert first["request"] == '{"prompt":"Hi"}'
    assert (second["request_time"], second["status_code"]) == (None, None)
    assert [field.name for field in read().schema] == [*COMMON_COLUMNS, "request_date", "source_row_hash"]
    with pytest.raises(SourceError, match=r"source\.columns can't be used: .*nope"):
        read(response="nope")
    with pytest.raises(SourceError, match=r"source\.columns can't be used: "):
        read(response="(")


def test_a_missing_request_id_is_made_from_payload_and_time(spark: SparkSession) -> None:
    df = frame(spark, [gateway_row(None, "e1"), gateway_row(None, "e1")], AI_GATEWAY)
    ids = [r["request_id"] for r in with_common_columns(df, dialect="ai_gateway", served_entities={}).collect()]
    assert ids[0] == ids[1]
    assert ids[0].startswith("hash:")


def test_payloads_that_are_structures(spark: SparkSession) -> None:
    """Some loggers write STRUCT columns; what is null in them stays."""
    rows = frame(spark, [row("a")]).selectExpr(
        "* EXCEPT (request, response)",
        "named_struct('messages', array(named_struct('role', 'user', 'content', 'Hi'))) AS request",
        "named_struct('choices', array(named_struct('message', map('content', CAST(NULL AS string))))) AS response",
    )
    expected = (
        '{"messages":[{"role":"user","content":"Hi"}]}',
        '{"choices":[{"message":{"content":null}}]}',
    )
    mapped = {"request_time": "timestamp_millis(timestamp_ms)", "status_code": "200"}
    mapped |= {"request": "request", "response": "response"}
    for dialect, columns in (
        ("legacy", None),
        ("columns", mapped),
        ("columns", mapped | {"request": "coalesce(request)"}),
    ):
        found = with_common_columns(rows, dialect=dialect, served_entities={}, columns=columns).collect()[0]
        assert (found["request"], found["response"]) == expected
