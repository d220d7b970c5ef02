"""Hours in which more requests failed, or more prompts were toxic, than chance explains.

Everything comes from the hour windows of ``profile_metrics``: a rate's ``sum`` is its number of cases.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from statistics import median
from typing import Any

import pandas as pd
from scipy.stats import binom, fisher_exact

from metrics.dashboard.summary import versions
from schemas.profile_metrics import ALL_VERSIONS

__all__ = ["RULE", "Surge", "alone", "failures", "toxic_prompts"]

NEEDS = {"1 hour": ("error_rate", "prompt_toxic_rate")}

PROBABILITY, MIN_CASES, MAX_STEPS = 1e-6, 5, 20
SUSPICIOUS = 0.01
RULE = (
    f"there are at least {MIN_CASES} in it or in hours that follow each other, and chance makes so many less than once "
    f"in {1 / PROBABILITY:,.0f} times (binomial tail) at the rate of the other hours"
)


@dataclass(frozen=True)
class Surge:
    """A time (UTC) with more cases than chance explains.

    Attributes:
        model_version: Whose hours they are; "*" for all versions together.
        start: Start of its first hour.
        end: End of its last hour.
        cases: How many there were.
        count: Of how many requests or prompts.
        usual: Their share in the other hours, from 0 to 1.
    """

    model_version: str
    start: pd.Timestamp
    end: pd.Timestamp
    cases: int
    count: int
    usual: float


def failures(metrics: pd.DataFrame) -> list[Surge]:
    """Times in which a version's failed requests stand out, the worst first.

    A time is one hour, or several that follow each other, each of them with a number of cases that has a probability
    below ``SUSPICIOUS`` (binomial tail) at the rate of the version's other hours. It stands out if it has at least
    ``MIN_CASES`` in all, and so many have a probability below ``PROBABILITY`` at that rate.

    Args:
        metrics: Rows of ``profile_metrics`` of one endpoint and model (see ``figures``).
    """
    return _surges(metrics, "error_rate", versions(metrics))


def toxic_prompts(metrics: pd.DataFrame) -> list[Surge]:
    """Times in which toxic prompts stand out, as ``failures`` does; of all versions, for users choose none."""
    return _surges(metrics, "prompt_toxic_rate", [ALL_VERSIONS])


def alone(metrics: pd.DataFrame, surge: Surge) -> bool:
    """Whether failures are the version's own: no other one served at that time, or the others failed clearly less.

    Clearly is a p-value below ``SUSPICIOUS`` in Fisher's exact test (one-sided) on failed and other requests. What hits
    every version at once, such as a client that retries without end, is no fault of one.
    """
    hours = _hours(metrics, "error_rate")
    hours = hours[(hours["window_start"] >= surge.start) & (hours["window_start"] < surge.end)]
    others = hours[~hours["model_version"].isin([surge.model_version, ALL_VERSIONS])]
    failed, count = round(others["sum"].sum()), int(others["count"].sum())
    if not count:
        return True
    table = [[surge.cases, surge.count - surge.cases], [failed, count - failed]]
    return bool(fisher_exact(table, alternative="greater").pvalue < SUSPICIOUS)


def _surges(metrics: pd.DataFrame, column: str, of: list[str]) -> list[Surge]:
    if metrics.empty:
        return []
    hours = _hours(metrics, column)
    found = [one for version in of for one in _of_version(version, hours[hours["model_version"] == version])]
    return sorted(found, key=lambda one: -one.cases)


def _hours(metrics: pd.DataFrame, column: str) -> pd.DataFrame:
    """A rate's hours that have values, in order."""
    hours = metrics[(metrics["granularity"] == "1 hour") & (metrics["column_name"] == column)]
    hours = hours.assign(**{name: pd.to_datetime(hours[name], utc=True) for name in ("window_start", "window_end")})
    return hours[(hours["count"] > 0) & hours["sum"].notna()].sort_values("window_start").reset_index(drop=True)


def _of_version(version: str, hours: pd.DataFrame) -> list[Surge]:
    if hours.empty:
        return []
    # The usual rate is that of the hours that do not stand out. Found step by step from the better half of the hours,
    # because a surge in it would hide itself.
    rates = hours["sum"] / hours["count"]
    out = rates > median(rates)
    runs: list[pd.DataFrame] = []
    for _ in range(MAX_STEPS):
        rest = hours[~out]
        # Half a case more: what never happened is not what never will.
        usual = (rest["sum"].sum() + 0.5) / (rest["count"].sum() + 1.0)
        suspicious = hours[_chance(hours["sum"].round(), hours["count"], usual) < SUSPICIOUS]
        runs = [run for run in _runs(suspicious) if _stands_out(run, usual)]
        now = hours.index.isin([label for run in runs for label in run.index])
        if (now == out).all():
            break
        out = now
    usual = hours.loc[~out, "sum"].sum() / max(hours.loc[~out, "count"].sum(), 1.0)
    return [
        Surge(
            version,
            run["window_start"].min(),
            run["window_end"].max(),
            round(run["sum"].sum()),
            int(run["count"].sum()),
            float(usual),
        )
        for run in runs
    ]


def _runs(hours: pd.DataFrame) -> list[pd.DataFrame]:
    """The hours, in groups of those that follow each other."""
    breaks = hours["window_start"].diff() > timedelta(hours=1)
    return [run for _, run in hours.groupby(breaks.cumsum())]


def _stands_out(run: pd.DataFrame, usual: float) -> bool:
    cases = round(run["sum"].sum())
    return bool(cases >= MIN_CASES and _chance(cases, run["count"].sum(), usual) < PROBABILITY)


def _chance(cases: Any, counts: Any, usual: float) -> Any:
    """Probability of so many cases or more, P(X ≥ cases) for a binomial X; of numbers, or of whole columns."""
    return binom.sf(cases - 1, counts, usual)
