"""Version: one version's card, from model_versions and profile_metrics.

inference-metrics version 7 --config conf/local.yaml [--model NAME] [--json]
"""

from __future__ import annotations

import argparse
import json
import sys
from typing import TYPE_CHECKING, Any

from jobs.command.call import Call, command
from jobs.command.errors import OK
from jobs.services.model_versions import as_json, rows_of
from jobs.store.tables import table_exists
from jobs.windows.drawn import page_metrics
from metrics.dashboard.summary import named, number, summary, versions
from schemas.config import Config
from schemas.errors import RegistryError
from schemas.profile_metrics import PROFILE_METRICS

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

Card = dict[str, Any]


def card(spark: SparkSession, config: Config, version: str, *, model: str | None = None) -> Card:
    """What is known of a version.

    Returns:
        ``model_name``, ``model_version``, ``registry`` (its row of ``model_versions``, or None) and ``live`` (a list:
        per endpoint what ``metrics.dashboard.summary.summary`` says of it; empty before its first traffic).

    Raises:
        RegistryError: Neither table knows the version, or several models have one of this number.
    """
    registered = {(row["model_name"], row["model_version"]): row for row in rows_of(spark, config)}
    live: dict[tuple[str, str], list[Card]] = {}
    if table_exists(spark, PROFILE_METRICS, config.output):
        for (endpoint, name), rows in page_metrics(spark, config).groupby(
            ["endpoint_name", "model_name"], dropna=False
        ):
            for found in summary(rows):
                live.setdefault((named(name), found["model_version"]), []).append(
                    {"endpoint_name": named(endpoint), **found}
                )
    known = {*registered, *live}
    names = sorted({name for name, number_of in known if number_of == version and model in (None, name)})
    preferred = config.mlflow.registered_model
    if model is None and preferred in names:
        names = [preferred]
    if not names:
        raise RegistryError(
            f"version {version} is neither in model_versions nor in profile_metrics; {_known(known, model)}"
        )
    if len(names) > 1:
        raise RegistryError(f"several models have a version {version}; name one with --model: {', '.join(names)}")
    key = (names[0], version)
    return {
        "model_name": key[0],
        "model_version": version,
        "registry": registered.get(key),
        "live": live.get(key, []),
    }


def _known(known: set[tuple[str, str]], model: str | None) -> str:
    import pandas as pd

    found = versions(pd.DataFrame({"model_version": [version for name, version in known if model in (None, name)]}))
    return f"known: {', '.join(found)}" if found else "run monitor and sync-registry first"


def show(found: Card) -> str:
    """The card to read."""
    lines = [f"{found['model_name']} version {found['model_version']}", ""]
    row = found["registry"]
    if row is None:
        lines.append("not in model_versions; run inference-metrics sync-registry")
    else:
        lines += [
            f"{name:<15}{value}"
            for name, value in (
                ("status", row["status"]),
                ("aliases", ", ".join(row["aliases"] if row["aliases"] is not None else []) or "-"),
                ("registered", _time(row["created_at"])),
                ("updated", _time(row["updated_at"])),
                ("run", f"{row['run_name'] or '-'} ({row['run_id'] or '-'})"),
                ("experiment", row["experiment"] or "-"),
                ("inputs", _fields(row["signature_inputs"])),
                ("outputs", _fields(row["signature_outputs"])),
                ("flavors", ", ".join(row["flavors"] if row["flavors"] is not None else []) or "-"),
                ("python", row["python_version"] or "-"),
                ("requirements", ", ".join(row["requirements"] if row["requirements"] is not None else []) or "-"),
                ("artifacts", row["artifact_uri"] or "-"),
            )
        ]
    for live in found["live"]:
        lines += [
            "",
            f"on endpoint {live['endpoint_name']}, {live['first_window']:%Y-%m-%d} to {live['last_window']:%Y-%m-%d}",
        ]
        lines += [f"{name:<19}{_number(live[key], digits)}" for name, key, digits in LIVE]
    if not found["live"]:
        lines += ["", "no traffic yet"]
    return "\n".join(lines)


LIVE = (
    ("requests", "requests", 0),
    ("perplexity", "response_perplexity", 2),
    ("Flesch-Kincaid", "response_flesch_kincaid", 2),
    ("response toxicity", "response_toxicity", 4),
    ("prompt toxicity", "prompt_toxicity", 4),
    ("input tokens", "input_tokens", 0),
    ("output tokens", "output_tokens", 0),
    ("errors", "errors", 0),
    ("error rate", "error_rate", 4),
)


def _fields(schema: str | None) -> str:
    """``name: type`` of a signature's columns, short."""
    if schema is None:
        return "-"
    return ", ".join(f"{one.get('name', '')}: {one['type']}".removeprefix(": ") for one in json.loads(schema))


def _time(value: Any) -> str:
    return f"{value:%Y-%m-%d %H:%M:%S} UTC" if value else "-"


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else number(value, digits)


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("version", help="of the registered model, for example 7")
    parser.add_argument("--model", metavar="NAME", help="registered model; default: mlflow.registered_model")


def _work(call: Call) -> int:
    config = call.config
    found = card(call.spark, config, call.options.version, model=call.options.model)
    call.show(found, lambda: show(found), default=as_json)
    return OK


main = command(__doc__, _work, _arguments, as_json="the card")


if __name__ == "__main__":
    sys.exit(main())
