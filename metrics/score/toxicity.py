"""Toxicity: the probability that a sequence classifier gives to its toxic label.

The measure of Hugging Face ``evaluate`` (default model facebook/roberta-hate-speech-dynabench-r4-target, label hate),
but long texts are not cut: they are scored in overlapping windows and the largest probability counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np
import torch

from metrics.score.batching import Failed
from metrics.score.language import language_mark
from metrics.score.loaded import Loaded, Machine, Text
from metrics.score.models import (
    ModelFiles,
    context_size,
    find_model,
    ids_of_nothing,
    library_versions,
    load_classifier,
    load_tokenizer,
    place,
    tried,
)
from metrics.score.packing import PROBE, Body
from metrics.score.reasons import EMPTY
from schemas.errors import ModelError
from schemas.scorers import ToxicityModel


def load(settings: ToxicityModel, machine: Machine) -> Loaded:
    """The classifier that the settings name.

    Raises:
        ModelError: It can't be found or loaded, or does not have what the settings ask of it.
    """
    classifier = find_model(settings.model, tracking_uri=machine.tracking_uri)
    label, activation = settings.label, settings.activation
    scorer = load_toxicity(classifier, label, machine.device, settings.dtype, activation)
    doubt = activation_doubt(scorer.config, label, classifier.reference) if activation == "auto" else None
    mark = (
        f"{classifier.name} label={label} {scorer.dtype} window={scorer.context} "
        f"overlap={scorer.context // 4} {library_versions('torch', 'transformers')}"
    )
    if scorer.multi_label != is_multi_label(scorer.config):
        mark += f" activation={activation}"

    def score(texts: list[Text]) -> list[float | Failed]:
        return scorer.score([one.text for one in texts])

    return Loaded(score, mark + language_mark(settings.language), settings.language, warnings=(doubt,) if doubt else ())


@dataclass(frozen=True)
class ToxicityScorer:
    """A loaded classifier; ``score`` is its one use."""

    body: Body
    pooled: int | None
    tokenizer: Any
    context: int
    label: int
    dtype: str
    """That of the weights, for fingerprints: float32, bfloat16 or int8."""
    multi_label: bool
    """Whether each label has a probability of its own (sigmoid), or all of them share one (softmax)."""

    @property
    def config(self) -> Any:
        """The model's configuration."""
        return self.body.model.config

    @cached_property
    def nothing(self) -> frozenset[int]:
        """Token ids that are nothing of a text."""
        return ids_of_nothing(self.tokenizer, lambda texts: self.windows(texts)[0])

    def score(self, texts: Sequence[str]) -> list[float | Failed]:
        """Probability of the toxic label, 0 to 1, per text: the maximum over its windows.

        ``Failed`` is a text of which the tokenizer leaves nothing: its score would be that of the special tokens.
        """
        if not texts:
            return []
        windows = list(zip(*self.windows(texts), strict=True))
        heard = {at for row, at in windows if not self.nothing.issuperset(row)}
        ids, owner = [row for row, at in windows if at in heard], [at for _, at in windows if at in heard]
        result = np.zeros(len(texts))

        def run(batch: list[int]) -> np.ndarray:
            return self._probabilities([ids[position] for position in batch])

        for batch, probabilities in self.body.batches([len(row) for row in ids], run):
            for position, probability in zip(batch, probabilities, strict=True):
                result[owner[position]] = np.maximum(result[owner[position]], probability)  # a NaN stays one
        return [float(value) if at in heard else Failed(EMPTY) for at, value in enumerate(result)]

    def windows(self, texts: Sequence[str]) -> tuple[list[list[int]], list[int]]:
        """Token ids, special tokens included, of windows that overlap by a quarter; and which text each is of."""
        tokens, stride = self.tokenizer, self.context // 4
        if tokens.is_fast:
            found = tokens(
                list(texts),
                truncation=True,
                max_length=self.context,
                stride=stride,
                return_overflowing_tokens=True,
                return_attention_mask=False,
                verbose=False,
            )
            return found["input_ids"], found["overflow_to_sample_mapping"]
        ids, owner = [], []
        room = self.context - tokens.num_special_tokens_to_add()
        for at, whole in enumerate(tokens(list(texts), add_special_tokens=False, verbose=False)["input_ids"]):
            for start in range(0, max(len(whole) - stride, 1), room - stride):
                ids.append(tokens.build_inputs_with_special_tokens(whole[start : start + room]))
                owner.append(at)
        return ids, owner

    def _probabilities(self, rows: list[list[int]]) -> np.ndarray:
        with torch.inference_mode():
            logits = class_logits(self.body, rows, pooled=self.pooled)
            return label_probability(logits, self.label, multi_label=self.multi_label).cpu().double().numpy()


def class_logits(body: Body, rows: Sequence[Sequence[int]], *, pooled: int | None, mixed: bool = False) -> torch.Tensor:
    """Logits of a sequence classifier.

    Args:
        body: The model without its head.
        rows: Token ids per text, special tokens included.
        pooled: Which token of a text the head reads: 0 for the first, -1 for the last; None to leave that to the model
            (texts are padded then).
        mixed: As in ``Body.run``.

    Returns:
        (texts, labels).
    """
    if pooled is None:
        ids, real = body.padded(rows)
        return body.model(input_ids=ids, attention_mask=real.long()).logits  # type: ignore[no-any-return]
    output, states = body.run(rows, mixed=mixed)
    ends = torch.tensor([len(row) for row in rows], device=states.device).cumsum(0)
    chosen = ends - 1 if pooled else torch.cat([ends.new_zeros(1), ends[:-1]])
    # Any token but the padding: a classifier on a decoder looks for the last of them.
    ids = torch.full((len(rows), 1), int(body.padding == 0), device=states.device)
    return body.logits(output, states[chosen, None], ids)


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


def activation_doubt(config: Any, label: str, reference: str) -> str | None:
    """What to tell a user who left the activation to a model whose configuration leaves it open.

    With two labels softmax is nearly always right; more may exclude each other, or not.
    """
    if config.problem_type is not None or config.num_labels <= 2:
        return None
    names = ", ".join(str(config.id2label[position]) for position in sorted(config.id2label))
    return (
        f"model {reference}: its configuration does not say whether its labels ({names}) exclude each other. They are "
        f"taken to, so that {label} has a share of what all of them have together (softmax). If one text can have "
        "several labels, set scoring.toxicity.activation to sigmoid; if not, to softmax, and this is not said again."
    )


def find_label(config: Any, label: str, reference: str) -> int:
    """Position of a label by its name, whatever its case.

    Raises:
        ModelError: The model has no such label; lists those it has. Or it has none (a regression).
    """
    if config.problem_type == "regression":
        raise ModelError(f"model {reference}: a regression gives no probability. Take a model with labels.")
    names = {str(name).lower(): int(position) for position, name in config.id2label.items()}
    if label.lower() not in names:
        raise ModelError(
            f"model {reference}: has no label {label!r}; it has {sorted(map(str, config.id2label.values()))}. "
            "Set scoring.toxicity.label to the one that means toxic."
        )
    return names[label.lower()]


def load_toxicity(
    files: ModelFiles, label: str, device: str, dtype: str = "float32", activation: str = "auto"
) -> ToxicityScorer:
    """Load classifier and tokenizer, and find out how to run them fast.

    Args:
        files: The model.
        label: Name of the label that means toxic.
        device: As torch names it.
        dtype: float32, bfloat16, int8 (dynamic quantisation of the linear layers, CPU only), or auto: bfloat16 where
            the hardware is faster with it.
        activation: softmax, sigmoid, or auto: the model's own.

    Raises:
        ModelError: They can't be loaded, or there is no such label, or softmax has only one to choose from.
    """
    tokenizer = load_tokenizer(files)
    loaded = load_classifier(files)
    # The model's own padding: a classifier on a decoder finds the end of a text by it.
    ids = (loaded.config.pad_token_id, tokenizer.pad_token_id, tokenizer.eos_token_id)
    padding = next((one for one in ids if one is not None), 0)
    if loaded.config.pad_token_id is None:
        loaded.config.pad_token_id = padding
    with tried(files):
        model = place(loaded, device, dtype)
    position = find_label(model.config, label, files.reference)
    if activation == "softmax" and model.config.num_labels == 1:
        raise ModelError(
            f"model {files.reference}: it has one label, of which softmax makes 1 for every text. "
            "Set scoring.toxicity.activation to auto."
        )
    multi_label = is_multi_label(model.config) if activation == "auto" else activation == "sigmoid"
    body = Body(model, padding, masked=True)
    context = context_size(model, tokenizer)
    probe = tokenizer(list(PROBE), truncation=True, max_length=context, verbose=False)["input_ids"]
    shown = dtype if dtype == "int8" else str(model.dtype).removeprefix("torch.")
    with tried(files):
        scorer = ToxicityScorer(body, choose_pooled(body, probe), tokenizer, context, position, shown, multi_label)
        scorer.windows([" word" * (context + 1)])
    return scorer


def choose_pooled(body: Body, probe: list[list[int]]) -> int | None:
    """Switch to packing, if one token per text is all that the head reads: the first one or the last."""

    def score(rows: list[list[int]], mixed: bool, at: int) -> torch.Tensor:
        return class_logits(body, rows, pooled=at if body.packed else None, mixed=mixed).float()

    for at in (0, -1):
        body.choose(probe, partial(score, at=at))
        if body.packed:
            return at
    return None
