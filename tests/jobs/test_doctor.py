"""What doctor says without looking at anything."""

from __future__ import annotations

import pytest

from jobs.doctor import judged_version


@pytest.mark.parametrize(
    ("version", "level"),
    [
        ("4.2.0", "ok"),
        ("4.2.1", "ok"),
        ("4.1.1", "failed"),
        ("4.1.0-db", "failed"),
        ("3.5.6", "failed"),
        ("4.3.0", "warning"),
        ("5.0.0-preview1", "warning"),
    ],
)
def test_versions_of_spark_that_were_not_run(version: str, level: str) -> None:
    found, why = judged_version(version)
    assert found == level
    assert bool(why) == (level != "ok")
