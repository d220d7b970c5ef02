"""The measures of an exchange: every numeric column of ``scores``, and those made from several columns."""

from __future__ import annotations

from schemas.profile_metrics import NUMERIC_COLUMNS
from schemas.scores import SCORED_COLUMNS

CORPUS_PERPLEXITY = "corpus_perplexity"
"""exp(sum of response_nll / sum of response_scored_tokens): a ratio of sums, not a mean of rows' perplexities."""


NOT_SCORED = "coalesce(element_at(score_errors, 'prompt_toxicity') = 'not_sampled', false)"
"""SQL: whether scoring.sample_rate left an exchange out. It has no part in a scorer's measures, neither a value nor a
missing one."""


def measures(*, toxicity_threshold: float) -> str:
    """SQL: array<struct<column_name, value, tokens, scorer_fingerprint>>, one element per measure, NULLs included.

    ``value`` is a double. Ratios are 0 or 1 per exchange, so that their mean is the rate and their sum the number of
    cases. ``requests`` is 1 for the first exchange of a call and 0 for the others of a batched call, so that its sum
    counts calls and its count exchanges; ``error_rate`` is of calls, too: those with another status than 200, and those
    that failed after it (a stream that broke off). ``tokens`` is set for ``corpus_perplexity`` alone.
    """
    values = [(name, name, _fingerprint(name)) for name in NUMERIC_COLUMNS]
    values += [
        ("requests", "exchange_index = 0", "NULL"),
        ("error_rate", "CASE WHEN exchange_index = 0 THEN status_code <> 200 OR error_code IS NOT NULL END", "NULL"),
    ]
    for text in ("prompt", "response"):
        mark = f"concat({_fingerprint(f'{text}_toxicity')}, ' threshold={toxicity_threshold:g}')"
        values.append((f"{text}_toxic_rate", f"{text}_toxicity >= {toxicity_threshold!r}D", mark))
    # A response without a scored token has neither a mean nor a part in the ratio of sums.
    nll = "CASE WHEN response_scored_tokens > 0 THEN response_nll END"
    values.append(("response_log_perplexity", f"{nll} / response_scored_tokens", _fingerprint("response_nll")))
    values.append((CORPUS_PERPLEXITY, nll, _fingerprint("response_nll")))
    structs = [
        f"named_struct('column_name', '{name}', 'value', CAST({value} AS double), "
        f"'tokens', CAST({'response_scored_tokens' if name == CORPUS_PERPLEXITY else 'NULL'} AS double), "
        f"'scorer_fingerprint', CAST({fingerprint} AS string))"
        for name, value, fingerprint in values
    ]
    return f"filter(array({', '.join(structs)}), m -> m.scorer_fingerprint IS NULL OR NOT {NOT_SCORED})"


def _fingerprint(name: str) -> str:
    return f"scorers['{name}']" if name in SCORED_COLUMNS else "NULL"
