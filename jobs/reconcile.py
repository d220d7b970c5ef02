"""Reconcile: proves that every source row is accounted for, and that every window is what ``scores`` says.

    inference-metrics reconcile --config conf/local.yaml [--json]

Prints the account, and exits 1 with the request ids in question when it doesn't balance:

    rows      each row of the source is one of scored, quarantined, duplicate, skipped (no traffic) and forgotten, by
              day and in all; a batched call has all its exchanges, and ratings are in feedback
    batches   the ledger: what each batch says that it read and wrote is in the tables, also after kills
    windows   profile_metrics equals a full recomputation from scores (sums and means within 1e-9 relative); windows
              that hold rows that were forgotten since are left as they were

Dates that retention has purged are left out, but for the ledger, which knows how many rows went.
The source is looked at as of the version that the score query has read whole. Where batches of the checkpoint in use
are from before there was a table of ratings, as many rows with ratings as they skipped may be in no table.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from pyspark.sql import Window
from pyspark.sql import functions as F

from jobs.aggregate_windows import window_figures
from jobs.ledger import forgotten_ids, held_of_batches, purged, purged_until
from jobs.runtime import FAILED, OK, parser, read_config, run, spark_session
from jobs.score_responses import unpack_rows
from jobs.source import common_rows, first_version, read_source
from jobs.source_changes import SkippedVersion, skipped_versions
from jobs.tables import create_table, read_table, table_exists
from metrics.aggregate.windows import holding
from metrics.calls import with_forgotten, with_stored
from metrics.unpack.dialects import HASHED_ID
from schemas.batches import BATCHES
from schemas.config import Config
from schemas.errors import SourceError
from schemas.feedback import FEEDBACK
from schemas.forgotten import FORGOTTEN
from schemas.profile_metrics import PROFILE_METRICS
from schemas.quarantine import QUARANTINE
from schemas.scores import SCORES

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame, SparkSession

TOLERANCE = 1e-9
EXAMPLES = 20
UNRATED = "unrated"
"""Fate of feedback whose ratings are not all in the table: missing, unless older batches may have skipped it."""

FATES = ("scored", "quarantined", "duplicate", "skipped", "forgotten")
LEDGER = ("rows_read", "rows_scored", "rows_quarantined", "rows_duplicate", "rows_skipped")


@dataclass
class Account:
    """What ``reconcile`` found. Rows are source rows; ``problems`` is empty when everything balances.

    Attributes:
        source_version: Version of the source that was looked at.
        rows: Rows of the source, and how many of them had each fate; ``missing`` rows had none. Then what is no error
            and worth a look: how many of the skipped are feedback, ids that occur on two dates, and ids that were made
            from a hash since the log has none.
        days: The same by UTC date (``none``: rows without a time).
        batches: Sums over the batches of the checkpoint in use.
        ratings_not_taken: Rows whose ratings are in no table, since batches of before there was one have skipped them.
        windows: Windows, and those of them that are not checked, since rows in them were forgotten.
        skipped_versions: Versions of the source that ``on_source_change: skip`` left out.
        problems: What does not balance, with request ids.
    """

    source_version: int | None = None
    rows: dict[str, int] = field(default_factory=dict)
    days: dict[str, dict[str, int]] = field(default_factory=dict)
    batches: dict[str, int] = field(default_factory=dict)
    ratings_not_taken: int = 0
    windows: dict[str, int] = field(default_factory=dict)
    skipped_versions: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def reconcile(spark: SparkSession, config: Config) -> Account:
    """Check the ledger, the source's rows and the windows."""
    account = Account()
    for table in (FORGOTTEN, FEEDBACK, BATCHES):
        if table is not BATCHES or table_exists(spark, table, config.output):
            create_table(spark, table, config.output)
    if _check_ledger(spark, config, account):
        _check_rows(spark, config, account)
    if table_exists(spark, PROFILE_METRICS, config.output):
        _check_windows(spark, config, account)
    return account


def _check_ledger(spark: SparkSession, config: Config, account: Account) -> bool:
    """Check ``batches`` by itself and against the tables; whether there is a version of the source to go on with."""
    output, ids = config.output, ["checkpoint_id", "batch_id"]
    batches = read_table(spark, BATCHES, output)
    newest = batches.orderBy(F.desc("finished_at")).first()
    if newest is None:
        account.problems.append("no batch was written yet")
        return False
    in_use = batches.where(F.col("checkpoint_id") == newest["checkpoint_id"])
    sums = in_use.agg(
        F.max("source_version").alias("version"),
        *(F.sum(name).alias(name) for name in (*LEDGER, "rows_feedback")),
        F.expr("coalesce(sum(rows_skipped - coalesce(rows_expired, 0)) FILTER (WHERE rows_feedback IS NULL), 0)").alias(
            "not_taken"
        ),
    ).collect()[0]
    account.source_version = sums["version"]
    account.batches = {name: sums[name] for name in LEDGER} | {"rows_feedback": sums["rows_feedback"] or 0}
    account.ratings_not_taken = sums["not_taken"]
    skipped = batches.select(F.explode("skipped_versions").alias("one")).select("one.*").distinct().orderBy("version")
    account.skipped_versions = [str(SkippedVersion(*row)) for row in skipped.collect()]

    both = batches.join(held_of_batches(spark, config), ids, "full").select(
        *ids,
        *LEDGER,
        *(
            F.expr(f"coalesce(in_{name}, 0) + {purged(name)}").alias(f"in_{name}")
            for name in (SCORES.name, QUARANTINE.name)
        ),
    )
    adds_up = "rows_read = rows_scored + rows_quarantined + rows_duplicate + rows_skipped"
    some = " AND ".join(f"{name} >= 0" for name in LEDGER)
    balanced = f"{some} AND {adds_up} AND rows_scored = in_scores AND rows_quarantined = in_quarantine"
    for row in both.where(f"NOT coalesce({balanced}, false)").orderBy(*ids).limit(EXAMPLES).collect():
        account.problems.append(_ledger_problem(row))
    if account.source_version is None:
        account.problems.append("the source's first snapshot is still being read; the rows can't be checked yet")
    return account.source_version is not None


def _ledger_problem(row: Any) -> str:
    name = f"batch {row['batch_id']} of checkpoint {row['checkpoint_id']}"
    if row["rows_read"] is None:
        return f"{name} is not in batches, but wrote rows: it was cut off; the next run of the monitor completes it"
    told = ", ".join(f"{column} {row[column]}" for column in LEDGER)
    held = f"scores holds {row['in_scores']} of its rows, quarantine {row['in_quarantine']}"
    return f"{name} does not balance: batches says {told}; {held}"


def _check_rows(spark: SparkSession, config: Config, account: Account) -> None:
    assert account.source_version is not None
    fates = _with_fates(spark, config, account.source_version)
    horizon = purged_until(spark, config)
    expired = 0
    if horizon is not None:
        is_expired = F.coalesce(F.col("request_date") < F.lit(horizon), F.lit(False))
        expired, fates = fates.where(is_expired).count(), fates.where(~is_expired)
    by_day: dict[str, dict[str, int]] = {}
    # Of a batched call one person's exchange may be forgotten, and the others there.
    short = F.expr("fate = 'scored' AND coalesce(exchanges > in_scores, false) AND forgotten_key IS NULL")
    counts = fates.groupBy("request_date", "fate", "is_feedback", short.alias("short")).count().collect()
    unrated = sum(row["count"] for row in counts if row["fate"] == UNRATED)
    lost, feedback = "missing", 0
    if unrated <= account.ratings_not_taken:
        lost, fates = "skipped", fates.where(F.col("fate") != UNRATED)
    account.ratings_not_taken = unrated if lost == "skipped" else 0
    for on, found, is_feedback, _, count in sorted(counts, key=lambda row: (row[0] is None, row[0])):
        fate = lost if found == UNRATED else found
        day = by_day.setdefault("none" if on is None else on.isoformat(), dict.fromkeys((*FATES, "missing"), 0))
        day[fate] += count
        feedback += count if is_feedback and fate == "skipped" else 0
    account.days = {day: {"source_rows": sum(fates.values()), **fates} for day, fates in by_day.items()}
    names = ("source_rows", *FATES, "missing")
    account.rows = {name: sum(day[name] for day in account.days.values()) for name in names}
    account.rows["skipped_feedback"] = feedback
    if expired:
        account.rows["past_retention"] = expired
    # Each of these reads and unpacks the source once more.
    if account.rows["missing"]:
        _report(fates.where(F.col("fate").isin("missing", UNRATED)), "in the source, and in no table", account)
    if any(row["short"] for row in counts):
        _report(fates.where(short), "in scores with fewer exchanges than the request has", account)
    if account.rows["missing"] and account.skipped_versions:
        account.problems.append(
            f"on_source_change: skip left out {', '.join(account.skipped_versions)}; "
            "--new-checkpoint reads what they inserted or updated"
        )
    whole = config.source.starting_version is None and config.source.starting_timestamp is None
    if config.source.on_source_change == "fail" and whole:
        # Batches that read on into the next version counted rows beyond the last whole one.
        read, then, now = (
            account.batches["rows_read"],
            account.rows["source_rows"] + expired,
            read_source(spark, config).count(),
        )
        # Rows that were removed since then are no longer among those of now.
        rewritten = read > now and skipped_versions(spark, config, after=account.source_version, until=2**62)
        if read < then or (read > now and not rewritten):
            account.problems.append(
                f"batches: {read} rows read, but the source has {then} in version {account.source_version}, "
                f"and {now} now"
            )
        elif read == then and not expired and not account.rows["missing"] and _one_checkpoint(spark, config):
            _compare_fates(account)
    scores = read_table(spark, SCORES, config.output)
    # Two rows by definition, since the key has the date; worth a look, and no error.
    dates_of_id = scores.groupBy("request_id").agg(F.count_distinct("request_date").alias("n"))
    account.rows["ids_on_two_dates"] = dates_of_id.where("n > 1").count()
    account.rows["ids_from_hash"] = scores.where(F.col("request_id").startswith(HASHED_ID)).count()
    _report(scores.groupBy(*SCORES.keys).count().where("count > 1"), "in scores more than once", account)


def _one_checkpoint(spark: SparkSession, config: Config) -> bool:
    """Whether the source was read once: what a second checkpoint reads again is a duplicate to it."""
    return read_table(spark, BATCHES, config.output).select("checkpoint_id").distinct().count() == 1


def _compare_fates(account: Account) -> None:
    """What ``batches`` says became of the rows, against what the tables say of each."""
    told = account.batches
    kept = account.rows["scored"] + account.rows["quarantined"] + account.rows["forgotten"]
    pairs = {
        "scored or quarantined": (told["rows_scored"] + told["rows_quarantined"], kept),
        "duplicate": (told["rows_duplicate"], account.rows["duplicate"]),
        "skipped": (told["rows_skipped"], account.rows["skipped"]),
    }
    for fate, (said, found) in pairs.items():
        if said != found:
            account.problems.append(f"batches says that {said} rows were {fate}, the rows say {found}")


def _with_fates(spark: SparkSession, config: Config, version: int) -> DataFrame:
    """Rows of a version of the source with their ``fate``, which the tables alone decide."""
    output = config.output
    key = ["request_date", "request_id"]
    scores = read_table(spark, SCORES, output)
    exchanges = scores.groupBy("request_date", F.col("request_id").alias("stored_id")).agg(
        F.count("*").alias("in_scores")
    )
    quarantine = read_table(spark, QUARANTINE, output).select("source_row_hash", F.lit(True).alias("in_quarantine"))
    source = common_rows(read_source(spark, config, version=version), config)
    first = first_version(spark, config)
    if first:
        try:
            before = common_rows(read_source(spark, config, version=first - 1), config).select("source_row_hash")
            source = source.join(before, "source_row_hash", "left_anti")
        except SourceError:
            pass  # that version's files are gone; its rows are reported as missing
    now = datetime.now(UTC)
    too_old = config.retention.horizon("scores", now.date())
    of_ids = forgotten_ids(read_table(spark, FORGOTTEN, output))
    gone = F.broadcast(of_ids.agg(F.collect_set("id_hash").alias("gone")))
    unpacked = unpack_rows(source, config, now=now).crossJoin(gone)
    unpacked = unpacked.select(
        *key,
        (F.lit(False) if too_old is None else F.col("request_date") < F.lit(too_old)).alias("too_old"),
        "source_row_hash",
        "content_hash",
        F.array_size("exchanges").alias("exchanges"),
        F.col("feedback").isNotNull().alias("is_feedback"),
        F.expr(RATINGS).alias("ratings"),
    )
    found = (
        with_forgotten(with_stored(unpacked, scores), read_table(spark, FORGOTTEN, output))
        .join(exchanges, ["request_date", "stored_id"], "left")
        .join(_ratings_held(spark, config), "source_row_hash", "left")
        .join(quarantine, "source_row_hash", "left")
        .withColumn("unrated", F.expr("size(array_except(ratings, coalesce(held, array()))) > 0"))
        .withColumn(
            "place",
            F.when(F.col("in_quarantine"), "quarantined")
            .when(F.expr("is_feedback AND unrated AND forgotten_key IS NULL AND NOT coalesce(too_old, false)"), UNRATED)
            .when(F.col("is_feedback"), "skipped")
            .when(F.col("stored_id").isNotNull(), "scored")
            .when(F.col("forgotten_key").isNotNull(), "forgotten")
            .when(F.col("too_old"), "skipped")
            .otherwise("missing"),
        )
        .withColumn(
            "same",
            F.when(F.col("place") == "quarantined", F.col("source_row_hash")).otherwise(
                F.coalesce("stored_id", "forgotten_key")
            ),
        )
    )
    copies = Window.partitionBy("place", "same", "request_date")
    return found.withColumns(
        {
            "copy": F.row_number().over(copies.orderBy("source_row_hash")),
            "exchanges": F.min("exchanges").over(copies),
        }
    ).withColumn(
        "fate",
        F.when((F.col("copy") > 1) & F.col("place").isin("scored", "quarantined", "forgotten"), "duplicate").otherwise(
            F.col("place")
        ),
    )


RATINGS = """transform(
    filter(
        transform(
            feedback, (one, at) -> struct(concat_ws('-', source_row_hash, at) AS id, sha2(one.request_id, 256) AS of)
        ),
        one -> NOT coalesce(array_contains(gone, one.of), false)
    ),
    one -> one.id
)"""
"""SQL: the ids of a row's ratings, but for those of requests that were forgotten."""


def _ratings_held(spark: SparkSession, config: Config) -> DataFrame:
    """The ids of ratings that are in the table or were forgotten, by their source row."""
    forgotten = read_table(spark, FORGOTTEN, config.output).where("table_name = 'feedback'")
    ids = read_table(spark, FEEDBACK, config.output).select("feedback_id")
    ids = ids.union(forgotten.select("key_hash"))
    row = F.substring_index("feedback_id", "-", 1).alias("source_row_hash")
    return ids.groupBy(row).agg(F.collect_set("feedback_id").alias("held"))


def _report(rows: DataFrame, what: str, account: Account, column: str = "request_id") -> None:
    found = [row[0] for row in rows.select(column).limit(EXAMPLES).collect()]
    if found:
        more = "" if len(found) < EXAMPLES else ", …"
        account.problems.append(f"{what}: {', '.join(map(str, found))}{more}")


def _check_windows(spark: SparkSession, config: Config, account: Account) -> None:
    keys = ", ".join(key.replace("window.start", "start") for key in PROFILE_METRICS.keys)
    stored = read_table(spark, PROFILE_METRICS, config.output).withColumn("start", F.col("window.start")).alias("t")
    expected = window_figures(spark, config).withColumn("start", F.col("window.start")).alias("s")
    if (horizon := purged_until(spark, config)) is not None:
        stored, expected = (windows.where(F.col("window_date") >= F.lit(horizon)) for windows in (stored, expected))
    same_key = F.expr(" AND ".join(f"t.{key} <=> s.{key}" for key in keys.split(", ")))
    both = stored.join(expected, same_key, "full_outer")
    figures = ("count", "num_nulls", "avg", "stddev", "min", "max", "sum", "weighted_count", "weighted_avg")
    sums = ("sum_wx", "sum_w2", "sum_w2x", "sum_w2x2")
    differs = F.lit(False)
    for name in (*figures, *sums):
        differs = differs | ~_equal(F.col(f"t.{name}"), F.col(f"s.{name}"))
    wrong = both.where(F.col("t.column_name").isNull() | F.col("s.column_name").isNull() | differs)
    # Frozen is what is no longer in ``scores``.
    wrong = wrong.where(F.col("s.column_name").isNotNull() | F.expr("NOT coalesce(t.is_frozen, false)"))
    names = ("granularity", "start", "model_version", "column_name")
    wrong = wrong.select(*(F.coalesce(f"t.{c}", f"s.{c}").alias(c) for c in names))
    exempt = holding(stored, read_table(spark, FORGOTTEN, config.output).where("table_name = 'scores'"))
    wrong = wrong.join(exempt, ["granularity", "start"], "left_anti").select(F.concat_ws(" ", *names).alias("window"))
    left = stored.join(exempt, ["granularity", "start"], "left_semi").count()
    account.windows = {"windows": stored.count(), "windows_forgotten": left}
    _report(wrong, "windows that differ from a recomputation", account, "window")


def _equal(stored: Column, expected: Column) -> Column:
    a, b = stored.cast("double"), expected.cast("double")
    close = F.abs(a - b) <= TOLERANCE * F.greatest(F.abs(a), F.abs(b), F.lit(1.0))
    return F.coalesce(close, a.eqNullSafe(b))


def show(account: Account) -> str:
    """The account as tables to read."""
    lines = []
    if account.days:
        names = [name for name in ("source_rows", *FATES, "missing") if name in FATES[:4] or account.rows[name]]
        lines.append(_line("day", names))
        lines += [_line(day, [f"{counts[name]:,}" for name in names]) for day, counts in account.days.items()]
        lines += [_line("all", [f"{account.rows[name]:,}" for name in names]), ""]
    notes = {name: count for name, count in account.rows.items() if name.startswith(("skipped_", "ids_", "past_"))}
    lines += [f"{name:<20}{value:>12,}" for name, value in {**account.batches, **notes, **account.windows}.items()]
    if account.ratings_not_taken:
        lines.append(
            f"skipped before there was a table of ratings, --new-checkpoint reads them: {account.ratings_not_taken}"
        )
    lines += [f"left out by on_source_change: skip: {one}" for one in account.skipped_versions]
    lines += [f"problem: {problem}" for problem in account.problems] or ["everything balances"]
    return "\n".join(lines)


def _line(name: str, cells: Sequence[str]) -> str:
    return f"{name:<12}" + "".join(f"{cell:>13}" for cell in cells)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    arguments = parser("reconcile", __doc__ or "")
    arguments.add_argument("--json", action="store_true", help="print the account as JSON")
    options = arguments.parse_args(argv)

    def command() -> int:
        config = read_config(options)
        account = reconcile(spark_session("reconcile"), config)
        print(json.dumps(asdict(account)) if options.json else show(account))
        return FAILED if account.problems else OK

    return run(command)


if __name__ == "__main__":
    sys.exit(main())
