"""What of a text may be stored: nothing, a masked excerpt, or all of it (``text.store``).

An excerpt has personal data and secrets masked, as far as a pattern can know them: e-mail addresses, phone numbers,
payment cards, IBANs, IP addresses, keys, tokens and passwords. Names of persons, postal addresses, birthdays and
whatever else only its meaning makes personal are **not** recognised: no pattern can. Who must not store those keeps
``text.store`` at ``none``.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pandas as pd

from metrics.redact.personal import mask_accounts, mask_numbers
from metrics.redact.search import MASK
from metrics.redact.secrets import mask_random, mask_secrets

if TYPE_CHECKING:
    from pyspark.sql import Column

EXCERPT_CHARS = 500

WINDOWS = (1_500, 6_000, 24_000)
"""How many characters are looked at: more only where masks have shortened those before to less than an excerpt."""

_ESCAPED = re.compile(r"\\u([0-9A-Fa-f]{4})")
"""A character as JSON may have it: some writers escape ``=``, ``+`` and ``&``, which are parts of secrets."""

TAIL_CHARS = 500
"""What is dropped at the end of a window: an address or a number there may be cut, and so not recognised."""


def redacted(text: str | None) -> str | None:
    """The first 500 characters of a text, with personal data and secrets masked by words such as ``[email]``.

    Characters that JSON has escaped become what they stand for.

    Never raises, whatever the text; NULL stays NULL.
    """
    if text is None:
        return None
    if "\\u" in text:
        text = _ESCAPED.sub(lambda match: chr(int(match[1], 16)), text)
        text = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    kept = ""
    for seen in WINDOWS:
        masked = _masked(text[:seen])
        if len(text) <= seen:
            return masked[:EXCERPT_CHARS]
        # What a mask has replaced at the end of the window may go on after it: nothing of that shows.
        kept = masked if masked.endswith("]") and MASK.match(masked, masked.rfind("[")) else masked[:-TAIL_CHARS]
        if len(kept) >= EXCERPT_CHARS:
            break
    return kept[:EXCERPT_CHARS]


def stored_text(text: Column, *, store: str) -> Column:
    """The text as ``text.store`` allows.

    Args:
        text: A string column.
        store: ``none`` (NULL), ``redacted`` (the first 500 characters with personal data masked) or ``full``.
    """
    from pyspark.sql import functions as F

    if store == "full":
        return text
    if store == "none":
        return F.lit(None).cast("string")

    def mask(texts: pd.Series) -> pd.Series:
        return pd.Series([redacted(t) if isinstance(t, str) else None for t in texts], dtype="object")

    udf = F.pandas_udf(mask, returnType="string")  # type: ignore[attr-defined]  # not in the stubs
    # Arrow refuses text that is not UTF-8, which a string column may hold; and Python needs no more than it looks at.
    masked: Column = udf(F.substring(F.make_valid_utf8(text), 1, WINDOWS[-1] + 1))
    return masked


def _masked(text: str) -> str:
    # Order matters: what has a clear form goes first, so that a vaguer pattern cannot take a part of it.
    return mask_numbers(mask_random(mask_accounts(mask_secrets(text))))
