"""profile_metrics → figures of how the endpoint serves: failures, response times, and perplexity day by day.

Frames are those of ``figures``: one endpoint and model, without slices.
"""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import plotly.graph_objects as go

from metrics.dashboard.drawing import (
    FLAG,
    OUTLINES,
    by_version,
    empty_figure,
    plain_text,
    rows_of,
    styled,
    times,
    with_gaps,
    within,
)
from metrics.dashboard.summary import versions
from metrics.dashboard.surges import Surge
from schemas.profile_metrics import ALL_VERSIONS

HOUR_MS = 3_600_000
FEW = 4


def failed_requests_over_time(metrics: pd.DataFrame, outstanding: Sequence[Surge] = ()) -> go.Figure:
    """Failed requests per hour, stacked by version; hours in which a version's stand out have a red mark on top."""
    title = "Failed requests per hour, by version"
    rows = _without_total(rows_of(metrics, "error_rate", "1 hour", "sum"))
    if rows.empty:
        return empty_figure(title, "error_rate by 1 hour")
    figure = go.Figure()
    for version, colour, part in by_version(rows, versions(metrics)):
        figure.add_bar(
            x=times(part),
            y=part["sum"],
            customdata=part["count"],
            name=f"Version {plain_text(version)}",
            width=HOUR_MS,
            offset=0,
            marker={"color": colour, "line": {"width": 0}},
            hovertemplate=f"%{{x|%-d %b %H:%M}} UTC: %{{y:,.0f}} of %{{customdata:,.0f}} requests"
            f"<extra>Version {plain_text(version)}</extra>",
        )
    height = rows.groupby("time")["sum"].sum()
    if outstanding:
        flagged = height[within(height.index, outstanding)]
        hours = "1 hour" if len(flagged) == 1 else f"{len(flagged)} hours"
        figure.add_scatter(
            x=[(time + pd.Timedelta(minutes=30)).isoformat() for time in flagged.index],
            y=flagged,
            customdata=[time.isoformat() for time in flagged.index],
            name=f"Failures stand out: {hours}",
            mode="markers",
            marker={"color": FLAG, "size": 8, "symbol": "diamond", "line": {"color": "white", "width": 0.5}},
            hovertemplate="%{customdata|%-d %b %H:%M} UTC: %{y:,.0f} failed<extra></extra>",
        )
    figure.update_layout(barmode="stack")
    figure.update_yaxes(title="Failed requests", tickformat=",.0f", rangemode="tozero")
    if height.max() <= FEW:
        figure.update_yaxes(dtick=1, range=[0, FEW])  # no ticks between two requests
    return styled(figure, title, rows)


def response_time_by_hour(metrics: pd.DataFrame) -> go.Figure:
    """Mean time that the model took, one point per hour and version."""
    return _points(
        rows_of(metrics, "execution_duration_ms", "1 hour", "weighted_avg"),
        versions(metrics),
        title="Response time by hour, by version",
        needs="execution_duration_ms by 1 hour",
        axis="Milliseconds",
        mode="markers",
        step="1 hour",
    )


def perplexity_by_day(metrics: pd.DataFrame) -> go.Figure:
    """Mean perplexity of the responses, one point per day and version."""
    return _points(
        rows_of(metrics, "response_perplexity", "1 day", "weighted_avg"),
        versions(metrics),
        title="Response perplexity by day, by version",
        needs="response_perplexity by 1 day",
        axis="Perplexity",
        mode="lines+markers",
        step="1 day",
    )


def _points(
    rows: pd.DataFrame, order: list[str], *, title: str, needs: str, axis: str, mode: str, step: str
) -> go.Figure:
    rows = _without_total(rows)
    if rows.empty:
        return empty_figure(title, needs)
    figure = go.Figure()
    when = "%-d %b" if step == "1 day" else "%-d %b %H:%M UTC"
    for version, colour, part in by_version(rows, order):
        points = with_gaps(part, pd.Timedelta(step)) if "lines" in mode else part
        figure.add_scatter(
            x=times(points),
            y=points["weighted_avg"],
            name=f"Version {plain_text(version)}",
            mode=mode,
            line={"color": OUTLINES.get(colour, colour), "width": 1.5},
            marker={"color": colour, "size": 6, "line": {"color": OUTLINES.get(colour, colour), "width": 0.6}},
            hovertemplate=f"%{{x|{when}}}: %{{y:,.1f}}<extra>Version {plain_text(version)}</extra>",
        )
    figure.update_yaxes(title=axis, tickformat=",", rangemode="tozero")
    return styled(figure, title, rows)


def _without_total(rows: pd.DataFrame) -> pd.DataFrame:
    return rows[rows["model_version"] != ALL_VERSIONS]
