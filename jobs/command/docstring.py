"""What a command's docstring says of it: "Name: what it does.", and a line ``inference-metrics NAME …``."""

from __future__ import annotations

import re

USAGE = re.compile(r"inference-metrics ([a-z-]+)")


def name_of(doc: str) -> str:
    """The command's name."""
    found = USAGE.search(doc)
    assert found is not None, "the docstring says how the command is called"
    return found[1]


def summary_of(doc: str) -> str:
    """What it does, in half a line."""
    return doc.splitlines()[0].partition(": ")[2].replace("``", "").rstrip(".")
