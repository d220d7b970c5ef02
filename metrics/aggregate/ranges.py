"""Any range of time out of stored windows: which windows tile it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from pyspark.sql import functions as F

from schemas.config import duration_seconds
from schemas.profile_metrics import WHOLE_ONLY_SECONDS

if TYPE_CHECKING:
    from pyspark.sql import Column

LONG_SECONDS = 3600
"""Windows above this length are merged from shorter ones: of a day's rows few are new."""


@dataclass(frozen=True)
class Tile:
    """A part of a range that windows of one length fill without a rest; epoch seconds."""

    granularity: str
    since: int
    until: int


def tiles(since: datetime, until: datetime, granularities: Sequence[str]) -> list[Tile]:
    """The range as few windows as possible: long ones inside, short ones at its ends.

    Args:
        since: Begin.
        until: End, not included.
        granularities: Lengths of the windows that are stored.

    Raises:
        ValueError: No windows end where the range begins or ends.
    """
    lengths = sorted(granularities, key=duration_seconds, reverse=True)
    found = _cover(int(since.timestamp()), int(until.timestamp()), lengths)
    if found is None or since.microsecond or until.microsecond:
        raise ValueError(f"must begin and end with windows, the shortest of which are of {lengths[-1]}")
    return found


def _cover(since: int, until: int, lengths: Sequence[str]) -> list[Tile] | None:
    if since >= until:
        return []
    for i, granularity in enumerate(lengths):
        seconds = duration_seconds(granularity)
        first, last = -(-since // seconds) * seconds, until // seconds * seconds
        if first < last:
            before, after = _cover(since, first, lengths[i + 1 :]), _cover(last, until, lengths[i + 1 :])
            if before is not None and after is not None:
                return [*before, Tile(granularity, first, last), *after]
    return None


def within(chosen: Sequence[Tile]) -> Column:
    """Whether a row of ``profile_metrics`` is one of the tiles' windows; dates as literals prune files."""
    condition = F.lit(False)
    for one in chosen:
        first, last = (datetime.fromtimestamp(at, UTC) for at in (one.since, one.until - 1))
        start = F.col("window.start")
        condition = condition | (
            (F.col("granularity") == one.granularity)
            & F.col("window_date").between(F.lit(first.date()), F.lit(last.date()))
            & (start >= F.timestamp_seconds(F.lit(one.since)))
            & (start < F.timestamp_seconds(F.lit(one.until)))
        )
    return condition


def window_start(epoch: Column, seconds: int) -> Column:
    """Begin of the window of so many seconds that a time falls into; both in seconds of the UTC epoch."""
    return F.floor(epoch / seconds).cast("bigint") * seconds


def is_long(granularity: str) -> bool:
    """Whether such windows are above ``LONG_SECONDS``."""
    return duration_seconds(granularity) > LONG_SECONDS


def part_of_long(granularities: Sequence[str]) -> str | None:
    """The longest windows, slices included, that all long ones can be merged from; None: those come from rows."""
    longer = [duration_seconds(one) for one in granularities if is_long(one)]
    parts = [one for one in granularities if not is_long(one) and duration_seconds(one) > WHOLE_ONLY_SECONDS]
    part = max(parts, key=duration_seconds, default=None)
    return part if part and longer and all(seconds % duration_seconds(part) == 0 for seconds in longer) else None


def from_rows(granularities: Sequence[str]) -> list[str]:
    """The windows that are made from rows; the others are merged from those of ``part_of_long``."""
    return [one for one in granularities if not is_long(one) or part_of_long(granularities) is None]
