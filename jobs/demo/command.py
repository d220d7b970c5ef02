"""Demo: a chatbot, its registry and a month of its traffic, then the monitor, the table and the page.

    inference-metrics demo --out demo-out [--scenario improvement] [--days 30] [--requests 3000] [--seed 7]

Registers versions 1 to 7 of ``dbdemos_advanced_chatbot_model`` in an MLflow store, asks versions 6 and 7 a month of
questions and logs them as a serving endpoint does, trains a small language model and a small toxicity classifier on
text of ours, and runs ``monitor --trigger availableNow`` twice: on most of the log, and on the rest of it, whose late
rows change windows that were written before. Leaves in DIR: config.yaml (every command accepts it), mlflow.db
(``mlflow ui --backend-store-uri sqlite:///DIR/mlflow.db``), mlflow-artifacts, models, inference (the source table),
tables, dashboard/index.html. A second run on the same folder goes on where the first one ended.

Scenarios: improvement (version 7 is simpler and calmer), regression (it is the other way round), no-change (7 talks
as 6 does), incident (an improvement whose index breaks one day for six hours).
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import yaml

from jobs import monitor, sync_registry
from jobs.command.call import Call, command
from jobs.command.errors import FAILED, OK
from jobs.command.log import LOG
from jobs.command.session import spark_session
from jobs.demo.models import train_models
from jobs.demo.registry import MODEL, SCENARIOS, Scenario, register_versions
from jobs.demo.traffic import (
    COMMITS,
    DAYS,
    ENDPOINT,
    REQUESTS,
    Plan,
    Row,
    generate_traffic,
    missing_commits,
    write_traffic,
)
from jobs.windows.drawn import page_metrics
from metrics.dashboard.summary import summary
from metrics.score.models import be_quiet
from schemas.config import load_config
from schemas.errors import ConfigError

SETTINGS = {
    "source": {"path": "inference"},
    "output": {"path": "tables"},
    "trigger": "availableNow",
    "scoring": {
        # One type on all machines, so that one seed gives one page.
        "perplexity": {"model": "models/perplexity", "dtype": "float32"},
        "toxicity": {"model": "models/toxicity", "dtype": "float32", "label": "hate", "threshold": 0.5},
    },
    "text": {"store": "redacted"},
    "mlflow": {"tracking_uri": "sqlite:///mlflow.db", "registered_model": MODEL},
    "serving": {"endpoint": ENDPOINT},
}


FIRST_RUN = 4
"""So many commits of the log are there when the monitor runs for the first time."""

LIMITS = {"days": DAYS, "requests": REQUESTS, "seed": (0, 2**32 - 1)}


@dataclass(frozen=True)
class Options:
    """What decides a demo's tables; kept in its folder, because a second run must be of the same demo."""

    scenario: Scenario = "improvement"
    days: int = 30
    requests: int = 3000
    seed: int = 7


def demo(out: Path, options: Options) -> int:
    """Prepare the folder, run the monitor on it, and print what it found.

    Raises:
        ConfigError: The options can't be followed, or the folder holds a demo with others.
    """
    started = time.monotonic()
    prepare(out, options)
    be_quiet()
    if not (out / "models").exists():
        LOG.info("training two small models (about a minute)")
        _whole(out / "models", lambda folder: train_models(folder, seed=options.seed))
    config_file, inference = out / "config.yaml", str(out / "inference")
    config = load_config(str(config_file))
    spark = spark_session("inference-metrics demo")
    missing = missing_commits(spark, inference)
    if len(missing) == COMMITS:
        LOG.info("registering versions 1 to 7 of %s", MODEL)
        register_versions(out, seed=options.seed, scenario=options.scenario)
    sync_registry.sync(spark, config)
    commits: list[list[Row]] = []
    if missing:
        LOG.info("asking versions 6 and 7, %d requests in %d days", options.requests, options.days)
        plan = Plan(days=options.days, scenario=options.scenario)
        commits = generate_traffic(out, plan, requests=options.requests, seed=options.seed)
    early, late = [n for n in missing if n < FIRST_RUN], [n for n in missing if n >= FIRST_RUN]
    for numbers in (early, late) if missing else ([],):
        for number in numbers:
            write_traffic(spark, inference, commits, number)
        if numbers:
            LOG.info("the endpoint logged %d rows", sum(len(commits[number]) for number in numbers))
        if monitor.run_once(spark, config) != OK:
            return FAILED
    print(f"\n{version_table(summary(page_metrics(spark, config)))}\n")
    print(f"page      {out / 'dashboard' / 'index.html'}")
    commands = Path(sys.executable).parent
    print(f"registry  {commands / 'mlflow'} ui --backend-store-uri '{config.mlflow.tracking_uri}'")
    print(f"config    {commands / 'inference-metrics'} reconcile --config '{config_file}'   (and every other command)")
    LOG.info("demo took %.0f s", time.monotonic() - started)
    return OK


def prepare(out: Path, options: Options) -> None:
    """Make the folder with its settings, or see that it is one of the same demo."""
    given = asdict(options)
    problems = [
        f"--{name}: must be from {low:,} to {high:,} (got {given[name]})"
        for name, (low, high) in LIMITS.items()
        if not low <= given[name] <= high
    ]
    if problems:
        raise ConfigError("demo", problems)
    kept = out / "demo.json"
    taken = [
        name
        for name in ("config.yaml", "inference", "mlflow.db", "mlflow-artifacts", "tables")
        if (out / name).exists()
    ]
    if taken and not kept.exists():
        raise ConfigError("demo", [f"{out} is no demo and holds {', '.join(taken)}; name another folder with --out"])
    if kept.exists() and (before := json.loads(kept.read_text(encoding="utf-8"))) != given:
        shown = " ".join(f"--{name} {value}" for name, value in before.items())
        raise ConfigError("demo", [f"{out} holds a demo with {shown}; name another folder with --out, or remove it"])
    out.mkdir(parents=True, exist_ok=True)
    kept.write_text(json.dumps(given), encoding="utf-8")
    if not (out / "config.yaml").exists():  # what a user changed in it stays
        (out / "config.yaml").write_text(yaml.safe_dump(SETTINGS, sort_keys=False), encoding="utf-8")


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


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", metavar="DIR", default="demo-out", type=Path, help="folder for everything")
    parser.add_argument("--scenario", choices=SCENARIOS, default="improvement", help="what becomes of version 7")
    parser.add_argument("--days", type=int, default=30, help="days of traffic, the new version from the middle on")
    parser.add_argument("--requests", type=int, default=3000, help="requests in the log")
    parser.add_argument("--seed", type=int, default=7, help="of models, registry and traffic")


def _work(call: Call) -> int:
    given = dict(vars(call.options))
    return demo(given.pop("out").resolve(), Options(**given))


main = command(__doc__, _work, _arguments, config=False)


if __name__ == "__main__":
    sys.exit(main())
