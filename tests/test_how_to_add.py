"""docs/how-to-add.md, done to the letter on a copy of the source, and what follows from it."""

from __future__ import annotations

import ast
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]

LOOK = """
import json
from datetime import timedelta
import pandas as pd
from jobs import cli, monitor
from metrics.aggregate.statistics import window_statistics
from metrics.dashboard.charts import CHARTS, NEEDS, Section
from schemas.measures import measures_mark
from schemas.tables import TABLES, as_markdown
from tests.metrics.aggregate.rows import exchange, table_of

found = window_statistics(table_of([exchange()]), granularities=["1 hour"], toxicity_threshold=0.5).to_pylist()
start = pd.Timestamp("2026-04-01")
rows = pd.DataFrame({
    "window_start": [start], "window_end": [start + timedelta(days=1)], "granularity": ["1 day"],
    "model_version": ["7"], "column_name": ["refusal_rate"], "weighted_avg": [0.25], "count": [4],
})
figure = CHARTS[-1].draw(Section(rows, None, "7"))
print(json.dumps({
    "measure": [row["avg"] for row in found if row["column_name"] == "words_per_word" and row["slice_key"] is None],
    "mark": measures_mark(),
    "chart": [list(map(float, trace.y)) for trace in figure.data],
    "needs": NEEDS["1 day"],
    "tables": [table.name for table in TABLES],
    "columns": as_markdown(),
    "commands": {name: text for name, (_, text) in cli.COMMANDS.items()},
    "steps": [step.name for step in monitor.STEPS],
}))
"""


def blocks() -> list[tuple[str, str, str]]:
    """File, where in it, and text of the blocks that name one."""
    page = (ROOT / "docs" / "how-to-add.md").read_text(encoding="utf-8")
    found = re.findall(r"```py\n(?:# )([\w/]+\.py)(?:: (\w+))?\n(.*?)```", page, flags=re.DOTALL)
    return [(file, place, text) for file, place, text in found]


def with_more(source: str, name: str, text: str) -> str:
    """The source with elements at the end of a tuple that is assigned to a name."""
    (value,) = (
        one.value
        for one in ast.walk(ast.parse(source))
        if (isinstance(one, ast.Assign) and isinstance(one.targets[0], ast.Name) and one.targets[0].id == name)
        or (isinstance(one, ast.AnnAssign) and isinstance(one.target, ast.Name) and one.target.id == name)
    )
    assert isinstance(value, ast.Tuple)
    assert value.end_lineno is not None
    lines = source.splitlines(keepends=True)
    last = lines[value.end_lineno - 1]
    assert last.strip() == ")", "the tuple's end is a line of its own"
    return "".join([*lines[: value.end_lineno - 1], text, *lines[value.end_lineno - 1 :]])


def with_import(source: str, text: str) -> str:
    """The source with one more import, after its others."""
    last = max(one.end_lineno or 0 for one in ast.parse(source).body if isinstance(one, ast.ImportFrom))
    lines = source.splitlines(keepends=True)
    return "".join([*lines[:last], text, *lines[last:]])


@pytest.fixture(scope="module")
def after(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the program says of itself when everything was added."""
    copy = tmp_path_factory.mktemp("copy")
    for name in ("jobs", "metrics", "schemas", "tests/metrics/aggregate"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    for package in ("tests", "tests/metrics"):
        shutil.copy(ROOT / package / "__init__.py", copy / package)
    for name, place, text in blocks():
        file = copy / name
        if not place:
            assert not file.exists(), name
            file.write_text(text, encoding="utf-8")
        elif place == "import":
            file.write_text(with_import(file.read_text(encoding="utf-8"), text), encoding="utf-8")
        else:
            file.write_text(with_more(file.read_text(encoding="utf-8"), place, text), encoding="utf-8")
    done = subprocess.run([sys.executable, "-c", LOOK], cwd=copy, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    called = [sys.executable, "-m", "jobs.freshness", "--help"]
    found["help"] = subprocess.run(called, cwd=copy, capture_output=True, text=True, check=True).stdout
    return found


def test_the_page_names_files_for_each_thing() -> None:
    assert [(file, place) for file, place, _ in blocks()] == [
        ("schemas/measures.py", "_MADE"),
        ("metrics/dashboard/charts.py", "CHARTS"),
        ("schemas/verdicts.py", ""),
        ("schemas/tables.py", "TABLES"),
        ("schemas/tables.py", "import"),
        ("jobs/freshness.py", ""),
        ("jobs/monitor.py", "STEPS"),
    ]


def test_a_measure_is_in_the_windows(after: dict[str, Any]) -> None:
    from schemas.measures import measures_mark

    assert after["measure"] == [4.0, 4.0], "of the version and of all"
    assert after["mark"] != measures_mark(), "windows of before are recomputed"


def test_a_chart_is_drawn(after: dict[str, Any]) -> None:
    assert after["chart"] == [[0.25]]
    assert "refusal_rate" in after["needs"]


def test_a_table_is_one_of_all(after: dict[str, Any]) -> None:
    assert after["tables"][-1] == "verdicts"
    assert "| `verdict` | string | better, worse, equivalent or inconclusive |" in after["columns"]


def test_a_command_is_listed_and_has_help(after: dict[str, Any]) -> None:
    assert after["commands"]["freshness"] == "how old the newest scored request is"
    assert "--config" in after["help"]
    assert "--json" in after["help"]


def test_a_step_is_the_last_of_a_tick(after: dict[str, Any]) -> None:
    assert after["steps"] == ["windows", "page", "maintenance", "freshness"]
