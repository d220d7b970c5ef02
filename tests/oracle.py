"""``profile_metrics`` recomputed in pandas from ``scores``, by another hand than the product's."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from schemas.scores import SCORED_COLUMNS

PLAIN = (
    *("sampling_fraction", "execution_duration_ms", "latency_ms", "time_to_first_byte_ms", "turn", "prompt_chars"),
    *("prompt_words", "response_chars", "response_words", "input_tokens", "output_tokens", "cached_input_tokens"),
    *("cache_write_input_tokens", "cost", *SCORED_COLUMNS),
)
LOGS = (
    *("execution_duration_ms", "latency_ms", "time_to_first_byte_ms", "input_tokens", "output_tokens", "cost"),
    *("prompt_perplexity", "response_perplexity_given_prompt"),
)
CATEGORIES = ("language", "kind", "error_code", "finish_reason", "system_prompt_hash")

Key = tuple[str, pd.Timestamp, str, str]


def measured(scores: pd.DataFrame, threshold: float) -> dict[str, tuple[pd.Series, pd.Series | None]]:
    """Measure → (values, fingerprints)."""
    marks = {name: scores["scorers"].map(lambda m, n=name: dict(m)[n]) for name in SCORED_COLUMNS}
    result: dict[str, tuple[pd.Series, pd.Series | None]] = {
        name: (scores[name].astype("float64"), marks.get(name)) for name in PLAIN
    }
    result["requests"] = ((scores["exchange_index"] == 0).astype("float64"), None)
    failed = ((scores["status_code"] != 200) | scores["error_code"].notna()).astype("float64")
    result["error_rate"] = (failed.where(scores["exchange_index"] == 0), None)
    for text in ("prompt", "response"):
        toxicity = scores[f"{text}_toxicity"].astype("float64")
        rate = (toxicity >= threshold).astype("float64").where(toxicity.notna())
        result[f"{text}_toxic_rate"] = (rate, marks[f"{text}_toxicity"] + f" threshold={threshold:g}")
    finish, failed = scores["finish_reason"], failed.astype(bool)
    refused = finish.isin(["content_filter", "refusal", "SAFETY"]) | scores["error_code"].isin(["content_filter"])
    words = scores["response_words"].astype("float64")
    answered = refused | (~failed & words.notna())
    result["refusal_rate"] = (refused.astype("float64").where(answered), None)
    empty = words.eq(0) & ~finish.isin(["tool_calls", "tool_use"]) & ~refused
    result["empty_rate"] = (empty.astype("float64").where(words.notna() & ~failed), None)
    asked, told = (scores[f"{text}_toxicity"].astype("float64") for text in ("prompt", "response"))
    for was, is_asked in (("toxic", asked >= threshold), ("clean", asked < threshold)):
        for became, is_told in (
            ("toxic", ~refused & (told >= threshold)),
            ("clean", ~refused & (told < threshold)),
            ("refused", refused),
        ):
            value = (is_asked & is_told).astype("float64").where(asked.notna() & (refused | told.notna()))
            result[f"{was}_to_{became}"] = (value, marks["response_toxicity"] + f" threshold={threshold:g}")
    for name in LOGS:
        values = scores[name].astype("float64")
        result[f"log_{name}"] = (np.log(values.where(values > 0)), marks.get(name))
    mean = scores["response_nll"].astype("float64") / scores["response_scored_tokens"].astype("float64")
    result["response_log_perplexity"] = (mean, marks["response_nll"])
    return result


def profile(
    scores: pd.DataFrame, granularities: Sequence[str], threshold: float = 0.5
) -> dict[tuple[Any, ...], dict[str, Any]]:
    """(granularity, start, version, column, fingerprint) → figures; one endpoint and one model are assumed."""
    expected = {}
    weights = (1 / scores["sampling_fraction"].where(scores["sampling_fraction"] > 0)).fillna(1.0)
    for granularity in granularities:
        starts = scores["request_time"].dt.floor(pd.Timedelta(granularity))
        for version in [*scores["model_version"].unique(), "*"]:
            of_version = scores["model_version"].eq(version) | (version == "*")
            for start in starts[of_version].unique():
                rows = scores.index[of_version & starts.eq(start)]
                for column, (values, marks) in measured(scores.loc[rows], threshold).items():
                    mark = None if marks is None else marks.unique().item()
                    expected[granularity, start, version, column, mark] = figures(values, weights.loc[rows])
                for column in CATEGORIES:
                    known = scores.loc[rows, column].dropna()
                    expected[granularity, start, version, column, None] = {
                        "count": len(known),
                        "num_nulls": len(rows) - len(known),
                        "weighted_count": math.fsum(weights.loc[known.index]),
                        "frequencies": dict(known.value_counts()),
                    }
                chosen = scores.loc[rows].dropna(subset=["response_nll"])
                mark = scores.loc[rows, "scorers"].map(lambda m: dict(m)["response_nll"]).unique().item()
                nll, tokens = chosen["response_nll"].sum(), chosen["response_scored_tokens"].sum()
                expected[granularity, start, version, "corpus_perplexity", mark] = {
                    "count": len(chosen),
                    "num_nulls": len(rows) - len(chosen),
                    "avg": math.exp(nll / tokens) if tokens else None,
                }
    return expected


def figures(values: pd.Series, weights: pd.Series) -> dict[str, Any]:
    x = values.dropna().to_numpy()
    w = weights.loc[values.dropna().index].to_numpy()
    some = len(x) > 0
    return {
        "count": len(x),
        "num_nulls": len(values) - len(x),
        "avg": math.fsum(x) / len(x) if some else None,
        "stddev": float(np.std(x, ddof=1)) if len(x) > 1 else None,
        "min": x.min() if some else None,
        "max": x.max() if some else None,
        "sum": math.fsum(x) if some else None,
        "weighted_count": math.fsum(w),
        "weighted_avg": math.fsum(w * x) / math.fsum(w) if some else None,
        "sum_wx": math.fsum(w * x) if some else None,
        "sum_w2": math.fsum(w * w) if some else None,
        "sum_w2x": math.fsum(w * w * x) if some else None,
        "sum_w2x2": math.fsum(w * w * x * x) if some else None,
    }


def same(stored: Any, value: Any) -> bool:
    """Whether a stored figure is the expected one; a missing one is NULL or NaN."""
    if isinstance(value, dict):
        return dict(stored) == value
    if value is None or math.isnan(value):
        return stored is None or math.isnan(stored)
    return bool(math.isclose(stored, value, rel_tol=1e-9, abs_tol=1e-12))
