"""Fixtures: one Spark session with Delta for all tests, and small models saved once."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from filelock import FileLock

from tests.bench.processes import cpu_seconds
from tests.jvm import options_of_long_lived, set_options

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from schemas.config import Config

MadeOnce = Callable[[str, Callable[[Path], object]], Path]

# Workers would otherwise use whatever python3 is on the PATH.
os.environ["PYSPARK_PYTHON"] = sys.executable
os.environ.setdefault("HF_HUB_OFFLINE", "1")
# As in a Spark worker; more threads than free cores wait for each other.
os.environ["OMP_NUM_THREADS"] = "1"
set_options()
# collect() gives naive datetimes in the process's zone.
os.environ["TZ"] = "UTC"
time.tzset()


class CpuByFolder:
    """CPU seconds of each folder's tests, with the processes that they start; printed at the end.

    Each test process counts its own. What Spark does for a test after its end counts for the next one.
    """

    def __init__(self) -> None:
        self.spent: dict[str, float] = {}
        self.folder = "collection"
        self._before = 0.0

    def enter(self, folder: str) -> None:
        if folder != self.folder:
            now = cpu_seconds()
            self.add({self.folder: now - self._before})
            self.folder, self._before = folder, now

    def add(self, spent: dict[str, float]) -> None:
        for folder, seconds in spent.items():
            self.spent[folder] = self.spent.get(folder, 0.0) + seconds


CPU = CpuByFolder()


def pytest_runtest_setup(item: pytest.Item) -> None:
    CPU.enter(str(item.path.parent.relative_to(item.config.rootpath)))


def pytest_sessionfinish(session: pytest.Session) -> None:
    if CPU.folder != "collection":  # tests have run in this process
        CPU.enter("the end")
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["cpu_by_folder"] = CPU.spent


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    CPU.add(getattr(node, "workeroutput", {}).get("cpu_by_folder", {}))


def pytest_terminal_summary(terminalreporter: Any) -> None:
    terminalreporter.section("CPU seconds by folder")
    for folder, seconds in sorted(CPU.spent.items(), key=lambda one: -one[1]):
        if seconds >= 1:
            terminalreporter.line(f"{seconds:8,.0f}  {folder}")
    terminalreporter.line(f"{sum(CPU.spent.values()):8,.0f}  in all")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # For a minute one process trains the demo's models; the other has better things to do than to wait for them.
    items.sort(key=lambda item: item.path.match("demo/test_models.py"))


def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of all test processes."""
    folder = tmp_path_factory.getbasetemp()
    return folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder


@pytest.fixture(scope="session")
def spark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SparkSession]:
    from jobs.command.session import spark_session

    os.environ["SPARK_LOCAL_DIRS"] = str(tmp_path_factory.mktemp("spark"))
    warehouse = str(tmp_path_factory.mktemp("warehouse"))
    settings = {
        "spark.sql.shuffle.partitions": "2",
        # Delta reads a table's log in so many tasks; the tests' logs are short. A run of both hops takes 7 % less.
        "spark.databricks.delta.snapshotPartitions": "1",
        "spark.sql.warehouse.dir": warehouse,
        # Plans are run as they are: on a few rows, compiling code for them takes longer than it saves. The monitors
        # that tests start in processes of their own generate code, as users' do.
        "spark.sql.codegen.wholeStage": "false",
        "spark.sql.codegen.factoryMode": "NO_CODEGEN",
    }
    # One after the other: where Ivy's cache is still empty, both would write to it.
    with FileLock(shared_folder(tmp_path_factory) / "spark.lock"), options_of_long_lived():
        session = spark_session("tests", local_settings=settings)
    yield session
    session.stop()


@pytest.fixture(scope="session")
def uniform_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tests.models import save_language_model

    return save_language_model(tmp_path_factory.mktemp("uniform_model"), zero=True)


@pytest.fixture(scope="session")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> MadeOnce:
    """Makes a folder once for all test processes: the first one that asks for it makes it, the others wait."""
    root = shared_folder(tmp_path_factory)

    def make(name: str, build: Callable[[Path], object]) -> Path:
        folder, done = root / name, root / f"{name}.made"
        with FileLock(root / f"{name}.lock"):
            if not done.exists():
                folder.mkdir()
                build(folder)
                done.touch()
        return folder

    return make


@pytest.fixture(scope="session")
def language_model(made_once: MadeOnce) -> Path:
    from tests.models import save_language_model

    return made_once("language_model", save_language_model)


@pytest.fixture(scope="session")
def classifier(made_once: MadeOnce) -> Path:
    from tests.models import save_classifier

    return made_once("classifier", save_classifier)


@pytest.fixture(scope="session")
def two_thirds(spark: SparkSession, language_model: Path, classifier: Path, made_once: MadeOnce) -> Config:
    """The spine's month in small without its last commit, which waits in the source; to be copied, not changed."""
    from tests.spine import COMMITS, run
    from tests.traffic import append, config_in

    def build(folder: Path) -> None:
        config = config_in(folder, language_model, classifier)
        for commit in COMMITS[:2]:
            append(spark, config, commit)
            run(spark, config)
        append(spark, config, COMMITS[2])

    return config_in(made_once("two_thirds", build), language_model, classifier)


@pytest.fixture(scope="session")
def month(
    spark: SparkSession, two_thirds: Config, language_model: Path, classifier: Path, made_once: MadeOnce
) -> Config:
    """The spine's month in small: three commits, each followed by a run; to be copied, not changed."""
    from tests.spine import copy_of, run
    from tests.traffic import config_in

    folder = made_once("month", lambda folder: run(spark, copy_of(two_thirds, folder)))
    return config_in(folder, language_model, classifier)


@pytest.fixture(scope="session")
def demo_models(made_once: MadeOnce) -> Path:
    """The demo's trained models; about a minute."""
    from jobs.demo.models import train_models

    return made_once("demo-models", lambda folder: train_models(folder, seed=7))


@pytest.fixture(scope="session")
def demo_registry(made_once: MadeOnce) -> Path:
    """The demo's registry, in the scenario improvement."""
    from jobs.demo.registry import register_versions

    return made_once("demo-registry", lambda folder: register_versions(folder, seed=7))


@pytest.fixture(scope="session")
def demo_folder(spark: SparkSession, demo_models: Path, made_once: MadeOnce) -> Path:
    """What ``inference-metrics demo`` leaves, in small and with models that were trained before."""
    from tests.jobs.demo.test_command import run_demo

    return made_once("demo", lambda folder: run_demo(folder, demo_models, "improvement"))
