"""Keyed hashes, which stand for texts and people in the tables."""

from __future__ import annotations

import hmac


def keyed_hash(text: str | None, key: bytes) -> str | None:
    """HMAC-SHA-256 of a text's UTF-8 form, in hex; None of None."""
    return None if text is None else hmac.new(key, text.encode("utf-8", "replace"), "sha256").hexdigest()
