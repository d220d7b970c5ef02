"""Finding and loading the scoring models: hub id, local folder, or MLflow ``models:/`` URI.

Only safetensors weights are read and no code from a model's repository ever runs.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer
from transformers.utils import cached_file

from schemas.errors import ModelError

_HINT = "Set it to a local folder (save_pretrained with safetensors), to models:/name@alias, or to a hub id in reach."


DECIDING = (".safetensors", ".json", ".txt", ".model")
"""Files of these kinds make up a model and its tokenizer."""

MAX_CONTEXT = 4096
"""Longest window. Models for longer ones exist; attention over them would take a worker's memory for one text."""


@dataclass(frozen=True)
class ModelFiles:
    """Where a model's weights and its tokenizer are, and what identifies the weights."""

    reference: str
    model: str
    tokenizer: str
    revision: str

    @property
    def name(self) -> str:
        """Reference and revision, for fingerprints."""
        shown = Path(self.reference).name if Path(self.reference).is_dir() else self.reference
        return f"{shown}@{self.revision}"


@lru_cache(maxsize=8)
def find_model(reference: str, *, tracking_uri: str | None = None) -> ModelFiles:
    """Resolve a model reference to files.

    Args:
        reference: Hub id, folder made by ``save_pretrained``, or ``models:/name/version`` or ``models:/name@alias``.
        tracking_uri: MLflow store for ``models:/``; None for MLflow's own default.

    Raises:
        ModelError: It can't be found or reached.
    """
    if reference.startswith("models:/"):
        return _from_registry(reference, tracking_uri)
    if Path(reference).is_dir():
        return _from_folder(reference, Path(reference))
    if reference.startswith(("/", ".", "~")):
        raise ModelError(f"model {reference}: there is no such folder. {_HINT}")
    try:
        refuse_code(reference, Path(cached_file(reference, "config.json")))
        config = AutoConfig.from_pretrained(reference, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise ModelError(f"model {reference}: not in the local cache, and the hub can't give it. {_HINT}") from error
    return ModelFiles(reference, reference, reference, str(getattr(config, "_commit_hash", None) or "unknown")[:12])


def find_tokenizer(reference: str, *, tracking_uri: str | None = None) -> ModelFiles:
    """A tokenizer by itself: hub id, folder, or MLflow URI.

    Raises:
        ModelError: MLflow can't give it.
    """
    where = reference
    if reference.startswith("models:/"):
        where = str(_only(_downloaded(reference, tracking_uri), "tokenizer_config.json", reference).parent)
    return ModelFiles(reference, where, where, "tokenizer")


def _from_registry(reference: str, tracking_uri: str | None) -> ModelFiles:
    root = _downloaded(reference, tracking_uri)
    config = _only(root, "config.json", reference)
    refuse_code(reference, config)
    folder = config.parent
    tokenizer = _only(root, "tokenizer_config.json", reference).parent
    return ModelFiles(reference, str(folder), str(tokenizer), _revision(reference, folder, tokenizer))


def _downloaded(reference: str, tracking_uri: str | None) -> Path:
    import mlflow

    try:
        if tracking_uri:
            mlflow.set_tracking_uri(tracking_uri)
        return Path(mlflow.artifacts.download_artifacts(artifact_uri=reference))
    except (mlflow.MlflowException, OSError) as error:
        raise ModelError(
            f"model {reference}: MLflow can't give it ({type(error).__name__}: {error}). {_HINT}"
        ) from error


def _only(root: Path, name: str, reference: str) -> Path:
    found = sorted(root.rglob(name), key=lambda path: (len(path.parts), path))
    if not found:
        raise ModelError(f"model {reference}: has no {name}; it is not a transformers model. {_HINT}")
    return found[0]


def _from_folder(reference: str, folder: Path) -> ModelFiles:
    refuse_code(reference, _only(folder, "config.json", reference))
    return ModelFiles(reference, str(folder), str(folder), _revision(reference, folder, folder))


NAMES_CODE = re.compile(r"attn_implementation|experts_implementation|kernel")
"""Keys of a configuration whose value can be the name of a repository, code of which transformers would then run."""


def refuse_code(reference: str, config: Path) -> None:
    """Look through a model's configuration before transformers does, at any depth.

    Versions before 5.3 run code of a repository that ``_attn_implementation_internal`` names, whatever
    ``trust_remote_code`` says (CVE-2026-4372), and before 5.5 some models take ``trust_remote_code`` from their
    configuration (CVE-2026-5241). Databricks ML runtimes have 4.57.

    Args:
        reference: The model, for the message.
        config: Its config.json.

    Raises:
        ModelError: It names code, or is no JSON.
    """
    try:
        found = json.loads(config.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ModelError(f"model {reference}: its config.json is no JSON. {_HINT}") from error
    waiting = [found]
    while waiting:
        one = waiting.pop()
        if isinstance(one, list):
            waiting += one
        elif isinstance(one, dict):
            waiting += one.values()
            for key, value in one.items():
                if (NAMES_CODE.search(key) and "/" in str(value)) or (key == "trust_remote_code" and value):
                    message = f"model {reference}: its config.json asks to run code of others ({key}), which is refused"
                    raise ModelError(message)


def _revision(reference: str, folder: Path, tokenizer: Path) -> str:
    """A hash of all that decides scores: weights, configuration (labels, activation), tokenizer (BOS, vocabulary)."""
    if not any(folder.glob("*.safetensors")):
        raise ModelError(
            f"model {reference}: {folder.name} holds no *.safetensors file. Weights in other formats are not read: "
            "a pickle can run code. Save the model again with save_pretrained."
        )
    digest = hashlib.sha256()
    for place in dict.fromkeys((folder, tokenizer)):
        for file in sorted(one for one in place.iterdir() if one.suffix in DECIDING):
            with file.open("rb") as stream:
                digest.update(file.name.encode() + hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()[:12]


def pick_device(device: str, *, address: int | None = None) -> str:
    """``auto`` resolved: a GPU where there is one, else the CPU.

    Args:
        device: auto, or as torch names it.
        address: Number of the GPU that is ours, where several tasks share several.
    """
    if device != "auto":
        return device
    if torch.cuda.is_available():
        # Where the cluster shows a task its own GPU only, that one is number 0, whatever its address.
        return "cuda" if address is None else f"cuda:{address % torch.cuda.device_count()}"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def token_budget(device: str) -> int:
    """Padded tokens per forward pass: small ones keep a CPU's caches warm, large ones keep a GPU busy."""
    return 512 if device == "cpu" else 16384


def load_tokenizer(files: ModelFiles) -> Any:
    """The tokenizer, told to read special tokens such as ``<|endoftext|>`` in a text as plain text."""
    try:
        return AutoTokenizer.from_pretrained(files.tokenizer, trust_remote_code=False, split_special_tokens=True)
    except (OSError, ValueError) as error:
        raise ModelError(
            f"model {files.reference}: its tokenizer can't be loaded ({type(error).__name__}). {_HINT}"
        ) from error


def ids_of_nothing(tokenizer: Any, encode: Callable[[list[str]], list[list[int]]]) -> frozenset[int]:
    """Token ids that are nothing of a text: those of an empty text (special tokens, or none) and of a blank.

    Some tokenizers make a blank of characters that they clean away. One that calls the blank unknown calls other
    characters so, too, and then that token says something.

    Args:
        tokenizer: Of ``load_tokenizer``.
        encode: How the scorer gets token ids from it.
    """
    nothing, blank = encode(["", " "])
    unknown = tokenizer.unk_token_id
    return frozenset(nothing if blank.count(unknown) > nothing.count(unknown) else (*nothing, *blank))


def load_causal_lm(files: ModelFiles) -> Any:
    """The causal language model in evaluation mode, with the weights as they are in its files, in the CPU's memory."""
    return _load(AutoModelForCausalLM, files)


def load_classifier(files: ModelFiles) -> Any:
    """The sequence classifier, likewise."""
    return _load(AutoModelForSequenceClassification, files)


def _load(kind: Any, files: ModelFiles) -> Any:
    try:
        model, info = kind.from_pretrained(
            files.model, trust_remote_code=False, use_safetensors=True, dtype="auto", output_loading_info=True
        )
    except Exception as error:  # safetensors and transformers raise many kinds for a damaged file
        raise ModelError(
            f"model {files.reference}: its weights can't be loaded ({type(error).__name__}: {error}). {_HINT}"
        ) from error
    if missing := sorted(map(str, (*info["missing_keys"], *info["mismatched_keys"]))):
        # transformers would fill them with random numbers, other ones in each worker.
        raise ModelError(
            f"model {files.reference}: its files lack {len(missing)} of its weights, {missing[0]} among them. "
            f"Was it trained as {type(model).__name__}? {_HINT}"
        )
    model = model.eval()
    model.config.get_text_config().use_cache = False
    for module in model.modules():
        for name, child in module.named_children():
            if type(child).__name__ == "NewGELUActivation":  # GPT-2's, in eight steps over memory instead of one
                setattr(module, name, torch.nn.GELU(approximate="tanh"))
    return model


def body_of(model: Any) -> Any:
    """The model without its head.

    ``base_model``, but for Gemma 3 in transformers 4.57, where that is the whole model: it is looked for under a name
    that is not there (``base_model_prefix``).
    """
    body = model.base_model
    return model.get_decoder() if body is model else body


def place(model: Any, device: str, dtype: str) -> Any:
    """The model on its device, in the type that it computes with.

    Args:
        model: Of ``load_causal_lm`` or ``load_classifier``.
        device: As torch names it.
        dtype: float32, bfloat16, auto (``pick_dtype``), or int8: then the linear layers of the body are quantised
            (weights once, activations as they come), and the head stays fp32.

    Raises:
        ModelError: int8 on something other than a CPU.
    """
    if dtype != "int8":
        return model.to(device, pick_dtype(dtype, device))
    if device != "cpu":
        raise ModelError("scoring.toxicity.dtype: int8 is for CPUs only. Set it to auto.")
    model.float()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        quantize: Any = torch.ao.quantization.quantize_dynamic
        quantize(body_of(model), {torch.nn.Linear}, dtype=torch.qint8, inplace=True)
    return model


@contextmanager
def tried(files: ModelFiles) -> Iterator[None]:
    """Where a model is run for the first time: an error then is the model's, and not some text's.

    Raises:
        ModelError: It can't be run.
    """
    try:
        yield
    except ModelError:
        raise
    except Exception as error:
        raise ModelError(
            f"model {files.reference}: it can't be run ({type(error).__name__}: {error}). Some architectures "
            "compute in float32 only: set its dtype to float32, or take another model."
        ) from error


def pick_dtype(dtype: str, device: str) -> torch.dtype:
    """``auto`` resolved: bfloat16 where the hardware is faster with it, else float32; other names as torch has them.

    On a CPU that is one with AMX tiles, or AMD's with AVX512-BF16. Intel's without AMX (it can be hidden from virtual
    machines) are slower with it: 98 against 178 GFLOP/s in a product of 1536 x 1536 on one core.
    """
    if dtype != "auto":
        return getattr(torch, dtype)  # type: ignore[no-any-return]
    if device.startswith("cuda"):
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        amd = torch.cpu._is_avx512_bf16_supported() and "AuthenticAMD" in _cpu()
        fast = device == "cpu" and (torch.cpu._is_amx_tile_supported() or amd)
    return torch.bfloat16 if fast else torch.float32


@lru_cache(maxsize=1)
def _cpu() -> str:
    """What Linux says of the processor; empty elsewhere."""
    try:
        return Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").partition("\n\n")[0]
    except OSError:
        return ""


def context_size(model: Any, tokenizer: Any) -> int:
    """Longest input in tokens, special tokens included; at most MAX_CONTEXT."""
    sizes = [
        getattr(model.config, "max_position_embeddings", None),
        getattr(model.config, "n_positions", None),
        tokenizer.model_max_length,
    ]
    # RoBERTa and its like count positions from padding_idx + 1, so that their table is longer than the context.
    for name, module in body_of(model).named_modules():
        if name.endswith("position_embeddings") and isinstance(module, torch.nn.Embedding):
            first = 0 if module.padding_idx is None else module.padding_idx + 1
            sizes.append(module.num_embeddings - first)
    known = [size for size in sizes if size and size < 1_000_000]
    return min([*known, MAX_CONTEXT]) if known else 1024


def library_versions(*names: str) -> str:
    """``name=version`` of installed distributions, for fingerprints."""
    return " ".join(f"{name}={importlib.metadata.version(name)}" for name in names)


def be_quiet() -> None:
    """No progress bars and advice from transformers in the log."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
