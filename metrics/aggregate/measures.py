"""The measures of an exchange: every numeric column of ``scores``, and those made from several columns."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyspark.sql import functions as F

from schemas.profile_metrics import NUMERIC_COLUMNS
from schemas.scores import SCORED_COLUMNS

if TYPE_CHECKING:
    from pyspark.sql import Column

CORPUS_PERPLEXITY = "corpus_perplexity"
"""exp(sum of response_nll / sum of response_scored_tokens): a ratio of sums, not a mean of rows' perplexities."""


def measures(*, toxicity_threshold: float) -> Column:
    """array<struct<column_name, value, tokens, scorer_fingerprint>>: one element per measure, NULL values included.

    ``value`` is a double. Ratios are 0 or 1 per exchange, so that their mean is the rate and their sum the number of
    cases. ``requests`` is 1 for the first exchange of a call and 0 for the others of a batched call, so that its sum
    counts calls and its count exchanges. ``tokens`` is set for ``corpus_perplexity`` alone.
    """
    values = [(name, F.col(name), _fingerprint(name)) for name in NUMERIC_COLUMNS]
    values += [
        ("requests", F.col("exchange_index") == 0, _no_fingerprint()),
        ("error_rate", F.col("status_code") != 200, _no_fingerprint()),
    ]
    for text in ("prompt", "response"):
        threshold = F.concat(_fingerprint(f"{text}_toxicity"), F.lit(f" threshold={toxicity_threshold:g}"))
        values.append((f"{text}_toxic_rate", F.col(f"{text}_toxicity") >= toxicity_threshold, threshold))
    # A response without a scored token has neither a mean nor a part in the ratio of sums.
    nll = F.when(F.col("response_scored_tokens") > 0, F.col("response_nll"))
    log_perplexity = nll / F.col("response_scored_tokens")
    values.append(("response_log_perplexity", log_perplexity, _fingerprint("response_nll")))
    values.append((CORPUS_PERPLEXITY, nll, _fingerprint("response_nll")))
    return F.array(
        *(
            F.struct(
                F.lit(name).alias("column_name"),
                value.cast("double").alias("value"),
                (F.col("response_scored_tokens") if name == CORPUS_PERPLEXITY else F.lit(None))
                .cast("double")
                .alias("tokens"),
                fingerprint.alias("scorer_fingerprint"),
            )
            for name, value, fingerprint in values
        )
    )


def _fingerprint(name: str) -> Column:
    return F.col("scorers")[name] if name in SCORED_COLUMNS else _no_fingerprint()


def _no_fingerprint() -> Column:
    return F.lit(None).cast("string")
