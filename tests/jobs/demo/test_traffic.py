"""The demo's traffic: what each row is, and that the month shows what the demo tells."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from random import Random
from statistics import median
from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest

from jobs.demo.chatbot import last_messages
from jobs.demo.registry import load_version, register_versions
from jobs.demo.traffic import (
    COMMITS,
    ENDPOINT,
    MODEL,
    SCHEMA,
    Plan,
    Row,
    by_time,
    generate_traffic,
    missing_commits,
    write_traffic,
)
from metrics.dashboard.sentence import changes
from metrics.score.readability import flesch_kincaid
from tests.conftest import MadeOnce
from tests.metrics.dashboard.test_figures import row as metric_row

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

REQUESTS = 1800
PLAN = Plan()
COLUMNS = [column.split()[0] for column in SCHEMA.replace("MAP<STRING, STRING>", "MAP").split(", ")]


@pytest.fixture(scope="module")
def commits(demo_registry: Path) -> list[list[Row]]:
    return generate_traffic(demo_registry, PLAN, requests=REQUESTS, seed=7)


@pytest.fixture(scope="module")
def rows(commits: list[list[Row]]) -> list[Row]:
    """Each request once, without ratings."""
    return [row for _, row in first_seen(commits).values() if not is_rating(row)]


def first_seen(commits: Iterable[Iterable[Row]]) -> dict[str, tuple[int, Row]]:
    """Each request once: the commit that brings it first, and its row."""
    seen: dict[str, tuple[int, Row]] = {}
    for index, commit in enumerate(commits):
        for row in commit:
            seen.setdefault(row["databricks_request_id"], (index, row))
    return seen


def is_rating(row: Row) -> bool:
    return bool(row["request_metadata"]["model_name"] == "feedback")


def parsed(payload: str | None) -> Any:
    """The payload, or None where there is none or it is broken."""
    try:
        return json.loads(payload or "")
    except ValueError:
        return None


def version(row: Row) -> str:
    return str(row["request_metadata"]["model_version"])


def prompts(row: Row) -> list[str]:
    request = parsed(row["request"]) or {}
    if "messages" in request:
        return [request["messages"][-1].get("content", "")]
    if "dataframe_records" in request:
        return [record["query"] for record in request["dataframe_records"]]
    return [text for line in request.get("dataframe_split", {}).get("data", []) for text in line]


def answers(row: Row) -> list[str]:
    body = parsed(row["response"])
    if isinstance(body, dict) and "choices" in body:
        return [body["choices"][0]["message"]["content"]]
    items = body if isinstance(body, list) else (body or {}).get("predictions", [])
    return [item["result"] for item in items]


def time(row: Row) -> datetime:
    return datetime.fromtimestamp(row["timestamp_ms"] / 1000, UTC)


def within(rows: list[Row], start: datetime, length: timedelta) -> list[Row]:
    return [row for row in rows if start <= time(row) < start + length]


def test_the_seed_decides(demo_registry: Path) -> None:
    first, same, other = (generate_traffic(demo_registry, PLAN, requests=100, seed=seed) for seed in (3, 3, 4))
    assert first == same
    assert first != other


@pytest.mark.parametrize(("requests", "days"), [(100, 4), (157, 9)])
def test_as_many_requests_as_asked_for(demo_registry: Path, requests: int, days: int) -> None:
    commits = generate_traffic(demo_registry, Plan(days=days), requests=requests, seed=7)
    seen = [row for _, row in first_seen(commits).values()]
    assert sum(not is_rating(row) for row in seen) == requests
    assert {row["date"] for row in seen} <= {date(2026, 4, 1) + timedelta(days=day) for day in range(days)}
    assert {version(row) for row in seen if not is_rating(row)} == {"6", "7"}


def test_too_little_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="requests must be from 100 to 1,000,000; got 99"):
        generate_traffic(tmp_path, PLAN, requests=99, seed=7)
    with pytest.raises(ValueError, match="days must be from 4 to 366; got 3"):
        generate_traffic(tmp_path, Plan(days=3), requests=100, seed=7)


@pytest.mark.parametrize("days", [4, 5, 8, 19, 30, 366])
def test_the_trial_is_in_the_middle(days: int) -> None:
    plan = Plan(days=days)
    rng = Random(1)
    middays = [plan.start + timedelta(days=day, hours=12) for day in range(days)]
    answered = ["".join(sorted({plan.version(noon, rng) for _ in range(40)})) for noon in middays]
    trial = answered.count("67")
    assert trial == max(1, days // 10)
    before = answered.index("67")
    assert answered == ["6"] * before + ["67"] * trial + ["7"] * (days - before - trial)
    assert abs(before - (days - before - trial)) <= 1
    for when in (plan.spike, plan.storm, plan.burst, plan.burst + timedelta(minutes=90)):
        assert answered[(when - plan.start).days] == "67"


def test_every_row_has_the_form_of_the_table(rows: list[Row]) -> None:
    assert len(rows) == REQUESTS
    for row in rows:
        assert list(row) == COLUMNS
        assert row["date"] == time(row).date()
        assert date(2026, 4, 1) <= row["date"] <= date(2026, 4, 30)
        assert version(row) in ("6" if row["date"].day <= 13 else "67" if row["date"].day <= 16 else "7")
        assert (row["request_metadata"]["endpoint_name"], row["request_metadata"]["model_name"]) == (ENDPOINT, MODEL)
        assert row["execution_time_ms"] >= 1
        assert row["sampling_fraction"] == (0.5 if row["date"].day >= 26 else 1.0)


def test_the_registered_models_gave_the_answers(rows: list[Row], demo_registry: Path) -> None:
    models = {v: load_version(demo_registry, int(v)).unwrap_python_model() for v in "67"}
    for row in [row for row in rows if row["status_code"] == 200 and parsed(row["request"])][::50]:
        before = last_messages(parsed(row["request"]).get("messages") or [{"content": ""}])[1]
        told = [models[version(row)].answer(text, before=before, max_tokens=4096)[0] for text in prompts(row)]
        assert told == answers(row)


def test_the_fate_of_every_row(commits: list[list[Row]], rows: list[Row]) -> None:
    broken = [row for row in rows if row["request"] and parsed(row["request"]) is None]
    too_large = [row for row in rows if row["request"] is None]
    failed = Counter(row["status_code"] for row in rows if row["status_code"] != 200)
    assert (len(broken), len(too_large)) == (3, 2)
    assert set(failed) == {400, 429, 500}
    assert 0.015 < failed.total() / len(rows) < 0.05
    ratings = [row for _, row in first_seen(commits).values() if is_rating(row)]
    assert len(ratings) == round(REQUESTS * 0.004)
    rated = {json.loads(row["request"])["dataframe_records"][0]["request_id"] for row in ratings}
    assert rated <= {row["databricks_request_id"] for row in rows}
    assert sum(map(len, commits)) == len(rows) + len(ratings) + round(0.02 * (len(rows) + len(ratings)))
    for row in rows:
        if row["status_code"] != 200:
            assert set(parsed(row["response"])) == {"error_code", "message"}
        elif row not in broken and row not in too_large:
            assert len(prompts(row)) == len(answers(row)) > 0


def test_a_repeated_row_is_the_same_row(commits: list[list[Row]]) -> None:
    seen = first_seen(commits)
    again = Counter[str]()
    for index, commit in enumerate(commits):
        ids = Counter(row["databricks_request_id"] for row in commit)
        for row in commit:
            first, original = seen[row["databricks_request_id"]]
            assert row == original
            again["later"] += first != index
        again["same"] += len(commit) - len(ids)
    assert min(again["later"], again["same"]) >= 5


def test_some_rows_are_late_and_none_is_early(commits: list[list[Row]]) -> None:
    ordered = sorted(first_seen(commits).values(), key=lambda one: by_time(one[1]))
    delays = Counter(index - number * COMMITS // len(ordered) for number, (index, _) in enumerate(ordered))
    assert set(delays) == {0, 1, 2}
    assert 0.01 < (delays[1] + delays[2]) / REQUESTS < 0.05


def test_payload_shapes(rows: list[Row]) -> None:
    bodies = [(parsed(row["request"]) or {}, parsed(row["response"])) for row in rows if row["status_code"] == 200]
    chats = [(request, body) for request, body in bodies if "messages" in request and isinstance(body, dict)]
    assert len(chats) / len(rows) > 0.7
    assert 0.75 < sum("usage" in body for _, body in chats) / len(chats) < 0.95
    assert sum("dataframe_split" in request for request, _ in bodies) > 50
    assert sum("dataframe_records" in request for request, _ in bodies) > 50
    assert sum(isinstance(body, list) for _, body in bodies) > 50
    assert sum(len(request.get("dataframe_records", [])) > 1 for request, _ in bodies) > 20


def test_conversations_hold_their_history(rows: list[Row]) -> None:
    by_conversation: dict[str, list[Row]] = {}
    for row in sorted(rows, key=lambda row: row["timestamp_ms"]):
        options = (parsed(row["request"]) or {}).get("databricks_options")
        if options and row["sampling_fraction"] == 1:
            by_conversation.setdefault(options["conversation_id"], []).append(row)
    longest = max(by_conversation.values(), key=len)
    assert len(longest) >= 3
    for before, after in pairwise(longest):
        told = [message["content"] for message in parsed(after["request"])["messages"]]
        assert told[-3:-1] == [prompts(before)[0], answers(before)[0]]


def test_days_and_weeks_have_a_rhythm(rows: list[Row]) -> None:
    logged = [row for row in rows if row["sampling_fraction"] == 1]
    hours, days = Counter(time(row).hour for row in logged), Counter(row["date"] for row in logged)
    assert sum(hours[hour] for hour in range(9, 17)) > 4 * sum(hours[hour] for hour in range(6))
    weekend, working = ([n for day, n in days.items() if (day.weekday() >= 5) is flag] for flag in (True, False))
    assert max(weekend) < min(working)


def test_prompts_come_back_to_both_versions(rows: list[Row]) -> None:
    asked = {v: {p for row in rows if version(row) == v for p in prompts(row)} for v in "67"}
    assert len(asked["6"] & asked["7"]) > 100


def test_a_few_users(rows: list[Row]) -> None:
    users = Counter((parsed(row["request"]) or {}).get("user") for row in rows)
    assert 20 < len(users) < 45
    named = [count for user, count in users.most_common() if user]
    assert sum(named[:8]) > 0.5 * sum(named)


def test_version_7_is_shorter_and_so_faster(rows: list[Row]) -> None:
    fine = {v: [row for row in rows if version(row) == v and row["status_code"] == 200] for v in "67"}
    took = {v: median(row["execution_time_ms"] for row in fine[v]) for v in "67"}
    words = {v: median(len(text.split()) for row in fine[v] for text in answers(row)) for v in "67"}
    assert took["7"] < 0.7 * took["6"]
    assert words["7"] < 0.5 * words["6"]


MEASURED: dict[str, Callable[[Row], list[float]]] = {
    "error_rate": lambda row: [float(row["status_code"] != 200)],
    "execution_duration_ms": lambda row: [float(row["execution_time_ms"])],
    "output_tokens": lambda row: [float(len(text.split())) for text in answered(row)],
    "response_flesch_kincaid": lambda row: [grade for grade in map(flesch_kincaid, answered(row)) if grade is not None],
}
"""What can be compared without the models that score."""


def answered(row: Row) -> list[str]:
    return answers(row) if row["status_code"] == 200 else []


def compared(rows: list[Row]) -> dict[str, str]:
    """What the page would say of each measure of these rows, with each version's month in one window."""
    windows = []
    for column, measure in MEASURED.items():
        for v in "67":
            values = [(x, 1 / one["sampling_fraction"]) for one in rows if version(one) == v for x in measure(one)]
            sums = {
                "count": len(values),
                "weighted_count": sum(w for _, w in values),
                "sum_wx": sum(w * x for x, w in values),
                "sum_w2": sum(w * w for _, w in values),
                "sum_w2x": sum(w * w * x for x, w in values),
                "sum_w2x2": sum(w * w * x * x for x, w in values),
            }
            windows.append(metric_row(column, None, version=v) | sums)
    return {change.column: change.verdict for change in changes(pd.DataFrame(windows), old="6", new="7")}


def test_no_change_is_none(made_once: MadeOnce) -> None:
    registry = made_once("no-change", lambda folder: register_versions(folder, seed=7, scenario="no-change"))
    commits = generate_traffic(registry, Plan(scenario="no-change"), requests=3000, seed=9)
    rows = [row for _, row in first_seen(commits).values() if not is_rating(row)]
    assert set(compared(rows).values()) <= {"about the same", "no clear difference"}


def test_an_improvement_is_one(rows: list[Row]) -> None:
    assert compared(rows) == dict.fromkeys(MEASURED, "better") | {"error_rate": "no clear difference"}


def test_one_hour_of_very_long_answers(rows: list[Row]) -> None:
    long = [row for row in rows if any(len(text.split()) >= 1000 for text in answers(row))]
    assert len(long) >= 5
    assert {version(row) for row in long} == {"6", "7"}
    assert long == [row for row in rows if row in long and row in within(rows, PLAN.spike, timedelta(hours=1))]


def test_one_evening_is_hostile(rows: list[Row]) -> None:
    evening = within(rows, PLAN.burst, timedelta(minutes=90))
    assert PLAN.burst.date() == date(2026, 4, 16)
    assert {version(row) for row in evening} == {"6", "7"}
    assert sum((parsed(row["request"]) or {}).get("user") == "user-13" for row in evening) > 10
    others = [within(rows, PLAN.burst + timedelta(days=day), timedelta(minutes=90)) for day in range(-15, 15) if day]
    assert len(evening) > 2 * max(map(len, others))


def test_a_client_that_never_stops_is_refused(rows: list[Row]) -> None:
    refused = [row for row in rows if row["status_code"] == 429]
    assert len(refused) >= 5
    assert {(parsed(row["request"]) or {}).get("user") for row in refused} == {"user-39"}


def test_an_incident_lasts_six_hours(demo_registry: Path) -> None:
    plan = Plan(scenario="incident")
    commits = generate_traffic(demo_registry, plan, requests=600, seed=7)
    rows = [row for _, row in first_seen(commits).values() if not is_rating(row)]
    during = within(rows, plan.incident, timedelta(hours=6))
    others = [row for row in rows if version(row) == "7" and row not in during]
    assert len(during) >= 60
    crashed = [sum(row["status_code"] == 500 for row in some) / len(some) for some in (during, others)]
    assert crashed[0] > 0.4 > 0.03 > crashed[1]
    took = [median(row["execution_time_ms"] for row in some if row["status_code"] == 200) for some in (during, others)]
    assert took[0] > 3 * took[1]


@pytest.mark.long
def test_spark_reads_back_what_was_written(spark: SparkSession, demo_registry: Path, tmp_path: Path) -> None:
    path, commits = str(tmp_path / "inference"), generate_traffic(demo_registry, Plan(days=4), requests=100, seed=7)
    for number in (0, 1, 3, 4, 5):
        write_traffic(spark, path, commits, number)
    assert missing_commits(spark, path) == [2]
    write_traffic(spark, path, commits, 2)
    table = spark.read.format("delta").load(path)
    assert [field.name for field in table.schema] == COLUMNS
    assert table.schema["request_metadata"].dataType.simpleString() == "map<string,string>"
    expected = Counter(row["databricks_request_id"] for commit in commits for row in commit)
    assert Counter(row.databricks_request_id for row in table.select("databricks_request_id").collect()) == expected
    sample = commits[0][0]
    stored = table.where(table.databricks_request_id == sample["databricks_request_id"]).first()
    assert stored is not None
    assert stored.asDict() == sample
    assert spark.sql(f"DESCRIBE HISTORY delta.`{path}`").count() == COMMITS
