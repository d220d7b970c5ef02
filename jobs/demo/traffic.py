"""The demo's traffic: a month in which version 7 of a chatbot takes over from version 6, with days of both between.

Who asks what, and when, is drawn by seed; what is answered comes from the registered models (``endpoint.py``). The
rows come with a log's nuisances: late, twice, cut off, too large, sampled, failed, and ratings that are not traffic.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

from jobs.demo.endpoint import ENDPOINT, MAX_PAYLOAD_BYTES, SCHEMA, Endpoint, Row, broken_copy, feedback_row, new_id
from jobs.demo.registry import MODEL, Scenario, load_version, mlflow_store
from jobs.demo.text import Prompt, civil_prompt, follow_up, greeting_prompt, recital_prompt, toxic_prompt
from jobs.store.tables import local_frame

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

__all__ = [
    "COMMITS",
    "DAYS",
    "ENDPOINT",
    "MODEL",
    "REQUESTS",
    "SCHEMA",
    "Plan",
    "Row",
    "generate_traffic",
    "missing_commits",
    "write_traffic",
]

Messages = list[dict[str, str]]

# Requests by hour (UTC), Monday to Friday; a weekend day has a third of them.
HOURLY = (2, 1, 1, 1, 1, 2, 4, 9, 14, 17, 18, 16, 13, 15, 18, 17, 14, 10, 7, 6, 5, 4, 3, 3)
WEEKEND = 0.33

COMMITS = 6
DAYS, REQUESTS = (4, 366), (100, 1_000_000)
"""Smallest and largest: with less there is no room for what the traffic has to show."""
COMMIT_NAME = "demo traffic {} of {}"
USERS = 40
BURST_SHARE, SPIKE_SHARE, STORM_SHARE = 0.012, 0.003, 0.008
BURST_LENGTH, SPIKE_LENGTH, INCIDENT_LENGTH = timedelta(minutes=90), timedelta(minutes=55), timedelta(hours=6)
BROKEN_ROWS, OVERSIZE_ROWS, FEEDBACK_SHARE = 3, 2, 0.004
LATE_SHARE, DUPLICATE_SHARE = 0.03, 0.02
MALFORMED_SHARE = 0.006
CRASH_SHARE = 0.008
INCIDENT_SHARE, INCIDENT_MIN, INCIDENT_CRASHES, INCIDENT_SLOWNESS = 0.05, 60, 0.6, 6.0
SAMPLED_FRACTION = 0.5
SHAPES = {"chat": 80, "split": 7, "records": 6, "chain": 7}


@dataclass(frozen=True)
class Plan:
    """When what happens. A day's number counts from 0.

    Attributes:
        first_day: First day of the traffic.
        days: How many.
        scenario: What becomes of the new version.
    """

    first_day: date = date(2026, 4, 1)
    days: int = 30
    scenario: Scenario = "improvement"

    def at(self, share: float, hour: int, minute: int = 0) -> datetime:
        """A time of the day that is this share into the traffic."""
        day = self.first_day + timedelta(days=min(self.days - 1, int(self.days * share)))
        return datetime(day.year, day.month, day.day, hour, minute, tzinfo=UTC)

    @property
    def start(self) -> datetime:
        """Start of the first day."""
        return self.at(0.0, 0)

    @property
    def end(self) -> datetime:
        """End of the last day."""
        return self.start + timedelta(days=self.days)

    @property
    def trial_days(self) -> int:
        """On so many days in the middle each version answers half of the calls.

        Before them version 6 answers all, after them version 7. What would favour one version falls on these days.
        """
        return max(1, self.days // 10)

    @property
    def trial(self) -> datetime:
        """Start of the first of these days."""
        return self.start + timedelta(days=(self.days - self.trial_days) // 2)

    @property
    def spike(self) -> datetime:
        """An hour of recitals."""
        return self.trial + timedelta(hours=14)

    @property
    def storm(self) -> datetime:
        """A client retries without end."""
        return self.trial + timedelta(days=self.trial_days // 2, hours=15, minutes=20)

    @property
    def burst(self) -> datetime:
        """An evening of insults."""
        return self.trial + timedelta(days=self.trial_days - 1, hours=19, minutes=30)

    @property
    def incident(self) -> datetime:
        """The index breaks, in the scenario of that name."""
        return self.at(0.79, 10)

    @property
    def sampled_from(self) -> datetime:
        """From here on the endpoint logs only a part of its calls."""
        return self.at(0.84, 0)

    def version(self, when: datetime, rng: Random) -> str:
        """The version that the endpoint sends a call to."""
        share = 0.0 if when < self.trial else 0.5 if when < self.trial + timedelta(days=self.trial_days) else 1.0
        return "7" if rng.random() < share else "6"

    def broken(self, when: datetime) -> bool:
        """Whether the incident goes on."""
        return self.scenario == "incident" and self.incident <= when < self.incident + INCIDENT_LENGTH

    def fraction(self, when: datetime) -> float:
        """Share of the calls that the endpoint logs."""
        return SAMPLED_FRACTION if when >= self.sampled_from else 1.0


def generate_traffic(out: Path, plan: Plan, *, requests: int, seed: int) -> list[list[Row]]:
    """The traffic, in the commits in which it reaches the table.

    Args:
        out: The demo's folder, with its registry.
        plan: When what happens.
        requests: Calls that the log holds; some come twice and some are ratings on top.
        seed: Decides everything.

    Returns:
        The commits, each a list of rows in no particular order.

    Raises:
        ValueError: There is no room for what the traffic has to show.
    """
    for name, (low, high), value in (("days", DAYS, plan.days), ("requests", REQUESTS, requests)):
        if not low <= value <= high:
            raise ValueError(f"{name} must be from {low:,} to {high:,}; got {value}")
    rng = Random(f"traffic {seed}")  # noqa: S311
    rows = _Month(out, plan, rng).rows(requests)
    damaged = _cut_off(rows, rng)
    return _commits(rows, damaged, rng)


def write_traffic(spark: SparkSession, path: str, commits: Sequence[Sequence[Row]], number: int) -> None:
    """Appends commit ``number`` (from 0) to the Delta table at ``path``, which is made if it is missing."""
    frame = local_frame(spark, commits[number], SCHEMA).coalesce(1)
    named = frame.write.format("delta").option("userMetadata", COMMIT_NAME.format(number + 1, COMMITS))
    named.mode("append").save(path)


def missing_commits(spark: SparkSession, path: str) -> list[int]:
    """Numbers (from 0) of the commits that the table at ``path`` does not have yet, as its history tells."""
    from delta.tables import DeltaTable

    names = set()
    if DeltaTable.isDeltaTable(spark, path):
        history = DeltaTable.forPath(spark, path).history().select("userMetadata").collect()
        names = {row["userMetadata"] for row in history}
    return [number for number in range(COMMITS) if COMMIT_NAME.format(number + 1, COMMITS) not in names]


class _Month:
    """All calls of the month, made in order of time within a conversation."""

    def __init__(self, out: Path, plan: Plan, rng: Random) -> None:
        self.plan, self.rng = plan, rng
        self.endpoint = Endpoint({version: load_version(out, int(version)) for version in ("6", "7")}, rng)
        self.during_incident = self.endpoint
        if plan.scenario == "incident":
            with mlflow_store(out):
                broken = broken_copy(f"models:/{MODEL}/7", rng)
            self.during_incident = Endpoint({"7": broken}, rng, slowness=INCIDENT_SLOWNESS)

    def rows(self, requests: int) -> list[Row]:
        """Rows as the endpoint logs them, without loss or delay."""
        rng, plan = self.rng, self.plan
        rows: list[Row] = []
        for _ in range(round(requests * BURST_SHARE)):
            rows += self._conversation(plan.burst + rng.random() * BURST_LENGTH, toxic_prompt(rng), user="user-13")
        for _ in range(max(2, round(requests * SPIKE_SHARE))):
            rows += self._conversation(plan.spike + rng.random() * SPIKE_LENGTH, recital_prompt(rng))
        rows += self._storm(max(8, round(requests * STORM_SHARE)))
        for number in range(OVERSIZE_ROWS):
            rows += self._conversation(plan.at(0.2 + 0.4 * number, 11), _pasted_log(rng))
        shared = [self._any_prompt() for _ in range(requests // 6)]
        hours, weights = self._rhythm()
        if plan.scenario == "incident":
            rows += self._incident(max(INCIDENT_MIN, round(requests * INCIDENT_SHARE)))
        while len(rows) < requests:
            start = rng.choices(hours, weights)[0] + timedelta(milliseconds=rng.randrange(3_600_000))
            first = rng.choice(shared) if rng.random() < 0.6 else self._any_prompt()
            turns = rng.choices((1, 2, 3, 4), (85, 8, 5, 2))[0]
            rows += self._conversation(start, first, turns=turns)[: requests - len(rows)]
        rated = rng.sample([row for row in rows if row["status_code"] == 200], max(2, round(requests * FEEDBACK_SHARE)))
        return rows + [feedback_row(row, self._later(row), rng) for row in rated]

    def _later(self, row: Row) -> datetime:
        """When a user may rate an answer."""
        when = datetime.fromtimestamp(row["timestamp_ms"] / 1000, UTC) + timedelta(minutes=self.rng.randint(1, 90))
        return min(when, self.plan.end - timedelta(milliseconds=1))

    def _rhythm(self) -> tuple[list[datetime], list[float]]:
        """Every hour and how busy it is."""
        hours = [self.plan.start + timedelta(hours=hour) for hour in range(self.plan.days * 24)]
        return hours, [HOURLY[hour.hour] * (WEEKEND if hour.weekday() >= 5 else 1.0) for hour in hours]

    def _any_prompt(self) -> Prompt:
        kind: Callable[[Random], Prompt]
        kind = self.rng.choices((greeting_prompt, toxic_prompt, civil_prompt), (8, 3, 89))[0]
        return kind(self.rng)

    def _user(self) -> str | None:
        """A few users ask much, and some calls name none."""
        if self.rng.random() < 0.3:
            return None
        return f"user-{min(int(self.rng.expovariate(0.15)), USERS - 1):02}"

    def _storm(self, calls: int) -> Iterator[Row]:
        """A client that sends the same request every second, whatever it is told: most calls are refused."""
        body = {"messages": [{"role": "user", "content": civil_prompt(self.rng).text}], "user": "user-39"}
        for number in range(calls):
            when = self.plan.storm + timedelta(seconds=number)
            yield self.endpoint.call(self.plan.version(when, self.rng), body, when)

    def _incident(self, calls: int) -> list[Row]:
        """People ask again and again while the index is broken."""
        rows: list[Row] = []
        while len(rows) < calls:
            rows += self._conversation(self.plan.incident + self.rng.random() * INCIDENT_LENGTH, civil_prompt(self.rng))
        return rows

    def _conversation(self, start: datetime, prompt: Prompt, *, turns: int = 1, user: str | None = None) -> list[Row]:
        """The logged rows of up to ``turns`` turns; each holds the messages before it. An error ends it."""
        rng = self.rng
        shape = "chat" if turns > 1 or prompt.kind == "recital" else rng.choices(list(SHAPES), list(SHAPES.values()))[0]
        options: dict[str, Any] = {"max_tokens": 4096, "temperature": 0.2}
        if turns > 1:
            options["databricks_options"] = {"conversation_id": new_id(rng)}
        if name := user or self._user():
            options["user"] = name
        if rng.random() < 0.15:
            options["include_usage"] = False
        rows: list[Row] = []
        history: Messages = []
        for _ in range(turns):
            if start >= self.plan.end:
                break
            row, reply = self._turn(start, _request(shape, prompt, history, options, rng))
            if rng.random() < self.plan.fraction(start):
                rows.append(row)
            if reply is None:
                break
            history = [*history, {"role": "user", "content": prompt.text}, {"role": "assistant", "content": reply}]
            start += timedelta(milliseconds=row["execution_time_ms"] + rng.randint(15_000, 240_000))
            prompt = follow_up(prompt, rng)
        return rows

    def _turn(self, when: datetime, body: dict[str, Any]) -> tuple[Row, str | None]:
        """A call, and what a chat shows as its answer: None where it failed."""
        version, broken = self.plan.version(when, self.rng), self.plan.broken(when)
        endpoint = self.during_incident if broken else self.endpoint
        crash = self.rng.random() < (INCIDENT_CRASHES if broken else CRASH_SHARE)
        if self.rng.random() < 0.6:
            body["client_request_id"] = new_id(self.rng)
        if "messages" in body and self.rng.random() < MALFORMED_SHARE:
            del body["messages"][-1]["content"]  # what a client with a bug sends
        row = endpoint.call(version, body, when, fraction=self.plan.fraction(when), crash=crash)
        return row, _reply(row) if row["status_code"] == 200 else None


def _request(shape: str, prompt: Prompt, history: Messages, options: dict[str, Any], rng: Random) -> dict[str, Any]:
    if shape == "split":
        return {"dataframe_split": {"index": [0], "columns": ["query"], "data": [[prompt.text]]}}
    if shape == "records":
        more = [civil_prompt(rng).text for _ in range(rng.randint(0, 2))]
        return {"dataframe_records": [{"query": text} for text in (prompt.text, *more)]}
    body = {"messages": [*history, {"role": "user", "content": prompt.text}], **options}
    return body | {"return_sources": True} if shape == "chain" else body


def _reply(row: Row) -> str | None:
    body = json.loads(row["response"]) if row["response"] else None
    return body["choices"][0]["message"]["content"] if isinstance(body, dict) and "choices" in body else ""


def _pasted_log(rng: Random) -> Prompt:
    """A question with a log file pasted into it: more than an inference table takes."""
    asked = civil_prompt(rng)
    line = f"{asked.topic.name}: step {rng.randrange(1000)} took longer than it should\n"
    return Prompt(f"{asked.text}\n{line * (MAX_PAYLOAD_BYTES // len(line) + 1)}", "question", asked.topic)


def _cut_off(rows: list[Row], rng: Random) -> set[str]:
    """Cuts some request payloads off, as no endpoint should; returns the ids of those rows."""
    chats = [row for row in rows if row["status_code"] == 200 and (row["request"] or "").startswith('{"messages"')]
    chosen = rng.sample(chats, BROKEN_ROWS)
    for row in chosen:
        row["request"] = row["request"][: len(row["request"]) * 2 // 3]
    return {row["databricks_request_id"] for row in chosen}


def by_time(row: Row) -> tuple[int, str]:
    """Key to sort rows by."""
    return row["timestamp_ms"], row["databricks_request_id"]


def _commits(rows: list[Row], damaged: set[str], rng: Random) -> list[list[Row]]:
    """The rows by the commit that brings them: a sixth of the month each; some come one or two late, some twice."""
    commits: list[list[Row]] = [[] for _ in range(COMMITS)]
    last = COMMITS - 1
    for number, row in enumerate(sorted(rows, key=by_time)):
        late = rng.choice((1, 1, 1, 2)) if rng.random() < LATE_SHARE else 0
        commits[min(number * COMMITS // len(rows) + late, last)].append(row)
    twice = [(index, row) for index, commit in enumerate(commits) for row in commit]
    twice = [(index, row) for index, row in twice if row["databricks_request_id"] not in damaged]
    for index, row in rng.sample(twice, round(len(rows) * DUPLICATE_SHARE)):
        commits[index if rng.random() < 0.5 else rng.randint(index, last)].append(dict(row))
    for commit in commits:
        rng.shuffle(commit)
    return commits
