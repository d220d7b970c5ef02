"""Perplexity under a causal language model.

perplexity = exp(mean negative log-likelihood per token, in nats), as in Hugging Face ``evaluate``: the model's BOS
token, if it has one, stands before the text and is not scored. Texts longer than the context are scored in strided
windows (Hugging Face documentation, "Perplexity of fixed-length models"), never cut.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from metrics.score.batching import strided_windows, token_batches
from metrics.score.models import ModelFiles, context_size, load_causal_lm, load_tokenizer, token_budget

HEAD_ROWS = 256
"""Tokens whose logits exist at one time: the vocabulary times this is the largest tensor."""


@dataclass(frozen=True)
class PerplexityScorer:
    """A loaded model; ``score`` is its one use."""

    model: Any
    tokenizer: Any
    device: str
    context: int
    plain_head: bool

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
        for batch in token_batches([end - start for _, start, _, end in windows], budget=token_budget(self.device)):
            chosen = [windows[position] for position in batch]
            scored = self._window_nll([rows[i][start:end] for i, start, _, end in chosen])
            for (i, start, first, end), values in zip(chosen, scored, strict=True):
                nll[i][first:end] = values[first - start - 1 : end - start - 1]
        return [
            _by_segment(nll[i], [len(segment) for segment in sequence], offset=0 if bos is None else 1)
            for i, sequence in enumerate(sequences)
        ]

    def _window_nll(self, windows: list[list[int]]) -> list[np.ndarray]:
        """Negative log-likelihood of every token but the first of each window."""
        width = max(len(window) for window in windows)
        ids = torch.zeros(len(windows), width, dtype=torch.long)
        for row, window in enumerate(windows):
            ids[row, : len(window)] = torch.tensor(window)
        with torch.inference_mode():
            # Padding is on the right and attention is causal: padded positions can't reach real ones, so no mask.
            lengths = [len(window) for window in windows]
            return token_nll(self.model, ids.to(self.device), lengths, plain_head=self.plain_head)


def token_nll(model: Any, ids: torch.Tensor, lengths: Sequence[int], *, plain_head: bool = False) -> list[np.ndarray]:
    """-log p(token | tokens before it) under a causal LM, with an fp32 log-softmax.

    Args:
        model: A ``transformers`` causal LM.
        ids: (rows, width) token ids, padded on the right.
        lengths: Real tokens per row.
        plain_head: The logits are the output embedding of the last hidden state and nothing else (``has_plain_head``),
            so that they can be computed for a few real tokens at a time.

    Returns:
        Per row ``lengths[row] - 1`` values in nats: the first token has none.

    Raises:
        ValueError: ``ids`` is not two-dimensional, or a length is longer than its width.
    """
    if ids.ndim != 2 or len(lengths) != ids.shape[0] or max(lengths) > ids.shape[1]:
        raise ValueError(
            f"ids must be (rows, tokens) with a length per row; got {tuple(ids.shape)} and {list(lengths)}"
        )
    keep = torch.arange(ids.shape[1] - 1)[None, :] < torch.tensor(lengths)[:, None] - 1
    keep = keep.to(ids.device)
    targets = ids[:, 1:][keep]
    if plain_head:
        head = model.get_output_embeddings()
        states = model.base_model(input_ids=ids, use_cache=False).last_hidden_state[:, :-1][keep]
    else:
        head = torch.nn.Identity()
        states = model(input_ids=ids, use_cache=False).logits[:, :-1][keep]
    parts = [
        F.cross_entropy(head(states[i : i + HEAD_ROWS]).float(), targets[i : i + HEAD_ROWS], reduction="none")
        for i in range(0, len(targets), HEAD_ROWS)
    ]
    flat = torch.cat(parts).cpu().double().numpy() if parts else np.zeros(0)
    return np.split(flat, np.cumsum([length - 1 for length in lengths])[:-1])


def has_plain_head(model: Any) -> bool:
    """Whether the model's logits are its output embedding applied to its last hidden state.

    Some architectures scale or cap their logits; a probe tells, without a list of names.
    """
    ids = torch.arange(4, device=model.device)[None, :] % model.config.get_text_config().vocab_size
    head = model.get_output_embeddings()
    if head is None or model.base_model is model:
        return False
    with torch.inference_mode():
        logits = model(input_ids=ids, use_cache=False).logits
        ours = head(model.base_model(input_ids=ids, use_cache=False).last_hidden_state)
    return bool(ours.shape == logits.shape and torch.allclose(ours, logits, rtol=1e-4, atol=1e-4))


def _by_segment(nll: np.ndarray, sizes: list[int], *, offset: int) -> tuple[tuple[float, int], ...]:
    result = []
    position = offset
    for size in sizes:
        first = max(position, 1)
        end = position + size
        result.append((float(nll[first:end].sum()), max(end - first, 0)))
        position = end
    return tuple(result)


def load_perplexity(files: ModelFiles, device: str) -> PerplexityScorer:
    """Load model and tokenizer.

    Raises:
        ModelError: They can't be loaded.
    """
    model, tokenizer = load_causal_lm(files, device), load_tokenizer(files)
    return PerplexityScorer(model, tokenizer, device, context_size(model, tokenizer), has_plain_head(model))
