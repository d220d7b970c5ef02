"""Calls: which rows of an inference table are the same one, and under which id ``scores`` keeps it.

Rows of one id, date and content are copies of one call. Rows of one id and date with other contents are other calls:
the first of them keeps the id as the log has it, each of the others gets an id of its own, ``<id>#<hash>``, with 16 hex
digits of its content hash. A row whose id was made from a hash (``hash:…``) has an id of its own already.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyspark.sql import Window
from pyspark.sql import functions as F

from metrics.hashes import CHECK_CHARS
from metrics.unpack.dialects import HASHED_ID

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

DIGITS = 16
"""Hex digits of the content hash in an id of its own."""

_TAIL = f"concat('#', substr(content_hash, {CHECK_CHARS + 1}, {DIGITS}))"

HAS_OWN_ID = f"coalesce(endswith(request_id, {_TAIL}), false)"
"""SQL: whether a row of ``scores`` is kept under an id of its own."""

LOGGED_ID = f"IF({HAS_OWN_ID}, left(request_id, length(request_id) - {DIGITS + 1}), request_id)"
"""SQL: the id that the log has for a row of ``scores``."""

CALL_ID = (
    f"CASE WHEN startswith(request_id, '{HASHED_ID}') OR {HAS_OWN_ID} THEN request_id "
    f"ELSE coalesce(concat(request_id, {_TAIL}), request_id) END"
)
"""SQL: the id of its own that a call has or would have; the same whichever id it is kept under."""

IS_HASHED_ID = f"startswith(request_id, '{HASHED_ID}')"
"""SQL: whether the id was made from a hash, since the log has none."""

IS_REVERTED = "coalesce(stored_content <> content_hash AND array_contains(earlier_hashes, stored_content), false)"
"""SQL: whether a row of ``with_stored`` has a content that its call had before, and an update has brought back."""

_KEY = f"left(content_hash, {CHECK_CHARS})"


def with_stored(rows: DataFrame, scores: DataFrame) -> DataFrame:
    """Which call of ``scores`` each row is a copy of.

    A stored row whose content is not known (of an older version, or hashed with another key) stands for every content.

    Args:
        rows: Rows with the log's ``request_id``, ``request_date`` and ``content_hash``.
        scores: Rows of ``scores`` on their dates.

    Returns:
        The rows with ``call_id``, ``stored_id`` (the request id in ``scores``; NULL: the call is not there),
        ``stored_content`` (the content hash that it has there) and ``is_taken`` (whether a call is kept under the log's
        id).
    """
    contents = "array_distinct(array_compact(concat(array(content_hash), coalesce(earlier_hashes, array()))))"
    ids = (
        "array_distinct(concat(array(request_id), "
        f"transform({contents}, c -> concat({LOGGED_ID}, '#', substr(c, {CHECK_CHARS + 1}, {DIGITS})))))"
    )
    stored = (
        scores.select(
            "request_date",
            F.col("request_id").alias("id"),
            F.expr(_KEY).alias("key"),
            F.col("content_hash").alias("content"),
            F.expr(f"posexplode({ids})"),
        )
        .groupBy("request_date", "col")
        .agg(F.min(F.struct("pos", "id", "key", "content")).alias("stored"))
    )
    same = stored.select(
        "request_date",
        F.col("col").alias("call_id"),
        F.col("stored.id").alias("same_id"),
        F.col("stored.content").alias("stored_content"),
    )
    of_id = stored.select("request_date", F.col("col").alias("request_id"), F.col("stored").alias("of_id"))
    unknown = F.col("of_id").isNotNull() & ~F.coalesce(F.col("of_id.key") == F.expr(_KEY), F.lit(False))
    return (
        rows.withColumn("call_id", F.expr(CALL_ID))
        .join(same, ["request_date", "call_id"], "left")
        .join(of_id, ["request_date", "request_id"], "left")
        .withColumns(
            {
                "stored_id": F.coalesce("same_id", F.when(unknown, F.col("request_id"))),
                "is_taken": F.col("of_id").isNotNull(),
            }
        )
        .drop("same_id", "of_id")
    )


def with_ids(rows: DataFrame) -> DataFrame:
    """One row per call, under the ``request_id`` that it is to be kept under.

    Args:
        rows: Rows of ``with_stored`` that are not stored yet.
    """
    of_id = Window.partitionBy("request_date", "request_id")
    of_call = Window.partitionBy("request_date", "request_id", "call_id")  # needs no second exchange
    first = (F.col("place") == 1) & ~F.col("is_taken")
    return (
        rows.withColumn("place", F.row_number().over(of_id.orderBy("request_time", "source_row_hash")))
        .withColumn("first_place", F.min("place").over(of_call))
        .where("place = first_place")
        .withColumn("request_id", F.when(first, F.col("request_id")).otherwise(F.col("call_id")))
        .drop("place", "first_place", "call_id", "stored_id", "stored_content", "is_taken")
    )


def with_forgotten(rows: DataFrame, forgotten: DataFrame) -> DataFrame:
    """Which rows ``forget`` removed.

    Args:
        rows: Rows with the log's ``request_id``, ``request_date``, ``content_hash`` and ``source_row_hash``.
        forgotten: Rows of the table ``forgotten``.

    Returns:
        The rows with ``forgotten_key`` (``key_hash`` of what was forgotten; NULL: the row was not) and
        ``is_partly_forgotten`` (whether a call of the row's id and date was forgotten, be it this one or another).
    """
    of_row = forgotten.where("table_name = 'quarantine'").select(
        F.col("key_hash").alias("source_row_hash"), F.lit(True).alias("is_row")
    )
    of_id = forgotten.where("table_name = 'scores'").withColumn("id_hash", F.coalesce("request_id_hash", "key_hash"))
    whole = of_id.where("content_hashes IS NULL").select("id_hash", F.lit(True).alias("is_whole")).distinct()
    calls = of_id.select("request_date", "id_hash", "key_hash", F.explode("content_hashes").alias("content_hash"))
    same = calls.groupBy("id_hash", "content_hash").agg(F.min("key_hash").alias("call_key"))
    others = calls.groupBy("request_date", "id_hash").agg(F.collect_set(F.expr(_KEY)).alias("keys"))
    is_unknown = F.expr(f"exists(keys, key -> key <> {_KEY})")  # hashed with another key: it may be this one
    found = rows.withColumn("id_hash", F.sha2("request_id", 256))
    for one, on in (
        (of_row.distinct(), ["source_row_hash"]),
        (whole, ["id_hash"]),
        (same, ["id_hash", "content_hash"]),
        (others, ["request_date", "id_hash"]),
    ):
        found = found.join(F.broadcast(one), on, "left")
    key = (
        F.when(F.col("is_row"), F.col("source_row_hash"))
        .when(F.col("call_key").isNotNull(), F.col("call_key"))
        .when(F.col("is_whole") | is_unknown, F.col("id_hash"))
    )
    added = {"forgotten_key": key, "is_partly_forgotten": F.col("keys").isNotNull()}
    return found.withColumns(added).drop("id_hash", "is_row", "is_whole", "call_key", "keys")
