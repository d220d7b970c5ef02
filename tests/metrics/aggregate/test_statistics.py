"""Statistics of windows, by hand: weights, slices, versions, scorers, rates and frequencies."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa  # type: ignore[import-untyped]
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metrics.aggregate.statistics import FREQUENCIES, OTHER, STATISTICS_SCHEMA, frequencies, window_statistics
from schemas.measures import BY_NAME, MEASURES
from schemas.profile_metrics import PROFILE_METRICS
from tests.metrics.aggregate.rows import MARKS, START, exchange, table_of

MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)


def windows(*rows: dict[str, Any], granularities: tuple[str, ...] = ("1 hour",), **more: Any) -> list[dict[str, Any]]:
    found = window_statistics(table_of(rows), granularities=granularities, toxicity_threshold=0.5, **more)
    assert found.schema.equals(STATISTICS_SCHEMA)
    return list(found.to_pylist())


def only(found: list[dict[str, Any]], **wanted: Any) -> dict[str, Any]:
    """The one window with these values; the whole of version 7 unless said otherwise."""
    same = {"model_version": "7", "slice_key": None} | wanted
    (one,) = (row for row in found if all(row[name] == value for name, value in same.items()))
    return one


def test_what_it_returns_is_what_the_table_has() -> None:
    names = [name for name in PROFILE_METRICS.column_names if name in STATISTICS_SCHEMA.names]
    assert names == STATISTICS_SCHEMA.names
    assert window_statistics(table_of([]), granularities=["1 hour"], toxicity_threshold=0.5).schema == STATISTICS_SCHEMA


def test_the_statistics_of_numbers() -> None:
    found = windows(*(exchange(execution_duration_ms=value) for value in (100, 200, None, 600)))
    one = only(found, column_name="execution_duration_ms")
    assert (one["count"], one["num_nulls"], one["min"], one["max"], one["sum"]) == (3, 1, 100.0, 600.0, 900.0)
    assert (one["avg"], one["median"]) == (300.0, 200.0)
    assert one["stddev"] == pytest.approx(np.std([100, 200, 600], ddof=1))
    assert (one["quantiles"][0], one["quantiles"][-1], len(one["quantiles"])) == (100.0, 600.0, 21)
    assert one["window"] == {"start": START, "end": START + HOUR}
    assert (one["window_date"].isoformat(), one["frequencies"]) == ("2026-04-01", None)
    alone = only(windows(exchange()), column_name="execution_duration_ms")
    assert (alone["count"], alone["stddev"]) == (1, None)


def test_a_measure_without_a_value_is_counted() -> None:
    one = only(windows(exchange(), exchange()), column_name="latency_ms")
    assert (one["count"], one["num_nulls"], one["weighted_count"]) == (0, 2, 0.0)
    numbers = ("avg", "stddev", "min", "max", "median", "quantiles", "sum", "sum_wx", "weighted_avg", "sketch")
    assert [one[name] for name in numbers] == [None] * len(numbers)


@pytest.mark.parametrize(("fraction", "weight"), [(0.1, 10.0), (None, 1.0), (0.0, 1.0), (-1.0, 1.0), (1.0, 1.0)])
def test_weights(fraction: float | None, weight: float) -> None:
    found = windows(exchange(sampling_fraction=fraction, sample_rate=0.5), exchange(execution_duration_ms=400))
    plain, score = (only(found, column_name=name) for name in ("execution_duration_ms", "response_toxicity"))
    assert plain["weighted_count"] == pytest.approx(weight + 1)
    assert plain["weighted_avg"] == pytest.approx((100 * weight + 400) / (weight + 1))
    assert score["weighted_count"] == pytest.approx(2 * weight + 1), "it stands for one that was not scored, too"
    assert plain["sum_w2x2"] == pytest.approx((100 * weight) ** 2 + 400**2)


def test_who_was_not_sampled_has_no_part_in_scores() -> None:
    none: dict[str, Any] = dict.fromkeys(
        ("prompt_toxicity", "response_toxicity", "response_nll", "response_scored_tokens")
    )
    reasons = dict.fromkeys(MARKS, "not_sampled")
    found = windows(exchange(sample_rate=0.5), exchange(sample_rate=0.5, score_errors=reasons, **none))
    score, plain = (only(found, column_name=name) for name in ("response_toxicity", "requests"))
    assert (score["count"], score["num_nulls"], score["weighted_count"]) == (1, 0, 2.0)
    assert (plain["count"], plain["weighted_count"]) == (2, 2.0)


def test_a_failure_is_scored_whatever_the_rate() -> None:
    found = windows(exchange(status_code=500, sample_rate=0.5))
    assert only(found, column_name="prompt_toxicity")["weighted_count"] == 1.0


def test_all_versions_together_and_one_that_is_called_so() -> None:
    found = windows(exchange(), exchange(model_version="6"), exchange(model_version="*"), exchange(model_version=None))
    counts = {row["model_version"]: row["count"] for row in found if row["column_name"] == "requests"
              and row["slice_key"] is None}  # fmt: skip
    assert counts == {"7": 1, "6": 1, None: 1, "*": 4}


def test_models_are_apart() -> None:
    found = windows(exchange(), exchange(model_name=None), exchange(endpoint_name="other"))
    of_all = [row for row in found if (row["column_name"], row["model_version"]) == ("requests", "*")]
    names = {(row["endpoint_name"], row["model_name"], row["count"]) for row in of_all}
    assert names == {("e", "m", 1), ("e", None, 1), ("other", "m", 1)}


def test_a_scorer_does_not_mix_with_another() -> None:
    second = MARKS | {"response_toxicity": "second"}
    found = windows(exchange(), exchange(scorers=second), exchange(), exchange(scorers={}))
    by_mark = {row["scorer_fingerprint"]: row["count"] for row in found
               if row["column_name"] == "response_toxicity" and row["model_version"] == "7"
               and row["slice_key"] is None}  # fmt: skip
    assert by_mark == {"first": 2, "second": 1, None: 1}
    rate = only(found, column_name="response_toxic_rate", scorer_fingerprint="second threshold=0.5")
    assert rate["count"] == 1
    assert only(found, column_name="requests")["count"] == 4, "what no scorer makes is not counted twice"


def test_slices_and_the_length_of_prompts() -> None:
    found = windows(
        exchange(slices={"cat": "true"}, prompt_words=10),
        exchange(slices={"cat": "false"}, prompt_words=11),
        exchange(prompt_words=301),
        exchange(prompt_words=None),
        granularities=("1 minute", "1 hour"),
    )
    requests = [row for row in found if row["column_name"] == "requests" and row["model_version"] == "7"]
    assert {row["slice_key"] for row in requests if row["granularity"] == "1 minute"} == {None}
    slices = {(row["slice_key"], row["slice_value"]): row["count"] for row in requests
              if row["granularity"] == "1 hour"}  # fmt: skip
    assert slices == {
        (None, None): 4,
        ("cat", "true"): 1,
        ("cat", "false"): 1,
        ("prompt_length", "up to 10 words"): 1,
        ("prompt_length", "11 to 50 words"): 1,
        ("prompt_length", "over 300 words"): 1,
        ("prompt_length", "no prompt"): 1,
    }


@pytest.mark.parametrize(
    ("granularity", "starts"),
    [
        ("1 minute", [timedelta(hours=23, minutes=59), timedelta(days=1)]),
        ("15 minutes", [timedelta(hours=23, minutes=45), timedelta(days=1)]),
        ("6 hours", [timedelta(hours=18), timedelta(days=1)]),
        ("1 day", [timedelta(), timedelta(days=1)]),
    ],
)
def test_windows_are_half_open_and_begin_with_the_day(granularity: str, starts: list[timedelta]) -> None:
    day = timedelta(days=1)
    found = windows(exchange(day - timedelta(microseconds=1)), exchange(day), granularities=(granularity,))
    requests = [row for row in found if row["column_name"] == "requests" and row["model_version"] == "7"]
    assert [row["window"]["start"] for row in requests if row["slice_key"] is None] == [START + at for at in starts]


def test_only_touched_windows() -> None:
    rows = [exchange(), exchange(HOUR), exchange(HOUR + MINUTE), exchange(HOUR, model_name="other")]
    at = int((START + HOUR).timestamp())
    touched = {("1 minute", at, "e", "m"), ("1 hour", at, "e", "m"), ("1 hour", at, "e", "nobody")}
    found = windows(*rows, granularities=("1 minute", "1 hour", "1 day"), touched=touched)
    requests = [row for row in found if row["column_name"] == "requests" and row["model_version"] == "*"]
    assert [(row["granularity"], row["count"]) for row in requests if row["slice_key"] is None] == [
        ("1 minute", 1),
        ("1 hour", 2),
    ]


def rate(name: str, *rows: dict[str, Any]) -> tuple[float | None, int]:
    one = only(windows(*rows), column_name=name)
    return one["sum"], one["count"]


def test_rates_of_calls() -> None:
    batched = [exchange(exchange_index=i, status_code=500) for i in range(3)]
    assert rate("requests", *batched) == (1.0, 3)
    assert rate("error_rate", *batched, exchange(), exchange(error_code="cut off")) == (2.0, 3)


@pytest.mark.parametrize(
    ("values", "refused", "empty"),
    [
        ({}, 0.0, 0.0),
        ({"finish_reason": "content_filter"}, 1.0, 0.0),
        ({"finish_reason": "content_filter", "response_words": None}, 1.0, None),
        ({"status_code": 400, "error_code": "content_filter", "response_words": None}, 1.0, None),
        ({"status_code": 500, "error_code": "INTERNAL", "response_words": None}, None, None),
        ({"response_words": 0}, 0.0, 1.0),
        ({"response_words": 0, "finish_reason": "tool_calls"}, 0.0, 0.0),
        ({"response_words": None}, None, None),
        ({"finish_reason": None}, 0.0, 0.0),
    ],
)
def test_refused_and_empty_answers(values: dict[str, Any], refused: float | None, empty: float | None) -> None:
    found = windows(exchange(**values))
    assert only(found, column_name="refusal_rate")["avg"] == refused
    assert only(found, column_name="empty_rate")["avg"] == empty


@pytest.mark.parametrize(
    ("prompt", "response", "finish", "name"),
    [
        (0.5, 0.5, "stop", "toxic_to_toxic"),
        (0.9, 0.49, "stop", "toxic_to_clean"),
        (0.9, None, "content_filter", "toxic_to_refused"),
        (0.9, 0.9, "content_filter", "toxic_to_refused"),
        (0.1, 0.9, "stop", "clean_to_toxic"),
        (0.1, 0.1, "stop", "clean_to_clean"),
        (0.1, 0.1, "refusal", "clean_to_refused"),
        (None, 0.9, "stop", None),
        (0.9, None, "stop", None),
    ],
)
def test_prompts_and_answers_jointly(
    prompt: float | None, response: float | None, finish: str, name: str | None
) -> None:
    found = windows(exchange(prompt_toxicity=prompt, response_toxicity=response, finish_reason=finish))
    joint = {
        one.name: only(found, column_name=one.name)["sum"]
        for one in MEASURES
        if one.name.startswith(("toxic_to", "clean_to"))
    }
    assert len(joint) == 6
    assert {key for key, total in joint.items() if total} == ({name} if name else set())
    assert set(joint.values()) == ({0.0, 1.0} if name else {None})


def test_logarithms_and_ratios() -> None:
    found = windows(exchange(), exchange(execution_duration_ms=0, response_nll=4.0, response_scored_tokens=1))
    logs = only(found, column_name="log_execution_duration_ms")
    assert (logs["count"], logs["num_nulls"], logs["avg"]) == (1, 1, pytest.approx(math.log(100)))
    assert only(found, column_name="response_log_perplexity")["avg"] == pytest.approx((6 / 3 + 4) / 2)
    corpus = only(found, column_name="corpus_perplexity")
    assert corpus["avg"] == pytest.approx(math.exp(10 / 4))
    assert (corpus["count"], corpus["sum"], corpus["sketch"]) == (2, None, None)
    nothing = windows(exchange(response_nll=0.0, response_scored_tokens=0))
    assert (only(nothing, column_name="corpus_perplexity")["avg"]) is None


def test_frequencies() -> None:
    found = windows(exchange(language="en", sampling_fraction=0.5), exchange(language="de"), exchange(language="en"),
                    exchange())  # fmt: skip
    one = only(found, column_name="language")
    assert (one["count"], one["num_nulls"], one["weighted_count"]) == (3, 1, 4.0)
    assert dict(one["frequencies"]) == {"en": 2, "de": 1}
    assert (one["avg"], one["sketch"], one["scorer_fingerprint"]) == (None, None, None)


def test_rare_values_are_counted_together() -> None:
    counts = {f"value {i:03}": i + 1 for i in range(FREQUENCIES + 2)}
    found = dict(frequencies(dict(counts)))
    assert found.pop(OTHER) == 1 + 2
    assert found == {name: times for name, times in counts.items() if times > 2}


def test_every_measure_is_read_without_a_column_of_it() -> None:
    """A table of before has not all columns."""
    rows = table_of([exchange()]).select(
        ["request_time", "endpoint_name", "model_name", "model_version", "scorers", "exchange_index", "status_code"]
    )
    found = window_statistics(rows, granularities=["1 hour"], toxicity_threshold=0.5)
    assert set(found.column("column_name").to_pylist()) == set(BY_NAME)


values = st.none() | st.floats(-1e6, 1e6)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.tuples(values, st.sampled_from([None, 0.1, 0.5]), st.integers(0, 7200)), min_size=1, max_size=40))
def test_sums_of_any_rows(rows: list[tuple[float | None, float | None, int]]) -> None:
    """Against sums by hand, window by window."""
    made = [exchange(timedelta(seconds=at), cost=x, sampling_fraction=f) for x, f, at in rows]
    found = {row["window"]["start"]: row for row in windows(*made) if row["column_name"] == "cost"
             and (row["model_version"], row["slice_key"]) == ("7", None)}  # fmt: skip
    expected: dict[datetime, list[tuple[float | None, float]]] = {}
    for x, fraction, at in rows:
        start = START + timedelta(hours=at // 3600)
        expected.setdefault(start, []).append((x, 1 / (fraction or 1.0)))
    assert set(found) == set(expected)
    for start, some in expected.items():
        known = [(x, w) for x, w in some if x is not None]
        one = found[start.astimezone(UTC)]
        assert (one["count"], one["num_nulls"]) == (len(known), len(some) - len(known))
        if known:
            assert one["sum"] == pytest.approx(math.fsum(x for x, _ in known), rel=1e-9, abs=1e-6)
            assert one["sum_w2x"] == pytest.approx(math.fsum(w * w * x for x, w in known), rel=1e-9, abs=1e-4)
            assert (one["min"], one["max"]) == (min(x for x, _ in known), max(x for x, _ in known))
            ordered = sorted(x for x, _ in known)
            assert one["median"] == ordered[(len(ordered) - 1) // 2], "the smallest value of at least half the rank"


def test_the_rows_come_in_pieces() -> None:
    """Spark hands over several record batches."""
    rows = [exchange(slices={"a": "b"}, execution_duration_ms=i) for i in range(10)]
    pieces = pa.concat_tables([table_of(rows[:3]), table_of(rows[3:4]), table_of(rows[4:])])
    found = window_statistics(pieces, granularities=["1 hour"], toxicity_threshold=0.5)
    assert found.drop(["sketch"]).equals(
        window_statistics(table_of(rows), granularities=["1 hour"], toxicity_threshold=0.5).drop(["sketch"])
    )
