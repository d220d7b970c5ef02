"""Aggregate windows: scores → profile_metrics.

inference-metrics aggregate-windows --config conf/local.yaml
spark-submit --py-files metrics.whl jobs/aggregate_windows.py --config conf/local.yaml

Windows are settled, too, at its end or once per trigger interval. --recompute computes all windows anew whose rows are
there: the way out when reconcile says that some differ.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

from pyspark.sql import Window
from pyspark.sql import functions as F

from jobs.checkpoints import is_begun
from jobs.ledger import LATENESS, purged_until
from jobs.locks import Locks, step
from jobs.runtime import LOG, OK, add_trigger, fail_point, parser, read_config, run, spark_session, stream
from jobs.tables import (
    create_table,
    delete_rows,
    identifier,
    kept,
    merge,
    on_dates,
    read_changes,
    read_table,
    retried,
    set_rows,
    set_table_properties,
    table_properties,
)
from metrics.aggregate.ranges import is_long, long_windows, part_of_long
from metrics.aggregate.windows import (
    GROUP,
    KEYS,
    aggregate_windows,
    holding,
    in_windows,
    touched_windows,
    with_lost,
    with_windows,
)
from schemas.batches import BATCHES
from schemas.config import AVAILABLE_NOW, Config, duration_seconds
from schemas.forgotten import FORGOTTEN
from schemas.profile_metrics import PROFILE_METRICS
from schemas.scores import SCORES

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame, SparkSession

HOP = "aggregate_windows"
FIGURES = [c for c in PROFILE_METRICS.column_names if c not in ("revision", "is_settled", "is_frozen", "updated_at")]
CHANGED = " OR ".join(
    [f"NOT (t.{name} <=> s.{name})" for name in ("count", "num_nulls", "min", "max")]
    + [
        f"NOT coalesce(abs(t.{name} - s.{name}) <= 1e-9D * greatest(abs(t.{name}), abs(s.{name})), "
        f"t.{name} <=> s.{name})"
        for name in ("sum", "avg", "weighted_count", "weighted_avg", "sum_wx", "sum_w2", "sum_w2x", "sum_w2x2")
    ]
)
"""When a stored window is rewritten. Sums of the same values in another order differ in their last digits, and sketches
are random: neither is a change."""

GRANULARITIES, THRESHOLD = "inference_metrics.granularities", "inference_metrics.toxicity_threshold"
"""Table properties that say which settings the windows were made by."""

CUT_OFF = "unknown (a recomputation was cut off)"
"""What they say while windows are recomputed for other settings."""

_FOLLOWED: dict[str, dict[str, str]] = {}
"""Of tables that this process has looked at, what they say; a look costs half a second."""

NOT_KNOWN = timedelta(days=7)
"""How long a window has to wait while no batch tells how late rows are."""

VERY_LATE = timedelta(days=30)
"""How long it has to wait where more than one row in a hundred is later than all bounds of the histogram."""

NOT_FROZEN = "NOT coalesce(is_frozen, false)"

NEWEST = (
    "max_by(scorer_fingerprint, struct(window.start, updated_at, count)) "
    "OVER (PARTITION BY endpoint_name, model_name, model_version, column_name)"
)
IS_NEWEST = "scorer_fingerprint <=> newest"


def start(spark: SparkSession, config: Config, *, trigger: str, locks: Locks | None = None) -> Any:
    """Start the window query on the change feed of ``scores``; each of its batches takes the table's lock.

    Where ``granularities`` or the toxicity threshold are others than last time, or the checkpoint is not the one that
    the windows were made with, all windows are recomputed first.

    Raises:
        LockedError: Another driver runs it.
    """
    if locks:
        locks.begin()
    for table in (SCORES, PROFILE_METRICS, BATCHES, FORGOTTEN):
        create_table(spark, table, config.output)
    _create_view(spark, config)
    _follow_settings(spark, config, locks)
    changes = read_changes(spark, SCORES, config.output)

    def aggregate(df: DataFrame, batch_id: int) -> None:
        with step(locks, PROFILE_METRICS.name):
            aggregate_batch(df, batch_id, config, locks)

    return stream(changes, aggregate, name=HOP, checkpoint=config.checkpoint(HOP), trigger=trigger)


def aggregate_batch(df: DataFrame, batch_id: int, config: Config, locks: Locks | None = None) -> None:
    """Recompute the windows that changed rows fall into, from ``scores``, and put them into one MERGE.

    The batch says only which windows are touched, so a replay, a late row and a re-scored row all end in the same
    figures. Deletes are not followed, nor rows of dates that retention has purged: it must not undo windows.
    """
    changes = df.where(F.col("_change_type").isin("insert", "update_preimage", "update_postimage"))
    found = changes.select("request_date", F.col("_change_type") != "insert").distinct().collect()
    # The rows of older dates are gone: their windows stay as they are.
    horizon = purged_until(df.sparkSession, config)
    dates = sorted({day for day, _ in found if horizon is None or day >= horizon})
    if dates:
        updated = any(updated for _, updated in found)
        with kept(touched_windows(changes, granularities=config.granularities)) as touched:
            retried(lambda: _recompute(touched, dates, config, locks, updated=updated))
        LOG.info("windows %d: recomputed those of %d days", batch_id, len(dates))


def _recompute(touched: DataFrame, dates: list[date], config: Config, locks: Locks | None, *, updated: bool) -> None:
    """The windows that changed rows of some dates fall into; ``updated``: some of the rows are not new."""
    part = None if updated else part_of_long(config.granularities)
    if not (part and _recompute_parts(touched, dates, part, config, locks)):
        with kept(_whole_figures(touched.sparkSession, config, dates=dates, touched=touched)) as computed:
            fail_point("before_windows")
            _write(computed, dates, config, locks)
    fail_point("after_windows")


def _recompute_parts(touched: DataFrame, dates: list[date], part: str, config: Config, locks: Locks | None) -> bool:
    """As ``_recompute`` of new rows: of a long window they touch few parts, of the length ``part``.

    The others are taken from the table, whose lock is held, and not from their rows. False, with nothing written, where
    rows have left windows or changed their scorer since the new ones came (``rescore``): no sum of parts is right then.
    """
    spark = touched.sparkSession
    stored = _stored(spark, config, dates)
    lengths = [one for one in config.granularities if not is_long(one)]
    keys = in_windows(stored.where(F.col("granularity").isin(lengths)).select(*KEYS), touched)
    figures = window_figures(spark, config, dates=dates, touched=touched, stored=keys, granularities=lengths)
    with kept(figures.withColumn("lost", F.lit(False))) as computed:
        if not computed.where("gone").isEmpty():
            return False
        others = in_windows(stored.where(F.col("granularity") == part), touched, how="left_anti")
        parts = computed.where(F.col("granularity") == part).unionByName(others, allowMissingColumns=True)
        longer = [one for one in config.granularities if is_long(one)]
        long = long_windows(parts, touched, granularities=longer).withColumn("lost", F.lit(False))
        fail_point("before_windows")
        _write(computed.unionByName(long), dates, config, locks)
    return True


def _stored(spark: SparkSession, config: Config, dates: Iterable[date]) -> DataFrame:
    """Windows of some dates as they are, with their ``start`` and ``end``; but for frozen ones."""
    windows = on_dates(read_table(spark, PROFILE_METRICS, config.output), "window_date", dates)
    return windows.where(NOT_FROZEN).select("*", "window.start", "window.end")


def _whole_figures(
    spark: SparkSession, config: Config, *, dates: list[date], touched: DataFrame | None = None
) -> DataFrame:
    """Windows of some dates (all, or the touched ones), each from all of its rows, and which are ``gone`` or ``lost``.

    A window whose rows have all got another scorer (``rescore``) is to be kept as it is. So is one whose rows were all
    forgotten, but only as long as no row of its model is left in that time: beside a version or slice that has lost
    rows, the others and the whole would not add up.
    """
    keys = _stored(spark, config, dates).select(*KEYS).where(_is_wanted(config))
    if touched is not None:
        keys = in_windows(keys, touched)
    figures = with_lost(window_figures(spark, config, dates=dates, touched=touched, stored=keys))
    forgotten = holding(figures, read_table(spark, FORGOTTEN, config.output).where("table_name = 'scores'"))
    marked = figures.withColumn("start", F.col("window.start")).join(
        F.broadcast(forgotten.withColumn("forgotten", F.lit(True))), ["granularity", "start"], "left"
    )
    is_left = F.max(~F.col("gone")).over(Window.partitionBy(*GROUP))
    lost = F.col("lost") | (F.col("gone") & F.coalesce("forgotten", F.lit(False)) & ~is_left)
    return marked.withColumn("lost", lost).drop("start", "forgotten")


def _write(figures: DataFrame, dates: Iterable[date], config: Config, locks: Locks | None) -> None:
    """Put windows of some dates into the table, in one MERGE; what is ``lost`` is ``gone``, too.

    Raises:
        LockedError: They were computed under a lock that is another's by now, who may have written newer ones.
    """
    if locks:
        locks.check(PROFILE_METRICS.name)
    spark = figures.sparkSession
    is_settled = F.col("s.window.end") <= F.lit(datetime.now(UTC) - settling_time(spark, config))
    values = {name: F.col(f"s.{name}") for name in FIGURES}
    values |= {"is_settled": is_settled, "updated_at": F.lit(datetime.now(UTC))}
    # A frozen window that has rows again is one like any other.
    again = values | {"revision": F.expr("t.revision + 1"), "is_frozen": F.lit(None).cast("boolean")}
    (
        merge(figures, PROFILE_METRICS, config.output, dates=dates)
        .whenMatchedUpdate("s.lost", {"is_frozen": F.lit(True)})
        .whenMatchedDelete("s.gone")
        .whenMatchedUpdate(f"({CHANGED}) OR t.is_frozen", again)
        .whenNotMatchedInsert("NOT s.gone", values | {"revision": F.lit(1)})
        .execute()
    )


def recompute_all(spark: SparkSession, config: Config, locks: Locks | None = None) -> int:
    """Compute all windows anew whose rows are there, a day at a time; how many days. Safe to repeat at any point.

    Windows that no row falls into any more go, as do those that the settings no longer ask for (of another length, or
    toxic by another threshold). Those of rows that retention has removed stay as they are, as do frozen ones.
    """
    horizon = purged_until(spark, config)
    rows = read_table(spark, SCORES, config.output).select("request_date").distinct()
    dates = sorted(day for (day,) in rows.collect() if horizon is None or day >= horizon)

    def compute(day: date) -> None:
        with kept(_whole_figures(spark, config, dates=[day])) as computed:
            _write(computed, [day], config, locks)

    for day in dates:
        retried(partial(compute, day))
        LOG.info("recomputed the windows of %s", day)
    other = F.col("window_date").isin(dates) & ~_is_wanted(config) & F.expr(NOT_FROZEN)
    delete_rows(spark, PROFILE_METRICS, config.output, other)
    return len(dates)


def _is_wanted(config: Config) -> Column:
    """Whether a window is of a length and a threshold that the settings ask for."""
    threshold = F.coalesce(F.regexp_extract("scorer_fingerprint", " threshold=(.*)$", 1), F.lit(""))
    return F.col("granularity").isin(*config.granularities) & threshold.isin("", _threshold(config))


def _threshold(config: Config) -> str:
    return f"{config.scoring.toxicity.threshold:g}"


def _follow_settings(spark: SparkSession, config: Config, locks: Locks | None) -> None:
    """Recompute all windows where they were made by other settings or with another checkpoint, and note the settings.

    A checkpoint of its own has not met what happened to rows since the windows were made: which were re-scored.
    """
    lengths = sorted(config.granularities, key=duration_seconds)
    wanted = {GRANULARITIES: ", ".join(lengths), THRESHOLD: _threshold(config)}
    name = identifier(PROFILE_METRICS, config.output)
    if _FOLLOWED.get(name) == wanted:
        return
    properties = table_properties(spark, PROFILE_METRICS, config.output)
    had = {key: value for key, value in properties.items() if key in wanted}
    changes = [
        f"{key.partition('.')[2]} from {had.get(key)} to {to}" for key, to in wanted.items() if had.get(key) != to
    ]
    reason = None
    begun = is_begun(spark, config.checkpoint(HOP))
    there = not read_table(spark, PROFILE_METRICS, config.output).isEmpty()
    if had and changes:
        reason = f"settings changed ({'; '.join(changes)})"
    elif there and not begun:
        reason = "the checkpoint is new and the windows are not"
    elif begun and not had:  # made by a program that did not note them, or their table is new
        reason = "it is not known by which settings the windows were made"
    if reason or changes:
        _FOLLOWED.pop(name, None)
        with step(locks, PROFILE_METRICS.name):
            if reason:
                LOG.warning("%s: all windows whose rows are there are recomputed", reason)
                set_table_properties(spark, PROFILE_METRICS, config.output, dict.fromkeys(wanted, CUT_OFF))
                recompute_all(spark, config, locks)
            set_table_properties(spark, PROFILE_METRICS, config.output, wanted)
    _FOLLOWED[name] = wanted


def settling_time(spark: SparkSession, config: Config) -> timedelta:
    """How long after its end a window has to be left alone until late rows are unlikely.

    The lateness (by ``batches``, of the last 30 days) that no more than one row in a hundred exceeds. Batches whose
    newest row was older than an hour are taken for a backlog and left out: what they read is not late, they are.
    """
    since = F.lit(datetime.now(UTC) - timedelta(days=30))
    batches = read_table(spark, BATCHES, config.output).where(
        (F.col("finished_at") > since) & (F.col("lag_seconds") <= 3600)
    )
    counted = batches.select(F.explode("lateness")).groupBy("key").agg(F.sum("value").alias("rows")).collect()
    rows = {row["key"]: row["rows"] for row in counted}
    left = sum(rows.values())
    if not left:
        return NOT_KNOWN
    allowed = left / 100
    for label, seconds in LATENESS:
        left -= rows.get(label, 0)
        if left <= allowed:
            return timedelta(seconds=seconds)
    return VERY_LATE


def settle_windows(
    spark: SparkSession,
    config: Config,
    locks: Locks | None = None,
    *,
    now: datetime | None = None,
    everything: bool = False,
) -> None:
    """Mark the windows as settled whose time has come since they were written.

    Args:
        spark: Session.
        config: Settings.
        locks: Take the table's lock where there is something to do.
        now: Moment to judge by; None for this one.
        everything: Look at all windows, and not only at those whose time has come within two days.
    """
    until = (now or datetime.now(UTC)) - settling_time(spark, config)
    wanted = (F.col("window.end") <= F.lit(until)) & ~F.coalesce("is_settled", F.lit(False))
    if not everything:
        wanted = wanted & (F.col("window_date") >= F.lit(until.date() - timedelta(days=2)))
    # Looking is cheaper than an UPDATE that finds nothing.
    if not read_table(spark, PROFILE_METRICS, config.output).where(wanted).isEmpty():
        with step(locks, PROFILE_METRICS.name):
            set_rows(spark, PROFILE_METRICS, config.output, wanted, {"is_settled": F.lit(True)})


def _settle_until_it_ends(spark: SparkSession, config: Config, locks: Locks, query: Any) -> None:
    """Wait for the query, and settle windows at its end or once per trigger interval."""
    interval = None if config.trigger == AVAILABLE_NOW else duration_seconds(config.trigger)
    everything, ended = True, False
    while not ended:
        ended = query.awaitTermination(interval) if interval else query.awaitTermination() is None
        settle_windows(spark, config, locks, everything=everything)
        everything = False


def window_figures(
    spark: SparkSession,
    config: Config,
    *,
    dates: Iterable[date] | None = None,
    touched: DataFrame | None = None,
    stored: DataFrame | None = None,
    granularities: Sequence[str] | None = None,
) -> DataFrame:
    """``profile_metrics`` as ``scores`` has it now, of some dates, windows and lengths or of all."""
    rows = read_table(spark, SCORES, config.output)
    if dates is not None:
        rows = on_dates(rows, "request_date", dates)
    rows = with_windows(rows, granularities=granularities or config.granularities)
    if touched is not None:
        rows = in_windows(rows, touched)
    return aggregate_windows(rows, toxicity_threshold=config.scoring.toxicity.threshold, stored=stored)


def current_metrics(windows: DataFrame) -> DataFrame:
    """Of each version's measure only the newest scorer's windows: different scorers are never mixed.

    The newest is the one whose last window begins last, and of several the one that was written last.
    """
    return windows.withColumn("newest", F.expr(NEWEST)).where(IS_NEWEST).drop("newest")


def _create_view(spark: SparkSession, config: Config) -> None:
    """``current_metrics`` beside the tables, for other people's queries; folders can't hold a view."""
    output = config.output
    if output.path is not None:
        return
    parts = f"{output.schema_name}.{output.prefix}current_metrics".split(".")
    windows = identifier(PROFILE_METRICS, output)
    # Anew each time: a view keeps the columns that the table had.
    spark.sql(
        f"CREATE OR REPLACE VIEW {'.'.join(f'`{part}`' for part in parts)} AS "  # noqa: S608 (names of the settings)
        f"SELECT * EXCEPT (newest) FROM (SELECT *, {NEWEST} AS newest FROM {windows}) WHERE {IS_NEWEST}"
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    arguments = add_trigger(parser("aggregate-windows", __doc__ or ""))
    arguments.add_argument("--recompute", action="store_true", help="compute all windows anew whose rows are there")
    options = arguments.parse_args(argv)

    def work() -> int:
        config = read_config(options, trigger=options.trigger)
        spark = spark_session("inference-metrics aggregate-windows")
        with Locks(spark, config.output, "aggregate-windows", [HOP]) as locks:
            query = start(spark, config, trigger=config.trigger, locks=locks)
            if options.recompute:
                with locks.step(PROFILE_METRICS.name):
                    recompute_all(spark, config, locks)
            _settle_until_it_ends(spark, config, locks, query)
        return OK

    return run(work)


if __name__ == "__main__":
    sys.exit(main())
