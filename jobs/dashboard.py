"""Dashboard: profile_metrics, batches, model_versions → one self-contained HTML page.

inference-metrics dashboard --config conf/local.yaml [--out DIR]
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from pyspark.sql import functions as F

from jobs.aggregate_windows import current_metrics
from jobs.runtime import LOG, OK, parser, read_config, run, spark_session
from jobs.tables import read_table, table_exists
from metrics.dashboard.page import LEDGER, page
from schemas.batches import BATCHES
from schemas.config import Config
from schemas.errors import ConfigError
from schemas.model_versions import MODEL_VERSIONS
from schemas.profile_metrics import PROFILE_METRICS

if TYPE_CHECKING:
    import pandas as pd
    from pyspark.sql import SparkSession

FIGURE_COLUMNS = {
    "1 minute": ("response_flesch_kincaid",),
    "1 hour": (
        "prompt_toxicity",
        "prompt_toxic_rate",
        "output_tokens",
        "requests",
        "error_rate",
        "execution_duration_ms",
    ),
    "1 day": (
        "requests",
        "error_rate",
        "prompt_toxicity",
        "response_toxicity",
        "response_perplexity",
        "response_flesch_kincaid",
        "input_tokens",
        "output_tokens",
        "execution_duration_ms",
    ),
}
"""What the page draws, so that only this leaves Spark."""

REGISTRY_COLUMNS = ("model_name", "model_version", "run_id", "run_name", "aliases")
"""What the page shows of the registry."""

RECENT_DAYS = 31
"""Minutes and hours are drawn for this many days before the newest window; days are drawn for ever."""


def page_metrics(spark: SparkSession, config: Config) -> pd.DataFrame:
    """The rows of ``profile_metrics`` that the page draws, with ``window_start`` and ``window_end``.

    Of each version's measure only the newest scorer's windows: different scorers are never mixed.
    """
    wanted = F.lit(False)
    for granularity, names in FIGURE_COLUMNS.items():
        wanted = wanted | ((F.col("granularity") == granularity) & F.col("column_name").isin(*names))
    rows = read_table(spark, PROFILE_METRICS, config.output).where(wanted & F.col("slice_key").isNull())
    newest = _newest_date(spark, config)
    if newest is not None:
        recent = F.col("window_date") > F.lit(newest - timedelta(days=RECENT_DAYS))
        rows = rows.where(recent | (F.col("granularity") == "1 day"))
    return (
        rows.transform(current_metrics)
        .select(
            F.col("window.start").alias("window_start"),
            F.col("window.end").alias("window_end"),
            "granularity",
            "endpoint_name",
            "model_name",
            "model_version",
            "column_name",
            "count",
            "num_nulls",
            "avg",
            "median",
            "min",
            "max",
            "sum",
            "weighted_count",
            "weighted_avg",
            "sum_wx",
            "sum_w2",
            "sum_w2x",
            "sum_w2x2",
        )
        .toPandas()
    )


def _newest_date(spark: SparkSession, config: Config) -> date | None:
    """The last UTC date that has windows; as a rule a late one, and older ones need not be looked at."""
    dates = read_table(spark, PROFILE_METRICS, config.output).select("window_date")
    late = F.col("window_date") > F.lit(datetime.now(UTC).date() - timedelta(days=RECENT_DAYS))
    for some in (dates.where(late), dates):
        newest: date | None = some.agg(F.max("window_date")).collect()[0][0]
        if newest is not None:
            return newest
    return None


def write_page(spark: SparkSession, config: Config, out: str | None = None) -> Path:
    """Write ``index.html``; by default into ``dashboard`` beside the tables' folder."""
    counts = read_table(spark, BATCHES, config.output).agg(*(F.sum(name).alias(name) for name in LEDGER)).toPandas()
    threshold = config.scoring.toxicity.threshold
    registry = None
    if table_exists(spark, MODEL_VERSIONS, config.output):
        registry = read_table(spark, MODEL_VERSIONS, config.output).select(*REGISTRY_COLUMNS).toPandas()
    html = page(
        page_metrics(spark, config),
        counts,
        generated_at=datetime.now(UTC),
        threshold=threshold,
        model_versions=registry,
    )
    folder = Path(out or default_folder(config))
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / "index.html"
    # A reader that reloads meanwhile sees the old page or the new one, never half of one.
    draft = folder / ".index.html.new"
    draft.write_text(html, encoding="utf-8")
    draft.replace(target)
    LOG.info("page %s", target)
    return target


def default_folder(config: Config) -> str:
    """Where the page goes unless told: beside the tables' folder, or in the checkpoints' folder.

    Raises:
        ConfigError: That is no folder of a mounted file system; the page needs one.
    """
    base = str(config.output.path or config.checkpoints)
    if re.match(r"^[a-zA-Z][\w+.-]*:", base):
        raise ConfigError("dashboard", [f"{base} is no mounted folder; name one with dashboard --out"])
    return str(Path(base).parent / "dashboard") if config.output.path else f"{base}/dashboard"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    arguments = parser("dashboard", __doc__ or "")
    arguments.add_argument("--out", metavar="DIR", help="folder for index.html")
    options = arguments.parse_args(argv)

    def command() -> int:
        config = read_config(options)
        print(write_page(spark_session("dashboard"), config, options.out))
        return OK

    return run(command)


if __name__ == "__main__":
    sys.exit(main())
