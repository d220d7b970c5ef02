"""The scorers as one Spark UDF over exchanges: a thin adapter, all work is in ``exchanges``.

Scorers and their libraries are loaded in workers only.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import pandas as pd
from pyspark import TaskContext
from pyspark.sql import functions as F

from metrics.hashes import keyed_hash, kind_hash
from metrics.score.columns import COLUMNS, ScorerSettings
from schemas.errors import ModelError
from schemas.installed import scorers

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

SCORED = ", ".join(
    (
        *(f"{column.name} {column.type}" for scorer in scorers() for column in scorer.columns),
        "score_errors map<string,string>, language string, scorers map<string,string>",
        "counted_input_tokens bigint, counted_output_tokens bigint",
    )
)
TEXT = (
    "prompt_hash string, response_hash string, context_hash string, requester_hash string, end_user_hash string, "
    "prompt_chars int, prompt_words int, response_chars int, response_words int"
)
INPUTS = ("prompt", "response", "context", "requester", "end_user", "count_tokens", "sampled")


def with_scores(
    exchanges: DataFrame, settings: ScorerSettings, *, key: bytes, only: Sequence[str] = tuple(COLUMNS)
) -> DataFrame:
    """Adds a struct ``scored`` to exchanges: scores, reasons, lengths, and keyed hashes of texts and identities.

    One iterator pandas UDF, so that the models are loaded before the first Arrow batch and kept for all, and for all
    later tasks of the same Python worker (``load_scorers`` caches per process).
    """

    def score(batches: Iterator[tuple[pd.Series, ...]]) -> Iterator[pd.DataFrame]:
        from metrics.score.exchanges import load_scorers, score_exchanges

        loaded = load_scorers(settings, _resources())
        marks = {"scorers": loaded.fingerprints}
        for columns in batches:
            batch = dict(zip(INPUTS, (_values(column) for column in columns), strict=True))
            scores = score_exchanges(
                loaded,
                prompts=batch["prompt"],
                responses=batch["response"],
                contexts=batch["context"],
                count_tokens=batch["count_tokens"],
                sampled=batch["sampled"],
                only=only,
            )
            # object dtype: pandas would turn an integer column with a missing value into floats
            yield pd.DataFrame(
                [score | marks | _text_columns(batch, i, key) for i, score in enumerate(scores)], dtype="object"
            )

    result = ", ".join((SCORED, TEXT))
    udf = F.pandas_udf(score, returnType=result)  # type: ignore[attr-defined]  # not in the stubs
    return exchanges.withColumn("scored", udf(*(F.col(name) for name in INPUTS)))


def check_scorers(spark: SparkSession, settings: ScorerSettings) -> tuple[dict[str, str], list[str]]:
    """Load the scorers in a worker, where they will run: the driver may have neither the GPU nor the memory for them.

    Returns:
        Fingerprint per column, as workers write them: what "auto" means is decided by their hardware. And what of them
        the user may have meant otherwise: nobody reads the workers' logs.

    Raises:
        ModelError: One of them can't be found or loaded.
    """

    def load(batches: Iterator[pd.DataFrame]) -> Iterator[pd.DataFrame]:
        from metrics.score.exchanges import load_scorers

        for _ in batches:
            row: dict[str, Any] = {"fingerprints": {}, "warnings": [], "error": None}
            try:
                loaded = load_scorers(settings, _resources())
                row |= {"fingerprints": loaded.fingerprints, "warnings": list(loaded.warnings)}
            except ModelError as why:
                row["error"] = str(why)
            yield pd.DataFrame([row], dtype="object")

    columns = "fingerprints map<string,string>, warnings array<string>, error string"
    found = spark.range(0, 1, 1, 1).mapInPandas(load, columns).collect()[0]
    if found["error"]:
        raise ModelError(found["error"])
    return dict(found["fingerprints"]), list(found["warnings"])


def _resources() -> int | None:
    """Keep to the cores that Spark gave this task; number of its GPU (``spark.task.resource.gpu.amount``).

    Without such resources processes take the machine's GPUs in turn.
    """
    import torch

    task = TaskContext.get()
    if task is None:
        return None
    torch.set_num_threads(max(1, task.cpus()))
    gpus = task.resources().get("gpu")
    if gpus and gpus.addresses and gpus.addresses[0].isdigit():
        return int(gpus.addresses[0])
    return _own_gpu(torch.cuda.device_count())


@lru_cache(maxsize=1)
def _own_gpu(gpus: int) -> int | None:
    """A GPU for this process, the same for all its tasks; None where there is no choice."""
    task = TaskContext.get()
    return task.partitionId() % gpus if task is not None and gpus > 1 else None


def with_hashes(rows: DataFrame, names: Mapping[str, str], *, key: bytes, kind: str | None = None) -> DataFrame:
    """Adds keyed hashes (HMAC-SHA-256, hex) of text columns.

    Args:
        rows: Rows with these columns.
        names: Column → its hash's name.
        key: Of the hashes.
        kind: Hashed before the text, so that no hash of another kind is equal; None: the text alone.
    """

    def hashed(texts: pd.Series) -> pd.Series:
        values = _values(texts)
        if kind is None:
            return pd.Series([keyed_hash(text, key) for text in values], dtype="object")
        data = (None if text is None else text.encode("utf-8", "replace") for text in values)
        return pd.Series([None if text is None else kind_hash(kind, text, key) for text in data], dtype="object")

    udf = F.pandas_udf(hashed, returnType="string")  # type: ignore[attr-defined]  # not in the stubs
    return rows.withColumns({hash_: udf(F.col(name)) for name, hash_ in names.items()})


def _values(column: pd.Series) -> list[Any]:
    return [None if value is None or value is pd.NA else value for value in column]


def _text_columns(batch: dict[str, list[Any]], i: int, key: bytes) -> dict[str, Any]:
    prompt, response = batch["prompt"][i], batch["response"][i]
    return {
        "prompt_hash": keyed_hash(prompt, key),
        "response_hash": keyed_hash(response, key),
        "context_hash": keyed_hash(batch["context"][i], key),
        "requester_hash": keyed_hash(batch["requester"][i], key),
        "end_user_hash": keyed_hash(batch["end_user"][i], key),
        "prompt_chars": None if prompt is None else len(prompt),
        "prompt_words": None if prompt is None else len(prompt.split()),
        "response_chars": None if response is None else len(response),
        "response_words": None if response is None else len(response.split()),
    }
