"""All scores of a batch of exchanges: every distinct text is encoded and scored once."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache, partial
from itertools import takewhile
from typing import Any

from metrics.score.batching import Circuit, Failed, score_unique
from metrics.score.columns import (
    COLUMNS,
    EMPTY,
    LANGUAGE,
    MISSING,
    NO_WORDS,
    NOT_FINITE,
    NOT_SAMPLED,
    TOO_SHORT,
    ScorerSettings,
)
from metrics.score.language import UNDETERMINED, detect_languages
from metrics.score.models import (
    be_quiet,
    find_model,
    find_tokenizer,
    library_versions,
    load_tokenizer,
    pick_device,
)
from metrics.score.perplexity import PerplexityScorer, load_perplexity
from metrics.score.readability import FOLLOWED, flesch_kincaid
from metrics.score.readability import LANGUAGE as READABILITY
from metrics.score.toxicity import activation_doubt, is_multi_label, load_toxicity

Value = float | Failed


@dataclass(frozen=True)
class Scorer:
    """One scorer among the others of a process.

    Args:
        score: Results of distinct inputs, in order.
        language: The one that it was made for; None for any.
        circuit: What it failed on so far.
    """

    score: Callable[[list[Any]], Sequence[Any]]
    language: str | None = None
    circuit: Circuit = field(default_factory=Circuit)

    def __call__(self, keys: Sequence[Any]) -> list[Any]:
        """Results of inputs, in order, ``Failed`` where there is none; equal inputs are scored once."""
        return score_unique(keys, self.score, self.circuit)

    def refuses(self, language: str) -> Failed | None:
        """Whether a text of this language is none of its business."""
        other = self.language is not None and language not in (self.language, UNDETERMINED)
        return Failed(LANGUAGE) if other else None


@dataclass(frozen=True)
class Scorers:
    """Loaded scorers, per column that they fill their fingerprint, and what the user may have meant otherwise."""

    perplexity: Scorer
    toxicity: Scorer
    readability: Scorer
    language: Scorer
    tokens: Scorer
    fingerprints: Mapping[str, str]
    warnings: tuple[str, ...] = ()


@lru_cache(maxsize=2)
def load_scorers(settings: ScorerSettings, gpu: int | None = None) -> Scorers:
    """Load all models, once per process.

    Args:
        settings: Which ones.
        gpu: Number of the GPU that is ours; None where there is none or one.

    Raises:
        ModelError: One of them can't be found or loaded.
    """
    be_quiet()
    device = pick_device(settings.device, address=gpu)
    causal = find_model(settings.perplexity_model, tracking_uri=settings.tracking_uri)
    classifier = find_model(settings.toxicity_model, tracking_uri=settings.tracking_uri)
    perplexity = load_perplexity(causal, device, settings.perplexity_dtype)
    label, activation = settings.toxicity_label, settings.toxicity_activation
    toxicity = load_toxicity(classifier, label, device, settings.toxicity_dtype, activation)
    doubt = activation_doubt(toxicity.config, label, classifier.reference) if activation == "auto" else None
    tokenizer = perplexity.tokenizer
    if settings.tokenizer:
        tokenizer = load_tokenizer(find_tokenizer(settings.tokenizer, tracking_uri=settings.tracking_uri))
    versions = library_versions("torch", "transformers")
    nll = f"{causal.name} {perplexity.dtype} window={perplexity.context} stride={perplexity.context // 2} {versions}"
    probability = (
        f"{classifier.name} label={label} {toxicity.dtype} window={toxicity.context} "
        f"overlap={toxicity.context // 4} {versions}"
    )
    if toxicity.multi_label != is_multi_label(toxicity.config):
        probability += f" activation={activation}"
    grade = f"flesch_kincaid_grade {READABILITY} {FOLLOWED} {library_versions('pyphen', 'py3langid')}"
    marks = {
        "perplexity": nll + _language_mark(settings.perplexity_language),
        "toxicity": probability + _language_mark(settings.toxicity_language),
        "readability": grade,
    }
    fingerprints = {column: marks[scorer] for scorer, columns in COLUMNS.items() for column in columns}

    def count_tokens(texts: list[str]) -> list[int]:
        return [len(ids) for ids in tokenizer(texts, add_special_tokens=False, verbose=False)["input_ids"]]

    return Scorers(
        perplexity=Scorer(partial(_text_nll, perplexity), settings.perplexity_language),
        toxicity=Scorer(toxicity.score, settings.toxicity_language),
        readability=Scorer(_grades, READABILITY.partition("_")[0]),
        language=Scorer(detect_languages),
        tokens=Scorer(count_tokens),
        fingerprints=fingerprints,
        warnings=(doubt,) if doubt else (),
    )


def _language_mark(language: str | None) -> str:
    """What a scorer of one language has in its fingerprint: it decides which texts have no score."""
    return f" language={language} {library_versions('py3langid')}" if language else ""


def score_exchanges(
    scorers: Scorers,
    *,
    prompts: Sequence[str | None],
    responses: Sequence[str | None],
    contexts: Sequence[str | None],
    count_tokens: Sequence[bool],
    sampled: Sequence[bool] | None = None,
    only: Collection[str] = tuple(COLUMNS),
) -> list[dict[str, Any]]:
    """Scores of a batch of exchanges.

    Args:
        scorers: Loaded scorers.
        prompts: Last user message per exchange; None where there is none.
        responses: Response per exchange; None where there is none.
        contexts: All input messages as JSON (list of role and content) per exchange.
        count_tokens: Whether to count the tokens of an exchange (its log has no usage).
        sampled: Whether to score an exchange; None for all. The others get their language and tokens only.
        only: Scorers to run; the others' columns are as of exchanges that are not sampled.

    Returns:
        Per exchange the columns of ``scores`` that scorers fill, ``score_errors`` among them.
    """
    n = len(prompts)
    texts = [*prompts, *responses]
    absent = [absence(text) for text in texts]
    languages = _languages(scorers, texts, absent)
    out = [Failed(NOT_SAMPLED) if sampled and not sampled[i % n] else None for i in range(2 * n)]
    nothing = [left_out or reason for left_out, reason in zip(out, absent, strict=True)]
    none: list[Failed | None] = [Failed(NOT_SAMPLED)] * len(texts)
    toxicity = _per_text(scorers.toxicity, texts, languages, nothing if "toxicity" in only else none)
    grade = _per_text(scorers.readability, texts, languages, nothing if "readability" in only else none)
    nll = _nll(scorers.perplexity, texts, languages, nothing if "perplexity" in only else none)
    inputs = [_contents(context) if count else [] for context, count in zip(contexts, count_tokens, strict=True)]
    outputs = [
        [text] if count and text is not None else [] for text, count in zip(responses, count_tokens, strict=True)
    ]
    to_count = [text for some in (*inputs, *outputs) for text in some]
    tokens = dict(zip(to_count, scorers.tokens(to_count), strict=True))
    rows = []
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
        row["language"] = next((code for code in (languages[i], languages[n + i]) if code not in _NO_LANGUAGE), None)
        row["counted_input_tokens"] = _total([tokens[text] for text in inputs[i]])
        row["counted_output_tokens"] = _total([tokens[text] for text in outputs[i]])
        rows.append(row)
    return rows


_VISIBLE = re.compile(
    # Control characters, spaces, format characters (Cf), and all that Unicode wants ignored where it isn't supported
    "[^\x00-\x20\x7f-\xa0\xad\u034f\u0600-\u0605\u061c\u06dd\u070f\u0890\u0891\u08e2\u1680\u17b4\u17b5"
    "\u180b-\u180f\u2000-\u200f\u2028-\u202f\u205f-\u206f\u3000\ufe00-\ufe0f\ufeff\ufff0-\ufffb"
    "\U000110bd\U000110cd\U00013430-\U0001343f\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
    # Hangul fillers, the braille pattern without a dot, the null notehead: letters and symbols that are blank
    "\u115f\u1160\u3164\uffa0\u2800\U0001d159]"
)


def absence(text: str | None) -> Failed | None:
    """Why a text can't have a score: the log has none, or it shows nothing. None for a text that can be scored."""
    if text is None:
        return Failed(MISSING)
    return None if _VISIBLE.search(text) else Failed(EMPTY)


_NO_LANGUAGE = (None, UNDETERMINED)


def _languages(scorers: Scorers, texts: Sequence[str | None], absent: Sequence[Failed | None]) -> list[Any]:
    """Language code per text; None where there is no text, or one that shows nothing."""
    found = iter(scorers.language([text for text, reason in zip(texts, absent, strict=True) if reason is None]))
    codes = [None if reason else next(found) for reason in absent]
    return [UNDETERMINED if isinstance(code, Failed) else code for code in codes]


def _per_text(
    scorer: Scorer, texts: Sequence[str | None], languages: Sequence[Any], nothing: Sequence[Failed | None]
) -> list[Any]:
    """Scores of the texts that can have one; ``Failed`` for the others."""
    failed = [absent or scorer.refuses(language) for absent, language in zip(nothing, languages, strict=True)]
    scored = iter(scorer([text for text, reason in zip(texts, failed, strict=True) if reason is None]))
    return [reason or next(scored) for reason in failed]


def _nll(
    scorer: Scorer, texts: Sequence[str | None], languages: Sequence[Any], nothing: Sequence[Failed | None]
) -> list[tuple[Any, Any, Any]]:
    """Per exchange (nll, tokens) or Failed of: the prompt, the response by itself, the response after the prompt.

    One pass over prompt and response gives the first and the last; the response by itself needs its own.
    """
    n = len(texts) // 2
    failed = [absent or scorer.refuses(language) for absent, language in zip(nothing, languages, strict=True)]
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


def _grades(texts: list[str]) -> list[Value]:
    return [Failed(NO_WORDS) if (grade := flesch_kincaid(text)) is None else grade for text in texts]


def _perplexity(nll: Any) -> Value:
    if isinstance(nll, Failed):
        return nll
    total, tokens = nll
    if tokens == 0:
        return Failed(TOO_SHORT)
    mean = total / tokens
    return math.exp(mean) if mean < 700 else Failed(NOT_FINITE)


def _finite(value: Any) -> Any:
    return value if isinstance(value, Failed) or math.isfinite(value) else Failed(NOT_FINITE)


def _contents(context: str | None) -> list[str]:
    return [message["content"] for message in json.loads(context or "[]") if message.get("content")]


def _total(counts: list[Any]) -> int | None:
    """Sum of token counts; None where there is nothing to count or a text could not be counted."""
    return None if not counts or any(isinstance(count, Failed) for count in counts) else sum(counts)
