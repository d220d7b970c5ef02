"""Hours that stand out, with figures worked out by hand.

python -m pytest tests/metrics/dashboard/test_surges.py
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from metrics.dashboard.surges import failures, toxic_prompts
from tests.metrics.dashboard.test_figures import frame, row


def hours(
    *failed_of: tuple[int, int], version: str = "7", start: str = "2026-04-20 08:00", column: str = "error_rate"
) -> list[dict[str, Any]]:
    first = pd.Timestamp(start)
    return [
        row(column, failed / count, version=version, granularity="1 hour", count=count)
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
    assert (found.model_version, found.cases, found.count) == ("7", 20, 40)
    assert (found.end - found.start) == pd.Timedelta(hours=2)
    assert found.usual == pytest.approx(40 / 1600), "without the hours that stand out"


def test_a_long_incident_does_not_hide_itself() -> None:
    quiet, incident = [(0, 20)] * 30, [(8, 20)] * 20
    (found,) = failures(frame(*hours(*quiet, *incident)))
    assert found.cases == 160


def test_times_without_a_zone_are_utc() -> None:
    rows = frame(*hours(*[(0, 20)] * 30, (9, 20)))
    naive = rows.assign(**{name: rows[name].dt.tz_localize(None) for name in ("window_start", "window_end")})
    assert failures(naive) == failures(rows) != []


def test_a_gap_makes_two() -> None:
    quiet = [(0, 20)] * 30
    found = failures(frame(*hours(*quiet, (6, 20), (0, 20), (9, 20), *quiet)))
    assert [one.cases for one in found] == [9, 6], "the worst first"


@pytest.mark.parametrize("rows", [[(0, 20)] * 50, [(1, 20)] * 50, [(0, 20)] * 20 + [(4, 4)], [(10, 20)] * 50])
def test_nothing_stands_out(rows: list[tuple[int, int]]) -> None:
    # Few failures are chance, four are too few to say, and a version that always fails has no worse hours.
    assert failures(frame(*hours(*rows))) == []


def test_the_limit_is_a_probability() -> None:
    # Rate outside (0.5 + 0) / (1 + 1000): of 20 requests 3 fail with probability 1.4e-7, but three are not five.
    # Rate (0.5 + 60) / (1 + 1200) = 0.0504: P(X >= 9 of 20) = 2.1e-7 and P(X >= 8 of 20) = 3.0e-6.
    assert failures(frame(*hours(*[(0, 20)] * 50, (3, 20)))) == []
    usual = [(1, 20)] * 60
    assert failures(frame(*hours(*usual, (8, 20)))) == []
    (found,) = failures(frame(*hours(*usual, (9, 20))))
    assert found.cases == 9


def test_hours_without_requests_or_sums_are_passed_over() -> None:
    rows = frame(*hours(*[(0, 20)] * 30, (9, 20)), *hours((0, 1), (1, 1), start="2026-04-25 08:00"))
    rows.loc[len(rows) - 2, ["count", "sum"]] = [0, float("nan")]
    rows.loc[len(rows) - 1, "sum"] = float("nan")
    (found,) = failures(rows)
    assert (found.cases, found.usual) == (9, 0.0)


def test_all_versions_together_are_no_version() -> None:
    assert failures(frame(*hours(*[(0, 20)] * 30, (9, 20), version="*"))) == []


def test_versions_have_rates_of_their_own() -> None:
    bad = hours(*[(5, 20)] * 40, version="6")
    good = hours(*[(0, 20)] * 40, (6, 20), version="7")
    (found,) = failures(frame(*bad, *good))
    assert found.model_version == "7"


def test_toxic_prompts_stand_out_over_all_versions_together() -> None:
    quiet = [(0, 20), (1, 20)] * 20
    rows = frame(
        *hours(*quiet, (12, 24), version="*", column="prompt_toxic_rate"),
        *hours(*quiet, (12, 24), version="7", column="prompt_toxic_rate"),
        *hours(*quiet, (12, 24), version="*"),
    )
    (found,) = toxic_prompts(rows)
    assert (found.model_version, found.cases, found.count) == ("*", 12, 24)
    assert found.usual == pytest.approx(20 / 800)
    assert toxic_prompts(rows.iloc[:0]) == []
    assert failures(pd.DataFrame()) == []


def test_hours_with_few_requests_stand_out_together() -> None:
    """None of them would by itself: of 9 requests 5 fail with probability 1e-4 where 7 % do."""
    usual = [(0, 2), (0, 1), (1, 5), (0, 4), (0, 3)] * 10
    incident = [(2, 5), (5, 8), (9, 17), (5, 9), (6, 11), (1, 12)]
    (found,) = failures(frame(*hours(*usual, *incident, *usual)))
    assert (found.cases, found.count) == (25, 45)
    assert found.end - found.start == pd.Timedelta(hours=4), "the first and the last hour of the six are usual ones"
    alone = [(5, 9), (0, 2)]
    assert failures(frame(*hours(*usual, *alone, *usual))) == []


def test_chance_is_not_flagged() -> None:
    rng = np.random.default_rng(7)
    for rate, requests in ((0.01, 5), (0.05, 30), (0.3, 20), (0.02, 500)):
        rows = [(int(rng.binomial(requests, rate)), requests) for _ in range(24 * 30)]
        assert failures(frame(*hours(*rows))) == [], (rate, requests)
