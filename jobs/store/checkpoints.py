"""Checkpoints of the score query: which folder is in use, and how far a micro-batch reads."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyspark.errors import AnalysisException

from schemas.errors import WAY_OUT, CheckpointError

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

SCORE_RESPONSES, AGGREGATE_WINDOWS = "score_responses", "aggregate_windows"
"""The hops that stream: the names of their queries, of their locks and of their checkpoints' folders."""


def checkpoint_in_use(spark: SparkSession, base: str, *, new: bool = False) -> str:
    """The checkpoint folder of a query: ``base``, or the newest of ``base-2``, ``base-3``, … that was begun.

    Args:
        spark: Session.
        base: Folder of the first one.
        new: Take the next one, which was not begun yet. The old ones stay as they are: what they read is known by
            their ids in the tables, and nobody has to move files.
    """
    number = 0
    while is_begun(spark, _numbered(base, number + 1)):
        number += 1
    return _numbered(base, number + 1 if new else max(number, 1))


def _numbered(base: str, number: int) -> str:
    return base if number == 1 else f"{base}-{number}"


def is_begun(spark: SparkSession, checkpoint: str) -> bool:
    """Whether a query has written to the folder; ``metadata`` alone can be lost."""
    return any(_is_there(spark, f"{checkpoint}/{name}") for name in ("metadata", "offsets"))


def _is_there(spark: SparkSession, path: str) -> bool:
    try:
        spark.read.text(path)
    except AnalysisException:
        return False
    return True


def check_metadata(spark: SparkSession, checkpoint: str) -> None:
    """Whether a query that was begun can go on from its checkpoint.

    Raises:
        CheckpointError: Its id can't be read.
    """
    try:
        _query_id(spark, checkpoint)
    except AnalysisException:
        pass  # no query was begun
    except (IndexError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{checkpoint}/metadata is cut off or damaged. {WAY_OUT}") from error


def _query_id(spark: SparkSession, checkpoint: str) -> str:
    return str(json.loads(_lines(spark, f"{checkpoint}/metadata")[0])["id"])


@dataclass(frozen=True)
class Planned:
    """What a checkpoint says of a micro-batch; the same when it is run again.

    Args:
        checkpoint_id: The query's id.
        source_version: Newest source version that is read whole with this batch (None: none is yet).
        at: When the batch was planned (UTC).
    """

    checkpoint_id: str
    source_version: int | None
    at: datetime


def read_checkpoint(spark: SparkSession, checkpoint: str, batch_id: int) -> Planned:
    """What a Delta source's checkpoint says of a micro-batch."""
    query = _query_id(spark, checkpoint)
    _, about, *_ = lines = _lines(spark, f"{checkpoint}/offsets/{batch_id}")
    version, in_snapshot = _offset(lines)
    at = datetime.fromtimestamp(json.loads(about)["batchTimestampMs"] / 1000, UTC)
    return Planned(query, None if in_snapshot or version == 0 else version - 1, at)


def begun_version(spark: SparkSession, checkpoint: str, batch_id: int) -> int:
    """The version after which whatever changes the source's rows is still to be met after a micro-batch."""
    version, in_snapshot = _offset(_lines(spark, f"{checkpoint}/offsets/{batch_id}"))
    return version if in_snapshot else version - 1


def version_read(progress: Mapping[str, Any] | None) -> int | None:
    """The version of a Delta source that a query has read whole, by its last progress; None: that doesn't say."""
    if not progress:
        return None
    version, in_snapshot = _offset([str(progress["sources"][0]["endOffset"])])
    return None if in_snapshot else version - 1


def _offset(lines: Sequence[str]) -> tuple[int, bool]:
    """The version that a micro-batch ends before or in, and whether that is a first snapshot not yet read whole.

    ``lines`` are those of its file of offsets.
    """
    offset = json.loads(lines[-1])
    # (v, negative index) is "before v": all of v - 1.
    return offset["reservoirVersion"], offset["index"] >= 0 and offset.get("isStartingVersion", False)


def _lines(spark: SparkSession, path: str) -> list[str]:
    """Lines of a file; of a mounted file system without a Spark job."""
    mounted = path.removeprefix("file:")
    if not re.match(r"^[a-zA-Z][\w+.-]*:", mounted):
        with suppress(OSError):
            return Path(mounted).read_text(encoding="utf-8").splitlines()
    return [row[0] for row in spark.read.text(path).collect()]
