"""``TABLES``: all tables of the monitor. What is done to each of them goes through this list."""

from __future__ import annotations

from schemas import Table
from schemas.batches import BATCHES
from schemas.feedback import FEEDBACK
from schemas.forgotten import FORGOTTEN
from schemas.locks import LOCKS
from schemas.model_versions import MODEL_VERSIONS
from schemas.profile_metrics import PROFILE_METRICS
from schemas.quarantine import QUARANTINE
from schemas.scores import SCORES

TABLES: tuple[Table, ...] = (
    *(SCORES, QUARANTINE, FEEDBACK, BATCHES, PROFILE_METRICS),
    *(MODEL_VERSIONS, FORGOTTEN, LOCKS),
)


def as_markdown() -> str:
    """The columns of all tables, as docs/tables.md lists them."""
    parts = []
    for table in TABLES:
        keys = ", ".join(f"`{key}`" for key in table.keys)
        partition = f"; partitioned by `{table.partition_by}`" if table.partition_by else ""
        rows = [f"| `{c.name}` | {c.type} | {c.comment.replace('|', '/')} |" for c in table.columns]
        head = ["| column | type | what it holds |", "|---|---|---|"]
        parts.append("\n".join([f"### {table.name}", "", f"{table.comment} Key: {keys}{partition}.", "", *head, *rows]))
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    print(as_markdown(), end="")
