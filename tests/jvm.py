"""Options of JVMs that live for a minute, as those of tests do."""

from __future__ import annotations

import os

# The optimizing compiler and parallel collectors cost a third more processor time than they save. The other compiler's
# cache is 48 MiB by default; Spark fills it within a minute, and all code after that is interpreted. Classes beyond
# MetaspaceSize make it collect everything, again and again.
OPTIONS = (
    *("-XX:TieredStopAtLevel=1", "-XX:ReservedCodeCacheSize=512m"),
    *("-XX:+UseSerialGC", "-XX:NewRatio=1", "-XX:MetaspaceSize=512m"),
)


def set_options() -> None:
    """For all JVMs that this process starts, unless the environment has options."""
    os.environ.setdefault("JDK_JAVA_OPTIONS", " ".join(OPTIONS))
