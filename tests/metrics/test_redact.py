"""What of a text may be stored."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from pyspark.sql import functions as F

from metrics.redact import EXCERPT_CHARS, stored_text

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

MASKED = {
    "mail jane.doe+x@example.co.uk now": "mail [email] now",
    "card 4111 1111 1111 1111 ok": "card [card] ok",
    "call +49 (30) 1234-5678 today": "call [phone] today",
    "iban DE89 3704 0044 0532 0130 00 end": "iban [iban] end",
    "host 10.20.30.40 is down": "host [ip] is down",
    "use sk-abcdefghijklmnop1234 please": "use [key] please",
    "my password is hunter2!": "my password [secret]",
    '{"api_key": "hunter2hunter2", "password": "tr0ub4dor"}': '{"api_key [secret]", "password [secret]"}',
    "api_key=abc123 rest": "api_key [secret] rest",
    "version 7 of 3 tables took 120 ms": "version 7 of 3 tables took 120 ms",
}


@pytest.fixture(scope="module")
def redacted(spark: SparkSession) -> dict[str, str]:
    df = spark.createDataFrame([(text,) for text in MASKED], "text string")
    return dict(map(tuple, df.select("text", stored_text(F.col("text"), store="redacted")).collect()))


@pytest.mark.parametrize("text", MASKED)
def test_personal_data_is_masked(redacted: dict[str, str], text: str) -> None:
    assert redacted[text] == MASKED[text]


def test_how_much_is_stored(spark: SparkSession) -> None:
    # The address straddles the cut: no part of it may stay.
    long = "x" * (EXCERPT_CHARS - 5) + " jane.doe@example.com " + "y" * 2000
    df = spark.createDataFrame([(long,)], "text string")
    stored = {
        store: df.select(stored_text(F.col("text"), store=store)).collect()[0][0]
        for store in ("none", "redacted", "full")
    }
    assert (stored["none"], stored["full"]) == (None, long)
    assert len(stored["redacted"]) == EXCERPT_CHARS
    assert "jane" not in stored["redacted"]
