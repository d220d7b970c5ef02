"""The account: where each row of the source went, by the tables and by ``batches``."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pyspark.sql import functions as F

from jobs.scoring.fates import FATES, UNRATED, with_fates
from jobs.scoring.ledger import held_of_batches
from jobs.source.changes import SkippedVersion, skipped_versions
from jobs.source.inference_table import read_source
from jobs.store.tables import read_table
from jobs.upkeep.retention import purged, purged_until
from metrics.unpack.dialects import HASHED_ID
from schemas.batches import BATCHES
from schemas.config import Config
from schemas.quarantine import QUARANTINE
from schemas.scores import SCORES

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

EXAMPLES = 20

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


def check_ledger(spark: SparkSession, config: Config, account: Account) -> bool:
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


def check_rows(spark: SparkSession, config: Config, account: Account) -> None:
    """Count what became of the source's rows, by day, and report those that are in no table."""
    assert account.source_version is not None
    fates = with_fates(spark, config, account.source_version)
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
        report(fates.where(F.col("fate").isin("missing", UNRATED)), "in the source, and in no table", account)
    if any(row["short"] for row in counts):
        report(fates.where(short), "in scores with fewer exchanges than the request has", account)
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
    report(scores.groupBy(*SCORES.keys).count().where("count > 1"), "in scores more than once", account)


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


def report(rows: DataFrame, what: str, account: Account, column: str = "request_id") -> None:
    """Enter some rows as a problem, by the first of their ids; nothing where there are none."""
    name_problem([row[0] for row in rows.select(column).limit(EXAMPLES).collect()], what, account)


def name_problem(found: list[str], what: str, account: Account) -> None:
    """Enter what was found as a problem; there is more where it is as much as ``EXAMPLES``."""
    if found:
        more = "" if len(found) < EXAMPLES else ", …"
        account.problems.append(f"{what}: {', '.join(map(str, found))}{more}")
