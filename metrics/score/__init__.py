"""Scoring: perplexity, toxicity, readability and tokens of prompts and responses.

Nothing here but ``udf`` and ``daemon`` imports pyspark, so that a machine with torch and transformers alone can run
and measure it.
"""
