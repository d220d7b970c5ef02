"""How every chart is drawn: colours, axes, and the rows of ``profile_metrics`` that one measure has."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from itertools import chain, cycle
from typing import TYPE_CHECKING

import pandas as pd
import plotly.graph_objects as go

if TYPE_CHECKING:
    from metrics.dashboard.surges import Surge

OLD, NEW, FLAG, INK, MUTED = "#1f77b4", "#ffc20e", "#d62728", "#1f2933", "#616e7c"
OLDER = ("#7f7f7f", "#9467bd", "#2ca02c", "#8c564b")
OUTLINES = {NEW: "#b38600"}  # yellow points alone are too faint on white

TICKS = [
    {"dtickrange": [None, 86_400_000], "value": "%H:%M\n%-d %b %Y"},
    {"dtickrange": [86_400_000, None], "value": "%-d %b\n%Y"},
]


def rows_of(metrics: pd.DataFrame, column: str, granularity: str, value: str) -> pd.DataFrame:
    """Rows of a measure that have the value, in order of ``time`` (start of the window; UTC, without a zone)."""
    if metrics.empty:
        return pd.DataFrame(columns=["time", "model_version"])
    rows = metrics[(metrics["column_name"] == column) & (metrics["granularity"] == granularity)]
    rows = rows.dropna(subset=[value, "model_version"])
    times = pd.to_datetime(rows["window_start"], utc=True).dt.tz_localize(None)
    return rows.assign(time=times).sort_values("time", kind="stable")


def with_gaps(hours: pd.DataFrame, step: pd.Timedelta) -> pd.DataFrame:
    """An empty row after each window that the next one does not follow, so that no line crosses the silence."""
    last = hours.loc[hours["time"].diff().shift(-1) > step, ["time"]]
    return pd.concat([hours, last + step], ignore_index=True).sort_values("time")


def within(hours: pd.DatetimeIndex, surges: Sequence[Surge]) -> list[bool]:
    """Whether each hour (UTC, without a zone) is part of a surge."""
    return [any(one.start <= hour < one.end for one in surges) for hour in hours.tz_localize("UTC")]


def by_version(rows: pd.DataFrame, order: list[str]) -> list[tuple[str, str, pd.DataFrame]]:
    """(version, colour, its rows), oldest first; the latest of ``order`` is yellow, the one before blue."""
    colours = dict(zip(reversed(order), chain((NEW, OLD), cycle(OLDER)), strict=False))
    parts = {v: rows[rows["model_version"] == v] for v in order}
    return [(v, colours[v], part) for v, part in parts.items() if len(part)]


def times(rows: pd.DataFrame) -> list[str]:
    """``time`` as plotly takes it."""
    return [t.isoformat() for t in rows["time"]]


def plain_text(name: str) -> str:
    """A name as plotly text, which reads HTML tags; the middle of a long one is left out."""
    return escape(name if len(name) <= 25 else f"{name[:12]}…{name[-12:]}", quote=False)


def note(figure: go.Figure, x: float, y: float, text: str, size: int) -> None:
    """Text at a place of the figure, from 0 to 1 both ways."""
    place = {"x": x, "y": y, "xref": "paper", "yref": "paper", "xanchor": "center", "yanchor": "middle"}
    figure.add_annotation(text=text, showarrow=False, font={"size": size}, **place)


def empty_figure(title: str, needs: str) -> go.Figure:
    """A figure that says which rows it needs."""
    figure = go.Figure()
    note(figure, 0.5, 0.5, f'No data yet<br><span style="color:{MUTED}">needs {needs} in profile_metrics</span>', 15)
    return styled(figure, title, height=240)


def styled(
    figure: go.Figure,
    title: str,
    rows: pd.DataFrame | None = None,
    *,
    height: int = 400,
    top: int = 90,
    bottom: int = 50,
) -> go.Figure:
    """Fonts, margins and legend; with ``rows``, a time axis that spans them."""
    figure.update_layout(
        template="plotly_white",
        title={"text": f"<b>{title}</b>", "x": 0, "xref": "container", "y": 0.97, "yanchor": "top"},
        title_font_size=16,
        font={"family": "system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif", "size": 13, "color": INK},
        height=height,
        margin={"l": 20 if rows is None else 70, "r": 20, "t": top, "b": bottom},
        showlegend=rows is not None,
        legend={"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom", "traceorder": "normal"},
    )
    if rows is None:
        return figure.update_xaxes(visible=False).update_yaxes(visible=False)
    start, end = rows["time"].min(), pd.to_datetime(rows["window_end"], utc=True).dt.tz_localize(None).max()
    edge = (end - start) / 200
    figure.update_xaxes(
        range=[(start - edge).isoformat(), (end + edge).isoformat()],
        title={"text": "Start of the window (UTC)", "font": {"size": 13}},
        showgrid=False,
        ticks="outside",
        tickcolor="#cbd2d9",
        tickformatstops=TICKS,
    )
    return figure.update_yaxes(title_font_size=13, zeroline=False)
