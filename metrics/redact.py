"""What of a text may be stored: nothing, a masked excerpt, or all of it (``text.store``)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyspark.sql import functions as F

if TYPE_CHECKING:
    from pyspark.sql import Column

EXCERPT_CHARS = 500

MASKS = (
    (r"[\w.+-]+@[\w-]+(\.[\w-]+)+", "[email]"),
    (r"\b(sk|pk|ghp|gho|xox[abp]|dapi|AKIA|eyJ)[\w.-]{12,}", "[key]"),
    (
        r"(?i)\b(bearer|token|api[_-]?key|password|secret)\b[\"'\\]*(\s*[:=]\s*|\s+is\s+)[\"'\\]*[^\s\"'\\,}]+",
        "$1 [secret]",
    ),
    (r"\b[A-Z]{2}\d{2}( ?[A-Z0-9]{4}){2,7}( ?[A-Z0-9]{1,4})?\b", "[iban]"),
    (r"\b\d{1,3}(\.\d{1,3}){3}\b", "[ip]"),
    (r"\b\d(?:[ -]?\d){12,18}\b", "[card]"),
    (r"(?<!\w)\+?\d[\d ()./-]{6,}\d\b", "[phone]"),
)
"""Patterns (Java regular expressions) of personal data and secrets, and what stands in their place. Order matters: the
longer digit patterns come first."""


def stored_text(text: Column, *, store: str) -> Column:
    """The text as ``text.store`` allows.

    Args:
        text: A string column.
        store: ``none`` (NULL), ``redacted`` (the first 500 characters with personal data masked) or ``full``.
    """
    if store == "full":
        return text
    if store == "none":
        return F.lit(None).cast("string")
    # Mask a little more than is kept: a pattern that the cut would split must be seen whole.
    excerpt = F.substring(text, 1, 2 * EXCERPT_CHARS)
    for pattern, mask in MASKS:
        excerpt = F.regexp_replace(excerpt, pattern, mask)
    return F.substring(excerpt, 1, EXCERPT_CHARS)
