"""A classifier that does not say what its labels mean to each other: who uses it is told, and may say it."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from jobs import doctor, score_responses
from jobs.scoring.rescoring import rescore
from schemas.config import Config
from tests.models import save_classifier
from tests.traffic import append, config_in

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

DAY = date(2026, 4, 1)
SAID = "its configuration does not say whether its labels (hate, threat, insult) exclude each other"


def with_activation(config: Config, activation: str) -> Config:
    values = config.model_dump(by_alias=True)
    values["scoring"]["toxicity"]["activation"] = activation
    return Config.model_validate(values)


def test_who_left_the_activation_open_is_told_once_and_may_set_it(
    spark: SparkSession, language_model: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "classifier"
    folder.mkdir()
    save_classifier(folder, labels=["hate", "threat", "insult"])
    config = config_in(tmp_path, language_model, folder)
    append(spark, config, [])

    found = doctor.examine(spark, config, now=datetime.now(UTC))
    (finding,) = [one.text for one in found if (one.check, one.level) == ("models", "warning")]
    assert SAID in finding
    assert "set scoring.toxicity.activation to sigmoid" in finding
    assert SAID not in caplog.text, "the doctor has its findings"

    score_responses.start(spark, config, trigger="availableNow").awaitTermination()
    assert caplog.text.count(SAID) == 1
    caplog.clear()
    rescore(spark, config, since=DAY, until=DAY)
    assert caplog.text.count(SAID) == 1
    caplog.clear()
    rescore(spark, with_activation(config, "sigmoid"), since=DAY, until=DAY)
    assert SAID not in caplog.text
