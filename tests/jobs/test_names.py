"""A flood of model names: the first of a day keep theirs, and the account goes on balancing."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from jobs import score_responses
from jobs.range_metrics import metrics_between
from jobs.reconcile import reconcile
from metrics.slices import OTHER
from schemas.profile_metrics import PROFILE_METRICS
from schemas.scores import SCORES
from tests.spine import run, table
from tests.traffic import START, append, config_in, row

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


def of(request_id: str, model: str | None, day: int = 0) -> dict[str, Any]:
    made = row(request_id, at=timedelta(days=day))
    metadata = {"endpoint_name": "bot", "model_version": "6"} | ({"model_name": model} if model else {})
    return made | {"request_metadata": metadata}


@pytest.mark.long
def test_names_beyond_the_limit_are_other(
    spark: SparkSession,
    language_model: Path,
    classifier: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    config = config_in(tmp_path, language_model, classifier, max_models=3)

    def names() -> dict[str, str | None]:
        scores = table(spark, SCORES, config)
        models = [name if isinstance(name, str) else None for name in scores["model_name"]]
        return dict(zip(scores["request_id"], models, strict=True))

    append(spark, config, [of("1", "b"), of("2", "a"), of("3", None), of("4", "b")])
    score_responses.start(spark, config, trigger="availableNow").awaitTermination()
    assert names() == {"1": "b", "2": "a", "3": None, "4": "b"}
    assert "max_models" not in caplog.text
    # Another day has room of its own; a name that is there stays, whatever came before it.
    append(spark, config, [of("5", "d"), of("6", "b"), of("7", "e"), of("8", "d", day=1), of("9", None)])
    run(spark, config)
    assert names() == {"1": "b", "2": "a", "3": None, "4": "b", "5": OTHER, "6": "b", "7": OTHER, "8": "d", "9": None}
    assert "2 endpoint or model names are more than max_models (3 per day)" in caplog.text
    scores = table(spark, SCORES, config).set_index("request_id")
    assert scores.loc[["5", "7"], "endpoint_name"].tolist() == [OTHER, OTHER]
    windows = table(spark, PROFILE_METRICS, config)
    assert set(windows["model_name"].dropna()) == {"a", "b", "d", OTHER}
    assert reconcile(spark, config).problems == []


@pytest.mark.long
def test_of_one_batch_the_first_by_name_are_kept(
    spark: SparkSession, language_model: Path, classifier: Path, tmp_path: Path
) -> None:
    config = config_in(tmp_path, language_model, classifier, max_models=2)
    no_version = {"request_metadata": {"endpoint_name": "bot", "model_name": "model 0"}}
    append(spark, config, [*(of(str(i), f"model {9 - i}") for i in range(10)), row("11") | no_version])
    run(spark, config)
    # A request without a version is one of those by version, too.
    day = {"since": START, "until": START + timedelta(days=1), "columns": ["requests"]}
    by_version = metrics_between(spark, config, by=["version"], **day).collect()  # type: ignore[arg-type]
    assert {(one["model_version"], one["model_name"]): one["count"] for one in by_version} == {
        (None, "model 0"): 1, ("6", "model 0"): 1, ("6", "model 1"): 1, ("6", OTHER): 8,
    }  # fmt: skip
    scores = table(spark, SCORES, config)
    assert set(scores["model_name"]) == {"model 0", "model 1", OTHER}
    assert (scores["model_name"] == OTHER).sum() == 8
