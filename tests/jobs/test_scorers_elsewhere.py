"""Scorers of another package: it is installed beside a monitor that has scored already, and taken away again.

The columns of the tables follow from what is installed, so what it is installed for is a process of its own: this file.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from schemas.config import Config, parse_config
from tests.spine import run
from tests.traffic import append, config_in, row

# Six minutes on two cores: a monitor in four processes. tests/metrics/score/test_loaded.py has a scorer's insides.
pytestmark = pytest.mark.long

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "tests" / "metrics" / "score" / "example_scorer"
DAY = date(2026, 4, 1)
POLITE = ("prompt_politeness", "response_politeness")
ODD = ("response_joy", "response_anger", "response_shared_words")

ENGLISH = "Please tell me how I restart my cluster. It does not answer any more!"
GERMAN = "Wie starte ich meinen Cluster neu, wenn er nicht mehr antwortet?"

BEFORE = [row(f"old {at}", at=timedelta(minutes=at), response="the cat " * (at + 1)) for at in range(12)]
NEW = [
    row("polite", prompt=ENGLISH, response="Thank you, please wait for the cluster. Sorry that you had to ask!"),
    row("german", prompt=GERMAN, response=GERMAN),
    row("emoji", prompt="😀", response="the cat sat"),
    row("raises", response="the bomb"),
    row("exits", response="exit the cluster"),
    row("quotes", response="quote the cat"),
    row("odd", response="enormous nothing"),
    row("failed", status=500, response_body='{"error_code": "INTERNAL"}'),
]
LAST = [row("without", at=timedelta(minutes=1))]


def sampling(config: Config, rate: float, **scorers: Any) -> Config:
    values = config.model_dump(by_alias=True)
    values["scoring"] |= {"sample_rate": rate, "scorers": scorers}
    return parse_config(values)


def with_the_package(settings: str) -> None:
    """In a process that has the package: new rows through both hops, then ``rescore`` of all, twice."""
    from jobs import aggregate_windows
    from jobs.command.session import spark_session
    from jobs.doctor import _models
    from jobs.reconcile import reconcile
    from jobs.scoring.rescoring import rescore
    from jobs.store.tables import read_table
    from schemas.profile_metrics import PROFILE_METRICS
    from schemas.scores import SCORED_COLUMNS, SCORES

    quick = {"spark.sql.shuffle.partitions": "2", "spark.sql.codegen.wholeStage": "false"}
    spark = spark_session("tests", local_settings=quick | {"spark.sql.codegen.factoryMode": "NO_CODEGEN"})
    config = parse_config(json.loads(settings))

    def scores() -> Any:
        kept = ("request_id", "sampled", *SCORED_COLUMNS, "score_errors", "scorers")
        return [one.asDict(recursive=True) for one in read_table(spark, SCORES, config.output).select(*kept).collect()]

    def windows() -> Any:
        days = read_table(spark, PROFILE_METRICS, config.output).where(
            "granularity = '1 day' AND model_version = '*' AND slice_key IS NULL"
        )
        kept = ("column_name", "scorer_fingerprint", "count", "num_nulls", "sum", "is_frozen")
        return [one.asDict() for one in days.select(*kept).collect()]

    append(spark, config, NEW)
    run(spark, config)
    found: dict[str, Any] = {"scores": scores(), "windows": windows(), "problems": reconcile(spark, config).problems}
    found["models"] = [one.text for one in _models(spark, config)]

    half, other = sampling(config, 0.5), sampling(config, 0.5, politeness={"words": ["wait"]})
    found["rescored"] = [
        [done.rows, done.scorers] for done in (rescore(spark, one, since=DAY, until=DAY) for one in (half, half, other))
    ]
    aggregate_windows.start(spark, other, trigger="availableNow").awaitTermination()
    found |= {"scores_after": scores(), "windows_after": windows(), "problems_after": reconcile(spark, other).problems}
    print(json.dumps(found, default=str))


@pytest.fixture(scope="module")
def monitor(
    spark: SparkSession, language_model: Path, classifier: Path, tmp_path_factory: pytest.TempPathFactory
) -> Config:
    """A monitor without the package, which has scored about half of twelve requests."""
    config = sampling(config_in(tmp_path_factory.mktemp("elsewhere"), language_model, classifier), 0.5)
    append(spark, config, BEFORE)
    run(spark, config)
    return config


@pytest.fixture(scope="module")
def found(monitor: Config) -> dict[str, Any]:
    """What the process with the package saw."""
    path = os.pathsep.join(filter(None, (str(EXAMPLE), str(ROOT), os.environ.get("PYTHONPATH"))))
    # Parsed there: without the package, its settings would be unknown.
    settings = sampling(monitor, 1.0).model_dump_json(by_alias=True)
    done = subprocess.run(
        [sys.executable, "-m", "tests.jobs.test_scorers_elsewhere", settings],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "hunter2" not in done.stderr
    assert not any(text in done.stderr for text in ("the bomb", "quote the cat")), "no text of users in the log"
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def by_id(rows: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {one["request_id"]: one for one in rows}


def test_its_values_and_reasons_are_in_scores(found: dict[str, Any]) -> None:
    scores = by_id(found["scores"])
    assert len(scores) == len(BEFORE) + len(NEW)
    polite = scores["polite"]
    assert [polite[name] for name in POLITE] == [0.5, 1.0]
    assert [polite[name] for name in ODD] == [0.25, 0.5, 1.0]
    assert polite["score_errors"] == {}
    assert {polite["scorers"][name] for name in POLITE} == {"politeness version=1 words=please,thank,thanks,sorry"}
    assert {polite["scorers"][name] for name in ODD} == {"odd cpu"}

    def reasons(request_id: str) -> dict[str, str]:
        one = scores[request_id]
        assert all((one[name] is None) == (name in one["score_errors"]) for name in (*POLITE, *ODD))
        return {name: one["score_errors"].get(name) for name in (*POLITE, *ODD) if one[name] is None}

    assert reasons("german") == dict.fromkeys(POLITE, "language") | {"response_anger": "unclear"}
    assert reasons("emoji")["prompt_politeness"] == "no_words"
    assert scores["emoji"]["response_politeness"] == 0.0
    assert reasons("failed") == dict.fromkeys(("response_politeness", *ODD), "missing")
    for request_id, error in (("raises", "ValueError"), ("exits", "RuntimeError"), ("quotes", "ValueError")):
        assert reasons(request_id) == dict.fromkeys(ODD[:2], f"error:{error}")
    assert reasons("odd") == {"response_joy": "out_of_range", "response_anger": "not_finite"}
    assert all(
        one["response_toxicity"] is not None for one in found["scores"] if one["request_id"] in {"raises", "odd"}
    )


def test_its_columns_are_measures_of_the_windows(found: dict[str, Any]) -> None:
    scores = [one for one in found["scores"] if one["sampled"] and POLITE[0] in one["scorers"]]
    assert len(scores) == len(NEW)
    windows = {(one["column_name"], one["scorer_fingerprint"]): one for one in found["windows"]}
    for name in (*POLITE, *ODD):
        values = [one[name] for one in scores if one[name] is not None]
        window = windows[name, scores[0]["scorers"][name]]
        assert window["count"] == len(values)
        assert window["num_nulls"] == len(NEW) - len(values)
        assert window["sum"] == pytest.approx(sum(values))
    assert found["problems"] == []
    assert "odd cpu" in found["models"], "the doctor names it"


def test_rescore_fills_what_was_scored_before_and_follows_its_settings(found: dict[str, Any]) -> None:
    before, after = by_id(found["scores"]), by_id(found["scores_after"])
    left_out = {name for name, one in before.items() if not one["sampled"]}
    assert 2 <= len(left_out) <= 10
    assert all("not_sampled" in before[name]["score_errors"].values() for name in left_out)
    old = {one for one in before if one.startswith("old")} - left_out
    failing = {"raises", "exits", "quotes"}
    (first, filled), (second, again), (third, changed) = found["rescored"]
    assert first == len(old) + len(failing), "what an exception has cost is tried again"
    assert set(filled) == {"odd", "politeness"}
    assert (second, again) == (len(failing), ["odd"])
    assert (third, set(changed)) == (len(before) - len(left_out), {"odd", "politeness"})
    for name in left_out:
        assert (after[name]["sampled"], after[name]["score_errors"]) == (False, before[name]["score_errors"])
    assert all(after[name]["sampled"] and after[name]["response_joy"] == 0.25 for name in old)
    assert after["polite"]["scorers"]["prompt_politeness"].endswith("words=wait")
    assert [after["polite"][name] for name in POLITE] == [0.0, 0.5]
    ours = {"prompt_toxicity", "response_nll", "response_flesch_kincaid"}
    assert all(after[name][column] == before[name][column] for name in before for column in ours)

    windows = [one for one in found["windows_after"] if one["column_name"] == "response_politeness"]
    assert {str(one["scorer_fingerprint"])[-10:]: one["is_frozen"] for one in windows if one["count"]} == {
        "anks,sorry": True,
        "words=wait": None,
    }
    assert found["problems_after"] == []


def test_without_the_package_its_columns_and_windows_stay(
    spark: SparkSession, monitor: Config, found: dict[str, Any]
) -> None:
    from jobs.store.tables import read_table
    from schemas.profile_metrics import PROFILE_METRICS
    from schemas.scores import SCORED_COLUMNS, SCORES

    assert not set(POLITE) & set(SCORED_COLUMNS)
    append(spark, monitor, LAST)
    run(spark, monitor)
    scores = {one["request_id"]: one for one in read_table(spark, SCORES, monitor.output).collect()}
    assert scores["without"]["response_politeness"] is None
    assert scores["polite"]["response_politeness"] == 0.5
    windows = read_table(spark, PROFILE_METRICS, monitor.output).where("column_name = 'response_politeness'")
    assert not windows.where("count > 0 AND granularity = '1 day'").isEmpty()


if __name__ == "__main__":
    with_the_package(sys.argv[1])
