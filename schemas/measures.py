"""``MEASURES``: what is measured of an exchange, and how it is read. All that windows hold follows from this list."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from schemas.scores import SCORED_COLUMNS

Values = NDArray[Any]
"""One value per exchange; NaN is none."""

Kind = Literal["mean", "rate", "ratio", "category"]


class Exchanges(Protocol):
    """Rows of ``scores``, as measures see them; each array has one element per row."""

    threshold: float
    """From this probability on a text counts as toxic."""

    def number(self, column: str) -> Values:
        """A numeric column as doubles."""

    def is_known(self, column: str) -> Values:
        """Where a column is not NULL, as booleans."""

    def is_any(self, column: str, values: tuple[str, ...]) -> Values:
        """Where a column of strings has one of these values, as booleans; not where it is NULL."""


@dataclass(frozen=True)
class Measure:
    """One measure.

    Attributes:
        name: Its ``column_name`` in ``profile_metrics``.
        value: Its value per exchange, as doubles; of a category nothing: its values are the column's.
        kind: ``mean`` of numbers, ``rate`` (0 or 1 per exchange: the mean is the rate, the sum the number of cases),
            ``ratio`` (exp of a ratio of two sums) or ``category`` (frequencies of a column's values).
        scorer: The column of ``scores`` whose scorer makes the value; its fingerprint is the measure's. None: none.
        over: Of a ratio the column of ``scores`` that the values' sum is divided by the sum of.
        has_threshold: Whether the toxicity threshold decides the value; the fingerprint names it.
        title: What people read.
        unit: Of the title's number, for example ms.
        digits: After the point, for people.
        lower_is_better: None where neither is better.
        log: Whether versions are compared on log scale; then there is ``log_<name>``, too.
    """

    name: str
    value: Callable[[Exchanges], Values] | None = None
    kind: Kind = "mean"
    scorer: str | None = None
    over: str | None = None
    has_threshold: bool = False
    title: str = ""
    unit: str = ""
    digits: int = 2
    lower_is_better: bool | None = None
    log: bool = False


def _column(name: str, title: str, **more: Any) -> Measure:
    """A numeric column of ``scores`` as it is."""
    scorer = name if name in SCORED_COLUMNS else None
    return Measure(name, lambda rows: rows.number(name), scorer=scorer, title=title, **more)


def _where(known: Values, value: Values) -> Values:
    return np.where(known, value, np.nan)


def _is_first(rows: Exchanges) -> Values:
    first: Values = rows.number("exchange_index") == 0
    return first


def _failed(rows: Exchanges) -> Values:
    """Calls with another status than 200, and those that failed after it (a stream that broke off)."""
    failed: Values = (rows.number("status_code") != 200) | rows.is_known("error_code")
    return failed


REFUSED_BY = (
    *("content_filter", "content_filtered", "guardrail_intervened", "refusal", "ERROR_TOXIC"),
    *("SAFETY", "PROHIBITED_CONTENT", "BLOCKLIST", "SPII", "IMAGE_SAFETY"),
)
"""``finish_reason`` of an answer that a filter or the model itself has refused: OpenAI and Azure, Bedrock, Anthropic,
Cohere, Gemini."""

REFUSED_WITH = (
    *("content_filter", "content_policy_violation", "responsible_ai_policy_violation", "ResponsibleAIPolicyViolation"),
    *("input_guardrail_triggered", "output_guardrail_triggered", "guardrail_triggered", "content_filtered"),
)
"""``error_code`` of a call that a filter or guardrail has refused."""

TOOL_CALLS = ("tool_calls", "tool_use", "function_call", "TOOL_CALL", "tool-calls")
"""``finish_reason`` of an answer that calls a tool and needs no text."""


def _refused(rows: Exchanges) -> Values:
    """Whether the payload says that the answer was refused."""
    refused: Values = rows.is_any("finish_reason", REFUSED_BY) | rows.is_any("error_code", REFUSED_WITH)
    return refused


def _is_answered(rows: Exchanges) -> Values:
    """Whether there is an answer, or a refusal in its place."""
    answered: Values = _refused(rows) | (~_failed(rows) & rows.is_known("response_words"))
    return answered


def _is_empty(rows: Exchanges) -> Values:
    return _where(
        rows.is_known("response_words") & ~_failed(rows),
        (rows.number("response_words") == 0) & ~rows.is_any("finish_reason", TOOL_CALLS) & ~_refused(rows),
    )


def _toxic(text: str) -> Measure:
    column = f"{text}_toxicity"

    def value(rows: Exchanges) -> Values:
        toxicity = rows.number(column)
        return _where(~np.isnan(toxicity), toxicity >= rows.threshold)

    name, title = f"{text}_toxic_rate", f"toxic {text}s"
    return Measure(name, value, "rate", column, has_threshold=True, title=title, lower_is_better=_better_low(text))


def _better_low(text: str) -> bool | None:
    """Of an answer less is better; what people ask is nobody's merit."""
    return True if text == "response" else None


def _transition(asked: Literal["toxic", "clean"], told: Literal["toxic", "clean", "refused"]) -> Measure:
    """The joint share of prompts and answers; an answer is toxic, clean or refused, whatever a refusal's words are."""

    def value(rows: Exchanges) -> Values:
        prompt, response, refused = rows.number("prompt_toxicity"), rows.number("response_toxicity"), _refused(rows)
        known = ~np.isnan(prompt) & (refused | ~np.isnan(response))
        is_asked = (prompt >= rows.threshold) == (asked == "toxic")
        is_told = refused if told == "refused" else ~refused & ((response >= rows.threshold) == (told == "toxic"))
        return _where(known, is_asked & is_told)

    title = f"{asked} prompt, {told} answer"
    return Measure(f"{asked}_to_{told}", value, "rate", "response_toxicity", has_threshold=True, title=title)


def _nll(rows: Exchanges) -> Values:
    """Nats of an answer that has a scored token; without one it has neither a mean nor a part in the ratio of sums."""
    return _where(rows.number("response_scored_tokens") > 0, rows.number("response_nll"))


def _log(of: Measure) -> Measure:
    """Its natural logarithm, of values above 0."""
    plain = of.value
    assert plain is not None

    def value(rows: Exchanges) -> Values:
        x = plain(rows)
        with np.errstate(divide="ignore", invalid="ignore"):
            return _where(x > 0, np.log(x))

    return Measure(
        f"log_{of.name}",
        value,
        scorer=of.scorer,
        title=f"log of {of.title}",
        digits=3,
        lower_is_better=of.lower_is_better,
    )


CORPUS_PERPLEXITY = "corpus_perplexity"
"""exp(sum of response_nll / sum of response_scored_tokens): a ratio of sums, not a mean of rows' perplexities."""

_PLAIN = (
    _column("sampling_fraction", "share of requests logged"),
    _column("execution_duration_ms", "response time", unit="ms", digits=0, lower_is_better=True, log=True),
    _column("latency_ms", "client's waiting time", unit="ms", digits=0, lower_is_better=True, log=True),
    _column("time_to_first_byte_ms", "time to first byte", unit="ms", digits=0, lower_is_better=True, log=True),
    _column("turn", "user messages so far", digits=1),
    _column("prompt_chars", "characters of a prompt", digits=0),
    _column("prompt_words", "words of a prompt", digits=0),
    _column("response_chars", "characters of a response", digits=0),
    _column("response_words", "words of a response", digits=0),
    _column("input_tokens", "input tokens per request", digits=0, lower_is_better=True, log=True),
    _column("output_tokens", "output tokens per response", digits=0, lower_is_better=True, log=True),
    _column("cached_input_tokens", "input tokens from a cache", digits=0),
    _column("cache_write_input_tokens", "input tokens into a cache", digits=0),
    _column("cost", "cost per request", digits=4, lower_is_better=True, log=True),
    _column("prompt_toxicity", "prompt toxicity", digits=3),
    _column("response_toxicity", "response toxicity", digits=3, lower_is_better=True),
    _column("prompt_perplexity", "prompt perplexity", digits=1, log=True),
    _column("response_perplexity", "perplexity", digits=1, lower_is_better=True),
    _column("response_perplexity_given_prompt", "perplexity after prompts", digits=1, lower_is_better=True, log=True),
    _column("response_nll", "nats of a response", digits=1),
    _column("response_scored_tokens", "scored tokens of a response", digits=0),
    _column("prompt_flesch_kincaid", "prompt reading grade", digits=1),
    _column("response_flesch_kincaid", "reading grade", digits=1, lower_is_better=True),
)
"""Numeric columns of ``scores`` (codes and ids are no measures)."""

_OF_OTHERS = tuple(
    _column(name, name.replace("_", " ")) for name in SCORED_COLUMNS if name not in {one.name for one in _PLAIN}
)
"""Columns that scorers from elsewhere fill."""

_MADE = (
    Measure("requests", lambda rows: _is_first(rows).astype(float), "rate", title="requests", digits=0),
    Measure(
        "error_rate",
        lambda rows: _where(_is_first(rows), _failed(rows)),
        "rate",
        title="error rate",
        lower_is_better=True,
    ),
    _toxic("prompt"),
    _toxic("response"),
    Measure(
        "refusal_rate",
        lambda rows: _where(_is_answered(rows), _refused(rows)),
        "rate",
        title="refused answers",
        lower_is_better=True,
    ),
    Measure("empty_rate", _is_empty, "rate", title="empty answers", lower_is_better=True),
    *(_transition(asked, told) for asked in ("toxic", "clean") for told in ("toxic", "clean", "refused")),
    Measure(
        "response_log_perplexity",
        lambda rows: _nll(rows) / rows.number("response_scored_tokens"),
        scorer="response_nll",
        title="log of perplexity",
        digits=3,
        lower_is_better=True,
    ),
    Measure(
        CORPUS_PERPLEXITY,
        _nll,
        "ratio",
        "response_nll",
        over="response_scored_tokens",
        title="perplexity of all responses as one text",
        digits=1,
        lower_is_better=True,
    ),
)
"""Measures made from several columns. ``requests`` is 1 for the first exchange of a call and 0 for the others of a
batched one, so that its sum counts calls and its count exchanges; ``error_rate`` is of calls, too."""

CATEGORIES = ("language", "kind", "error_code", "finish_reason", "system_prompt_hash")

MEASURES: tuple[Measure, ...] = (
    *_PLAIN,
    *_OF_OTHERS,
    *_MADE,
    *(_log(one) for one in _PLAIN if one.log),
    *(Measure(name, kind="category", title=name.replace("_", " ")) for name in CATEGORIES),
)
"""All measures, in the order in which windows list them."""

BY_NAME = {one.name: one for one in MEASURES}

PROMPT_LENGTH = "prompt_length"
"""The slice that windows have without a setting: by words of the prompt."""


def measures_mark() -> str:
    """What windows are made of, in short: another one when a measure is added."""
    names = " ".join((*BY_NAME, PROMPT_LENGTH))
    return f"{len(MEASURES)} {hashlib.sha256(names.encode()).hexdigest()[:8]}"
