"""The errors that users meet. Each says what is wrong, where, and what to do next."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

WAY_OUT = (
    "Restore the checkpoint, or move its folder away: everything is read again, and nothing is scored or counted twice."
)
"""What to do about a damaged checkpoint."""


class MonitorError(Exception):
    """Root of the errors that end a command with exit code 1."""


class ConfigError(MonitorError):
    """The configuration has mistakes; all of them are listed (exit code 2)."""

    def __init__(self, where: str, problems: Iterable[str]) -> None:
        self.problems = list(problems)
        lines = "\n".join(f"- {problem}" for problem in self.problems)
        super().__init__(f"{where} has {len(self.problems)} problem(s):\n{lines}")


class SourceError(MonitorError):
    """The inference table is missing, or its columns are those of no known dialect."""


class ModelError(MonitorError):
    """A scoring model can't be loaded, or lacks what the configuration asks of it."""


class ScorerError(MonitorError):
    """A scorer from elsewhere can't be loaded, or is none that can be used."""


class TableError(MonitorError):
    """A table of the monitor is missing or is not what this version writes."""


class CheckpointError(MonitorError):
    """A streaming query can't go on from its checkpoint."""


class LockedError(MonitorError):
    """Another process is at work where only one may be; it is named."""

    def __init__(self, name: str, holder: str, until: datetime) -> None:
        super().__init__(
            f"{name} is in use by {holder}, and two would do everything twice. Stop one of them; if that one no longer "
            f"runs, its place is free at {until:%H:%M:%S} UTC"
        )


class JavaError(MonitorError):
    """Spark finds no Java that is new enough; what was found is named."""


class RegistryError(MonitorError):
    """The MLflow registry can't be read, or lacks what is asked of it."""


class PayloadError(MonitorError):
    """A family of payloads from elsewhere can't be loaded, or is none."""
