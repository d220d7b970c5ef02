"""``batches``: one row per micro-batch of the score hop, the ledger that ``reconcile`` checks."""

from __future__ import annotations

from schemas import Table, columns

LATENESS = (("5 minutes", 300), ("1 hour", 3600), ("6 hours", 21600), ("1 day", 86400), ("7 days", 604800))
"""Upper bounds of the histogram ``lateness``, in seconds; anything older counts as ``older``."""

BATCHES = Table(
    name="batches",
    comment="One row per micro-batch of the score hop: where its source rows went.",
    columns=columns(
        ("batch_id", "bigint", "Micro-batch"),
        ("checkpoint_id", "string", "Id of the streaming query"),
        ("source_version", "bigint", "Newest Delta version of the source that was read whole (NULL: none yet)"),
        ("rows_read", "bigint", "Source rows in the batch"),
        ("rows_scored", "bigint", "Source rows that became rows of scores"),
        ("rows_shared_id", "bigint", "Those of them that another call shares the id with: kept under one of their own"),
        ("rows_quarantined", "bigint", "Source rows that became rows of quarantine"),
        ("rows_duplicate", "bigint", "Source rows that repeat a row of this or of an earlier batch"),
        ("rows_replaced", "bigint", "Those of them that are updates of a scored row, which has been scored anew"),
        ("rows_skipped", "bigint", "Source rows that are not traffic (feedback), or older than retention.scores"),
        (
            "rows_feedback",
            "bigint",
            "Those of them that are feedback, whose ratings are in the table (NULL: before there was one)",
        ),
        ("rows_expired", "bigint", "Those of them that were older than retention.scores when they were read"),
        (
            "skipped_versions",
            "array<struct<version: bigint, operation: string, rows_inserted: bigint>>",
            "Versions of the source that on_source_change: skip left out; rows_inserted: NULL where Delta doesn't say",
        ),
        ("exchanges", "bigint", "Rows of scores from this batch"),
        ("exchanges_not_logged", "bigint", "Those of them whose request or response was too long for the log"),
        ("texts_scored", "bigint", "Prompts and responses among them"),
        ("texts_deduplicated", "bigint", "Texts that repeat another text of the batch"),
        ("tokens_scored", "bigint", "Input and output tokens of the batch's exchanges"),
        ("score_seconds", "double", "Wall time of unpacking, scoring and the MERGE into scores"),
        ("lag_seconds", "double", "Age of the batch's newest request when it was written"),
        ("lateness", "map<string,bigint>", "Source rows by age when they were read"),
        ("scores_purged", "map<string,bigint>", "Its requests that retention removed from scores, by UTC date"),
        ("quarantine_purged", "map<string,bigint>", "Its rows that retention removed from quarantine, by UTC date"),
        ("feedback_purged", "map<string,bigint>", "Its ratings that retention removed from feedback, by UTC date"),
        ("finished_at", "timestamp", "When the batch was written (UTC)"),
    ),
    keys=("checkpoint_id", "batch_id"),
)
