"""Inference tables under one set of column names.

Databricks writes inference tables in several forms; the columns tell which. Facts: Databricks documentation,
"Monitor served models using inference tables" (legacy), "AI Gateway-enabled inference tables", and Unity AI Gateway's
payload tables. Any other Delta log is read with a map from our names to SQL expressions over its columns.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING

from pyspark.errors import AnalysisException, ParseException
from pyspark.sql import functions as F

from schemas.errors import SourceError
from schemas.source import COMMON_COLUMNS

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

    from schemas.config import ServedEntity

DIALECTS: Mapping[str, tuple[str, ...]] = {
    "legacy": ("databricks_request_id", "timestamp_ms", "status_code", "request", "response"),
    "ai_gateway": ("databricks_request_id", "request_time", "status_code", "request", "response", "served_entity_id"),
    "unity_gateway": ("event_time", "request_id", "invocation_id", "status_code", "request", "response"),
}
"""Columns that a dialect can't be without."""

LAST_MS = 253_402_300_799_999
"""The end of year 9999 in epoch milliseconds: a time after it is another unit or rubbish, and no date to Python."""

HASHED_ID = "hash:"
"""What the id of a request begins with that the log has no id for; a SHA-256 of its payloads and time follows."""

IDENTITY = ("request_id", "request_time", "status_code", "request", "response")
"""Columns that make a row of the source what it is (``source_row_hash``). The others come and go with its schema."""

LEAST_FRACTION = 1e-9
"""A smaller sampling fraction is a mistake."""

ENTITY_COLUMNS = ("served_entity_id", "entity_name", "entity_version")
"""Of a table in the form of ``system.serving.served_entities``."""


def detect_dialect(columns: Sequence[str], *, dialect: str = "auto") -> str:
    """Name of the dialect that these columns are; ``columns`` is taken at its word.

    Raises:
        SourceError: The columns are those of no known dialect, or lack some of the dialect asked for.
    """
    if dialect == "columns":
        return dialect
    candidates = DIALECTS if dialect == "auto" else {dialect: DIALECTS[dialect]}
    for name, required in candidates.items():
        if set(required) <= set(columns):
            return name
    expected = "; ".join(f"{name}: {', '.join(required)}" for name, required in candidates.items())
    raise SourceError(
        f"the source's columns are those of no known inference table. Expected {expected}. "
        f"Present: {', '.join(sorted(columns))}. Of any other log, map the columns in source.columns."
    )


TIME_COLUMNS = {"legacy": "timestamp_ms", "ai_gateway": "request_time", "unity_gateway": "event_time"}


def on_days(source: DataFrame, since: date, until: date, *, dialect: str) -> DataFrame:
    """Rows of an inference table whose time can be on these UTC dates, by a condition that the table's files know.

    Where the time's column has no type that has a natural order (text, an expression), all rows.

    Args:
        source: Rows of the inference table.
        since: First date.
        until: Last date, included.
        dialect: As in the settings.
    """
    column = TIME_COLUMNS.get(detect_dialect(source.columns, dialect=dialect), "")
    type_ = dict(source.dtypes).get(column)
    first, after = (datetime.combine(day, time.min, UTC) for day in (since, until + timedelta(days=1)))
    if type_ == "bigint":
        first_ms, after_ms = (int(moment.timestamp() * 1000) for moment in (first, after))
        return source.where((F.col(column) >= first_ms) & (F.col(column) < after_ms))
    if type_ == "timestamp":
        return source.where((F.col(column) >= F.lit(first)) & (F.col(column) < F.lit(after)))
    return source


def with_common_columns(
    source: DataFrame,
    *,
    dialect: str,
    served_entities: Mapping[str, ServedEntity] | DataFrame,
    endpoint: str | None = None,
    columns: Mapping[str, str] | None = None,
    keep: Sequence[str] = (),
) -> DataFrame:
    """The rows of an inference table with the column names that the rest of the monitor uses.

    Columns that the log lacks are NULL, and so are a time outside the years 1970 to 9999 and a sampling fraction that
    is none. A row without a request id gets one from a hash of its payload and time. ``request_date`` is the UTC date
    of ``request_time``, whatever date column the source has; the session's time zone must be UTC.

    Args:
        source: Rows of the inference table.
        dialect: What ``detect_dialect`` says.
        served_entities: What served entity ids stand for: by id, or a table with ``ENTITY_COLUMNS`` in which an id may
            recur (the newest configuration counts). An id that is not there becomes the model's name.
        endpoint: Name of the endpoint where the log has none.
        columns: SQL expressions over the source's columns by name, for the dialect ``columns``.
        keep: Columns that are passed on as they are.

    Raises:
        SourceError: An expression of ``columns`` can't be used.
    """
    types = dict(source.dtypes)
    expressions = dict(columns or {}) if dialect == "columns" else _expressions(dialect, types)
    for name in ("request", "response"):
        if _is_structure(source, types, expressions.get(name), dialect):
            # A payload that is no text; nulls are part of its shape.
            expressions[name] = f"to_json({expressions[name]}, map('ignoreNullFields', 'false'))"
    try:
        found = source.selectExpr(
            *(
                f"{_cast(expressions[name], type_) if name in expressions else f'CAST(NULL AS {type_})'} AS {name}"
                for name, type_ in COMMON_COLUMNS.items()
            ),
            *keep,
        )
    except (AnalysisException, ParseException) as error:
        if dialect != "columns":
            raise
        raise SourceError(f"source.columns can't be used: {_first_line(error)}") from error
    fraction = F.col("sampling_fraction")
    row_hash = F.sha2(F.to_json(F.struct(*IDENTITY)), 256)
    moment = F.when(F.year("request_time").between(1970, 9999), F.col("request_time"))
    hashed = (F.coalesce(part, F.lit("\0")) for part in (F.col("request"), F.col("response"), moment.cast("string")))
    payload_hash = F.sha2(F.concat_ws("\x1f", *hashed), 256)
    given_id = F.when(F.trim("request_id") != "", F.col("request_id"))
    return (
        _with_entities(found.withColumn("source_row_hash", row_hash), served_entities)
        .withColumns(
            {
                # Its reciprocal is a weight: NaN would be the sum of all, and so would next to nothing.
                "sampling_fraction": F.when(fraction.between(LEAST_FRACTION, 1), fraction),
                "request_id": F.coalesce(given_id, F.concat(F.lit(HASHED_ID), payload_hash)),
                "request_time": moment,
                "request_date": F.to_date(moment),
                "endpoint_name": F.coalesce("endpoint_name", F.lit(endpoint).cast("string")),
            }
        )
        .select(*COMMON_COLUMNS, "request_date", "source_row_hash", *keep)
    )


def _is_structure(source: DataFrame, types: Mapping[str, str], expression: str | None, dialect: str) -> bool:
    """Whether an expression over the source gives structures, maps or arrays."""
    if expression is None:
        return False
    type_ = types.get(expression.strip("`"), "")
    if dialect == "columns" and not type_:
        try:
            type_ = source.selectExpr(f"({expression}) AS one").dtypes[0][1]
        except (AnalysisException, ParseException):
            return False  # told by the caller, which uses it
    return type_.startswith(("struct", "map", "array"))


def _cast(expression: str, type_: str) -> str:
    """SQL: the expression as a type, NULL where it is no such thing.

    A string may hold bytes that are no UTF-8, which Python refuses: they become U+FFFD.
    """
    if type_ == "string":
        return f"make_valid_utf8(try_cast(({expression}) AS string))"
    return f"try_cast(({expression}) AS {type_})"


def _expressions(dialect: str, types: Mapping[str, str]) -> dict[str, str]:
    """SQL expressions by our names, over the columns that are there."""
    taken = {name: name for name in COMMON_COLUMNS}
    made: dict[str, str] = {}
    if dialect == "legacy":
        taken |= {"request_id": "databricks_request_id", "execution_duration_ms": "execution_time_ms"}
        metadata = _metadata(types.get("request_metadata", ""))
        ms = "try_cast(`timestamp_ms` AS bigint)"
        made = {
            "request_time": f"timestamp_millis(CASE WHEN {ms} BETWEEN 0 AND {LAST_MS} THEN {ms} END)",
            **{name: f"{metadata}['{name}']" for name in ("endpoint_name", "model_name", "model_version")},
        }
    elif dialect == "ai_gateway":
        taken |= {"request_id": "databricks_request_id"}
    else:
        taken |= {"request_time": "event_time"}
        called = [f"`{name}`" for name in ("destination_model", "destination_name") if name in types]
        made = {
            "request_id": "coalesce(`invocation_id`, `request_id`)",
            # The log names no served entity; what was called stands for one, so that settings can say its version.
            "served_entity_id": f"coalesce({', '.join([*called, 'NULL'])})",
        }
    if types.get("logging_error_codes") == "string":
        made["logging_error_codes"] = "from_json(`logging_error_codes`, 'array<string>')"
    return {ours: f"`{theirs}`" for ours, theirs in taken.items() if theirs in types} | made


def _metadata(kind: str) -> str:
    """SQL: ``request_metadata`` as a map, also where it was stored as JSON text."""
    if kind.startswith("map"):
        return "CAST(`request_metadata` AS map<string,string>)"
    if kind == "string":
        return "from_json(`request_metadata`, 'map<string,string>')"
    if kind.startswith("struct"):
        return "from_json(to_json(`request_metadata`), 'map<string,string>')"
    return "CAST(NULL AS map<string,string>)"


def _with_entities(rows: DataFrame, served_entities: Mapping[str, ServedEntity] | DataFrame) -> DataFrame:
    """Rows with the model and version of their served entity, where the log has no other."""
    entity = F.col("served_entity_id")
    if isinstance(served_entities, Mapping):
        name, version = (_entity_value(entity, served_entities, field) for field in ("model_name", "model_version"))
    else:
        rows = rows.join(F.broadcast(_newest_entities(served_entities)), "served_entity_id", "left")
        name, version = F.col("entity.entity_name"), F.col("entity.entity_version")
    return rows.withColumns(
        {
            "model_name": F.coalesce("model_name", name.cast("string"), entity),
            "model_version": F.coalesce("model_version", version.cast("string")),
        }
    )


def _newest_entities(table: DataFrame) -> DataFrame:
    """One row per served entity: an entity recurs with every configuration of its endpoint that serves it."""
    if missing := set(ENTITY_COLUMNS) - set(table.columns):
        raise SourceError(
            f"the table of source.served_entities has no {', '.join(sorted(missing))}. "
            f"It needs the columns of system.serving.served_entities: {', '.join(ENTITY_COLUMNS)}."
        )
    order = [name for name in ("endpoint_config_version", "change_time") if name in table.columns]
    entity = F.struct("entity_name", "entity_version")
    newest = F.max_by(entity, F.struct(*order, "entity_version"))
    return table.where(F.col("served_entity_id").isNotNull()).groupBy("served_entity_id").agg(newest.alias("entity"))


def _entity_value(entity: Column, served_entities: Mapping[str, ServedEntity], field: str) -> Column:
    value = F.lit(None).cast("string")
    for entity_id, served in served_entities.items():
        value = F.when(entity == entity_id, F.lit(getattr(served, field))).otherwise(value)
    return value


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0]
