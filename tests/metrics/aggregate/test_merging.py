"""Windows merged: equal to those that are made from the rows."""

from __future__ import annotations

import random
from datetime import timedelta
from typing import Any

import numpy as np
import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.compute as pc  # type: ignore[import-untyped]
import pytest

from metrics.aggregate.merging import MERGED, PARTS, long_windows, merge_windows
from metrics.aggregate.statistics import STATISTICS_SCHEMA, window_statistics
from tests.metrics.aggregate.rows import MARKS, START, exchange, table_of

RANK_ERROR = 0.03
"""Of KLL sketches with k = 200 and of 21 quantiles at once; one is within 0.017 at 99 % (Apache DataSketches)."""

KEYS = ["model_version", "slice_key", "slice_value", "column_name", "scorer_fingerprint"]


@pytest.fixture(scope="module")
def rows() -> list[dict[str, Any]]:
    """A day with two versions, a scorer that changes, failures, and values that are missing."""
    number = random.Random(7)
    marks = [MARKS, MARKS | {"response_toxicity": "second", "response_nll": "second",
                             "response_scored_tokens": "second"}]  # fmt: skip
    return [
        exchange(
            timedelta(seconds=number.uniform(0, 86400)),
            model_version=number.choice("67"),
            execution_duration_ms=number.choice([None, number.randrange(1, 5000)]),
            response_toxicity=number.random(),
            response_nll=number.uniform(1, 90),
            response_scored_tokens=number.randrange(1, 30),
            scorers=marks[number.random() < 0.3],
            sampling_fraction=number.choice([None, 0.1, 0.5]),
            language=number.choice(["en", "de", None]),
            prompt_words=number.randrange(0, 400),
            status_code=number.choice([200, 200, 200, 500]),
        )
        for _ in range(3000)
    ]


def statistics(rows: list[dict[str, Any]], *granularities: str) -> pa.Table:
    return window_statistics(table_of(rows), granularities=granularities, toxicity_threshold=0.5)


def test_a_day_merged_from_its_hours_is_the_day_of_its_rows(rows: list[dict[str, Any]]) -> None:
    merged, made = long_windows(statistics(rows, "1 hour").select(PARTS), "1 day"), statistics(rows, "1 day")
    assert merged.schema.equals(STATISTICS_SCHEMA)
    one, other = (table.to_pandas().set_index(KEYS).sort_index() for table in (merged, made))
    assert one.index.equals(other.index)
    assert (one["window"] == other["window"]).all()
    assert (one["window_date"] == other["window_date"]).all()
    for name in ("count", "num_nulls", "min", "max"):
        assert one[name].equals(other[name]), name
    sums = ("sum", "avg", "stddev", "weighted_count", "weighted_avg", "sum_wx", "sum_w2", "sum_w2x", "sum_w2x2")
    for name in sums:
        # The deviation of equal values is nothing but their rounding.
        np.testing.assert_allclose(one[name].astype(float), other[name].astype(float), rtol=1e-9, atol=1e-12)
    frequencies = [[None if some is None else dict(some) for some in table["frequencies"]] for table in (one, other)]
    assert frequencies[0] == frequencies[1]
    values = sorted(row["response_toxicity"] for row in rows if row["scorers"] is MARKS)
    of_all = one.reset_index().query("model_version == '*' and column_name == 'response_toxicity'")
    (toxicity,) = of_all[of_all["slice_key"].isna() & of_all["scorer_fingerprint"].eq("first")]["quantiles"]
    for p, quantile in zip(np.arange(21) / 20, toxicity, strict=True):
        rank = np.searchsorted(values, quantile, "right") / len(values)
        assert abs(rank - p) <= RANK_ERROR + 1 / len(values)


def whole_requests(found: pa.Table) -> list[dict[str, Any]]:
    wanted = {"column_name": "requests", "model_version": "*", "slice_key": None}
    return [one for one in found.to_pylist() if all(one[name] == value for name, value in wanted.items())]


def test_a_range_has_the_times_of_its_windows(rows: list[dict[str, Any]]) -> None:
    hours = statistics(rows, "1 hour")
    start = pc.struct_field(hours.column("window"), "start")
    some = hours.filter(pc.less(start, pa.scalar(START + timedelta(hours=5), start.type)))
    found = merge_windows(some)
    assert found.schema.equals(MERGED)
    (whole,) = whole_requests(found)
    assert (whole["since"], whole["until"]) == (START, START + timedelta(hours=5))
    assert whole["count"] == sum(row["request_time"] < START + timedelta(hours=5) for row in rows)
    assert not merge_windows(some.slice(0, 0)).num_rows


def test_periods_begin_where_they_are_told_to(rows: list[dict[str, Any]]) -> None:
    begin = int((START + timedelta(hours=1)).timestamp())
    found = merge_windows(statistics(rows, "1 hour"), seconds=2 * 3600, begin=begin)
    assert [one["since"].hour for one in whole_requests(found)] == [0, *range(1, 24, 2)]


def test_windows_of_before_have_no_frequencies(rows: list[dict[str, Any]]) -> None:
    hours = statistics(rows[:50], "1 hour")
    at = hours.schema.get_field_index("frequencies")
    old = hours.set_column(at, hours.schema.field(at), pa.nulls(len(hours), hours.schema.field(at).type))
    assert set(long_windows(old, "1 day").column("frequencies").to_pylist()) == {None}
