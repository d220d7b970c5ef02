"""Commands, settings, Python and SQL of README and docs/ work as they stand, on the demo in small."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import time
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.request import urlopen

import pytest
import yaml

from jobs import cli
from schemas.config import load_config, parse_config

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

ROOT = Path(__file__).parent.parent
PAGES = {path: path.read_text(encoding="utf-8") for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))}
README = PAGES[ROOT / "README.md"]


def blocks(language: str, *pages: str) -> list[str]:
    """The code of a language in some pages, or in all, README's first."""
    found = (
        re.findall(rf"^ *```{language}\n(.*?)^ *```$", page, re.DOTALL | re.MULTILINE)
        for page in pages or PAGES.values()
    )
    return [block for page in found for block in page]


def commands(*pages: str) -> list[str]:
    return [line.strip() for block in blocks("sh", *pages) for line in block.splitlines() if line]


COMMANDS = commands()


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
    assert (len(blocks("sql")), len(blocks("python")), len(blocks("yaml"))) == (4, 1, 4)
    assert len(COMMANDS) >= 10


def long(command: str) -> list[pytest.MarkDecorator]:
    return [pytest.mark.long] if " demo " in command else []


def program(name: str) -> str:
    """The path of a console script of this environment."""
    return str(Path(sys.executable).with_name(name))


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
        settings = arguments[arguments.index("--config") + 1]
        assert load_config(settings, [f"trigger={arguments[-1]}"]).trigger == "5 minutes"
        return
    if arguments[0] == "demo":
        shutil.copytree(demo_models, there / arguments[arguments.index("--out") + 1] / "models")
    assert cli.main(arguments) == 0
    out = capsys.readouterr().out
    assert out.strip() or arguments[0] == "monitor", "monitor says all it has to say in its log"
    if arguments[0] == "reconcile":
        (shown,) = (block for block in blocks("text") if block.startswith("day "))
        assert out.splitlines()[0] == shown.splitlines()[0]


@pytest.mark.parametrize("command", [line for line in COMMANDS if line.startswith("make ")])
def test_make_targets(command: str) -> None:
    found = subprocess.run([*shlex.split(command), "--dry-run"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr
    assert "No rule" not in found.stderr


def test_every_other_command_is_known() -> None:
    others = [line for line in COMMANDS if not line.startswith(("make ", "inference-metrics "))]
    assert [shlex.split(line)[0] for line in others] == ["mlflow", "spark-submit", "rm"]


def test_the_registry_is_what_mlflow_reads(there: Path) -> None:
    (command,) = (line for line in COMMANDS if line.startswith("mlflow "))
    uri = shlex.split(command)[-1]
    code = f"import mlflow; print(len(mlflow.MlflowClient({uri!r}, {uri!r}).search_model_versions('')))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.split() == ["7"]


@pytest.mark.long
def test_mlflow_ui_serves_the_registry(there: Path) -> None:
    (command,) = (line for line in COMMANDS if line.startswith("mlflow "))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    _, *arguments = shlex.split(command)
    with subprocess.Popen([program("mlflow"), *arguments, "--port", str(port)], start_new_session=True) as server:
        try:
            found = None
            while found is None and server.poll() is None:
                try:
                    with urlopen(f"http://127.0.0.1:{port}/api/2.0/mlflow/model-versions/search") as answer:
                        found = json.load(answer)
                except OSError:
                    time.sleep(1)
        finally:
            os.killpg(server.pid, signal.SIGTERM)
    assert found is not None, "it ended without an answer"
    assert sorted(int(one["version"]) for one in found["model_versions"]) == [1, 2, 3, 4, 5, 6, 7]


@pytest.mark.long
def test_spark_submit_runs_the_wheel(there: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """As on a cluster: the packages come from the wheel alone, and the checkout is not on Python's path."""
    (command,) = (line for line in COMMANDS if line.startswith("spark-submit "))
    _, *options, job, _, _ = shlex.split(command)
    subprocess.run(["make", "wheel", f"VENV={Path(sys.executable).parent.parent}"], cwd=ROOT, check=True)
    shutil.copytree(ROOT / "jobs", there / "jobs")
    shutil.copytree(ROOT / "dist", there / "dist")
    # An interpreter of the same packages without the editable install of this checkout.
    site = tmp_path_factory.mktemp("site")
    for entry in Path(sysconfig.get_path("purelib")).iterdir():
        if "inference_quality_metrics" not in entry.name:
            (site / entry.name).symlink_to(entry)
    python = site / "python"
    python.write_text(f'#!/bin/sh\nPYTHONPATH="$PYTHONPATH:{site}" exec {sys.base_prefix}/bin/python3 "$@"\n')
    python.chmod(0o755)
    environment = {**os.environ, "PYSPARK_PYTHON": str(python), "PYSPARK_DRIVER_PYTHON": str(python)}

    def submit(*arguments: str) -> tuple[int, str]:
        """Exit code, and all that it printed: spark-submit passes Python's errors on as output."""
        done = subprocess.run(
            [program("spark-submit"), *arguments],
            cwd=there,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        return done.returncode, done.stdout

    code, said = submit(*options, job, "--config", "my.yaml")
    assert code == 0, said[-3000:]
    assert re.search(r" INFO page .*/dashboard/index\.html", said), said[-3000:]
    code, said = submit(*options[2:], job, "--config", "my.yaml")
    assert code == 1
    assert "error: Spark has no Delta Lake. Start it with --packages io.delta:delta-spark_" in said, said[-3000:]


def test_removing_leaves_nothing_that_git_ignores() -> None:
    assert commands(README)[-2:] == ["make clean", "rm -rf .venv"]
    dry = subprocess.run(["make", "clean", "--dry-run"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    removed = {name.rstrip("/") for name in dry.split()} | {".venv"}
    ignored = (ROOT / ".gitignore").read_text(encoding="utf-8").split()
    assert {name.rstrip("/") for name in ignored} <= removed


@pytest.mark.parametrize("block", blocks("yaml"))
def test_settings_are_valid(block: str) -> None:
    """The first is what tests/jobs/test_catalog.py runs; those without a source are parts of one."""
    values = yaml.safe_load(block)
    places = {} if "source" in values else yaml.safe_load(blocks("yaml")[1])
    assert not set(places) & set(values)
    parse_config(places | values)


def test_python_and_queries(there: Path) -> None:
    """As a reader would: a new process in the folder with the demo, Python first, then each query in its session."""
    (python,), queries = blocks("python"), blocks("sql")
    code = f'{python}\nprint("--")\n' + "".join(
        f'\nspark.sql("""{query}""").show()\nprint("--")\n' for query in queries
    )
    found = subprocess.run([sys.executable, "-c", code], cwd=there, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr[-3000:]
    tables = [[line for line in part.splitlines() if line.startswith("|")] for part in found.stdout.split("--\n")[:-1]]
    assert len(tables) == 1 + len(queries)
    for query, table in zip([python, *queries], tables, strict=True):
        # The demo in small sends nothing that is of an unknown shape: that query shows the names of its columns.
        assert len(table) > ("FROM quarantine" not in query), f"{query}\n{found.stdout}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_pictures_are_there_and_the_links_lead_somewhere(page: Path) -> None:
    for target, heading in re.findall(r"\]\(([^)#:]+)(?:#([^)]+))?\)", PAGES[page]):
        path = (page.parent / target).resolve()
        assert path.exists(), target
        if heading:
            headings = re.findall(r"^#+ (.*)$", path.read_text(encoding="utf-8"), re.MULTILINE)
            assert heading in [re.sub(r"[^\w -]", "", one).lower().replace(" ", "-") for one in headings], heading


def test_every_page_is_named_in_readme() -> None:
    for page in PAGES:
        assert page.name == "README.md" or f"(docs/{page.name})" in README, page.name


def test_readme_is_short() -> None:
    assert len(README.split()) <= 900


def test_what_the_demo_prints_is_its_table() -> None:
    (shown,) = (block for block in blocks("text") if "Flesch-Kincaid" in block)
    heading, *rows = [line.split() for line in shown.strip().splitlines()[:3]]
    assert heading[:2] == ["version", "requests"]
    assert [row[0] for row in rows] == ["6", "7"]


@pytest.mark.long
def test_what_the_demo_prints(demo_models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """README's table is that of a run; where it isn't, docs/page.png is out of date as well.

    Counts are the same everywhere. The models are trained on this machine, and other processors round in other ways.
    """
    (shown,) = (block for block in blocks("text") if "Flesch-Kincaid" in block)
    shutil.copytree(demo_models, tmp_path / "models")
    assert cli.main(["demo", "--out", str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    heading, *rows = shown.strip().splitlines()
    at = next(i for i, line in enumerate(lines) if line.strip() == heading.strip())
    for expected, line in zip(rows, lines[at + 1 :], strict=False):
        for told, found in zip(expected.split(), line.split(), strict=True):
            assert found == told or ("." in told and float(found) == pytest.approx(float(told), rel=0.05))


def test_the_account_that_is_shown_balances() -> None:
    (shown,) = (block for block in blocks("text") if block.startswith("day "))
    _, _, _, total = shown.splitlines()
    rows, *fates = (int(count.replace(",", "")) for count in total.split()[1:])
    assert rows == sum(fates)


def test_what_the_tests_print() -> None:
    (shown,) = (block for block in blocks("text") if " passed" in block)
    assert re.fullmatch(r"=+ \d+ passed,? .*in \d+\.\d+s \(0:\d\d:\d\d\) =+\n", shown)


def test_the_example_config_of_the_demo_is_loaded(there: Path) -> None:
    assert load_config(str(there / "my.yaml")).source.path == str((there / "demo-out" / "inference").resolve())
