"""``locks``: who is at work on a table, or runs a hop; one writer at a time."""

from __future__ import annotations

from schemas import Table, columns

LOCKS = Table(
    name="locks",
    comment="Who writes a table now, or runs a hop. A lock whose owner is NULL or whose lease is over is free.",
    columns=columns(
        ("table_name", "string", "Table that is written, or hop (score_responses, aggregate_windows) that runs"),
        ("owner", "string", "Identity of the process: machine, process id, start, and a random part; NULL: free"),
        ("host", "string", "Name of its host"),
        ("pid", "bigint", "Its process id"),
        ("command", "string", "What it runs"),
        ("acquired_at", "timestamp", "Since when (UTC)"),
        ("lease_until", "timestamp", "Until when, unless it is renewed (UTC)"),
        ("maintained_at", "timestamp", "When the table was last tidied up, at first when it was first written (UTC)"),
    ),
    keys=("table_name",),
)
