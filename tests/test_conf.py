"""The example settings are valid, and conf/default.yaml says what the code does."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from schemas.config import Config, load_config

CONF = Path(__file__).parent.parent / "conf"


@pytest.mark.parametrize("name", ["local", "databricks"])
def test_examples_are_valid(name: str) -> None:
    assert load_config(str(CONF / f"{name}.yaml")).granularities == ("1 minute", "5 minutes", "1 hour", "1 day")


def test_the_listed_defaults_are_the_defaults() -> None:
    listed = yaml.safe_load((CONF / "default.yaml").read_text())
    listed["source"]["path"], listed["output"]["path"] = "/in", "/out"
    minimal = Config.model_validate({"source": {"path": "/in"}, "output": {"path": "/out"}})
    assert Config.model_validate(listed) == minimal


def test_every_setting_is_listed() -> None:
    listed = yaml.safe_load((CONF / "default.yaml").read_text())
    known = Config.model_validate({"source": {"path": "/in"}, "output": {"path": "/out"}}).model_dump(by_alias=True)
    for section, value in known.items():
        assert section in listed
        if isinstance(value, dict):
            assert set(value) == set(listed[section])
