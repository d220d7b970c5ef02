"""Toxicity: the probability that a sequence classifier gives to its toxic label.

The measure of Hugging Face ``evaluate`` (default model facebook/roberta-hate-speech-dynabench-r4-target, label hate),
but long texts are not cut: they are scored in overlapping windows and the largest probability counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from metrics.score.batching import token_batches
from metrics.score.models import ModelFiles, context_size, load_classifier, load_tokenizer, token_budget
from schemas.errors import ModelError


@dataclass(frozen=True)
class ToxicityScorer:
    """A loaded classifier; ``score`` is its one use."""

    model: Any
    tokenizer: Any
    device: str
    context: int
    label: int

    def score(self, texts: Sequence[str]) -> list[float]:
        """Probability of the toxic label, 0 to 1, per text: the maximum over its windows."""
        if not texts:
            return []
        windows = self.tokenizer(
            list(texts),
            truncation=True,
            max_length=self.context,
            stride=self.context // 4,
            return_overflowing_tokens=True,
            return_attention_mask=False,
            verbose=False,
        )
        ids, owner = windows["input_ids"], windows["overflow_to_sample_mapping"]
        result = np.zeros(len(texts))
        for batch in token_batches([len(row) for row in ids], budget=token_budget(self.device)):
            probabilities = self._probabilities([ids[position] for position in batch])
            for position, probability in zip(batch, probabilities, strict=True):
                result[owner[position]] = np.maximum(result[owner[position]], probability)  # a NaN stays one
        return [float(value) for value in result]

    def _probabilities(self, rows: list[list[int]]) -> np.ndarray:
        width = max(len(row) for row in rows)
        # The model's own: a classifier on a decoder finds the end of a text by it.
        pad = next((p for p in (self.model.config.pad_token_id, self.tokenizer.pad_token_id) if p is not None), 0)
        ids = torch.tensor([row + [pad] * (width - len(row)) for row in rows])
        mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows])
        with torch.inference_mode():
            logits = self.model(input_ids=ids.to(self.device), attention_mask=mask.to(self.device)).logits
            return label_probability(logits, self.label, multi_label=is_multi_label(self.model.config)).cpu().numpy()


def label_probability(logits: torch.Tensor, label: int, *, multi_label: bool) -> torch.Tensor:
    """softmax(logits)[label], or sigmoid(logits[label]) where labels don't exclude each other.

    Args:
        logits: (rows, labels).
        label: Position of the label.
        multi_label: Whether each label has a probability of its own.

    Returns:
        (rows,) probabilities, 0 to 1.

    Raises:
        ValueError: ``logits`` is not (rows, labels), or has no such label.
    """
    if logits.ndim != 2 or not 0 <= label < logits.shape[1]:
        raise ValueError(
            f"logits must be (rows, labels) with label {label} among them; got shape {tuple(logits.shape)}"
        )
    logits = logits.float()
    return torch.sigmoid(logits[:, label]) if multi_label else torch.softmax(logits, dim=-1)[:, label]


def is_multi_label(config: Any) -> bool:
    """Whether the classifier's own activation is the sigmoid (multi-label models and those with one label)."""
    return bool(config.problem_type == "multi_label_classification" or config.num_labels == 1)


def find_label(config: Any, label: str, reference: str) -> int:
    """Position of a label by its name, whatever its case.

    Raises:
        ModelError: The model has no such label; lists those it has.
    """
    names = {str(name).lower(): int(position) for position, name in config.id2label.items()}
    if label.lower() not in names:
        raise ModelError(
            f"model {reference}: has no label {label!r}; it has {sorted(map(str, config.id2label.values()))}. "
            "Set scoring.toxicity.label to the one that means toxic."
        )
    return names[label.lower()]


def load_toxicity(files: ModelFiles, label: str, device: str) -> ToxicityScorer:
    """Load classifier and tokenizer.

    Raises:
        ModelError: They can't be loaded, or there is no such label.
    """
    model, tokenizer = load_classifier(files, device), load_tokenizer(files)
    position = find_label(model.config, label, files.reference)
    return ToxicityScorer(model, tokenizer, device, context_size(model, tokenizer), position)
