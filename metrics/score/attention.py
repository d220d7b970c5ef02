"""Attention within each text of a packed sequence, and the ways in which a model of transformers gets to it.

The attention function is registered with transformers (``AttentionInterface``), and all that ask there for theirs are
given it (``asked``). Many of transformers 4.57 don't ask. BERT, RoBERTa and DistilBERT have a class for each kind of
attention and choose it when they are made (``BERT_SELF_ATTENTION_CLASSES``), and OPT makes a causal mask for each kind
that it does not know (``OPTDecoder._update_causal_mask``). What they call in the end is torch's
``scaled_dot_product_attention``, and there they are met (``caught``). ELECTRA has BERT's attention in steps of its own,
and no other (``ELECTRA_SELF_ATTENTION_CLASSES``): it is done for its layers (``replaced``).

That a way leaves scores as they are is for the caller to measure (``packing.Body.choose``).
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import groupby
from types import MethodType
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch.overrides import TorchFunctionMode
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
    if query.shape[0] != 1 or {query.shape[2], key.shape[2]} != {sum(layout.lengths)}:
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


@contextmanager
def asked(_body: Any) -> Iterator[None]:
    """The way of a body that asks transformers for its attention function, which is ``PACKED`` then; no more to do."""
    yield


@contextmanager
def caught(_body: Any) -> Iterator[None]:
    """The way of a body that calls ``scaled_dot_product_attention`` by itself: within it, the call is packed."""
    with _Caught():
        yield


class _Caught(TorchFunctionMode):
    """What torch runs in place of its functions; not in force within itself."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        instead = _scaled_dot_product if func is F.scaled_dot_product_attention else func
        return instead(*args, **(kwargs or {}))


def _scaled_dot_product(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attn_mask: torch.Tensor | None = None,
    *,
    is_causal: bool = False,
    scale: float | None = None,
    **_: Any,
) -> torch.Tensor:
    """What stands in for torch's function of that name; (1, heads, tokens, size)."""
    mixed, _weights = packed_attention(None, query, key, value, attn_mask, scaling=scale, is_causal=is_causal)
    return mixed.transpose(1, 2)


@contextmanager
def replaced(body: Any) -> Iterator[None]:
    """The way of a body whose attention layers are made like BERT's, whatever they do inside: it is done for them.

    Raises:
        CantPackError: There are no such layers.
    """
    layers = [module for module in body.modules() if _like_bert(module)]
    if not layers:
        raise CantPackError("no layers like BERT's")
    for layer in layers:
        layer.forward = MethodType(_self_attention, layer)
    try:
        yield
    finally:
        for layer in layers:
            del layer.forward


def _like_bert(module: Any) -> bool:
    """Whether a layer has the parts of transformers 4.57's ``BertSelfAttention``, and sees all of a text at once."""
    parts = ("query", "key", "value", "num_attention_heads", "attention_head_size")
    absolute = getattr(module, "position_embedding_type", None) == "absolute"
    return absolute and not getattr(module, "is_decoder", True) and all(hasattr(module, part) for part in parts)


def _self_attention(layer: Any, states: torch.Tensor, *_: Any, **__: Any) -> tuple[torch.Tensor, None]:
    """``BertSelfAttention.forward`` of a packed sequence, in which no token is hidden: (1, tokens, heads * size)."""
    shape = (1, -1, layer.num_attention_heads, layer.attention_head_size)
    query, key, value = (part(states).view(shape).transpose(1, 2) for part in (layer.query, layer.key, layer.value))
    mixed, _weights = packed_attention(layer, query, key, value, None, is_causal=False)
    return mixed.flatten(2), None


Way = Callable[[Any], AbstractContextManager[None]]
"""``with way(body):`` a packed sequence that the body is run over has its attention from ``packed_attention``."""

WAYS: tuple[Way, ...] = (asked, caught, replaced)
"""In the order in which they are tried: what transformers means for it, then those that know less of the model."""


@contextmanager
def placed(body: Any, positions: torch.Tensor) -> Iterator[dict[str, torch.Tensor]]:
    """Tell a body where in its text each token is.

    A packed sequence can be longer than the context, where the buffers of transformers 4.57 end: BERT and its like have
    to be given token types, too. DistilBERT cannot be given positions, so its buffer is exchanged for them.

    Args:
        body: A transformer without its head.
        positions: (1, tokens).

    Yields:
        Arguments for the body, all (1, tokens).
    """
    takes = inspect.signature(body.forward).parameters
    embeddings: Any = getattr(body, "embeddings", None)
    given = {}
    if "token_type_ids" in takes and hasattr(embeddings, "token_type_ids"):
        given["token_type_ids"] = torch.zeros_like(positions)
    any_name = any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in takes.values())
    if any_name or "position_ids" in takes or not hasattr(embeddings, "position_ids"):
        yield {**given, "position_ids": positions}
        return
    buffer, embeddings.position_ids = embeddings.position_ids, positions
    try:
        yield given
    finally:
        embeddings.position_ids = buffer
