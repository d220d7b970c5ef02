"""profile_metrics and batches → one HTML file that needs nothing else: no server, no network.

Names of models, endpoints and versions come from outside: jinja2 escapes them in HTML, ``figures`` in plotly text and
``_script_json`` in JSON; the Content-Security-Policy forbids every request, whatever the page holds.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from importlib.resources import files
from typing import Any

import pandas as pd
import plotly.graph_objects as go
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup
from pandas.api.types import is_list_like
from plotly.offline import get_plotlyjs

from metrics.dashboard import sentence, surges
from metrics.dashboard.charts import CHARTS, Chart, Section
from metrics.dashboard.summary import named, number, summary, versions

__all__ = ["page"]

TITLE = "Chatbot quality by model version"
CSP = "default-src 'none'; script-src {script}; style-src 'unsafe-inline'; img-src data: blob:"  # blob: to save as PNG
TITLE_HEIGHT = 40
"""Pixels of a figure that its title had."""

DASH = "\N{EN DASH}"
LEDGER = ("rows_read", "rows_scored", "rows_quarantined", "rows_duplicate", "rows_skipped")


def page(
    metrics: pd.DataFrame,
    batches: pd.DataFrame,
    *,
    generated_at: datetime,
    threshold: float = 0.5,
    model_versions: pd.DataFrame | None = None,
    unknown_shape: tuple[str, str, int] | None = None,
) -> str:
    """The dashboard as HTML.

    Args:
        metrics: Rows of ``profile_metrics`` (see ``figures``); each endpoint and model gets a section of its own.
        batches: Rows of ``batches``, for the count of source rows.
        generated_at: The caller's clock; UTC where it has no zone.
        threshold: Prompt toxicity from which an hour's maximum is flagged.
        unknown_shape: Of the payloads that are not understood the most frequent: reason, shape and rows.
        model_versions: Rows of ``model_versions``, for aliases and runs beside the versions; None without a registry.

    Returns:
        The text of one self-contained HTML file.
    """
    generated_at = generated_at if generated_at.tzinfo else generated_at.replace(tzinfo=UTC)
    if "slice_key" in metrics:
        metrics = metrics[metrics["slice_key"].isna()]  # a slice repeats rows of the whole
    newest, granularity = _newest(metrics)
    rows = {column: int(batches[column].sum()) if column in batches else 0 for column in LEDGER}
    ratings = int(batches["rows_feedback"].sum()) if "rows_feedback" in batches else 0
    sections = _sections(metrics, threshold, _registered(model_versions))
    uses_webgl = any(figure["webgl"] for section in sections for figure in section["figures"])
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters.update(number=_number, percent=_percent, period=_period, span=_span, time=_time)
    template = environment.from_string(files(__package__).joinpath("page.html.j2").read_text(encoding="utf-8"))
    return template.render(
        title=TITLE,
        csp=Markup(CSP.format(script="'unsafe-inline' 'unsafe-eval'" if uses_webgl else "'unsafe-inline'")),
        sections=sections,
        newest=newest,
        newest_granularity=granularity,
        generated_at=generated_at,
        age=_age(generated_at - newest) if newest else None,
        rows=rows,
        ratings=ratings,
        unaccounted=rows["rows_read"] - sum(rows[column] for column in LEDGER[1:]),
        unknown_shape=unknown_shape,
        rule=sentence.RULE,
        plotly_js=Markup(get_plotlyjs()),
    )


def _sections(
    metrics: pd.DataFrame, threshold: float, registered: dict[tuple[str, str], dict[str, Any]]
) -> list[dict[str, Any]]:
    """One section per endpoint and model with any version: versions of two models must not be compared."""
    if metrics.empty:
        return []
    sections = []
    for i, ((endpoint, model), rows) in enumerate(metrics.groupby(["endpoint_name", "model_name"], dropna=False)):
        order = versions(rows)
        if not order:
            continue
        old, new = order[-2] if len(order) > 1 else None, order[-1]
        failures, toxic_prompts = surges.failures(rows), surges.toxic_prompts(rows)
        of = Section(rows, old, new, threshold, failures, toxic_prompts)
        sections.append(
            {
                "endpoint": named(endpoint),
                "model": named(model),
                "old": old,
                "new": new,
                "changes": (found := sentence.changes(rows, old=old, new=new) if old else []),
                "verdict": sentence.verdict(found),
                "means": sentence.means(rows, new),
                "failures": failures,
                "new_fails_alone": any(one.model_version == new and surges.alone(rows, one) for one in failures),
                "toxic_prompts": toxic_prompts,
                "summary": summary(rows)[::-1],
                "registered": (known := {version: registered.get((named(model), version)) for version in order}),
                "columns": _columns(known),
                "figures": [_drawn(chart, of, f"chart-{i}-{j}") for j, chart in enumerate(CHARTS)],
            }
        )
    return sections


Cell = Callable[[dict[str, Any]], str]
"""Text of a cell, of one row of ``summary``."""


def _columns(registered: dict[str, dict[str, Any] | None]) -> list[tuple[str, Cell]]:
    """The table's columns after the version: heading and cell; the run only where the registry knows one."""
    run: list[tuple[str, Cell]] = [("Run", lambda row: (registered[row["model_version"]] or {"run": DASH})["run"])]

    def value(key: str, shown: Callable[[Any], str]) -> Cell:
        return lambda row: shown(row[key])

    return [
        *(run if any(registered.values()) else []),
        ("Traffic", lambda row: _period(row["first_window"], row["last_window"])),
        ("Requests", value("requests", _number)),
        ("Response perplexity", value("response_perplexity", partial(_number, digits=2))),
        ("Flesch-Kincaid grade", value("response_flesch_kincaid", partial(_number, digits=2))),
        ("Response toxicity", value("response_toxicity", partial(_number, digits=4))),
        ("Prompt toxicity", value("prompt_toxicity", partial(_number, digits=4))),
        ("Input tokens", value("input_tokens", _number)),
        ("Output tokens", value("output_tokens", _number)),
        ("Errors", value("errors", _number)),
        ("Error rate", value("error_rate", _percent)),
    ]


def _drawn(chart: Chart, of: Section, name: str) -> dict[str, Any]:
    """A chart for the template. Its title is HTML: in a figure it would be cut off where the page is narrow."""
    figure = chart.draw(of)
    title = figure.layout.title.text.removeprefix("<b>").removesuffix("</b>")
    figure.update_layout(title=None, margin_t=max(figure.layout.margin.t - TITLE_HEIGHT, 20))
    return {
        "id": name,
        "title": Markup(title),  # plotly text: names in it are escaped
        "height": figure.layout.height,
        "json": _script_json(figure),
        "caption": chart.caption.format(threshold=of.threshold) if figure.data else "",
        "webgl": any(trace.type == "scattergl" for trace in figure.data),  # plotly compiles shaders
    }


def _registered(model_versions: pd.DataFrame | None) -> dict[tuple[str, str], dict[str, Any]]:
    """By model and version: aliases, and the run's name and the start of its id."""
    if model_versions is None:
        return {}
    return {
        (row["model_name"], str(row["model_version"])): {
            "aliases": list(row["aliases"]) if is_list_like(row["aliases"]) else [],
            "run": " ".join(part for part in (_text(row["run_name"]), _text(row["run_id"])[:8]) if part) or DASH,
        }
        for row in model_versions.to_dict("records")
    }


def _text(value: Any) -> str:
    """A name that may be missing, as None or as pandas' NaN."""
    return value if isinstance(value, str) else ""


def _script_json(figure: go.Figure) -> Markup:
    """JSON that cannot end its script element: ``<``, ``>``, ``&`` occur only in strings, where escapes are equal."""
    text = figure.to_json()
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)


def _newest(metrics: pd.DataFrame) -> tuple[datetime | None, str]:
    """End of the newest window of the shortest granularity: a day's window ends in the future."""
    if metrics.empty:
        return None, ""
    shortest = min(metrics["granularity"].dropna().unique(), key=pd.Timedelta)
    newest = pd.to_datetime(metrics.loc[metrics["granularity"] == shortest, "window_end"], utc=True).max()
    return newest.to_pydatetime(), str(shortest)


def _age(age: timedelta) -> str | None:
    """The age in the largest unit that fits; None for a window that is still open."""
    for unit, length in (("day", timedelta(days=1)), ("hour", timedelta(hours=1)), ("minute", timedelta(minutes=1))):
        if age >= length:
            n = age // length
            return f"{n} {unit}" if n == 1 else f"{n} {unit}s"
    return None


def _number(value: float | None, digits: int = 0) -> str:
    return DASH if value is None else number(value, digits)


def _percent(value: float | None) -> str:
    return DASH if value is None else f"{100 * value:.2f} %"


def _period(first: pd.Timestamp, last: pd.Timestamp) -> str:
    """First and last day, without what they have in common."""
    if pd.isna(first):
        return DASH
    end = f"{last.day} {last:%b %Y}"
    if first.date() == last.date():
        return end
    if (first.year, first.month) == (last.year, last.month):
        return f"{first.day}{DASH}{end}"
    return f"{first.day} {first:%b}{'' if first.year == last.year else f' {first.year}'} {DASH} {end}"


def _span(start: pd.Timestamp, end: pd.Timestamp) -> str:
    """A time of some hours: the day is named once where both ends are of it."""
    shown = f"{start.day} {start:%b %Y}, {start:%H:%M}{DASH}"
    same_day = start.date() == (end - pd.Timedelta(seconds=1)).date()
    return f"{shown}{end:%H:%M} UTC" if same_day else f"{shown}{end.day} {end:%b %Y}, {end:%H:%M} UTC"


def _time(value: datetime) -> str:
    return f"{value.day} {value.astimezone(UTC):%b %Y, %H:%M} UTC"
