"""Slices of rows that are to be written, also where an expression of ``slicing_exprs`` fails on one."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from pyspark.errors import AnalysisException, ParseException
from pyspark.sql import functions as F

from jobs.command.log import LOG
from jobs.source.inference_table import without_ansi
from jobs.store.tables import kept, local_frame
from metrics.slices import OTHER, with_slices
from schemas.errors import ConfigError
from schemas.scores import SCORES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pyspark.sql import Column, DataFrame, SparkSession

    from schemas.config import Config, SlicingExpr

R = TypeVar("R")

TRIES = 100
"""How often an expression is tried on parts of a batch before all of its rows are given up."""


def check_slices(spark: SparkSession, config: Config) -> None:
    """Whether the slicing expressions can be used, before anything is written.

    Raises:
        ConfigError: Some can't; all are listed.
    """
    problems = []
    empty = local_frame(spark, [], SCORES.schema)
    for i, one in enumerate(config.slicing_exprs):
        try:
            found = empty.select(F.expr(f"({one.expr})").alias("value"))
            _sliced(empty, [one])
        except (AnalysisException, ParseException) as error:
            problems.append(f"slicing_exprs.{i}: {str(error).strip().splitlines()[0]} (got {one.expr!r})")
            continue
        kind = found.schema["value"].dataType.simpleString()
        if not one.values and kind != "boolean":
            problems.append(f"slicing_exprs.{i}: is no condition but {kind}; list its values (got {one.expr!r})")
    if problems:
        raise ConfigError("the configuration", problems)


def write_sliced(rows: DataFrame, config: Config, write: Callable[[DataFrame], R]) -> R:
    """Write rows with their slices.

    A cast or division that fails on a row is NULL there. Some of SQL's functions fail whatever the mode is, and the
    whole query with them: no row stops the stream. Then the rows on which an expression fails are looked for, and are
    in its slice OTHER, alone, so that the others don't depend on what they arrive with.

    Args:
        rows: Rows of ``scores`` with their whole text, which need no slices yet.
        config: Settings.
        write: Writes them; called once more where an expression has failed.

    Raises:
        Exception: What ``write`` raises, where it is no expression that fails.
    """
    try:
        return write(_sliced(rows, config.slicing_exprs))
    except Exception:
        if not config.slicing_exprs:
            raise
        with kept(rows) as same:
            failing = {one.expr: which for one in config.slicing_exprs if (which := _failing(same, one)) is not None}
            if not failing:
                raise
            for expr in failing:
                LOG.warning("an expression of slicing_exprs fails on some rows, which are in %s: %s", OTHER, expr)
            return write(_sliced(same, config.slicing_exprs, failing))


def _sliced(rows: DataFrame, exprs: Sequence[SlicingExpr], failing: Mapping[str, Column] | None = None) -> DataFrame:
    with without_ansi(rows.sparkSession):
        return with_slices(rows, exprs, failing=failing)


def _failing(rows: DataFrame, one: SlicingExpr) -> Column | None:
    """On which rows an expression fails, found by halving; None: on none."""
    key = F.xxhash64(*SCORES.keys)
    sliced = _sliced(rows, [one]).select("slices", key.alias("key"))

    def fails(keys: Sequence[int]) -> bool:
        part = sliced.where(F.col("key").between(keys[0], keys[-1]))
        try:
            part.write.format("noop").mode("overwrite").save()
        except Exception:
            return True
        return False

    keys = sorted(row[0] for row in rows.select(key).distinct().collect())
    if not keys or not fails(keys):
        return None
    parts, found, tries = [keys], [], 0
    while parts:
        part = parts.pop()
        if len(part) == 1:
            found += part
            continue
        half = len(part) // 2
        parts += [some for some in (part[:half], part[half:]) if fails(some)]
        tries += 2
        if tries > TRIES:
            return F.lit(True)
    return key.isin(found)
