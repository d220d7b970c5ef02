"""Perplexity under a causal language model.

perplexity = exp(mean negative log-likelihood per token, in nats), as in Hugging Face ``evaluate``: the model's BOS
token, if it has one, stands before the text and is not scored. Texts longer than the context are scored in strided
windows (Hugging Face documentation, "Perplexity of fixed-length models"), never cut.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from metrics.score.batching import strided_windows
from metrics.score.models import (
    ModelFiles,
    context_size,
    ids_of_nothing,
    load_causal_lm,
    load_tokenizer,
    pick_dtype,
    place,
    tried,
)
from metrics.score.packing import PROBE, Body, flat

HEAD_ROWS = {"cpu": 128, "cuda": 4096}
"""Tokens whose logits exist at one time, by device: the vocabulary times this is the largest tensor."""

ALIGNED = 64
"""A GPU multiplies by a vocabulary of a multiple of this several times faster than by GPT-2's 50,257."""

Head = Callable[[Any, torch.Tensor, torch.Tensor], torch.Tensor]
"""``head(output, states, ids)``: fp32 logits (tokens, vocabulary) of hidden states (tokens, size), up to a constant per
token; ``output`` is the output of the body that they are from, ``ids`` their tokens."""


@dataclass(frozen=True)
class PerplexityScorer:
    """A loaded model; ``score`` is its one use."""

    body: Body
    head: Head
    tokenizer: Any
    context: int

    @cached_property
    def nothing(self) -> frozenset[int]:
        """Token ids that are nothing of a text."""
        return ids_of_nothing(self.tokenizer, self.encode)

    @property
    def dtype(self) -> str:
        """Of the weights, for fingerprints: float32 or bfloat16."""
        return str(self.body.model.dtype).removeprefix("torch.")

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of each text, without special tokens."""
        return list(self.tokenizer(list(texts), add_special_tokens=False, verbose=False)["input_ids"]) if texts else []

    def score(self, sequences: Sequence[tuple[Sequence[int], ...]]) -> list[tuple[tuple[float, int], ...]]:
        """Negative log-likelihood and scored tokens of each segment of each sequence.

        Args:
            sequences: Each a tuple of segments (token ids) that follow one another: a prompt and its response give, in
                one pass, the prompt's own likelihood and the response's given the prompt. BOS is put before the first.

        Returns:
            Per sequence, per segment: ``(nll, tokens)``, nll in nats, summed. Without BOS the very first token has no
            context and is not scored, so ``tokens`` can be one less than the segment has, or 0.
        """
        bos = self.tokenizer.bos_token_id
        rows = [([bos] if bos is not None else []) + [t for segment in s for t in segment] for s in sequences]
        nll = [np.zeros(len(row)) for row in rows]
        windows = [
            (i, *w) for i, row in enumerate(rows) if len(row) > 1 for w in strided_windows(len(row), size=self.context)
        ]
        lengths = [end - start for _, start, _, end in windows]

        def run(batch: list[int]) -> np.ndarray:
            some = [rows[i][start:end] for i, start, _, end in (windows[position] for position in batch)]
            with torch.inference_mode():
                return token_nll(self.body, self.head, some).cpu().double().numpy()

        for batch, values in self.body.batches(lengths, run):
            used = 0
            for i, start, first, end in (windows[position] for position in batch):
                nll[i][first:end] = values[used + first - start - 1 : used + end - start - 1]
                used += end - start - 1
        return [
            _by_segment(nll[i], [len(segment) for segment in sequence], offset=0 if bos is None else 1)
            for i, sequence in enumerate(sequences)
        ]


def token_nll(body: Body, head: Head, rows: Sequence[Sequence[int]], *, mixed: bool = False) -> torch.Tensor:
    """-log p(token | tokens before it) under a causal LM, with an fp32 log-softmax.

    Logits exist for a few tokens at a time: those of a whole batch would be larger than all else together.

    Args:
        body: The model without its head.
        head: Its head (``find_head``).
        rows: Token ids per text, at least one each.
        mixed: As in ``Body.run``.

    Returns:
        (tokens,) nats, fp32: row after row, ``len(row) - 1`` values each, because the first token has none.
    """
    output, states = body.run(rows, mixed=mixed)
    device = states.device
    ids = flat(rows).to(device)
    follows = torch.ones(len(ids), dtype=torch.bool, device=device)
    follows[torch.tensor([0, *(len(row) for row in rows[:-1])], device=device).cumsum(0)] = False
    parts = []
    for some in torch.split(follows.nonzero().squeeze(1), HEAD_ROWS.get(device.type, HEAD_ROWS["cpu"])):
        logits = head(output, states[some - 1], ids[some - 1])
        parts.append(F.cross_entropy(logits, ids[some], reduction="none"))
    return torch.cat(parts) if parts else states.new_zeros(0, dtype=torch.float32)


def find_head(body: Body, centred: torch.Tensor | None = None) -> Head:
    """The head that gives a model's logits for a few tokens at a time.

    Most are the output embedding and nothing else. Some architectures scale or cap their logits; a probe tells, without
    a list of names, and then the model's own code is called.

    Args:
        body: The model.
        centred: What ``centred_embedding`` made, for a model that computes in bfloat16.
    """
    model = body.model
    ids = torch.arange(4, device=model.device) % model.config.get_text_config().vocab_size

    def own(output: Any, states: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
        return body.logits(output, states[None], ids[None])[0].float()

    embedding = model.get_output_embeddings()
    if embedding is None:
        return own
    with torch.inference_mode():
        output, states = body.run([ids.tolist()])
        plain = F.linear(states, embedding.weight, getattr(embedding, "bias", None)).float()
        expected = own(output, states, ids)
        is_plain = plain.shape == expected.shape and torch.allclose(plain, expected, rtol=1e-4, atol=1e-4)
    return _plain_head(model, centred) if is_plain else own


def centred_embedding(model: Any) -> torch.Tensor | None:
    """(vocabulary, size): the output embedding less its mean row, fp32; None where there is none.

    This takes the same from all logits of a token, and so changes no probability. GPT-2's logits are large numbers that
    differ little, and bfloat16 has two digits: rounded as they are, a perplexity can be off by a tenth.
    """
    embedding = model.get_output_embeddings()
    if embedding is None:
        return None
    with torch.inference_mode():
        weight: torch.Tensor = embedding.weight.float()
        return weight - weight.mean(0)


def _plain_head(model: Any, centred: torch.Tensor | None) -> Head:
    """Output embedding of the last hidden state; a product of bfloat16 has fp32 results where that can be."""
    embedding = model.get_output_embeddings()
    weight, bias = embedding.weight, getattr(embedding, "bias", None)
    if centred is not None and model.dtype == torch.bfloat16:
        weight = centred.to(model.device, model.dtype)
        if _has_wide_product(weight):
            words = len(weight)
            weight = F.pad(weight, (0, 0, 0, -words % ALIGNED))

            def wide(_output: Any, states: torch.Tensor, _ids: torch.Tensor) -> torch.Tensor:
                logits = torch.mm(states, weight.t(), out_dtype=torch.float32)
                if bias is not None:
                    logits[:, :words] += bias.float()
                logits[:, words:] = -torch.inf
                return logits

            return wide

    def head(_output: Any, states: torch.Tensor, _ids: torch.Tensor) -> torch.Tensor:
        return F.linear(states, weight, bias).float()

    return head


def _has_wide_product(weight: torch.Tensor) -> bool:
    """Whether a product of bfloat16 can have fp32 results: on some devices, from torch 2.8 on."""
    some = weight[:16]
    try:
        return torch.mm(some, some.t(), out_dtype=torch.float32).dtype == torch.float32
    except (TypeError, RuntimeError):
        return False


def _by_segment(nll: np.ndarray, sizes: list[int], *, offset: int) -> tuple[tuple[float, int], ...]:
    result = []
    position = offset
    for size in sizes:
        first = max(position, 1)
        end = position + size
        result.append((float(nll[first:end].sum()), max(end - first, 0)))
        position = end
    return tuple(result)


def load_perplexity(files: ModelFiles, device: str, dtype: str = "float32") -> PerplexityScorer:
    """Load model and tokenizer, and find out how to run them fast.

    Args:
        files: The model.
        device: As torch names it.
        dtype: float32, bfloat16, or auto: bfloat16 where the hardware is faster with it.

    Raises:
        ModelError: They can't be loaded.
    """
    tokenizer = load_tokenizer(files)
    loaded = load_causal_lm(files)
    centred = centred_embedding(loaded) if pick_dtype(dtype, device) == torch.bfloat16 else None
    with tried(files):
        model = place(loaded, device, dtype)
    body = Body(model, padding=0, masked=False)
    context = context_size(model, tokenizer)
    with tried(files):
        scorer = PerplexityScorer(body, find_head(body, centred), tokenizer, context)
        probe = [row[:context] for row in scorer.encode(PROBE) if row]
        body.choose(probe, lambda rows, mixed: token_nll(body, scorer.head, rows, mixed=mixed))
    return scorer
