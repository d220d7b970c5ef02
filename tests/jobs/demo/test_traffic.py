"""The demo's traffic: what each row is, and that the month shows what the demo tells."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from datetime import UTC, date, datetime
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import pytest

from jobs.demo.traffic import ENDPOINT, LAST_DAYS, MODEL, SCHEMA, Row, generate_traffic, write_traffic

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

COMMITS = generate_traffic()
COLUMNS = [column.split()[0] for column in SCHEMA.replace("MAP<STRING, STRING>", "MAP").split(", ")]


def first_seen(commits: Iterable[Iterable[Row]]) -> dict[str, tuple[int, Row]]:
    """Each request once: the commit that brings it first, and its row."""
    seen: dict[str, tuple[int, Row]] = {}
    for index, commit in enumerate(commits):
        for row in commit:
            seen.setdefault(row["databricks_request_id"], (index, row))
    return seen


ROWS = [row for _, row in first_seen(COMMITS).values()]


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
        return [request["messages"][-1]["content"]]
    if "dataframe_records" in request:
        return [record["query"] for record in request["dataframe_records"]]
    return [text for line in request.get("dataframe_split", {}).get("data", []) for text in line]


def answers(row: Row) -> list[str]:
    body = parsed(row["response"])
    if isinstance(body, list):
        return [item["result"] for item in body]
    if body is None or "error_code" in body:
        return []
    return list(body["predictions"]) if "predictions" in body else [body["choices"][0]["message"]["content"]]


def test_the_seed_decides() -> None:
    assert generate_traffic(requests=200, seed=3) == generate_traffic(requests=200, seed=3)
    assert generate_traffic(requests=200, seed=3) != generate_traffic(requests=200, seed=4)


@pytest.mark.parametrize("requests", [100, 777, 3000])
def test_as_many_requests_as_asked_for(requests: int) -> None:
    commits = generate_traffic(requests=requests)
    assert len(commits) == 6
    assert all(commits)
    assert len(first_seen(commits)) == requests


def test_too_few_requests_are_refused() -> None:
    with pytest.raises(ValueError, match="100 or more; got 99"):
        generate_traffic(requests=99)


def test_every_row_has_the_form_of_the_table() -> None:
    for row in ROWS:
        assert list(row) == COLUMNS
        when = datetime.fromtimestamp(row["timestamp_ms"] / 1000, UTC)
        assert row["date"] == when.date()
        assert date(2026, 4, 1) <= row["date"] <= date(2026, 4, 30)
        assert version(row) == ("6" if when.day <= 15 else "7")
        assert (row["request_metadata"]["endpoint_name"], row["request_metadata"]["model_name"]) == (ENDPOINT, MODEL)
        assert row["execution_time_ms"] >= 1
        assert row["sampling_fraction"] == 1.0


def test_another_year_is_possible() -> None:
    days = {row["date"].year for commit in generate_traffic(requests=100, year=2024) for row in commit}
    assert days == {2024}


def test_the_fate_of_every_row() -> None:
    broken = [row for row in ROWS if parsed(row["request"]) is None]
    missing = [row for row in ROWS if row["response"] is None]
    failed = [row for row in ROWS if row["status_code"] != 200]
    assert (len(broken), len(missing)) == (3, 2)
    assert 0.008 < len(failed) / len(ROWS) < 0.025
    assert sum(map(len, COMMITS)) - len(ROWS) == 60
    for row in failed:
        assert set(parsed(row["response"])) == {"error_code", "message"}
    for row in ROWS:
        if row not in broken and row not in missing and row not in failed:
            assert len(prompts(row)) == len(answers(row)) > 0


def test_a_repeated_row_is_the_same_row() -> None:
    seen = first_seen(COMMITS)
    again = Counter[str]()
    for index, commit in enumerate(COMMITS):
        ids = Counter(row["databricks_request_id"] for row in commit)
        for row in commit:
            first, original = seen[row["databricks_request_id"]]
            assert row == original
            again["later"] += first != index
        again["same"] += len(commit) - len(ids)
    assert again["later"] + again["same"] == 60
    assert min(again["later"], again["same"]) >= 10


def test_some_rows_are_late_and_none_is_early() -> None:
    due = {row["databricks_request_id"]: sum(row["date"].day > day for day in LAST_DAYS) for row in ROWS}
    delays = Counter(index - due[request_id] for request_id, (index, _) in first_seen(COMMITS).items())
    assert set(delays) == {0, 1, 2}
    assert 0.01 < (delays[1] + delays[2]) / len(ROWS) < 0.05


def test_payload_shapes() -> None:
    bodies = [(parsed(row["request"]) or {}, parsed(row["response"])) for row in ROWS if row["status_code"] == 200]
    chats = [(request, body) for request, body in bodies if "messages" in request and isinstance(body, dict)]
    assert len(chats) / len(ROWS) > 0.7
    assert 0.75 < sum("usage" in body for _, body in chats) / len(chats) < 0.95
    assert sum("dataframe_split" in request for request, _ in bodies) > 50
    assert sum("dataframe_records" in request for request, _ in bodies) > 50
    assert sum(isinstance(body, list) for _, body in bodies) > 50
    assert sum(len(request.get("dataframe_records", [])) > 1 for request, _ in bodies) > 20


def test_conversations_hold_their_history() -> None:
    by_conversation: dict[str, list[Row]] = {}
    for row in sorted(ROWS, key=lambda row: row["timestamp_ms"]):
        options = (parsed(row["request"]) or {}).get("databricks_options")
        if options:
            by_conversation.setdefault(options["conversation_id"], []).append(row)
    longest = max(by_conversation.values(), key=len)
    assert len(longest) >= 3
    for before, after in pairwise(longest):
        told = [message["content"] for message in parsed(after["request"])["messages"]]
        assert told[-3:-1] == [prompts(before)[0], answers(before)[0]]


def test_days_and_weeks_have_a_rhythm() -> None:
    hours = Counter(datetime.fromtimestamp(row["timestamp_ms"] / 1000, UTC).hour for row in ROWS)
    days = Counter(row["date"] for row in ROWS)
    assert sum(hours[hour] for hour in range(9, 17)) > 4 * sum(hours[hour] for hour in range(6))
    assert len(days) == 30
    weekend, working = ([n for day, n in days.items() if (day.weekday() >= 5) is flag] for flag in (True, False))
    assert max(weekend) < min(working)


def test_prompts_come_back() -> None:
    asked = {v: Counter(p for row in ROWS if version(row) == v for p in prompts(row)) for v in "67"}
    assert len(set(asked["6"]) & set(asked["7"])) > 200
    greetings = Counter((row["date"], prompt) for row in ROWS for prompt in prompts(row) if prompt == "Hello")
    assert max(greetings.values()) >= 2


def test_version_7_is_faster_shorter_and_fails_less() -> None:
    fine = {v: [row for row in ROWS if version(row) == v and row["status_code"] == 200] for v in "67"}
    took = {v: median(row["execution_time_ms"] for row in fine[v]) for v in "67"}
    words = {v: median(len(text.split()) for row in fine[v] for text in answers(row)) for v in "67"}
    failed = {v: sum(version(row) == v and row["status_code"] != 200 for row in ROWS) for v in "67"}
    assert took["7"] < 0.7 * took["6"]
    assert words["7"] < 0.5 * words["6"]
    assert failed["7"] < failed["6"]


def test_one_hour_of_very_long_answers() -> None:
    long = [row for row in ROWS if any(len(text.split()) >= 1500 for text in answers(row))]
    times = [row["timestamp_ms"] for row in long]
    assert len(long) >= 5
    assert {version(row) for row in long} == {"7"}
    assert max(times) - min(times) < 3_600_000


def test_one_evening_is_hostile() -> None:
    evenings = Counter(
        row["date"] for row in ROWS if datetime.fromtimestamp(row["timestamp_ms"] / 1000, UTC).hour in (19, 20)
    )
    (day, busiest), (_, second) = evenings.most_common(2)
    assert day == date(2026, 4, 9)
    assert busiest > 2 * second


def test_spark_reads_back_what_was_written(spark: SparkSession, tmp_path: Path) -> None:
    path, commits = str(tmp_path / "inference"), generate_traffic(requests=100)
    write_traffic(spark, path, commits)
    table = spark.read.format("delta").load(path)
    assert [field.name for field in table.schema] == COLUMNS
    assert table.schema["request_metadata"].dataType.simpleString() == "map<string,string>"
    expected = Counter(row["databricks_request_id"] for commit in commits for row in commit)
    assert Counter(row.databricks_request_id for row in table.select("databricks_request_id").collect()) == expected
    sample = commits[0][0]
    stored = table.where(table.databricks_request_id == sample["databricks_request_id"]).first()
    assert stored is not None
    assert stored.asDict() == sample
    history = spark.sql(f"DESCRIBE HISTORY delta.`{path}`")
    assert history.count() == len(commits)
