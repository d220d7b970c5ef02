"""The demo's own part: the folder it prepares, and the table that it prints."""

from __future__ import annotations

from pathlib import Path

import pytest

from jobs.demo.command import SETTINGS, _whole, version_table
from schemas.config import parse_config


def test_what_was_interrupted_is_made_again(tmp_path: Path) -> None:
    def stopped(folder: Path) -> None:
        folder.mkdir()
        (folder / "half").touch()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        _whole(tmp_path / "models", stopped)
    assert not (tmp_path / "models").exists()
    _whole(tmp_path / "models", lambda folder: folder.mkdir())
    assert list((tmp_path / "models").iterdir()) == []


def test_the_settings_it_leaves_are_valid() -> None:
    assert parse_config(SETTINGS).text.store == "redacted"


def test_the_table_shows_what_is_missing() -> None:
    keys = (
        "requests",
        "response_flesch_kincaid",
        "prompt_toxicity",
        "response_toxicity",
        "input_tokens",
        "output_tokens",
    )
    row: dict[str, object] = {
        **dict.fromkeys(keys, 1234.5),
        "model_version": "7",
        "response_perplexity": None,
        "errors": 3,
    }
    heading, line = version_table([row]).splitlines()
    assert heading.split()[:3] == ["version", "requests", "perplexity"]
    assert line.split() == ["7", "1,234", "-", "1234.5", "1234.500", "1234.500", "1,234", "1,234", "3"]
