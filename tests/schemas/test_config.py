"""Settings: all mistakes at once, before anything is written."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import pytest

from schemas.config import AVAILABLE_NOW, Config, load_config, parse_config
from schemas.errors import ConfigError

GOOD: dict[str, Any] = {"source": {"path": "/in"}, "output": {"path": "/out"}}


def problems(values: dict[str, Any]) -> list[str]:
    with pytest.raises(ConfigError) as error:
        parse_config(values)
    return error.value.problems


def test_all_mistakes_are_reported_at_once_with_what_would_be_right() -> None:
    found = problems(
        GOOD
        | {
            "triger": "1 minute",
            "scoring": {"devise": "cpu", "toxicity": {"threshold": 3}},
            "granularities": ["7 minutes"],
        }
    )
    assert len(found) == 4
    assert "triger: unknown; did you mean trigger?" in found
    assert "scoring.devise: unknown; did you mean device?" in found
    assert any(p.startswith("scoring.toxicity.threshold: ") and "(got 3)" in p for p in found)
    assert any(p.startswith("granularities.0: must divide a UTC day evenly") for p in found)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"output": {"path": "/out"}}, "source: is missing"),
        (GOOD | {"source": {}}, "source: needs exactly one of path"),
        (GOOD | {"source": {"path": "/a", "table": "b"}}, "source: needs exactly one of path"),
        (GOOD | {"source": {"table": "a; DROP TABLE x"}}, "source.table: must be a name"),
        (GOOD | {"output": {"schema": "a.b"}}, "checkpoints: needs a folder"),
        (
            GOOD | {"granularities": ["1 hour", "60 minutes"]},
            "granularities: must be at least one, and each length only once",
        ),
        (GOOD | {"granularities": []}, "granularities: must be at least one"),
        (GOOD | {"source": {"path": "/a", "max_bytes_per_trigger": "lots"}}, "source.max_bytes_per_trigger: "),
        (GOOD | {"trigger": "soon"}, "trigger: must be a whole number and a unit"),
        (GOOD | {"text": {"key": "hunter2"}}, "text.key: must name an environment variable"),
        (GOOD | {"text": {"key": "env:NOT_SET_ANYWHERE"}}, "names the environment variable NOT_SET_ANYWHERE"),
        (GOOD | {"text": {"store": "some"}}, "text.store: "),
        (GOOD | {"retention": {"scores": "36 hours"}}, "retention.scores: must be whole days"),
        (GOOD | {"retention": {"metrics": "3 years"}}, "retention: must be scores <= minute_metrics <= metrics"),
        (
            GOOD | {"retention": {"scores": "9 days", "minute_metrics": "8 days"}},
            "retention: must be scores <= minute_metrics <= metrics",
        ),
        (GOOD | {"maintenance": "1 hour"}, "maintenance: must be whole days"),
        (GOOD | {"slicing_exprs": [{"expr": ""}]}, "slicing_exprs.0.expr: "),
        (GOOD | {"slicing_exprs": [{"expr": "a", "value": ["b"]}]}, "slicing_exprs.0.value: unknown"),
        (
            GOOD | {"source": {"path": "/a", "served_entities": {"e": {"model": "m"}}}},
            "source.served_entities.e.model: unknown",
        ),
        (GOOD | {"source": {"path": "/a", "served_entities": "a b"}}, "source.served_entities: must be a name"),
        (GOOD | {"source": {"path": "/a", "dialect": "columns"}}, "source: columns goes with dialect: columns"),
        (GOOD | {"source": {"path": "/a", "columns": {"request": "r"}}}, "source: columns goes with dialect: columns"),
        (
            GOOD | {"source": {"path": "/a", "dialect": "columns", "columns": {"req": "r"}}},
            "columns: unknown req; known: ",
        ),
        (
            GOOD | {"source": {"path": "/a", "dialect": "columns", "columns": {"request": "r", "response": "r"}}},
            "columns: needs request_time, status_code",
        ),
    ],
)
def test_mistakes(values: dict[str, Any], expected: str) -> None:
    assert any(expected in problem for problem in problems(values))


def test_a_secret_in_a_file_is_not_repeated() -> None:
    assert "hunter2" not in "".join(problems(GOOD | {"text": {"key": "hunter2"}}))


@pytest.mark.parametrize("spelling", ["availableNow", "available-now", "availablenow"])
def test_available_now_in_every_spelling(spelling: str) -> None:
    assert parse_config(GOOD | {"trigger": spelling}).trigger == AVAILABLE_NOW


def test_days_are_counted_back_from_today() -> None:
    values = {"scores": "90 days", "minute_metrics": "13 weeks", "metrics": "3 years"}
    retention = parse_config(GOOD | {"retention": values}).retention
    today = date(2026, 4, 1)
    assert [retention.horizon(what, today) for what in ("scores", "minute_metrics", "metrics")] == [
        date(2026, 1, 1), date(2025, 12, 31), date(2023, 4, 2),
    ]  # fmt: skip
    assert parse_config(GOOD).retention.horizon("scores", today) is None


def test_maintenance_off_in_yaml(tmp_path: Path) -> None:
    text = "source: {path: in}\noutput: {path: out}\nmaintenance: off"
    assert load_config(write(tmp_path, text)).maintenance == "off"


def write(folder: Path, text: str) -> str:
    file = folder / "conf.yaml"
    file.write_text(text)
    return str(file)


def test_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    (tmp_path / "models" / "lm").mkdir(parents=True)
    text = "source: {path: in}\noutput: {path: ../out}\n"
    text += "scoring: {perplexity: {model: models/lm}, toxicity: {model: org/name}}"
    config = load_config(write(tmp_path, text))
    assert config.source.path == str(tmp_path / "in")
    assert config.output.path == str(tmp_path.parent / "out")
    assert config.scoring.perplexity.model == str(tmp_path / "models" / "lm")
    assert config.scoring.toxicity.model == "org/name", "a hub id stays one"
    assert config.checkpoint("x") == f"{tmp_path.parent / 'out'}/_checkpoints/x"


def test_overrides_win(tmp_path: Path) -> None:
    file = write(tmp_path, "source: {path: in}\noutput: {path: out}\ntrigger: 1 minute")
    config = load_config(file, ["trigger=availableNow", "scoring.toxicity.threshold=0.7", "source.path=/other"])
    assert (config.trigger, config.scoring.toxicity.threshold, config.source.path) == (AVAILABLE_NOW, 0.7, "/other")
    with pytest.raises(ConfigError, match="must be key=value"):
        load_config(file, ["trigger"])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: 1\na: 2", "occurs twice"),
        ("a: &x [1]\nb: *x", "aliases are not allowed"),
        ("a: !!python/object:os.system {}", "is not valid YAML"),
        ("- 1", "must hold a mapping"),
        ("a: [", "is not valid YAML"),
    ],
)
def test_yaml_that_is_refused(tmp_path: Path, text: str, expected: str) -> None:
    with pytest.raises(ConfigError, match=expected):
        load_config(write(tmp_path, text))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no\.yaml has 1 problem"):
        load_config(str(tmp_path / "no.yaml"))


def test_settings_never_change() -> None:
    config = parse_config(GOOD)
    with pytest.raises(ValueError, match="frozen"):
        config.trigger = "1 minute"
    assert isinstance(config, Config)
