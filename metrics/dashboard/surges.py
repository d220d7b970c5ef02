"""Hours in which more requests failed, or more prompts were toxic, than chance explains.

Everything comes from the hour windows of ``profile_metrics``: a rate's ``sum`` is its number of cases.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from statistics import median

import pandas as pd
from scipy.stats import binom

from metrics.dashboard.figures import versions
from schemas.profile_metrics import ALL_VERSIONS

__all__ = ["RULE", "Surge", "alone", "failures", "toxic_prompts"]

PROBABILITY, MIN_CASES, MAX_STEPS = 1e-6, 5, 20
RULE = (
    f"there are at least {MIN_CASES}, and chance makes so many in less than one hour of {1 / PROBABILITY:,.0f} "
    "(binomial tail) at the rate of the other hours"
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

    An hour stands out if it has at least ``MIN_CASES``, and so many come with a probability below ``PROBABILITY``
    (binomial tail) at the rate of the version's other hours. Hours that follow each other are one time.

    Args:
        metrics: Rows of ``profile_metrics`` of one endpoint and model (see ``figures``).
    """
    return _surges(metrics, "error_rate", versions(metrics))


def toxic_prompts(metrics: pd.DataFrame) -> list[Surge]:
    """Times in which toxic prompts stand out, as ``failures`` does; of all versions, for users choose none."""
    return _surges(metrics, "prompt_toxic_rate", [ALL_VERSIONS])


def alone(found: list[Surge], version: str) -> bool:
    """Whether something stands out for a version at a time at which it does for no other: what hits all is no fault."""
    others = [one for one in found if one.model_version != version]
    return any(
        not any(other.start < one.end and one.start < other.end for other in others)
        for one in found
        if one.model_version == version
    )


def _surges(metrics: pd.DataFrame, column: str, of: list[str]) -> list[Surge]:
    if metrics.empty:
        return []
    hours = metrics[(metrics["granularity"] == "1 hour") & (metrics["column_name"] == column)]
    times = {name: pd.to_datetime(hours[name], utc=True) for name in ("window_start", "window_end")}
    hours = hours.assign(**times)
    hours = hours[(hours["count"] > 0) & hours["sum"].notna()].sort_values("window_start")
    found = [one for version in of for one in _of_version(version, hours[hours["model_version"] == version])]
    return sorted(found, key=lambda one: -one.cases)


def _of_version(version: str, hours: pd.DataFrame) -> list[Surge]:
    if hours.empty:
        return []
    cases, counts = hours["sum"].to_numpy(dtype=float).round(), hours["count"].to_numpy(dtype=float)
    # The usual rate is that of the hours that do not stand out. Found step by step from the better half of the hours,
    # because a surge in it would hide itself.
    rates = cases / counts
    out = rates > median(rates)
    for _ in range(MAX_STEPS):
        # Half a case more: what never happened is not what never will.
        likely = (cases[~out].sum() + 0.5) / (counts[~out].sum() + 1.0)
        now = (cases >= MIN_CASES) & (binom.sf(cases - 1, counts, likely) < PROBABILITY)
        if (now == out).all():
            break
        out = now
    usual = cases[~out].sum() / max(counts[~out].sum(), 1.0)
    flagged = hours[out]
    breaks = flagged["window_start"].diff() > timedelta(hours=1)
    return [
        Surge(
            version,
            part["window_start"].min(),
            part["window_end"].max(),
            round(part["sum"].sum()),
            int(part["count"].sum()),
            float(usual),
        )
        for _, part in flagged.groupby(breaks.cumsum())
    ]
