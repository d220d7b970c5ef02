"""Every case and every odd row through the score hop, in one batch: where it ends, and with what.

Payloads are those of tests/payloads.py and of tests/metrics/unpack/cases.

The source is an AI Gateway table, whose rows can lack a time, and name why a payload is missing.
"""

from __future__ import annotations

import hashlib
import logging
import math
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from pyspark.sql import functions as F

from jobs.command.log import LOG
from jobs.reconcile import reconcile
from jobs.scoring.outcomes import Warned
from jobs.store.tables import read_table
from schemas.batches import BATCHES
from schemas.config import Config
from schemas.profile_metrics import PROFILE_METRICS
from schemas.quarantine import QUARANTINE
from schemas.scores import SCORES
from tests.metrics.unpack.cases import CASES, raw
from tests.models import LM_CONTEXT, word_tokenizer
from tests.payloads import ERROR_CODES, HELLO, HI, RATING, READABLE, RESPONSES, UNREADABLE, USAGE
from tests.spine import run, table
from tests.traffic import AI_GATEWAY, append, config_in, frame, gateway_row

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

Fate = tuple[dict[str, Any], str]
TIME: datetime = gateway_row("x", "e")["request_time"]
SOON = datetime.now(UTC) + timedelta(days=1)
TOO_LONG = "MAX_REQUEST_SIZE_EXCEEDED"
TOO_LONG_ANSWER = "MAX_RESPONSE_SIZE_EXCEEDED"
FEEDBACK = {"request": RATING, "response": '{"predictions": [{}]}'}
HASHED = "hash:" + hashlib.sha256("\x1f".join([HI, HELLO, "2026-04-01 23:30:00"]).encode()).hexdigest()
HASHED_TOO = "hash:" + hashlib.sha256("\x1f".join([HI, "\0", "2026-04-01 23:30:00"]).encode()).hexdigest()
NO_UTF8 = ("no UTF-8 in JSON", "no UTF-8, no JSON")

TOKENS = ("input_tokens", "output_tokens", "cached_input_tokens", "cache_write_input_tokens")

FRACTIONS = (math.nan, math.inf, 0.0, -1.0, 1e-320, 2.0)
"""What is no share of the requests."""

ODD: dict[str, Fate] = {
    # name: (what differs from a plain chat, where it ends)
    "request too long for the log": ({"request": None, "logging_error_codes": [TOO_LONG]}, "scored"),
    "response too long for the log": ({"response": None, "logging_error_codes": [TOO_LONG_ANSWER]}, "scored"),
    "feedback": (FEEDBACK, "skipped"),
    "no time": ({"request_time": None}, "no_request_time"),
    "no time, feedback": (FEEDBACK | {"request_time": None}, "skipped"),
    "from the future": ({"request_time": SOON}, "future_request_time"),
    "from the far future": ({"request_time": datetime(9999, 12, 31, tzinfo=UTC)}, "future_request_time"),
    "before 1970": ({"request_time": datetime(1969, 12, 31, tzinfo=UTC)}, "no_request_time"),
    HASHED: ({"databricks_request_id": None}, "scored"),
    HASHED_TOO: ({"databricks_request_id": " ", "response": None, "status_code": 500}, "scored"),
    "on two dates": ({}, "scored"),
    "failed, with no JSON": ({"status_code": 500, "request": "nope", "response": "nope"}, "scored"),
    "without status": ({"status_code": None}, "scored"),
    **{f"sampled at {fraction}": ({"sampling_fraction": fraction}, "scored") for fraction in FRACTIONS},
}
SHAPES: dict[str, Fate] = {
    **{name: ({"request": case[0], "response": case[1]}, "scored") for name, case in READABLE.items()},
    **{name: ({"request": case[0], "response": case[1]}, case[2]) for name, case in UNREADABLE.items()},
    **{
        f"case {name}": (
            {"request": raw(case.request), "response": raw(case.response), "status_code": case.status},
            case.reason or "scored",
        )
        for name, case in CASES.items()
    },
    **ODD,
    **{
        f"error {i}": ({"status_code": status, "request": RESPONSES, "response": response}, "scored")
        for i, (status, response, _) in enumerate(ERROR_CODES)
        if status != 200
    },
}


@pytest.fixture(scope="module")
def said() -> Iterator[list[str]]:
    """Warnings of the run."""
    messages: list[str] = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: messages.append(record.getMessage())  # type: ignore[method-assign]
    LOG.addHandler(handler)
    yield messages
    LOG.removeHandler(handler)


@pytest.fixture(scope="module")
def scored(
    spark: SparkSession,
    language_model: Path,
    classifier: Path,
    tmp_path_factory: pytest.TempPathFactory,
    said: list[str],
) -> Config:
    config = config_in(tmp_path_factory.mktemp("odd"), language_model, classifier, text={"store": "full"})
    rows = [gateway_row(name, "e") | {"response": HELLO} | differs for name, (differs, _) in SHAPES.items()]
    rows.append(gateway_row("on two dates", "e") | {"request_time": TIME + timedelta(days=1)})
    append(spark, config, rows, AI_GATEWAY)
    # Bytes that are no UTF-8, which a string column may hold, in JSON and in what is none.
    not_utf8 = frame(spark, [gateway_row(name, "e") | {"response": HELLO} for name in NO_UTF8], AI_GATEWAY)
    request = F.when(F.col("databricks_request_id") == NO_UTF8[0], F.unhex(F.lit(b'{"prompt": "a\xff"}'.hex())))
    not_utf8 = not_utf8.withColumn("request", request.otherwise(F.unhex(F.lit(b"no JSON\xff".hex()))).cast("string"))
    not_utf8.select(*frame(spark, [], AI_GATEWAY).columns).write.format("delta").mode("append").save(config.source.path)
    run(spark, config)
    return config


@pytest.fixture(scope="module")
def scores(spark: SparkSession, scored: Config) -> dict[str, list[dict[str, Any]]]:
    rows = table(spark, SCORES, scored).sort_values("exchange_index").to_dict("records")
    return {name: [row for row in rows if row["request_id"] == name] for name in (*SHAPES, *NO_UTF8)}


@pytest.fixture(scope="module")
def reasons(spark: SparkSession, scored: Config) -> dict[str, str]:
    # Not as pandas, whose times end in the year 2262.
    return dict(map(tuple, read_table(spark, QUARANTINE, scored.output).select("request_id", "reason").collect()))


@pytest.mark.parametrize("name", SHAPES)
def test_where_it_ends(scores: dict[str, list[dict[str, Any]]], reasons: dict[str, str], name: str) -> None:
    fate = "scored" if scores[name] else reasons.get(name, "skipped")
    assert fate == SHAPES[name][1]
    assert not (scores[name] and name in reasons)


@pytest.mark.parametrize("name", READABLE)
def test_prompts_responses_and_tokens(scores: dict[str, list[dict[str, Any]]], name: str) -> None:
    rows, exchanges = scores[name], READABLE[name][2]
    assert [(row["prompt"], row["response"]) for row in rows] == exchanges
    columns = ("input_tokens", "output_tokens", "cached_input_tokens")
    tokens = [tuple(None if math.isnan(row[column]) else row[column] for column in columns) for row in rows]
    if name in USAGE:
        assert tokens == [USAGE[name]]
        assert rows[0]["token_source"] == "usage"
        return
    alone = '"role"' not in (READABLE[name][0] or "") and name != "SplitChat"  # the prompt is all of the input
    for (prompt, response), (given, said, cached) in zip(exchanges, tokens, strict=True):
        assert (said, cached) == (counted(response), None)
        if alone:
            assert given == counted(prompt or None)


@pytest.mark.parametrize("name", CASES)
def test_cases_come_through(scores: dict[str, list[dict[str, Any]]], name: str) -> None:
    case, rows = CASES[name], scores[f"case {name}"]
    assert [(row["prompt"], row["response"]) for row in rows] == case.exchanges
    for row in rows[:1] if len(rows) == 1 else ():
        logged = dict(zip(TOKENS, case.tokens, strict=True))
        assert {column: row[column] for column, count in logged.items() if count is not None} == {
            column: count for column, count in logged.items() if count is not None
        }
        assert (row["error_code"] is not None, row["finish_reason"]) == (case.error, case.finish_reason)
        assert case.turn is None or row["turn"] == case.turn
        assert row["score_errors"] is not None


def test_a_sampling_fraction_that_is_none_weighs_one(
    spark: SparkSession, scored: Config, scores: dict[str, list[dict[str, Any]]]
) -> None:
    rows = [row for fraction in FRACTIONS for row in scores[f"sampled at {fraction}"]]
    assert [math.isnan(row["sampling_fraction"]) for row in rows] == [True] * len(FRACTIONS)  # NULL, as pandas has it
    requests = read_table(spark, PROFILE_METRICS, scored.output).where("column_name = 'requests'")
    assert {w["weighted_count"] == w["count"] for w in requests.collect()} == {True}


def test_bytes_that_are_no_text_stop_nothing(scores: dict[str, list[dict[str, Any]]], reasons: dict[str, str]) -> None:
    (row,) = scores[NO_UTF8[0]]
    assert (row["prompt"], row["response"]) == ("a\ufffd", "Hello")
    assert reasons[NO_UTF8[1]] == "invalid_request_json"


def counted(text: str | None) -> int | None:
    """Tokens of a text, with special tokens in it as plain text."""
    if text is None:
        return None
    plain = word_tokenizer(context=LM_CONTEXT).backend_tokenizer
    plain.encode_special_tokens = True
    return len(plain.encode(text, add_special_tokens=False).ids)


def test_special_tokens_count_as_plain_text(scores: dict[str, list[dict[str, Any]]]) -> None:
    (row,) = scores["special tokens are text"]
    assert row["prompt"] == "<|endoftext|> [SEP]"
    # Letter by letter, as the words are none of the tokenizer's; as special tokens they would be two.
    assert row["input_tokens"] > 10
    assert row["prompt_perplexity"] > 0


def test_what_the_log_left_out_has_its_code_as_reason(
    spark: SparkSession, scored: Config, scores: dict[str, list[dict[str, Any]]]
) -> None:
    (request,), (response,) = scores["request too long for the log"], scores["response too long for the log"]
    of_prompt = ["prompt_perplexity", "prompt_toxicity", "prompt_flesch_kincaid", "response_perplexity_given_prompt"]
    assert dict(request["score_errors"]) == dict.fromkeys(of_prompt, TOO_LONG)
    of_response = [name for name in dict(response["scorers"]) if name.startswith("response_")]
    assert dict(response["score_errors"]) == dict.fromkeys(of_response, TOO_LONG_ANSWER)
    assert table(spark, BATCHES, scored)["exchanges_not_logged"].tolist() == [2]
    (never,) = scores["nothing logged"]
    assert set(dict(never["score_errors"]).values()) == {"missing"}


def test_everything_balances_and_oddities_are_reported(spark: SparkSession, scored: Config) -> None:
    account = reconcile(spark, scored)
    assert account.problems == []
    fates = [fate for _, fate in SHAPES.values()]
    assert account.rows == {
        "source_rows": len(SHAPES) + 1 + 2,
        "scored": fates.count("scored") + 1 + 1,
        "quarantined": len(fates) - fates.count("scored") - fates.count("skipped") + 1,
        "duplicate": 0,
        "skipped": fates.count("skipped"),
        "forgotten": 0,
        "missing": 0,
        "skipped_feedback": 2,
        "ids_on_two_dates": 1,
        "ids_from_hash": 2,
    }
    assert account.days["none"]["source_rows"] == 3


def test_an_unknown_entity_is_kept_and_warned_of_once(
    scored: Config, scores: dict[str, list[dict[str, Any]]], said: list[str]
) -> None:
    names = {
        (one["served_entity_id"], one["model_name"], one["model_version"]) for some in scores.values() for one in some
    }
    assert names == {("e", "e", None)}
    of_entity = [message for message in said if "source.served_entities" in message]
    assert of_entity == ["served entity e is not in source.served_entities: its model has the id as name"]
    driver = Warned()
    driver.of_entities(["e"])
    driver.of_entities(["e", "f"])
    again = [message for message in said if "source.served_entities" in message][1:]
    assert [message.split()[2] for message in again] == ["e", "f"], "each once, by one driver"
