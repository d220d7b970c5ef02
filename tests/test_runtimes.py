"""The wheel beside the libraries of Databricks ML runtimes: it asks for nothing that they would have to replace."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[1]
RUNTIMES = sorted((ROOT / "tests" / "runtimes").glob("*.txt"))
BROUGHT = {"datasketches", "msgspec", "phonenumbers", "plotly", "py3langid", "pyphen"}
"""What a runtime may lack: installed beside it, with nothing below but packages of its own."""


def pins(runtime: Path) -> dict[str, Version]:
    lines = [line for line in runtime.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    return {name: Version(version) for name, version in (line.split("~=") for line in lines)}


def asked() -> list[Requirement]:
    """``install_requires`` of setup.py: what a plain ``pip install WHEEL`` asks for."""
    tree = ast.parse((ROOT / "setup.py").read_text(encoding="utf-8"))
    (listed,) = (one.value for one in ast.walk(tree) if isinstance(one, ast.keyword) and one.arg == "install_requires")
    return [Requirement(text) for text in ast.literal_eval(listed)]


@pytest.mark.parametrize("runtime", RUNTIMES, ids=lambda runtime: runtime.stem)
@pytest.mark.parametrize("requirement", asked(), ids=lambda requirement: requirement.name)
def test_a_runtime_has_what_the_wheel_asks_for(runtime: Path, requirement: Requirement) -> None:
    name, there = canonicalize_name(requirement.name), pins(runtime)
    if name not in there:
        assert name in BROUGHT
    else:
        assert there[name] in requirement.specifier, f"{runtime.stem} has {there[name]}"


def test_the_heavy_ones_are_left_to_the_cluster() -> None:
    names = {requirement.name for requirement in asked()}
    assert names.isdisjoint({"pyspark", "delta-spark", "torch", "mlflow", "pandas", "pyarrow", "numpy", "textstat"})


def test_the_lists_say_where_they_are_from() -> None:
    assert [one.stem for one in RUNTIMES] == ["18-ml", "19-ml"]
    for one in RUNTIMES:
        head = one.read_text(encoding="utf-8").partition("\nannotated")[0]
        assert re.search(
            r"https://github.com/databricks/environments, .*commit [0-9a-f]{12}; read 20\d\d-\d\d-\d\d", head
        )
