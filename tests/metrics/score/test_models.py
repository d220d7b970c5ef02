"""Finding and loading models: folders, the MLflow registry, a hub that can't be reached, and what is refused."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import mlflow
import pytest
import torch
import transformers as t
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

from metrics.score.models import (
    MAX_CONTEXT,
    body_of,
    context_size,
    find_model,
    find_tokenizer,
    load_causal_lm,
    load_classifier,
    load_tokenizer,
    pick_device,
    pick_dtype,
)
from metrics.score.perplexity import load_perplexity
from schemas.errors import ModelError
from tests.models import save_language_model


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


@pytest.mark.parametrize(
    ("extra", "key"),
    [
        ({"_attn_implementation_internal": "someone/kernel"}, "_attn_implementation_internal"),
        ({"attn_implementation": "someone/kernel@main:run"}, "attn_implementation"),
        ({"text_config": {"_attn_implementation": {"": "someone/kernel"}}}, "_attn_implementation"),
        ({"parts": [{"experts_implementation": "someone/kernel"}]}, "experts_implementation"),
        ({"keypoint_detector_config": {"trust_remote_code": True}}, "trust_remote_code"),
    ],
)
def test_a_configuration_that_asks_to_run_code_is_refused(
    extra: dict[str, Any], key: str, language_model: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(language_model, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | extra))
    with pytest.raises(ModelError, match=rf"its config\.json asks to run code of others \({key}\)"):
        find_model(str(folder))


@pytest.mark.parametrize(
    "extra",
    [
        {"_attn_implementation": "sdpa", "_attn_implementation_autoset": True, "trust_remote_code": False},
        {"auto_map": {}},
    ],
)
def test_a_usual_configuration_is_none(extra: dict[str, Any], language_model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(language_model, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | extra))
    assert find_model(str(folder)).model == str(folder)


@pytest.mark.parametrize("text", ["{", "[" * 100_000])
def test_a_configuration_that_is_no_json(text: str, language_model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(language_model, folder)
    (folder / "config.json").write_text(text)
    with pytest.raises(ModelError, match=r"its config\.json is no JSON"):
        find_model(str(folder))


def test_pickled_weights_are_refused(language_model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "pickled"
    shutil.copytree(language_model, folder)
    (folder / "model.safetensors").unlink()
    torch.save({}, folder / "pytorch_model.bin")
    with pytest.raises(ModelError, match=r"holds no \*\.safetensors file.*a pickle can run code"):
        find_model(str(folder))


@pytest.mark.parametrize("model_type", ["gpt2", "another"])
def test_code_beside_a_model_is_not_run(language_model: Path, tmp_path: Path, model_type: str) -> None:
    folder, ran = tmp_path / "with_code", tmp_path / "ran"
    shutil.copytree(language_model, folder)
    config = json.loads((folder / "config.json").read_text())
    assert config["model_type"] == "gpt2"
    code = {"AutoConfig": "evil.GPT2Config", "AutoModelForCausalLM": "evil.GPT2LMHeadModel"}
    (folder / "config.json").write_text(json.dumps(config | {"model_type": model_type, "auto_map": code}))
    names = "GPT2Config, GPT2LMHeadModel"
    (folder / "evil.py").write_text(f"from transformers import {names}\nopen({str(ran)!r}, 'w').close()\n")
    if model_type == "gpt2":  # transformers knows it without the code
        load_causal_lm(find_model(str(folder)))
    else:
        with pytest.raises(ModelError, match="with_code"):
            load_causal_lm(find_model(str(folder)))
    assert not ran.exists()
    # Who trusts the code runs it: it would have been found. (In another process: transformers remembers what it ran.)
    trusting = f"import transformers as t; t.AutoConfig.from_pretrained({str(folder)!r}, trust_remote_code=True)"
    subprocess.run([sys.executable, "-c", trusting], env=os.environ | {"HF_HOME": str(tmp_path / "hub")}, check=True)
    assert ran.exists()


def test_damaged_weights_are_named(language_model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "damaged"
    shutil.copytree(language_model, folder)
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    with pytest.raises(ModelError, match="its weights can't be loaded"):
        load_causal_lm(find_model(str(folder)))


@pytest.mark.parametrize("lost", ["transformer.h.1.attn", "transformer.wte"])
def test_weights_that_are_not_there_are_not_made_up(language_model: Path, tmp_path: Path, lost: str) -> None:
    folder = tmp_path / "partial"
    shutil.copytree(language_model, folder)
    weights = load_file(folder / "model.safetensors")
    kept = {name: value for name, value in weights.items() if not name.startswith(lost)}
    assert len(kept) < len(weights)
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"lack \d+ of its weights"):
        load_causal_lm(find_model(str(folder)))


def test_a_language_model_is_no_classifier(language_model: Path) -> None:
    with pytest.raises(ModelError, match=r"score\.weight among them\. Was it trained as GPT2ForSequenceClassification"):
        load_classifier(find_model(str(language_model)))


def test_labels_and_tokenizer_belong_to_a_models_identity(
    classifier: Path, language_model: Path, tmp_path: Path
) -> None:
    swapped, bare = tmp_path / "swapped", tmp_path / "bare"
    shutil.copytree(classifier, swapped)
    config = json.loads((swapped / "config.json").read_text())
    config["id2label"] = {"0": "hate", "1": "nothate"}
    (swapped / "config.json").write_text(json.dumps(config))
    assert find_model(str(swapped)).revision != find_model(str(classifier)).revision
    save_language_model(bare, bos=False)
    assert load_file(bare / "model.safetensors").keys() == load_file(language_model / "model.safetensors").keys()
    assert find_model(str(bare)).revision != find_model(str(language_model)).revision


@pytest.mark.parametrize(
    ("config", "size"),
    [
        (t.BertConfig(max_position_embeddings=66), 66),
        (t.RobertaConfig(max_position_embeddings=66), 64),
        (t.RobertaPreLayerNormConfig(max_position_embeddings=66), 64),
        (t.XLMRobertaXLConfig(max_position_embeddings=66), 64),
        (t.MPNetConfig(max_position_embeddings=66), 64),
        (t.LlamaConfig(max_position_embeddings=131_072), MAX_CONTEXT),
        (t.BloomConfig(), 1024),
    ],
    ids=lambda config: type(config).__name__,
)
def test_context_is_what_the_model_has_positions_for(config: Any, size: int) -> None:
    config.update({"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2})
    config.vocab_size = 40
    tokenizer = SimpleNamespace(model_max_length=10**30)
    assert context_size(AutoModelForSequenceClassification.from_config(config), tokenizer) == size


def test_a_body_has_no_head() -> None:
    small = {
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "head_dim": 8,
    }
    model = AutoModelForCausalLM.from_config(t.Gemma3TextConfig(vocab_size=40, **small))
    assert body_of(model) is model.model
    assert body_of(model.model) is model.model, "a model that has none is all body"


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
    tokenizer = load_tokenizer(find_tokenizer("models:/lm@scorer", tracking_uri=uri))
    assert tokenizer("the cat")["input_ids"] == registered.tokenizer("the cat")["input_ids"]


@pytest.mark.parametrize(
    ("device", "gpus", "address", "picked"),
    [
        ("cpu", 4, 2, "cpu"),
        ("auto", 0, None, "cpu"),
        ("auto", 1, None, "cuda"),
        ("auto", 4, 2, "cuda:2"),
        ("auto", 1, 3, "cuda:0"),
    ],
)
def test_the_device_is_the_tasks_own_gpu(
    monkeypatch: pytest.MonkeyPatch, device: str, gpus: int, address: int | None, picked: str
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: gpus > 0)
    monkeypatch.setattr("torch.cuda.device_count", lambda: gpus)
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: False)
    assert pick_device(device, address=address) == picked


@pytest.mark.parametrize(
    ("amx", "avx512", "vendor", "faster"),
    [
        (True, True, "GenuineIntel", True),
        (False, True, "GenuineIntel", False),
        (False, True, "AuthenticAMD", True),
        (False, False, "AuthenticAMD", False),
    ],
)
def test_bfloat16_is_for_hardware_that_is_faster_with_it(
    monkeypatch: pytest.MonkeyPatch, amx: bool, avx512: bool, vendor: str, faster: bool
) -> None:
    monkeypatch.setattr("torch.cpu._is_amx_tile_supported", lambda: amx)
    monkeypatch.setattr("torch.cpu._is_avx512_bf16_supported", lambda: avx512)
    monkeypatch.setattr("metrics.score.models._cpu", lambda: f"vendor_id : {vendor}")
    assert pick_dtype("auto", "cpu") == (torch.bfloat16 if faster else torch.float32)
    assert pick_dtype("bfloat16", "cpu") == torch.bfloat16
