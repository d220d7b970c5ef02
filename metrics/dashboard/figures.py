"""profile_metrics → plotly figures and the per-version summary.

Every function takes the long frame ``metrics`` (columns of ``schemas/profile_metrics.py``, with ``window_start`` and
``window_end`` in place of ``window``) of ONE endpoint and model, without slices. Without data, a figure says which
rows it needs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import pandas as pd
import plotly.graph_objects as go

from metrics.dashboard.drawing import (
    FLAG,
    INK,
    MUTED,
    NEW,
    OLD,
    OUTLINES,
    by_version,
    empty_figure,
    note,
    plain_text,
    rows_of,
    styled,
    times,
    with_gaps,
    within,
)
from metrics.dashboard.summary import MINUS, number, summary, versions
from schemas.profile_metrics import ALL_VERSIONS

if TYPE_CHECKING:
    from metrics.dashboard.surges import Surge

MAX_SVG_POINTS = 50_000  # a month of minutes; more make the page slow, but WebGL needs a GPU and a looser CSP

PIES = (
    ("response_perplexity", "Mean response perplexity", 2),
    ("response_flesch_kincaid", "Mean response Flesch-Kincaid grade", 2),
    ("response_toxicity", "Mean response toxicity", 4),
)

MIN_REQUESTS = 3


class _Place(NamedTuple):
    """Where a ring and its texts are, as parts of the figure from 0 to 1 (and beyond, in its margins)."""

    x: float
    domain: dict[str, list[float]]
    heading: float
    hole: float
    keys: float


def _beside(i: int) -> _Place:
    x = (1 + 2 * i) / 6
    return _Place(x, {"x": [x - 0.14, x + 0.14], "y": [0, 1]}, 1.18, 0.5, -0.22)


def _below(i: int) -> _Place:
    top = 1 - i / 3
    return _Place(0.5, {"x": [0, 1], "y": [top - 0.26, top - 0.06]}, top - 0.02, top - 0.16, top - 0.295)


BESIDE, BELOW = [_beside(i) for i in range(3)], [_below(i) for i in range(3)]
"""The rings beside each other, and one below the other where the page is narrow (the layout's ``meta``)."""


def version_pies(metrics: pd.DataFrame, *, old: str | None, new: str | None) -> go.Figure:
    """Three donuts, old version (blue) against latest (yellow): mean perplexity, Flesch-Kincaid grade and toxicity.

    A share of a negative number does not exist: a pair with a negative mean, or of zeros, is written and not drawn.
    """
    means = {row["model_version"]: row for row in summary(metrics)}
    pair = list({v: colour for v, colour in ((old, OLD), (new, NEW)) if v is not None and v in means}.items())
    if all(means[v][column] is None for v, _ in pair for column, _, _ in PIES):
        return empty_figure("Old version against latest", "response scores of a version")
    figure = go.Figure()
    narrow: dict[str, list[dict[str, Any]]] = {"domains": [], "places": []}

    def write(text: str, size: int, *, wide: _Place, tall: _Place, part: str) -> None:
        note(figure, wide.x, getattr(wide, part), text, size)
        narrow["places"].append({"x": tall.x, "y": getattr(tall, part)})

    for (column, heading, digits), wide, tall in zip(PIES, BESIDE, BELOW, strict=True):
        values = [(v, means[v][column]) for v, _ in pair]
        known = [x for _, x in values if x is not None]
        labels = [
            f"Version {plain_text(v)}: <b>{'no values' if x is None else number(x, digits)}</b>" for v, x in values
        ]
        keys = [
            f'<span style="color:{colour}">\u25a0</span> {label}'
            for (_, colour), label in zip(pair, labels, strict=True)
        ]
        write(f"<b>{heading}</b>", 14, wide=wide, tall=tall, part="heading")
        write("<br>".join(keys), 14, wide=wide, tall=tall, part="keys")
        if not known or min(known) < 0 or max(known) == 0:
            why = "no pie:<br>shares need<br>positive means" if known else "nothing to draw"
            write(f'<span style="color:{MUTED}">{why}</span>', 13, wide=wide, tall=tall, part="hole")
            continue
        figure.add_pie(
            labels=[f"Version {plain_text(v)}" for v, _ in reversed(pair)],  # clockwise from the top: old on the left
            values=[x or 0 for _, x in reversed(values)],
            text=labels[::-1],
            marker={"colors": [colour for _, colour in reversed(pair)], "line": {"color": "white", "width": 2}},
            domain=wide.domain,
            direction="clockwise",
            sort=False,
            hole=0.6,
            textinfo="none",  # beside the ring, long names would run into the next one
            hovertemplate="%{text}<extra></extra>",
        )
        narrow["domains"].append(tall.domain)
        write(_comparison(values), 13, wide=wide, tall=tall, part="hole")
    title = "Old version against latest: means over all windows, lower is better"
    if len(pair) == 1:
        title = f"Only version {plain_text(pair[0][0])} so far: means over all windows, lower is better"
    figure.update_layout(meta={"narrow": {**narrow, "height": 900, "margin": {"t": 10, "b": 10}}})
    return styled(figure, title, height=400, top=110, bottom=90)


def prompt_toxicity_over_time(
    metrics: pd.DataFrame, outstanding: Sequence[Surge] = (), *, threshold: float = 0.5
) -> go.Figure:
    """Hourly mean and maximum of prompt toxicity over all versions.

    Circles: hours whose maximum is at the threshold or above. Red diamonds: hours in which such prompts stand out (see
    ``surges``). The mean of fewer than ``MIN_REQUESTS`` prompts says little and is not drawn.
    """
    title = "Prompt toxicity by hour, all versions"
    rows = rows_of(metrics, "prompt_toxicity", "1 hour", "avg")
    if rows.empty:
        return empty_figure(title, "prompt_toxicity by 1 hour")
    everything = rows["model_version"] == ALL_VERSIONS
    rows = rows[everything] if everything.any() else rows
    rows = rows.assign(total=rows["avg"] * rows["count"])
    hours = rows.groupby("time", as_index=False).agg(total=("total", "sum"), count=("count", "sum"), max=("max", "max"))
    hours["mean"] = hours["total"] / hours["count"]
    surging = hours[within(pd.DatetimeIndex(hours["time"]), outstanding)]
    toxic = hours[(hours["max"] >= threshold) & ~hours["time"].isin(surging["time"])]
    hours["mean"] = hours["mean"].where(hours["count"] >= MIN_REQUESTS)

    figure = go.Figure()
    line = with_gaps(hours, pd.Timedelta(hours=1))
    hover = "%{x|%-d %b %H:%M} UTC: %{y:.3f}"
    for column, name, colour, width in (("max", "maximum", "#b8c4d0", 1), ("mean", "mean", INK, 1.8)):
        figure.add_scatter(
            x=times(line),
            y=line[column],
            name=f"Hourly {name}",
            mode="lines+markers",  # an hour between two gaps has no line
            line={"color": colour, "width": width},
            marker={"size": 3},
            hovertemplate=f"{hover} {name}<extra></extra>",
        )
    circle = {"symbol": "circle-open", "size": 7, "color": INK, "line": {"width": 1.2}}
    diamond = {"symbol": "diamond", "size": 12, "color": FLAG, "line": {"color": "white", "width": 0.5}}
    for marked, marker, what in (
        (toxic, circle, f"A toxic prompt (≥ {threshold:g})"),
        (surging, diamond, "Toxic prompts stand out"),
    ):
        if not marked.empty:
            figure.add_scatter(
                x=times(marked),
                y=marked["max"],
                name=f"{what}: {len(marked)} {'hour' if len(marked) == 1 else 'hours'}",
                mode="markers",
                marker=marker,
                hovertemplate=f"{hover} maximum<extra></extra>",
            )
    figure.add_hline(y=threshold, line={"color": MUTED, "width": 1, "dash": "dot"})
    figure.update_yaxes(title="Toxic probability", range=[0, 1.04])
    return styled(figure, title, rows)


def output_tokens_over_time(metrics: pd.DataFrame) -> go.Figure:
    """Output tokens per hour, stacked by version."""
    title = "Output tokens per hour, by version"
    rows = rows_of(metrics, "output_tokens", "1 hour", "sum")
    rows = rows[rows["model_version"] != ALL_VERSIONS]
    if rows.empty:
        return empty_figure(title, "output_tokens by 1 hour")
    figure = go.Figure()
    for version, colour, part in by_version(rows, versions(metrics)):
        hours = part.groupby("time", as_index=False).agg(sum=("sum", "sum"))
        figure.add_bar(
            x=times(hours),
            y=hours["sum"],
            name=f"Version {plain_text(version)}",
            width=3_600_000,
            offset=0,
            marker={"color": colour, "line": {"width": 0}},
            hovertemplate=f"%{{x|%-d %b %H:%M}} UTC: %{{y:,.0f}} tokens<extra>Version {plain_text(version)}</extra>",
        )
    figure.update_layout(barmode="stack")
    figure.update_yaxes(title="Tokens", tickformat=",.0f")
    return styled(figure, title, rows)


def flesch_kincaid_by_minute(metrics: pd.DataFrame) -> go.Figure:
    """Mean Flesch-Kincaid grade of the responses, one point per minute window and version."""
    title = "Flesch-Kincaid grade of responses by minute, by version"
    rows = rows_of(metrics, "response_flesch_kincaid", "1 minute", "avg")
    rows = rows[rows["model_version"] != ALL_VERSIONS]
    if rows.empty:
        return empty_figure(title, "response_flesch_kincaid by 1 minute")
    figure = go.Figure()
    scatter = go.Scatter if len(rows) <= MAX_SVG_POINTS else go.Scattergl
    for version, colour, part in by_version(rows, versions(metrics)):
        trace = scatter(
            x=times(part),
            y=part["avg"],
            name=f"Version {plain_text(version)}",
            mode="markers",
            marker={"color": colour, "size": 5, "line": {"color": OUTLINES.get(colour, colour), "width": 0.6}},
            hovertemplate=f"%{{x|%-d %b %H:%M}} UTC: %{{y:.2f}}<extra>Version {plain_text(version)}</extra>",
        )
        figure.add_trace(trace.update(marker_opacity=0.75))
    figure.update_yaxes(title="US school years")
    return styled(figure, title, rows)


def _comparison(values: list[tuple[str, float | None]]) -> str:
    """What the hole of a donut says: the latest mean relative to the old one."""
    if missing := [v for v, x in values if x is None]:
        return f"version {plain_text(missing[0])}<br>has no values"
    means = [x for _, x in values if x]  # a mean of 0 has no multiple
    if len(means) < 2:
        return ""
    change = f"{100 * (means[1] / means[0] - 1):+.1f} %".replace("-", MINUS)
    return f"<b>{change}</b><br>against<br>version {plain_text(values[0][0])}"
