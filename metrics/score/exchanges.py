"""All scores of a batch of exchanges: every distinct text is encoded and scored once."""

from __future__ import annotations

import hmac
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from metrics.score.batching import Failed, score_unique
from metrics.score.models import (
    be_quiet,
    find_model,
    find_tokenizer,
    library_versions,
    load_tokenizer,
    pick_device,
)
from metrics.score.perplexity import PerplexityScorer, load_perplexity
from metrics.score.readability import flesch_kincaid
from metrics.score.toxicity import ToxicityScorer, load_toxicity

EMPTY = "empty"
MISSING = "missing"
NO_WORDS = "no_words"
NOT_FINITE = "not_finite"
TOO_SHORT = "too_short"
"""Reasons in ``score_errors``: the text is blank; the log has none; it has no words; the score is no finite number;
it has no token with another before it (models without BOS). ``error:Type`` names an exception."""

Value = float | Failed


@dataclass(frozen=True)
class ScorerSettings:
    """Which scorers to load; hashable, so that a worker process loads each set once."""

    perplexity_model: str
    toxicity_model: str
    toxicity_label: str
    tokenizer: str | None = None
    device: str = "auto"
    tracking_uri: str | None = None


@dataclass(frozen=True)
class Scorers:
    """Loaded scorers and, per column that they fill, their fingerprint."""

    perplexity: PerplexityScorer
    toxicity: ToxicityScorer
    count_tokens: Callable[[list[str]], list[int]]
    fingerprints: Mapping[str, str]


@lru_cache(maxsize=2)
def load_scorers(settings: ScorerSettings) -> Scorers:
    """Load all models, once per process.

    Raises:
        ModelError: One of them can't be found or loaded.
    """
    be_quiet()
    device = pick_device(settings.device)
    causal = find_model(settings.perplexity_model, tracking_uri=settings.tracking_uri)
    classifier = find_model(settings.toxicity_model, tracking_uri=settings.tracking_uri)
    perplexity = load_perplexity(causal, device)
    toxicity = load_toxicity(classifier, settings.toxicity_label, device)
    tokenizer = load_tokenizer(find_tokenizer(settings.tokenizer)) if settings.tokenizer else perplexity.tokenizer
    versions = library_versions("torch", "transformers")
    nll = f"{causal.name} float32 window={perplexity.context} stride={perplexity.context // 2} {versions}"
    probability = (
        f"{classifier.name} label={settings.toxicity_label} float32 window={toxicity.context} "
        f"overlap={toxicity.context // 4} {versions}"
    )
    grade = f"flesch_kincaid_grade en_US {library_versions('textstat', 'pyphen')}"
    fingerprints = {
        **dict.fromkeys(("prompt_perplexity", "response_perplexity", "response_perplexity_given_prompt"), nll),
        **dict.fromkeys(("response_nll", "response_scored_tokens"), nll),
        **dict.fromkeys(("prompt_toxicity", "response_toxicity"), probability),
        **dict.fromkeys(("prompt_flesch_kincaid", "response_flesch_kincaid"), grade),
    }
    return Scorers(perplexity, toxicity, _counter(tokenizer), fingerprints)


def _counter(tokenizer: Any) -> Callable[[list[str]], list[int]]:
    def count(texts: list[str]) -> list[int]:
        return [len(ids) for ids in tokenizer(texts, add_special_tokens=False, verbose=False)["input_ids"]]

    return count


def score_exchanges(
    scorers: Scorers,
    *,
    prompts: Sequence[str | None],
    responses: Sequence[str | None],
    contexts: Sequence[str | None],
    count_tokens: Sequence[bool],
) -> list[dict[str, Any]]:
    """Scores of a batch of exchanges.

    Args:
        scorers: Loaded scorers.
        prompts: Last user message per exchange; None where there is none.
        responses: Response per exchange; None where there is none.
        contexts: All input messages as JSON (list of role and content) per exchange.
        count_tokens: Whether to count the tokens of an exchange (its log has no usage).

    Returns:
        Per exchange the columns of ``scores`` that scorers fill, ``score_errors`` among them.
    """
    texts = [*prompts, *responses]
    toxicity = _per_text(texts, scorers.toxicity.score)
    grade = _per_text(texts, lambda some: [_or_failed(flesch_kincaid(text), NO_WORDS) for text in some])
    nll = _nll(scorers.perplexity, prompts, responses)
    inputs = [_contents(context) if count else [] for context, count in zip(contexts, count_tokens, strict=True)]
    outputs = [
        [text] if count and text is not None else [] for text, count in zip(responses, count_tokens, strict=True)
    ]
    to_count = [text for some in (*inputs, *outputs) for text in some]
    tokens = dict(zip(to_count, score_unique(to_count, scorers.count_tokens), strict=True))
    rows = []
    n = len(prompts)
    for i in range(n):
        prompt_nll, response_nll, given_prompt_nll = nll[i]
        values: dict[str, Any] = {
            "prompt_toxicity": toxicity[i],
            "response_toxicity": toxicity[n + i],
            "prompt_perplexity": _perplexity(prompt_nll),
            "response_perplexity": _perplexity(response_nll),
            "response_perplexity_given_prompt": _perplexity(given_prompt_nll),
            "response_nll": response_nll if isinstance(response_nll, Failed) else response_nll[0],
            "response_scored_tokens": response_nll if isinstance(response_nll, Failed) else response_nll[1],
            "prompt_flesch_kincaid": grade[i],
            "response_flesch_kincaid": grade[n + i],
        }
        values = {name: _finite(value) for name, value in values.items()}
        errors = {name: value.reason for name, value in values.items() if isinstance(value, Failed)}
        row: dict[str, Any] = {name: None if name in errors else value for name, value in values.items()}
        row["score_errors"] = errors
        row["counted_input_tokens"] = _total([tokens[text] for text in inputs[i]])
        row["counted_output_tokens"] = _total([tokens[text] for text in outputs[i]])
        rows.append(row)
    return rows


def absence(text: str | None) -> Failed | None:
    """Why a text can't have a score: the log has none, or it is blank. None for a text that can be scored."""
    if text is None:
        return Failed(MISSING)
    return None if text and not text.isspace() else Failed(EMPTY)


def _per_text(texts: Sequence[str | None], score: Callable[[list[str]], list[Any]]) -> list[Any]:
    """Scores of the texts that have any content; ``Failed`` for the others."""
    scored = iter(score_unique([text for text in texts if text is not None and absence(text) is None], score))
    return [absence(text) or next(scored) for text in texts]


def _nll(
    scorer: PerplexityScorer, prompts: Sequence[str | None], responses: Sequence[str | None]
) -> list[tuple[Any, Any, Any]]:
    """Per exchange (nll, tokens) or Failed of: the prompt, the response by itself, the response after the prompt.

    One pass over prompt and response gives the first and the last; the response by itself needs its own.
    """

    def score(keys: list[tuple[str, ...]]) -> list[tuple[tuple[float, int], ...]]:
        distinct = list(dict.fromkeys(text for key in keys for text in key))
        ids = dict(zip(distinct, scorer.encode(distinct), strict=True))
        return scorer.score([tuple(ids[text] for text in key) for key in keys])

    wanted: list[tuple[str, ...]] = []
    pairs = list(zip(prompts, responses, strict=True))
    for prompt, response in pairs:
        key = tuple(text for text in (prompt, response) if text is not None and absence(text) is None)
        wanted += [key, key[1:]]
    wanted = [key for key in wanted if key]
    scored = dict(zip(wanted, score_unique(wanted, score), strict=True))

    def segment(index: int, *key: Any) -> Any:
        found = scored[key]
        return found if isinstance(found, Failed) else found[index]

    result = []
    for prompt, response in pairs:
        no_prompt, no_response = absence(prompt), absence(response)
        result.append(
            (
                no_prompt or (segment(0, prompt) if no_response else segment(0, prompt, response)),
                no_response or segment(0, response),
                no_response or no_prompt or segment(1, prompt, response),
            )
        )
    return result


def _perplexity(nll: Any) -> Value:
    if isinstance(nll, Failed):
        return nll
    total, tokens = nll
    if tokens == 0:
        return Failed(TOO_SHORT)
    mean = total / tokens
    return math.exp(mean) if mean < 700 else Failed(NOT_FINITE)


def _or_failed(value: float | None, reason: str) -> Value:
    return Failed(reason) if value is None else value


def _finite(value: Any) -> Any:
    return value if isinstance(value, Failed) or math.isfinite(value) else Failed(NOT_FINITE)


def _contents(context: str | None) -> list[str]:
    return [message["content"] for message in json.loads(context or "[]") if message.get("content")]


def _total(counts: list[Any]) -> int | None:
    """Sum of token counts; None where there is nothing to count or a text could not be counted."""
    return None if not counts or any(isinstance(count, Failed) for count in counts) else sum(counts)


def keyed_hash(text: str | None, key: bytes) -> str | None:
    """HMAC-SHA-256 of a text's UTF-8 form, in hex; None of None."""
    return None if text is None else hmac.new(key, text.encode("utf-8", "replace"), "sha256").hexdigest()
