"""The demo's traffic: a month of an inference table in which version 7 of a chatbot takes over from version 6.

The rows have the form of a legacy serving inference table and its nuisances: rows that come late or twice, broken
payloads, missing responses, errors, several payload shapes. Everything follows from the seed; no clock is read.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from math import log
from random import Random
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import UUID

from jobs.demo.text import Prompt, answer, civil_prompt, follow_up, greeting_prompt, recital_prompt, toxic_prompt

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

__all__ = ["ENDPOINT", "MODEL", "SCHEMA", "Row", "generate_traffic", "write_traffic"]

ENDPOINT = "dbdemos_chatbot_rag_endpoint"
MODEL = "dbdemos_advanced_chatbot_model"
SCHEMA = (
    "client_request_id STRING, databricks_request_id STRING, date DATE, timestamp_ms BIGINT, status_code INT, "
    "sampling_fraction DOUBLE, execution_time_ms BIGINT, request STRING, response STRING, "
    "request_metadata MAP<STRING, STRING>"
)
Row = dict[str, Any]
"""One row of the inference table: a value for each column of ``SCHEMA``."""

Messages = list[dict[str, str]]


class Call(NamedTuple):
    """What a client sends. ``shape``: chat, split, records or array, after the form of request and response."""

    shape: str
    prompts: list[Prompt]
    history: Messages
    options: dict[str, Any]


MONTH = 4
FIRST_DAY_OF_7 = 16
LAST_DAYS = (5, 10, 15, 20, 25, 30)
"""The last day of each commit."""

# Requests by hour (UTC), Monday to Friday; a weekend day has a third of them.
HOURLY = (2, 1, 1, 1, 1, 2, 4, 9, 14, 17, 18, 16, 13, 15, 18, 17, 14, 10, 7, 6, 5, 4, 3, 3)
WEEKEND = 0.33

BURST_START, BURST_LENGTH = (9, 19, 30), timedelta(minutes=90)
SPIKE_START, SPIKE_LENGTH = (22, 14, 0), timedelta(minutes=55)
BURST_SHARE, SPIKE_SHARE = 0.012, 0.003

BROKEN_ROWS, NULL_ROWS = 3, 2
LATE_SHARE, DUPLICATE_SHARE = 0.03, 0.02
ERROR_RATE = {"6": 0.022, "7": 0.012}
START_MS = {"6": 900, "7": 500}
MS_PER_WORD = {"6": 4.0, "7": 3.0}
ERRORS = (
    (429, "REQUEST_LIMIT_EXCEEDED", "The endpoint takes no more requests this second. Try again later."),
    (400, "BAD_REQUEST", "The request asks for more tokens than the model has left."),
    (500, "INTERNAL_ERROR", "The model server stopped before it had answered."),
)
SHAPES = {"chat": 80, "split": 7, "records": 6, "array": 7}


def generate_traffic(*, requests: int = 3000, seed: int = 7, year: int = 2026) -> list[list[Row]]:
    """A month of traffic, in the commits in which it reaches the table.

    Args:
        requests: Different requests; about two in a hundred come twice on top.
        seed: Decides everything.
        year: April of which year.

    Returns:
        The commits, each a list of rows in no particular order.

    Raises:
        ValueError: With fewer than 100 requests there is no room for what the month has to show.
    """
    if requests < 100:
        raise ValueError(f"requests must be 100 or more; got {requests}")
    rng = Random(f"traffic {seed}")  # noqa: S311
    rows = _month(requests, year, rng)
    damaged = _damage(rows, rng)
    return _commits(rows, damaged, rng)


def write_traffic(spark: SparkSession, path: str, commits: Sequence[Sequence[Row]]) -> None:
    """Appends each commit to the Delta table at ``path``, which is made if it is missing."""
    for rows in commits:
        spark.createDataFrame(list(rows), SCHEMA).coalesce(1).write.format("delta").mode("append").save(path)


def _month(requests: int, year: int, rng: Random) -> list[Row]:
    """All rows as the endpoint would log them, without loss or delay."""
    rows: list[Row] = []
    for _ in range(round(requests * BURST_SHARE)):
        rows += _conversation(_within(year, BURST_START, BURST_LENGTH, rng), toxic_prompt(rng), 1, rng)
    for _ in range(max(2, round(requests * SPIKE_SHARE))):
        rows += _conversation(_within(year, SPIKE_START, SPIKE_LENGTH, rng), recital_prompt(rng), 1, rng)
    shared = [_any_prompt(rng) for _ in range(requests // 6)]
    hours, weights = _rhythm(year)
    while len(rows) < requests:
        start = rng.choices(hours, weights)[0] + timedelta(milliseconds=rng.randrange(3_600_000))
        first = rng.choice(shared) if rng.random() < 0.6 else _any_prompt(rng)
        turns = rng.choices((1, 2, 3, 4), (85, 8, 5, 2))[0]
        rows += _conversation(start, first, min(turns, requests - len(rows)), rng)
    return rows


def _rhythm(year: int) -> tuple[list[datetime], list[float]]:
    """Every hour of the month and how busy it is."""
    first = datetime(year, MONTH, 1, tzinfo=UTC)
    hours = [first + timedelta(hours=hour) for hour in range(LAST_DAYS[-1] * 24)]
    return hours, [HOURLY[hour.hour] * (WEEKEND if hour.weekday() >= 5 else 1.0) for hour in hours]


def _within(year: int, start: tuple[int, int, int], length: timedelta, rng: Random) -> datetime:
    day, hour, minute = start
    return datetime(year, MONTH, day, hour, minute, tzinfo=UTC) + rng.random() * length


def _any_prompt(rng: Random) -> Prompt:
    kind = rng.choices((greeting_prompt, toxic_prompt, civil_prompt), (8, 3, 89))[0]
    return kind(rng)


def _conversation(start: datetime, prompt: Prompt, turns: int, rng: Random) -> list[Row]:
    """One row per turn; the messages of a turn hold all turns before it. An error ends it."""
    shape = "chat" if turns > 1 or prompt.kind == "recital" else rng.choices(list(SHAPES), list(SHAPES.values()))[0]
    options: dict[str, Any] = {"max_tokens": 4096, "temperature": 0.2}
    if turns > 1:
        options["databricks_options"] = {"conversation_id": _uuid(rng)}
    if rng.random() < 0.4:
        options["user"] = f"user-{rng.randrange(200):03}"
    rows: list[Row] = []
    history: Messages = []
    while start.month == MONTH and len(rows) < turns:
        more = [civil_prompt(rng) for _ in range(rng.randint(0, 2) if shape == "records" else 0)]
        row, reply = _turn(start, Call(shape, [prompt, *more], history, options), rng)
        rows.append(row)
        if reply is None:
            break
        history = [*history, {"role": "user", "content": prompt.text}, {"role": "assistant", "content": reply}]
        start += timedelta(milliseconds=row["execution_time_ms"] + rng.randint(15_000, 240_000))
        prompt = follow_up(prompt, rng)
    return rows


def _turn(when: datetime, call: Call, rng: Random) -> tuple[Row, str | None]:
    """The logged row and the answer to the first prompt, which is None when the request failed."""
    version = "7" if when.day >= FIRST_DAY_OF_7 else "6"
    reply: str | None = None
    if rng.random() < ERROR_RATE[version]:
        status, code, message = rng.choice(ERRORS)
        body: Any = {"error_code": code, "message": message}
        took = rng.lognormvariate(log(4000 if status == 500 else 8), 0.5)
    else:
        status = 200
        replies = [answer(prompt, version, rng) for prompt in call.prompts]
        body, reply = _response(call, replies, when, rng), replies[0]
        words = sum(len(text.split()) for text in replies)
        took = rng.lognormvariate(log(START_MS[version]), 0.45) + words * MS_PER_WORD[version]
    client_id = _uuid(rng) if rng.random() < 0.6 else None
    row: Row = {
        "client_request_id": client_id,
        "databricks_request_id": _uuid(rng),
        "date": when.date(),
        "timestamp_ms": _epoch_ms(when),
        "status_code": status,
        "sampling_fraction": 1.0,
        "execution_time_ms": max(1, round(took)),
        "request": json.dumps(_request(call) | ({"client_request_id": client_id} if client_id else {})),
        "response": json.dumps(body),
        "request_metadata": {"endpoint_name": ENDPOINT, "model_name": MODEL, "model_version": version},
    }
    return row, reply


def _request(call: Call) -> dict[str, Any]:
    texts = [prompt.text for prompt in call.prompts]
    if call.shape == "split":
        return {"dataframe_split": {"index": [0], "columns": ["query"], "data": [texts]}}
    if call.shape == "records":
        return {"dataframe_records": [{"query": text} for text in texts]}
    return {"messages": [*call.history, {"role": "user", "content": texts[0]}], **call.options}


def _response(call: Call, replies: list[str], when: datetime, rng: Random) -> Any:
    if call.shape in ("split", "records"):
        return {"predictions": replies}
    if call.shape == "array":
        page = call.prompts[0].topic.name.lower().replace(" ", "-")
        return [{"result": replies[0], "sources": [f"docs/{page}/{rng.randint(1, 40)}.html"]}]
    message = {"role": "assistant", "content": replies[0]}
    body: dict[str, Any] = {
        "id": f"chatcmpl-{_uuid(rng)}",
        "object": "chat.completion",
        "created": _epoch_ms(when) // 1000,
        "model": MODEL,
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
    }
    if rng.random() < 0.85:
        read = sum(_tokens(text) for text in [*(m["content"] for m in call.history), call.prompts[0].text])
        wrote = _tokens(replies[0])
        body["usage"] = {"prompt_tokens": read, "completion_tokens": wrote, "total_tokens": read + wrote}
    return body


def _damage(rows: list[Row], rng: Random) -> set[str]:
    """Cuts off some request payloads and takes away some responses; returns the ids of those rows."""
    chats = [row for row in rows if row["status_code"] == 200 and row["request"].startswith('{"messages"')]
    chosen = rng.sample(chats, BROKEN_ROWS + NULL_ROWS)
    for row in chosen[:BROKEN_ROWS]:
        row["request"] = row["request"][: len(row["request"]) * 2 // 3]
    for row in chosen[BROKEN_ROWS:]:
        row["response"] = None
    return {row["databricks_request_id"] for row in chosen}


def _commits(rows: list[Row], damaged: set[str], rng: Random) -> list[list[Row]]:
    """The rows by the commit that brings them; some come a commit or two late, some twice."""
    commits: list[list[Row]] = [[] for _ in LAST_DAYS]
    last = len(commits) - 1
    for row in rows:
        due = _due(row["date"])
        late = rng.choice((1, 1, 1, 2)) if rng.random() < LATE_SHARE else 0
        commits[min(due + late, last)].append(row)
    twice = [(index, row) for index, commit in enumerate(commits) for row in commit]
    twice = [(index, row) for index, row in twice if row["databricks_request_id"] not in damaged]
    for index, row in rng.sample(twice, round(len(rows) * DUPLICATE_SHARE)):
        commits[index if rng.random() < 0.5 else rng.randint(index, last)].append(dict(row))
    for commit in commits:
        rng.shuffle(commit)
    return commits


def _due(day: date) -> int:
    """Number of the commit that a row of this day belongs to."""
    return next(index for index, last_day in enumerate(LAST_DAYS) if day.day <= last_day)


def _tokens(text: str) -> int:
    """About four tokens for three words, as English has with usual vocabularies."""
    return len(text.split()) * 4 // 3 + 1


def _epoch_ms(when: datetime) -> int:
    return (when - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)


def _uuid(rng: Random) -> str:
    return str(UUID(int=rng.getrandbits(128), version=4))
