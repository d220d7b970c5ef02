"""What commands print: their help, and their results, as golden files have them."""

from __future__ import annotations

import importlib
from datetime import UTC, datetime

import pandas as pd
import pytest

from jobs import cli, range_metrics, reconcile, version
from jobs.scoring.account import Account
from tests.golden import assert_golden


@pytest.fixture(autouse=True)
def _width(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "120")


@pytest.mark.parametrize("name", ["", *(name for name in cli.COMMANDS if name != "demo")])  # which loads torch
def test_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match=r"^0$"):
        cli.main([name, "--help"] if name else ["--help"])
    assert_golden(f"help-{name or 'all'}", capsys.readouterr().out)


def test_every_command_is_loaded_by_its_name() -> None:
    modules = [module for name, (module, _) in cli.COMMANDS.items() if name != "demo"]
    assert len({importlib.import_module(module).main for module in modules}) == len(modules)


def test_an_account_that_balances() -> None:
    day = {"source_rows": 141, "scored": 136, "quarantined": 0, "duplicate": 5, "skipped": 0, "forgotten": 0}
    whole = {"source_rows": 3072, "scored": 2997, "quarantined": 3, "duplicate": 60, "skipped": 12, "forgotten": 0}
    account = Account(
        rows=whole | {"missing": 0, "skipped_feedback": 12, "ids_on_two_dates": 0},
        days={"2026-04-01": day, "none": day | {"source_rows": 1}},
        batches={"rows_read": 3072, "rows_scored": 2997},
        windows={"windows": 293_247, "windows_forgotten": 0},
    )
    assert_golden("reconcile", reconcile.show(account))


def test_an_account_that_does_not() -> None:
    account = Account(
        rows={"source_rows": 2, "scored": 1, "missing": 1},
        skipped_versions=["version 7 (UPDATE), 3 rows were inserted"],
        ratings_not_taken=4,
        problems=["in the source, and in no table: a, b, …"],
    )
    assert_golden("reconcile-problems", reconcile.show(account))


def test_a_card_of_a_version() -> None:
    time = datetime(2026, 4, 1, 9, 30, tzinfo=UTC)
    registry = {
        "status": "READY",
        "aliases": ["champion"],
        "created_at": time,
        "updated_at": time,
        "run_name": "tuned",
        "run_id": "1234",
        "experiment": "chatbot",
        "python_version": "3.11",
        "requirements": ["mlflow", "torch"],
        "signature_inputs": '[{"name": "messages", "type": "string"}]',
        "signature_outputs": None,
        "flavors": ["python_function"],
        "artifact_uri": "models:/chatbot/7",
    }
    live = {
        "endpoint_name": "support",
        "first_window": time,
        "last_window": time,
        "requests": 1472,
        "errors": 20,
        "response_perplexity": 21.5,
        "response_flesch_kincaid": 9.25,
        "response_toxicity": 0.0314,
        "prompt_toxicity": None,
        "input_tokens": 1_234_567,
        "output_tokens": 98_765,
        "error_rate": 0.0136,
    }
    card = {"model_name": "chatbot", "model_version": "7", "registry": registry, "live": [live]}
    assert_golden("version", version.show(card))
    assert_golden("version-unknown", version.show(card | {"registry": None, "live": []}))


def test_a_range() -> None:
    same = {"endpoint_name": "support", "model_name": "chatbot", "slice_key": None, "slice_value": None}
    figures = {"count": 736, "num_nulls": 12, "avg": 0.0214, "stddev": 0.1, "min": 0.0, "median": 0.01, "max": 0.98}
    times = {"since": pd.Timestamp("2026-04-01"), "until": pd.Timestamp("2026-04-02")}
    rows = [
        times | same | {"model_version": number, "scorer_fingerprint": "x", "column_name": name, "sum": 15.75} | figures
        for number in ("6", "7")
        for name in ("response_toxicity", "toxic_to_refused")
    ]
    assert_golden("metrics", range_metrics.show(pd.DataFrame(rows)))
