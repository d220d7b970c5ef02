"""Coverage-guided fuzzing of the unpacker (atheris): bytes as payloads, beginning with the cases.

    python -m tests.metrics.unpack.fuzz -runs=200000 -max_len=4096

Ends with an error at the first payload on which a family raises what is no ``UnreadableError``, a text that is no UTF-8
comes out, or a reason that ``quarantine`` does not know; atheris writes it into a file ``crash-…``.
"""

from __future__ import annotations

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import atheris

with atheris.instrument_imports(include=["metrics.unpack"]):
    from metrics.unpack.payloads import unpack
    from metrics.unpack.unpacked import UnpackSettings

from schemas.quarantine import REASONS
from tests.metrics.unpack.cases import CASES, raw

SETTINGS = UnpackSettings(key=b"a key of the tests")
BETWEEN = b"\x00\x01"
"""Between request and response in the fuzzer's input."""


def one_input(data: bytes) -> None:
    """Unpack one call and check what comes out."""
    request, _, response = data.partition(BETWEEN)
    found = unpack(request, response, ok=True, settings=SETTINGS)
    assert found.reason != "unpacker_failed", found.detail
    assert found.reason is None or found.reason in REASONS, found.reason
    for one in (found, *(found.exchanges or ()), *(found.ratings or ())):
        for name in one.__slots__:
            value = getattr(one, name)
            if isinstance(value, str):
                value.encode("utf-8")  # Arrow takes no other text


def main() -> None:
    """Run the fuzzer; its options are libFuzzer's."""
    with TemporaryDirectory() as corpus:
        for number, case in enumerate(CASES.values()):
            texts = [(raw(one) or "").encode() for one in (case.request, case.response)]
            (Path(corpus) / str(number)).write_bytes(BETWEEN.join(texts))
        atheris.Setup([*sys.argv, corpus], one_input)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
