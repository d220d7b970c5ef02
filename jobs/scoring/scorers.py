"""The scorers that the settings ask for, as workers load them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pyspark.sql import functions as F

from jobs.command.log import LOG
from jobs.scoring.spread import spread
from metrics.score.columns import COLUMNS, ScorerSettings
from metrics.score.udf import check_scorers, with_scores
from schemas.config import Config
from schemas.scores import SCORES

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession


def scorer_settings(config: Config) -> ScorerSettings:
    """The part of the configuration that decides which scorers a worker loads."""
    return ScorerSettings(config.scoring, config.mlflow.tracking_uri)


def checked_scorers(spark: SparkSession, config: Config) -> dict[str, str]:
    """Fingerprint per column, of scorers that a worker has loaded; the log says what of them may be meant otherwise.

    Raises:
        ModelError: One of them can't be found or loaded.
    """
    fingerprints, warnings = check_scorers(spark, scorer_settings(config))
    for warning in warnings:
        LOG.warning("%s", warning)
    return fingerprints


def score_exchanges(exchanges: DataFrame, config: Config, *, only: Sequence[str] = tuple(COLUMNS)) -> DataFrame:
    """Exchanges with the struct ``scored``, spread over all cores by the length of their texts."""
    length = F.expr("coalesce(length(prompt), 0) + coalesce(length(response), 0)")
    return exchanges.transform(spread, length, keys=SCORES.keys).transform(
        with_scores, scorer_settings(config), key=config.text.secret(), only=only
    )
