"""Doctor: checks what a run needs, and writes nothing.

    inference-metrics doctor --config conf/local.yaml [--json]

One line per check: ok, warning or failed; exits 1 if one failed.

    versions     Python, Spark, Delta, torch and transformers
    source       readable, of a known form; rewritten rows against source.on_source_change; its change feed for cdf
    retention    the source's log and its removed files are kept longer than the time since the last batch plus a day
    tables       those of the monitor that are there, and whether the folders can be written to
    models       each loads, with the labels and the tokenizer that the settings ask for
    payloads     families of payloads from elsewhere load; the unknown shapes that quarantine has most of
    slices       each expression of slicing_exprs can be used
    hashes       their key is set
"""

from __future__ import annotations

import os
import platform
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

from pyspark.errors import PySparkException
from pyspark.sql import functions as F

from jobs.command.call import Call, command
from jobs.command.errors import FAILED, OK, described
from jobs.command.log import LOG
from jobs.scoring.ledger import unknown_shapes
from jobs.scoring.scorers import scorer_settings
from jobs.scoring.slicing import check_slices
from jobs.source.changes import skipped_versions
from jobs.source.inference_table import common_rows, read_source, source_identifier
from jobs.store.checkpoints import SCORE_RESPONSES, checkpoint_in_use
from jobs.store.tables import read_table, table_exists
from metrics.score.udf import check_scorers
from metrics.unpack.dialects import detect_dialect
from metrics.unpack.payloads import FAMILIES, families
from schemas.batches import BATCHES
from schemas.config import TEXT_KEY_VARIABLE, Config
from schemas.errors import MonitorError
from schemas.quarantine import QUARANTINE
from schemas.tables import TABLES

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

MARGIN = timedelta(days=1)
"""How much longer than the stand-still the source has to be kept: time to notice, and to catch up."""

RETENTION = {
    "delta.logRetentionDuration": "interval 30 days",
    "delta.deletedFileRetentionDuration": "interval 1 week",
}
"""Delta's properties of what is kept of a table's past, and their defaults."""

TRIED = (4, 2)
"""Version of Spark that this was run with."""

RECENT_COMMITS = 1000
SHAPES_NAMED = 3
WELL, WARNING, BAD = "ok", "warning", "failed"


@dataclass(frozen=True)
class Finding:
    """What one check found; ``level`` is ok, warning or failed."""

    check: str
    level: str
    text: str


def examine(spark: SparkSession, config: Config, *, now: datetime) -> list[Finding]:
    """All checks, one after another; a check that breaks is a finding and stops no other."""
    checks: dict[str, Callable[[], Iterator[Finding]]] = {
        "versions": lambda: _versions(spark),
        "source": lambda: _source(spark, config),
        "retention": lambda: _retention(spark, config, now),
        "tables": lambda: _tables(spark, config),
        "models": lambda: _models(spark, config),
        "payloads": lambda: _payloads(spark, config),
        "slices": lambda: _slices(spark, config),
        "hashes": lambda: _hashes(config),
    }
    findings: list[Finding] = []
    for name, check in checks.items():
        try:
            findings += check()
        except MonitorError as error:
            findings.append(Finding(name, BAD, str(error)))
        except Exception as error:
            LOG.debug("%s", name, exc_info=True)
            findings.append(Finding(name, BAD, described(error)))
    return findings


def _versions(spark: SparkSession) -> Iterator[Finding]:
    found = {"Python": platform.python_version(), "Spark": spark.version}
    for name in ("delta-spark", "torch", "transformers"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "none"
    text = ", ".join(f"{name} {number}" for name, number in found.items())
    level, why = judged_version(spark.version)
    yield Finding("versions", level, f"{text}; {why}" if why else text)


def judged_version(spark: str) -> tuple[str, str]:
    """Level and reason for a version of Spark: older ones than ``TRIED`` are refused."""
    found = tuple(int(part) for part in re.findall(r"\d+", spark)[:2])
    if found < TRIED:
        return BAD, "Spark 4.2 is needed: nothing older was run, and 4.1.1 stands still at its first batch"
    return (WARNING, "this was run with Spark 4.2") if found > TRIED else (WELL, "")


def _source(spark: SparkSession, config: Config) -> Iterator[Finding]:
    source = read_source(spark, config)
    name = source_identifier(config.source)
    dialect = detect_dialect(source.columns, dialect=config.source.dialect)
    common_rows(source, config).limit(1).collect()
    yield Finding("source", WELL, f"{name}: {dialect}, {source.count():,} rows")
    rewrites = _rewrites(spark, config)
    policy = config.source.on_source_change
    if policy != "cdf" and rewrites:
        what = f"{len(rewrites)} of its last commits changed or removed rows, the last one in {rewrites[-1]}"
        if policy == "fail":
            yield Finding(
                "source", WARNING, f"{what}; source.on_source_change is fail: the stream stops at the next one"
            )
        else:
            yield Finding("source", WARNING, f"{what}; source.on_source_change is skip: what those insert is not read")
    feed = _properties(spark, config).get("delta.enableChangeDataFeed") == "true"
    if policy == "cdf":
        text = "its change feed is on" if feed else "source.on_source_change is cdf, but its change feed is off"
        yield Finding("source", WELL if feed else BAD, text)


def _rewrites(spark: SparkSession, config: Config) -> list[str]:
    newest = spark.sql(f"DESCRIBE HISTORY {source_identifier(config.source)} LIMIT 1").collect()[0]["version"]
    found = skipped_versions(spark, config, after=max(-1, newest - RECENT_COMMITS), until=newest)
    return [str(one) for one in found]


def _properties(spark: SparkSession, config: Config) -> dict[str, str]:
    detail = spark.sql(f"DESCRIBE DETAIL {source_identifier(config.source)}")
    return dict(detail.select("properties").collect()[0][0])


def _retention(spark: SparkSession, config: Config, now: datetime) -> Iterator[Finding]:
    last = _last_batch(spark, config)
    since = timedelta(0) if last is None else now - last
    told = "no batch was written yet" if last is None else f"the last batch ended {_days(since)} ago"
    properties = _properties(spark, config)
    for name, default in RETENTION.items():
        kept = _duration(spark, properties.get(name, default))
        if kept < since + MARGIN:
            text = f"{name} is {_days(kept)}, and {told}: what the stream has not read may be gone. Run it, or raise it"
            yield Finding("retention", WARNING, text)
        else:
            yield Finding("retention", WELL, f"{name} is {_days(kept)}; {told}")


def _last_batch(spark: SparkSession, config: Config) -> datetime | None:
    if not table_exists(spark, BATCHES, config.output):
        return None
    newest = F.max(F.col("finished_at").cast("double"))
    seconds = read_table(spark, BATCHES, config.output).agg(newest).collect()[0][0]
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)


def _duration(spark: SparkSession, interval: str) -> timedelta:
    """Of Delta's form, for example ``interval 30 days``."""
    kept = spark.range(1).select(F.lit(interval).alias("kept"))
    seconds = kept.selectExpr("unix_seconds(TIMESTAMP'1970-01-01 00:00:00' + CAST(kept AS INTERVAL))")
    return timedelta(seconds=seconds.collect()[0][0])


def _days(duration: timedelta) -> str:
    hours = duration.total_seconds() / 3600
    return f"{hours:.0f} hours" if hours < 48 else f"{hours / 24:.0f} days"


def _tables(spark: SparkSession, config: Config) -> Iterator[Finding]:
    there = [table.name for table in TABLES if table_exists(spark, table, config.output)]
    where = config.output.path or f"{config.output.schema_name}, prefix {config.output.prefix!r}"
    yield Finding("tables", WELL, f"{', '.join(there) or 'none yet'} in {where}")
    if config.output.schema_name is not None:
        try:
            spark.sql(f"DESCRIBE SCHEMA {'.'.join(f'`{part}`' for part in config.output.schema_name.split('.'))}")
        except PySparkException as error:
            yield Finding("tables", BAD, f"schema {config.output.schema_name} can't be used: {described(error)}")
    for folder in {config.output.path, config.checkpoint(SCORE_RESPONSES)} - {None}:
        place = _existing(Path(str(folder)))
        if "://" not in str(folder) and place is not None and not os.access(place, os.W_OK):
            yield Finding("tables", BAD, f"{folder} can't be written to")
    yield Finding("tables", WELL, f"checkpoint {checkpoint_in_use(spark, config.checkpoint(SCORE_RESPONSES))}")


def _existing(path: Path) -> Path | None:
    """The folder, or the nearest one above it that is there."""
    return next((place for place in (path, *path.parents) if place.exists()), None)


def _models(spark: SparkSession, config: Config) -> Iterator[Finding]:
    fingerprints, warnings = check_scorers(spark, scorer_settings(config))
    for fingerprint in sorted(set(fingerprints.values())):
        yield Finding("models", WELL, fingerprint)
    for warning in warnings:
        yield Finding("models", WARNING, warning)


def _payloads(spark: SparkSession, config: Config) -> Iterator[Finding]:
    others = [family.name for family in families() if family not in FAMILIES]
    yield Finding("payloads", WELL, ", ".join([f"{len(FAMILIES)} families of payloads are read", *others]))
    if table_exists(spark, QUARANTINE, config.output):
        for reason, shape, rows in unknown_shapes(spark, config, most=SHAPES_NAMED):
            yield Finding("payloads", WARNING, f"{reason}, {rows:,} in quarantine: {shape}")


def _slices(spark: SparkSession, config: Config) -> Iterator[Finding]:
    check_slices(spark, config)
    for one in config.slicing_exprs:
        yield Finding("slices", WELL, one.expr)


def _hashes(config: Config) -> Iterator[Finding]:
    if config.text.secret():
        yield Finding("hashes", WELL, "their key is set")
    else:
        text = f"they have no key: anyone can test guesses on them. Set {TEXT_KEY_VARIABLE} or text.key"
        yield Finding("hashes", WARNING, text)


def show(findings: Sequence[Finding]) -> str:
    """The findings as lines to read."""
    return "\n".join(f"{one.level:<8} {one.check:<10} {one.text}" for one in findings)


def _work(call: Call) -> int:
    config = call.config
    findings = examine(call.spark, config, now=datetime.now(UTC))
    call.show([asdict(one) for one in findings], lambda: show(findings))
    return FAILED if any(one.level == BAD for one in findings) else OK


main = command(__doc__, _work, as_json="the findings")


if __name__ == "__main__":
    sys.exit(main())
