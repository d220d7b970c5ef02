"""Calls that share an id: each of them is scored once, whatever the order, and the account adds up."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from jobs import aggregate_windows, score_responses
from jobs.command.log import LOG
from jobs.forget import forget
from jobs.reconcile import reconcile
from jobs.scoring import batch
from jobs.scoring.rescoring import rescore
from jobs.store.checkpoints import SCORE_RESPONSES
from jobs.upkeep.retention import purge_scores
from metrics.unpack.rows import unpack_rows
from schemas.batches import BATCHES
from schemas.config import Config
from schemas.forgotten import FORGOTTEN
from schemas.quarantine import QUARANTINE
from schemas.scores import SCORES
from tests.spine import copy_of, forget_last_commit, run, table
from tests.traffic import START, append, config_in, row

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

FULL: dict[str, Any] = {"text": {"store": "full"}}
LEDGER = ["rows_read", "rows_scored", "rows_shared_id", "rows_quarantined", "rows_duplicate"]


def sent(request_id: str, user: str, *queries: str, at: int = 0, answers: int | None = None) -> dict[str, Any]:
    """A call of an end user; with another number of answers than queries, it can't be read."""
    request = {"dataframe_records": [{"query": query} for query in queries], "context": {"user_id": user}}
    response = {"predictions": ["the cat sat"] * (len(queries) if answers is None else answers)}
    time = timedelta(minutes=at)
    return row(request_id, at=time, request=json.dumps(request), response_body=json.dumps(response))


FIRST = [
    row("None", at=timedelta(0), request='{"messages": [{"role": "us'),  # unreadable, and the first of its id
    sent("None", "ada", "the cat", "the mat", at=1),
    sent("None", "bob", "the dog", at=2),
    sent("None", "bob", "the dog", at=2),
    sent("None", "eve", "hello", at=3),
    row("retried", status=429, response_body='{"error": "too many"}'),
    row("retried", at=timedelta(seconds=1)),
    row("plain"),
    row("", prompt="no id"),
    row("", prompt="no id"),
]
THEN = [
    sent("None", "bob", "the dog", at=2),
    sent("None", "ada", "the table", at=4),
    sent("None", "dan", "a job", at=24 * 60),
    row("plain", prompt="you are stupid"),
    row("line\nbreak" + "x" * 100),
    row("line\nbreak" + "x" * 100, status=500),
]


def score(spark: SparkSession, config: Config, **options: Any) -> None:
    score_responses.start(spark, config, trigger="availableNow", **options).awaitTermination()


def problems(spark: SparkSession, config: Config) -> list[str]:
    """What ``reconcile`` finds once the windows have followed."""
    aggregate_windows.start(spark, config, trigger="availableNow").awaitTermination()
    return reconcile(spark, config).problems


def calls(spark: SparkSession, config: Config) -> list[tuple[str, int, str, str, int]]:
    """What is scored, whichever of the calls of an id has it."""
    rows = table(spark, SCORES, config)
    names = ["request_id", "exchange_index", "prompt", "response", "status_code"]
    found = rows[names].itertuples(index=False)
    return sorted(((one[0].partition("#")[0], *one[1:]) for one in found), key=str)


def ids(spark: SparkSession, config: Config, logged: str) -> list[str]:
    """Ids in ``scores`` of calls that share one, without the digits of their hashes."""
    found = {one for one in table(spark, SCORES, config)["request_id"] if one.partition("#")[0] == logged}
    return sorted(one[: one.find("#") + 1] or one for one in found)


def counts(spark: SparkSession, config: Config) -> list[list[int]]:
    ledger: list[list[int]] = table(spark, BATCHES, config).sort_values("finished_at")[LEDGER].values.tolist()
    return ledger


@pytest.fixture(scope="module")
def begun(
    spark: SparkSession,
    language_model: Path,
    classifier: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Config:
    """Both commits, a batch each; the tests work on copies of the folder."""
    folder = tmp_path_factory.mktemp("shared")
    source = {"path": str(folder / "inference"), "max_files_per_trigger": 1}
    config = config_in(folder, language_model, classifier, source=source, **FULL)
    messages: list[str] = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: messages.append(record.getMessage())  # type: ignore[method-assign]
    LOG.addHandler(handler)
    for commit in (FIRST, THEN):
        append(spark, config, commit)
    run(spark, config)
    LOG.removeHandler(handler)
    (folder / "said.json").write_text(json.dumps(messages))
    return config


@pytest.fixture
def monitored(begun: Config, tmp_path: Path) -> Config:
    return copy_of(begun, tmp_path)


def test_calls_that_share_an_id_are_all_scored(spark: SparkSession, begun: Config) -> None:
    assert ids(spark, begun, "None") == ["None", "None#", "None#", "None#"]
    assert ids(spark, begun, "retried") == ["retried", "retried#"]
    assert ids(spark, begun, "plain") == ["plain", "plain#"]
    scores = table(spark, SCORES, begun)
    of_hash = scores[scores["request_id"].str.contains("#")]
    tails = of_hash["request_id"].str.partition("#")[2]
    assert (tails == of_hash["content_hash"].str[8:24]).all()
    # The first by time has the id itself, and an unreadable row never has; exchanges of a call share theirs.
    first = scores[scores["request_id"] == "None"].sort_values(["request_time", "exchange_index"])
    assert first["prompt"].tolist() == ["the cat", "the mat", "a job"]
    assert scores[scores["request_id"] == "retried"]["status_code"].tolist() == [429]
    assert table(spark, QUARANTINE, begun)["request_id"].tolist() == ["None"]
    assert scores["request_id"].str.startswith("hash:").sum() == 1
    assert counts(spark, begun) == [[10, 7, 3, 1, 2], [6, 5, 3, 0, 1]]
    account = reconcile(spark, begun)
    fates = ["source_rows", "scored", "quarantined", "duplicate", "missing"]
    assert (account.problems, [account.rows[one] for one in fates]) == ([], [16, 12, 1, 3, 0])


def test_a_shared_id_is_warned_of_once(begun: Config) -> None:
    messages = json.loads((Path(str(begun.output.path)).parent / "said.json").read_text())
    about = sorted(one for one in messages if one.startswith("request id "))
    shown = ["None", "line\N{REPLACEMENT CHARACTER}break" + "x" * 70 + "…", "plain", "retried"]
    tail = "other calls of the same date have it, too; each of them is kept as <id>#<hash>"
    assert about == [f"request id {one}: {tail}" for one in shown]


def test_a_replay_and_a_new_checkpoint_change_nothing(spark: SparkSession, monitored: Config) -> None:
    before, told = calls(spark, monitored), counts(spark, monitored)
    forget_last_commit(monitored, SCORE_RESPONSES)
    score(spark, monitored)
    assert (calls(spark, monitored), counts(spark, monitored)) == (before, told)
    score(spark, monitored, new_checkpoint=True)
    assert calls(spark, monitored) == before
    assert counts(spark, monitored)[2:] == [[10, 0, 0, 0, 10], [6, 0, 0, 0, 6]]
    assert problems(spark, monitored) == []


@pytest.mark.parametrize("sizes", [(16,), (5, 4, 7)])
@pytest.mark.long
def test_any_order_gives_the_same_calls(
    spark: SparkSession, begun: Config, tmp_path: Path, sizes: Sequence[int]
) -> None:
    values = begun.model_dump(by_alias=True)
    values["source"]["path"], values["output"]["path"] = str(tmp_path / "inference"), str(tmp_path / "tables")
    config = Config.model_validate(values)
    rows = [*FIRST, *THEN][::-1]
    for size in sizes:
        append(spark, config, rows[:size])
        rows = rows[size:]
    score(spark, config)
    assert calls(spark, config) == calls(spark, begun)
    assert [sum(column) for column in zip(*counts(spark, config), strict=True)] == [16, 12, 6, 1, 3]
    assert problems(spark, config) == []


def test_forgetting_an_id_forgets_all_its_calls(spark: SparkSession, monitored: Config) -> None:
    assert forget(spark, monitored, request_ids=["None", "retried"]) == {"scores": 8, "quarantine": 1, "feedback": 0}
    append(spark, monitored, [row("None", prompt="late"), row("retried", prompt="late")])
    score(spark, monitored, new_checkpoint=True)
    assert not {"None", "retried"} & {one[0] for one in calls(spark, monitored)}
    assert counts(spark, monitored)[2:] == [[10, 0, 0, 0, 10], [6, 0, 0, 0, 6], [2, 0, 0, 0, 2]]
    assert problems(spark, monitored) == []


@pytest.mark.long
def test_forgetting_a_person_leaves_others_of_the_id_alone(spark: SparkSession, monitored: Config) -> None:
    # Ada has the id itself, with two exchanges, and one of those beside it.
    assert forget(spark, monitored, end_users=["ada"]) == {"scores": 3, "quarantine": 0, "feedback": 0}
    assert problems(spark, monitored) == []
    left = {one for one in calls(spark, monitored) if one[0] == "None"}
    assert {one[2] for one in left} == {"the dog", "hello", "a job"}
    # The batch that is run again still has what it had, and its rows don't come back; later ones of others do come.
    told = counts(spark, monitored)
    forget_last_commit(monitored, SCORE_RESPONSES)
    append(spark, monitored, [FIRST[1], sent("None", "fay", "a man", at=5)])
    score(spark, monitored)
    assert counts(spark, monitored) == [*told, [2, 1, 1, 0, 1]]
    score(spark, monitored, new_checkpoint=True)
    now = {one for one in calls(spark, monitored) if one[0] == "None"}
    assert {one[2] for one in now - left} == {"a man"}
    assert counts(spark, monitored)[3:] == [[10, 0, 0, 0, 10], [6, 0, 0, 0, 6], [2, 0, 0, 0, 2]]
    # Nobody takes the id that was Ada's: her row of the first batch is counted under it.
    assert ids(spark, monitored, "None") == ["None", "None#", "None#", "None#"]
    assert problems(spark, monitored) == []


@pytest.mark.long
def test_a_person_stays_forgotten_under_another_key(
    spark: SparkSession, monitored: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    forget(spark, monitored, end_users=["ada"])
    before = calls(spark, monitored)
    monkeypatch.setenv("TEXT_HASH_KEY", "another key")
    values = monitored.model_dump(by_alias=True)
    append(spark, monitored, [sent("None", "fay", "a man", at=5)])
    score(spark, Config.model_validate(values), new_checkpoint=True)
    # Contents can't be compared any more: what has the id of a stored or forgotten call is taken for it.
    assert calls(spark, monitored) == before
    assert problems(spark, monitored) == []


@pytest.mark.long
def test_one_of_two_people_of_a_call_beside_others_is_forgotten(spark: SparkSession, monitored: Config) -> None:
    two = [{"query": "mine", "user": "ivy"}, {"query": "hers", "user": "mallory"}]
    call = row("plain", request=json.dumps({"dataframe_records": two}), response_body='["A1", "A2"]')
    append(spark, monitored, [call])
    score(spark, monitored)
    assert forget(spark, monitored, end_users=["mallory"]) == {"scores": 1, "quarantine": 0, "feedback": 0}
    assert problems(spark, monitored) == []
    told = counts(spark, monitored)
    forget_last_commit(monitored, SCORE_RESPONSES)
    score(spark, monitored)
    assert counts(spark, monitored) == told
    score(spark, monitored, new_checkpoint=True)
    assert ids(spark, monitored, "plain") == ["plain", "plain#", "plain#"]
    assert problems(spark, monitored) == []


@pytest.mark.parametrize("content", ["NULL", "concat('00000000', substr(content_hash, 9))"])
def test_a_stored_row_whose_content_is_not_known_stands_for_all(
    spark: SparkSession, monitored: Config, content: str
) -> None:
    """NULL: of an older version. Other first digits: hashed with another key."""
    spark.sql(
        f"UPDATE delta.`{monitored.output.path}/scores` SET content_hash = {content} "
        "WHERE NOT contains(request_id, '#')"
    )
    append(spark, monitored, [row("plain", prompt="other"), row("new"), row("new", prompt="other")])
    before = counts(spark, monitored)
    score(spark, monitored)
    assert counts(spark, monitored) == [*before, [3, 2, 1, 0, 1]]
    assert ids(spark, monitored, "new") == ["new", "new#"]
    assert problems(spark, monitored) == []


@pytest.mark.long
def test_rescore_finds_the_texts_of_each_call(spark: SparkSession, monitored: Config) -> None:
    names = ["request_id", "exchange_index", "prompt_perplexity", "response_flesch_kincaid", "prompt_toxicity"]
    before = table(spark, SCORES, monitored)[names].sort_values(names[:2], ignore_index=True)
    spark.sql(
        f"UPDATE delta.`{monitored.output.path}/scores` SET prompt_perplexity = 1, prompt_toxicity = 0.5, "
        "scorers = transform_values(scorers, (k, v) -> 'old')"
    )
    day = START.date()
    done = rescore(spark, monitored, since=day, until=day + timedelta(days=1))
    assert (done.rows, done.without_source) == (len(before), 0)
    after = table(spark, SCORES, monitored)[names].sort_values(names[:2], ignore_index=True)
    assert after.equals(before) or (after[names[2:]] - before[names[2:]]).abs().max().max() < 1e-4


@pytest.mark.long
def test_rows_of_quarantine_get_ids_of_their_own(
    spark: SparkSession, monitored: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As if a program that can't read them had met them first.
    odd = [row("None", prompt="odd one"), row("None", prompt="odd two"), sent("None", "bob", "the dog", at=2)]
    append(spark, monitored, [*odd, row("plain", prompt="odd three")])
    real = unpack_rows

    def refusing(rows: Any, *args: Any, **options: Any) -> Any:
        unpacked = real(rows, *args, **options)
        return unpacked.selectExpr(
            "* EXCEPT (reason, exchanges)", "'unknown_request_shape' AS reason",
            "CAST(NULL AS " + unpacked.schema["exchanges"].dataType.simpleString() + ") AS exchanges",
        )  # fmt: skip

    with monkeypatch.context() as older:
        older.setattr(batch, "unpack_rows", refusing)
        score(spark, monitored)
    assert counts(spark, monitored)[-1] == [4, 0, 0, 4, 0]
    assert batch.retry_quarantine(spark, monitored) == {"tried": 5, "scored": 4}
    assert counts(spark, monitored)[-1] == [4, 3, 3, 0, 1]
    prompts = {one[2] for one in calls(spark, monitored)}
    assert {"odd one", "odd two", "odd three"} <= prompts
    assert problems(spark, monitored) == []


@pytest.mark.long
def test_retention_counts_all_calls_of_an_id(spark: SparkSession, monitored: Config) -> None:
    values = monitored.model_dump(by_alias=True) | {"retention": {"scores": "30 days"}}
    config = Config.model_validate(values)
    forget(spark, config, end_users=["ada"])
    purge_scores(spark, config, START.date() + timedelta(days=31))
    assert problems(spark, monitored) == []
    noted = table(spark, BATCHES, config).sort_values("batch_id")["scores_purged"]
    purged = [sum(dict(one or {}).values()) for one in noted]
    assert purged == [6, 3]
    assert len(table(spark, FORGOTTEN, config)) == 2
