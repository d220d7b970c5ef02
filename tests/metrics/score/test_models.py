"""Finding and loading models: folders, the MLflow registry, a hub that can't be reached, and what is refused."""

from __future__ import annotations

import shutil
from pathlib import Path

import mlflow
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from metrics.score.models import find_model, load_causal_lm, pick_device
from metrics.score.perplexity import load_perplexity
from schemas.errors import ModelError


def test_a_folder_is_known_by_its_weights(language_model: Path, uniform_model: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(language_model, copy)
    assert find_model(str(copy)).revision == find_model(str(language_model)).revision
    assert find_model(str(uniform_model)).revision != find_model(str(language_model)).revision


def test_a_hub_id_out_of_reach_says_what_to_do() -> None:
    with pytest.raises(ModelError, match=r"some-org/some-model: not in the local cache.*local folder.*models:/"):
        find_model("some-org/some-model")


def test_a_missing_folder_is_no_hub_id() -> None:
    with pytest.raises(ModelError, match="there is no such folder"):
        find_model("/no/such/folder")


def test_pickled_weights_are_refused(language_model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "pickled"
    shutil.copytree(language_model, folder)
    (folder / "model.safetensors").unlink()
    torch.save({}, folder / "pytorch_model.bin")
    with pytest.raises(ModelError, match=r"holds no \*\.safetensors file.*a pickle can run code"):
        find_model(str(folder))


def test_damaged_weights_are_named(language_model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "damaged"
    shutil.copytree(language_model, folder)
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    with pytest.raises(ModelError, match="its weights can't be loaded"):
        load_causal_lm(find_model(str(folder)))


def test_a_registered_model_scores_like_its_folder(language_model: Path, tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    mlflow.set_tracking_uri(uri)
    mlflow.create_experiment("models", artifact_location=(tmp_path / "artifacts").as_uri())
    mlflow.set_experiment("models")
    with mlflow.start_run():
        mlflow.transformers.log_model(
            {
                "model": AutoModelForCausalLM.from_pretrained(language_model),
                "tokenizer": AutoTokenizer.from_pretrained(language_model),
            },
            name="lm",
            task="text-generation",
            registered_model_name="lm",
            pip_requirements=[],
        )
    mlflow.MlflowClient().set_registered_model_alias("lm", "scorer", "1")
    registered = load_perplexity(find_model("models:/lm@scorer", tracking_uri=uri), "cpu")
    local = load_perplexity(find_model(str(language_model)), "cpu")
    text = registered.encode(["the cat sat on the mat"])[0]
    assert registered.score([(text,)]) == local.score([(text,)])
    with pytest.raises(ModelError, match="MLflow can't give it"):
        find_model("models:/lm@nobody", tracking_uri=uri)


def test_the_device_is_the_gpu_where_there_is_one() -> None:
    assert pick_device("cpu") == "cpu"
    assert pick_device("auto") == ("cuda" if torch.cuda.is_available() else "cpu")
