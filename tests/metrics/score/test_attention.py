"""How attention is packed in architectures that ask transformers for none, whatever the version of transformers."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F

from metrics.score.attention import CantPackError, Layout, caught, placed, replaced, within

LENGTHS = [3, 2, 2, 1]
HEADS, SIZE = 2, 4


def layout() -> Layout:
    return Layout(LENGTHS, torch.device("cpu"))


def tensors(*shape: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(5)
    return [torch.randn(*shape, generator=generator) for _ in range(3)]


@pytest.mark.parametrize("causal", [False, True])
def test_what_torch_computes_is_caught(causal: bool) -> None:
    q, k, v = tensors(1, HEADS, sum(LENGTHS), SIZE)
    alone = zip(*(torch.split(part, LENGTHS, dim=2) for part in (q, k, v)), strict=True)
    expected = torch.cat(
        [F.scaled_dot_product_attention(a, b, c, is_causal=causal, scale=0.3) for a, b, c in alone], dim=2
    )
    whole = F.scaled_dot_product_attention(q, k, v, is_causal=causal, scale=0.3)
    with within(layout()), caught(None):
        found = F.scaled_dot_product_attention(q, k, v, is_causal=causal, scale=0.3)
    torch.testing.assert_close(found, expected)
    assert not torch.allclose(whole, expected, atol=0.1)
    assert torch.equal(F.scaled_dot_product_attention(q, k, v, is_causal=causal, scale=0.3), whole), "caught no more"


def test_a_mask_is_not_passed_over() -> None:
    q, k, v = tensors(1, HEADS, sum(LENGTHS), SIZE)
    mask = torch.ones(sum(LENGTHS), sum(LENGTHS), dtype=torch.bool).tril()
    with within(layout()), caught(None), pytest.raises(CantPackError, match="mask"):
        F.scaled_dot_product_attention(q, k, v, mask)


def test_attention_to_another_sequence_is_not_packed() -> None:
    q, k, v = tensors(1, HEADS, sum(LENGTHS), SIZE)
    with within(layout()), caught(None), pytest.raises(CantPackError, match="shape"):
        F.scaled_dot_product_attention(q, k[:, :, 1:], v[:, :, 1:])


class InSteps(torch.nn.Module):
    """Self-attention with the parts of BERT's in transformers 4.57, and none of torch's own."""

    def __init__(self, *, is_decoder: bool = False) -> None:
        super().__init__()
        self.query, self.key, self.value = (torch.nn.Linear(HEADS * SIZE, HEADS * SIZE) for _ in range(3))
        self.num_attention_heads, self.attention_head_size = HEADS, SIZE
        self.position_embedding_type, self.is_decoder = "absolute", is_decoder

    def forward(self, states: torch.Tensor, attention_mask: torch.Tensor | None = None) -> tuple[Any, ...]:
        parts = [part(states).unflatten(-1, (HEADS, SIZE)) for part in (self.query, self.key, self.value)]
        q, k, v = (part.transpose(1, 2) for part in parts)
        weights = (q @ k.mT / SIZE**0.5 + (0 if attention_mask is None else attention_mask)).softmax(-1)
        return (weights @ v).transpose(1, 2).flatten(2), weights


def test_attention_in_steps_is_replaced() -> None:
    torch.manual_seed(0)
    body = torch.nn.Sequential(InSteps())
    states = tensors(1, sum(LENGTHS), HEADS * SIZE)[0]
    expected = torch.cat([body(some)[0] for some in torch.split(states, LENGTHS, dim=1)], dim=1)
    with within(layout()), replaced(body):
        found, _ = body(states)
    torch.testing.assert_close(found, expected)
    assert body(states)[1] is not None, "replaced no more"


def test_a_decoders_attention_in_steps_is_not_replaced() -> None:
    with pytest.raises(CantPackError), replaced(torch.nn.Sequential(InSteps(is_decoder=True))):
        pass


class Counted(torch.nn.Module):
    """A body that takes positions from a buffer, as DistilBERT's of transformers 4.57."""

    def __init__(self) -> None:
        super().__init__()
        self.embeddings: Any = torch.nn.Module()
        self.embeddings.register_buffer("position_ids", torch.arange(4)[None, :], persistent=False)

    def forward(self, input_ids: torch.Tensor) -> Any:
        return self.embeddings.position_ids[:, : input_ids.shape[1]]


def test_positions_reach_a_body_that_takes_none() -> None:
    body, ids = Counted(), torch.zeros(1, sum(LENGTHS), dtype=torch.long)
    with placed(body, layout().positions) as given:
        assert body(ids, **given).tolist() == [[0, 1, 2, 0, 1, 0, 1, 0]], "more of them than the buffer has"
    assert body(ids).tolist() == [[0, 1, 2, 3]]
