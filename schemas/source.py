"""What the monitor takes from a row of an inference table: names and types, whatever the table's own are."""

from __future__ import annotations

from collections.abc import Mapping

COMMON_COLUMNS: Mapping[str, str] = {
    "request_id": "string",
    "client_request_id": "string",
    "request_time": "timestamp",
    "endpoint_name": "string",
    "model_name": "string",
    "model_version": "string",
    "served_entity_id": "string",
    "requester": "string",
    "status_code": "int",
    "sampling_fraction": "double",
    "execution_duration_ms": "bigint",
    "latency_ms": "bigint",
    "time_to_first_byte_ms": "bigint",
    "request": "string",
    "response": "string",
    "logging_error_codes": "array<string>",
}
"""Also the names that ``source.columns`` may map."""

NEEDED = ("request_time", "status_code", "request", "response")
"""What ``source.columns`` has to map."""
