"""``quarantine``: rows of the inference table that can't be unpacked, with the reason."""

from __future__ import annotations

from schemas import Table, columns

REASONS = (
    "no_request_time",
    "past_request_time",
    "future_request_time",
    "invalid_request_json",
    "invalid_response_json",
    "unknown_request_shape",
    "unknown_response_shape",
    "length_mismatch",
    "too_large",
    "unpacker_failed",
)
"""Why a row is here: the timestamp is NULL or outside the years 1970 to 9999; it is before the year 2000 (seconds that
were taken for milliseconds); it is more than an hour after the row was read; the payload is not JSON; its shape is none
that is known; a batched call has another number of predictions than of inputs; the payload is longer than 16 MiB, has
more than a million values, or the call more than 2,048 inputs; the unpacker failed on it (``detail`` has the error's
type)."""

QUARANTINE = Table(
    name="quarantine",
    comment="Rows of the inference table that can't be unpacked.",
    columns=columns(
        ("source_row_hash", "string", "SHA-256 over id, time, status and payloads of the source row (hex)"),
        ("request_id", "string", "The log's id of the request"),
        ("request_time", "timestamp", "When the endpoint received the request (UTC)"),
        ("reason", "string", ", ".join(REASONS)),
        ("detail", "string", "What exactly was wrong; never text of the payload"),
        ("shape", "string", "Keys and types of the payload that is not understood, never its values"),
        ("request", "string", "Request payload, as text.store allows"),
        ("response", "string", "Response payload, as text.store allows"),
        ("request_chars", "int", "Length of the request payload in characters"),
        ("response_chars", "int", "Length of the response payload in characters"),
        ("request_hash", "string", "HMAC-SHA-256 of the request payload (hex)"),
        ("response_hash", "string", "HMAC-SHA-256 of the response payload (hex)"),
        ("end_user_hash", "string", "HMAC-SHA-256 of the end user, where the payload could be read that far (hex)"),
        ("requester_hash", "string", "HMAC-SHA-256 of the caller's identity (hex)"),
        ("quarantined_at", "timestamp", "When the row was put here (UTC)"),
        ("checkpoint_id", "string", "Id of the streaming query that wrote the row"),
        ("batch_id", "bigint", "Micro-batch that wrote the row"),
    ),
    keys=("source_row_hash",),
    day="CAST(request_time AS DATE)",
    counted_by="source_row_hash",
    holds_text=("request", "response"),
    # No text in the statistics of the table's log: they outlive a deleted row.
    properties={"delta.dataSkippingStatsColumns": "source_row_hash,request_id,request_time,reason,batch_id"},
    checks={"known_reason": "reason IN ({})".format(", ".join(f"'{reason}'" for reason in REASONS))},
)
