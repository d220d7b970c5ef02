"""Statistics of ``scores`` by window: the one function that makes rows of ``profile_metrics``, in numpy, without Spark.

Used on the driver for the few rows of a trigger, and by executors in bulk.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pyarrow as pa  # type: ignore[import-untyped]
from datasketches import kll_doubles_sketch  # type: ignore[import-untyped]

from metrics.aggregate.groups import TIME, Groups, Touched, groups_of, taken
from metrics.aggregate.rows import Coded, Codes, Rows
from schemas.measures import MEASURES, Measure, Values
from schemas.profile_metrics import QUANTILES, SERIES, STATISTICS

SKETCH_SIZE = 200
"""k of the KLL sketches, as Spark's kll_sketch_agg_double has it: ranks are within 1.7 % at 99 %."""

FREQUENCIES, OTHER = 100, "__other__"
"""So many values of a category are counted one by one; the others together."""

SUMS = ("sum", "weighted_count", "sum_wx", "sum_w2", "sum_w2x", "sum_w2x2")

_TYPES = {
    "window": pa.struct([("start", TIME), ("end", TIME)]),
    "window_date": pa.date32(),
    **dict.fromkeys(("granularity", *SERIES, "column_name"), pa.string()),
    **dict.fromkeys(("count", "num_nulls"), pa.int64()),
    **dict.fromkeys(("avg", "stddev", "min", "max", "median", "weighted_avg", *SUMS), pa.float64()),
    "quantiles": pa.list_(pa.float64()),
    "sketch": pa.binary(),
    "frequencies": pa.map_(pa.string(), pa.int64()),
}

STATISTICS_SCHEMA = pa.schema([(name, _TYPES[name]) for name in STATISTICS])
"""``profile_metrics`` but for its bookkeeping columns (revision, is_settled, is_frozen, updated_at)."""


def window_statistics(
    rows: pa.Table,
    *,
    granularities: Sequence[str],
    toxicity_threshold: float,
    touched: Touched | None = None,
) -> pa.Table:
    """Statistics of every measure by window, endpoint, model, version (``*``: all together) and slice.

    Windows are half-open, tumbling, and aligned to the UTC day. A window of rows with several scorers is one for each
    fingerprint. Rows that scoring.sample_rate left out have no part in a scorer's measures, neither a value nor a
    missing one.

    Args:
        rows: ``ROW_COLUMNS`` of ``scores``.
        granularities: Lengths of windows.
        toxicity_threshold: From this probability on a text counts as toxic.
        touched: Only these windows; None: all that rows fall into.

    Returns:
        ``STATISTICS_SCHEMA``.
    """
    read = Rows(rows, toxicity_threshold)
    if not len(read):
        return STATISTICS_SCHEMA.empty_table()
    groups = groups_of(rows, read, granularities, touched)
    if not len(groups):
        return STATISTICS_SCHEMA.empty_table()
    return pa.concat_tables([_of_measure(measure, read, groups) for measure in MEASURES])


def _of_measure(measure: Measure, read: Rows, groups: Groups) -> pa.Table:
    """One measure's statistics in all groups that it has a part in, of each fingerprint by itself."""
    mark = read.fingerprint(measure)
    row, group = groups.row, groups.group
    if measure.scorer is not None:
        chosen = (read.is_scored | ~mark.is_known)[row]
        row, group = row[chosen], group[chosen]
    if not len(row):
        return STATISTICS_SCHEMA.empty_table()
    present, at, mark_of = _split(group, row, mark)
    sums = _category if measure.kind == "category" else _ratio if measure.kind == "ratio" else _numbers
    columns = {name: column.take(pa.array(present, pa.int64())) for name, column in groups.columns.items()}
    columns |= {"column_name": pa.array([measure.name], pa.string()).take(pa.array(np.zeros(len(present), np.int64)))}
    columns |= sums(measure, read, row[at.order], at) | {"scorer_fingerprint": taken(mark.values, mark_of)}
    nothing = {name: pa.nulls(len(present), STATISTICS_SCHEMA.field(name).type) for name in STATISTICS_SCHEMA.names}
    return pa.table({name: (nothing | columns)[name] for name in STATISTICS_SCHEMA.names}, schema=STATISTICS_SCHEMA)


@dataclass(frozen=True)
class _Cells:
    """Rows of a measure sorted by cell: a group and a fingerprint.

    Attributes:
        order: How the memberships were sorted.
        cell: Cell of each membership then, from 0.
        cells: How many there are.
    """

    order: Codes
    cell: Codes
    cells: int


def _split(group: Codes, row: Codes, mark: Coded) -> tuple[Codes, _Cells, Codes]:
    """The cells of groups and fingerprints: each one's group, the rows' order, and its fingerprint's code."""
    marks = mark.codes[row]
    size = int(marks.max()) + 1
    key = group * size + marks
    # As a rule there is one fingerprint; then the order is theirs already.
    order = np.arange(len(row)) if np.all(marks == marks[0]) else np.argsort(key, kind="stable")
    key = key[order]
    begins = np.append(True, key[1:] != key[:-1])
    keys = key[begins]
    return keys // size, _Cells(order, np.cumsum(begins) - 1, len(keys)), keys % size


def _numbers(measure: Measure, read: Rows, row: Codes, at: _Cells) -> dict[str, pa.Array]:
    """The statistics of numbers.

    A window's sums are those of its rows in the order in which they come: the same rows in another order differ in the
    last digits. ``stddev`` is that of the sample, in two passes.
    """
    assert measure.value is not None
    x = measure.value(read)[row]
    known = ~np.isnan(x)
    x, w, cell = x[known], read.weight_of(measure)[row][known], at.cell[known]
    total = np.bincount(at.cell, minlength=at.cells)
    count = np.bincount(cell, minlength=at.cells)
    there = np.flatnonzero(count)
    first = np.concatenate([[0], np.cumsum(count[there])])
    reduced = _reducer(first, there, at.cells)
    sums = {
        "sum": reduced(np.add, x),
        "sum_wx": reduced(np.add, w * x),
        "sum_w2": reduced(np.add, w * w),
        "sum_w2x": reduced(np.add, w * w * x),
        "sum_w2x2": reduced(np.add, w * w * x * x),
    }
    weighted = reduced(np.add, w)
    with np.errstate(invalid="ignore", divide="ignore"):
        avg = sums["sum"] / count
        squares = reduced(np.add, (x - avg[cell]) ** 2)
        stddev = np.where(count > 1, np.sqrt(squares / (count - 1)), np.nan)
        weighted_avg = sums["sum_wx"] / weighted
    sketches, quantiles = _sketched(x, first, there, at.cells)
    numbers = sums | {
        "avg": avg,
        "stddev": stddev,
        "weighted_count": np.nan_to_num(weighted),
        "weighted_avg": weighted_avg,
        "min": reduced(np.minimum, x),
        "max": reduced(np.maximum, x),
    }
    return statistics_columns(count, total - count, numbers, quantiles, sketches)


def _reducer(first: Codes, there: Codes, cells: int) -> Callable[[np.ufunc, Values], Values]:
    """Reduces sorted values to one per cell; NaN where a cell has none."""

    def reduced(how: np.ufunc, values: Values) -> Values:
        result = np.full(cells, np.nan)
        if len(there):
            result[there] = how.reduceat(values, first[:-1])
        return result

    return reduced


def _sketched(x: Values, first: Codes, there: Codes, cells: int) -> tuple[list[bytes | None], Values]:
    """The KLL sketch of each cell, and its values at QUANTILES."""
    sketches: list[bytes | None] = [None] * cells
    quantiles = np.full((cells, len(QUANTILES)), np.nan)
    bounds = first.tolist()
    for number, cell in enumerate(there.tolist()):
        sketch = kll_doubles_sketch(SKETCH_SIZE)
        sketch.update(x[bounds[number] : bounds[number + 1]])
        sketches[cell] = sketch.serialize()
        quantiles[cell] = sketch.get_quantiles(QUANTILES, True)
    return sketches, quantiles


def statistics_columns(
    count: Codes,
    num_nulls: Codes,
    numbers: dict[str, Values],
    quantiles: Values,
    sketches: Sequence[bytes | None],
) -> dict[str, pa.Array]:
    """The columns of numbers' statistics.

    Args:
        count: (windows,).
        num_nulls: (windows,).
        numbers: (windows,) each, by column; NaN is NULL.
        quantiles: (windows, QUANTILES), from the sketches; the first and the last are exact: ``min`` and ``max``.
        sketches: One per window; None where there is no value.
    """
    quantiles[:, 0], quantiles[:, -1] = numbers["min"], numbers["max"]
    return {
        "count": pa.array(count, pa.int64()),
        "num_nulls": pa.array(num_nulls, pa.int64()),
        **{name: doubles(values) for name, values in numbers.items()},
        "median": doubles(quantiles[:, QUANTILES.index(0.5)]),
        "quantiles": lists(quantiles),
        "sketch": pa.array(sketches, pa.binary()),
    }


def doubles(values: Values) -> pa.Array:
    """Doubles, NULL for NaN."""
    return pa.array(values, pa.float64(), from_pandas=True)


def lists(rows: Values) -> pa.Array:
    """Arrays of doubles, NULL for a row that begins with NaN."""
    missing = np.isnan(rows[:, 0])
    offsets = np.concatenate([[0], np.cumsum(np.where(missing, 0, rows.shape[1]))])
    flat = pa.array(rows[~missing].ravel(), pa.float64())
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32(), mask=np.append(missing, False)), flat)


def _ratio(measure: Measure, read: Rows, row: Codes, at: _Cells) -> dict[str, pa.Array]:
    """Of a ratio of sums only the ratio means anything; the measures of its parts hold the sums."""
    assert measure.value is not None
    assert measure.over is not None
    x, below = measure.value(read)[row], read.number(measure.over)[row]
    w, known = read.weight_of(measure)[row], ~np.isnan(x)
    x, below, w, cell = x[known], below[known], w[known], at.cell[known]
    count = np.bincount(cell, minlength=at.cells)

    def total(values: Values) -> Values:
        sums: Values = np.bincount(cell, weights=values, minlength=at.cells)
        return sums

    with np.errstate(invalid="ignore", divide="ignore"):
        avg, weighted_avg = np.exp(total(x) / total(below)), np.exp(total(w * x) / total(w * below))
    return {
        "count": pa.array(count, pa.int64()),
        "num_nulls": pa.array(np.bincount(at.cell, minlength=at.cells) - count, pa.int64()),
        "avg": doubles(avg),
        "weighted_count": pa.array(total(w), pa.float64()),
        "weighted_avg": doubles(weighted_avg),
    }


def _category(measure: Measure, read: Rows, row: Codes, at: _Cells) -> dict[str, pa.Array]:
    """How often each value comes: of the logged rows, as counts are."""
    found = read.category(measure.name)
    codes, is_known = found.codes[row], found.is_known[row]
    count = np.bincount(at.cell[is_known], minlength=at.cells)
    keys, times = np.unique(at.cell[is_known] * len(found.values) + codes[is_known], return_counts=True)
    bounds = np.searchsorted(keys // len(found.values), np.arange(at.cells + 1)).tolist()
    values = [found.values[key] for key in (keys % len(found.values)).tolist()]
    counts = times.tolist()
    maps = [
        frequencies(dict(zip(values[first:last], counts[first:last], strict=True))) for first, last in pairwise(bounds)
    ]
    weight = np.bincount(at.cell[is_known], weights=read.weight[row][is_known], minlength=at.cells)
    return {
        "count": pa.array(count, pa.int64()),
        "num_nulls": pa.array(np.bincount(at.cell, minlength=at.cells) - count, pa.int64()),
        "weighted_count": pa.array(weight, pa.float64()),
        "frequencies": pa.array(maps, STATISTICS_SCHEMA.field("frequencies").type),
    }


def frequencies(counts: dict[str, int]) -> list[tuple[str, int]]:
    """The most frequent values, and how often all others come together."""
    if len(counts) <= FREQUENCIES:
        return sorted(counts.items())
    others = counts.pop(OTHER, 0)
    ranked = sorted(counts.items(), key=lambda one: (-one[1], one[0]))
    left = others + sum(times for _, times in ranked[FREQUENCIES:])
    return [*sorted(ranked[:FREQUENCIES]), *([(OTHER, left)] if left else [])]
