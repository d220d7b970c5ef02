"""``forgotten``: rows that ``forget`` removed, so that reading the source again does not bring them back."""

from __future__ import annotations

from schemas import Table, columns

FORGOTTEN = Table(
    name="forgotten",
    comment="What was removed from scores, quarantine and feedback on request, and is not read again.",
    columns=columns(
        ("table_name", "string", "scores, quarantine or feedback"),
        ("key_hash", "string", "SHA-256 of request_id in scores, source_row_hash (quarantine), or feedback_id"),
        ("request_date", "date", "UTC date of the request; NULL for rows of other tables, and for ids not met yet"),
        ("request_time", "timestamp", "When the endpoint received the request (UTC); which windows still count it"),
        ("checkpoint_id", "string", "Id of the streaming query that had written the row"),
        ("batch_id", "bigint", "Micro-batch that had written the row"),
        (
            "request_id_hash",
            "string",
            "SHA-256 of the id that the log has for the row of scores (NULL: key_hash) or quarantine (hex)",
        ),
        (
            "content_hashes",
            "array<string>",
            "Content hashes of the call that was removed, where others may share its id; NULL: all calls of the id",
        ),
        ("forgotten_at", "timestamp", "When the row was removed (UTC)"),
    ),
    keys=("table_name", "key_hash", "request_date"),
    checks={"known_table": "table_name IN ('scores', 'quarantine', 'feedback')"},
)
