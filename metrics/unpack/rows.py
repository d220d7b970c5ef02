"""Rows of the inference table as the settings say that they are read."""

from __future__ import annotations

from datetime import date, datetime
from typing import TYPE_CHECKING

from pyspark.sql import functions as F

from metrics.unpack.arrow import unpack_payload
from metrics.unpack.unpacked import UnpackSettings
from schemas.config import Config

if TYPE_CHECKING:
    from pyspark.sql import DataFrame


def unpack_settings(config: Config) -> UnpackSettings:
    """The part of the configuration that decides how payloads are read."""
    return UnpackSettings(reasoning=config.scoring.reasoning, key=config.text.secret())


def unpack_rows(rows: DataFrame, config: Config, *, now: datetime, horizon: date | None = None) -> DataFrame:
    """What the payloads of rows with common columns hold.

    A row of a date before ``horizon`` is ``expired`` and skipped, whatever it holds.
    """
    unpacked = unpack_payload(rows, unpack_settings(config), now=now)
    if horizon is None:
        return unpacked.withColumn("expired", F.lit(False))
    expired = F.coalesce(F.col("request_date") < F.lit(horizon), F.lit(False))
    emptied = {name: F.when(~F.col("expired"), F.col(name)) for name in ("reason", "exchanges", "feedback")}
    return unpacked.withColumn("expired", expired).withColumns(emptied | {"skip": F.col("skip") | F.col("expired")})
