"""A serving endpoint in small: calls the registered versions and logs each call as a legacy inference table does.

What the models answer is real. How long they take is drawn, as if they were large and on a machine of their own.
"""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from math import log
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any
from uuid import UUID

import mlflow
import pandas as pd
from mlflow.exceptions import MlflowException

from jobs.demo.registry import MODEL

if TYPE_CHECKING:
    from mlflow.pyfunc import PyFuncModel

__all__ = ["ENDPOINT", "SCHEMA", "Endpoint", "Row", "broken_copy", "feedback_row", "new_id"]

ENDPOINT = "dbdemos_chatbot_rag_endpoint"
SCHEMA = (
    "client_request_id STRING, databricks_request_id STRING, date DATE, timestamp_ms BIGINT, status_code INT, "
    "sampling_fraction DOUBLE, execution_time_ms BIGINT, request STRING, response STRING, "
    "request_metadata MAP<STRING, STRING>"
)
Row = dict[str, Any]
"""One row of the inference table: a value for each column of ``SCHEMA``."""

MAX_PAYLOAD_BYTES = 1 << 20
"""A payload above this is left out of the log: NULL, never a part of it."""

PARAMETERS = ("max_tokens", "include_usage", "return_sources")
START_MS, MS_PER_WORD, SPREAD = 450.0, 4.0, 0.45
ERRORS = {
    429: ("REQUEST_LIMIT_EXCEEDED", "The endpoint takes no more requests this minute. Try again later."),
    500: ("INTERNAL_ERROR", "The model server stopped before it had answered."),
}


@dataclass
class Endpoint:
    """Serves versions of the chatbot.

    Attributes:
        models: The loaded model of each version.
        rng: Draws ids and durations.
        queries_per_minute: More calls of one user in a minute are refused with status 429.
        slowness: Factor on all durations.
    """

    models: dict[str, PyFuncModel]
    rng: Random
    queries_per_minute: int = 5
    slowness: float = 1.0
    _calls: Counter[tuple[str, datetime]] = field(default_factory=Counter)

    def call(
        self, version: str, body: Mapping[str, Any], when: datetime, *, fraction: float = 1.0, crash: bool = False
    ) -> Row:
        """One call and its row in the log.

        Args:
            version: Which version answers.
            body: The request: ``messages`` and options, ``dataframe_split`` or ``dataframe_records``.
            when: When the request arrives (UTC).
            fraction: Share of calls that the endpoint logs at that time.
            crash: The model server dies on it (status 500).

        Returns:
            The row; ``response`` holds what the model answered, or an error as the endpoint words it.
        """
        status, answer = self._respond(version, body, when, crash)
        client_id = body.get("client_request_id")
        return {
            "client_request_id": client_id,
            "databricks_request_id": new_id(self.rng),
            "date": when.date(),
            "timestamp_ms": _epoch_ms(when),
            "status_code": status,
            "sampling_fraction": fraction,
            "execution_time_ms": self._duration(status, answer),
            "request": _logged(body),
            "response": _logged(answer),
            "request_metadata": {"endpoint_name": ENDPOINT, "model_name": MODEL, "model_version": version},
        }

    def _respond(self, version: str, body: Mapping[str, Any], when: datetime, crash: bool) -> tuple[int, Any]:
        if self._too_many(body.get("user"), when):
            return _error(429)
        if crash:
            return _error(500)
        rows, params = _parsed(body)
        try:
            answer = self.models[version].predict(pd.DataFrame(rows), params=params)
        except MlflowException as error:
            # As the scoring server does, but for the data that MLflow quotes in it.
            return 400, {"error_code": "BAD_REQUEST", "message": str(error).partition(" of data ")[0]}
        if "messages" not in body:
            return 200, {"predictions": answer}
        if isinstance(answer, dict):
            answer = {"id": f"chatcmpl-{new_id(self.rng)}", "created": _epoch_ms(when) // 1000, "model": MODEL} | answer
        return 200, answer

    def _too_many(self, user: str | None, when: datetime) -> bool:
        """Whether a user who is named is above the limit of this minute."""
        if user is None:
            return False
        minute = (user, when.replace(second=0, microsecond=0))
        self._calls[minute] += 1
        return self._calls[minute] > self.queries_per_minute

    def _duration(self, status: int, answer: Any) -> int:
        """Milliseconds: a start, and a time per word; errors come at once, or after a timeout."""
        if status == 200:
            words = len(json.dumps(answer).split())
            took = (self.rng.lognormvariate(log(START_MS), SPREAD) + words * MS_PER_WORD) * self.slowness
        else:
            took = self.rng.lognormvariate(log(4000 if status == 500 else 8), 0.5)
        return max(1, round(took))


def _parsed(body: Mapping[str, Any]) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Rows for the model, and its parameters, as MLflow's scoring server reads them from a request."""
    params = {name: body[name] for name in PARAMETERS if name in body}
    if "messages" in body:
        return [{"messages": body["messages"]}], params
    if "dataframe_records" in body:
        return list(body["dataframe_records"]), params
    split = body["dataframe_split"]
    return [dict(zip(split["columns"], row, strict=True)) for row in split["data"]], params


def _error(status: int) -> tuple[int, dict[str, str]]:
    code, message = ERRORS[status]
    return status, {"error_code": code, "message": message}


def _logged(payload: Any) -> str | None:
    text = json.dumps(payload)
    return None if len(text.encode("utf-8")) > MAX_PAYLOAD_BYTES else text


def feedback_row(rated: Row, when: datetime, rng: Random) -> Row:
    """A user's rating of an answer, which a chat application sends to the same endpoint and so into the same table."""
    rating = rng.choice(("positive", "positive", "negative"))
    assessment = {"ratings": {"answer_correct": {"value": rating}}, "free_text_comment": None}
    record = {
        "request_id": rated["databricks_request_id"],
        "source": {"type": "human", "id": f"user-{rng.randrange(20):02}"},
        "text_assessments": [assessment],
    }
    return {
        "client_request_id": None,
        "databricks_request_id": new_id(rng),
        "date": when.date(),
        "timestamp_ms": _epoch_ms(when),
        "status_code": 200,
        "sampling_fraction": 1.0,
        "execution_time_ms": rng.randint(3, 20),
        "request": json.dumps({"dataframe_records": [record]}),
        "response": json.dumps({"predictions": [{"result": "ok"}]}),
        "request_metadata": {"endpoint_name": ENDPOINT, "model_name": "feedback", "model_version": "1"},
    }


def broken_copy(model_uri: str, rng: Random) -> PyFuncModel:
    """A version whose index file is damaged on the serving node: its passages' words are in disorder."""
    with TemporaryDirectory() as scratch:
        folder = Path(mlflow.artifacts.download_artifacts(model_uri, dst_path=str(Path(scratch) / "download")))
        damaged = Path(shutil.copytree(folder, Path(scratch) / "damaged"))
        file = damaged / "artifacts" / "index" / "passages.json"
        passages = json.loads(file.read_text(encoding="utf-8"))
        for passage in passages:
            words = passage["text"].split()
            rng.shuffle(words)
            passage["text"] = " ".join(words)
        file.write_text(json.dumps(passages), encoding="utf-8")
        return mlflow.pyfunc.load_model(str(damaged))  # reads all it needs at once; the folder may go


def new_id(rng: Random) -> str:
    """A random UUID that the seed decides."""
    return str(UUID(int=rng.getrandbits(128), version=4))


def _epoch_ms(when: datetime) -> int:
    return (when - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)
