"""How many endpoint and model names there may be: a flood of names would make a flood of windows."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import TYPE_CHECKING

from pyspark.sql import functions as F

from jobs.command.log import LOG
from jobs.store.tables import local_frame, on_dates, read_table
from metrics.slices import OTHER
from schemas.config import Config
from schemas.scores import SCORES

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

Name = tuple[str | None, str | None]
"""Endpoint and model."""

SCHEMA = "request_date date, endpoint_name string, model_name string"


class Names:
    """The names that ``scores`` has by UTC date, as far as this process has met the date.

    The first ``max_models`` of a date keep their names, those of one batch in alphabetical order; requests of others
    are counted under ``__other__``. What is written stays, so a restart changes nothing.
    """

    def __init__(self) -> None:
        self._known: dict[date, set[Name]] = {}

    def capped(self, rows: DataFrame, found: Mapping[date, set[Name]], config: Config) -> DataFrame:
        """The rows, with the names that are too many replaced.

        Args:
            rows: Rows of one batch.
            found: Names in them, by date.
            config: Settings.
        """
        self._look_up(rows, [day for day in found if day not in self._known], config)
        too_many = 0
        for day, names in found.items():
            known = self._known[day]
            new = sorted(names - known, key=lambda name: tuple(part or "" for part in name))
            room = max(0, config.max_models - len(known))
            known.update(new[:room])
            too_many += len(new[room:])
        if not too_many:
            return rows
        LOG.warning(
            "%d endpoint or model names are more than max_models (%d per day): they are counted as %s",
            *(too_many, config.max_models, OTHER),
        )
        keep = [
            {"request_date": day, "endpoint_name": endpoint, "model_name": model}
            for day in found
            for endpoint, model in self._known[day]
        ]
        allowed = local_frame(rows.sparkSession, keep, SCHEMA).withColumn("allowed", F.lit(True))
        columns = ("request_date", "endpoint_name", "model_name")
        same = F.expr(" AND ".join(f"l.{name} <=> r.{name}" for name in columns))
        joined = rows.alias("l").join(F.broadcast(allowed.alias("r")), same, "left")
        return joined.select(
            *(
                F.when(F.col("r.allowed"), F.col(f"l.{name}")).otherwise(F.lit(OTHER)).alias(name)
                if name in columns[1:]
                else F.col(f"l.{name}")
                for name in rows.columns
            )
        )

    def _look_up(self, rows: DataFrame, dates: list[date], config: Config) -> None:
        if not dates:
            return
        scores = on_dates(read_table(rows.sparkSession, SCORES, config.output), "request_date", dates)
        known = scores.select("request_date", "endpoint_name", "model_name").distinct()
        found = known.where(~F.col("model_name").eqNullSafe(F.lit(OTHER))).collect()
        self._known |= {day: {(row[1], row[2]) for row in found if row[0] == day} for day in dates}
