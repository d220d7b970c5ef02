"""A Python worker daemon whose scorers are free: every text has the same scores, and no model is loaded.

For benchmarks of all that is not scoring; the session's spark.python.daemon.module names it.
"""

from __future__ import annotations

from typing import Any

from pyspark.daemon import manager

from metrics.score import exchanges
from metrics.score.columns import COLUMNS, ScorerSettings
from metrics.score.likelihoods import fill
from metrics.score.loaded import Loaded

MARKS = {column: f"none, {scorer}" for scorer, columns in COLUMNS.items() for column in columns}


def load_scorers(settings: ScorerSettings, gpu: int | None = None) -> exchanges.Scorers:
    """As ``exchanges.load_scorers``."""

    def always(value: Any, mark: str = "") -> Loaded:
        return Loaded(lambda keys: [value] * len(keys), mark)

    perplexity = Loaded(lambda keys: [((30.0, 10),) * len(key) for key in keys], "none, perplexity", fill=fill)
    return exchanges.Scorers(
        loaded={
            "toxicity": always(0.1, "none, toxicity"),
            "perplexity": perplexity,
            "readability": always(7.0, "none, readability"),
        },
        language=always("en"),
        tokens=always(10),
    )


if __name__ == "__main__":
    exchanges.load_scorers = load_scorers  # type: ignore[assignment]
    manager()
