"""The logger of all commands."""

from __future__ import annotations

import logging

LOG = logging.getLogger("inference_metrics")
