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
from schemas.measures import BY_NAME
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


def means_over_time(metrics: pd.DataFrame, column: str, granularity: str, *, title: str, axis: str) -> go.Figure:
    """Mean of a measure, one point per window and version; days are joined by lines.

    Args:
        metrics: As of ``figures``.
        column: Measure.
        granularity: Length of the windows.
        title: The figure's.
        axis: What the numbers are.
    """
    rows = _without_total(rows_of(metrics, column, granularity, "weighted_avg"))
    if rows.empty:
        return empty_figure(title, f"{column} by {granularity}")
    figure = go.Figure()
    is_day = pd.Timedelta(granularity) >= pd.Timedelta("1 day")
    when = "%-d %b" if is_day else "%-d %b %H:%M UTC"
    for version, colour, part in by_version(rows, versions(metrics)):
        points = with_gaps(part, pd.Timedelta(granularity)) if is_day else part
        figure.add_scatter(
            x=times(points),
            y=points["weighted_avg"],
            name=f"Version {plain_text(version)}",
            mode="lines+markers" if is_day else "markers",
            line={"color": OUTLINES.get(colour, colour), "width": 1.5},
            marker={"color": colour, "size": 6, "line": {"color": OUTLINES.get(colour, colour), "width": 0.6}},
            hovertemplate=f"%{{x|{when}}}: %{{y:,.{BY_NAME[column].digits}f}}"
            f"<extra>Version {plain_text(version)}</extra>",
        )
    figure.update_yaxes(title=axis, tickformat=",", rangemode="tozero")
    return styled(figure, title, rows)


def _without_total(rows: pd.DataFrame) -> pd.DataFrame:
    return rows[rows["model_version"] != ALL_VERSIONS]
