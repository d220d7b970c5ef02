"""Commands, exit codes and what they say."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from jobs import cli, dashboard, reconcile, score_responses
from schemas.config import parse_config
from schemas.errors import SourceError

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("command", cli.COMMANDS)
def test_every_command_has_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        cli.main([command, "--help"])
    assert end.value.code == 0
    assert f"inference-metrics {command}" in capsys.readouterr().out


def test_an_unknown_command_is_wrong_use(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        cli.main(["scoer"])
    assert end.value.code == 2
    assert "score-responses" in capsys.readouterr().err


def test_wrong_settings_end_before_spark_starts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "wrong.yaml"
    file.write_text("source: {path: in}\noutput: {path: out}\ntriger: 1 minute\nscoring: {devise: cpu}")
    assert cli.main(["monitor", "--config", str(file)]) == 2
    said = capsys.readouterr().err
    assert "has 2 problem(s)" in said
    assert "did you mean trigger?" in said
    assert not (tmp_path / "out").exists()


def test_a_missing_source_is_named_and_nothing_is_written(
    spark: SparkSession, language_model: Path, classifier: Path, tmp_path: Path
) -> None:
    from tests.traffic import config_in

    config = config_in(tmp_path, language_model, classifier)
    with pytest.raises(SourceError, match=r"inference` can't be read as a Delta table"):
        score_responses.start(spark, config, trigger="availableNow")
    assert not (tmp_path / "tables").exists()


def test_a_missing_model_is_named_and_nothing_is_written(spark: SparkSession, tmp_path: Path) -> None:
    from schemas.errors import ModelError
    from tests.traffic import append, row

    config = parse_config(
        {
            "source": {"path": str(tmp_path / "inference")},
            "output": {"path": str(tmp_path / "tables")},
            "scoring": {"perplexity": {"model": str(tmp_path / "no-model")}},
        }
    )
    append(spark, config, [row("a")])
    with pytest.raises(ModelError, match="there is no such folder"):
        score_responses.start(spark, config, trigger="availableNow")
    assert not (tmp_path / "tables").exists()


@pytest.mark.parametrize("main", [reconcile.main, dashboard.main])
def test_tables_that_do_not_exist_yet(
    spark: SparkSession, main: object, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--set", f"source.path={tmp_path}/in", "--set", f"output.path={tmp_path}/out"]) == 1  # type: ignore[operator]
    assert "does not exist yet. Run monitor or score-responses first." in capsys.readouterr().err


@pytest.mark.parametrize(
    "module",
    ["schemas.config", "metrics.aggregate.windows", "metrics.unpack.payloads", "jobs.aggregate_windows", "jobs.cli"],
)
def test_only_scoring_loads_torch(module: str) -> None:
    code = f"import sys, {module}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_scorers_need_no_spark() -> None:
    load = "from schemas.scorers import SCORERS; [one.loader() for one in SCORERS]"
    code = f"import sys; sys.modules['pyspark'] = None; import metrics.score.exchanges; {load}"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_driver_loads_no_scorer() -> None:
    heavy = {"torch", "transformers", "nltk", "py3langid"}
    code = f"import sys, jobs.monitor, jobs.rescore, jobs.doctor; sys.exit(len({heavy} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_only_the_page_needs_plotly() -> None:
    code = "import sys; sys.modules['plotly'] = None; import jobs.monitor, jobs.version, jobs.reconcile, jobs.doctor"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_file_in_jobs_is_a_command() -> None:
    modules = {module for module, _ in cli.COMMANDS.values()}
    files = {f"jobs.{path.stem}" for path in (ROOT / "jobs").glob("*.py")}
    assert modules == files - {"jobs.__init__", "jobs.cli"} | {"jobs.demo.command"}
    assert next(iter(cli.COMMANDS)) == "monitor"
    assert all(text for _, text in cli.COMMANDS.values())


@pytest.mark.parametrize("script", sorted((ROOT / "jobs").glob("[!_]*")), ids=lambda script: script.stem)
def test_no_script_hides_a_package(script: Path) -> None:
    """spark-submit puts the script's folder first on Python's path."""
    packages = {folder.name for folder in ROOT.iterdir() if folder.is_dir()}
    assert script.stem not in packages | {"pandas", "pyspark", "delta", "torch", "mlflow", "transformers", "textstat"}


def test_a_script_runs_from_the_checkout(tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "jobs" / "monitor.py"), "--help"]
    found = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr[-3000:]
    assert found.stdout.startswith("usage: inference-metrics monitor ")
