"""Slices: the value of each slicing expression for a row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from pyspark.sql import functions as F

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

    from schemas.config import SlicingExpr

OTHER = "__other__"
"""Slice of rows whose value is not among the listed ones, or is NULL."""


def with_slices(
    rows: DataFrame, exprs: Sequence[SlicingExpr], *, failing: Mapping[str, Column] | None = None
) -> DataFrame:
    """Fills ``slices``: by expression its value as text.

    Each row is in exactly one slice of each expression, so that the slices of one sum up to the whole.

    Args:
        rows: Rows of ``scores``, with their whole text.
        exprs: Expressions.
        failing: By expression the rows on which it is not evaluated: they are in the slice OTHER.

    Raises:
        AnalysisException: An expression can't be used.
    """
    pairs: list[Column] = []
    for one in exprs:
        which = (failing or {}).get(one.expr)
        pairs += [F.lit(one.expr), _value(one) if which is None else F.when(which, OTHER).otherwise(_value(one))]
    slices = F.create_map(*pairs) if pairs else F.expr("map()")
    return rows.withColumn("slices", slices.cast("map<string,string>"))


def _value(one: SlicingExpr) -> Column:
    value = F.expr(f"({one.expr})")
    known = one.values or ("true", "false")
    text = value.cast("string") if one.values else value.cast("boolean").cast("string")
    return F.when(text.isin(list(known)), text).otherwise(F.lit(OTHER))
