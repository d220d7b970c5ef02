"""Metrics: any range of time, from the stored windows; no row of ``scores`` is read.

    inference-metrics metrics --config conf/local.yaml --since 2026-04-01 --until 2026-04-07 --by version
    inference-metrics metrics --config conf/local.yaml --since "2026-04-01 09:00" --until "2026-04-01 17:30" --json

Times are UTC. A date as --until is the last one that is included; a time is not included. Quantiles are those of merged
sketches: within 1.7 % of rank (Apache DataSketches KLL, k = 200, at 99 %). Of each version's measure the newest
scorer's figures are shown.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter, ValidationError
from pyspark.sql import functions as F

from jobs.command.call import Call, command
from jobs.command.errors import OK
from jobs.store.tables import read_table, table_exists, table_properties
from jobs.upkeep.retention import PURGED
from metrics.aggregate.current import current_metrics
from metrics.aggregate.ranges import Tile, tiles, window_start, within
from metrics.aggregate.windows import merged_range
from schemas.config import Config, Duration, duration_seconds
from schemas.errors import ConfigError
from schemas.profile_metrics import ALL_VERSIONS, PROFILE_METRICS, SERIES, WHOLE_ONLY_SECONDS

if TYPE_CHECKING:
    import pandas as pd
    from pyspark.sql import Column, DataFrame, SparkSession

BY = ("version", "slice")
SHOWN = ("count", "num_nulls", "avg", "stddev", "min", "median", "max", "sum")


def metrics_between(
    spark: SparkSession,
    config: Config,
    since: datetime,
    until: datetime,
    *,
    by: Collection[str] = (),
    granularity: str | None = None,
    columns: Collection[str] = (),
) -> DataFrame:
    """Statistics of a range, merged from stored windows.

    Args:
        spark: Session.
        config: Settings.
        since: Begin (UTC).
        until: End (UTC), not included.
        by: ``version``: of each instead of all together; ``slice``: of each instead of the whole.
        granularity: A row per period of this length; None for one over all.
        columns: Measures; empty for all.

    Returns:
        As ``merged_range``: ``since``, ``until``, what is measured, and its statistics.

    Raises:
        ConfigError: No stored windows begin or end where the range or a period does.
        TableError: There are no windows yet.
    """
    lengths, seconds, begin = config.granularities, None, 0
    if "slice" in by:  # which the shortest windows don't have
        lengths = tuple(one for one in lengths if duration_seconds(one) > WHOLE_ONLY_SECONDS)
    try:
        if not lengths:
            raise ValueError("has no slices: all windows are of a minute or less")
        if granularity is not None:
            seconds = duration_seconds(granularity)
            # Periods that divide a day begin with it, others (weeks) with the range.
            begin = 0 if 86400 % seconds == 0 else int(since.timestamp())
            lengths = tuple(
                one for one in lengths if seconds % duration_seconds(one) == 0 and begin % duration_seconds(one) == 0
            )
            if not lengths:
                raise ValueError(f"has no periods of {granularity}: windows are of {', '.join(config.granularities)}")
        chosen = tiles(since, until, lengths)
        _check_retention(spark, config, chosen)
    except ValueError as error:
        raise ConfigError("the range", [str(error)]) from None
    _check_complete(spark, config, chosen)
    windows = read_table(spark, PROFILE_METRICS, config.output).where(within(chosen))
    is_whole = F.col("model_version").eqNullSafe(F.lit(ALL_VERSIONS))
    windows = windows.where(~is_whole if "version" in by else is_whole)
    windows = windows.where(F.col("slice_key").isNotNull() if "slice" in by else F.col("slice_key").isNull())
    found = merged_range(current_metrics(windows), seconds=seconds, begin=begin).drop("granularity", "sketch")
    if columns:
        found = found.where(F.col("column_name").isin(list(columns)))
    # 9 comes before 10.
    number = F.expr("try_cast(model_version AS bigint)")
    return found.orderBy("since", *SERIES[:2], number, *SERIES[2:-1], "column_name")


def _check_complete(spark: SparkSession, config: Config, chosen: Sequence[Tile]) -> None:
    """ConfigError where there are shorter windows and none of a tile's: its length was not among the settings then."""

    def shorter(one: Tile) -> list[Tile]:
        length = duration_seconds(one.granularity)
        return [replace(one, granularity=g) for g in config.granularities if duration_seconds(g) < length]

    longer = [one for one in chosen if shorter(one)]
    if not longer:
        return
    windows = read_table(spark, PROFILE_METRICS, config.output)
    windows = windows.where((F.col("column_name") == "requests") & F.col("slice_key").isNull())
    start = F.unix_seconds("window.start")

    def begins(one: Tile, stored: list[Tile]) -> Column:
        """How many of the tile's windows are there, or have some of these in them."""
        return F.count_distinct(F.when(within(stored), window_start(start, duration_seconds(one.granularity))))

    needed = within([tile for one in longer for tile in (one, *shorter(one))])
    counts = windows.where(needed).agg(*(begins(one, stored) for one in longer for stored in ([one], shorter(one))))
    found = counts.collect()[0]
    for i, one in enumerate(longer):
        if found[2 * i] < found[2 * i + 1]:
            since = datetime.fromtimestamp(one.since, UTC)
            problem = (
                f"lacks windows of {one.granularity} from {since:%Y-%m-%d %H:%M} on: granularities had no such length"
            )
            raise ConfigError("the range", [f"{problem}. Leave it out with --set granularities=..."])


def _check_retention(spark: SparkSession, config: Config, chosen: Sequence[Tile]) -> None:
    """ValueError where windows are needed that retention has removed, or is about to."""
    today = datetime.now(UTC).date()
    there = table_exists(spark, PROFILE_METRICS, config.output)
    properties = table_properties(spark, PROFILE_METRICS, config.output) if there else {}
    for what in ("minute_metrics", "metrics"):
        purged = properties.get(f"{PURGED}.{what}")
        horizons = [config.retention.horizon(what, today), date.fromisoformat(purged) if purged else None]
        horizon = max((one for one in horizons if one is not None), default=None)
        if horizon is None:
            continue
        for one in chosen:
            is_minute = duration_seconds(one.granularity) <= WHOLE_ONLY_SECONDS
            if datetime.fromtimestamp(one.since, UTC).date() < horizon and (is_minute or what == "metrics"):
                raise ValueError(f"needs windows of {one.granularity} before {horizon}; retention.{what} removes them")


def show(found: pd.DataFrame) -> str:
    """The figures to read; what is the same in all rows stands above them."""
    if found.empty:
        return "no windows in this range"
    names = ["since", "until", *SERIES[:-1], "column_name"]
    same = [name for name in names if found[name].nunique(dropna=False) == 1]
    head = [f"{name} {found[name].iloc[0]}" for name in same if found[name].iloc[0] is not None]
    table = found[[name for name in names if name not in same] + list(SHOWN)]
    return "\n".join([*head, "", table.to_string(index=False, float_format=lambda x: f"{x:,.4g}", na_rep="-")])


def _end(text: str) -> datetime:
    """A time, or the end of a day."""
    try:
        day = date.fromisoformat(text)
    except ValueError:
        return _time(text)
    return _time(day.isoformat()) + timedelta(days=1)


def _period(text: str) -> str:
    try:
        return str(TypeAdapter(Duration).validate_python(text))
    except ValidationError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no duration like '1 day'") from error


def _time(text: str) -> datetime:
    try:
        found = datetime.fromisoformat(text)
    except ValueError as error:
        message = f"{text!r} is neither a date like 2026-04-01 nor a time like '2026-04-01 09:00'"
        raise argparse.ArgumentTypeError(message) from error
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)


def _iso(value: Any) -> Any:
    """Times as ISO 8601; Spark gives them in the process's zone."""
    return value.astimezone(UTC).isoformat() if isinstance(value, datetime) else value


def as_json(found: DataFrame) -> list[dict[str, Any]]:
    """Rows for machines; times in ISO 8601."""
    return [{key: _iso(value) for key, value in row.items()} for row in (one.asDict() for one in found.collect())]


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--since", type=_time, required=True, metavar="TIME", help="first date, or time (UTC)")
    parser.add_argument("--until", type=_end, required=True, metavar="TIME", help="last date, or time after the last")
    parser.add_argument("--by", action="append", default=[], choices=BY, help="a row for each; repeatable")
    parser.add_argument("--granularity", type=_period, metavar="DURATION", help="a row per period, for example '1 day'")
    parser.add_argument("--column", action="append", default=[], metavar="NAME", help="only this measure; repeatable")


def _work(call: Call) -> int:
    options = call.options
    if options.since >= options.until:
        raise ConfigError("the range", [f"--since {options.since} is not before --until {options.until}"])
    config = call.config
    found = metrics_between(
        call.spark,
        config,
        options.since,
        options.until,
        by=options.by,
        granularity=options.granularity,
        columns=options.column,
    )
    if options.json:
        print(json.dumps(as_json(found)))
    else:
        print(show(found.toPandas()))
    return OK


main = command(__doc__, _work, _arguments, as_json="the figures")


if __name__ == "__main__":
    sys.exit(main())
