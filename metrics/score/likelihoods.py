"""The columns of perplexity: likelihoods of prompts and responses under one model, in as few passes as they need."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from itertools import takewhile
from typing import Any

from metrics.score.batching import Failed
from metrics.score.language import language_mark
from metrics.score.loaded import ExchangeTexts, Loaded, Machine
from metrics.score.models import find_model, library_versions
from metrics.score.perplexity import PerplexityScorer, load_perplexity
from metrics.score.reasons import EMPTY, NOT_FINITE, TOO_SHORT
from schemas.scorers import PerplexityModel, ScoreColumn


def load(settings: PerplexityModel, machine: Machine) -> Loaded:
    """The model that the settings name.

    Raises:
        ModelError: It can't be found or loaded.
    """
    causal = find_model(settings.model, tracking_uri=machine.tracking_uri)
    scorer = load_perplexity(causal, machine.device, settings.dtype)
    versions = library_versions("torch", "transformers")
    mark = f"{causal.name} {scorer.dtype} window={scorer.context} stride={scorer.context // 2} {versions}"
    return Loaded(
        partial(_text_nll, scorer),
        mark + language_mark(settings.language),
        settings.language,
        tokenizer=scorer.tokenizer,
        fill=fill,
    )


def fill(scorer: Loaded, columns: Sequence[ScoreColumn], exchanges: ExchangeTexts) -> dict[str, list[Any]]:  # noqa: ARG001
    """Values by column, one for each exchange. The scorer's inputs are tuples: a text, or a prompt and its response."""
    found = _nll(scorer, exchanges)
    prompts, responses, given_prompts = ([one[at] for one in found] for at in range(3))
    return {
        "prompt_perplexity": list(map(_perplexity, prompts)),
        "response_perplexity": list(map(_perplexity, responses)),
        "response_perplexity_given_prompt": list(map(_perplexity, given_prompts)),
        "response_nll": [nll if isinstance(nll, Failed) else nll[0] for nll in responses],
        "response_scored_tokens": [nll if isinstance(nll, Failed) else nll[1] for nll in responses],
    }


def _nll(scorer: Loaded, exchanges: ExchangeTexts) -> list[tuple[Any, Any, Any]]:
    """Per exchange (nll, tokens) or Failed of: the prompt, the response by itself, the response after the prompt.

    One pass over prompt and response gives the first and the last; the response by itself needs its own.
    """
    texts, n = exchanges.texts, len(exchanges)
    failed = scorer.failed(exchanges)
    keys = [tuple(texts[at] for at in (i, n + i) if failed[at] is None) for i in range(n)]
    wanted = [part for key in keys for part in (key, key[1:]) if part]
    scored = dict(zip(wanted, scorer(wanted), strict=True))
    # A response that can't be scored takes nothing from its prompt.
    alone = [key[:1] for key in keys if len(key) == 2 and isinstance(scored[key], Failed)]
    scored |= dict(zip(alone, scorer(alone), strict=True))

    def segment(index: int, key: tuple[Any, ...]) -> Any:
        found = scored[key]
        return found if isinstance(found, Failed) else found[index]

    result = []
    for i, key in enumerate(keys):
        no_prompt, no_response = failed[i], failed[n + i]
        result.append(
            (
                no_prompt or segment(0, key[:1] if isinstance(scored[key], Failed) else key),
                no_response or segment(0, key[-1:]),
                no_response or no_prompt or segment(1, key),
            )
        )
    return result


def _text_nll(scorer: PerplexityScorer, keys: list[tuple[str, ...]]) -> list[tuple[tuple[float, int] | Failed, ...]]:
    """Likelihoods of the parts of each key: a text, or a prompt and its response.

    A part without a token has none, and neither has a response after such a prompt.
    """
    distinct = list(dict.fromkeys(text for key in keys for text in key))
    ids = dict(zip(distinct, scorer.encode(distinct), strict=True))
    ids = {text: row for text, row in ids.items() if not scorer.nothing.issuperset(row)}
    found = scorer.score([tuple(ids[text] for text in takewhile(ids.__contains__, key)) for key in keys])
    return [(*nll, *[Failed(EMPTY)] * (len(key) - len(nll))) for key, nll in zip(keys, found, strict=True)]


def _perplexity(nll: Any) -> float | Failed:
    if isinstance(nll, Failed):
        return nll
    total, tokens = nll
    if tokens == 0:
        return Failed(TOO_SHORT)
    mean = total / tokens
    return math.exp(mean) if mean < 700 else Failed(NOT_FINITE)
