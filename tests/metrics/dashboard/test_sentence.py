"""The page's first sentences, with figures worked out by hand.

python -m pytest tests/metrics/dashboard/test_sentence.py
"""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

from metrics.dashboard.sentence import Change, changes, failures, verdict
from tests.metrics.dashboard.test_figures import frame, row


def change(before: dict[str, Any], after: dict[str, Any], column: str = "response_perplexity") -> Change:
    (found,) = changes(frame(row(column, version="6", **before), row(column, version="7", **after)), old="6", new="7")
    return found


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        # 400 values of standard deviation 10: each mean is good to 0.5, their difference to 0.71, three times 2.1
        ((100.0, 10.0, 400), (90.0, 10.0, 400), "better"),
        ((90.0, 10.0, 400), (100.0, 10.0, 400), "worse"),
        ((100.0, 10.0, 400), (98.0, 10.0, 400), "about the same"),
        ((20.0, 10.0, 400), (18.0, 10.0, 400), "about the same"),  # 10 %, but within 2.1
        ((20.0, 10.0, 400), (17.8, 10.0, 400), "better"),
        ((100.0, 1.0, 400), (96.0, 1.0, 400), "about the same"),  # beyond any error, but only 4 %
        ((100.0, 10.0, 29), (10.0, 10.0, 400), "too few"),
        ((100.0, 10.0, 30), (10.0, 10.0, 30), "better"),
        ((0.0, 0.0, 400), (0.5, 0.1, 400), "worse"),  # from nothing to something is not 5 % of nothing
        ((0.0, 0.0, 400), (0.0, 0.0, 400), "about the same"),
        ((3.0, 1.0, 400), (-1.0, 1.0, 400), "better"),
    ],
)
def test_verdicts(before: tuple[float, float, int], after: tuple[float, float, int], expected: str) -> None:
    old, new = ({"avg": mean, "spread": spread, "count": count} for mean, spread, count in (before, after))
    assert change(old, new).verdict == expected


def test_windows_add_up_and_weights_count() -> None:
    # Two days of version 6: 100 values of 10 logged whole, 100 of 40 logged at a quarter: (100*10 + 400*40) / 500 = 34
    whole = row("response_perplexity", 10.0, version="6", count=100)
    quarter = row("response_perplexity", 40.0, version="6", count=100, at="2026-04-02") | {
        "weighted_count": 400.0,
        "sum_wx": 16_000.0,
        "sum_w2": 1600.0,
        "sum_w2x": 64_000.0,
        "sum_w2x2": 2_560_000.0,
    }
    new = row("response_perplexity", 34.0, version="7", count=100)
    (found,) = changes(frame(whole, quarter, new), old="6", new="7")
    assert (found.old, found.new, found.verdict) == ("34.0", "34.0", "about the same")
    # Σ w² (x - μ)² = 100 * 24² + 1600 * 6² = 115,200; its root over Σ w = 500 is 0.679; three times that is 2.04
    for mean, expected in ((36.0, "about the same"), (36.1, "worse")):
        (found,) = changes(
            frame(whole, quarter, row("response_perplexity", mean, version="7", count=100)), old="6", new="7"
        )
        assert found.verdict == expected


def test_what_is_written() -> None:
    found = change({"avg": 58.85, "count": 100}, {"avg": 10.0, "count": 100})
    assert (found.name, found.old, found.new, found.percent) == ("perplexity", "58.9", "10.0", "\N{MINUS SIGN}83 %")
    grades = change({"avg": 3.0, "count": 100}, {"avg": -1.0, "count": 100}, "response_flesch_kincaid")
    assert (grades.old, grades.new, grades.percent) == ("3.0", "\N{MINUS SIGN}1.0", "")
    errors = change({"avg": 0.022, "count": 100}, {"avg": 0.012, "count": 100}, "error_rate")
    assert (errors.old, errors.new) == ("2.20 %", "1.20 %")
    missing = change({"avg": 1.0, "count": 100}, {"avg": None, "count": 0})
    assert (missing.new, missing.verdict) == ("none", "too few")


def test_only_day_windows_and_the_two_versions_count() -> None:
    rows = [
        row("response_perplexity", 10.0, version="6", count=100),
        row("response_perplexity", 99.0, version="6", count=100, granularity="1 hour"),
        row("response_perplexity", 99.0, version="5", count=100),
        row("response_perplexity", 99.0, version="*", count=100),
        row("response_perplexity", 10.0, version="7", count=100),
    ]
    assert [one.old for one in changes(frame(*rows), old="6", new="7")] == ["10.0"]


@pytest.mark.parametrize(
    ("verdicts", "expected"),
    [
        (["better", "better", "about the same"], "better on 2 of 3 measures, worse on none"),
        (["worse", "about the same"], "worse on 1 of 2 measures, better on none"),
        (["worse", "better", "too few"], "mixed: better on 1 and worse on 1 of 2 measures"),
        (["about the same", "about the same"], "about the same on all 2 measures"),
        (["too few"], "too few values to compare"),
        ([], "too few values to compare"),
    ],
)
def test_what_it_comes_to(verdicts: list[Any], expected: str) -> None:
    assert verdict([Change("c", "c", "1", "1", "", one) for one in verdicts]) == expected


def hours(*failed_of: tuple[int, int], version: str = "7", start: str = "2026-04-20 08:00") -> list[dict[str, Any]]:
    first = pd.Timestamp(start)
    return [
        row("error_rate", failed / count, version=version, granularity="1 hour", count=count)
        | {
            "window_start": (first + pd.Timedelta(hours=i)).tz_localize("UTC"),
            "window_end": (first + pd.Timedelta(hours=i + 1)).tz_localize("UTC"),
            "sum": float(failed),
        }
        for i, (failed, count) in enumerate(failed_of)
    ]


def test_failures_that_stand_out_are_one_time() -> None:
    quiet = [(0, 20), (1, 20)] * 20
    (found,) = failures(frame(*hours(*quiet, (9, 20), (11, 20), *quiet)))
    assert (found.model_version, found.failed, found.requests) == ("7", 20, 40)
    assert (found.end - found.start) == pd.Timedelta(hours=2)
    assert found.usual == pytest.approx((40 + 0.5) / (1600 + 1))


def test_a_long_incident_does_not_hide_itself() -> None:
    quiet, incident = [(0, 20)] * 30, [(8, 20)] * 20
    (found,) = failures(frame(*hours(*quiet, *incident)))
    assert found.failed == 160


def test_times_without_a_zone_are_utc() -> None:
    rows = frame(*hours(*[(0, 20)] * 30, (9, 20)))
    naive = rows.assign(**{name: rows[name].dt.tz_localize(None) for name in ("window_start", "window_end")})
    assert failures(naive) == failures(rows) != []


def test_a_gap_makes_two() -> None:
    quiet = [(0, 20)] * 30
    found = failures(frame(*hours(*quiet, (6, 20), (0, 20), (9, 20), *quiet)))
    assert [one.failed for one in found] == [9, 6], "the worst first"


@pytest.mark.parametrize("rows", [[(0, 20)] * 50, [(1, 20)] * 50, [(0, 20)] * 20 + [(4, 4)], [(10, 20)] * 50])
def test_nothing_stands_out(rows: list[tuple[int, int]]) -> None:
    # Few failures are chance, four are too few to say, and a version that always fails has no worse hours.
    assert failures(frame(*hours(*rows))) == []


def test_versions_have_rates_of_their_own() -> None:
    bad = hours(*[(5, 20)] * 40, version="6")
    good = hours(*[(0, 20)] * 40, (6, 20), version="7")
    (found,) = failures(frame(*bad, *good))
    assert found.model_version == "7"
