"""README's commands, settings, Python and SQL work as they stand, on the demo in small."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml

from jobs import cli
from jobs.runtime import parser, read_config
from schemas.config import load_config, parse_config

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^ *```{language}\n(.*?)^ *```$", README, re.DOTALL | re.MULTILINE)


COMMANDS = [line.strip() for block in blocks("sh") for line in block.splitlines() if line]


@pytest.fixture
def there(demo_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in which demo-out is a demo and my.yaml holds settings for its table."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "demo-out").symlink_to(demo_folder)
    values = yaml.safe_load((demo_folder / "config.yaml").read_text(encoding="utf-8"))
    values["source"]["path"] = "demo-out/inference"
    values["output"]["path"] = "demo-out/tables"
    for scorer in ("perplexity", "toxicity"):
        values["scoring"][scorer]["model"] = f"demo-out/models/{scorer}"
    values["mlflow"]["tracking_uri"] = "sqlite:///demo-out/mlflow.db"
    (tmp_path / "my.yaml").write_text(yaml.safe_dump(values), encoding="utf-8")
    return tmp_path


def test_there_are_blocks_of_each_kind() -> None:
    assert (len(blocks("sql")), len(blocks("python")), len(blocks("yaml"))) == (3, 1, 2)
    assert len(COMMANDS) >= 10


def long(command: str) -> list[pytest.MarkDecorator]:
    return [pytest.mark.long] if " demo " in command else []


@pytest.mark.parametrize(
    "command",
    [
        pytest.param(line, marks=long(line), id=line.split("#")[0].strip())
        for line in COMMANDS
        if line.startswith("inference-metrics ")
    ],
)
def test_commands(
    spark: SparkSession, there: Path, demo_models: Path, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = shlex.split(command, comments=True)[1:]
    if "5 minutes" in arguments:  # stays up; tests/jobs/test_monitor.py runs one that does
        options = parser("monitor", "").parse_known_args(arguments[1:])[0]
        assert read_config(options, trigger="5 minutes").trigger == "5 minutes"
        return
    if arguments[0] == "demo":
        shutil.copytree(demo_models, there / arguments[arguments.index("--out") + 1] / "models")
    assert cli.main(arguments) == 0
    assert capsys.readouterr().out.strip() or arguments[0] == "monitor", "monitor says all it has to say in its log"


@pytest.mark.parametrize("command", [line for line in COMMANDS if line.startswith("make ")])
def test_make_targets(command: str) -> None:
    found = subprocess.run([*shlex.split(command), "--dry-run"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr
    assert "No rule" not in found.stderr


def test_every_other_command_is_known() -> None:
    others = [line for line in COMMANDS if not line.startswith(("make ", "inference-metrics "))]
    assert {shlex.split(line)[0] for line in others} == {"mlflow", "spark-submit", "rm"}


def test_the_registry_is_what_mlflow_reads(there: Path) -> None:
    (command,) = (line for line in COMMANDS if line.startswith("mlflow "))
    uri = shlex.split(command)[-1]
    code = f"import mlflow; print(len(mlflow.MlflowClient({uri!r}, {uri!r}).search_model_versions('')))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.split() == ["7"]


@pytest.mark.parametrize("block", blocks("yaml"))
def test_settings_are_valid(block: str) -> None:
    parse_config(yaml.safe_load(block))


@pytest.mark.parametrize("query", blocks("sql"))
def test_queries_find_something(spark: SparkSession, there: Path, query: str) -> None:
    # A relative path in Spark SQL is relative to where the JVM was started.
    found = spark.sql(query.replace("`demo-out/", f"`{there}/demo-out/"))
    assert found.count() > 0


@pytest.mark.parametrize("block", blocks("python"))
def test_python(spark: SparkSession, there: Path, block: str, capsys: pytest.CaptureFixture[str]) -> None:
    exec(compile(block.replace('"demo-out/', f'"{there}/demo-out/'), "README.md", "exec"), {"spark": spark})
    assert capsys.readouterr().out.strip()


def test_the_picture_is_there_and_the_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (ROOT / target).exists(), target


def test_what_the_demo_prints_is_its_table() -> None:
    (shown,) = (block for block in blocks("text") if "Flesch-Kincaid" in block)
    heading, *rows = [line.split() for line in shown.strip().splitlines()[:3]]
    assert heading[:2] == ["version", "requests"]
    assert [row[0] for row in rows] == ["6", "7"]


def test_the_example_config_of_the_demo_is_loaded(there: Path) -> None:
    assert load_config(str(there / "my.yaml")).source.path == str((there / "demo-out" / "inference").resolve())
