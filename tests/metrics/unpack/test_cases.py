"""Payloads of every protocol, complete and broken off: what is read from them (``cases``), without Spark."""

from __future__ import annotations

import pytest

from metrics.unpack.payloads import unpack
from metrics.unpack.unpacked import Unpacked, UnpackSettings
from tests.metrics.unpack.cases import CASES, Case, raw

SETTINGS = UnpackSettings()


def read(case: Case) -> Unpacked:
    request, response = (None if text is None else text.encode() for text in (raw(case.request), raw(case.response)))
    return unpack(request, response, ok=case.status == 200, settings=SETTINGS)


@pytest.mark.parametrize("name", CASES)
def test_case(name: str) -> None:
    case = CASES[name]
    found = read(case)
    assert found.reason == case.reason
    exchanges = found.exchanges or []
    assert [(one.prompt, one.response) for one in exchanges] == case.exchanges
    if case.reason is not None:
        return
    tokens = found.tokens
    counts = (tokens.input, tokens.output, tokens.cached_input, tokens.cache_write_input)
    assert counts == case.tokens
    assert (found.error_code is not None) == case.error
    if len(exchanges) == 1:
        assert exchanges[0].finish_reason == case.finish_reason
        if case.turn is not None:
            assert exchanges[0].turn == case.turn
