"""The charts of the page: which rows each needs, how it is drawn, and what it says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import pandas as pd
import plotly.graph_objects as go

from metrics.dashboard import figures, sentence, service, summary, surges
from metrics.dashboard.summary import Needs
from metrics.dashboard.surges import Surge

__all__ = ["CHARTS", "NEEDS", "Chart", "Section"]


@dataclass(frozen=True)
class Section:
    """What the page draws of one endpoint and model.

    Attributes:
        rows: Rows of ``profile_metrics`` (see ``figures``).
        old: The version before the latest; None: there is none.
        new: The latest version.
        threshold: Toxic is a probability of so much, or more.
        failures: Times in which a version's failed requests stand out.
        toxic_prompts: Times in which toxic prompts do.
    """

    rows: pd.DataFrame
    old: str | None
    new: str
    threshold: float = 0.5
    failures: list[Surge] = field(default_factory=list)
    toxic_prompts: list[Surge] = field(default_factory=list)


@dataclass(frozen=True)
class Chart:
    """One chart.

    Attributes:
        needs: Measures by granularity; only these leave Spark.
        draw: Its figure, with its title; a figure without data says what it needs.
        caption: What a reader has to know, where there is something to see; with ``{threshold}``.
    """

    needs: Needs
    draw: Callable[[Section], go.Figure]
    caption: str


CHARTS = (
    Chart(
        {"1 day": tuple(column for column, _, _ in figures.PIES)},
        lambda of: figures.version_pies(of.rows, old=of.old, new=of.new),
        "Each ring splits the two means in proportion: the version with the larger part has the higher, worse mean.",
    ),
    Chart(
        {"1 hour": ("prompt_toxicity",)},
        lambda of: figures.prompt_toxicity_over_time(of.rows, of.toxic_prompts, threshold=of.threshold),
        "Circle: an hour with a prompt at or above {threshold:g} (dotted line). Red diamond: an hour in "
        f"which such prompts stand out: {surges.RULE}. Means are of {figures.MIN_REQUESTS} prompts or more.",
    ),
    Chart(
        {"1 hour": ("output_tokens",)},
        lambda of: figures.output_tokens_over_time(of.rows),
        "A spike is an hour of unusual traffic or of unusually long responses.",
    ),
    Chart(
        {"1 minute": ("response_flesch_kincaid",)},
        lambda of: figures.flesch_kincaid_by_minute(of.rows),
        "One point per minute with traffic: the mean grade (US school years) of its responses; lower is "
        "easier to read. Very short responses can have negative grades.",
    ),
    Chart(
        {"1 hour": ("error_rate",)},
        lambda of: service.failed_requests_over_time(of.rows, of.failures),
        f"Red: an hour in which a version's failed requests stand out: {surges.RULE}.",
    ),
    Chart(
        {"1 hour": ("execution_duration_ms",)},
        lambda of: service.means_over_time(
            of.rows, "execution_duration_ms", "1 hour", title="Response time by hour, by version", axis="Milliseconds"
        ),
        "One point per hour with traffic: the mean time that the model took.",
    ),
    Chart(
        {"1 day": ("response_perplexity",)},
        lambda of: service.means_over_time(
            of.rows, "response_perplexity", "1 day", title="Response perplexity by day, by version", axis="Perplexity"
        ),
        "One point per day with traffic: the mean perplexity of its responses.",
    ),
)
"""In the order of the page."""

NEEDS: Needs = summary.together(*(chart.needs for chart in CHARTS), summary.NEEDS, sentence.NEEDS, surges.NEEDS)
"""What the page draws and says, table and sentences included."""
