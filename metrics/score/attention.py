"""Attention within each text of a packed sequence: an attention function of transformers (``AttentionInterface``)."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import groupby
from typing import Any, cast

import torch
import torch.nn.functional as F
from transformers import AttentionInterface

PACKED = "inference_metrics_packed"
"""Name of the attention function in ``transformers``."""

_WITHOUT_EFFECT = {
    "cache_position",
    "output_attentions",
    "output_hidden_states",
    "position_embeddings",
    "position_ids",
    "return_dict",
    "use_cache",
}
"""Arguments of an attention function that don't change attention. An unknown one might: then nothing is packed."""


class CantPackError(Exception):
    """The architecture asks attention for something that packed attention does not do."""


@dataclass
class Layout:
    """Where each text of a packed sequence is.

    Args:
        lengths: Tokens per text, in order.
        device: Device of the sequence.
    """

    lengths: Sequence[int]
    device: torch.device
    used: bool = False
    """Whether an attention layer asked."""
    windowed: bool = False
    """Whether an attention layer asked for a sliding window."""
    runs: list[tuple[int, int, int]] = field(init=False)
    """(start, texts, tokens of each) of neighbours of equal length, which attention takes in one call."""
    starts: torch.Tensor = field(init=False)
    """(texts + 1,) int32: cumulative lengths, from 0."""

    def __post_init__(self) -> None:
        self.runs = []
        start = 0
        for length, equal in groupby(self.lengths):
            count = sum(1 for _ in equal)
            self.runs.append((start, count, length))
            start += count * length
        cumulative = torch.tensor([0, *self.lengths]).cumsum(0)
        self.starts = cumulative.to(self.device, torch.int32)

    @property
    def positions(self) -> torch.Tensor:
        """(1, tokens): each token's position in its text."""
        parts = [torch.arange(length).repeat(count) for _, count, length in self.runs]
        return torch.cat(parts)[None, :].to(self.device)


_LAYOUT: ContextVar[Layout | None] = ContextVar("layout", default=None)


def packed_attention(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    scaling: float | None = None,
    dropout: float = 0.0,  # noqa: ARG001  # of the protocol; scoring is evaluation
    is_causal: bool | None = None,
    sliding_window: int | None = None,
    **others: Any,
) -> tuple[torch.Tensor, None]:
    """Scaled dot-product attention within each text of the packed sequence; an attention function of transformers.

    Args:
        module: The attention layer; its ``is_causal`` decides where the argument is None.
        query: (1, heads, tokens, size).
        key: (1, heads or a divisor of it, tokens, size).
        value: As ``key``.
        attention_mask: None.
        scaling: Factor of the scores; None for 1/√size.
        dropout: Not used: scoring is evaluation.
        is_causal: Whether a token sees only those before it.
        sliding_window: Tokens that a token sees, itself the last; None for all. Causal attention only.
        others: Arguments without effect.

    Returns:
        (1, tokens, heads, size), and None for the weights.

    Raises:
        CantPackError: An argument has an effect that is not known here, or there is no packed sequence.
    """
    layout = _LAYOUT.get()
    causal = bool(getattr(module, "is_causal", True) if is_causal is None else is_causal)
    unknown = sorted(name for name, value in others.items() if value is not None and name not in _WITHOUT_EFFECT)
    if layout is None or attention_mask is not None or unknown or (sliding_window is not None and not causal):
        raise CantPackError(", ".join(unknown) or "mask or window")
    if query.shape[0] != 1 or query.shape[2] != sum(layout.lengths):
        raise CantPackError("shape")
    layout.used = True
    layout.windowed |= sliding_window is not None
    grouped = key.shape[1] != query.shape[1]
    q, k, v = (tensor[0].transpose(0, 1) for tensor in (query, key, value))  # (tokens, heads, size)
    if q.is_cuda and q.dtype in (torch.bfloat16, torch.float16) and (varlen_attn := _varlen_attention()):
        longest = max(layout.lengths)
        window = ((sliding_window - 1) if sliding_window else -1, 0 if causal else -1)
        if grouped:
            k, v = (tensor.repeat_interleave(q.shape[1] // k.shape[1], dim=1) for tensor in (k, v))
        mixed = varlen_attn(
            q.contiguous(),
            k.contiguous(),
            v.contiguous(),
            layout.starts,
            layout.starts,
            longest,
            longest,
            scale=scaling,
            window_size=window,
        )
        return cast("torch.Tensor", mixed)[None], None
    out = torch.empty_like(q)
    for start, texts, length in layout.runs:
        end = start + texts * length
        q_, k_, v_ = (t[start:end].view(texts, length, *t.shape[1:]).transpose(1, 2) for t in (q, k, v))
        mask = None
        if sliding_window is not None and length > sliding_window:
            i = torch.arange(length, device=q.device)
            mask = (i[None, :] <= i[:, None]) & (i[None, :] > i[:, None] - sliding_window)
        mixed = F.scaled_dot_product_attention(
            q_,
            k_,
            v_,
            attn_mask=mask,
            scale=scaling,
            is_causal=causal and mask is None and length > 1,
            enable_gqa=grouped,
        )
        out[start:end] = mixed.transpose(1, 2).reshape(texts * length, *q.shape[1:])
    return out[None], None


@lru_cache(maxsize=1)
def _varlen_attention() -> Any:
    """Attention over texts of unlike lengths in one call; None where torch has not that, or not all of it."""
    try:
        from torch.nn.attention.varlen import varlen_attn
    except ImportError:
        return None
    needed = {"scale", "window_size"}  # from torch 2.11 on
    return varlen_attn if needed <= set(inspect.signature(varlen_attn).parameters) else None


AttentionInterface.register(PACKED, packed_attention)


@contextmanager
def within(layout: Layout) -> Iterator[None]:
    """Within it, packed attention is that of the layout."""
    token = _LAYOUT.set(layout)
    try:
        yield
    finally:
        _LAYOUT.reset(token)
