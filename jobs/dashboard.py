"""Dashboard: profile_metrics, batches, model_versions → one self-contained HTML page.

inference-metrics dashboard --config conf/local.yaml [--out DIR]
"""

from __future__ import annotations

import argparse
import re
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from pyspark.sql import functions as F

from jobs.command.call import Call, command
from jobs.command.errors import OK
from jobs.command.log import LOG
from jobs.scoring.ledger import unknown_shapes
from jobs.store.tables import read_table, table_exists
from jobs.windows.drawn import PageCache, page_metrics
from schemas.batches import BATCHES
from schemas.config import Config
from schemas.errors import ConfigError
from schemas.model_versions import MODEL_VERSIONS
from schemas.quarantine import QUARANTINE

if TYPE_CHECKING:
    import pandas as pd
    from pyspark.sql import SparkSession

REGISTRY_COLUMNS = ("model_name", "model_version", "run_id", "run_name", "aliases")
"""What the page shows of the registry."""


def write_page(spark: SparkSession, config: Config, out: str | None = None, cache: PageCache | None = None) -> Path:
    """Write ``index.html``; by default into ``dashboard`` beside the tables' folder.

    Args:
        spark: Session.
        config: Settings.
        out: Folder.
        cache: What the page before was drawn of, by this process.
    """
    # They need plotly; where there is none, the page fails, and all other steps of a monitor go on.
    from metrics.dashboard.charts import NEEDS
    from metrics.dashboard.page import LEDGER, page

    batches = read_table(spark, BATCHES, config.output)
    names = [name for name in (*LEDGER, "rows_feedback") if name in batches.columns]
    counts = batches.agg(*(F.sum(name).alias(name) for name in names)).toPandas()
    threshold = config.scoring.toxicity.threshold
    registry = None
    if table_exists(spark, MODEL_VERSIONS, config.output):
        registry = read_table(spark, MODEL_VERSIONS, config.output).select(*REGISTRY_COLUMNS).toPandas()
    html = page(
        page_metrics(spark, config, NEEDS, cache),
        counts,
        unknown_shape=_unknown_shape(spark, config, cache or PageCache(), counts),
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


def _unknown_shape(
    spark: SparkSession, config: Config, cache: PageCache, counts: pd.DataFrame
) -> tuple[str, str, int] | None:
    """The most frequent shape of payloads that are not understood; looked for when more rows are in quarantine."""
    quarantined = counts["rows_quarantined"].iloc[0]
    if cache.shape is None or cache.shape[0] != quarantined:
        found = unknown_shapes(spark, config, most=1) if table_exists(spark, QUARANTINE, config.output) else []
        cache.shape = quarantined, found[0] if found else None
    return cache.shape[1]


def default_folder(config: Config) -> str:
    """Where the page goes unless told: beside the tables' folder, or in the checkpoints' folder.

    Raises:
        ConfigError: That is no folder of a mounted file system; the page needs one.
    """
    base = str(config.output.path or config.checkpoints)
    if re.match(r"^[a-zA-Z][\w+.-]*:", base):
        raise ConfigError("dashboard", [f"{base} is no mounted folder; name one with dashboard --out"])
    return str(Path(base).parent / "dashboard") if config.output.path else f"{base}/dashboard"


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", metavar="DIR", help="folder for index.html")


def _work(call: Call) -> int:
    config = call.config
    print(write_page(call.spark, config, call.options.out))
    return OK


main = command(__doc__, _work, _arguments)


if __name__ == "__main__":
    sys.exit(main())
