"""The demo's MLflow store: what ``mlflow ui`` shows of it."""

from __future__ import annotations

import json
from pathlib import Path

import mlflow
import pytest
from mlflow import MlflowClient

from jobs.demo.registry import (
    MODEL,
    SCENARIOS,
    Scenario,
    load_version,
    mlflow_store,
    register_versions,
    store_uri,
    version_settings,
)


@pytest.fixture
def client(demo_registry: Path) -> MlflowClient:
    return MlflowClient(store_uri(demo_registry), store_uri(demo_registry))


def test_each_version_comes_from_a_run_of_its_own(client: MlflowClient) -> None:
    versions = {int(one.version): one for one in client.search_model_versions(f"name = '{MODEL}'")}
    assert sorted(versions) == [1, 2, 3, 4, 5, 6, 7]
    runs = {number: client.get_run(one.run_id) for number, one in versions.items()}
    assert len({run.info.run_id for run in runs.values()}) == 7
    assert {run.info.run_name for run in runs.values()} == {"dbdemos_chatbot_rag"}
    assert len({run.info.experiment_id for run in runs.values()}) == 1
    aliases = client.get_registered_model(MODEL).aliases
    assert {alias: int(number) for alias, number in aliases.items()} == {"champion": 6, "challenger": 7}
    assert {number: one.tags["style"] for number, one in versions.items()} == dict.fromkeys(range(1, 7), "formal") | {
        7: "plain"
    }
    for run in runs.values():
        assert run.info.status == "FINISHED"
        assert run.data.tags["style"] in ("formal", "plain")


def test_the_metrics_are_measured(client: MlflowClient) -> None:
    found = {
        int(one.version): client.get_run(one.run_id).data.metrics
        for one in client.search_model_versions(f"name = '{MODEL}'")
    }
    assert all(0.8 < metrics["topic_accuracy"] < 1 for metrics in found.values())
    assert found[1]["passages"] == 90
    assert found[3]["passages"] == 270
    assert found[4]["vocabulary"] > found[3]["vocabulary"] > found[7]["vocabulary"]
    assert found[6]["answer_flesch_kincaid"] > found[7]["answer_flesch_kincaid"] + 8
    assert found[6]["answer_words"] > 2 * found[7]["answer_words"]


def test_a_version_is_logged_whole(demo_registry: Path) -> None:
    with mlflow_store(demo_registry):
        info = mlflow.models.get_model_info(f"models:/{MODEL}/7")
        folder = Path(mlflow.artifacts.download_artifacts(f"models:/{MODEL}/7"))
    assert info.signature.inputs.input_names() == ["messages", "query"]
    assert [one.name for one in info.signature.params.params] == ["max_tokens", "include_usage", "return_sources"]
    assert json.loads((folder / "input_example.json").read_text())["messages"][0]["role"] == "user"
    assert {line.split("==")[0] for line in (folder / "requirements.txt").read_text().split()} == {
        "mlflow",
        "numpy",
        "pandas",
        "scikit-learn",
        "scipy",
    }
    assert sorted(path.name for path in (folder / "artifacts").iterdir()) == ["documents", "index", "settings.json"]
    assert len(list((folder / "artifacts" / "documents").iterdir())) == 15
    assert not list(folder.rglob("*.pkl")), "models from code: nothing to unpickle"


def test_the_seed_decides() -> None:
    first, same, other = (version_settings(6, seed=seed, scenario="improvement") for seed in (1, 1, 2))
    assert first == same
    assert first != other


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_every_version_is_another_one(scenario: Scenario) -> None:
    found = [version_settings(number, seed=7, scenario=scenario) for number in range(1, 8)]
    retrieval = [json.dumps(settings["retrieval"], sort_keys=True) for settings in found]
    assert len(set(retrieval)) == 7


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_scenarios_are_versions(scenario: Scenario) -> None:
    found = [version_settings(number, seed=7, scenario=scenario)["style_name"] for number in (6, 7)]
    assert (
        found
        == {
            "improvement": ["formal", "plain"],
            "regression": ["plain", "formal"],
            "no-change": ["formal", "formal"],
            "incident": ["formal", "plain"],
        }[scenario]
    )


def test_a_store_that_was_not_finished_is_made_again_and_mlflow_is_left_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = f"sqlite:///{tmp_path / 'theirs.db'}"
    monkeypatch.setenv("MLFLOW_REGISTRY_URI", theirs)
    before = mlflow.get_tracking_uri()
    (tmp_path / "mlflow.db").write_text("half")
    (tmp_path / "mlflow-artifacts" / "half").mkdir(parents=True)
    register_versions(tmp_path, seed=7, versions=(1,), aliases={})
    assert not (tmp_path / "mlflow-artifacts" / "half").exists()
    assert (mlflow.get_tracking_uri(), mlflow.get_registry_uri()) == (before, theirs)
    monkeypatch.delenv("MLFLOW_REGISTRY_URI")
    assert mlflow.get_registry_uri() == before, "nothing of the demo's stays set"
    assert not (tmp_path / "theirs.db").exists(), "the user's own registry is not touched"
    client = MlflowClient(store_uri(tmp_path), store_uri(tmp_path))
    assert [int(one.version) for one in client.search_model_versions(f"name = '{MODEL}'")] == [1]
    assert load_version(tmp_path, 1).metadata.metadata["style"] == "formal"
