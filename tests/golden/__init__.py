"""Texts that people read, as they should be: a file each beside this one.

``UPDATE_GOLDEN=1 pytest …`` writes them anew; what has changed then is for a reader to judge.
"""

from __future__ import annotations

import os
from pathlib import Path


def assert_golden(name: str, text: str) -> None:
    """The text is that of the file ``name``, but for the line's end."""
    text = f"{text.rstrip()}\n"
    file = Path(__file__).with_name(f"{name}.txt")
    if os.environ.get("UPDATE_GOLDEN"):
        file.write_text(text, encoding="utf-8")
    assert text == file.read_text(encoding="utf-8")
