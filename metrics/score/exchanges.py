"""All scores of a batch of exchanges: every distinct text is encoded and scored once."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from metrics.score.batching import Failed
from metrics.score.columns import ScorerSettings
from metrics.score.language import UNDETERMINED, detect_languages
from metrics.score.loaded import ExchangeTexts, Loaded, Machine, contained, per_text
from metrics.score.models import be_quiet, find_tokenizer, load_tokenizer, pick_device
from metrics.score.reasons import EMPTY, MISSING, NOT_FINITE, NOT_SAMPLED, OUT_OF_RANGE
from schemas.errors import ModelError
from schemas.installed import scorers as all_scorers
from schemas.scorers import SCORERS, ScoreColumn, Scorer


@dataclass(frozen=True)
class Scorers:
    """Loaded scorers: those with columns by name, and those of languages and tokens."""

    loaded: Mapping[str, Loaded]
    language: Loaded
    tokens: Loaded

    @property
    def fingerprints(self) -> dict[str, str]:
        """By column."""
        found = [one for one in all_scorers() if one.name in self.loaded]
        return {column: self.loaded[one.name].mark for one in found for column in one.column_names}

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the user may have meant otherwise."""
        return tuple(warning for one in self.loaded.values() for warning in one.warnings)


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
    scoring = settings.scoring
    machine = Machine(pick_device(scoring.device, address=gpu), settings.tracking_uri)
    wanted = [scorer for scorer in all_scorers() if scorer.name in settings.names]
    if missing := set(settings.names) - {scorer.name for scorer in wanted}:
        raise ModelError(
            f"scorer {', '.join(sorted(missing))} is not installed where Spark's workers run, and has to be there, too"
        )
    # By name, so that where a table has their columns does not decide on which of two is missed first.
    loaded = {one.name: _load(one, settings, machine) for one in sorted(wanted, key=lambda one: one.name)}
    if scoring.tokenizer:
        tokenizer = load_tokenizer(find_tokenizer(scoring.tokenizer, tracking_uri=settings.tracking_uri))
    else:
        tokenizer = next(loaded[one.name].tokenizer for one in wanted if loaded[one.name].tokenizer is not None)

    def count_tokens(texts: list[str]) -> list[int]:
        return [len(ids) for ids in tokenizer(texts, add_special_tokens=False, verbose=False)["input_ids"]]

    return Scorers(
        loaded={one.name: loaded[one.name] for one in wanted},
        language=Loaded(detect_languages, ""),
        tokens=Loaded(count_tokens, ""),
    )


def _load(scorer: Scorer, settings: ScorerSettings, machine: Machine) -> Loaded:
    """One of them; what one from elsewhere raises is told by its type."""
    own = settings.scoring.of_scorer(scorer)
    if scorer in SCORERS:
        ours: Loaded = scorer.loader()(own, machine)
        return ours
    try:
        found = scorer.loader()(own, machine)
    except ModelError:
        raise
    except Exception as error:
        raise ModelError(f"scorer {scorer.name} can't be loaded: {type(error).__name__}") from error
    if not isinstance(found, Loaded):
        raise ModelError(f"scorer {scorer.name}: its load returns a {type(found).__name__}, and no Loaded")
    if not _is_mark(found.mark):
        raise ModelError(f"scorer {scorer.name}: its mark must be one line of up to 500 characters, without threshold=")
    if found.fill is not per_text:
        raise ModelError(f"scorer {scorer.name}: a fill of its own is for scorers of this repository")
    return replace(found, score=contained(found.score))


def _is_mark(mark: object) -> bool:
    """Whether it can be a fingerprint; that of a rate has its threshold at the end."""
    return isinstance(mark, str) and 0 < len(mark) <= 500 and mark.isprintable() and " threshold=" not in mark


def score_exchanges(
    scorers: Scorers,
    *,
    prompts: Sequence[str | None],
    responses: Sequence[str | None],
    contexts: Sequence[str | None],
    count_tokens: Sequence[bool],
    sampled: Sequence[bool] | None = None,
    only: Collection[str] | None = None,
) -> list[dict[str, Any]]:
    """Scores of a batch of exchanges.

    Args:
        scorers: Loaded scorers.
        prompts: Last user message per exchange; None where there is none.
        responses: Response per exchange; None where there is none.
        contexts: All input messages as JSON (list of role and content) per exchange.
        count_tokens: Whether to count the tokens of an exchange (its log has no usage).
        sampled: Whether to score an exchange; None for all. The others get their language and tokens only.
        only: Scorers to run, None for all; the others' columns are as of exchanges that are not sampled.

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
    columns: dict[str, ScoreColumn] = {}
    found: dict[str, Sequence[Any]] = {}
    for one in all_scorers():
        if one.name in scorers.loaded:
            loaded = scorers.loaded[one.name]
            exchanges = ExchangeTexts(texts, languages, nothing if only is None or one.name in only else none)
            found |= loaded.fill(loaded, one.columns, exchanges)
            columns |= {column.name: column for column in one.columns}
    inputs = [_contents(context) if count else [] for context, count in zip(contexts, count_tokens, strict=True)]
    outputs = [
        [text] if count and text is not None else [] for text, count in zip(responses, count_tokens, strict=True)
    ]
    to_count = [text for some in (*inputs, *outputs) for text in some]
    tokens = dict(zip(to_count, scorers.tokens(to_count), strict=True))
    rows = []
    for i in range(n):
        values = {name: _valid(column, found[name][i]) for name, column in columns.items()}
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


def _valid(column: ScoreColumn, value: Any) -> Any:
    if isinstance(value, Failed):
        return value
    if not math.isfinite(value):
        return Failed(NOT_FINITE)
    return value if column.holds(value) else Failed(OUT_OF_RANGE)


def _contents(context: str | None) -> list[str]:
    return [message["content"] for message in json.loads(context or "[]") if message.get("content")]


def _total(counts: list[Any]) -> int | None:
    """Sum of token counts; None where there is nothing to count or a text could not be counted."""
    return None if not counts or any(isinstance(count, Failed) for count in counts) else sum(counts)
