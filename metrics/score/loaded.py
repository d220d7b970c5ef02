"""A scorer as a worker has it loaded, and how its values become columns.

Neither torch nor pyspark is imported here, so that a package from elsewhere can build on it alone.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple, Protocol

from metrics.score.batching import Circuit, Failed, score_unique
from metrics.score.language import UNDETERMINED
from metrics.score.reasons import LANGUAGE
from schemas.scorers import ScoreColumn

__all__ = ["ExchangeTexts", "Failed", "Loaded", "Machine", "Text", "contained", "per_text"]


@dataclass(frozen=True)
class Machine:
    """Where a scorer runs.

    Attributes:
        device: As torch names it.
        tracking_uri: MLflow store for ``models:/``; None for MLflow's own default.
    """

    device: str
    tracking_uri: str | None = None


class Text(NamedTuple):
    """What a scorer gets: a prompt or a response, its language, and for columns of both the prompt that it answers."""

    text: str
    language: str = UNDETERMINED
    prompt: str | None = None


@dataclass(frozen=True)
class ExchangeTexts:
    """A batch of exchanges: of each list the first half is of the prompts, the second of the responses.

    Attributes:
        texts: None where there is none.
        languages: Codes; None where there is no text, or one that shows nothing.
        absent: Why a text has no score whatever the scorer is; None where it can have one.
    """

    texts: Sequence[str | None]
    languages: Sequence[str | None]
    absent: Sequence[Failed | None]

    def __len__(self) -> int:
        return len(self.texts) // 2


class Fill(Protocol):
    """Values by column, one for each exchange, ``Failed`` where there is none."""

    def __call__(
        self, scorer: Loaded, columns: Sequence[ScoreColumn], exchanges: ExchangeTexts
    ) -> Mapping[str, Sequence[Any]]: ...


def per_text(scorer: Loaded, columns: Sequence[ScoreColumn], exchanges: ExchangeTexts) -> dict[str, list[Any]]:
    """Columns of a scorer that looks at each text by itself, or at each response with its prompt.

    Args:
        scorer: It gives per ``Text`` a number, or a reason (a word); where it has several columns of such a text, a
            mapping of these by the columns' names without ``prompt_`` and ``response_``.
        columns: Those that it fills.
        exchanges: What they are of.
    """
    failed = scorer.failed(exchanges)
    inputs = {of: _inputs(of, exchanges, failed) for of in ("prompt", "response", "both") if _is_wanted(of, columns)}
    stems = {
        is_both: tuple(dict.fromkeys(one.stem for one in columns if (one.of == "both") == is_both))
        for is_both in (False, True)
    }
    texts = [one for some in inputs.values() for one in some if isinstance(one, Text)]
    scored = score_unique(texts, partial(_by_stem, scorer.score, stems), scorer.circuit)
    found = dict(zip(texts, scored, strict=True))

    def value(column: ScoreColumn, text: Text | Failed) -> Any:
        result = text if isinstance(text, Failed) else found[text]
        return result if isinstance(result, Failed) else result[column.stem]

    return {column.name: [value(column, text) for text in inputs[column.of]] for column in columns}


def _is_wanted(of: str, columns: Sequence[ScoreColumn]) -> bool:
    return any(column.of == of for column in columns)


def _inputs(of: str, exchanges: ExchangeTexts, failed: Sequence[Failed | None]) -> list[Text | Failed]:
    """What a column of some texts is computed from, per exchange; or why it can't be."""
    texts, languages, n = exchanges.texts, exchanges.languages, len(exchanges)
    result: list[Text | Failed] = []
    for prompt in range(n):
        at = prompt if of == "prompt" else n + prompt
        why = failed[at] or (failed[prompt] if of == "both" else None)
        text, language = texts[at], languages[at] or UNDETERMINED
        result.append(why or Text(str(text), language, texts[prompt] if of == "both" else None))
    return result


def _by_stem(
    score: Callable[[list[Text]], Sequence[Any]], stems: Mapping[bool, Sequence[str]], texts: list[Text]
) -> list[dict[str, Any]]:
    """A scorer's results as floats and reasons; what is neither is an error as any other that a scorer raises."""
    return [_values(result, stems[text.prompt is not None]) for result, text in zip(score(texts), texts, strict=True)]


def _values(result: Any, stems: Sequence[str]) -> dict[str, Any]:
    if isinstance(result, Mapping):
        return {stem: _value(result[stem]) for stem in stems}
    if len(stems) > 1:
        raise TypeError("several columns need a mapping")
    return {stem: _value(result) for stem in stems}


_REASON = re.compile(r"[a-z][a-z0-9_]{0,62}")


def _value(value: Any) -> float | Failed:
    """Reasons are words: what else a scorer says may hold text of users."""
    if isinstance(value, Failed):
        return value
    if isinstance(value, str):
        if not _REASON.fullmatch(value):
            raise ValueError("no reason")
        return Failed(value)
    return float(value)


def contained(score: Callable[[list[Any]], Sequence[Any]]) -> Callable[[list[Any]], Sequence[Any]]:
    """The same, but what would end the batch or its worker is an error as any other: of a text, and counted."""

    def run(keys: list[Any]) -> Sequence[Any]:
        try:
            return score(keys)
        except (KeyboardInterrupt, GeneratorExit):
            raise
        except BaseException as error:  # sys.exit and panics of Rust code are no Exception
            if isinstance(error, Exception) and not isinstance(error, MemoryError):
                raise
            raise RuntimeError(type(error).__name__) from None

    return run


@dataclass(frozen=True)
class Loaded:
    """One scorer among the others of a process.

    Args:
        score: Results of distinct inputs, in order; of ``Text`` unless ``fill`` says otherwise.
        mark: Fingerprint: all that decides on the values (model, settings, versions), so that windows never mix what
            can't be compared.
        language: The one that it was made for; None for any. Texts in others have the reason ``language``.
        warnings: What the user may have meant otherwise.
        tokenizer: Counts the tokens that the log does not, where the settings name none.
        fill: How its results become columns.
        circuit: What it failed on so far.
    """

    score: Callable[[list[Any]], Sequence[Any]]
    mark: str
    language: str | None = None
    warnings: tuple[str, ...] = ()
    tokenizer: Any = None
    fill: Fill = per_text
    circuit: Circuit = field(default_factory=Circuit)

    def __call__(self, keys: Sequence[Any]) -> list[Any]:
        """Results of inputs, in order, ``Failed`` where there is none; equal inputs are scored once."""
        return score_unique(keys, self.score, self.circuit)

    def refuses(self, language: str | None) -> Failed | None:
        """Whether a text of this language is none of its business."""
        other = self.language is not None and language not in (self.language, UNDETERMINED)
        return Failed(LANGUAGE) if other else None

    def failed(self, exchanges: ExchangeTexts) -> list[Failed | None]:
        """Per text why it has no score of this scorer; None where it can have one."""
        return [
            absent or self.refuses(language)
            for absent, language in zip(exchanges.absent, exchanges.languages, strict=True)
        ]
