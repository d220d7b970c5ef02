"""The page's first sentence: what the new version does to each measure.

Everything comes from the day windows of ``profile_metrics``. The comparison is a reading aid over the whole history of
both versions, not a test that may be repeated every five minutes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Literal

import pandas as pd

from metrics.dashboard.summary import number

__all__ = ["RULE", "Change", "changes", "means", "verdict"]

Verdict = Literal["better", "worse", "about the same", "no clear difference", "too few"]

STANDARD_ERRORS, SMALLEST_CHANGE, MIN_COUNT = 3.0, 0.05, 30
RULE = (
    f"a measure is better or worse if the difference of its means is beyond {STANDARD_ERRORS:g} standard errors (as if "
    f"exchanges were independent) and at least {100 * SMALLEST_CHANGE:g} % of the old mean, and about the same if it "
    f"is surely smaller than that; fewer than {MIN_COUNT} values are too few to say"
)

MEASURES = {
    "response_perplexity": ("perplexity", 1, ""),
    "response_flesch_kincaid": ("reading grade", 1, ""),
    "response_toxicity": ("response toxicity", 3, ""),
    "error_rate": ("error rate", 2, " %"),
    "execution_duration_ms": ("response time", 0, " ms"),
    "output_tokens": ("output tokens per response", 0, ""),
}
"""Measures that are compared, all of them better when lower: name, digits, unit."""

NEEDS = {"1 day": tuple(MEASURES)}

SUMS = ("weighted_count", "sum_wx", "sum_w2", "sum_w2x", "sum_w2x2")
"""Additive columns of a window: Σ w, Σ w x, Σ w², Σ w² x, Σ w² x²."""

MAX_MORE_DIGITS = 4


@dataclass(frozen=True)
class Estimate:
    """A weighted mean, its standard error, and the number of values."""

    mean: float
    error: float
    count: int


@dataclass(frozen=True)
class Change:
    """What became of one measure from the old version to the new one."""

    column: str
    name: str
    old: str
    new: str
    percent: str
    verdict: Verdict


def changes(metrics: pd.DataFrame, *, old: str, new: str) -> list[Change]:
    """Each measure of the new version against the old one; measures that neither has are left out.

    A difference is one if it is beyond ``STANDARD_ERRORS`` standard errors of the difference, √(se² + se²) of the two
    versions, and at least ``SMALLEST_CHANGE`` of the old mean. The means are about the same if the whole interval of so
    many standard errors around the difference, or a difference beyond them, is smaller than that; else no difference is
    clear. A measure with fewer than ``MIN_COUNT`` values in either version is not judged. Exchanges count as
    independent: repeated prompts and conversations make the errors look smaller than they are.

    Args:
        metrics: Rows of ``profile_metrics`` of one endpoint and model (see ``figures``).
        old: Version before.
        new: Version now.
    """
    found = []
    for column, (name, _, _) in MEASURES.items():
        before, after = (_estimate(_days(metrics, column, version)) for version in (old, new))
        if before.count == after.count == 0:
            continue
        judged = _verdict(before, after)
        was, is_now = _shown(column, before), _shown(column, after)
        # "0.000 → 0.000, better" would puzzle: what differs must look different.
        more = 0
        while judged in ("better", "worse") and was == is_now and more < MAX_MORE_DIGITS:
            more += 1
            was, is_now = _shown(column, before, more), _shown(column, after, more)
        found.append(Change(column, name, was, is_now, _percent(before, after), judged))
    return found


def means(metrics: pd.DataFrame, version: str) -> list[tuple[str, str]]:
    """Name and mean of each measure that the version has, for a version without another to compare with."""
    found = [(column, _estimate(_days(metrics, column, version))) for column in MEASURES]
    return [(MEASURES[column][0], _shown(column, one)) for column, one in found if one.count]


def _days(metrics: pd.DataFrame, column: str, version: str) -> pd.DataFrame:
    of_measure = (metrics["granularity"] == "1 day") & (metrics["column_name"] == column)
    return metrics[of_measure & (metrics["model_version"] == version)]


def _shown(column: str, one: Estimate, more: int = 0) -> str:
    _, digits, unit = MEASURES[column]
    return number(one.mean * (100 if unit == " %" else 1), digits + more) + unit if one.count else "none"


def _estimate(windows: pd.DataFrame) -> Estimate:
    """μ = Σ w x / Σ w, and its standard error √(Σ w² (x - μ)²) / Σ w, from the windows' sums.

    The ratio (Hájek) estimator with Horvitz-Thompson weights w = 1 / sampling fraction, and its linearised variance
    (Särndal, Swensson and Wretman, Model Assisted Survey Sampling, 1992, section 5.7). The squares are additive:
    Σ w² (x - μ)² = Σ w² x² - 2 μ Σ w² x + μ² Σ w². A window that lacks any of its sums is left out whole.
    """
    known = windows[["count", *SUMS]].apply(pd.to_numeric).dropna()
    sums = {name: float(known[name].sum()) for name in SUMS}
    weight, count = sums["weighted_count"], int(known["count"].sum())
    if not count or not weight > 0:
        return Estimate(0.0, 0.0, 0)
    mean = sums["sum_wx"] / weight
    squares = sums["sum_w2x2"] - 2 * mean * sums["sum_w2x"] + mean * mean * sums["sum_w2"]
    return Estimate(mean, sqrt(max(squares, 0.0)) / weight, count)


def _verdict(before: Estimate, after: Estimate) -> Verdict:
    if min(before.count, after.count) < MIN_COUNT:
        return "too few"
    difference = after.mean - before.mean
    margin = STANDARD_ERRORS * sqrt(before.error**2 + after.error**2)
    small = SMALLEST_CHANGE * abs(before.mean)
    if abs(difference) > margin:
        return "about the same" if abs(difference) < small else "better" if difference < 0 else "worse"
    return "about the same" if abs(difference) + margin <= small else "no clear difference"


def _percent(before: Estimate, after: Estimate) -> str:
    """The relative change; none where a mean is not positive, because a grade of -1 is no fraction of 3."""
    if not (before.count and after.count and before.mean > 0 and after.mean > 0):
        return ""
    change = 100 * (after.mean / before.mean - 1)
    return ("+" if change > 0 else "") + number(change) + " %"


def verdict(found: Sequence[Change]) -> str:
    """What the changes come to: on how many of the judged measures the new version is better, worse, or neither."""
    of = Counter(change.verdict for change in found)
    judged = len(found) - of["too few"]
    if not judged:
        return "too few values to compare"
    if of["better"] == of["worse"] == 0:
        same = of["about the same"] == judged
        return f"{'about the same' if same else 'no clear difference'} on all {judged} measures"
    if not of["worse"]:
        return f"better on {of['better']} of {judged} measures, worse on none"
    if not of["better"]:
        return f"worse on {of['worse']} of {judged} measures, better on none"
    return f"mixed: better on {of['better']} and worse on {of['worse']} of {judged} measures"
