"""A monitor that is killed again and again, at random, while rows arrive in disorder, twice and late.

    python -m tests.soak --kills 20 --seed 1 [--updates]

Some rows share an id, some are ratings; with ``--updates`` the monitor reads the change feed, and answers come later.

Each round one or two commits arrive and a monitor is started; it dies in one of several ways, drawn by the seed:
SIGKILL of driver and JVM at a random moment, SIGKILL at a named fail point, SIGKILL of the JVM alone, SIGTERM, or
SIGKILL of a Python worker, which must not end it. A last monitor runs to the end. Then everything is recomputed from
the source by another hand (pandas, and the scorers without Spark), and compared. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import pandas as pd
import yaml
from pyspark.sql import functions as F
from tqdm import tqdm

from jobs.command.fail_points import FAIL_POINT_VARIABLE, FAIL_POINTS
from jobs.command.session import spark_session
from jobs.reconcile import reconcile
from jobs.scoring.scorers import scorer_settings
from metrics.score.exchanges import load_scorers, score_exchanges
from schemas.config import Config
from schemas.feedback import FEEDBACK
from schemas.profile_metrics import ALL_VERSIONS, PROFILE_METRICS, WHOLE_ONLY_SECONDS
from schemas.quarantine import QUARANTINE
from schemas.scores import SCORES
from tests import oracle
from tests.jvm import set_options
from tests.models import WORDS, save_classifier, save_language_model
from tests.spine import table
from tests.traffic import answer, append, config_in, frame, row, settings

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

BEGUN = "checkpoint "
"""What the monitor's log says when its query is about to start."""

WAYS = {"kill": 5, "fail point": 4, "kill the JVM": 1, "terminate": 1, "kill a worker": 1}
"""How a monitor dies, and how often in comparison; at first in each way once."""

SPARK, DAEMON = "org.apache.spark", "metrics.score.daemon"
"""What the command lines of a monitor's JVM and of its Python workers hold."""

MOMENTS = 25.0
"""Seconds after the start of its query within which a monitor is killed."""


CATS, OF_6 = "prompt LIKE '%cat%'", "model_version = '6'"
"""Slices."""


SHARED = "None"
"""An id that many calls have."""


@dataclass
class Traffic:
    """Rows of two versions within a few minutes of four days; some come late, some twice, some can't be read.

    ``sent`` holds each as it was in the end.
    """

    draw: random.Random
    sent: list[dict[str, Any]] = field(default_factory=list)

    def commit(self) -> list[dict[str, Any]]:
        """Some new rows, and some that were sent before."""
        new = [self._row(len(self.sent) + i) for i in range(self.draw.randrange(4, 12))]
        again = self.draw.choices(self.sent, k=self.draw.randrange(4)) if self.sent else []
        self.sent += new
        mixed = [*new, *again]
        self.draw.shuffle(mixed)
        return mixed

    def update(self) -> list[dict[str, Any]]:
        """Some rows that were sent before, with another answer."""
        plain = [i for i, one in enumerate(self.sent) if one["databricks_request_id"].startswith("plain ")]
        chosen = self.draw.sample(plain, min(len(plain), self.draw.randrange(1, 4)))
        for i in chosen:
            self.sent[i] = self.sent[i] | {"response": answer(self._text())}
        return [self.sent[i] for i in chosen]

    def _row(self, number: int) -> dict[str, Any]:
        draw, request_id = self.draw, f"request {number}"
        late = timedelta(days=-draw.choice((40, 90))) if draw.random() < 0.08 else timedelta(0)
        at = timedelta(days=draw.randrange(4), minutes=draw.choice((0, 1, 2, 7, 61, 62)), seconds=draw.randrange(60))
        common: dict[str, Any] = {
            "at": late + at,
            "version": draw.choice("67"),
            "fraction": draw.choice((1.0, 1.0, 0.5, 0.1, None)),
            "milliseconds": draw.randrange(50, 5000),
        }
        fate = draw.random()
        if fate < 0.06:
            return row(request_id, request='{"messages": [{"role": "us', **common)
        if fate < 0.12:
            return row(
                request_id, status=500, response_body='{"error_code": "INTERNAL"}', prompt=self._text(), **common
            )
        if fate < 0.2:
            texts = [self._text() for _ in range(draw.randrange(2, 5))]
            request = json.dumps({"dataframe_records": [{"query": text} for text in texts]})
            answers = json.dumps({"predictions": [self._text() for _ in texts]})
            return row(request_id, request=request, response_body=answers, **common)
        if fate < 0.3:  # contents that are equal under one id would be one call
            return row(SHARED, prompt=f"{number} {self._text()}", response=self._text(), **common)
        if fate < 0.36:
            rated = {"request_id": "request 0", "text_assessments": [{"ratings": {"answer_correct": {"value": "yes"}}}]}
            return row(request_id, request=json.dumps({"dataframe_records": [rated]}), **common)
        return row(f"plain {number}", prompt=self._text(), response=self._text(), **common)

    def _text(self) -> str:
        return " ".join(self.draw.choices(WORDS.split(), k=self.draw.randrange(1, 12)))


class Monitor:
    """A standing monitor in a process group of its own."""

    def __init__(self, config_file: Path, log: Path, *options: str, fail_point: str = "") -> None:
        self._log, self._skip = log, log.stat().st_size if log.exists() else 0
        command = [sys.executable, "-m", "jobs.cli", "monitor", "--config", str(config_file), *options]
        with log.open("ab") as stream:
            self.process = subprocess.Popen(
                command,
                stdout=stream,
                stderr=stream,
                env=os.environ | {FAIL_POINT_VARIABLE: fail_point},
                start_new_session=True,
            )

    def said(self) -> str:
        """What it has logged."""
        return self._log.read_bytes()[self._skip :].decode("utf-8", "replace")

    def wait_for(self, text: str) -> None:
        """Wait until it has logged a text, or has ended."""
        while text not in self.said() and self.process.poll() is None:
            time.sleep(0.2)

    def children(self) -> dict[int, tuple[int, str]]:
        """All processes below it: their parents and command lines."""
        running: dict[int, tuple[int, str]] = {}
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                    running[int(entry.name)] = parent, (entry / "cmdline").read_text().replace("\0", " ")
                except OSError:
                    continue
        found = {self.process.pid}
        while more := {pid for pid, (parent, _) in running.items() if parent in found} - found:
            found |= more
        return {pid: running[pid] for pid in found & set(running) - {self.process.pid}}

    def jvm(self) -> int:
        """The process of Spark's driver."""
        (pid,) = [pid for pid, (_, command) in self.children().items() if SPARK in command]
        return pid

    def workers(self) -> list[int]:
        """The Python workers: forked from their daemon, whose command line they have."""
        below = self.children()
        # Spark's own command line holds the daemon's name, too: it is one of the settings.
        daemons = {pid for pid, (_, command) in below.items() if DAEMON in command and SPARK not in command}
        return [pid for pid in sorted(daemons) if below[pid][0] in daemons]

    def kill_all(self) -> None:
        """SIGKILL to driver, JVM and workers, as when the machine goes down."""
        pids = [self.process.pid, *self.children()]
        for pid in pids:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        self.process.wait()


def die(way: str, config_file: Path, log: Path, draw: random.Random, send: Callable[[], None]) -> bool:
    """Run a monitor until it dies in this way; whether something was killed.

    A monitor that ends by itself fails the soak. ``send`` brings rows.
    """
    point = draw.choice(FAIL_POINTS) if way == "fail point" else ""
    monitor = Monitor(config_file, log, "--trigger", "1 second", fail_point=point)
    try:
        monitor.wait_for(BEGUN)
        if way == "fail point":
            assert monitor.process.wait() == -signal.SIGKILL, monitor.said()[-3000:]
            return True
        time.sleep(draw.uniform(0, MOMENTS))
        assert monitor.process.poll() is None, monitor.said()[-3000:]
        if way == "terminate":
            monitor.process.terminate()
            assert monitor.process.wait() == 0, monitor.said()[-3000:]
        elif way == "kill the JVM":
            os.kill(monitor.jvm(), signal.SIGKILL)
            assert monitor.process.wait() != 0, "a monitor whose JVM died ends with an error"
        elif way == "kill a worker":
            workers = monitor.workers()
            if not workers:
                return False
            os.kill(draw.choice(workers), signal.SIGKILL)
            batches = monitor.said().count(" INFO batch ")
            send()
            while monitor.said().count(" INFO batch ") == batches:
                assert monitor.process.poll() is None, monitor.said()[-3000:]
                time.sleep(0.2)
        return True
    finally:
        monitor.kill_all()


def expected_scores(calls: list[dict[str, Any]], config: Config) -> tuple[pd.DataFrame, int, int]:
    """What ``scores`` has to hold of rows that are all different, how many are for quarantine, and for ``feedback``."""
    scorers = load_scorers(scorer_settings(config))
    exchanges = []
    broken = rated = 0
    for one in calls:
        try:
            request = json.loads(one["request"])
        except ValueError:
            broken += 1
            continue
        if "text_assessments" in request.get("dataframe_records", [{}])[0]:
            rated += 1
            continue
        response = json.loads(one["response"])
        if "messages" in request:
            choices = response.get("choices")
            pairs = [(request["messages"][-1]["content"], choices[0]["message"]["content"] if choices else None)]
        else:
            pairs = list(zip((r["query"] for r in request["dataframe_records"]), response["predictions"], strict=True))
        exchanges += [
            {
                "request_id": one["databricks_request_id"],
                "exchange_index": i,
                "request_time": pd.Timestamp(one["timestamp_ms"], unit="ms"),
                "model_version": one["request_metadata"]["model_version"],
                "status_code": one["status_code"],
                "error_code": response.get("error_code"),
                "sampling_fraction": one["sampling_fraction"],
                "execution_duration_ms": one["execution_time_ms"],
                "prompt": prompt,
                "response": answer,
            }
            for i, (prompt, answer) in enumerate(pairs)
        ]
    frame = pd.DataFrame(exchanges)
    prompts, responses = ([None if pd.isna(text) else text for text in frame[name]] for name in ("prompt", "response"))
    scored = score_exchanges(
        scorers,
        prompts=prompts,
        responses=responses,
        contexts=[json.dumps([{"role": "user", "content": text}]) for text in prompts],
        count_tokens=[True] * len(frame),
    )
    for name in scored[0]:
        frame[name] = [one[name] for one in scored]
    frame = frame.rename(columns={"counted_input_tokens": "input_tokens", "counted_output_tokens": "output_tokens"})
    for name, texts in (("prompt", prompts), ("response", responses)):
        frame[f"{name}_chars"] = [None if text is None else len(text) for text in texts]
        frame[f"{name}_words"] = [None if text is None else len(text.split()) for text in texts]
    for name in ("latency_ms", "time_to_first_byte_ms", "cached_input_tokens", "cost"):
        frame[name] = float("nan")
    frame["scorers"] = [dict(scorers.fingerprints)] * len(frame)
    return frame, broken, rated


def update(spark: SparkSession, config: Config, rows: list[dict[str, Any]]) -> None:
    """One commit of the inference table that gives rows, by their id, another answer."""
    frame(spark, rows).select("databricks_request_id", "response").createOrReplaceTempView("updated")
    spark.sql(
        f"MERGE INTO delta.`{config.source.path}` t USING updated s "
        "ON t.databricks_request_id = s.databricks_request_id WHEN MATCHED THEN UPDATE SET t.response = s.response"
    )


def stored_windows(spark: SparkSession, config: Config) -> pd.DataFrame:
    """``profile_metrics``, with the windows' ``start``."""
    df = spark.read.format("delta").load(f"{config.output.path}/{PROFILE_METRICS.name}")
    frame: pd.DataFrame = df.withColumn("start", F.col("window.start")).toPandas()
    return frame


def wrong_slices(spark: SparkSession, config: Config, scores: pd.DataFrame) -> list[Any]:
    """Keys of the windows whose slices are not as many, or whose requests are not those of the rows in them."""
    requests = stored_windows(spark, config).query("column_name == 'requests' and slice_key.notna()")
    found = requests.set_index(["granularity", "start", "model_version", "slice_key", "slice_value"])["count"]
    prompts = scores["prompt"].fillna("").str
    words = scores["prompt_words"].map(lambda n: "no prompt" if pd.isna(n) else _length(n))
    yes_or_no = {CATS: prompts.contains("cat"), OF_6: scores["model_version"] == "6"}
    values = {name: value.map(lambda one: str(bool(one)).lower()) for name, value in yes_or_no.items()}
    values["prompt_length"] = words
    counted: Counter[tuple[Any, ...]] = Counter()
    for granularity in config.granularities:
        if pd.Timedelta(granularity).total_seconds() <= WHOLE_ONLY_SECONDS:
            continue
        starts = scores["request_time"].dt.floor(pd.Timedelta(granularity))
        for expr, value in values.items():
            for start, version, one in zip(starts, scores["model_version"], value, strict=True):
                counted.update([(granularity, start, v, expr, one) for v in (version, ALL_VERSIONS)])
    return [key for key in set(counted) | set(found.index) if counted.get(key) != found.get(key)]


def _length(words: float) -> str:
    names = {10: "up to 10 words", 50: "11 to 50 words", 300: "51 to 300 words"}
    return next((name for most, name in names.items() if words <= most), "over 300 words")


def differing_windows(spark: SparkSession, config: Config, scores: pd.DataFrame) -> list[Any]:
    """Keys of the windows, but for those of slices, that are not as a recomputation in pandas has them."""
    expected = oracle.profile(scores, config.granularities, config.scoring.toxicity.threshold)
    stored_rows = stored_windows(spark, config).query("slice_key.isna()")
    names = ["granularity", "start", "model_version", "column_name", "scorer_fingerprint"]
    stored = {tuple(one[name] for name in names): one for one in stored_rows.to_dict("records")}
    differing: list[Any] = list(set(stored) ^ set(expected))
    if len(stored) != len(stored_rows):
        differing.append("a key twice")
    for key, figures in expected.items():
        found = stored.get(key)
        if found is not None and not all(_same(name, found[name], value) for name, value in figures.items()):
            differing.append(key)
    return differing


def _same(name: str, stored: Any, value: Any) -> bool:
    if isinstance(value, dict):
        return dict(stored) == value
    if value is None or pd.isna(value):
        return bool(pd.isna(stored))
    # Which texts share a batch changes a score's last digits; a deviation of equal scores is nothing but them.
    tolerance = 1e-3 if name == "stddev" else 1e-5
    return not pd.isna(stored) and abs(stored - value) <= tolerance * max(abs(value), 1.0)


def soak(folder: Path, *, kills: int, seed: int, updates: bool = False) -> dict[str, Any]:
    """Kill monitors on one source; what is wrong in the end."""
    draw = random.Random(seed)
    models = save_language_model(folder / "lm"), save_classifier(folder / "classifier")
    some: dict[str, Any] = {
        "source": {
            "path": str(folder / "inference"),
            "max_files_per_trigger": 2,
            "on_source_change": "cdf" if updates else "fail",
        },
        "slicing_exprs": [CATS, OF_6],
    }
    config, config_file, log = config_in(folder, *models, **some), folder / "config.yaml", folder / "log"
    config_file.write_text(yaml.safe_dump(settings(folder, *models, **some)))
    spark = spark_session("soak")
    traffic, ways = Traffic(draw), Counter[str]()
    rows = 0
    first = draw.sample(list(WAYS), len(WAYS))

    def send() -> None:
        nonlocal rows
        commit = traffic.commit()
        rows += len(commit)
        append(spark, config, commit)
        if updates and draw.random() < 0.5:
            update(spark, config, traffic.update())

    if updates:
        append(spark, config, [])
        feed = "SET TBLPROPERTIES ('delta.enableChangeDataFeed' = 'true')"
        spark.sql(f"ALTER TABLE delta.`{config.source.path}` {feed}")
    with tqdm(total=kills, unit=" kills", disable=None, file=sys.stderr) as progress:
        while sum(ways.values()) < kills:
            for _ in range(draw.randrange(1, 4)):
                send()
            way = first[-1] if first else draw.choices(list(WAYS), list(WAYS.values()))[0]
            if die(way, config_file, log, draw, send):
                ways[way] += 1
                first = first[:-1]
                progress.update()
    last = Monitor(config_file, log, "--trigger", "availableNow")
    assert last.process.wait() == 0, last.said()[-3000:]

    expected, broken, rated = expected_scores(traffic.sent, config)
    # Which of the calls that share an id has it alone depends on which came first: their times tell them apart.
    keys = ["request_id", "request_time", "exchange_index"]
    scores = table(spark, SCORES, config)
    named = scores["request_id"]
    problems = reconcile(spark, config).problems
    if scores.duplicated(["request_date", "request_id", "exchange_index"]).any():
        problems.append("two calls with one id")
    stored = Counter(map(tuple, scores.assign(request_id=named.str.partition("#")[0])[keys].values))
    # Two calls of one id may also be of one millisecond: both have to be there.
    wanted = Counter(map(tuple, expected[keys].values))
    quarantined = table(spark, QUARANTINE, config)["source_row_hash"]
    if quarantined.nunique() != broken:
        problems.append(f"{quarantined.nunique()} rows in quarantine instead of {broken}")
    problems += [f"scores holds a row once more than the source: {key}" for key in stored - wanted]
    ratings = table(spark, FEEDBACK, config)["feedback_id"]
    if len(ratings) != rated or ratings.nunique() != rated:
        problems.append(f"{len(ratings)} ratings instead of {rated}")
    differing = differing_windows(spark, config, expected) + wrong_slices(spark, config, expected)
    return {
        "soak": "monitor",
        "seed": seed,
        "kills": sum(ways.values()),
        "ways": dict(ways),
        "updates": updates,
        "source_rows": rows,
        "unique_rows": len(traffic.sent),
        "of_one_id": sum(one["databricks_request_id"] == SHARED for one in traffic.sent),
        "ratings": rated,
        "days": expected["request_time"].dt.date.nunique(),
        "windows": int(spark.read.format("delta").load(f"{config.output.path}/{PROFILE_METRICS.name}").count()),
        "lost": (wanted - stored).total(),
        "double": (stored - wanted).total() + len(quarantined) - quarantined.nunique(),
        "differing": len(differing),
        "problems": problems,
        "examples": [str(key) for key in differing[:5]],
    }


def main() -> int:
    """Run the soak; 1 if anything is wrong."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--kills", type=int, default=20)
    arguments.add_argument("--seed", type=int, default=1)
    arguments.add_argument("--updates", action="store_true", help="answers come later, by the source's change feed")
    options = arguments.parse_args()
    set_options()
    with TemporaryDirectory() as folder:
        result = soak(Path(folder), kills=options.kills, seed=options.seed, updates=options.updates)
    wrong = result["lost"] + result["double"] + result["differing"] + len(result["problems"])
    print(
        f"{result['kills']} kills, {result['source_rows']:,} rows of {result['unique_rows']:,} requests: "
        f"{result['lost']} lost, {result['double']} double, "
        f"{result['differing']} of {result['windows']:,} windows differ"
    )
    print(json.dumps(result))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
