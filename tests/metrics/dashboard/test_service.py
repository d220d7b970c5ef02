"""Figures of failures, response times and perplexity by day."""

from __future__ import annotations

import pandas as pd
import plotly.graph_objects as go

from metrics.dashboard.drawing import FLAG, NEW, OLD
from metrics.dashboard.service import failed_requests_over_time, means_over_time
from metrics.dashboard.surges import failures
from tests.metrics.dashboard.test_figures import frame, row
from tests.metrics.dashboard.test_surges import hours


def perplexity_by_day(metrics: pd.DataFrame) -> go.Figure:
    return means_over_time(metrics, "response_perplexity", "1 day", title="By day", axis="Perplexity")


def response_time_by_hour(metrics: pd.DataFrame) -> go.Figure:
    return means_over_time(metrics, "execution_duration_ms", "1 hour", title="By hour", axis="Milliseconds")


def test_failed_requests() -> None:
    metrics = frame(
        *hours(*[(0, 20)] * 30, (9, 20), version="7"), *hours((2, 10), version="6"), *hours((11, 30), version="*")
    )
    figure = failed_requests_over_time(metrics, failures(metrics))
    *bars, marks = figure.data
    assert [(bar.name, bar.marker.color) for bar in bars] == [("Version 6", OLD), ("Version 7", NEW)]
    assert list(figure.data[0].y) == [2.0]
    assert max(figure.data[1].y) == 9.0
    assert (marks.name, marks.marker.color) == ("Failures stand out: 1 hour", FLAG)
    assert (list(marks.x), list(marks.y)) == (["2026-04-21T14:30:00"], [9.0])


def test_a_mark_sits_on_the_whole_stack() -> None:
    rows = frame(*hours(*[(0, 20)] * 30, (9, 20), (8, 20), (1, 20)), *hours(*[(0, 20)] * 30, (2, 20), version="6"))
    *_, marks = failed_requests_over_time(rows, failures(rows)).data
    assert marks.name == "Failures stand out: 2 hours"
    assert (list(marks.x), list(marks.y)) == (["2026-04-21T14:30:00", "2026-04-21T15:30:00"], [11.0, 8.0])


def test_without_outstanding_failures_nothing_is_marked() -> None:
    figure = failed_requests_over_time(frame(*hours((0, 20), (1, 20))), [])
    assert [bar.type for bar in figure.data] == ["bar"]
    assert figure.layout.yaxis.dtick == 1, "no ticks between two requests"


def test_no_line_crosses_silent_days() -> None:
    rows = [row("response_perplexity", float(day), at=f"2026-04-0{day}") for day in (1, 2, 5)]
    (line,) = perplexity_by_day(frame(*rows)).data
    assert [x[8:10] for x in line.x] == ["01", "02", "03", "05"]
    assert pd.isna(line.y[2])


def test_response_time_and_perplexity_take_the_weighted_mean() -> None:
    rows = [
        row("execution_duration_ms", 500.0, granularity="1 hour", count=4) | {"weighted_avg": 700.0},
        row("execution_duration_ms", 900.0, granularity="1 hour", version="*"),
        row("execution_duration_ms", 100.0),
        row("response_perplexity", 20.0, at="2026-04-02") | {"weighted_avg": 21.0},
        row("response_perplexity", 10.0, at="2026-04-01"),
    ]
    (times,) = response_time_by_hour(frame(*rows)).data
    assert list(times.y) == [700.0]
    (days,) = perplexity_by_day(frame(*rows)).data
    assert list(days.y) == [10.0, 21.0]


def test_without_data_they_say_what_they_need() -> None:
    for draw in (failed_requests_over_time, response_time_by_hour, perplexity_by_day):
        figure = draw(pd.DataFrame())
        assert "No data yet" in figure.layout.annotations[0].text
