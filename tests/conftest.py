"""Fixtures: one Spark session with Delta for all tests, and small models saved once."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from filelock import FileLock

from tests.jvm import set_options

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

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


def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of all test processes."""
    folder = tmp_path_factory.getbasetemp()
    return folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder


@pytest.fixture(scope="session")
def spark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SparkSession]:
    from jobs.runtime import spark_session

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
    with FileLock(shared_folder(tmp_path_factory) / "spark.lock"):
        session = spark_session("tests", local_settings=settings)
    yield session
    session.stop()


@pytest.fixture(scope="session")
def language_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tests.models import save_language_model

    return save_language_model(tmp_path_factory.mktemp("language_model"))


@pytest.fixture(scope="session")
def uniform_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tests.models import save_language_model

    return save_language_model(tmp_path_factory.mktemp("uniform_model"), zero=True)


@pytest.fixture(scope="session")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tests.models import save_classifier

    return save_classifier(tmp_path_factory.mktemp("classifier"))


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
