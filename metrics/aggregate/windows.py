"""Statistics of ``scores`` by window, endpoint, model and version, in the long form of ``profile_metrics``."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from operator import and_
from typing import TYPE_CHECKING

from pyspark.sql import Window
from pyspark.sql import functions as F

from metrics.aggregate.measures import CORPUS_PERPLEXITY, measures
from schemas.config import duration_seconds
from schemas.profile_metrics import ALL_VERSIONS, QUANTILES

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

GROUP = ("granularity", "start", "endpoint_name", "model_name")
"""What identifies a window that a row touches; all versions of its model are recomputed together."""


def with_windows(rows: DataFrame, *, granularities: Sequence[str]) -> DataFrame:
    """Each row once per granularity, with ``granularity``, ``start`` and ``end`` of its window.

    Windows are half-open, tumbling, and aligned to the UTC day.
    """
    epoch = F.unix_seconds("request_time")

    def window(granularity: str) -> Column:
        length = duration_seconds(granularity)
        start = window_start(epoch, length)
        return F.struct(
            F.lit(granularity).alias("granularity"),
            F.timestamp_seconds(start).alias("start"),
            F.timestamp_seconds(start + length).alias("end"),
        )

    windows = F.array(*(window(granularity) for granularity in granularities))
    return rows.select("*", F.inline(windows))


def window_start(epoch: Column, seconds: int) -> Column:
    """Begin of the window of so many seconds that a time falls into; both in seconds of the UTC epoch."""
    return F.floor(epoch / seconds).cast("bigint") * seconds


def touched_windows(changes: DataFrame, *, granularities: Sequence[str]) -> DataFrame:
    """The distinct windows (``GROUP``) that new or changed rows fall into."""
    return with_windows(changes, granularities=granularities).select(*GROUP).distinct()


def in_windows(rows: DataFrame, windows: DataFrame, *, how: str = "left_semi") -> DataFrame:
    """The rows whose window (``GROUP``) is among ``windows``, or with left_anti is not; NULL names equal each other."""
    same = reduce(and_, (F.col(f"l.{name}").eqNullSafe(F.col(f"r.{name}")) for name in GROUP))
    return rows.alias("l").join(windows.alias("r"), same, how)


def with_lost(windows: DataFrame) -> DataFrame:
    """Adds ``lost`` to windows as of ``aggregate_windows``: gone, and no row of their version has their scorer now.

    All versions together are a version of their own here.
    """
    # A rate's fingerprint has its threshold after the scorer's.
    scorer = F.regexp_replace("scorer_fingerprint", " threshold=.*$", "")
    same = Window.partitionBy("granularity", "window", "endpoint_name", "model_name", "model_version", scorer)
    is_held = F.max(~F.col("gone")).over(same)
    return windows.withColumn("lost", F.col("gone") & F.col("scorer_fingerprint").isNotNull() & ~is_held)


def holding(windows: DataFrame, rows: DataFrame) -> DataFrame:
    """Granularity and start of the windows that times of ``rows`` (``request_time``) fall into."""
    within = (F.col("window.start") <= F.col("request_time")) & (F.col("request_time") < F.col("window.end"))
    times = rows.select("request_time").distinct()
    joined = windows.select("granularity", "window").join(F.broadcast(times), within, "left_semi")
    return joined.select("granularity", "window.start").distinct()


KEYS = (*GROUP, "end", "model_version", "slice_key", "slice_value", "column_name", "scorer_fingerprint")

WHOLE_ONLY_SECONDS = 60
"""Windows of up to this length are of all rows only, not of slices."""


def _with_slices(rows: DataFrame) -> DataFrame:
    """Each row once for the whole, and once per slicing expression with ``slice_key`` and ``slice_value``."""
    whole = "named_struct('slice_key', CAST(NULL AS string), 'slice_value', CAST(NULL AS string))"
    slices = f"""inline(concat(array({whole}), CASE
        WHEN slices IS NULL OR unix_seconds(`end`) - unix_seconds(`start`) <= {WHOLE_ONLY_SECONDS} THEN array()
        ELSE transform(map_entries(slices), e -> named_struct('slice_key', e.key, 'slice_value', e.value))
    END))"""
    return rows.select("*", F.expr(slices))


def aggregate_windows(rows: DataFrame, *, toxicity_threshold: float, stored: DataFrame | None = None) -> DataFrame:
    """Statistics of rows that ``with_windows`` put into windows.

    Args:
        rows: Rows of ``scores`` with ``granularity``, ``start``, ``end``.
        toxicity_threshold: From this probability on a text counts as toxic.
        stored: ``KEYS`` of windows as they are stored; those that no row falls into any more come back ``gone``.

    Returns:
        ``profile_metrics`` but for its bookkeeping columns (revision, is_settled, updated_at), and ``gone``. Weights
        are 1 / sampling_fraction; one that is NULL or not above 0 weighs 1. Those of scorers' measures are
        divided by sample_rate, too.
    """
    # Requests logged at 10 % stand for ten: Horvitz-Thompson weights.
    weight = F.coalesce(1 / F.when(F.col("sampling_fraction") > 0, F.col("sampling_fraction")), F.lit(1.0))
    # A scored request stands for those of its like that were not.
    left_out = F.coalesce(F.when(F.col("status_code") == 200, F.col("sample_rate")), F.lit(1.0))
    versions = F.array_distinct(F.array(F.col("model_version"), F.lit(ALL_VERSIONS)))  # a log may name a version *
    window, slices = (*GROUP, "end"), ("slice_key", "slice_value")
    long = (
        _with_slices(rows)
        .withColumns({"w": weight, "sampled": left_out, "m": F.expr(measures(toxicity_threshold=toxicity_threshold))})
        .select(*window, *slices, F.explode(versions).alias("model_version"), "w", "sampled", "m")
        .select(*window, *slices, "model_version", "w", "sampled", F.inline("m"), F.lit(True).alias("real"))
        .withColumn(
            "w", F.when(F.col("scorer_fingerprint").isNull(), F.col("w")).otherwise(F.col("w") / F.col("sampled"))
        )
    )
    if stored is not None:
        # Stored keys take part as rows without a value, so that one aggregation also finds the keys that are gone.
        long = long.unionByName(stored.select(*KEYS, F.lit(False).alias("real")), allowMissingColumns=True)
    x, w = F.col("value"), F.when(F.col("value").isNotNull(), F.col("w"))
    return (
        long.groupBy(*KEYS)
        .agg(
            (~F.bool_or("real")).alias("gone"),
            F.count("value").alias("count"),
            F.count_if(x.isNull() & F.col("real")).alias("num_nulls"),
            F.avg("value").alias("avg"),
            F.stddev_samp("value").alias("stddev"),
            F.min("value").alias("min"),
            F.max("value").alias("max"),
            F.sum("value").alias("sum"),
            F.sum(w).alias("weighted_count"),
            F.sum(w * x).alias("sum_wx"),
            F.sum(w * w).alias("sum_w2"),
            F.sum(w * w * x).alias("sum_w2x"),
            F.sum(w * w * x * x).alias("sum_w2x2"),
            F.sum("tokens").alias("tokens"),
            F.sum(w * F.col("tokens")).alias("weighted_tokens"),
            F.expr("kll_sketch_agg_double(value)").alias("sketch"),
        )
        .transform(_profile_columns)
    )


SKETCH_QUANTILES = f"kll_sketch_get_quantile_double(sketch, array({', '.join(f'{rank:.2f}D' for rank in QUANTILES)}))"
"""SQL: the sketch's values at QUANTILES; an error where the sketch is empty."""


def quantile_columns() -> tuple[Column, Column]:
    """``median`` and ``quantiles`` of rows with ``q`` (SKETCH_QUANTILES, or NULL), ``min`` and ``max``.

    The first and the last quantile are exact.
    """
    inner = F.slice("q", 2, len(QUANTILES) - 2)
    quantiles = F.when(F.col("q").isNotNull(), F.concat(F.array("min"), inner, F.array("max")))
    return F.col("q")[QUANTILES.index(0.5)].alias("median"), quantiles.alias("quantiles")


def _profile_columns(groups: DataFrame) -> DataFrame:
    corpus = F.col("column_name") == CORPUS_PERPLEXITY
    # Of a ratio of sums only the ratio means anything; response_nll and response_scored_tokens hold the sums.
    own = ~corpus & (F.col("count") > 0)
    # An empty sketch has no quantiles, and asking for them is an error.
    groups = groups.withColumn("q", F.when(own, F.expr(SKETCH_QUANTILES)))

    def plain(name: str) -> Column:
        return F.when(own, F.col(name)).alias(name)

    return groups.select(
        F.struct("start", "end").alias("window"),
        F.to_date("start").alias("window_date"),
        "granularity",
        "endpoint_name",
        "model_name",
        "model_version",
        "slice_key",
        "slice_value",
        "column_name",
        "count",
        "num_nulls",
        F.when(corpus, F.exp(F.col("sum") / F.col("tokens"))).otherwise(F.col("avg")).alias("avg"),
        plain("stddev"),
        plain("min"),
        plain("max"),
        *quantile_columns(),
        plain("sum"),
        F.coalesce("weighted_count", F.lit(0.0)).alias("weighted_count"),
        F.when(corpus, F.exp(F.col("sum_wx") / F.col("weighted_tokens")))
        .otherwise(F.col("sum_wx") / F.col("weighted_count"))
        .alias("weighted_avg"),
        plain("sum_wx"),
        plain("sum_w2"),
        plain("sum_w2x"),
        plain("sum_w2x2"),
        plain("sketch"),
        "scorer_fingerprint",
        "gone",
    )
