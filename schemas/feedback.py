"""``feedback``: one row per rating of an answer, which a review app had sent to the endpoint."""

from __future__ import annotations

from schemas import Table, columns

SOURCE_TYPES = ("HUMAN", "LLM_JUDGE", "CODE")

RATED_DAYS = 31
"""So many days before its rating a request is looked for in ``scores``."""

FEEDBACK = Table(
    name="feedback",
    comment="One row per rating of an answer, from the rows of the inference table that are not traffic but feedback.",
    columns=columns(
        ("feedback_id", "string", "source_row_hash of the rating's row, a hyphen, and its position there from 0"),
        ("request_id", "string", "The request that is rated, as the rating names it"),
        (
            "request_date",
            "date",
            "UTC date of that request; NULL where scores did not know it on the rating's day or in the 31 days before",
        ),
        ("feedback_time", "timestamp", "When the endpoint received the rating (UTC)"),
        ("name", "string", "What is rated, for example answer_correct"),
        ("value", "double", "The rating as a number; 1 for yes and positive, 0 for no and negative"),
        ("label", "string", "The rating as a category, in its own words"),
        ("source_type", "string", f"{', '.join(SOURCE_TYPES)}; NULL: the rating says none of them"),
        ("source_hash", "string", "HMAC-SHA-256 of who has rated: the payload's source, else the caller (hex)"),
        ("comment_hash", "string", "HMAC-SHA-256 of the word comment, NUL and the comment (hex)"),
        ("comment", "string", "Comment, as text.store allows; NULL where the row has no time that retention can go by"),
        ("checkpoint_id", "string", "Id of the streaming query that wrote the row"),
        ("batch_id", "bigint", "Micro-batch that wrote the row"),
    ),
    keys=("feedback_id",),
    day="CAST(feedback_time AS DATE)",
    counted_by="feedback_id",
    holds_text=("comment",),
    # No text in the statistics of the table's log: they outlive a deleted row.
    properties={"delta.dataSkippingStatsColumns": "feedback_id,request_id,request_date,feedback_time,batch_id"},
    checks={
        "valid_feedback": "feedback_id IS NOT NULL AND (value IS NULL OR abs(value) < double('Infinity')) AND "
        "(source_type IS NULL OR source_type IN ({}))".format(", ".join(f"'{one}'" for one in SOURCE_TYPES))
    },
)
