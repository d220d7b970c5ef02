"""Which rows are in which windows: by length, endpoint, model, version and slice."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.compute as pc  # type: ignore[import-untyped]
from numpy.typing import NDArray

from metrics.aggregate.rows import Codes, Rows, coded
from schemas.config import duration_seconds
from schemas.profile_metrics import ALL_VERSIONS, SERIES, WHOLE_ONLY_SECONDS

TIME = pa.timestamp("us", "UTC")

Touched = Collection[tuple[str, int, str | None, str | None]]
"""Windows: granularity, start in seconds of the UTC epoch, endpoint and model."""


@dataclass(frozen=True)
class Groups:
    """Windows of one version and slice, and which rows are in each.

    Attributes:
        row: Row of each membership; sorted by group.
        group: Group of each membership, from 0.
        columns: What identifies each group, by column of ``profile_metrics``.
    """

    row: Codes
    group: Codes
    columns: dict[str, pa.Array]

    def __len__(self) -> int:
        return len(self.columns["granularity"])


def groups_of(rows: pa.Table, read: Rows, granularities: Sequence[str], touched: Touched | None) -> Groups:
    """Each row once per granularity, for its version and for all, for the whole and for each of its slices."""
    endpoint, model, version = (coded(pc.cast(rows.column(name), pa.string())) for name in SERIES[:3])
    names, place = np.unique(endpoint.codes * len(model.values) + model.codes, return_inverse=True)
    pairs = [(endpoint.values[one // len(model.values)], model.values[one % len(model.values)]) for one in names]
    versions = [*version.values] if ALL_VERSIONS in version.values else [*version.values, ALL_VERSIONS]
    every = versions.index(ALL_VERSIONS)
    at, slice_codes, slices = read.slices
    parts: list[tuple[Codes, ...]] = []
    for number, granularity in enumerate(granularities):
        seconds = duration_seconds(granularity)
        start = read.epoch // seconds * seconds
        chosen = _in_touched(granularity, start, place, pairs, touched)
        whole = np.flatnonzero(chosen)
        sides = [(whole, np.zeros(len(whole), np.int64))]
        if seconds > WHOLE_ONLY_SECONDS:
            sides.append((at[chosen[at]], slice_codes[chosen[at]] + 1))
        for row, slot in sides:
            own = version.codes[row]
            # A log may name a version *: its rows are among all versions' once.
            twice = np.concatenate([np.arange(len(row)), np.flatnonzero(own != every)])
            of = np.concatenate([own, np.full(len(twice) - len(row), every)])
            where = row[twice]
            parts.append((where, np.full(len(where), number), start[where], place[where], of, slot[twice]))
    row, numbers, start, pair, of, slot = (np.concatenate(column) for column in zip(*parts, strict=True))
    starts, start_code = np.unique(start, return_inverse=True)
    sizes = (len(granularities), max(len(starts), 1), len(pairs), len(versions), len(slices) + 1)
    keys, group = np.unique(np.ravel_multi_index((numbers, start_code, pair, of, slot), sizes), return_inverse=True)
    order = np.argsort(group, kind="stable")
    numbers, start_code, pair, of, slot = np.unravel_index(keys, sizes)
    begin = starts[start_code]
    length = np.array([duration_seconds(one) for one in granularities])[numbers]
    both = [(None, None), *slices]
    columns = {
        **windows_of(begin, length),
        "granularity": taken(granularities, numbers),
        "endpoint_name": taken([one for one, _ in pairs], pair),
        "model_name": taken([one for _, one in pairs], pair),
        "model_version": taken(versions, of),
        "slice_key": taken([one for one, _ in both], slot),
        "slice_value": taken([one for _, one in both], slot),
    }
    return Groups(row[order], group[order], columns)


def _in_touched(
    granularity: str,
    start: Codes,
    place: Codes,
    pairs: Sequence[tuple[str | None, str | None]],
    touched: Touched | None,
) -> NDArray[np.bool_]:
    """Which rows fall into a touched window of this length."""
    if touched is None:
        return np.ones(len(start), dtype=bool)
    number = {pair: code for code, pair in enumerate(pairs)}
    wanted = [
        (begin, number[endpoint, model])
        for one, begin, endpoint, model in touched
        if one == granularity and (endpoint, model) in number
    ]
    if not wanted:
        return np.zeros(len(start), dtype=bool)
    begins, models = np.array(wanted, dtype=np.int64).T
    found: NDArray[np.bool_] = np.isin(start * len(pairs) + place, begins * len(pairs) + models)
    return found


def taken(values: Sequence[str | None], codes: Codes) -> pa.Array:
    """The strings that codes stand for."""
    return pa.array(values, pa.string()).take(pa.array(codes, pa.int64()))


def windows_of(start: Codes, length: Codes) -> dict[str, pa.Array]:
    """``window`` and ``window_date``, from seconds: of the UTC epoch, and of the windows' lengths."""
    ends = (pa.array(seconds * 1_000_000, pa.int64()).cast(TIME) for seconds in (start, start + length))
    return {
        "window": pa.StructArray.from_arrays(list(ends), names=["start", "end"]),
        "window_date": pa.array(start // 86400, pa.int64()).cast(pa.int32()).cast(pa.date32()),
    }
