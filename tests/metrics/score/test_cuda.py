"""The scorers on a GPU against the same scorers on the CPU. Needs torch and transformers, no Spark.

python -m pytest tests/metrics/score/test_cuda.py
"""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as t

from metrics.score.models import find_model, pick_device, pick_dtype
from metrics.score.packing import Body
from metrics.score.perplexity import find_head, load_perplexity, token_nll
from metrics.score.toxicity import choose_pooled, class_logits, load_toxicity
from tests.metrics.score.test_packing import CLASSIFIERS, LANGUAGE_MODELS, PROBE, ROWS, name

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")

TEXTS = [
    "the cat sat on the mat",
    "you are stupid",
    "the dog ran under a table and the cat sat on the mat " * 20,
    "a",
]
NEAR = {torch.float32: 2e-3, torch.bfloat16: 0.06}
"""Largest mean difference that is rounding, in standard deviations of the values; another text's tokens make it 1."""


def distance(found: torch.Tensor, expected: torch.Tensor) -> float:
    """Mean difference in standard deviations of what is expected."""
    return float((found.cpu().double() - expected.double()).abs().mean() / expected.double().std())


@pytest.mark.parametrize("dtype", NEAR, ids=str)
@pytest.mark.parametrize(("config", "packed", "own_head"), LANGUAGE_MODELS, ids=name)
def test_language_models(config: Any, packed: bool, own_head: bool, dtype: torch.dtype) -> None:
    if isinstance(config, t.MambaConfig) and dtype == torch.bfloat16:
        pytest.skip("without its own kernels, Mamba computes in float32 only")
    torch.manual_seed(0)
    model = t.AutoModelForCausalLM.from_config(deepcopy(config)).eval()
    model.config.get_text_config().use_cache = False
    with torch.no_grad():
        logits = [model(input_ids=torch.tensor([row])).logits[0, :-1].double() for row in ROWS]
        expected = [-x.log_softmax(-1)[range(len(x)), row[1:]] for x, row in zip(logits, ROWS, strict=True)]
        body = Body(model.to("cuda", dtype), padding=0, masked=False)
        head = find_head(body)
        body.choose(PROBE, lambda rows, mixed: token_nll(body, head, rows, mixed=mixed))
        found = token_nll(body, head, ROWS)
    assert (body.packed, body.single) == (packed, False)
    assert distance(found, torch.cat(expected)) < NEAR[dtype]


@pytest.mark.parametrize("dtype", NEAR, ids=str)
@pytest.mark.parametrize(("config", "packed", "pooled"), CLASSIFIERS, ids=name)
def test_classifiers(config: Any, packed: bool, pooled: int | None, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    config = deepcopy(config)
    config.num_labels = 3
    model = t.AutoModelForSequenceClassification.from_config(config).eval()
    with torch.no_grad():
        expected = torch.cat([model(input_ids=torch.tensor([row])).logits for row in ROWS])
        body = Body(model.to("cuda", dtype), padding=model.config.pad_token_id or 0, masked=True)
        chosen = choose_pooled(body, PROBE)
        found = class_logits(body, ROWS, pooled=chosen)
    assert (body.packed, body.single) == (packed, False)
    assert distance(found, expected) < NEAR[dtype]


def test_auto_is_the_gpu_in_bfloat16() -> None:
    assert pick_device("auto") == "cuda"
    assert pick_dtype("auto", "cuda") == torch.bfloat16


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-4), ("bfloat16", 0.03)])
def test_perplexity(language_model: Path, dtype: str, tolerance: float) -> None:
    files = find_model(str(language_model))
    exact, found = load_perplexity(files, "cpu", "float32"), load_perplexity(files, "cuda", dtype)
    rows = [(ids,) for ids in exact.encode(TEXTS)]
    assert found.dtype == dtype
    for ((nll, count),), ((near, same),) in zip(exact.score(rows), found.score(rows), strict=True):
        assert count == same
        assert near == pytest.approx(nll, rel=tolerance, abs=tolerance)


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-4), ("bfloat16", 0.02)])
def test_toxicity(classifier: Path, dtype: str, tolerance: float) -> None:
    files = find_model(str(classifier))
    exact, found = load_toxicity(files, "hate", "cpu", "float32"), load_toxicity(files, "hate", "cuda", dtype)
    assert found.dtype == dtype
    assert found.score(TEXTS) == pytest.approx(exact.score(TEXTS), abs=tolerance)


@pytest.fixture
def little_memory() -> Iterator[int]:
    """So many bytes of the GPU and no more."""
    torch.cuda.empty_cache()
    free = 600 * 2**20
    torch.cuda.set_per_process_memory_fraction(free / torch.cuda.get_device_properties(0).total_memory)
    yield free
    torch.cuda.set_per_process_memory_fraction(1.0)
    torch.cuda.empty_cache()


def test_memory_that_ends_makes_batches_smaller(little_memory: int) -> None:
    torch.manual_seed(0)
    config = t.GPT2Config(vocab_size=1000, n_positions=1024, n_embd=768, n_layer=2, n_head=12)
    body = Body(t.AutoModelForCausalLM.from_config(config).eval().to("cuda"), padding=0, masked=False)
    body.model.config.use_cache = False
    head = find_head(body)
    body.choose(PROBE, lambda rows, mixed: token_nll(body, head, rows, mixed=mixed))
    body.budget = planned = 2**18
    rows = [[(3 * i + j) % 1000 for j in range(1000)] for i in range(250)]

    def run(batch: list[int]) -> torch.Tensor:
        with torch.inference_mode():
            return token_nll(body, head, [rows[at] for at in batch]).cpu()

    done = list(body.batches([len(row) for row in rows], run))
    assert body.budget < planned, f"{little_memory} bytes were enough"
    assert sorted(at for batch, _ in done for at in batch) == list(range(250))
    assert torch.cuda.max_memory_allocated() <= little_memory
