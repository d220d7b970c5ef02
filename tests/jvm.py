"""Options of the tests' JVMs."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

VARIABLE = "JDK_JAVA_OPTIONS"

# Parallel collectors cost more processor time than they save. The compilers' cache fills within a minute if it is as
# small as by default, and all code after that is interpreted. Classes beyond MetaspaceSize make it collect everything,
# again and again.
LONG_LIVED = ("-XX:ReservedCodeCacheSize=512m", "-XX:+UseSerialGC", "-XX:NewRatio=1", "-XX:MetaspaceSize=512m")
# The optimizing compiler makes a run of both hops a fifth cheaper, from the tenth on it has paid for itself.
SHORT_LIVED = ("-XX:TieredStopAtLevel=1", *LONG_LIVED)


def set_options() -> None:
    """For all JVMs that this process starts, as if they live for a minute; unless the environment has options."""
    os.environ.setdefault(VARIABLE, " ".join(SHORT_LIVED))


@contextmanager
def options_of_long_lived() -> Iterator[None]:
    """For a JVM that is started within the block and runs many tests; where ``set_options`` has set them."""
    before = os.environ[VARIABLE]
    if before == " ".join(SHORT_LIVED):
        os.environ[VARIABLE] = " ".join(LONG_LIVED)
    try:
        yield
    finally:
        os.environ[VARIABLE] = before
