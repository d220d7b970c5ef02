"""``profile_metrics``: windowed statistics of ``scores`` by model version, in long form.

Columns that Databricks Lakehouse Monitoring has in its profile table have the same name and meaning here.
"""

from __future__ import annotations

from schemas import Table, columns

QUANTILES = tuple(round(i * 0.05, 2) for i in range(21))
"""Ranks of the ``quantiles`` array: 0.00, 0.05, … 1.00."""

ALL_VERSIONS = "*"
"""``model_version`` of all versions together."""

WHOLE_ONLY_SECONDS = 60
"""Windows of up to this length are of all rows only, not of slices."""

PROFILE_METRICS = Table(
    name="profile_metrics",
    comment="Statistics of every measure of scores by window, endpoint, model and version.",
    columns=columns(
        ("window", "struct<start: timestamp, end: timestamp>", "Half-open window of request_time (UTC)"),
        ("window_date", "date", "UTC date of window.start"),
        ("granularity", "string", "Length of the window, for example 5 minutes"),
        ("endpoint_name", "string", "Serving endpoint"),
        ("model_name", "string", "Registered model"),
        ("model_version", "string", "Version of the model; * is all versions together"),
        ("slice_key", "string", "Slicing expression; NULL is the whole"),
        ("slice_value", "string", "Its value; NULL is the whole"),
        ("column_name", "string", "Measure: a column of scores, its logarithm, a rate, or requests"),
        ("count", "bigint", "Exchanges with a value"),
        ("num_nulls", "bigint", "Exchanges without one"),
        ("avg", "double", "Mean; for corpus_perplexity exp(sum of nats / sum of tokens)"),
        ("stddev", "double", "Sample standard deviation"),
        ("min", "double", "Smallest value"),
        ("max", "double", "Largest value"),
        ("median", "double", "Median, from the sketch"),
        ("quantiles", "array<double>", "At ranks 0.00, 0.05, … 1.00, from the sketch (first and last are exact)"),
        (
            "frequencies",
            "map<string,bigint>",
            "How often each value of a category comes, the 100 most frequent and __other__; NULL for numbers, and for "
            "windows of before there were any",
        ),
        ("sum", "double", "Sum of the values"),
        ("weighted_count", "double", "Sum of w, w = 1 / sampling_fraction"),
        ("weighted_avg", "double", "Sum of w x over sum of w"),
        ("sum_wx", "double", "Sum of w x"),
        ("sum_w2", "double", "Sum of w^2"),
        ("sum_w2x", "double", "Sum of w^2 x"),
        ("sum_w2x2", "double", "Sum of w^2 x^2"),
        ("sketch", "binary", "KLL sketch of the values (Apache DataSketches, doubles)"),
        ("scorer_fingerprint", "string", "What made the values; NULL for what no scorer makes"),
        ("revision", "int", "1 when written first, one more each time the figures changed"),
        (
            "is_settled",
            "boolean",
            "Whether late rows are unlikely now: its end is longer ago than 99 % of rows are late",
        ),
        ("is_frozen", "boolean", "Whether its rows all have another scorer now (rescore); it is kept as it is"),
        ("updated_at", "timestamp", "When the row was last written (UTC)"),
    ),
    keys=(
        "window_date",
        "granularity",
        "window.start",
        "endpoint_name",
        "model_name",
        "model_version",
        "slice_key",
        "slice_value",
        "scorer_fingerprint",
        "column_name",
    ),
    partition_by="window_date",
    lock="profile_metrics",
    checks={"finite": "(sum IS NULL OR abs(sum) < double('Infinity')) AND count >= 0 AND num_nulls >= 0"},
    # A trigger changes a hundredth of a day's windows: without them it writes the other ninety-nine again.
    properties={"delta.enableDeletionVectors": "true"},
)

SERIES = ("endpoint_name", "model_name", "model_version", "slice_key", "slice_value", "scorer_fingerprint")
"""What windows are never merged across, beside ``column_name``."""

BOOKKEEPING = ("revision", "is_settled", "is_frozen", "updated_at")
"""Columns that say how a row was written."""

STATISTICS = tuple(name for name in PROFILE_METRICS.column_names if name not in BOOKKEEPING)
"""The other columns, which are computed from ``scores``."""
