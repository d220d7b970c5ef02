"""Fail points: where the kill tests can ask a run to die."""

from __future__ import annotations

import os
import signal

FAIL_POINT_VARIABLE = "INFERENCE_METRICS_FAIL_POINT"

FAIL_POINTS = (
    *("before_scores", "after_scores", "after_quarantine", "after_feedback", "after_batches"),
    *("before_windows", "after_windows", "after_tick"),
)
"""Where ``fail_point`` can be asked to die, in the order in which a run comes by."""


def fail_point(name: str) -> None:
    """Die here, as by SIGKILL, when the environment asks for it; for tests of what a crash leaves behind."""
    assert name in FAIL_POINTS
    if os.environ.get(FAIL_POINT_VARIABLE) == name:
        os.kill(os.getpid(), signal.SIGKILL)
