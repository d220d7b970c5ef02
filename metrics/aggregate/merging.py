"""Windows merged into longer ones, and into any range of time: their statistics add up, without a row of ``scores``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import reduce
from itertools import pairwise

import numpy as np
import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.compute as pc  # type: ignore[import-untyped]
from datasketches import kll_doubles_sketch  # type: ignore[import-untyped]

from metrics.aggregate.groups import TIME, windows_of
from metrics.aggregate.rows import Codes, coded
from metrics.aggregate.statistics import SKETCH_SIZE, STATISTICS_SCHEMA, SUMS, frequencies, statistics_columns
from schemas.config import duration_seconds
from schemas.measures import BY_NAME, Values
from schemas.profile_metrics import QUANTILES, SERIES

_ALL = STATISTICS_SCHEMA.names

MERGED = pa.schema(
    [("since", TIME), ("until", TIME), *(STATISTICS_SCHEMA.field(name) for name in _ALL if "window" not in name)]
)
"""Columns of ``merge_windows``; its ``granularity`` is NULL."""

PARTS = tuple(name for name in _ALL if name not in ("window_date", "median", "quantiles", "weighted_avg"))
"""What is needed of the windows."""


def merge_windows(windows: pa.Table, *, seconds: int | None = None, begin: int = 0) -> pa.Table:
    """Windows, none of which overlap, merged into one per series and measure.

    Counts and sums add up; deviations by the sum of squares within and between windows (Chan et al. 1979); quantiles
    come from the merged KLL sketches; a ratio is exp(sum / sum) of the measures of its parts again. Of a category's
    frequencies the least frequent may be counted among the others.

    Args:
        windows: ``PARTS`` of ``profile_metrics``.
        seconds: Merge into periods of this length; None for one over all.
        begin: Where one of the periods begins, in seconds of the UTC epoch.

    Returns:
        ``MERGED``: ``since`` and ``until`` are those of the windows that there are.
    """
    if not windows.num_rows:
        return MERGED.empty_table()
    start, end = (_seconds(windows, side) for side in ("start", "end"))
    piece = (start - begin) // seconds if seconds else np.zeros(len(start), np.int64)
    name = coded(_text(windows, "column_name"))
    series = reduce(
        _folded, (coded(_text(windows, one)).codes for one in SERIES), np.unique(piece, return_inverse=True)[1]
    )
    key, first, group = np.unique(_folded(series, name.codes), return_index=True, return_inverse=True)
    groups = len(key)
    order = np.argsort(group, kind="stable")
    bounds = np.searchsorted(group[order], np.arange(groups + 1))

    def number(column: str) -> Values:
        return np.asarray(windows.column(column).to_numpy(), dtype=float)

    def added(values: Values) -> Values:
        """Sums of the values that there are; NaN where there is none."""
        known = ~np.isnan(values)
        sums = np.bincount(group[known], weights=values[known], minlength=groups)
        return np.where(np.bincount(group[known], minlength=groups) > 0, sums, np.nan)

    def extreme(how: np.ufunc, values: Values) -> Values:
        found: Values = how.reduceat(values[order], bounds[:-1])
        return found

    count = np.bincount(group, weights=number("count"), minlength=groups)
    sums = {column: added(number(column)) for column in SUMS}
    smallest, largest = extreme(np.fmin, number("min")), extreme(np.fmax, number("max"))
    has_values = ~np.isnan(smallest)
    with np.errstate(invalid="ignore", divide="ignore"):
        avg = sums["sum"] / count
        own, deviation = number("count"), number("stddev")
        within = np.nan_to_num((own - 1) * deviation * deviation)
        squares = added(within + np.nan_to_num(own * (number("avg") - avg[group]) ** 2))
        stddev = np.where((count > 1) & has_values, np.sqrt(squares / (count - 1)), np.nan)
        weighted_avg = sums["sum_wx"] / sums["weighted_count"]
    for ratio, over in _ratios(name.values):
        is_it = name.codes[first] == ratio[0]
        parts = [_of_series(series, first, name.codes[first] == code, is_it) for code in over]
        for result, column in ((avg, "sum"), (weighted_avg, "sum_wx")):
            above, below = (np.where(part >= 0, sums[column][part], np.nan) for part in parts)
            result[is_it] = np.where(count[is_it] > 0, np.exp(above / np.where(below > 0, below, np.nan)), np.nan)
    sketches, quantiles = _sketched(windows.column("sketch"), order, bounds, has_values)
    numbers = sums | {"avg": avg, "stddev": stddev, "min": smallest, "max": largest, "weighted_avg": weighted_avg}
    num_nulls = np.bincount(group, weights=number("num_nulls"), minlength=groups).astype(np.int64)
    of = pa.array(first, pa.int64())
    columns = {
        "since": _times(extreme(np.minimum, start)),
        "until": _times(extreme(np.maximum, end)),
        "granularity": pa.nulls(groups, pa.string()),
        **{one: pc.take(_text(windows, one), of) for one in (*SERIES, "column_name")},
        **statistics_columns(count.astype(np.int64), num_nulls, numbers, quantiles, sketches),
        "frequencies": pa.array(_counted(windows, order, bounds), STATISTICS_SCHEMA.field("frequencies").type),
    }
    return pa.table({column: columns[column] for column in MERGED.names}, schema=MERGED)


def long_windows(parts: pa.Table, granularity: str) -> pa.Table:
    """Windows merged from all the shorter ones of one length that they consist of.

    Args:
        parts: ``PARTS`` of ``profile_metrics``.
        granularity: Length of the long windows.

    Returns:
        ``STATISTICS_SCHEMA``.
    """
    seconds = duration_seconds(granularity)
    merged = merge_windows(parts, seconds=seconds)
    start = pc.cast(merged.column("since"), pa.int64()).to_numpy() // 1_000_000 // seconds * seconds
    columns = {name: merged.column(name) for name in STATISTICS_SCHEMA.names if name in merged.column_names}
    columns |= windows_of(start, np.full(len(start), seconds))
    columns |= {"granularity": pa.array([granularity] * len(start), pa.string())}
    return pa.table({name: columns[name] for name in STATISTICS_SCHEMA.names}, schema=STATISTICS_SCHEMA)


def _seconds(windows: pa.Table, side: str) -> Codes:
    times = pc.struct_field(windows.column("window"), side)
    micros = pc.cast(pc.cast(times, pa.timestamp("us")), pa.int64()).to_numpy()
    seconds: Codes = micros // 1_000_000
    return seconds


def _times(seconds: Values) -> pa.Array:
    return pa.array(seconds.astype(np.int64) * 1_000_000).cast(TIME)


def _text(windows: pa.Table, name: str) -> pa.ChunkedArray:
    return pc.cast(windows.column(name), pa.string())


def _folded(one: Codes, other: Codes) -> Codes:
    """One code for two, as small as can be."""
    both: Codes = np.unique(one * (int(other.max()) + 1) + other, return_inverse=True)[1]
    return both


def _ratios(names: Sequence[str]) -> list[tuple[tuple[int], tuple[int, int]]]:
    """Of each ratio among the measures its code, and those of the measures whose sums it is made of; -1: not there."""
    code = {name: number for number, name in enumerate(names)}
    ratios = [BY_NAME[name] for name in names if name in BY_NAME and BY_NAME[name].kind == "ratio"]
    return [((code[one.name],), (code.get(str(one.scorer), -1), code.get(str(one.over), -1))) for one in ratios]


def _of_series(series: Codes, first: Codes, is_part: Values, is_ratio: Values) -> Codes:
    """For each group of a ratio the group of a part in the same series; -1: there is none."""
    part = np.flatnonzero(is_part)
    place = dict(zip(series[first[part]].tolist(), part.tolist(), strict=True))
    return np.array([place.get(code, -1) for code in series[first[is_ratio]].tolist()], dtype=np.int64)


def _sketched(
    column: pa.ChunkedArray, order: Codes, bounds: Codes, has_values: Values
) -> tuple[list[bytes | None], Values]:
    """The merged sketch of each group, and its values at QUANTILES."""
    stored = column.to_pylist()
    sketches: list[bytes | None] = [None] * len(has_values)
    quantiles = np.full((len(has_values), len(QUANTILES)), np.nan)
    ordered, ends = order.tolist(), bounds.tolist()
    for group in np.flatnonzero(has_values).tolist():
        sketch = kll_doubles_sketch(SKETCH_SIZE)
        for row in ordered[ends[group] : ends[group + 1]]:
            if stored[row] is not None:
                sketch.merge(kll_doubles_sketch.deserialize(stored[row]))
        sketches[group] = sketch.serialize()
        quantiles[group] = sketch.get_quantiles(QUANTILES, True) or np.nan
    return sketches, quantiles


def _counted(windows: pa.Table, order: Codes, bounds: Codes) -> list[list[tuple[str, int]] | None]:
    """The frequencies of each group, NULL where no window has some."""
    stored = windows.column("frequencies").to_pylist()
    result: list[list[tuple[str, int]] | None] = []
    ordered, ends = order.tolist(), bounds.tolist()
    for first, last in pairwise(ends):
        found = [stored[row] for row in ordered[first:last] if stored[row] is not None]
        counts: Counter[str] = Counter()
        for one in found:
            counts.update(dict(one))
        result.append(frequencies(dict(counts)) if found else None)
    return result
