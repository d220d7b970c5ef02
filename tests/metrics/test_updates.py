"""Which contents the rows of one id had before, by the change feed of a batch."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from metrics.updates import AFTER, BEFORE, INSERT, earlier_contents

KINDS = {"+": INSERT, "-": BEFORE, "=": AFTER}


def change(text: str) -> dict[str, Any]:
    """``2=a9!``: in version 2, after an update, content a, nine minutes after midnight, unreadable."""
    return {
        "_commit_version": int(text[0]),
        "_change_type": KINDS[text[1]],
        "content_hash": text[2],
        "source_row_hash": text[2],
        "request_time": datetime(2026, 4, 1, 0, int(text[3:].rstrip("!") or 0), tzinfo=UTC),
        "is_readable": not text.endswith("!"),
    }


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ("2-a 2=b", {"b": ["a"]}),
        ("1+a 2-a 2=b", {"a": None, "b": ["a"]}),
        ("3-b 3=c 2-a 2=b", {"b": None, "c": ["a", "b"]}),  # in whatever order they are read
        ("2-a 2=a", {"a": []}),
        ("2-a 2=b 3-b 3=a", {"a": ["b"], "b": None}),
        ("2-a1 2-b2 2=d2 2=c1", {"c": ["a"], "d": ["b"]}),  # two rows with one id, by their times
        ("2-a 2-b 2=b 2=c", {"b": [], "c": ["a"]}),
        ("1+a 1+a 2-a 2=b 3-a 3=b", {"a": None, "b": ["a"]}),  # copies
        ("1+a 2-a 2=b 3+a", {"a": [], "b": ["a"]}),
        ("2-a! 2=b", {"b": []}),
        ("1+a 2-a 2=b!", {"a": []}),
        ("1+a 2-a 2=b! 3-b! 3=c", {"a": [], "c": []}),
        ("2-a1 2-b2 2=c1! 2=d2", {"d": ["b"]}),
        ("2-a", {}),  # its date or id was updated: the other half is elsewhere
        ("2=b", {"b": []}),
    ],
)
def test_what_contents_were_before(changes: str, expected: dict[str, list[str] | None]) -> None:
    assert earlier_contents([change(one) for one in changes.split()]) == expected
