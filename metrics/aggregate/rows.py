"""Rows of ``scores`` as arrays: what measures are computed from."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.compute as pc  # type: ignore[import-untyped]
from numpy.typing import NDArray

from schemas.measures import MEASURES, PROMPT_LENGTH, Measure, Values
from schemas.scores import SCORES

Codes = NDArray[np.int64]

_OTHERS = (
    *("request_time", "endpoint_name", "model_name", "model_version", "slices", "scorers", "score_errors", "sampled"),
    *("sampling_fraction", "sample_rate", "status_code", "error_code", "finish_reason", "exchange_index"),
)

ROW_COLUMNS = tuple(
    name
    for name in SCORES.column_names
    if name in _OTHERS or name in {part for one in MEASURES for part in (one.name, one.scorer, one.over)}
)
"""The columns of ``scores`` that windows are made from."""


@dataclass(frozen=True)
class Coded:
    """Values as numbers: ``codes`` has one per row, and ``values[code]`` is what it stands for (None is one, too)."""

    codes: Codes
    values: list[Any]

    @property
    def is_known(self) -> NDArray[np.bool_]:
        """Where the value is not None."""
        return np.array([value is not None for value in self.values], dtype=bool)[self.codes]


def coded(column: pa.ChunkedArray) -> Coded:
    """The distinct values of a column of strings."""
    chunks = column.chunks or [pa.array([], pa.string())]
    encoded = pc.dictionary_encode(pa.concat_arrays(chunks), null_encoding="encode")
    return Coded(encoded.indices.to_numpy(zero_copy_only=False).astype(np.int64), encoded.dictionary.to_pylist())


class Rows:
    """Rows of ``scores`` (``schemas.measures.Exchanges``).

    Args:
        table: ``ROW_COLUMNS``; those that a table of before has not are NULL.
        threshold: From this probability on a text counts as toxic.
    """

    def __init__(self, table: pa.Table, threshold: float) -> None:
        self._table, self.threshold = table, threshold
        self._numbers: dict[str, Values] = {}

    def __len__(self) -> int:
        return int(self._table.num_rows)

    def _column(self, name: str) -> pa.ChunkedArray:
        if name in self._table.column_names:
            return self._table.column(name)
        return pa.chunked_array([pa.nulls(len(self))])

    def number(self, column: str) -> Values:
        """A numeric column as doubles; NaN where it is NULL."""
        if column not in self._numbers:
            self._numbers[column] = np.asarray(pc.cast(self._column(column), pa.float64()).to_numpy(), dtype=float)
        return self._numbers[column]

    def is_known(self, column: str) -> Values:
        """Where a column is not NULL."""
        known: Values = self._column(column).is_valid().to_numpy()
        return known

    def is_any(self, column: str, values: tuple[str, ...]) -> Values:
        """Where a column of strings has one of these values."""
        found: Values = pc.is_in(self._text(column), value_set=pa.array(values, pa.string())).to_numpy()
        return found

    def _text(self, column: str) -> pa.ChunkedArray:
        return pc.cast(self._column(column), pa.string())

    def category(self, column: str) -> Coded:
        """A column of strings, coded."""
        return coded(self._text(column))

    @cached_property
    def epoch(self) -> Codes:
        """``request_time`` in whole seconds of the UTC epoch."""
        micros = pc.cast(pc.cast(self._column("request_time"), pa.timestamp("us")), pa.int64()).to_numpy()
        seconds: Codes = micros // 1_000_000
        return seconds

    @cached_property
    def weight(self) -> Values:
        """1 / sampling_fraction: requests logged at 10 % stand for ten (Horvitz-Thompson); 1 where it is unknown."""
        return _inverse(self.number("sampling_fraction"))

    def weight_of(self, measure: Measure) -> Values:
        """The weight of a measure's values: a scored request stands for those of its like that were not, too."""
        if measure.scorer is None:
            return self.weight
        return np.where(self.fingerprint(measure).is_known, self._scored_weight, self.weight)

    @cached_property
    def _scored_weight(self) -> Values:
        rate = np.where(self.number("status_code") == 200, self.number("sample_rate"), 1.0)
        return self.weight * _inverse(rate)

    @cached_property
    def is_scored(self) -> Values:
        """Whether scoring.sample_rate chose the row; rows of before there was ``sampled`` say it by a reason."""
        out = np.zeros(len(self), dtype=bool)
        if (reasons := self._entries("score_errors")) is not None:
            at, keys, values = reasons
            is_out = pc.and_(pc.equal(keys, "prompt_toxicity"), pc.equal(values, "not_sampled"))
            out[at[is_out.to_numpy(zero_copy_only=False)]] = True
        chosen = pc.cast(self._column("sampled"), pa.bool_())
        scored: Values = pc.coalesce(chosen, pa.chunked_array([pa.array(~out)])).to_numpy()
        return scored

    def _entries(self, column: str) -> tuple[Codes, pa.Array, pa.Array] | None:
        """Row, key and value of all entries of a column of maps; None where there are none."""
        maps = self._column(column)
        if not pa.types.is_map(maps.type):
            return None
        maps = pa.concat_arrays(maps.chunks) if maps.num_chunks else pa.array([], maps.type)
        offsets = maps.offsets.to_numpy()
        first, length = offsets[0], offsets[-1] - offsets[0]
        at = np.repeat(np.arange(len(maps)), np.diff(offsets))  # NULL has no entries
        return at, maps.keys.slice(first, length), maps.items.slice(first, length)

    @cached_property
    def _marks(self) -> dict[str, Coded]:
        """Fingerprint per row, by column of ``scores``."""
        found: dict[str, Coded] = {}
        entries = self._entries("scorers")
        if entries is None:
            return found
        at, keys, values = entries
        key, value = coded(pa.chunked_array([keys])), coded(pa.chunked_array([values]))
        for code, name in enumerate(key.values):
            codes = np.full(len(self), len(value.values), dtype=np.int64)
            chosen = key.codes == code
            codes[at[chosen]] = value.codes[chosen]
            found[name] = Coded(codes, [*value.values, None])
        return found

    def fingerprint(self, measure: Measure) -> Coded:
        """The fingerprint of a measure per row; None where no scorer has made its value."""
        nothing = Coded(np.zeros(len(self), dtype=np.int64), [None])
        if measure.scorer is None:
            return nothing
        marks = self._marks.get(measure.scorer, nothing)
        if not measure.has_threshold:
            return marks
        named = [None if one is None else f"{one} threshold={self.threshold:g}" for one in marks.values]
        return Coded(marks.codes, named)

    @cached_property
    def slices(self) -> tuple[Codes, Codes, list[tuple[str, str]]]:
        """Row and code of each slice that a row is in, and what the codes stand for: key and value."""
        entries = self._entries("slices")
        at, codes, values = np.empty(0, np.int64), np.empty(0, np.int64), list[tuple[str, str]]()
        if entries is not None and len(entries[0]):
            at = entries[0]
            key, value = coded(pa.chunked_array([entries[1]])), coded(pa.chunked_array([entries[2]]))
            both, codes = np.unique(key.codes * len(value.values) + value.codes, return_inverse=True)
            values = [(key.values[one // len(value.values)], value.values[one % len(value.values)]) for one in both]
        at = np.concatenate([at, np.arange(len(self))])
        lengths = np.searchsorted(_WORDS, self.number("prompt_words"), side="left")  # NaN is above all
        codes = np.concatenate([codes, lengths + len(values)])
        return at, codes, [*values, *((PROMPT_LENGTH, label) for label in _LENGTHS)]


_WORDS = np.array([10.0, 50.0, 300.0, np.inf])
_LENGTHS = ("up to 10 words", "11 to 50 words", "51 to 300 words", "over 300 words", "no prompt")


def _inverse(share: Values) -> Values:
    """1 / share; 1 where it is unknown or not above 0."""
    known = share > 0
    return 1 / np.where(known, share, 1.0)
