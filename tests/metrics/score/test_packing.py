"""Packed passes of real architectures with random weights against one text at a time."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import transformers as t

from metrics.score.packing import Body
from metrics.score.perplexity import find_head, token_nll
from metrics.score.toxicity import choose_pooled, class_logits

VOCABULARY = 300
SHAPE = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 130,
    "initializer_range": 0.3,
}
GROUPED = {**SHAPE, "num_key_value_heads": 2}
GPT2 = {"vocab_size": VOCABULARY, "n_positions": 130, "n_embd": 32, "n_layer": 2, "n_head": 4, "initializer_range": 0.3}
PROBE = [[4 + (7 + 31 * i * n) % (VOCABULARY - 8) for i in range(n - 1)] + [2] for n in (9, 5, 5, 2, 40)]
WINDOW = 8
"""Smaller than the texts of the probe, so that local attention is local in it."""

LANGUAGE_MODELS = [
    # configuration, packed, head of its own
    (t.GPT2Config(**GPT2), True, False),
    (t.LlamaConfig(**GROUPED), True, False),
    (t.MistralConfig(**GROUPED, sliding_window=WINDOW), True, False),
    (t.Qwen2Config(**GROUPED), True, False),
    (t.Gemma3TextConfig(**GROUPED, head_dim=8, sliding_window=WINDOW), True, False),
    (
        t.OPTConfig(
            vocab_size=VOCABULARY,
            hidden_size=32,
            ffn_dim=64,
            num_hidden_layers=2,
            num_attention_heads=4,
            max_position_embeddings=130,
            word_embed_proj_dim=32,
            init_std=0.3,
        ),
        True,
        False,
    ),
    (t.GPTNeoXConfig(**SHAPE), True, False),
    (t.CohereConfig(**GROUPED), True, True),  # scales its logits
    (t.GraniteConfig(**GROUPED, logits_scaling=4.0), True, True),
    (t.Gemma2Config(**GROUPED, head_dim=8, sliding_window=WINDOW), False, True),  # caps attention and logits
    (t.BloomConfig(vocab_size=VOCABULARY, hidden_size=32, n_layer=2, n_head=4), False, False),  # ALiBi
    (t.MambaConfig(vocab_size=VOCABULARY, hidden_size=32, num_hidden_layers=2), False, False),  # recurrent
]

CLASSIFIERS = [
    # configuration, packed, the token that its head reads
    (t.RobertaConfig(**SHAPE), True, 0),
    (t.BertConfig(**SHAPE), True, 0),
    (
        t.DistilBertConfig(
            vocab_size=VOCABULARY,
            dim=32,
            hidden_dim=64,
            n_layers=2,
            n_heads=4,
            max_position_embeddings=130,
            initializer_range=0.3,
        ),
        True,
        0,
    ),
    (t.ElectraConfig(**SHAPE, embedding_size=32), True, 0),
    (t.GPT2Config(**GPT2, pad_token_id=0), True, -1),
    (t.ModernBertConfig(**SHAPE, pad_token_id=0, local_attention=16, classifier_pooling="mean"), False, None),
    (t.DebertaV2Config(**SHAPE), False, None),
]


def rows_of(*lengths: int) -> list[list[int]]:
    generator = torch.Generator().manual_seed(3)
    return [[*torch.randint(4, VOCABULARY - 4, (n - 1,), generator=generator).tolist(), 2] for n in lengths]


ROWS = rows_of(100, 50, 50, 7, 2, 128)
"""More tokens than a model has positions, so that a table that ends there is found."""


def name(value: Any) -> str | None:
    return type(value).__name__.removesuffix("Config") if isinstance(value, t.PretrainedConfig) else None


@pytest.mark.parametrize(("config", "packed", "own_head"), LANGUAGE_MODELS, ids=name)
def test_language_models(config: Any, packed: bool, own_head: bool) -> None:
    torch.manual_seed(0)
    model = t.AutoModelForCausalLM.from_config(config).eval()
    model.config.get_text_config().use_cache = False
    with torch.no_grad():
        logits = [model(input_ids=torch.tensor([row])).logits[0, :-1].double() for row in ROWS]
        expected = [-x.log_softmax(-1)[range(len(x)), row[1:]] for x, row in zip(logits, ROWS, strict=True)]
        body = Body(model, padding=0, masked=False)
        head = find_head(body)
        body.choose(PROBE, lambda rows, mixed: token_nll(body, head, rows, mixed=mixed))
        found = token_nll(body, head, ROWS)
    assert (body.packed, body.single) == (packed, False)
    assert (head.__name__ == "own") == own_head
    torch.testing.assert_close(found.double(), torch.cat(expected), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("config", "packed", "pooled"), CLASSIFIERS, ids=name)
def test_classifiers(config: Any, packed: bool, pooled: int | None) -> None:
    torch.manual_seed(0)
    config.num_labels = 3
    model = t.AutoModelForSequenceClassification.from_config(config).eval()
    with torch.no_grad():
        expected = torch.cat([model(input_ids=torch.tensor([row])).logits for row in ROWS])
        body = Body(model, padding=model.config.pad_token_id or 0, masked=True)
        assert choose_pooled(body, PROBE) == pooled
        found = class_logits(body, ROWS, pooled=pooled)
    assert (body.packed, body.single) == (packed, False)
    assert float(expected.std()) > 0.1, "a model that answers the same to all texts would prove nothing"
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_a_model_that_sees_its_padding_gets_one_text_at_a_time() -> None:
    torch.manual_seed(0)
    config = t.XLNetConfig(vocab_size=VOCABULARY, d_model=32, n_layer=2, n_head=4, d_inner=64, initializer_range=0.3)
    model = t.AutoModelForSequenceClassification.from_config(config).eval()  # reads the last token, padding or not
    body = Body(model, padding=0, masked=True)
    assert choose_pooled(body, PROBE) is None
    assert body.single
    assert [batch for batch, _ in body.batches([3, 2, 2], lambda batch: None)] == [[0], [1], [2]]


def test_memory_that_ends_makes_batches_smaller() -> None:
    body = Body(t.AutoModelForCausalLM.from_config(t.GPT2Config(**GPT2)), padding=0, masked=False)
    body.budget = 64
    tried = []

    def run(batch: list[int]) -> int:
        tried.append(batch)
        if len(batch) > 2:
            raise torch.OutOfMemoryError
        return len(batch)

    done = list(body.batches([8] * 8, run))
    assert sorted(at for batch, _ in done for at in batch) == list(range(8))
    assert all(count == len(batch) <= 2 for batch, count in done)
    assert [len(batch) for batch in tried][:3] == [8, 4, 2], "halved, and not tried as large again"

    def never(batch: list[int]) -> None:
        raise torch.OutOfMemoryError

    with pytest.raises(torch.OutOfMemoryError):
        list(body.batches([8], never))


def test_token_ids_that_the_model_has_not_are_an_error_of_the_text() -> None:
    body = Body(t.AutoModelForCausalLM.from_config(t.GPT2Config(**GPT2)), padding=0, masked=False)
    with pytest.raises(IndexError, match="beyond the model's vocabulary"):
        body.run([[1, VOCABULARY]])


def test_positions_that_stretch_with_the_longest_text_are_not_shared() -> None:
    rope = {"rope_type": "longrope", "short_factor": [1.0] * 4, "long_factor": [4.0] * 4, "rope_theta": 10_000.0,
            "original_max_position_embeddings": 16, "factor": 8.0}  # fmt: skip
    config = t.Phi3Config(**SHAPE, pad_token_id=0, rope_parameters=rope, original_max_position_embeddings=16)
    torch.manual_seed(0)
    body = Body(t.AutoModelForCausalLM.from_config(config).eval(), padding=0, masked=False)
    head = find_head(body)
    body.choose(PROBE, lambda rows, mixed: token_nll(body, head, rows, mixed=mixed))
    assert (body.packed, body.single) == (False, True)
    assert [batch for batch, _ in body.batches([3, 40, 5], lambda batch: batch)] == [[1], [2], [0]]
