"""The page's first sentences, with figures worked out by hand.

python -m pytest tests/metrics/dashboard/test_sentence.py
"""

from __future__ import annotations

from typing import Any

import pytest

from metrics.dashboard.sentence import Change, changes, means, verdict
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
        ((20.0, 10.0, 400), (18.0, 10.0, 400), "no clear difference"),  # 10 %, but within 2.1
        ((20.0, 10.0, 400), (17.8, 10.0, 400), "better"),
        ((100.0, 1.0, 400), (96.0, 1.0, 400), "about the same"),  # beyond any error, but only 4 %
        ((100.0, 10.0, 29), (10.0, 10.0, 400), "too few"),
        ((100.0, 10.0, 30), (10.0, 10.0, 30), "better"),
        ((0.0, 0.0, 400), (0.5, 0.1, 400), "worse"),  # from nothing to something is not 5 % of nothing
        ((0.0, 0.0, 400), (0.0, 0.0, 400), "about the same"),
        ((3.0, 1.0, 400), (-1.0, 1.0, 400), "better"),
        ((-1.0, 1.0, 400), (3.0, 1.0, 400), "worse"),
        ((-20.0, 1.0, 400), (-20.9, 1.0, 400), "about the same"),  # 4.5 % of 20
        ((100.0, 10.0, 400), (10.0, 10.0, 29), "too few"),
        ((0.0, 0.0, 400), (0.5, 50.0, 400), "no clear difference"),  # 0.5, with an error of 2.5
        ((100.0, 10.0, 400), (97.0, 10.0, 400), "about the same"),  # 3, beyond 2.1 and below 5
        ((100.0, 20.0, 400), (98.0, 20.0, 400), "no clear difference"),  # 2, within 4.2, but 6 is possible
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
    assert (found.old, found.new, found.verdict) == ("34.0", "34.0", "no clear difference")
    # Σ w² (x - μ)² = 100 * 24² + 1600 * 6² = 115,200; its root over Σ w = 500 is 0.679; three times that is 2.04
    for mean, expected in ((36.0, "no clear difference"), (36.1, "worse")):
        (found,) = changes(
            frame(whole, quarter, row("response_perplexity", mean, version="7", count=100)), old="6", new="7"
        )
        assert found.verdict == expected


def test_the_weights_widen_the_error() -> None:
    # 50 values of 0 with weight 1 and 50 of 1 with weight 3: mean 150 / 200 = 0.75,
    # se² = (50 * 0.75² + 9 * 50 * 0.25²) / 200² = 56.25 / 40,000, so three errors of the difference are 0.1125.
    old = row("response_toxicity", 0.5, version="6", count=100) | {
        "weighted_count": 200.0,
        "sum_wx": 150.0,
        "sum_w2": 500.0,
        "sum_w2x": 450.0,
        "sum_w2x2": 450.0,
    }
    for mean, expected in (
        (0.862, "no clear difference"),
        (0.863, "worse"),
        (0.638, "no clear difference"),
        (0.637, "better"),
    ):
        (found,) = changes(frame(old, row("response_toxicity", mean, version="7", count=100)), old="6", new="7")
        assert (found.old, found.verdict) == ("0.750", expected)


@pytest.mark.parametrize("missing", ["count", "weighted_count", "sum_wx", "sum_w2", "sum_w2x", "sum_w2x2"])
@pytest.mark.parametrize("nothing", [None, float("nan")])
def test_a_window_without_its_sums_is_left_out(missing: str, nothing: float | None) -> None:
    whole = row("response_perplexity", 10.0, version="6", count=100)
    broken = row("response_perplexity", 90.0, version="6", count=100, at="2026-04-02") | {missing: nothing}
    new = row("response_perplexity", 10.0, version="7", count=100)
    (found,) = changes(frame(whole, broken, new), old="6", new="7")
    assert (found.old, found.verdict) == ("10.0", "about the same")


def test_a_version_without_values() -> None:
    empty = row("response_perplexity", None, version="6")
    assert changes(frame(empty, empty | {"model_version": "7"}), old="6", new="7") == []
    assert changes(frame(empty), old="6", new="7") == []
    one = row("response_perplexity", 10.0, count=100)
    (found,) = changes(frame(empty, one), old="6", new="7")
    assert (found.old, found.new, found.percent, found.verdict) == ("none", "10.0", "", "too few")


def test_what_differs_looks_different() -> None:
    small = change({"avg": 0.0004, "count": 100}, {"avg": 0.0001, "count": 100}, "response_toxicity")
    assert (small.old, small.new, small.verdict) == ("0.0004", "0.0001", "better")
    same = change({"avg": 0.00040, "count": 100}, {"avg": 0.00041, "count": 100}, "response_toxicity")
    assert (same.old, same.new, same.verdict) == ("0.000", "0.000", "about the same")


def test_one_version_has_means() -> None:
    rows = [row("output_tokens", 120.0, count=2), row("error_rate", 0.5, count=2), row("response_perplexity", None)]
    assert means(frame(*rows), "7") == [("error rate", "50.00 %"), ("output tokens per response", "120")]
    assert means(frame(*rows), "6") == []


def test_what_is_written() -> None:
    found = change({"avg": 58.85, "count": 100}, {"avg": 10.0, "count": 100})
    assert (found.name, found.old, found.new, found.percent) == ("perplexity", "58.9", "10.0", "\N{MINUS SIGN}83 %")
    grades = change({"avg": 3.0, "count": 100}, {"avg": -1.0, "count": 100}, "response_flesch_kincaid")
    assert (grades.old, grades.new, grades.percent) == ("3.0", "\N{MINUS SIGN}1.0", "")
    grades = change({"avg": -1.0, "count": 100}, {"avg": 3.0, "count": 100}, "response_flesch_kincaid")
    assert (grades.old, grades.new, grades.percent) == ("\N{MINUS SIGN}1.0", "3.0", "")
    nothing = change({"avg": 0.0, "count": 100}, {"avg": 0.5, "count": 100}, "response_toxicity")
    assert (nothing.old, nothing.new, nothing.percent) == ("0.000", "0.500", "")
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
        (["about the same", "no clear difference"], "no clear difference on all 2 measures"),
        (["no clear difference", "worse", "too few"], "worse on 1 of 2 measures, better on none"),
        (["too few"], "too few values to compare"),
        ([], "too few values to compare"),
    ],
)
def test_what_it_comes_to(verdicts: list[Any], expected: str) -> None:
    assert verdict([Change("c", "c", "1", "1", "", one) for one in verdicts]) == expected
