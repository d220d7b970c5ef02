"""Figures of small frames whose answers are known by hand.

python -m pytest tests/metrics/dashboard/test_figures.py
"""

from __future__ import annotations

import math
from typing import Any

import pandas as pd
import pytest

from metrics.dashboard import figures
from metrics.dashboard.drawing import FLAG, NEW, OLD
from metrics.dashboard.figures import (
    flesch_kincaid_by_minute,
    output_tokens_over_time,
    prompt_toxicity_over_time,
    version_pies,
)
from metrics.dashboard.summary import summary, versions
from metrics.dashboard.surges import Surge

FIGURES = [
    lambda metrics: version_pies(metrics, old="6", new="7"),
    prompt_toxicity_over_time,
    output_tokens_over_time,
    flesch_kincaid_by_minute,
]


def row(column: str, avg: float | None, *, version: str = "7", at: str = "2026-04-01", **other: Any) -> dict[str, Any]:
    """A row of profile_metrics; by default one exchange in a day window."""
    granularity = other.pop("granularity", "1 day")
    start = pd.Timestamp(at, tz="UTC")
    count = other.pop("count", 0 if avg is None else 1)
    total = None if avg is None else avg * count
    values = {"count": count, "num_nulls": 0, "avg": avg, "median": avg, "sum": total, "min": avg, "max": avg}
    spread = other.pop("spread", 0.0)  # standard deviation of the values
    squares = None if avg is None else count * (avg**2 + spread**2)
    weighted = {
        "weighted_count": float(count),
        "weighted_avg": avg,
        "sum_wx": total,
        "sum_w2": float(count),
        "sum_w2x": total,
        "sum_w2x2": squares,
    }
    return {
        "window_start": start,
        "window_end": start + pd.Timedelta(granularity),
        "granularity": granularity,
        "endpoint_name": "chat",
        "model_name": "bot",
        "model_version": version,
        "column_name": column,
        **values,
        **weighted,
        **other,
    }


def frame(*rows: dict[str, Any]) -> pd.DataFrame:
    return pd.DataFrame(rows)


def hour(n: int, mean: float, **other: Any) -> dict[str, Any]:
    at = str(pd.Timestamp("2026-04-01") + pd.Timedelta(hours=n))
    return row("prompt_toxicity", mean, at=at, granularity="1 hour", **{"version": "*", "count": 5, **other})


def texts(figure: Any) -> str:
    return " ".join(a.text for a in figure.layout.annotations)


def trace(figure: Any, name: str) -> Any:
    [found] = [t for t in figure.data if t.name.startswith(name)]
    return found


def scores(version: str, perplexity: float | None, grade: float | None, toxicity: float | None) -> list[dict[str, Any]]:
    pairs = [(column, x) for (column, _, _), x in zip(figures.PIES, (perplexity, grade, toxicity), strict=True)]
    return [row(column, x, version=version) for column, x in pairs]


@pytest.mark.parametrize(
    ("present", "expected"),
    [
        (["10", "9", "*", "2"], ["2", "9", "10"]),
        (["canary", "10", "Beta", "9"], ["9", "10", "Beta", "canary"]),
        (["*"], []),
        (["3", None], ["3"]),
    ],
)
def test_versions(present: list[str], expected: list[str]) -> None:
    assert versions(pd.DataFrame({"model_version": present})) == expected


def test_a_mean_over_windows_weighs_by_exchanges() -> None:
    days = [
        row("response_perplexity", 10.0, count=1),
        row("response_perplexity", 20.0, count=3, at="2026-04-02"),
        row("response_perplexity", 99.0, granularity="1 hour"),  # the same exchanges again, in shorter windows
    ]
    [result] = summary(frame(*days))
    assert result["response_perplexity"] == pytest.approx(17.5)


def test_a_mean_uses_the_sampling_weights() -> None:
    days = [
        row("response_toxicity", 0.1, weighted_count=10.0, weighted_avg=0.2, sum_wx=2.0),
        row("response_toxicity", 0.1, weighted_count=30.0, weighted_avg=0.4, sum_wx=12.0, at="2026-04-02"),
    ]
    metrics = frame(*days)
    assert summary(metrics)[0]["response_toxicity"] == pytest.approx(0.35)
    assert summary(metrics.drop(columns="sum_wx"))[0]["response_toxicity"] == pytest.approx(0.35)


def test_summary_per_version() -> None:
    metrics = frame(
        row("requests", 1.0, version="6", count=8),
        row("requests", 1.0, version="6", count=2, at="2026-04-03"),
        row("error_rate", 0.25, version="6", count=8),
        row("error_rate", 1.0, version="6", count=2, at="2026-04-03"),
        row("output_tokens", 50.0, version="6", count=4),
        row("requests", 1.0, version="10", count=3),
        row("requests", 1.0, version="*", count=13),
    )
    six, ten = summary(metrics)
    assert six == {
        "model_version": "6",
        "first_window": pd.Timestamp("2026-04-01", tz="UTC"),
        "last_window": pd.Timestamp("2026-04-03", tz="UTC"),
        "requests": 10,
        "input_tokens": None,
        "output_tokens": 200,
        "errors": 4,
        "error_rate": pytest.approx(0.4),
        "response_perplexity": None,
        "response_flesch_kincaid": None,
        "prompt_toxicity": None,
        "response_toxicity": None,
    }
    assert (ten["model_version"], ten["requests"], ten["errors"]) == ("10", 3, None)


def test_without_days_the_longest_windows_count() -> None:
    metrics = frame(
        row("requests", 1.0, count=7, granularity="5 minutes"), row("requests", 1.0, count=9, granularity="1 hour")
    )
    assert summary(metrics)[0]["requests"] == 9


def test_pies_show_both_versions() -> None:
    figure = version_pies(frame(*scores("6", 30, 8, 0.02), *scores("7", 10, 6, 0.01)), old="6", new="7")
    assert [pie.type for pie in figure.data] == ["pie"] * 3
    for pie, expected in zip(figure.data, [(30, 10), (8, 6), (0.02, 0.01)], strict=True):
        shown = {label: (x, c) for label, x, c in zip(pie.labels, pie.values, pie.marker.colors, strict=True)}
        assert shown == {"Version 6": (expected[0], OLD), "Version 7": (expected[1], NEW)}
    for words in ("Version 6: <b>30.00</b>", "Version 7: <b>0.0100</b>", "−66.7 %", "−25.0 %", "−50.0 %"):
        assert words in texts(figure)
    assert "lower is better" in figure.layout.title.text


def test_negative_means_and_zeros_are_written_not_drawn() -> None:
    figure = version_pies(frame(*scores("6", 30, -1.5, 0), *scores("7", 10, 6, 0)), old="6", new="7")
    assert len(figure.data) == 1
    for words in ("Version 6: <b>−1.50</b>", "Version 7: <b>6.00</b>", "Version 6: <b>0.0000</b>"):
        assert words in texts(figure)
    assert texts(figure).count("shares need") == 2


def test_a_version_without_values_has_no_slice() -> None:
    figure = version_pies(frame(*scores("6", None, None, None), *scores("7", 10, 6, 0.01)), old="6", new="7")
    assert [dict(zip(pie.labels, pie.values, strict=True))["Version 6"] for pie in figure.data] == [0, 0, 0]
    assert texts(figure).count("Version 6: <b>no values</b>") == 3
    assert "%" not in texts(figure)


@pytest.mark.parametrize("old", [None, "7", "5"])
def test_one_version_only(old: str | None) -> None:
    figure = version_pies(frame(*scores("7", 10, 6, 0.01)), old=old, new="7")
    assert [tuple(pie.values) for pie in figure.data] == [(10,), (6,), (0.01,)]
    assert [tuple(pie.marker.colors) for pie in figure.data] == [(NEW,)] * 3
    assert "Only version 7" in figure.layout.title.text


def test_toxic_hours_are_flagged() -> None:
    metrics = frame(
        *[hour(n, 0.02) for n in range(20)],
        hour(20, 0.021, max=0.5),  # one toxic prompt
        hour(21, 0.2, max=0.9),  # many
        hour(22, 0.2, count=2),  # too few prompts for a mean
        hour(23, 0.9, version="7"),  # not all versions
    )
    evening = pd.Timestamp("2026-04-01 21:00", tz="UTC")
    surge = Surge("*", evening, evening + pd.Timedelta(hours=1), 9, 20, 0.01)
    figure = prompt_toxicity_over_time(metrics, [surge])
    assert list(trace(figure, "A toxic prompt").x) == ["2026-04-01T20:00:00"]
    outstanding = trace(figure, "Toxic prompts stand out: 1 hour")
    assert list(outstanding.x) == ["2026-04-01T21:00:00"]
    assert (list(outstanding.y), outstanding.marker.color) == ([0.9], FLAG)
    mean = trace(figure, "Hourly mean")
    assert [x[11:13] for x, y in zip(mean.x, mean.y, strict=True) if math.isnan(y)] == ["22"]
    assert list(trace(prompt_toxicity_over_time(metrics, threshold=0.1), "A toxic prompt").y) == [
        0.5,
        0.9,
        0.2,
    ]


def test_no_line_crosses_silent_hours() -> None:
    line = trace(prompt_toxicity_over_time(frame(hour(0, 0.1), hour(1, 0.2), hour(5, 0.3))), "Hourly mean")
    assert [x[11:16] for x in line.x] == ["00:00", "01:00", "02:00", "05:00"]
    assert [None if math.isnan(y) else round(y, 9) for y in line.y] == [0.1, 0.2, None, 0.3]


def test_two_rows_of_an_hour_are_one_point() -> None:
    """A change of scorer inside an hour gives it two rows, with different fingerprints."""
    line = trace(prompt_toxicity_over_time(frame(hour(0, 0.1, count=3), hour(0, 0.5, count=1))), "Hourly mean")
    assert list(line.y) == pytest.approx([0.2])


def test_output_tokens_per_hour_and_version() -> None:
    metrics = frame(
        row("output_tokens", 50.0, version="6", count=2, granularity="1 hour", at="2026-04-01 09:00"),
        row("output_tokens", 900.0, version="7", count=10, granularity="1 hour", at="2026-04-01 10:00"),
        row("output_tokens", 75.0, version="7", count=1, granularity="1 hour", at="2026-04-01 10:00"),
        row("output_tokens", 1.0, version="*", granularity="1 hour"),
        row("output_tokens", 1.0, version="7", granularity="1 day"),
    )
    figure = output_tokens_over_time(metrics)
    assert figure.layout.barmode == "stack"
    assert [(bar.name, list(bar.x), list(bar.y), bar.marker.color) for bar in figure.data] == [
        ("Version 6", ["2026-04-01T09:00:00"], [100.0], OLD),
        ("Version 7", ["2026-04-01T10:00:00"], [9075.0], NEW),
    ]


def test_flesch_kincaid_points_are_minutes() -> None:
    rows = [
        row("response_flesch_kincaid", x, version=v, granularity=g, at=f"2026-04-0{v} 12:34")
        for v, x, g in [("1", 5.0, "1 minute"), ("2", -1.0, "1 minute"), ("3", 9.0, "1 minute"), ("3", 4.0, "1 hour")]
    ]
    figure = flesch_kincaid_by_minute(frame(*rows, row("response_flesch_kincaid", None, granularity="1 minute")))
    points = [(t.name, list(t.x), list(t.y)) for t in figure.data]
    assert points == [
        ("Version 1", ["2026-04-01T12:34:00"], [5.0]),
        ("Version 2", ["2026-04-02T12:34:00"], [-1.0]),
        ("Version 3", ["2026-04-03T12:34:00"], [9.0]),
    ]
    # Version 7 has no value yet, but it is the latest: yellow is kept for it, blue for version 3.
    assert figure.data[2].marker.color == OLD
    assert NEW not in [t.marker.color for t in figure.data]


def test_many_points_use_webgl(monkeypatch: pytest.MonkeyPatch) -> None:
    metrics = frame(*[row("response_flesch_kincaid", 1.0, granularity="1 minute", at=f"2026-04-0{d}") for d in (1, 2)])
    assert flesch_kincaid_by_minute(metrics).data[0].type == "scatter"
    monkeypatch.setattr(figures, "MAX_SVG_POINTS", 1)
    assert flesch_kincaid_by_minute(metrics).data[0].type == "scattergl"


def test_names_are_no_markup_in_a_figure() -> None:
    metrics = frame(row("output_tokens", 5.0, version='<a href="x">&', granularity="1 hour"))
    assert output_tokens_over_time(metrics).data[0].name == 'Version &lt;a href="x"&gt;&amp;'


@pytest.mark.parametrize("draw", FIGURES)
@pytest.mark.parametrize(
    "metrics",
    [
        pd.DataFrame(),
        frame(row("requests", 1.0)).iloc[:0],
        frame(row("requests", 1.0)),
        frame(*[row(c, None, granularity=g) for c, g in [("prompt_toxicity", "1 hour"), ("output_tokens", "1 hour")]]),
    ],
    ids=["no columns", "no rows", "other rows", "only NULLs"],
)
def test_no_data_yet(draw: Any, metrics: pd.DataFrame) -> None:
    figure = draw(metrics)
    assert len(figure.data) == 0
    assert "No data yet" in texts(figure)
