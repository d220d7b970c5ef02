"""Ratings from a review app: into ``feedback`` once, whatever is repeated, forgotten, too old or lost."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from jobs import score_responses
from jobs.forget import forget
from jobs.reconcile import reconcile, show
from jobs.store.checkpoints import SCORE_RESPONSES
from jobs.store.tables import read_table
from jobs.upkeep.retention import purge_scores
from metrics.hashes import keyed_hash, kind_hash
from schemas.batches import BATCHES
from schemas.config import Config
from schemas.feedback import FEEDBACK
from schemas.forgotten import FORGOTTEN
from schemas.scores import SCORES
from tests.spine import copy_of, forget_last_commit, table
from tests.traffic import AI_GATEWAY, answer, append, config_in, gateway_row

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

KEY = "a key"
TIME: datetime = gateway_row("x", "e")["request_time"]
DAY, NEXT = TIME.date(), TIME.date() + timedelta(days=1)
CALLER = gateway_row("x", "e")["requester"]
LEDGER = ["rows_read", "rows_scored", "rows_quarantined", "rows_duplicate", "rows_skipped", "rows_feedback"]


def call(request_id: str, user: str) -> dict[str, Any]:
    request = json.dumps({"messages": [{"role": "user", "content": "Hi"}], "user": user})
    return gateway_row(request_id, "e") | {"request": request, "response": answer("the cat")}


def rated(request_id: str, body: dict[str, Any], *, at: timedelta | None = timedelta(hours=1)) -> dict[str, Any]:
    time = None if at is None else TIME + at
    given = {"request": json.dumps(body), "response": '{"predictions": [{}]}', "request_time": time}
    return gateway_row(request_id, "e") | given


def records(*some: dict[str, Any]) -> dict[str, Any]:
    return {"dataframe_records": list(some)}


def by(user: str, kind: str = "human") -> dict[str, Any]:
    return {"source": {"type": kind, "id": user}}


COMMENT = "ask jane@example.com"
RIGHT, WRONG = {"ratings": {"right": {"value": "yes"}}}, {"ratings": {"right": {"value": False}}}
TEXT = {"ratings": {"right": {"value": "positive"}, "tone": {"value": 4}}, "free_text_comment": COMMENT}
OF_A = rated("on a", records({"request_id": "a", "text_assessments": [TEXT]} | by("bob")))
ROWS = [
    call("a", "ada"),
    call("b", "bob"),
    call("c", "cleo"),
    OF_A,
    OF_A,
    rated("chunks", records({"request_id": "b", "retrieval_assessments": [RIGHT, WRONG]} | by("ada"))),
    rated(
        "split",
        {"dataframe_split": {"columns": ["request_id", "text_assessments"], "data": [["c", [RIGHT]]]}},
        at=timedelta(days=31),
    ),
    rated(
        "late",
        records({"trace_id": "c", "assessments": [{"name": "n", "feedback": {"value": 0.5}} | by("j", "llm_judge")]}),
        at=timedelta(days=32),
    ),
    rated("nothing", records({"request_id": "a", "text_assessments": [{"ratings": {}}]})),
    rated("no time", records({"request_id": "a", "text_assessments": [{"rationale": COMMENT}]}), at=None),
    rated("of nobody", records({"text_assessments": [RIGHT]} | by("eve", "code"))),
]
MASKED = "ask [email]"
RATINGS = [
    # request, its date, name, value, label, source type, who, whether there is a comment, what is stored of it
    ("a", DAY, "right", 1.0, "positive", "HUMAN", "bob", True, MASKED),
    ("a", DAY, "tone", 4.0, None, "HUMAN", "bob", True, MASKED),
    ("a", None, None, None, None, None, CALLER, True, None),
    ("b", DAY, "right", 0.0, "false", "HUMAN", "ada", False, None),
    ("b", DAY, "right", 1.0, "yes", "HUMAN", "ada", False, None),
    ("c", DAY, "right", 1.0, "yes", None, CALLER, False, None),
    ("c", None, "n", 0.5, None, "LLM_JUDGE", "j", False, None),
    (None, None, "right", 1.0, "yes", "CODE", "eve", False, None),
]


def score(spark: SparkSession, config: Config, *, new_checkpoint: bool = False) -> None:
    score_responses.start(spark, config, trigger="availableNow", new_checkpoint=new_checkpoint).awaitTermination()


def held(spark: SparkSession, config: Config) -> list[tuple[Any, ...]]:
    """All ratings, in full."""
    return sorted(map(tuple, read_table(spark, FEEDBACK, config.output).collect()))


def of_requests(spark: SparkSession, config: Config) -> list[str | None]:
    return [row["request_id"] for row in read_table(spark, FEEDBACK, config.output).sort("request_id").collect()]


@pytest.fixture(scope="module")
def begun(
    spark: SparkSession, language_model: Path, classifier: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Config]:
    """One run on ROWS; the tests work on copies of its folder."""
    config = config_in(tmp_path_factory.mktemp("rated"), language_model, classifier, text={"store": "redacted"})
    append(spark, config, ROWS, AI_GATEWAY)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TEXT_HASH_KEY", KEY)
        score(spark, config)
        yield config


@pytest.fixture
def monitored(begun: Config, tmp_path: Path) -> Config:
    return copy_of(begun, tmp_path)


def with_settings(config: Config, **others: Any) -> Config:
    return Config.model_validate(config.model_dump(by_alias=True) | others)


def test_each_rating_is_a_row(spark: SparkSession, begun: Config) -> None:
    who = {keyed_hash(name, KEY.encode()): name for name in ("ada", "bob", "eve", "j", CALLER)}
    rows = read_table(spark, FEEDBACK, begun.output).collect()
    found = [
        (
            *(row[name] for name in ("request_id", "request_date", "name", "value", "label", "source_type")),
            who[row["source_hash"]],
            row["comment_hash"] == kind_hash("comment", COMMENT.encode(), KEY.encode()),
            row["comment"],
        )
        for row in rows
    ]
    assert sorted(found, key=repr) == sorted(RATINGS, key=repr)
    assert len({row["feedback_id"] for row in rows}) == len(rows)
    times = {row["name"]: row["feedback_time"] for row in rows if row["request_id"] == "c"}
    late = (TIME + timedelta(days=32)).replace(tzinfo=None)
    assert times == {"right": late - timedelta(days=1), "n": late}
    assert table(spark, BATCHES, begun)[LEDGER].values.tolist() == [[11, 3, 0, 0, 8, 8]]
    account = reconcile(spark, begun)
    assert account.problems == []
    assert (account.rows["skipped"], account.rows["skipped_feedback"], account.rows["missing"]) == (8, 8, 0)
    assert (account.batches["rows_feedback"], account.ratings_not_taken) == (8, 0)


def test_nothing_that_is_repeated_changes_it(
    spark: SparkSession, monitored: Config, caplog: pytest.LogCaptureFixture
) -> None:
    before = held(spark, monitored)
    forget_last_commit(monitored, SCORE_RESPONSES)
    with caplog.at_level(logging.INFO):
        score(spark, monitored)
    assert "8 skipped (8 of them ratings); " in caplog.text
    assert "jane" not in caplog.text
    assert held(spark, monitored) == before
    assert table(spark, BATCHES, monitored)[LEDGER].values.tolist() == [[11, 3, 0, 0, 8, 8]]

    # As a version without the table had left it: that is no loss, and a new checkpoint makes up for it.
    spark.sql(f"DELETE FROM delta.`{monitored.output.path}/feedback`")
    spark.sql(f"UPDATE delta.`{monitored.output.path}/batches` SET rows_feedback = NULL")
    account = reconcile(spark, monitored)
    assert (account.problems, account.rows["skipped"], account.rows["missing"]) == ([], 8, 0)
    assert "before there was a table of ratings, --new-checkpoint reads them: 7\n" in show(account)
    score(spark, monitored, new_checkpoint=True)
    checkpoint = FEEDBACK.column_names.index("checkpoint_id")
    assert [row[:checkpoint] for row in held(spark, monitored)] == [row[:checkpoint] for row in before]
    account = reconcile(spark, monitored)
    assert (account.problems, account.ratings_not_taken) == ([], 0)

    # From here on none may be missing.
    spark.sql(f"DELETE FROM delta.`{monitored.output.path}/feedback` WHERE name = 'tone' OR name = 'n'")
    account = reconcile(spark, monitored)
    assert (account.rows["skipped"], account.rows["missing"]) == (5, 3)
    (problem,) = account.problems
    what, _, ids = problem.partition(": ")
    assert (what, sorted(ids.split(", "))) == ("in the source, and in no table", ["late", "on a", "on a"])


def test_they_are_forgotten_with_their_request_and_by_who_gave_them(spark: SparkSession, monitored: Config) -> None:
    # As older versions had made it, the table knows of no ratings.
    old = f"ALTER TABLE delta.`{monitored.output.path}/forgotten`"
    spark.sql(f"{old} DROP CONSTRAINT known_table")
    spark.sql(f"{old} ADD CONSTRAINT known_table CHECK (table_name IN ('scores', 'quarantine'))")
    # Of ada: the call a with its three ratings, and the two ratings of b.
    assert forget(spark, monitored, end_users=["ada"]) == {"scores": 1, "quarantine": 0, "feedback": 5}
    assert of_requests(spark, monitored) == [None, "c", "c"]
    assert forget(spark, monitored, request_ids=["c", "to come"]) == {"scores": 1, "quarantine": 0, "feedback": 2}
    assert forget(spark, monitored, request_ids=["c"]) == {"scores": 0, "quarantine": 0, "feedback": 0}
    assert table(spark, FORGOTTEN, monitored)["table_name"].tolist().count("feedback") == 7
    assert reconcile(spark, monitored).problems == []

    # What comes later of them is not taken, and reading again brings nothing back; without text.store no text is kept.
    silent = with_settings(monitored, text={"store": "none"})
    both = records(*({"request_id": one, "text_assessments": [TEXT]} | by("bob") for one in ("to come", "b")))
    append(spark, silent, [rated("later", both)], AI_GATEWAY)
    score(spark, silent, new_checkpoint=True)
    assert of_requests(spark, silent) == [None, "b", "b"]
    (of_b,) = read_table(spark, FEEDBACK, silent.output).where("name = 'tone'").collect()
    assert (of_b["comment"], of_b["comment_hash"]) == (None, kind_hash("comment", COMMENT.encode(), KEY.encode()))
    assert table(spark, SCORES, silent)["request_id"].tolist() == ["b"]
    account = reconcile(spark, silent)
    assert (account.problems, account.rows["missing"]) == ([], 0)

    # Ratings of a call that can't be read go with it.
    unread = call("unread", "cy") | {"request": '{"messages": 7, "user": "cy"}'}
    body = records({"request_id": "unread", "text_assessments": [TEXT]} | by("bob"))
    append(spark, silent, [unread, rated("of unread", body)], AI_GATEWAY)
    score(spark, silent)
    assert of_requests(spark, silent).count("unread") == 2
    assert forget(spark, silent, end_users=["cy"]) == {"scores": 0, "quarantine": 1, "feedback": 2}
    score(spark, silent, new_checkpoint=True)
    assert of_requests(spark, silent) == [None, "b", "b"]
    assert reconcile(spark, silent).problems == []


def test_they_go_when_they_are_old(spark: SparkSession, monitored: Config) -> None:
    today = datetime.now(UTC).date()
    # So that the ratings of May are kept, and what is of April goes.
    days = (today - date(2026, 5, 1)).days
    kept = with_settings(monitored, retention={"scores": f"{days} days"})
    assert purge_scores(spark, kept, today) == {"scores": 3, "feedback": 5}
    assert purge_scores(spark, kept, today) == {}
    assert of_requests(spark, kept) == ["a", "c", "c"], "one has no time to go by, and no text"
    (purged,) = table(spark, BATCHES, kept)["feedback_purged"]
    assert dict(purged) == {NEXT.isoformat(): 5}
    for_ever = with_settings(kept, retention={})
    for config in (kept, for_ever):
        account = reconcile(spark, config)
        assert (account.problems, account.rows["past_retention"]) == ([], 8)
    score(spark, for_ever, new_checkpoint=True)
    assert of_requests(spark, kept) == ["a", "c", "c"]
    newest = table(spark, BATCHES, kept).sort_values("finished_at").iloc[-1]
    assert newest[[*LEDGER, "rows_expired"]].tolist() == [11, 0, 0, 0, 11, 3, 8]
    assert reconcile(spark, kept).problems == []
