"""``SCORERS``: what scores prompts and responses. All that is done with a scorer follows from its description here.

That is: columns of ``scores`` and of its UDF, CHECK constraints, fingerprints, reasons, what ``rescore`` looks at, and
measures of the windows. Nothing here imports a scorer's libraries: ``load`` names what does so, in Spark's workers.

Packages from elsewhere describe theirs with the same classes (schemas/installed.py; docs/how-to-add.md).
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field

from schemas.settings import Language, Settings

__all__ = ["SCORERS", "ScoreColumn", "Scorer", "Settings"]

Of = Literal["prompt", "response", "both"]


@dataclass(frozen=True)
class ScoreColumn:
    """A column of ``scores`` that a scorer fills.

    Attributes:
        name: Begins with ``prompt_``, or with ``response_`` where the response, or both texts, decide on the value.
        comment: What it holds.
        of: The text that has to be there for a value: the prompt, the response, or both.
        type: In Spark.
        at_least: Smallest value that can be right.
        at_most: Largest one; infinity: any that is finite.
    """

    name: str
    comment: str
    of: Of
    type: str = "double"
    at_least: float | None = None
    at_most: float | None = None

    @property
    def stem(self) -> str:
        """The name without the text that it is of."""
        return self.name.removeprefix("prompt_").removeprefix("response_")

    @property
    def check(self) -> str | None:
        """SQL: whether a value is within the bounds; None where there are none."""
        parts = [] if self.at_least is None else [f"{self.name} >= {_literal(self.at_least)}"]
        if self.at_most is not None:
            below = "< double('Infinity')" if math.isinf(self.at_most) else f"<= {_literal(self.at_most)}"
            parts.append(f"{self.name} {below}")
        return f"({self.name} IS NULL OR ({' AND '.join(parts)}))" if parts else None

    def holds(self, value: float) -> bool:
        """Whether a finite value is within the bounds."""
        return (self.at_least is None or value >= self.at_least) and (self.at_most is None or value <= self.at_most)


def _literal(value: float) -> str:
    return repr(value).removesuffix(".0")


@dataclass(frozen=True)
class Scorer:
    """What scores texts.

    Attributes:
        name: In the settings, and in what ``rescore`` says.
        columns: What it fills, in the order of ``scores``.
        load: ``module:function``, or a function that imports what it needs when it is called, in a worker. It takes the
            scorer's settings and a ``Machine``, and returns a ``Loaded`` (metrics/score/loaded.py).
        settings: Its section of the settings; each of them has a default.
    """

    name: str
    columns: tuple[ScoreColumn, ...]
    load: str | Callable[..., Any]
    settings: type[Settings] = Settings

    @property
    def column_names(self) -> tuple[str, ...]:
        """Names of its columns."""
        return tuple(column.name for column in self.columns)

    def loader(self) -> Callable[..., Any]:
        """The function that ``load`` names; its module is imported here."""
        if not isinstance(self.load, str):
            return self.load
        module, _, name = self.load.partition(":")
        found: Callable[..., Any] = getattr(importlib.import_module(module), name)
        return found


class PerplexityModel(Settings):
    """Causal language model that scores perplexity: hub id, local folder, or ``models:/name@alias``.

    Also the type that it computes with, and the language that it was made for, if it says nothing of others.
    """

    model: Annotated[str, Field(min_length=1)] = "gpt2"
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    language: Language | None = None


class ToxicityModel(Settings):
    """Sequence classifier that scores toxicity, the label that means toxic, and the threshold of the rates.

    ``activation`` makes probabilities of its logits: softmax where its labels exclude each other, sigmoid where each
    has a probability of its own; auto: what the model's configuration says.
    Also the type that it computes with, and the language that it was made for, if it says nothing of others.
    """

    model: Annotated[str, Field(min_length=1)] = "facebook/roberta-hate-speech-dynabench-r4-target"
    dtype: Literal["auto", "float32", "bfloat16", "int8"] = "auto"
    language: Language | None = None
    label: str = "hate"
    activation: Literal["auto", "softmax", "sigmoid"] = "auto"
    threshold: Annotated[float, Field(ge=0, le=1)] = 0.5


class Readability(Settings):
    """Language that readability is computed for."""

    language: Literal["en_US"] = "en_US"


def _probability(name: str, comment: str, of: Of) -> ScoreColumn:
    return ScoreColumn(name, comment, of, at_least=0, at_most=1)


def _likelihood(name: str, comment: str, of: Of) -> ScoreColumn:
    return ScoreColumn(name, comment, of, at_least=0, at_most=math.inf)


TOXICITY = Scorer(
    name="toxicity",
    columns=(
        _probability("prompt_toxicity", "Probability of the toxic label for the prompt, 0 to 1", "prompt"),
        _probability("response_toxicity", "Probability of the toxic label for the response, 0 to 1", "response"),
    ),
    load="metrics.score.toxicity:load",
    settings=ToxicityModel,
)

PERPLEXITY = Scorer(
    name="perplexity",
    columns=(
        _likelihood("prompt_perplexity", "exp(mean negative log-likelihood per token in nats) of the prompt", "prompt"),
        _likelihood("response_perplexity", "The same of the response by itself", "response"),
        _likelihood(
            "response_perplexity_given_prompt",
            "The same of the response's tokens with the prompt as context",
            "both",
        ),
        _likelihood("response_nll", "Negative log-likelihood of the response by itself, summed, in nats", "response"),
        ScoreColumn("response_scored_tokens", "Tokens that response_nll sums over", "response", type="bigint"),
    ),
    load="metrics.score.likelihoods:load",
    settings=PerplexityModel,
)

READABILITY = Scorer(
    name="readability",
    columns=(
        ScoreColumn("prompt_flesch_kincaid", "Flesch-Kincaid grade of the prompt (US school years)", "prompt"),
        ScoreColumn("response_flesch_kincaid", "Flesch-Kincaid grade of the response (US school years)", "response"),
    ),
    load="metrics.score.readability:load",
    settings=Readability,
)

SCORERS = (TOXICITY, PERPLEXITY, READABILITY)
"""Ours, in the order in which ``scores`` has their columns."""
