"""The unpacker in Spark: rows of an inference table in, as Arrow batches, and what their payloads hold out."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import pyarrow as pa  # type: ignore[import-untyped]
from pyspark.sql import functions as F
from pyspark.sql.types import StructType

from metrics.hashes import content_hash
from metrics.unpack.payloads import families, unpack
from metrics.unpack.unpacked import Exchange, Unpacked, UnpackSettings

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

__all__ = ["explode_exchanges", "unpack_payload"]

FUTURE = timedelta(hours=1)
"""A request later than this after its row was read has a wrong clock or a wrong unit."""

EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)
"""So has one before this: seconds that are read as milliseconds are in January 1970."""

_EXCHANGE = (
    "prompt string, response string, context string, end_user string, conversation_id string, finish_reason string, "
    "system_prompt_hash string, turn int"
)
_RATING = (
    "request_id string, name string, value double, label string, source_type string, source string, comment string"
)
_COLUMNS = (
    f"request string, response string, exchanges array<struct<{_EXCHANGE}>>, kind string, conversation_id string, "
    "end_user string, prompt_version string, error_code string, usage_input_tokens bigint, usage_output_tokens bigint, "
    "cached_input_tokens bigint, cache_write_input_tokens bigint, reason string, detail string, shape string, "
    f"skip boolean, feedback array<struct<{_RATING}>>, content_hash string"
)
_TYPES = {"string": pa.string(), "int": pa.int32(), "bigint": pa.int64(), "double": pa.float64(), "boolean": pa.bool_()}


def unpack_payload(rows: DataFrame, settings: UnpackSettings, *, now: datetime) -> DataFrame:
    """Adds what the payloads hold to rows with common column names (dialects.py). Every payload is parsed once.

    Args:
        rows: Rows of an inference table.
        settings: How payloads are read.
        now: When the rows were read.

    Returns:
        The rows with ``exchanges`` (array of prompt, response, context, end user, conversation id, finish reason,
        system prompt's hash, turn), ``kind``, ``conversation_id`` and ``end_user`` (of the call, else of its first
        input), ``prompt_version``, ``error_code``, the log's token counts ``usage_input_tokens``,
        ``usage_output_tokens``, ``cached_input_tokens`` and ``cache_write_input_tokens`` (NULL for a batched call:
        they can't be divided), ``reason``, ``detail`` and ``shape`` (why the row can't be unpacked; NULL when it can),
        ``skip`` (not traffic) and ``feedback`` (the ratings, of a row that has such), and ``content_hash`` (of status
        and payloads). ``request`` and ``response`` are there only where there is a ``reason``.
    """
    time = F.col("request_time")
    time_reason = (
        F.when(time.isNull(), "no_request_time")
        .when(time < F.lit(EARLIEST), "past_request_time")
        .when(time > F.lit(now + FUTURE), "future_request_time")
    )
    kept = [name for name in rows.columns if name not in ("request", "response")]
    fields = rows.select(*kept).schema.fields + _ddl(_COLUMNS).fields

    def unpack_batches(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            yield unpacked_batch(batch, kept, settings)

    return rows.select(*kept, "request", "response", time_reason.alias("time_reason")).mapInArrow(
        unpack_batches, StructType(fields)
    )


def _ddl(text: str) -> StructType:
    schema = StructType.fromDDL(text)
    assert isinstance(schema, StructType)
    return schema


def unpacked_batch(batch: pa.RecordBatch, kept: list[str], settings: UnpackSettings) -> pa.RecordBatch:
    """One Arrow batch of ``unpack_payload``; the columns ``kept`` are passed on as they are."""
    known = families()
    requests, responses = (batch.column(name).cast(pa.binary()).to_pylist() for name in ("request", "response"))
    statuses = batch.column("status_code").to_pylist()
    found = [
        unpack(request, response, ok=status == 200, settings=settings, known=known)
        for request, response, status in zip(requests, responses, statuses, strict=True)
    ]
    for one, reason in zip(found, batch.column("time_reason").to_pylist(), strict=True):
        if reason is not None and one.ratings is None and not (one.reason and reason == "future_request_time"):
            one.reason, one.detail, one.shape = reason, None, None
        if one.reason is not None:
            one.exchanges = None
    contents = [
        content_hash(status, request, response, settings.key)
        for status, request, response in zip(statuses, requests, responses, strict=True)
    ]
    try:
        columns = _arrays(found)
    except _NO_ARROW:  # of a family from elsewhere
        for at, one in enumerate(found):
            try:
                _arrays([one])
            except _NO_ARROW as error:
                failed = statuses[at] != 200
                found[at] = Unpacked(exchanges=[Exchange()]) if failed else _failed(type(error).__name__)
        columns = _arrays(found)
    columns |= {
        "request": _texts(requests, found),
        "response": _texts(responses, found),
        "content_hash": pa.array(contents, pa.string()),
    }
    arrays = {name: batch.column(name) for name in kept}
    arrays |= {name: columns[name] for name in _NAMES}
    return pa.RecordBatch.from_arrays(list(arrays.values()), names=list(arrays))


_NO_ARROW = (pa.ArrowException, TypeError, ValueError, OverflowError)
"""What pyarrow raises for values of another type, for text that is no UTF-8, and for numbers that are too large."""


def _failed(detail: str) -> Unpacked:
    return Unpacked(reason="unpacker_failed", detail=detail)


def _arrays(found: list[Unpacked]) -> dict[str, pa.Array]:
    """The columns of what rows hold."""
    return {
        "exchanges": _lists([one.exchanges for one in found], _EXCHANGE),
        "usage_input_tokens": _array(found, "tokens.input", "bigint"),
        "usage_output_tokens": _array(found, "tokens.output", "bigint"),
        "cached_input_tokens": _array(found, "tokens.cached_input", "bigint"),
        "cache_write_input_tokens": _array(found, "tokens.cache_write_input", "bigint"),
        "skip": pa.array([one.ratings is not None for one in found], pa.bool_()),
        "feedback": _lists([one.ratings for one in found], _RATING),
        **{name: _array(found, name, "string") for name in _PLAIN},
    }


def _array(found: list[Any], name: str, type_: str) -> pa.Array:
    """What an attribute is, of each."""
    return pa.array(list(map(attrgetter(name), found)), _TYPES[type_])


def _split(ddl: str) -> list[str]:
    """The columns of a DDL text, without those of structs within."""
    depth, start, found = 0, 0, []
    for at, char in enumerate(ddl):
        depth += (char == "<") - (char == ">")
        if char == "," and not depth:
            found.append(ddl[start:at].strip())
            start = at + 1
    return [*found, ddl[start:].strip()]


_NAMES = [part.partition(" ")[0] for part in _split(_COLUMNS)]
_PLAIN = ("kind", "conversation_id", "end_user", "prompt_version", "error_code", "reason", "detail", "shape")
"""Columns that are attributes of ``Unpacked``."""


def _texts(payloads: list[bytes | None], found: list[Unpacked]) -> pa.Array:
    """The payloads of rows that can't be read."""
    kept = (None if one.reason is None else payload for payload, one in zip(payloads, found, strict=True))
    return pa.array([None if payload is None else payload.decode("utf-8", "replace") for payload in kept], pa.string())


def _lists(rows: list[Any], ddl: str) -> pa.Array:
    """An array of lists of structs; the fields are attributes of the lists' elements."""
    offsets, nulls = [0], []
    flat: list[Any] = []
    for row in rows:
        nulls.append(row is None)
        flat += row or ()
        offsets.append(len(flat))
    fields = [part.split(" ") for part in _split(ddl)]
    arrays = [_array(flat, name, type_) for name, type_ in fields]
    values = pa.StructArray.from_arrays(arrays, names=[name for name, _ in fields])
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), values, mask=pa.array(nulls, pa.bool_()))


def explode_exchanges(unpacked: DataFrame) -> DataFrame:
    """One row per exchange, with ``exchange_index`` and what belongs to the exchange, of the rows that have any."""
    own = [field.name for field in _ddl(_EXCHANGE).fields]
    payload = ("request", "response", "exchanges", "reason", "detail", "shape", "skip", "feedback", *own)
    others = [name for name in unpacked.columns if name not in payload]
    return (
        unpacked.where(F.col("exchanges").isNotNull())
        .select(*others, F.posexplode("exchanges").alias("exchange_index", "exchange"))
        .select(*others, "exchange_index", *(f"exchange.{name}" for name in own))
    )
