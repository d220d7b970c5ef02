"""Perplexity against plain transformers, against the known answer of an all-zero model, and beyond the context."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, GPT2Model

from metrics.score.models import find_model, load_tokenizer
from metrics.score.perplexity import PerplexityScorer, load_perplexity
from schemas.errors import ModelError
from tests.bench.bench_score import evaluate_perplexity
from tests.models import LM_CONTEXT, save_language_model, word_tokenizer

TEXTS = [
    "the cat sat on the mat",
    "hello",
    "the dog ran under a table and the cat sat on the mat",
    "ünïcode 你好 😀",
    "<|endoftext|> is plain text here",
]


@pytest.fixture(scope="module")
def scorer(language_model: Path) -> PerplexityScorer:
    return load_perplexity(find_model(str(language_model)), "cpu")


def perplexity(scorer: PerplexityScorer, text: str) -> float:
    ((total, tokens),) = scorer.score([(scorer.encode([text])[0],)])[0]
    return math.exp(total / tokens)


@pytest.fixture(scope="module")
def model(language_model: Path) -> Any:
    return AutoModelForCausalLM.from_pretrained(language_model, dtype=torch.float64).eval()


def plain_nll(model: Any, ids: list[int]) -> torch.Tensor:
    """Token by token, in float64, straight from the model's own logits."""
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([ids])).logits[0]
    return -torch.log_softmax(logits[:-1], dim=-1)[range(len(ids) - 1), torch.tensor(ids[1:])]


def test_equals_evaluates_algorithm(scorer: PerplexityScorer, language_model: Path) -> None:
    tokens = load_tokenizer(find_model(str(language_model)))
    tokens.pad_token = tokens.eos_token
    model = AutoModelForCausalLM.from_pretrained(language_model).eval()
    texts = [f"{text} {'the cat ' * n}" for n, text in enumerate(TEXTS[:4])]
    assert [perplexity(scorer, text) for text in texts] == pytest.approx(
        evaluate_perplexity(model, tokens, texts, "cpu"), rel=2e-4
    )


@pytest.mark.parametrize("text", TEXTS)
def test_equals_a_plain_transformers_computation(scorer: PerplexityScorer, text: str, model: Any) -> None:
    ids = [scorer.tokenizer.bos_token_id, *scorer.encode([text])[0]]
    assert len(ids) <= LM_CONTEXT, "the plain computation holds inside the context only"
    assert perplexity(scorer, text) == pytest.approx(math.exp(plain_nll(model, ids).mean()), rel=1e-5)


def test_all_zero_model_gives_the_vocabulary_size(uniform_model: Path) -> None:
    scorer = load_perplexity(find_model(str(uniform_model)), "cpu")
    for text in (*TEXTS, "the cat " * 100):
        assert perplexity(scorer, text) == pytest.approx(scorer.body.model.config.vocab_size, rel=1e-6)


def test_batches_and_order_do_not_change_scores(scorer: PerplexityScorer) -> None:
    sequences = [(ids,) for ids in scorer.encode([*TEXTS, "the cat sat " * 40, "a dog ran"])]
    together = [segments[0] for segments in scorer.score(sequences)]
    alone = [scorer.score([sequence])[0][0] for sequence in sequences]
    reversed_order = [segments[0] for segments in scorer.score(sequences[::-1])][::-1]
    for one, by_itself, turned in zip(together, alone, reversed_order, strict=True):
        assert one == pytest.approx(by_itself, rel=1e-5)
        assert one == pytest.approx(turned, rel=1e-5)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_size_of_batches_changes_no_more_than_readme_says(language_model: Path, dtype: str) -> None:
    scorer = load_perplexity(find_model(str(language_model)), "cpu", dtype)
    sequences = [(ids,) for ids in scorer.encode([*TEXTS, "the cat sat " * 40, "a dog ran"] * 3)]
    found = []
    for budget in (1, 7, 64, 4096):
        scorer.body.budget = budget
        found.append(
            [math.exp(nll / tokens) for ((nll, tokens),) in scorer.score(sequences[:: -1 if budget == 7 else 1])]
        )
    found[1].reverse()
    for one, *others in zip(*found, strict=True):
        assert others == pytest.approx([one] * 3, rel={"float32": 1e-5, "bfloat16": 0.02}[dtype])


def test_long_text_equals_one_token_at_a_time(scorer: PerplexityScorer, model: Any) -> None:
    ids = [scorer.tokenizer.bos_token_id, *scorer.encode(["the dog ran under a table and sat on the mat " * 6])[0]]
    assert len(ids) > 2 * LM_CONTEXT, "several windows are needed"
    stride = LM_CONTEXT // 2
    expected = 0.0
    for position in range(1, len(ids)):
        # The context that the strided windows of the documentation give to this token.
        start = 0 if position < LM_CONTEXT else (position - LM_CONTEXT) // stride * stride + stride
        expected += float(plain_nll(model, ids[start : position + 1])[-1])
    ((total, tokens),) = scorer.score([(ids[1:],)])[0]
    assert tokens == len(ids) - 1
    assert total == pytest.approx(expected, rel=1e-5)


def test_response_given_prompt_is_conditional(scorer: PerplexityScorer, model: Any) -> None:
    prompt, response = scorer.encode(["the cat sat", " on the mat"])
    (prompt_nll, prompt_tokens), (response_nll, response_tokens) = scorer.score([(prompt, response)])[0]
    plain = plain_nll(model, [scorer.tokenizer.bos_token_id, *prompt, *response])
    assert (prompt_tokens, response_tokens) == (len(prompt), len(response))
    assert prompt_nll == pytest.approx(float(plain[: len(prompt)].sum()), rel=1e-5)
    assert response_nll == pytest.approx(float(plain[len(prompt) :].sum()), rel=1e-5)
    assert response_nll != pytest.approx(scorer.score([(response,)])[0][0][0], rel=1e-3)


def test_without_bos_the_first_token_is_not_scored(tmp_path: Path, model: Any) -> None:
    scorer = load_perplexity(find_model(str(save_language_model(tmp_path, bos=False))), "cpu")
    ids = scorer.encode(["the cat sat"])[0]
    ((total, tokens),) = scorer.score([(ids,)])[0]
    assert tokens == len(ids) - 1
    assert total == pytest.approx(float(plain_nll(model, ids).sum()), rel=1e-5)
    assert scorer.score([(ids[:1],)])[0] == ((0.0, 0),)


def test_large_logits_do_not_lose_their_digits_in_bfloat16(language_model: Path, tmp_path: Path) -> None:
    """Logits of GPT-2 are about -80, give or take a few; bfloat16 has steps of a half there."""
    shifted = AutoModelForCausalLM.from_pretrained(language_model)
    with torch.no_grad():
        bias = torch.randn(16, generator=torch.Generator().manual_seed(0))
        shifted.transformer.ln_f.bias.copy_(bias)
        weight = shifted.lm_head.weight - 80 * bias / (bias @ bias)
        shifted.config.tie_word_embeddings = False
        shifted.lm_head.weight = torch.nn.Parameter(weight)
    shifted.save_pretrained(tmp_path / "shifted")
    word_tokenizer(context=LM_CONTEXT).save_pretrained(tmp_path / "shifted")
    scorer = load_perplexity(find_model(str(tmp_path / "shifted")), "cpu", "bfloat16")
    exact = load_perplexity(find_model(str(tmp_path / "shifted")), "cpu")
    assert (scorer.dtype, exact.dtype) == ("bfloat16", "float32")
    sequences = [(ids,) for ids in exact.encode(TEXTS)]
    logits = shifted(input_ids=torch.tensor([exact.encode(TEXTS)[2]])).logits
    assert float(logits.mean()) < -50
    for ((nll, tokens),), ((expected, _),) in zip(scorer.score(sequences), exact.score(sequences), strict=True):
        assert nll / tokens == pytest.approx(expected / tokens, abs=0.05)


def test_a_model_that_can_not_be_run_says_so(language_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError("expected m1 and m2 to have the same dtype")

    monkeypatch.setattr(GPT2Model, "forward", broken)
    with pytest.raises(ModelError, match=r"it can't be run \(RuntimeError: .*set its dtype to float32"):
        load_perplexity(find_model(str(language_model)), "cpu", "bfloat16")
