"""What scorers fill, and what decides which they are; without their libraries, for the driver."""

from __future__ import annotations

from dataclasses import dataclass

from schemas.config import Scoring
from schemas.installed import scorers

COLUMNS = {scorer.name: scorer.column_names for scorer in scorers()}
"""Which columns of ``scores`` a scorer fills."""


@dataclass(frozen=True)
class ScorerSettings:
    """Which scorers to load; hashable, so that a worker process loads each set once.

    Attributes:
        scoring: The settings of scorers and of what they run on.
        tracking_uri: MLflow store for ``models:/``; None for MLflow's own default.
        names: The scorers that the driver has.
    """

    scoring: Scoring
    tracking_uri: str | None = None
    names: tuple[str, ...] = tuple(COLUMNS)

    def __hash__(self) -> int:
        """Of a part: what settings from elsewhere hold may not be hashable."""
        return hash((self.scoring.device, self.tracking_uri, self.names))
