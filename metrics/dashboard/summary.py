"""Windows of one endpoint and model as a summary per version, and how numbers and names are read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from schemas.model_versions import version_order
from schemas.profile_metrics import ALL_VERSIONS

MINUS = "\N{MINUS SIGN}"

MEANS = ("response_perplexity", "response_flesch_kincaid", "prompt_toxicity", "response_toxicity", "error_rate")

TOTALS = ("requests", "input_tokens", "output_tokens")


Needs = Mapping[str, tuple[str, ...]]
"""Measures by granularity: the rows of ``profile_metrics`` that something is made of."""

NEEDS: Needs = {"1 day": (*TOTALS, *MEANS)}


def together(*needs: Needs) -> Needs:
    """What all of them need, each once."""
    found: dict[str, dict[str, None]] = {}
    for one in needs:
        for granularity, columns in one.items():
            found.setdefault(granularity, {}).update(dict.fromkeys(columns))
    return {granularity: tuple(columns) for granularity, columns in found.items()}


def number(x: float, digits: int = 0) -> str:
    """A number to read: thousands separated, a true minus."""
    return f"{x:,.{digits}f}".replace("-", MINUS)


def named(value: object) -> str:
    """A model's or an endpoint's name to read; the log may have none."""
    return "(no name)" if pd.isna(value) else str(value)


def versions(metrics: pd.DataFrame) -> list[str]:
    """Model versions by number ("10" after "9"), then the others alphabetically; without "*"."""
    if metrics.empty:
        return []
    names = {str(v) for v in metrics["model_version"].dropna().unique()} - {ALL_VERSIONS}
    return sorted(names, key=version_order)


def summary(metrics: pd.DataFrame) -> list[dict[str, Any]]:
    """One dict per version over all its windows (1 day, or the longest there are); None where there is no value.

    Means and ``error_rate`` are Σ w x / Σ w with w = 1 / sampling_fraction, so they estimate all traffic; ``requests``,
    ``errors`` and the token sums count what was logged.
    """
    days = _longest_windows(metrics)
    result = []
    for version in versions(metrics):
        rows = days[days["model_version"] == version]
        of = {column: rows[rows["column_name"] == column] for column in (*TOTALS, *MEANS)}
        result.append(
            {
                "model_version": version,
                "first_window": rows["window_start"].min(),
                "last_window": rows["window_start"].max(),
                **{column: _total(of[column]) for column in TOTALS},
                "errors": _total(of["error_rate"]),
                **{column: _mean(of[column]) for column in MEANS},
            }
        )
    return result


def _longest_windows(metrics: pd.DataFrame) -> pd.DataFrame:
    if metrics.empty:
        return metrics
    present = metrics["granularity"].dropna().unique()
    longest = "1 day" if "1 day" in present else max(present, key=pd.Timedelta)
    return metrics[metrics["granularity"] == longest]


def _mean(rows: pd.DataFrame) -> float | None:
    """Σ w x / Σ w over the windows."""
    weight = pd.to_numeric(rows["weighted_count"])  # a column of NULLs may come as objects
    total = pd.to_numeric(rows["sum_wx"]) if "sum_wx" in rows else pd.to_numeric(rows["weighted_avg"]) * weight
    known = weight.gt(0) & total.notna()
    return float(total[known].sum() / weight[known].sum()) if known.any() else None


def _total(rows: pd.DataFrame) -> int | None:
    known = rows["sum"].dropna()
    return round(known.sum()) if len(known) else None
