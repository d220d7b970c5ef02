"""The text of a payload → what it holds: a JSON value, or the events of a stream.

Work and memory are linear in the text's length, whatever it holds: more than ``MAX_BYTES`` or ``MAX_VALUES`` is refused
before anything is parsed, and nesting beyond Python's recursion limit (about 1,000 levels) is no JSON.
"""

from __future__ import annotations

import json
import re
from typing import Any

import msgspec

from metrics.unpack.shapes import UnreadableError

__all__ = ["Events", "has_halves", "parse", "parse_response", "repaired"]

MAX_BYTES = 16 * 2**20
"""A longer payload is ``too_large``. Databricks logs at most 1 MiB of a request or response, its gateway 10 MiB."""

MAX_VALUES = 1_000_000
"""So is one of more values: a parsed value takes up to 232 bytes. 100,000 chunks of a stream have 700,000."""

_HALF = re.compile(rb"\\u[dD][89a-fA-F]")
"""An escaped surrogate, which may be half of a character."""

_BOM = b"\xef\xbb\xbf"

_EVENT_STREAM = re.compile(rb"(?:\xef\xbb\xbf)?\s*(?:(?:data|event|id|retry):|:)")
"""How a stream of server-sent events begins: with a field, or with a comment."""

_JSON = (b"{", b"[")
"""How most answers begin."""

_decode = msgspec.json.Decoder().decode
_DECODE_ERRORS = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


class Events(list[Any]):
    """The events of a stream, parsed, in order."""


def parse(data: bytes) -> Any:
    """The JSON value that a text is.

    Of a key that is repeated the last value counts. A lone surrogate stays in the string for ``repaired``: its other
    half may be in another string of the payload.

    Raises:
        UnreadableError: ``too_large``; or ``invalid``: it is none, or something follows it.
    """
    _check_size(data)
    return _value(data)


def _check_size(data: bytes) -> None:
    if len(data) > MAX_BYTES or (
        len(data) > MAX_VALUES and data.count(b",") + data.count(b"[") + data.count(b"{") > MAX_VALUES
    ):
        raise UnreadableError("too_large")


def _value(data: bytes) -> Any:
    try:
        return _decode(data)
    except _DECODE_ERRORS as error:
        if not has_halves(data):
            raise UnreadableError("invalid") from error
    try:
        # Python's parser keeps half of a character; by itself it would take NaN and Infinity for numbers.
        return json.loads(data.decode("utf-8", "replace"), parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise UnreadableError("invalid") from error


def _refuse(constant: str) -> Any:
    raise ValueError(constant)


def parse_response(data: bytes) -> Any:
    """The JSON value that a text is, or the ``Events`` of a stream (server-sent events, JSON lines).

    Raises:
        UnreadableError: As ``parse``. A stream is invalid when one of its frames is, unless it is the last one and the
            text ends in it: then the stream was cut off there, and the rest counts.
    """
    _check_size(data)
    if data[:1] not in _JSON and _EVENT_STREAM.match(data):
        return _server_sent(data)
    try:
        return _value(data)
    except UnreadableError:
        lines = data.strip().split(b"\n")
        if len(lines) < 2 or not all(line.lstrip()[:1] in (b"{", b"[", b"") for line in lines):
            raise
    return _events([(None, [line]) for line in lines if line.strip()], cut=not data.endswith(b"\n"))


def _server_sent(data: bytes) -> Events:
    """Events of ``data:`` lines; those of an ``event:`` line become the ``type`` of objects that name none.

    Source: WHATWG HTML, "Server-sent events"; OpenAI API reference, "Streaming": the last line is ``[DONE]``.
    """
    events: list[tuple[str | None, list[bytes]]] = []
    name: str | None = None
    begun = False
    for line in data.removeprefix(_BOM).replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n"):
        if not line:
            name, begun = None, False
        elif line.startswith(b"data:"):
            value = line[5:].strip()
            if not value or value == b"[DONE]":
                continue
            if begun:
                events[-1][1].append(value)
            else:
                events.append((name, [value]))
                begun = True
        elif line.startswith(b"event:"):
            name = line[6:].strip().decode("utf-8", "replace")
            begun = False
        elif not line.strip():
            name, begun = None, False
    return _events(events, cut=not data.endswith((b"\n", b"\r")))


def _events(frames: list[tuple[str | None, list[bytes]]], *, cut: bool) -> Events:
    """The parsed frames of a stream, each the lines of one event: one value, or a value per line."""
    events = Events()
    for at, (name, lines) in enumerate(frames):
        try:
            values = [_value(lines[0])] if len(lines) == 1 else _values(lines)
        except UnreadableError:
            if name == "error":  # told in plain words
                values = [{"error": "error"}]
            elif cut and events and at == len(frames) - 1 and len(lines) == 1:
                break
            else:
                raise
        if name is not None:
            for value in values:
                if isinstance(value, dict):
                    value.setdefault("type", name)
        events += values
    return events


def _values(lines: list[bytes]) -> list[Any]:
    try:
        return [_value(line) for line in lines]
    except UnreadableError:
        return [_value(b"\n".join(lines))]


def has_halves(data: bytes) -> bool:
    """Whether characters of a payload are escaped in two halves, each of which may be alone."""
    return b"\\" in data and b"\\u" in data and _HALF.search(data) is not None


def repaired(text: str | None) -> str | None:
    """The text with the halves of characters joined, and U+FFFD for those that are alone."""
    if text is None or text.isascii():
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
