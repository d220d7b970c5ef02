"""A Python worker daemon that has torch, transformers and the word lists loaded before it forks its workers.

Spark ends workers that idle for a minute, so at a 5-minute trigger every batch starts new ones, and in each the imports
cost seconds of CPU (the memory-mapped weights next to nothing). Forked from this daemon they have them already.

    spark.python.daemon.module=metrics.score.daemon

What is loaded is frozen: Python's garbage collector, which pyspark calls after each task, would look through 400,000
objects of libraries each time, and write to all their pages, so that each worker had a copy of its own.
"""

import gc

from pyspark.daemon import manager

import metrics.score.exchanges  # these imports are what this module is for
import metrics.unpack.arrow  # noqa: F401
from metrics.score.language import detect_languages
from metrics.score.readability import flesch_kincaid
from schemas.scorers import SCORERS

for scorer in SCORERS:
    scorer.loader()

if __name__ == "__main__":
    detect_languages(["These two load what they need when they are first called."])
    flesch_kincaid("Refrigeratorwise.")
    gc.collect()
    gc.freeze()
    manager()
