"""Keyed hashes, which stand for texts and people in the tables."""

from __future__ import annotations

import hmac
from functools import lru_cache


def keyed_hash(text: str | None, key: bytes) -> str | None:
    """HMAC-SHA-256 of a text's UTF-8 form, in hex; None of None."""
    return None if text is None else hmac.new(key, text.encode("utf-8", "replace"), "sha256").hexdigest()


def kind_hash(kind: str, data: bytes, key: bytes) -> str:
    """HMAC-SHA-256 of a kind and what is hashed, in hex: hashes of two kinds are never equal, whatever they are of."""
    begun = _of_kind(kind, key).copy()
    begun.update(data)
    return begun.hexdigest()


@lru_cache(maxsize=64)
def _of_kind(kind: str, key: bytes) -> hmac.HMAC:
    """A hash that begins with a kind: to copy it takes less than half of what it takes to begin."""
    return hmac.new(key, kind.encode() + b"\0", "sha256")


CHECK_CHARS = 8
"""Hex digits at the beginning of a content hash that tell its key from others."""


def content_hash(status: int | None, request: bytes | None, response: bytes | None, key: bytes) -> str:
    """What a logged call consists of, as a keyed hash: 8 hex digits of the key's check value, 32 of the content's HMAC.

    Two of them say that contents differ only where they begin alike: with another key equal contents have other hashes.
    """
    sizes = f"{status}\x1f{-1 if request is None else len(request)}\x1f".encode()
    digest = kind_hash("content", b"".join((sizes, request or b"", b"\x1f" if response is None else response)), key)
    return _key_check(key) + digest[:32]


@lru_cache(maxsize=8)
def _key_check(key: bytes) -> str:
    return kind_hash("key check", b"", key)[:CHECK_CHARS]
