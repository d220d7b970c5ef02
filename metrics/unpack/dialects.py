"""Inference tables under one set of column names.

Databricks writes inference tables in several forms; the columns tell which. Facts: Databricks documentation,
"Monitor served models using inference tables" (legacy) and "AI Gateway-enabled inference tables".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from pyspark.sql import functions as F

from schemas.errors import SourceError

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

    from schemas.config import ServedEntity

DIALECTS: Mapping[str, tuple[str, ...]] = {
    "legacy": ("databricks_request_id", "timestamp_ms", "status_code", "request", "response"),
    "ai_gateway": ("databricks_request_id", "request_time", "status_code", "request", "response", "served_entity_id"),
}
"""Columns that a dialect can't be without."""

LAST_MS = 253_402_300_799_999
"""The end of year 9999 in epoch milliseconds: a time after it is another unit or rubbish, and no date to Python."""


def detect_dialect(columns: Sequence[str], *, dialect: str = "auto") -> str:
    """Name of the dialect that these columns are.

    Raises:
        SourceError: The columns are those of no known dialect, or lack some of the dialect asked for.
    """
    candidates = DIALECTS if dialect == "auto" else {dialect: DIALECTS[dialect]}
    for name, required in candidates.items():
        if set(required) <= set(columns):
            return name
    expected = "; ".join(f"{name}: {', '.join(required)}" for name, required in candidates.items())
    raise SourceError(
        f"the source's columns are those of no known inference table. Expected {expected}. "
        f"Present: {', '.join(sorted(columns))}."
    )


def with_common_columns(
    source: DataFrame,
    *,
    dialect: str,
    served_entities: Mapping[str, ServedEntity],
    endpoint: str | None = None,
) -> DataFrame:
    """The rows of an inference table with the column names that the rest of the monitor uses.

    Columns that the log lacks are NULL, and so is a time outside the years 1970 to 9999.
    A row without a request id gets one from a hash of its payload and time.
    ``request_date`` is the UTC date of ``request_time``, whatever date column the source has; the session's time
    zone must be UTC.
    """
    present = set(source.columns)

    def column(name: str, type_: str) -> Column:
        return F.expr(f"try_cast(`{name}` AS {type_})") if name in present else F.lit(None).cast(type_)

    row_hash = F.sha2(F.to_json(F.struct(*(F.col(f"`{name}`") for name in sorted(present)))), 256)
    if dialect == "legacy":
        metadata = _metadata(source)
        time = F.when(
            column("timestamp_ms", "bigint").between(0, LAST_MS), F.timestamp_millis(column("timestamp_ms", "bigint"))
        )
        duration, model, version, entity = (
            column("execution_time_ms", "bigint"),
            metadata["model_name"],
            metadata["model_version"],
            F.lit(None).cast("string"),
        )
        endpoint_name = F.coalesce(metadata["endpoint_name"], F.lit(endpoint))
    else:
        entity = column("served_entity_id", "string")
        time = F.when(
            F.year(column("request_time", "timestamp")).between(1970, 9999), column("request_time", "timestamp")
        )
        duration = column("execution_duration_ms", "bigint")
        model = F.coalesce(_entity_value(entity, served_entities, "model_name"), entity)
        version = _entity_value(entity, served_entities, "model_version")
        endpoint_name = F.lit(endpoint).cast("string")
    payload_hash = F.sha2(F.concat_ws("\x1f", F.col("request"), F.col("response"), time.cast("string")), 256)
    return source.select(
        F.coalesce(column("databricks_request_id", "string"), F.concat(F.lit("hash:"), payload_hash)).alias(
            "request_id"
        ),
        column("client_request_id", "string").alias("client_request_id"),
        time.alias("request_time"),
        F.to_date(time).alias("request_date"),
        endpoint_name.alias("endpoint_name"),
        model.alias("model_name"),
        version.alias("model_version"),
        entity.alias("served_entity_id"),
        column("requester", "string").alias("requester"),
        column("status_code", "int").alias("status_code"),
        column("sampling_fraction", "double").alias("sampling_fraction"),
        duration.alias("execution_duration_ms"),
        F.lit(None).cast("bigint").alias("latency_ms"),
        F.lit(None).cast("bigint").alias("time_to_first_byte_ms"),
        column("request", "string").alias("request"),
        column("response", "string").alias("response"),
        column("logging_error_codes", "array<string>").alias("logging_error_codes"),
        row_hash.alias("source_row_hash"),
    )


def _metadata(source: DataFrame) -> Column:
    """``request_metadata`` as a map, also where it was stored as JSON text."""
    types = dict(source.dtypes)
    kind = types.get("request_metadata", "missing")
    if kind.startswith("map"):
        return F.col("request_metadata").cast("map<string,string>")
    if kind == "string":
        return F.from_json("request_metadata", "map<string,string>")
    if kind.startswith("struct"):
        return F.from_json(F.to_json("request_metadata"), "map<string,string>")
    return F.lit(None).cast("map<string,string>")


def _entity_value(entity: Column, served_entities: Mapping[str, ServedEntity], field: str) -> Column:
    value = F.lit(None).cast("string")
    for entity_id, served in served_entities.items():
        value = F.when(entity == entity_id, F.lit(getattr(served, field))).otherwise(value)
    return value
