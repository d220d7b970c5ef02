"""A real MLflow store and what model_versions and the version command make of it."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mlflow
import pandas as pd
import pytest
from mlflow import MlflowClient
from mlflow.models import ModelSignature
from mlflow.types.schema import ColSpec, DataType, Schema

from jobs import cli
from jobs.services.mlflow_registry import name_filter, open_registry, registry_uri, requirement_lines, without_secrets
from jobs.services.model_versions import rows_of
from jobs.store.tables import create_table, identifier
from jobs.sync_registry import model_names, sync
from jobs.version import card
from schemas.config import Config, MLflow, parse_config
from schemas.errors import ConfigError, RegistryError
from schemas.model_versions import MODEL_VERSIONS
from schemas.profile_metrics import PROFILE_METRICS
from schemas.scores import SCORES

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

NAME = "support_bot"


class Echo(mlflow.pyfunc.PythonModel):  # type: ignore[misc]
    def predict(self, model_input: pd.DataFrame) -> pd.DataFrame:
        return model_input


@pytest.fixture(scope="module")
def logged(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A store with one run and its model, registered twice."""
    folder = tmp_path_factory.mktemp("store")
    uri, before = f"sqlite:///{folder / 'mlflow.db'}", mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(uri)
    experiment = mlflow.create_experiment("bots", artifact_location=(folder / "artifacts").as_uri())
    with mlflow.start_run(run_name="first", experiment_id=experiment) as run:
        info = mlflow.pyfunc.log_model(
            name="bot",
            python_model=Echo(),
            signature=ModelSignature(Schema([ColSpec(DataType.string, "query")]), Schema([ColSpec(DataType.string)])),
            pip_requirements=["numpy==2.0.0", "mlflow"],
        )
    client = MlflowClient(uri, uri)
    client.create_registered_model(NAME)
    for _ in range(2):
        client.create_model_version(NAME, info.model_uri, run.info.run_id, model_id=info.model_id)
    client.set_registered_model_alias(NAME, "champion", "1")
    mlflow.set_tracking_uri(before)
    yield folder


@pytest.fixture
def store(logged: Path, tmp_path: Path) -> MlflowClient:
    """A copy of the store, to change; the artifacts stay where they are."""
    uri = f"sqlite:///{shutil.copy(logged / 'mlflow.db', tmp_path / 'mlflow.db')}"
    return MlflowClient(uri, uri)


def read_versions(uri: str, name: str) -> list[dict[str, Any]]:
    return open_registry(MLflow(tracking_uri=uri), name).versions(name)


def settings(folder: Path, **registry: str) -> Config:
    tracking = {"tracking_uri": f"sqlite:///{folder / 'mlflow.db'}", **registry}
    paths = {"source": {"path": str(folder / "in")}, "output": {"path": str(folder / "tables")}}
    return parse_config({**paths, "mlflow": tracking})


def commits(spark: SparkSession, config: Config) -> int:
    return spark.sql(f"DESCRIBE HISTORY {identifier(MODEL_VERSIONS, config.output)}").count()


def test_what_a_version_is(store: MlflowClient, tmp_path: Path, logged: Path) -> None:
    before = mlflow.get_tracking_uri()
    first, second = read_versions(f"sqlite:///{tmp_path / 'mlflow.db'}", NAME)
    assert mlflow.get_tracking_uri() == before
    assert sorted(first) == sorted(MODEL_VERSIONS.column_names)
    of_registry = store.get_model_version(NAME, "1")
    assert first["run_id"] == of_registry.run_id
    assert (first["run_name"], first["experiment"], first["status"]) == ("first", "bots", "READY")
    assert (first["aliases"], second["aliases"]) == (["champion"], [])
    assert first["created_at"] == datetime.fromtimestamp(of_registry.creation_timestamp / 1000, UTC)
    assert json.loads(first["signature_inputs"])[0] == {"type": "string", "name": "query", "required": True}
    assert json.loads(first["signature_outputs"])[0]["type"] == "string"
    assert first["flavors"] == ["python_function"]
    assert first["requirements"] == ["numpy==2.0.0", "mlflow"]
    assert first["artifact_uri"].startswith((logged / "artifacts").as_uri())
    assert first["python_version"].count(".") == 2


def test_sync_follows_the_registry(spark: SparkSession, store: MlflowClient, tmp_path: Path) -> None:
    config = settings(tmp_path, registered_model=NAME)
    assert sync(spark, config) == 2
    assert [(row["model_version"], row["aliases"]) for row in rows_of(spark, config)] == [
        ("1", ["champion"]),
        ("2", []),
    ]
    before = commits(spark, config)
    assert sync(spark, config) == 2
    assert commits(spark, config) == before, "nothing changed, so nothing is written"

    store.set_registered_model_alias(NAME, "champion", "2")
    source, run_id = store.get_model_version_download_uri(NAME, "1"), store.get_model_version(NAME, "1").run_id
    for _ in range(8):
        store.create_model_version(NAME, source, run_id)
    store.delete_model_version(NAME, "1")
    assert sync(spark, config) == 9
    rows = rows_of(spark, config)
    assert [row["model_version"] for row in rows] == [str(number) for number in range(1, 11)], "10 comes after 9"
    assert (rows[0]["status"], rows[0]["aliases"], rows[0]["run_name"]) == ("DELETED", [], "first")
    assert rows[1]["aliases"] == ["champion"]
    assert rows[0]["created_at"].tzinfo == UTC
    settled = commits(spark, config)
    sync(spark, config)
    assert commits(spark, config) == settled, "a deleted version stays as it is"

    store.delete_registered_model(NAME)
    assert sync(spark, config) == 0
    assert {row["status"] for row in rows_of(spark, config)} == {"DELETED"}, "a model that is gone took all with it"


def test_files_that_are_gone_cost_only_their_columns(
    store: MlflowClient, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store.create_model_version(NAME, (tmp_path / "nowhere").as_uri())
    with caplog.at_level(logging.WARNING, "inference_metrics"):
        *_, lost = read_versions(f"sqlite:///{tmp_path / 'mlflow.db'}", NAME)
    assert lost["model_version"] == "3"
    assert (lost["run_id"], lost["run_name"], lost["flavors"], lost["requirements"]) == (None, None, None, None)
    assert lost["artifact_uri"] == (tmp_path / "nowhere").as_uri()
    assert f"{NAME} version 3: artifacts can't be read" in caplog.text


def test_a_run_that_is_gone_costs_its_name(store: MlflowClient, tmp_path: Path) -> None:
    source = store.get_model_version_download_uri(NAME, "1")
    store.create_model_version(NAME, source, "0" * 32)
    *_, orphan = read_versions(f"sqlite:///{tmp_path / 'mlflow.db'}", NAME)
    assert (orphan["run_id"], orphan["run_name"], orphan["experiment"]) == ("0" * 32, None, None)
    assert orphan["flavors"] == ["python_function"]


def test_a_run_that_was_deleted_keeps_its_id_only(store: MlflowClient, tmp_path: Path) -> None:
    store.delete_run(store.get_model_version(NAME, "1").run_id)
    first, _ = read_versions(f"sqlite:///{tmp_path / 'mlflow.db'}", NAME)
    assert (first["run_name"], first["experiment"]) == (None, "bots")
    assert first["run_id"]


def test_a_version_that_names_its_run_is_read_and_no_store_is_made(
    store: MlflowClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")
    run_id = store.get_model_version(NAME, "1").run_id
    store.create_model_version(NAME, f"runs:/{run_id}/bot", run_id)
    *_, third = read_versions(f"sqlite:///{tmp_path / 'mlflow.db'}", NAME)
    assert third["flavors"] == ["python_function"]
    assert list((tmp_path / "cwd").iterdir()) == []


def test_secrets_stay_out() -> None:
    assert without_secrets("http://me:word@host/x?sig=1 failed") == "http://…@host/x?… failed"
    lines = [
        "numpy==2.0 # why",
        "--extra-index-url https://me:token@host/simple",
        "",
        "pkg @ git+https://tok@host/r.git",
    ]
    text = "\n".join([*lines, "mlflow \\", ""])
    assert requirement_lines(text) == ["numpy==2.0", "pkg @ git+https://…@host/r.git", "mlflow"]


@pytest.mark.parametrize(
    ("tracking_uri", "model", "expected"),
    [
        ("databricks", "main.chatbots.bot", "databricks-uc"),
        ("databricks://profile", "main.chatbots.bot", "databricks-uc://profile"),
        ("databricks", "bot", "databricks"),
        ("sqlite:///x.db", "main.chatbots.bot", "sqlite:///x.db"),
    ],
)
def test_which_registry(tracking_uri: str, model: str, expected: str) -> None:
    assert registry_uri(tracking_uri, model) == expected


def test_names_in_filters() -> None:
    assert [name_filter(name) for name in ("a", "it's")] == ["name='a'", 'name="it\'s"']


@pytest.mark.parametrize("name", ["it's", 'say "x"', "a b", 'it\'s "x"'])
def test_unusual_names(store: MlflowClient, tmp_path: Path, name: str) -> None:
    store.create_registered_model(name)
    store.create_model_version(name, store.get_model_version_download_uri(NAME, "1"))
    store.create_registered_model(name.replace("'", "_") + "_")
    (found,) = read_versions(f"sqlite:///{tmp_path / 'mlflow.db'}", name)
    assert found["model_name"] == name


def test_what_is_missing_is_named(spark: SparkSession, store: MlflowClient, tmp_path: Path) -> None:
    with pytest.raises(RegistryError, match="has no registered model other"):
        read_versions(f"sqlite:///{tmp_path / 'mlflow.db'}", "other")
    with pytest.raises(RegistryError, match="there is no MLflow store"):
        read_versions(f"sqlite:///{tmp_path / 'no.db'}", NAME)
    assert not (tmp_path / "no.db").exists()
    for content, problem in (("", "there is no MLflow store"), ("no database at all" * 99, "is no MLflow store")):
        (tmp_path / "bad.db").write_text(content)
        with pytest.raises(RegistryError, match=problem):
            read_versions(f"sqlite:///{tmp_path / 'bad.db'}", NAME)
        assert (tmp_path / "bad.db").read_text() == content
    with pytest.raises(ConfigError, match=r"mlflow\.registered_model: is missing"):
        sync(spark, settings(tmp_path))


def test_models_that_scores_names(spark: SparkSession, tmp_path: Path) -> None:
    config = settings(tmp_path)
    create_table(spark, SCORES, config.output)
    spark.sql(
        f"INSERT INTO {identifier(SCORES, config.output)} (request_id, request_time, request_date, model_name) VALUES "
        "('a', TIMESTAMP'2026-04-01', DATE'2026-04-01', 'b'), ('b', TIMESTAMP'2026-04-01', DATE'2026-04-01', NULL), "
        "('c', TIMESTAMP'2026-04-01', DATE'2026-04-01', 'a'), ('d', TIMESTAMP'2026-04-01', DATE'2026-04-01', 'b')"
    )
    assert model_names(spark, config) == ["a", "b"]


def test_calls_whose_model_has_no_name(spark: SparkSession, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = settings(tmp_path)
    create_table(spark, PROFILE_METRICS, config.output)
    start, end = "TIMESTAMP'2026-04-01'", "TIMESTAMP'2026-04-02'"
    rows = [
        f"(named_struct('start', {start}, 'end', {end}), DATE'2026-04-01', '1 day', 'chat', {name}, '7', 'requests', "
        f"{calls}, 0, {calls}D, {calls}D, {calls}D, 1)"
        for name, calls in (("'bot'", 3), ("NULL", 4))
    ]
    spark.sql(
        f"INSERT INTO {identifier(PROFILE_METRICS, config.output)} (window, window_date, granularity, endpoint_name, "
        "model_name, model_version, column_name, count, num_nulls, sum, weighted_count, sum_wx, revision) VALUES "
        + ", ".join(rows)
    )
    with pytest.raises(RegistryError, match=r"name one with --model: \(no name\), bot"):
        card(spark, config, "7")
    found = card(spark, config, "7", model="(no name)")
    assert [(live["endpoint_name"], live["requests"]) for live in found["live"]] == [("chat", 4)]
    arguments = ["--set", f"source.path={tmp_path}/in", "--set", f"output.path={tmp_path}/tables"]
    assert cli.main(["version", "7", "--model", "bot", "--json", *arguments]) == 0
    (live,) = json.loads(capsys.readouterr().out)["live"]
    assert (live["requests"], live["first_window"][:10]) == (3, "2026-04-01")


def test_the_commands(
    spark: SparkSession, store: MlflowClient, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [
        *("--set", f"source.path={tmp_path}/in", "--set", f"output.path={tmp_path}/tables"),
        *("--set", f"mlflow.tracking_uri=sqlite:///{tmp_path}/mlflow.db", "--set", f"mlflow.registered_model={NAME}"),
    ]
    assert cli.main(["version", "1", *arguments]) == 1
    assert "run monitor and sync-registry first" in capsys.readouterr().err
    assert cli.main(["sync-registry", *arguments]) == 0
    heading, first, second = capsys.readouterr().out.splitlines()
    assert heading.split() == ["version", "status", "aliases", "run", "registered"]
    assert first.split()[:4] == ["1", "READY", "champion", "first"]
    assert second.split()[:4] == ["2", "READY", "-", "first"]
    assert cli.main(["sync-registry", "--json", *arguments]) == 0
    assert [row["model_version"] for row in json.loads(capsys.readouterr().out)] == ["1", "2"]
    assert cli.main(["version", "1", *arguments]) == 0
    said = capsys.readouterr().out
    for line in ("support_bot version 1", "aliases        champion", "inputs         query: string", "no traffic yet"):
        assert line in said
    assert cli.main(["version", "3", *arguments]) == 1
    assert "known: 1, 2" in capsys.readouterr().err
    store.create_registered_model("other")
    store.create_model_version("other", store.get_model_version_download_uri(NAME, "1"))
    assert cli.main(["sync-registry", *arguments, "--set", "mlflow.registered_model=other"]) == 0
    assert cli.main(["version", "1", *arguments[:6]]) == 1
    assert "name one with --model: other, support_bot" in capsys.readouterr().err
    assert cli.main(["version", "1", "--model", "other", "--json", *arguments]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["model_name"], found["live"], found["registry"]["run_id"]) == ("other", [], None)
