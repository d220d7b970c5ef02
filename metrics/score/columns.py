"""What scorers fill, why they may not, and what decides which they are; without their libraries, for the driver."""

from __future__ import annotations

from dataclasses import dataclass

EMPTY = "empty"
LANGUAGE = "language"
MISSING = "missing"
NO_WORDS = "no_words"
NOT_FINITE = "not_finite"
NOT_SAMPLED = "not_sampled"
TOO_SHORT = "too_short"
"""Reasons in ``score_errors``: the text shows nothing, or the scorer's tokenizer finds no token in it; it is in another
language than the scorer's; the log has none; it has no words; the score is no finite number; ``scoring.sample_rate``
left the request out; the text has a token, but none with another before it (models without BOS). ``error:Type`` names
an exception, ``circuit_open`` a scorer that always fails."""

COLUMNS = {
    "perplexity": (
        *("prompt_perplexity", "response_perplexity", "response_perplexity_given_prompt"),
        *("response_nll", "response_scored_tokens"),
    ),
    "toxicity": ("prompt_toxicity", "response_toxicity"),
    "readability": ("prompt_flesch_kincaid", "response_flesch_kincaid"),
}
"""Which columns of ``scores`` a scorer fills."""


@dataclass(frozen=True)
class ScorerSettings:
    """Which scorers to load; hashable, so that a worker process loads each set once."""

    perplexity_model: str
    toxicity_model: str
    toxicity_label: str
    perplexity_dtype: str = "float32"
    toxicity_dtype: str = "float32"
    perplexity_language: str | None = None
    toxicity_language: str | None = None
    tokenizer: str | None = None
    device: str = "auto"
    tracking_uri: str | None = None
    toxicity_activation: str = "auto"
