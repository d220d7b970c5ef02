"""Demo: small models and a month of traffic, then the monitor, the table and the page.

    inference-metrics demo --out demo-out [--requests 3000] [--seed 7]

Trains a small language model and a small toxicity classifier on text of ours, generates April's traffic of versions 6
and 7 of ``dbdemos_advanced_chatbot_model`` as a serving endpoint would log it, and runs
``monitor --trigger availableNow`` on it. Leaves in DIR: config.yaml (every command accepts it), models, inference (the
source table), tables, dashboard/index.html. A second run on the same folder goes on where the first one ended.
"""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import yaml

from jobs import monitor
from jobs.dashboard import page_metrics
from jobs.demo.models import train_models
from jobs.demo.traffic import generate_traffic, write_traffic
from jobs.runtime import LOG, OK, parser, run, spark_session
from metrics.dashboard.figures import summary
from metrics.score.models import be_quiet
from schemas.config import load_config

SETTINGS = {
    "source": {"path": "inference"},
    "output": {"path": "tables"},
    "trigger": "availableNow",
    "scoring": {
        "perplexity": {"model": "models/perplexity"},
        "toxicity": {"model": "models/toxicity", "label": "hate", "threshold": 0.5},
    },
    "text": {"store": "redacted"},
}


def demo(out: Path, *, requests: int, seed: int) -> int:
    """Prepare the folder, run the monitor on it, and print what it found."""
    started = time.monotonic()
    out.mkdir(parents=True, exist_ok=True)
    config_file = out / "config.yaml"
    config_file.write_text(yaml.safe_dump(SETTINGS, sort_keys=False), encoding="utf-8")
    commits = [] if (out / "inference").exists() else generate_traffic(requests=requests, seed=seed)
    if not (out / "models").exists():
        LOG.info("training two small models (about a minute)")
        be_quiet()
        _whole(out / "models", lambda folder: train_models(folder, seed=seed))
    config = load_config(str(config_file))
    spark = spark_session("inference-metrics demo")
    if commits:
        LOG.info("writing %d rows of traffic in %d commits", sum(map(len, commits)), len(commits))
        _whole(out / "inference", lambda folder: write_traffic(spark, str(folder), commits))
    code = monitor.run_once(spark, config)
    if code == OK:
        print(f"\n{version_table(summary(page_metrics(spark, config)))}\n")
        print(f"page    {out / 'dashboard' / 'index.html'}")
        print(f"config  {config_file}   (for every command: inference-metrics reconcile --config {config_file})")
    LOG.info("demo took %.0f s", time.monotonic() - started)
    return code


def _whole(folder: Path, make: Callable[[Path], None]) -> None:
    """Make a folder under another name first: one that is there was made to its end, whatever interrupted a run."""
    draft = folder.with_name(f"{folder.name}.part")
    shutil.rmtree(draft, ignore_errors=True)
    make(draft)
    draft.rename(folder)


def version_table(rows: Sequence[dict[str, object]]) -> str:
    """Per version: requests, perplexity, Flesch-Kincaid, toxicity, tokens, errors."""
    columns = (
        ("version", "model_version", "{}"),
        ("requests", "requests", "{:,.0f}"),
        ("perplexity", "response_perplexity", "{:.1f}"),
        ("Flesch-Kincaid", "response_flesch_kincaid", "{:.1f}"),
        ("prompt toxicity", "prompt_toxicity", "{:.3f}"),
        ("response toxicity", "response_toxicity", "{:.3f}"),
        ("input tokens", "input_tokens", "{:,.0f}"),
        ("output tokens", "output_tokens", "{:,.0f}"),
        ("errors", "errors", "{:,.0f}"),
    )
    lines = [[heading for heading, _, _ in columns]]
    lines += [["-" if row[key] is None else shape.format(row[key]) for _, key, shape in columns] for row in rows]
    widths = [max(len(line[i]) for line in lines) for i in range(len(columns))]
    return "\n".join("  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)) for line in lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    arguments = parser("demo", __doc__ or "", config=False)
    arguments.add_argument("--out", metavar="DIR", default="demo-out", type=Path, help="folder for everything")
    arguments.add_argument("--requests", type=int, default=3000, help="requests in the month")
    arguments.add_argument("--seed", type=int, default=7, help="of models and traffic")
    options = arguments.parse_args(argv)
    return run(lambda: demo(options.out.resolve(), requests=options.requests, seed=options.seed))


if __name__ == "__main__":
    sys.exit(main())
