"""Forget: removes a person's rows from every table of the monitor.

    inference-metrics forget --config conf/local.yaml --request-id 5a1f… [--request-id …]
    inference-metrics forget --config conf/local.yaml --end-user jane@example.com

An end user is who the payload names (``user``, ``context.user_id``), or who called the endpoint. Where a broken payload
names somebody, nobody can tell: with text.store none its row holds no text; else look into ``quarantine`` yourself.
Ratings (``feedback``) go with the request that they rate, and with whom has given them. Rows of ``scores``,
``quarantine`` and ``feedback`` are deleted, and ``forgotten`` keeps a hash of their ids, so that reading the source
again does not bring them back. Windows keep counting them; they hold no text and no ids. The tables' old files
hold the rows until the next VACUUM after ``delta.deletedFileRetentionDuration`` (a week by default). The inference
table is not the monitor's: remove the rows there, too.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from pyspark.sql import functions as F

from jobs.command.call import Call, command
from jobs.command.errors import OK
from jobs.scoring.batch import create_tables
from jobs.scoring.ledger import forgotten_ids
from jobs.store.locks import Locks
from jobs.store.tables import delete_rows, insert_new, kept, local_frame, merge, read_table, retried
from metrics.calls import IS_HASHED_ID, LOGGED_ID
from metrics.hashes import keyed_hash
from schemas.config import Config
from schemas.feedback import FEEDBACK
from schemas.forgotten import FORGOTTEN
from schemas.quarantine import QUARANTINE
from schemas.scores import SCORES

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame, SparkSession

CALL_KEYS = {"request_id_hash": "string", "content_hashes": "array<string>"}
"""Columns of ``forgotten`` that only rows of ``scores`` have."""

OLD_FILES = "old files hold them until VACUUM, windows keep counting them, and the inference table is yours to clear"


def forget(
    spark: SparkSession, config: Config, *, request_ids: Sequence[str] = (), end_users: Sequence[str] = ()
) -> dict[str, int]:
    """Delete what the tables hold of some requests, or of some end users. Safe to repeat at any point.

    Args:
        spark: Session.
        config: Settings; hashes of end users are made with their key.
        request_ids: As the log has them; all calls that share one go. Ids that are not in the tables yet will not get
            there.
        end_users: As the payloads or the log (``requester``) name them, or their hash in ``scores``.

    Returns:
        Rows deleted, by table.
    """
    create_tables(spark, config)
    hashes = [hash_ for user in end_users for hash_ in (user, keyed_hash(user, config.text.secret()))]
    users = F.col("end_user_hash").isin(hashes) | F.col("requester_hash").isin(hashes)
    own = F.coalesce(F.col("request_id").isin(list(request_ids)) | users, F.lit(False))
    wanted = {QUARANTINE.name: own, SCORES.name: own | F.expr(LOGGED_ID).isin(list(request_ids))}
    # What identifies a row, and its date; before the rows go, so that a crash in between loses nothing of it.
    met = (
        (SCORES, F.sha2("request_id", 256), F.col("request_date")),
        (QUARANTINE, F.col("source_row_hash"), F.lit(None).cast("date")),
    )
    deleted = {}
    for table, key_hash, date in met:
        rows = read_table(spark, table, config.output).where(wanted[table.name])
        deleted[table.name] = rows.count()
        keys = {"key_hash": key_hash, "request_date": date, **_call_keys(rows)}
        if table is QUARANTINE:  # whose ratings go, too
            keys["request_id_hash"] = F.sha2("request_id", 256)
        _remember(rows.withColumns(keys), config, table=table.name)
    # By their ids alone, whatever is in the rows: also requests that are not there yet.
    ids = local_frame(spark, [{"request_id": one} for one in request_ids], "request_id string")
    empty = {c.name: F.lit(None).cast(c.type) for c in FORGOTTEN.columns[2:-1]}
    _remember(ids.withColumns({"key_hash": F.sha2("request_id", 256), **empty}), config, table=SCORES.name)
    deleted[FEEDBACK.name] = _forget_ratings(spark, config, F.col("source_hash").isin(hashes))
    for table, *_ in met:
        if deleted[table.name]:
            delete_rows(spark, table, config.output, wanted[table.name])
    return deleted


def _forget_ratings(spark: SparkSession, config: Config, given: Column) -> int:
    """Delete the ratings that somebody has given, and those of forgotten requests; how many these are."""
    of_id = forgotten_ids(read_table(spark, FORGOTTEN, config.output))
    ratings = read_table(spark, FEEDBACK, config.output).withColumn("id_hash", F.sha2("request_id", 256))
    of_request = ratings.join(F.broadcast(of_id), "id_hash", "left_semi")
    with kept(ratings.where(given).unionByName(of_request).distinct()) as rows:
        count = rows.count()
        if count:
            keys = {"key_hash": F.col("feedback_id"), "request_time": F.col("feedback_time"), **_call_keys(rows)}
            _remember(rows.withColumns(keys | {"request_date": F.lit(None).cast("date")}), config, table=FEEDBACK.name)
            retried(lambda: merge(rows, FEEDBACK, config.output).whenMatchedDelete().execute())
    return count


def _call_keys(rows: DataFrame) -> dict[str, Column]:
    """What tells a call of ``scores`` from others of its id: the others may be other people's, and are read on."""
    if "content_hash" not in rows.columns:
        return {name: F.lit(None).cast(kind) for name, kind in CALL_KEYS.items()}
    contents = F.expr("concat(array(content_hash), coalesce(earlier_hashes, array()))")
    one_call = F.col("content_hash").isNotNull() & ~F.expr(IS_HASHED_ID)
    return dict(zip(CALL_KEYS, (F.sha2(F.expr(LOGGED_ID), 256), F.when(one_call, contents)), strict=True))


def _remember(rows: DataFrame, config: Config, *, table: str) -> None:
    """Put what identifies the rows into ``forgotten``; exchanges of one request are one."""
    keys = rows.select(F.lit(table).alias("table_name"), *FORGOTTEN.column_names[1:-1]).distinct()
    insert_new(keys.withColumn("forgotten_at", F.lit(datetime.now(UTC))), FORGOTTEN, config.output)


def _arguments(parser: argparse.ArgumentParser) -> None:
    who = parser.add_mutually_exclusive_group(required=True)
    who.add_argument("--request-id", action="append", default=[], help="id of a request, as the log has it; repeatable")
    who.add_argument("--end-user", action="append", default=[], help="a user, as the payloads name them; repeatable")


def _work(call: Call) -> int:
    config, spark = call.config, call.spark
    with Locks(spark, config.output, call.name).step(SCORES.name):
        deleted = forget(spark, config, request_ids=call.options.request_id, end_users=call.options.end_user)
    print(", ".join(f"{count:,} rows of {table}" for table, count in deleted.items()) + f" deleted; {OLD_FILES}")
    return OK


main = command(__doc__, _work, _arguments)


if __name__ == "__main__":
    sys.exit(main())
