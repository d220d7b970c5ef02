"""Updated rows of the inference table, by its change feed: what was scored of them is replaced, and windows follow."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from jobs import score_responses
from jobs.forget import forget
from jobs.reconcile import reconcile
from jobs.store.checkpoints import SCORE_RESPONSES
from schemas.batches import BATCHES
from schemas.config import Config
from schemas.profile_metrics import PROFILE_METRICS
from schemas.quarantine import QUARANTINE
from schemas.scores import SCORES
from tests.jobs.test_source import FEED, create
from tests.spine import contents, copy_of, forget_last_commit, run, table
from tests.traffic import append, config_in, frame, row

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

LEDGER = ["rows_read", "rows_scored", "rows_quarantined", "rows_duplicate", "rows_replaced"]
MINUTE = timedelta(minutes=1)


def batched(*queries: str) -> dict[str, Any]:
    records = {"dataframe_records": [{"query": query, "user": f"user of {query}"} for query in queries]}
    answers = {"predictions": ["the cat"] * len(queries)}
    return row("batched", at=2 * MINUTE, request=json.dumps(records), response_body=json.dumps(answers))


FIRST = [
    row("late", response=None),
    batched("the cat", "the dog"),
    row("shared", prompt="hello"),
    row("shared", at=MINUTE, prompt="the mat"),
    row("broken", request="{"),
    row("breaks", prompt="the table"),
    row("same"),
]
SECOND = [
    row("late", response="the dog"),
    batched("the mat"),
    row("shared", at=MINUTE, prompt="a job"),
    row("broken", prompt="mended"),
    row("breaks", request="{"),
    row("same", milliseconds=7),
    row("new", response=None),
]
THIRD = [row("late", response="the dog ran"), row("new", response="a cat"), batched("the mat", "a man", "a table")]


def upsert(spark: SparkSession, config: Config, rows: list[dict[str, Any]]) -> None:
    """One commit of the inference table that updates rows with these ids and times, and inserts the others."""
    frame(spark, rows).createOrReplaceTempView("upserted")
    spark.sql(
        f"MERGE INTO delta.`{config.source.path}` t USING upserted s "
        "ON t.databricks_request_id = s.databricks_request_id AND t.timestamp_ms = s.timestamp_ms "
        "WHEN MATCHED THEN UPDATE SET * WHEN NOT MATCHED THEN INSERT *"
    )


def score(spark: SparkSession, config: Config, **options: Any) -> None:
    score_responses.start(spark, config, trigger="availableNow", **options).awaitTermination()


def counts(spark: SparkSession, config: Config) -> list[list[int]]:
    ledger: list[list[int]] = table(spark, BATCHES, config).sort_values("finished_at")[LEDGER].values.tolist()
    return ledger


def texts(spark: SparkSession, config: Config) -> list[tuple[str, str | None, str | None]]:
    rows = table(spark, SCORES, config)[["request_id", "prompt", "response"]].itertuples(index=False)
    return sorted(((one[0].partition("#")[0], one[1], one[2]) for one in rows), key=str)


@pytest.fixture(scope="module")
def first(
    spark: SparkSession, language_model: Path, classifier: Path, tmp_path_factory: pytest.TempPathFactory
) -> Config:
    """A monitor that has read FIRST; the tests work on copies of its folder."""
    folder = tmp_path_factory.mktemp("updated")
    source = {"path": str(folder / "inference"), "on_source_change": "cdf"}
    config = config_in(folder, language_model, classifier, source=source, text={"store": "full"})
    create(spark, str(config.source.path), FEED)
    append(spark, config, FIRST)
    run(spark, config)
    return config


@pytest.fixture(scope="module")
def updated(spark: SparkSession, first: Config, tmp_path_factory: pytest.TempPathFactory) -> Config:
    """The same after both updates, which are one batch."""
    config = copy_of(first, tmp_path_factory.mktemp("second"))
    upsert(spark, config, SECOND)
    upsert(spark, config, THIRD)
    run(spark, config)
    return config


CAT = "the cat sat on the mat"
AFTER = [
    ("batched", "a man", "the cat"),
    ("batched", "a table", "the cat"),
    ("batched", "the mat", "the cat"),
    ("breaks", "the table", CAT),
    ("broken", "mended", CAT),
    ("late", "hello world", "the dog ran"),
    ("new", "hello world", "a cat"),
    ("same", "hello world", CAT),
    ("shared", "a job", CAT),
    ("shared", "hello", CAT),
]


def test_an_update_replaces_what_was_scored(spark: SparkSession, updated: Config) -> None:
    assert texts(spark, updated) == AFTER
    scores = table(spark, SCORES, updated)
    of_hash = scores[scores["request_id"].str.contains("#")]
    assert of_hash["prompt"].tolist() == ["a job"]
    assert (of_hash["request_id"] == "shared#" + of_hash["content_hash"].str[8:24]).all()
    # A replaced call stays one of the batch that had met it first; what changes nothing is a duplicate.
    batches = scores.groupby("batch_id")["request_id"].agg(lambda ids: sorted({one.partition("#")[0] for one in ids}))
    assert batches.tolist() == [["batched", "breaks", "late", "same", "shared"], ["broken", "new"]]
    assert scores.loc[scores["request_id"] == "same", "execution_duration_ms"].tolist() == [100]
    (late,) = scores.loc[scores["request_id"] == "late", "earlier_hashes"]
    assert len(late) == 2
    assert sorted(table(spark, QUARANTINE, updated)["request_id"]) == ["breaks", "broken"]
    assert counts(spark, updated) == [[7, 6, 1, 0, 0], [10, 2, 1, 7, 3]]


def test_windows_follow_an_update(spark: SparkSession, updated: Config) -> None:
    account = reconcile(spark, updated)
    assert (account.problems, account.rows["missing"]) == ([], 0)
    windows = table(spark, PROFILE_METRICS, updated)
    whole = windows[windows["slice_key"].isna() & (windows["model_version"] == "*")]
    day = whole[whole["granularity"] == "1 day"].set_index("column_name")
    assert day.loc["requests", "sum"] == 8
    assert day.loc["prompt_toxicity", "count"] == 10


def test_a_replayed_update_changes_nothing(spark: SparkSession, updated: Config, tmp_path: Path) -> None:
    config = copy_of(updated, tmp_path)
    before, told = contents(spark, config, "scores"), counts(spark, config)
    forget_last_commit(config, SCORE_RESPONSES)
    score(spark, config)
    assert (contents(spark, config, "scores"), counts(spark, config)) == (before, told)


def test_an_update_may_bring_an_earlier_answer_back(spark: SparkSession, updated: Config, tmp_path: Path) -> None:
    config = copy_of(updated, tmp_path)
    upsert(spark, config, [SECOND[0]])
    score(spark, config)
    back = [("late", "hello world", "the dog") if one[0] == "late" else one for one in AFTER]
    assert texts(spark, config) == back
    assert counts(spark, config)[2:] == [[1, 0, 0, 1, 1]]
    before = contents(spark, config, "scores")
    forget_last_commit(config, SCORE_RESPONSES)
    score(spark, config)
    assert contents(spark, config, "scores") == before
    # A copy of what the row was before comes late: it is a duplicate.
    append(spark, config, [THIRD[0]])
    score(spark, config)
    assert texts(spark, config) == back


@pytest.mark.long
def test_the_feed_that_is_read_again_changes_nothing(spark: SparkSession, updated: Config, tmp_path: Path) -> None:
    values = copy_of(updated, tmp_path).model_dump(by_alias=True)
    values["source"] |= {"starting_version": 0, "max_files_per_trigger": 1}
    config = Config.model_validate(values)
    before, told = contents(spark, config, "scores"), counts(spark, config)
    score(spark, config, new_checkpoint=True)
    assert contents(spark, config, "scores") == before
    again = counts(spark, config)[len(told) :]
    assert len(again) > 1
    assert [sum(column) for column in zip(*again, strict=True)][:4] == [17, 0, 0, 17]
    assert reconcile(spark, config).problems == []


@pytest.mark.long
@pytest.mark.parametrize("files", [1, 1000])
def test_batches_of_any_size_end_in_the_same(
    spark: SparkSession, first: Config, updated: Config, tmp_path: Path, files: int
) -> None:
    """One commit after the other, or the insert and all its updates in one batch."""
    values = copy_of(updated, tmp_path).model_dump(by_alias=True)
    values["output"]["path"] = str(tmp_path / "others")
    values["source"] |= {"starting_version": 0, "max_files_per_trigger": files}
    config = Config.model_validate(values)
    run(spark, config)
    assert texts(spark, config) == AFTER
    assert len(counts(spark, config)) == (1 if files > 1 else 3)
    assert [sum(column) for column in zip(*counts(spark, config), strict=True)][:4] == [17, 8, 2, 7]
    account = reconcile(spark, config)
    assert (account.problems, account.rows["missing"]) == ([], 0)


@pytest.mark.long
def test_an_update_brings_nobody_back(spark: SparkSession, first: Config, tmp_path: Path) -> None:
    config = copy_of(first, tmp_path)
    assert forget(spark, config, end_users=["user of the dog"]) == {"scores": 1, "quarantine": 0, "feedback": 0}
    upsert(spark, config, [batched("the mat", "the dog")])
    run(spark, config)
    assert counts(spark, config)[1] == [1, 0, 0, 1, 0]
    score(spark, config, new_checkpoint=True)
    prompts = table(spark, SCORES, config).query("request_id == 'batched'")["prompt"].tolist()
    assert prompts == ["the cat"]
    assert reconcile(spark, config).problems == []
