"""``locks``: who is at work on a table, or runs a hop; one writer at a time."""

from __future__ import annotations

from schemas import Table, columns

LOCKS = Table(
    name="locks",
    comment="Who writes a table now, or runs a hop. A lock without an owner is free.",
    columns=columns(
        ("table_name", "string", "Table that is written, or hop (score_responses, aggregate_windows) that runs"),
        ("owner", "string", "Identity of the process: machine, process id, start, and a random part; NULL: free"),
        ("host", "string", "Name of its host"),
        ("pid", "bigint", "Its process id"),
        ("command", "string", "What it runs"),
        ("acquired_at", "timestamp", "Since when (UTC)"),
        (
            "lease_until",
            "timestamp",
            "Until when its owner has to answer who asks for it (UTC); NULL: nobody does, and it is held until then",
        ),
        ("asked_by", "string", "Identity of a process that waits for it"),
        ("asked_until", "timestamp", "Until when that one waits, unless it asks again (UTC)"),
        ("maintained_at", "timestamp", "Not used any more: a property of the table says when it was last tidied up"),
    ),
    keys=("table_name",),
    # Who held a lock last week is nobody's question, and each look at the table reads its log.
    properties={f"delta.{kept}RetentionDuration": "interval 1 day" for kept in ("log", "deletedFile")},
)
