"""Scored exchanges as rows of ``scores``."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from pyspark.sql import functions as F

from metrics.calls import CALL_ID
from metrics.unpack.payloads import unpacker_mark
from metrics.unpack.rows import unpack_settings
from schemas.config import Config
from schemas.installed import scorers
from schemas.scores import SCORES

if TYPE_CHECKING:
    from pyspark.sql import DataFrame


def sampled(rate: float) -> Any:
    """Whether a call's scores are computed: by its id and content, so that a replay decides the same. Failures always.

    Calls that share an id are decided on one by one, whichever of them has it in ``scores``.
    """
    if rate == 1:
        return F.lit(True)
    digits = 13
    unit = F.conv(F.substring(F.sha2(F.expr(CALL_ID), 256), 1, digits), 16, 10).cast("double") / 16.0**digits
    return ~F.coalesce(F.col("status_code") == 200, F.lit(False)) | (unit < rate)


def needs_counting() -> Any:
    """Whether the log's usage leaves a token count open."""
    output_open = F.col("response").isNotNull() & F.col("usage_output_tokens").isNull()
    return F.col("usage_input_tokens").isNull() | output_open


def score_errors() -> Any:
    """Why scores are NULL, by column. Where the log says why it has no payload, that is the reason."""

    def left_out(what: str) -> str:
        """SQL: the log's code for a payload that it has not, for example MAX_REQUEST_SIZE_EXCEEDED."""
        return f"try_element_at(filter(logging_error_codes, code -> contains(code, '{what}')), 1)"

    request, response = left_out("REQUEST"), left_out("RESPONSE")

    def columns(*of: str) -> str:
        """SQL: the names of the columns of these texts."""
        found = (column.name for scorer in scorers() for column in scorer.columns if column.of in of)
        return ", ".join(f"'{name}'" for name in found)

    return F.expr(
        f"""transform_values(scored.score_errors, (column, reason) -> CASE
            WHEN reason <> 'missing' THEN reason
            WHEN column IN ({columns("prompt")}) THEN coalesce({request}, reason)
            WHEN column IN ({columns("both")}) THEN coalesce({response}, {request}, reason)
            ELSE coalesce({response}, reason)
        END)"""
    )


def score_columns(scored: DataFrame, config: Config, *, now: datetime) -> DataFrame:
    """The columns of ``scores``, with the whole text and without slices."""
    tokens = F.coalesce("usage_input_tokens", "scored.counted_input_tokens")
    output_tokens = F.coalesce("usage_output_tokens", "scored.counted_output_tokens")
    from_log = F.col("usage_input_tokens").isNotNull() | F.col("usage_output_tokens").isNotNull()
    counted = (F.col("usage_input_tokens").isNull() & tokens.isNotNull()) | (
        F.col("usage_output_tokens").isNull() & output_tokens.isNotNull()
    )
    own = {
        "slices": F.lit(None).cast("map<string,string>"),
        "input_tokens": tokens,
        "output_tokens": output_tokens,
        "score_errors": score_errors(),
        "token_source": F.when(from_log & counted, "usage+tokenizer")
        .when(from_log, "usage")
        .when(counted, "tokenizer"),
        "cost": F.lit(None).cast("double"),
        "currency": F.lit(None).cast("string"),
        "unpacker": F.lit(unpacker_mark(unpack_settings(config))),
        "sample_rate": F.lit(config.scoring.sample_rate),
        "scored_at": F.lit(now),
    }
    from_scorers = set(scored.schema["scored"].dataType.names)  # type: ignore[attr-defined]
    return scored.select(
        *(
            own[name].alias(name)
            if name in own
            else F.col(f"scored.{name}").alias(name)
            if name in from_scorers
            else F.col(name)
            for name in SCORES.column_names
        ),
        *(["replaces"] if "replaces" in scored.columns else []),
    )
