"""The demo's MLflow registry: versions 1 to 7 of a RAG chatbot, each from a run of its own.

A version is ``chatbot.py`` with its artifacts: the manual, an index of it, and settings. Every version searches in its
own way, and the scenario says how 6 and 7 talk; a run's metrics are measured on questions about the manual.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import version as installed
from importlib.resources import files
from pathlib import Path
from random import Random
from statistics import fmean
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Literal

import mlflow
from mlflow import MlflowClient
from mlflow.environment_variables import MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR
from mlflow.models import ModelSignature
from mlflow.pyfunc import PythonModelContext
from mlflow.types.schema import Array, ColSpec, DataType, Object, ParamSchema, ParamSpec, Property, Schema
from scipy.sparse import save_npz
from sklearn.feature_extraction.text import TfidfVectorizer

from jobs.demo.chatbot import RagChatbot, vectorizer_options
from jobs.demo.styles import PATTERNS, Style, style
from jobs.demo.text import TOPICS, question
from metrics.score.readability import flesch_kincaid

if TYPE_CHECKING:
    from mlflow.pyfunc import PyFuncModel

__all__ = [
    "MODEL",
    "SCENARIOS",
    "Scenario",
    "load_version",
    "mlflow_store",
    "register_versions",
    "store_uri",
    "version_settings",
    "write_artifacts",
]

MODEL = "dbdemos_advanced_chatbot_model"
EXPERIMENT = RUN_NAME = "dbdemos_chatbot_rag"
CHAMPION, CHALLENGER = 6, 7
VERSIONS = (1, 2, 3, 4, 5, 6, 7)
ALIASES = {"champion": CHAMPION, "challenger": CHALLENGER}

Scenario = Literal["improvement", "regression", "no-change", "incident"]
SCENARIOS: dict[Scenario, dict[int, Style]] = {
    "improvement": {CHAMPION: "formal", CHALLENGER: "plain"},
    "regression": {CHAMPION: "plain", CHALLENGER: "formal"},
    "no-change": {CHAMPION: "formal", CHALLENGER: "formal"},
    "incident": {CHAMPION: "formal", CHALLENGER: "plain"},
}
"""How versions 6 and 7 talk. An incident is an improvement whose index breaks while version 7 is served."""

MIN_SCORE = 0.1
"""Below this a passage does not answer a prompt."""

_WORDS = {"ngram_range": [1, 1], "stop_words": "english"}
RETRIEVAL: dict[int, dict[str, Any]] = {
    1: {"unit": "page", "top_k": 1, "min_score": MIN_SCORE, "tfidf": {"ngram_range": [1, 1]}},
    2: {"unit": "page", "top_k": 1, "min_score": MIN_SCORE, "tfidf": _WORDS},
    3: {"unit": "paragraph", "top_k": 1, "min_score": MIN_SCORE, "tfidf": _WORDS},
    4: {"unit": "paragraph", "top_k": 2, "min_score": MIN_SCORE, "tfidf": {**_WORDS, "ngram_range": [1, 2]}},
    5: {"unit": "paragraph", "top_k": 2, "min_score": MIN_SCORE, "tfidf": {**_WORDS, "sublinear_tf": True}},
    6: {"unit": "paragraph", "top_k": 3, "min_score": MIN_SCORE, "tfidf": {**_WORDS, "sublinear_tf": True}},
    7: {
        "unit": "paragraph",
        "top_k": 3,
        "min_score": MIN_SCORE,
        "tfidf": {**_WORDS, "sublinear_tf": True, "min_df": 2},
    },
}
"""How each version searches."""

_MESSAGE = Object([Property("role", DataType.string), Property("content", DataType.string)])
_CHOICE = Object(
    [Property("index", DataType.long), Property("message", _MESSAGE), Property("finish_reason", DataType.string)]
)
_USAGE = Object([Property(f"{name}_tokens", DataType.long) for name in ("prompt", "completion", "total")])
SIGNATURE = ModelSignature(
    inputs=Schema(
        [
            ColSpec(Array(_MESSAGE), name="messages", required=False),
            ColSpec(DataType.string, name="query", required=False),
        ]
    ),
    outputs=Schema(
        [
            ColSpec(DataType.string, name="object", required=False),
            ColSpec(Array(_CHOICE), name="choices", required=False),
            ColSpec(_USAGE, name="usage", required=False),
            ColSpec(DataType.string, name="result", required=False),
            ColSpec(Array(DataType.string), name="sources", required=False),
        ]
    ),
    params=ParamSchema(
        [
            ParamSpec("max_tokens", DataType.long, 4096),
            ParamSpec("include_usage", DataType.boolean, True),
            ParamSpec("return_sources", DataType.boolean, False),
        ]
    ),
)
INPUT_EXAMPLE = {"messages": [{"role": "user", "content": "How do I restore an older version of a table?"}]}


def store_uri(out: Path) -> str:
    """Tracking URI of the demo's store."""
    return f"sqlite:///{out / 'mlflow.db'}"


def register_versions(
    out: Path,
    *,
    seed: int,
    scenario: Scenario = "improvement",
    versions: Sequence[int] = VERSIONS,
    aliases: Mapping[str, int] = ALIASES,
) -> None:
    """Logs and registers the versions, in ``out/mlflow.db`` and ``out/mlflow-artifacts``.

    Args:
        out: The demo's folder. A store that is there is replaced: it was not finished.
        seed: Decides the phrases of the styles and the questions of the metrics.
        scenario: Decides how versions 6 and 7 talk.
        versions: The first so many of the seven: MLflow counts from 1.
        aliases: Which of them get an alias.
    """
    (out / "mlflow.db").unlink(missing_ok=True)
    shutil.rmtree(out / "mlflow-artifacts", ignore_errors=True)
    with mlflow_store(out), TemporaryDirectory() as scratch:
        mlflow.create_experiment(EXPERIMENT, artifact_location=(out / "mlflow-artifacts").absolute().as_uri())
        mlflow.set_experiment(EXPERIMENT)
        client = MlflowClient()
        client.create_registered_model(MODEL, description="Answers questions about the data platform from its manual.")
        for number in versions:
            settings = version_settings(number, seed=seed, scenario=scenario)
            _log_version(Path(scratch) / str(number), settings, number, seed=seed)
        for alias, number in aliases.items():
            client.set_registered_model_alias(MODEL, alias, str(number))


def version_settings(number: int, *, seed: int, scenario: Scenario) -> dict[str, Any]:
    """The settings artifact of a version."""
    name = SCENARIOS[scenario].get(number, "formal")
    return {
        "version": number,
        "style_name": name,
        "retrieval": RETRIEVAL[number],
        "style": style(name, seed=seed),
        "patterns": PATTERNS,
    }


def write_artifacts(folder: Path, settings: dict[str, Any]) -> dict[str, str]:
    """The artifacts of a version, made in the folder; their paths by name.

    Returns:
        ``documents``, ``index`` and ``settings``, as ``chatbot.py`` describes them.
    """
    documents, index = folder / "documents", folder / "index"
    documents.mkdir(parents=True)
    index.mkdir()
    for file in files("jobs.demo").joinpath("documents").iterdir():
        (documents / file.name).write_text(file.read_text(encoding="utf-8"), encoding="utf-8")
    passages = list(_passages(documents, unit=settings["retrieval"]["unit"]))
    vectorizer = TfidfVectorizer(**vectorizer_options(settings))
    weights = vectorizer.fit_transform(f"{one['topic']} {one['page']} {one['text']}" for one in passages)
    vocabulary = {term: int(column) for term, column in sorted(vectorizer.vocabulary_.items())}
    (index / "passages.json").write_text(json.dumps(passages, indent=1), encoding="utf-8")
    (index / "vocabulary.json").write_text(
        json.dumps({"vocabulary": vocabulary, "idf": vectorizer.idf_.tolist()}), encoding="utf-8"
    )
    save_npz(index / "weights.npz", weights)
    (folder / "settings.json").write_text(json.dumps(settings, indent=1), encoding="utf-8")
    return {"documents": str(documents), "index": str(index), "settings": str(folder / "settings.json")}


def _passages(documents: Path, *, unit: str) -> Iterator[dict[str, str]]:
    """Pages, or their paragraphs, of the manual: ``{topic, page, text}``."""
    for file in sorted(documents.glob("*.md")):
        for page in file.read_text(encoding="utf-8").split("\n## ")[1:]:
            title, _, body = page.partition("\n")
            texts = [line for line in body.splitlines() if line.strip()]
            for text in [" ".join(texts)] if unit == "page" else texts:
                yield {"topic": file.stem, "page": title.strip(), "text": text}


def _log_version(folder: Path, settings: dict[str, Any], number: int, *, seed: int) -> None:
    started = time.monotonic()
    artifacts = write_artifacts(folder, settings)
    index_seconds = time.monotonic() - started
    with mlflow.start_run(run_name=RUN_NAME):
        retrieval = settings["retrieval"]
        mlflow.log_params({"seed": seed, "style": settings["style_name"], **{k: str(v) for k, v in retrieval.items()}})
        mlflow.log_metrics({"index_seconds": index_seconds, **_evaluation(artifacts, seed=seed)})
        mlflow.set_tags({"style": settings["style_name"], "retrieval": retrieval["unit"], "stage": "demo"})
        info = mlflow.pyfunc.log_model(
            name="chatbot",
            python_model=str(files("jobs.demo").joinpath("chatbot.py")),
            artifacts=artifacts,
            signature=SIGNATURE,
            input_example=INPUT_EXAMPLE,
            pip_requirements=_requirements(),
            metadata={"style": settings["style_name"]},
        )
    registered = MlflowClient().create_model_version(
        MODEL, info.model_uri, info.run_id, tags={"style": settings["style_name"]}, model_id=info.model_id
    )
    assert int(registered.version) == number


def _requirements() -> list[str]:
    """What ``chatbot.py`` imports; named, because MLflow would start a process to find out."""
    return [f"{name}=={installed(name)}" for name in ("mlflow", "numpy", "pandas", "scikit-learn", "scipy")]


def _evaluation(artifacts: dict[str, str], *, seed: int) -> dict[str, float]:
    """What is measured of a version: on 20 questions about each topic, how well it finds and how it talks."""
    bot = RagChatbot()
    bot.load_context(PythonModelContext(artifacts, model_config={}))
    rng = Random(f"evaluation {seed}")  # noqa: S311
    asked = [(topic.name, question(topic, rng).text) for topic in TOPICS for _ in range(20)]
    found = [bot.retrieve(text) for _, text in asked]
    answers = [bot.answer(text, max_tokens=4096)[0] for _, text in asked[::5]]
    right = [
        bool(hits) and hits[0]["topic"] == name.lower().replace(" ", "-")
        for (name, _), hits in zip(asked, found, strict=True)
    ]
    grades = [grade for grade in map(flesch_kincaid, answers) if grade is not None]
    return {
        "topic_accuracy": fmean(right),
        "answered_rate": fmean(bool(hits) for hits in found),
        "answer_words": fmean(len(text.split()) for text in answers),
        "answer_flesch_kincaid": fmean(grades),
        "passages": len(bot.passages),
        "vocabulary": len(bot.vectorizer.vocabulary),
    }


def load_version(out: Path, number: int) -> PyFuncModel:
    """Version ``number`` of the demo's registry, as a serving endpoint loads it."""
    with mlflow_store(out):
        return mlflow.pyfunc.load_model(f"models:/{MODEL}/{number}")


@contextmanager
def mlflow_store(out: Path) -> Iterator[None]:
    """MLflow with the demo's store, and without its advice and progress bars."""
    # What was set is kept in the environment; the rest is worked out from it anew.
    before = {name: os.environ.get(name) for name in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI")}
    logger, bars = logging.getLogger("mlflow"), MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR
    level, shown = logger.level, bars.get()
    mlflow.set_tracking_uri(store_uri(out))
    # Where MLFLOW_REGISTRY_URI is set, versions would go to that registry.
    mlflow.set_registry_uri(store_uri(out))
    logger.setLevel(logging.ERROR)
    bars.set(False)
    try:
        yield
    finally:
        mlflow.set_tracking_uri(None)
        mlflow.set_registry_uri(None)
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        logger.setLevel(level)
        bars.set(shown)
