"""``forgotten``: rows that ``forget`` removed, so that reading the source again does not bring them back."""

from __future__ import annotations

from schemas import Table, columns

FORGOTTEN = Table(
    name="forgotten",
    comment="Source rows whose rows in scores or quarantine were removed on request. They are not read again.",
    columns=columns(
        ("table_name", "string", "scores or quarantine"),
        ("key_hash", "string", "SHA-256 of request_id in scores, or source_row_hash (quarantine) (hex)"),
        ("request_date", "date", "UTC date of the request; NULL for rows of quarantine, and for ids not met yet"),
        ("request_time", "timestamp", "When the endpoint received the request (UTC); which windows still count it"),
        ("checkpoint_id", "string", "Id of the streaming query that had written the row"),
        ("batch_id", "bigint", "Micro-batch that had written the row"),
        (
            "request_id_hash",
            "string",
            "SHA-256 of the id that the log has for the row of scores (NULL: key_hash) (hex)",
        ),
        (
            "content_hashes",
            "array<string>",
            "Content hashes of the call that was removed, where others may share its id; NULL: all calls of the id",
        ),
        ("forgotten_at", "timestamp", "When the row was removed (UTC)"),
    ),
    keys=("table_name", "key_hash", "request_date"),
    checks={"known_table": "table_name IN ('scores', 'quarantine')"},
)
