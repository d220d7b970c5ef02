"""Updates: what a row of the inference table was before, by the change feed of one batch."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from itertools import groupby
from typing import Any

import pyarrow as pa  # type: ignore[import-untyped]

INSERT, BEFORE, AFTER = "insert", "update_preimage", "update_postimage"
"""Delta's change types."""

CONTENTS = (
    "request_date date, request_id string, content_hash string, earlier_hashes array<string>, is_replaced boolean"
)
"""Columns of ``contents_of_id``."""

_SCHEMA = pa.schema(
    [
        ("request_date", pa.date32()),
        ("request_id", pa.string()),
        ("content_hash", pa.string()),
        ("earlier_hashes", pa.list_(pa.string())),
        ("is_replaced", pa.bool_()),
    ]
)


def contents_of_id(rows: pa.Table) -> pa.Table:
    """``earlier_contents`` of the rows of one id and date, for ``applyInArrow``."""
    changes = rows.to_pylist()
    of_id = {name: changes[0][name] for name in ("request_date", "request_id")}
    calls = [
        of_id | {"content_hash": content, "earlier_hashes": earlier or None, "is_replaced": earlier is None}
        for content, earlier in earlier_contents(changes).items()
    ]
    return pa.Table.from_pylist(calls, _SCHEMA)


def earlier_contents(changes: Collection[Mapping[str, Any]]) -> dict[str, list[str] | None]:
    """What becomes of the contents that one id has on one date.

    The feed does not say which row after an update belongs to which one before. Rows that a commit leaves as they were
    are set aside; the others are paired in the order of their times. A row that can't be scored is nothing that another
    was before, or becomes.

    Args:
        changes: Rows of the change feed: ``_change_type``, ``_commit_version``, ``content_hash``, ``request_time``,
            ``source_row_hash`` and ``is_readable``.

    Returns:
        By content hash of a row that was inserted, or is the result of an update: the contents that the row had before,
        the oldest first; None for a content that a later update has replaced.
    """
    contents: dict[str, list[str] | None] = {}
    unreadable = {row["content_hash"] for row in changes if not row["is_readable"]}
    for _, commit in groupby(sorted(changes, key=_version), key=_version):
        rows = sorted(commit, key=lambda row: (row["request_time"], row["source_row_hash"]))
        inserted, before, after = (
            [row["content_hash"] for row in rows if row["_change_type"] == kind] for kind in (INSERT, BEFORE, AFTER)
        )
        same = set(before) & set(after)
        pairs = zip(
            *([content for content in side if content not in same] for side in (before, after)),
            strict=False,  # one whose id or date was updated has its other half elsewhere
        )
        moved = [(new, [*(contents.get(old) or ()), old]) for old, new in pairs if unreadable.isdisjoint((old, new))]
        contents |= {path[-1]: None for _, path in moved if path[-1] in contents}
        now = (content for content in (*inserted, *after) if content not in unreadable)
        contents |= {content: contents.get(content) or [] for content in now}
        for new, path in moved:
            known = contents[new] or []
            contents[new] = [content for content in dict.fromkeys([*known, *path]) if content != new]
    return contents


def _version(row: Mapping[str, Any]) -> int:
    version: int = row["_commit_version"]
    return version
