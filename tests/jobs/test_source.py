"""What happens to the source, on real Delta tables: the stream goes on, or one sentence says why not and what to do."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from pyspark.sql import functions as F

from jobs import score_responses
from jobs.reconcile import reconcile
from jobs.source.changes import SourceQuery, skipped_versions
from jobs.source.inference_table import common_rows, stream_source
from jobs.store.checkpoints import SCORE_RESPONSES, checkpoint_in_use
from jobs.store.stream import stream
from schemas.batches import BATCHES
from schemas.config import Config, parse_config
from schemas.errors import SourceError
from schemas.scores import SCORES
from tests.spine import run, table
from tests.traffic import LEGACY, append, config_in, frame, row, settings

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

Change = Callable[["SparkSession", str], Any]

MAPPED = {"delta.columnMapping.mode": "name"}
FEED = {"delta.enableChangeDataFeed": "true"}


def source_of(
    spark: SparkSession, folder: Path, properties: dict[str, str] | None = None, policy: str = "fail", **more: Any
) -> Config:
    """A source of two commits with requests a, b and c, d."""
    source = {"path": str(folder / "inference"), "on_source_change": policy, **more}
    config = parse_config({"source": source, "output": {"path": str(folder / "tables")}})
    create(spark, str(config.source.path), properties)
    for ids in ("ab", "cd"):
        append(spark, config, [row(one) for one in ids])
    return config


def create(spark: SparkSession, path: str, properties: dict[str, str] | None = None) -> None:
    listed = ", ".join(f"'{name}' = '{value}'" for name, value in (properties or {}).items())
    spark.sql(f"CREATE TABLE delta.`{path}` ({LEGACY}) USING delta {f'TBLPROPERTIES ({listed})' if listed else ''}")


def read(spark: SparkSession, config: Config, checkpoint: str = "checkpoint") -> list[str]:
    """Ids of the requests that a stream meets on the way to the source's end; its checkpoint is kept."""
    return sorted(one for batch in read_batches(spark, config, checkpoint) for one in batch)


def read_batches(spark: SparkSession, config: Config, checkpoint: str = "checkpoint") -> list[list[str]]:
    """The same by batch."""
    found: list[list[str]] = []

    def batch(df: DataFrame, _: int) -> None:
        found.append(sorted(one["request_id"] for one in common_rows(df, config).select("request_id").collect()))

    def begin() -> Any:
        place = f"{config.output.path}/{checkpoint}"
        return stream(stream_source(spark, config), batch, name="light", checkpoint=place, trigger="availableNow")

    SourceQuery(begin, config).awaitTermination()
    return found


def sql(*statements: str) -> Change:
    def change(spark: SparkSession, path: str) -> None:
        for statement in statements:
            spark.sql(statement.format(t=f"delta.`{path}`"))

    return change


def upsert(spark: SparkSession, path: str) -> None:
    """One request updated, one inserted, in one commit."""
    frame(spark, [row("d", status=500), row("e")]).createOrReplaceTempView("upserted")
    spark.sql(
        f"MERGE INTO delta.`{path}` t USING upserted s ON t.databricks_request_id = s.databricks_request_id "
        "WHEN MATCHED THEN UPDATE SET * WHEN NOT MATCHED THEN INSERT *"
    )


def overwrite(spark: SparkSession, path: str) -> None:
    frame(spark, [row("e")]).write.format("delta").mode("overwrite").save(path)


def another_type(spark: SparkSession, path: str) -> None:
    df = frame(spark, [row("e")]).selectExpr("* EXCEPT (status_code)", "CAST(status_code AS string) AS status_code")
    df.write.format("delta").mode("overwrite").option("overwriteSchema", "true").save(path)


def recreate(spark: SparkSession, path: str) -> None:
    shutil.rmtree(path)
    create(spark, path)
    frame(spark, [row("e")]).write.format("delta").mode("append").save(path)


def trim_log(spark: SparkSession, path: str) -> None:
    """As after logRetentionDuration: a checkpoint of the log, and no commits from before it."""
    for i in range(12):
        frame(spark, [row(f"later {i}")]).write.format("delta").mode("append").save(path)
    for file in Path(path, "_delta_log").iterdir():
        number = file.name.lstrip(".").split(".")[0]
        if number.isdigit() and int(number) < 8 and "checkpoint" not in file.name:
            file.unlink()


def vacuum(spark: SparkSession, path: str) -> None:
    for i in range(2):
        frame(spark, [row(f"later {i}")]).write.format("delta").mode("append").save(path)
    spark.sql(f"OPTIMIZE delta.`{path}`")
    spark.conf.set("spark.databricks.delta.retentionDurationCheck.enabled", "false")
    spark.conf.set("spark.sql.sources.parallelPartitionDiscovery.parallelism", "2")  # of 10,000 tasks, nearly all idle
    spark.sql(f"VACUUM delta.`{path}` RETAIN 0 HOURS")


NAME = "databricks_request_id"
ENDED: dict[str, tuple[Change, dict[str, str] | None, str]] = {
    "DELETE": (sql(f"DELETE FROM {{t}} WHERE {NAME} = 'a'"), None, r"its version 3 changed or removed rows \(DELETE\)"),
    "UPDATE": (
        sql(f"UPDATE {{t}} SET status_code = 500 WHERE {NAME} = 'a'"),
        None,
        r"version 3 .* \(UPDATE\).* is fail",
    ),
    "MERGE": (upsert, None, r"its version 3 changed or removed rows \(MERGE\)"),
    "overwritten": (overwrite, None, "its version 3 changed or removed rows"),
    "TRUNCATE": (sql("TRUNCATE TABLE {t}"), None, "its version 3 changed or removed rows"),
    "deletion vectors": (
        sql(f"DELETE FROM {{t}} WHERE {NAME} = 'a'"),
        {"delta.enableDeletionVectors": "true"},
        r"its version 3 changed or removed rows \(DELETE\)",
    ),
    "column renamed": (sql("ALTER TABLE {t} RENAME COLUMN client_request_id TO x"), MAPPED, "a column was renamed or"),
    "column dropped": (sql("ALTER TABLE {t} DROP COLUMN client_request_id"), MAPPED, "a column was renamed or dropped"),
    "other type": (another_type, None, "columns changed in a way that the stream can't follow"),
    "recreated": (recreate, None, "it was dropped and created anew"),
    "log trimmed": (trim_log, None, "its log no longer reaches back"),
    "vacuumed": (vacuum, None, "data files are missing"),
}


@pytest.mark.parametrize("name", ["MERGE", "column renamed", "recreated", "log trimmed"])
def test_what_ended_the_stream_is_said_in_one_sentence(spark: SparkSession, tmp_path: Path, name: str) -> None:
    change, properties, sentence = ENDED[name]
    config = source_of(spark, tmp_path, properties)
    assert read(spark, config) == ["a", "b", "c", "d"]
    change(spark, str(config.source.path))
    with pytest.raises(SourceError, match=sentence) as caught:
        read(spark, config)
    assert f"delta.`{config.source.path}`: " in str(caught.value)
    assert "--new-checkpoint" in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
    # The way out that it names reads all that is there now.
    now = sorted(one[0] for one in spark.read.format("delta").load(str(config.source.path)).select(NAME).collect())
    assert read(spark, config, "another") == now


GOES_ON: dict[str, Change] = {
    "a column more": sql("ALTER TABLE {t} ADD COLUMN served_by string"),
    "OPTIMIZE": sql("OPTIMIZE {t}"),
    "a property": sql("ALTER TABLE {t} SET TBLPROPERTIES ('delta.appendOnly' = 'true')"),
}


@pytest.mark.parametrize("name", GOES_ON)
def test_what_the_stream_goes_on_after(spark: SparkSession, tmp_path: Path, name: str) -> None:
    config = source_of(spark, tmp_path)
    read(spark, config)
    GOES_ON[name](spark, str(config.source.path))
    append(spark, config, [row("e")], merge_schema=True)
    assert read(spark, config) == ["e"]


def test_a_standing_stream_goes_on_with_a_column_more(spark: SparkSession, tmp_path: Path) -> None:
    config = source_of(spark, tmp_path)
    found: list[str] = []

    def batch(df: DataFrame, _: int) -> None:
        found.extend(one["request_id"] for one in common_rows(df, config).select("request_id").collect())

    def begin() -> Any:
        place = f"{config.output.path}/checkpoint"
        return stream(stream_source(spark, config), batch, name="standing", checkpoint=place, trigger="1 second")

    query = SourceQuery(begin, config)
    try:
        while len(found) < 4:
            query.awaitTermination(0.5)
        spark.sql(f"ALTER TABLE delta.`{config.source.path}` ADD COLUMN served_by string")
        append(spark, config, [row("e")], merge_schema=True)
        while len(found) < 5:
            assert query.isActive
            query.awaitTermination(0.5)
    finally:
        query.stop()
    assert sorted(found) == ["a", "b", "c", "d", "e"]


def test_a_feed_that_is_not_there_is_said(spark: SparkSession, tmp_path: Path) -> None:
    config = source_of(spark, tmp_path, policy="cdf")
    with pytest.raises(SourceError, match=r"its change feed does not reach back .* enable delta\.enable"):
        read(spark, config)


def test_the_change_feed_is_exact(spark: SparkSession, tmp_path: Path) -> None:
    config = source_of(spark, tmp_path, FEED, policy="cdf")
    assert read(spark, config) == ["a", "b", "c", "d"]
    upsert(spark, str(config.source.path))
    sql(f"DELETE FROM {{t}} WHERE {NAME} = 'a'", "OPTIMIZE {t}")(spark, str(config.source.path))
    assert read(spark, config) == ["d", "e"]  # d as it is now


def test_an_expression_that_fails_on_a_row_gives_null(spark: SparkSession, tmp_path: Path) -> None:
    rows = [("7", "1775001600", 1), ("8", "ada@example.org", 0)]
    path = str(tmp_path / "inference")
    spark.createDataFrame(rows, "id string, at string, n int").write.format("delta").save(path)
    columns = {
        "request_id": "id", "request_time": "timestamp_seconds(CAST(at AS bigint))", "status_code": "200 / n",
        "request": "at", "response": "at",
    }  # fmt: skip
    config = parse_config(
        {
            "source": {"path": path, "dialect": "columns", "columns": columns},
            "output": {"path": str(tmp_path / "tables")},
        }
    )
    found = common_rows(spark.read.format("delta").load(path), config).select(
        "request_id", "request_date", "status_code"
    )
    assert sorted(map(tuple, found.collect())) == [("7", date(2026, 4, 1), 200), ("8", None, None)]
    assert spark.conf.get("spark.sql.ansi.enabled") == "true"
    assert read(spark, config) == ["7", "8"]


def test_a_column_that_goes_makes_no_other_row_of_an_old_one(spark: SparkSession, tmp_path: Path) -> None:
    config = source_of(spark, tmp_path, MAPPED)

    def hashes() -> set[str]:
        rows = common_rows(spark.read.format("delta").load(str(config.source.path)), config)
        return {one["source_row_hash"] for one in rows.collect()}

    before = hashes()
    sql("ALTER TABLE {t} DROP COLUMN client_request_id")(spark, str(config.source.path))
    assert (hashes(), len(before)) == (before, 4)


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        ({"starting_version": 99}, "source.starting_version is 99, and its newest version is 2"),
        ({"starting_timestamp": "2199-01-01"}, "source.starting_timestamp is later than its newest version"),
    ],
)
def test_a_start_that_is_still_to_come(
    spark: SparkSession, tmp_path: Path, setting: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(SourceError, match=sentence):
        read(spark, source_of(spark, tmp_path, **setting))


def test_where_a_stream_begins_and_how_much_a_batch_is(spark: SparkSession, tmp_path: Path) -> None:
    config = source_of(spark, tmp_path)
    history = spark.sql(f"DESCRIBE HISTORY delta.`{config.source.path}`").where("version = 2")
    at = history.select(F.col("timestamp").cast("string")).collect()[0][0]

    def batches(**setting: Any) -> list[list[str]]:
        source = config.source.model_copy(update=setting)
        return read_batches(spark, config.model_copy(update={"source": source}), next(iter(setting)))

    assert batches(dialect="auto") == [["a", "b", "c", "d"]]
    assert batches(starting_version=2) == batches(starting_timestamp=at) == [["c", "d"]]
    assert batches(max_bytes_per_trigger="1b") == batches(max_files_per_trigger=1) == [["a", "b"], ["c", "d"]]


def test_a_source_that_is_gone(spark: SparkSession, tmp_path: Path) -> None:
    config = source_of(spark, tmp_path)
    shutil.rmtree(str(config.source.path))
    with pytest.raises(SourceError, match="can't be read as a Delta table"):
        read(spark, config)


SKIPPED: dict[str, tuple[Change, list[tuple[str, int | None]]]] = {
    "upsert": (upsert, [("MERGE", 1)]),
    "overwrite": (overwrite, [("WRITE", 1)]),
    "delete and update": (
        sql(f"DELETE FROM {{t}} WHERE {NAME} = 'a'", f"UPDATE {{t}} SET status_code = 5 WHERE {NAME} = 'b'"),
        [("DELETE", 0), ("UPDATE", 0)],
    ),
    "restore": (
        sql(f"DELETE FROM {{t}} WHERE {NAME} = 'a'", "RESTORE TABLE {t} TO VERSION AS OF 2"),
        [("DELETE", 0), ("RESTORE", None)],
    ),
    "nothing": (sql("OPTIMIZE {t}"), []),
}


@pytest.mark.parametrize("name", SKIPPED)
def test_versions_that_a_skipping_stream_leaves_out(spark: SparkSession, tmp_path: Path, name: str) -> None:
    change, expected = SKIPPED[name]
    config = source_of(spark, tmp_path, policy="skip")
    read(spark, config)
    change(spark, str(config.source.path))
    append(spark, config, [row("f")])
    assert read(spark, config) == ["f"]
    found = skipped_versions(spark, config, after=2, until=9)
    assert [(one.operation, one.rows_inserted) for one in found] == expected
    assert [one.version for one in found] == list(range(3, 3 + len(expected)))
    assert skipped_versions(spark, config, after=9, until=9) == []


@pytest.fixture
def scored(spark: SparkSession, language_model: Path, classifier: Path, tmp_path: Path) -> Callable[[str], Config]:
    """A monitor that has read a, b, c and d; by its policy for changes of the source."""

    def begin(policy: str) -> Config:
        source = {"path": str(tmp_path / "inference"), "on_source_change": policy}
        config = config_in(tmp_path, language_model, classifier, source=source)
        create(spark, str(config.source.path), FEED)
        append(spark, config, [row(one) for one in "abcd"])
        run(spark, config)
        (tmp_path / "config.yaml").write_text(
            yaml.safe_dump(settings(tmp_path, language_model, classifier, source=source))
        )
        return config

    return begin


@pytest.mark.long
def test_the_command_fails_skips_and_reads_again(
    spark: SparkSession,
    scored: Callable[[str], Config],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    config = scored("fail")
    command = ["--config", str(tmp_path / "config.yaml"), "--trigger", "availableNow"]
    upsert(spark, str(config.source.path))

    assert score_responses.main(command) == 1
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert said.startswith(f"error: delta.`{config.source.path}`: its version 2 changed or removed rows (MERGE), and ")

    # As it advises: skip, which says what was lost
    with caplog.at_level(logging.WARNING):
        assert score_responses.main([*command, "--set", "source.on_source_change=skip"]) == 0
    assert "the source's version 2 (MERGE, 1 rows inserted) was skipped" in caplog.text
    batches = table(spark, BATCHES, config).sort_values("batch_id")
    lost = {"version": 2, "operation": "MERGE", "rows_inserted": 1}
    assert [list(versions) for versions in batches["skipped_versions"]] == [[], [lost]]
    account = reconcile(spark, config)
    assert account.rows["missing"] == 2
    what, _, ids_missing = account.problems[0].partition(": ")
    assert (what, sorted(ids_missing.split(", "))) == ("in the source, and in no table", ["d", "e"]), "d as it is now"
    left_out = "version 2 (MERGE, 1 rows inserted); --new-checkpoint reads what they inserted or updated"
    assert left_out in account.problems[1]

    # or read it again, which scores nothing twice (d as it is now is another call); the next run goes on from there.
    assert score_responses.main([*command, "--new-checkpoint"]) == 0
    ids = sorted(one[:2] for one in table(spark, SCORES, config)["request_id"])
    assert ids == ["a", "b", "c", "d", "d#", "e"]
    run(spark, config)
    assert table(spark, BATCHES, config)["rows_read"].tolist().count(5) == 1
    account = reconcile(spark, config)
    assert (account.problems, account.rows["missing"]) == ([], 0)
    folders = {one for one in os.listdir(f"{config.output.path}/_checkpoints") if one.startswith("score_responses")}
    assert folders == {"score_responses", "score_responses-2"}
    base = config.checkpoint(SCORE_RESPONSES)
    assert checkpoint_in_use(spark, base) == f"{base}-2"
    assert checkpoint_in_use(spark, base, new=True) == f"{base}-3"


@pytest.mark.long
def test_what_was_removed_after_it_was_read_is_no_problem(spark: SparkSession, scored: Callable[[str], Config]) -> None:
    config = scored("fail")
    sql(f"DELETE FROM {{t}} WHERE {NAME} = 'a'")(spark, str(config.source.path))
    account = reconcile(spark, config)
    assert (account.problems, account.rows["scored"]) == ([], 4)


@pytest.mark.long
def test_the_change_feed_loses_nothing(spark: SparkSession, scored: Callable[[str], Config]) -> None:
    config = scored("cdf")
    upsert(spark, str(config.source.path))
    sql(f"DELETE FROM {{t}} WHERE {NAME} = 'a'")(spark, str(config.source.path))
    append(spark, config, [row("f")])
    run(spark, config)
    scores = table(spark, SCORES, config).set_index("request_id")
    assert sorted(scores.index) == ["a", "b", "c", "d", "e", "f"]
    assert scores.loc["d", "status_code"] == 500  # as it is now
    ledger = table(spark, BATCHES, config)[["rows_read", "rows_scored", "rows_duplicate"]].sum()
    assert ledger.tolist() == [7, 6, 1]
    assert reconcile(spark, config).problems == []


@pytest.mark.long
@pytest.mark.parametrize("name", ENDED)
def test_the_tables_come_through_a_new_checkpoint(
    spark: SparkSession, language_model: Path, classifier: Path, tmp_path: Path, name: str
) -> None:
    change, properties, sentence = ENDED[name]
    config = config_in(tmp_path, language_model, classifier)
    create(spark, str(config.source.path), properties)
    for ids in ("ab", "cd"):
        append(spark, config, [row(one) for one in ids])
    run(spark, config)
    change(spark, str(config.source.path))
    with pytest.raises(SourceError, match=sentence):
        run(spark, config)
    score_responses.start(spark, config, trigger="availableNow", new_checkpoint=True).awaitTermination()
    run(spark, config)
    now = spark.read.format("delta").load(str(config.source.path)).select(NAME).collect()
    known = {one.partition("#")[0] for one in table(spark, SCORES, config)["request_id"]}
    assert known == {*"abcd", *(one[0] for one in now)}
    account = reconcile(spark, config)
    assert (account.problems, account.rows["scored"]) == ([], len(now))
