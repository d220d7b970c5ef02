"""What of a text may be stored."""

from __future__ import annotations

import base64
import json
import random
import string
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from pyspark.sql import functions as F

from metrics.redact import EXCERPT_CHARS, redacted, stored_text

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

# Put together here, so that nothing in this file looks like a real key to a scanner of secrets.
RANDOM = random.Random(7)
ALNUM = string.ascii_letters + string.digits


def drawn(n: int, chars: str = ALNUM) -> str:
    return "".join(RANDOM.choices(chars, k=n))


HEX = string.digits + "abcdef"
BEGIN, END = "-----BEGIN RSA PRIVATE" + " KEY-----", "-----END RSA PRIVATE" + " KEY-----"
PEM_LINES = [drawn(64, ALNUM + "+/") for _ in range(40)]
JWT_HEAD = "ey" + "J" + drawn(30)
KEYS = {
    "aws": "AK" + "IA" + drawn(16, string.ascii_uppercase + string.digits),
    "aws session": "AS" + "IA" + drawn(16, string.ascii_uppercase + string.digits),
    "github": "gh" + "p_" + drawn(36),
    "github fine-grained": "github" + "_pat_" + drawn(60),
    "gitlab": "gl" + "pat-" + drawn(20),
    "slack": "xo" + "xb-" + drawn(12, string.digits) + "-" + drawn(24),
    "stripe": "sk" + "_live_" + drawn(24),
    "openai": "s" + "k-proj-" + drawn(48),
    "anthropic": "s" + "k-ant-api03-" + drawn(90),
    "databricks": "da" + "pi" + drawn(32, HEX),
    "databricks numbered": "da" + "pi" + drawn(32, HEX) + "-2",
    "google": "AI" + "za" + drawn(35),
    "hugging face": "h" + "f_" + drawn(34),
    "jwt": ".".join((JWT_HEAD, drawn(80), drawn(43))),
    "jwt cut off": JWT_HEAD + "." + drawn(9),
    "pem": "\n".join((BEGIN, *PEM_LINES, END)),
    "pem cut off at its end": "\n".join((BEGIN, *PEM_LINES[:3])),
    "pem cut off at its start": "\n".join((*PEM_LINES[:3], "AbCd12==", END)),
    "pem in json": "\\n".join((BEGIN, *PEM_LINES, END)),
}

MASKED = {
    "mail jane.doe+x@example.co.uk now": "mail [email] now",
    "(müller@bücher.example)": "([email])",
    "请联系jane@example.com谢谢": "请联系[email]谢谢",
    "jane (at) example [dot] com": "[email]",
    "https://x.example/u?mail=jane%40example.com&y=1": "https://x.example/u?mail=[email]&y=1",
    "<mailto:jane@example.org>": "<mailto:[email]>",
    "card 4111 1111 1111 1111 ok": "card [card] ok",
    "4111111111111111, 5555-5555-5555-4444": "[card], [card]",
    "amex 3782 822463 10005": "amex [card]",
    "in 2024 4111 1111 1111 1111 12/27": "in 2024 [card] 12/27",
    '{"number": 4012888888881881}': '{"number": [card]}',
    "call +49 (30) 1234-5678 today": "call [phone] today",
    "ring (202) 555-0143 or 202-555-0143.": "ring [phone] or [phone].",
    "+1 202 555 0143 and +33 6 12 34 56 78": "[phone] and [phone]",
    "06 12 34 56 78 or 030 23125 123": "[phone] or [phone]",
    "dial 0044 20 7946 0123": "dial [phone]",
    "London 020 7946 0123": "London [phone]",
    "phone: 2025550143": "phone: [phone]",
    "my phone number is 555-0143": "my phone number is [phone]",
    "电话13800138000": "电话[phone]",
    "(11) 91234-5678": "[phone]",
    '{"phone": "2025550143"}': '{"phone": "[phone]"}',
    "iban DE89 3704 0044 0532 0130 00 end": "iban [iban] end",
    "de89370400440532013000, gb82 west 1234 5698 7654 32 and": "[iban], [iban] and",
    "NL91ABNA0417164300.": "[iban].",
    "host 10.20.30.40 is down": "host [ip] is down",
    "http://192.0.2.7:8080/x, 198.51.100.0/24": "http://[ip]:8080/x, [ip]/24",
    "2001:db8::8a2e:370:7334 and fe80::1ff:fe23:4567:890a.": "[ip] and [ip].",
    "connected to db/10.20.30.40:5432": "connected to db/[ip]:5432",
    "::ffff:192.0.2.128": "[ip]",
    "use sk-abcdefghijklmnop1234 please": "use [key] please",
    "my password is hunter2!": "my password is [secret]",
    "my password is swordfish.": "my password is [secret].",
    "Password: swordfish\nbye": "Password: [secret]\nbye",
    "**Password:** `hunter2`": "**Password:** `[secret]`",
    "Passwort: geheim1, 密码：abc12345": "Passwort: [secret], 密码：[secret]",
    '{"api_key": "hunter2hunter2", "password": "tr0ub4dor"}': '{"api_key": "[secret]", "password": "[secret]"}',
    '{"password": "a \\"b\\" c", "n": 1}': '{"password": "[secret]", "n": 1}',
    json.dumps(
        {"a": json.dumps({"password": 'x "y" z', "b": 1})}
    ): '{"a": "{\\"password\\": \\"[secret]\\", \\"b\\": 1}"}',
    json.dumps({"t": "hi\n+4930123456\n10.1.2.3\njane@example.com"}): '{"t": "hi\\n[phone]\\n[ip]\\n[email]"}',
    '{"t": "\\u201c(202) 555-0143\\u201d"}': '{"t": "“[phone]”"}',
    '{"m": "jane.doe\\u0040example.com"}': '{"m": "[email]"}',
    '{"m": "password\\u003dhunter22x"}': '{"m": "password=[secret]"}',
    '{"m": "ring \\u002B49 30 1234567"}': '{"m": "ring [phone]"}',
    "write to jane＠example.com": "write to [email]",
    '{"access_token": "opaque", "token_type": "x"}': '{"access_token": "[secret]", "token_type": "x"}',
    "api_key=abc123 rest": "api_key=[secret] rest",
    "DB_PASSWORD=correcthorse": "DB_PASSWORD=[secret]",
    "run --password hunter2 now": "run --password [secret] now",
    "密码是abc12345。パスワード：secret99": "密码是[secret]。パスワード：[secret]",
    "+4930123456,+4930123457": "[phone],[phone]",
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAf": "data:image/png;base64,[secret]",
    "<password>hunter2</password>": "<password>[secret]</password>",
    "https://hooks." + "slack.com/services/" + "T00/B00/x1y2z3": "https://hooks.slack.com/services/[secret]",
    "Server=db;Pwd=abc12;Database=x": "Server=db;Pwd=[secret];Database=x",
    "Authorization: Bearer abcdefgh12345678": "Authorization: Bearer [secret]",
    '"Authorization": "Basic dXNlcjpwdw=="': '"Authorization": "Basic [secret]"',
    "send bearer abcdefgh12345678": "send bearer [secret]",
    "Cookie: sid=abc; theme=dark": "Cookie: [secret]",
    "https://user:pw@host.example/x": "https://[secret]@host.example/x",
    "postgres://app:s3cr3t@db:5432/x": "postgres://[secret]@db:5432/x",
    "https://x.example/?token=abcdef123&x=1": "https://x.example/?token=[secret]&x=1",
    "curl -u bob:hunter2 https://x.example": "curl -u [secret] https://x.example",
    "aws_secret_access_key = " + drawn(40, ALNUM + "+/"): "aws_secret_access_key = [secret]",
    (digest := drawn(32, HEX)) + "/model": "[secret]/model",
    f"share/d-{digest}": "share/d-[secret]",
    "hex " + drawn(32, HEX) + " end": "hex [secret] end",
    "base64 " + base64.b64encode(RANDOM.randbytes(40)).decode(): "base64 [secret]",
    "lines\\n" + drawn(44) + "\\n": "lines\\n[secret]\\n",
}

KEPT = [
    "",
    "version 7 of 3 tables took 120 ms",
    "It costs $1,299.99 or 1.234.567,89 EUR, not 12 345 678 yen.",
    "On 2024-01-15, 15.01.2024 and 01/15/2024 at 10:30:45",
    "2024-01-15T10:30:00.123456Z and 2024-01-15 10:30:00+01:00",
    "timestamps 1775002808 and 1775002808244",
    "Python 3.11.2, Spark 4.2.0, runtime 10.4 LTS, Windows 10.0.19041.1",
    "version 1.2.3.4 and package==1.2.3.4; section 3.1.2.4",
    "bind 127.0.0.1 or 0.0.0.0, netmask 255.255.255.0",
    "3.14159265358979 * 2 = 6.28318530717958",
    "(1 + 2) * 3 - 4567 / 89 = 10^12, 2^31-1 = 2147483647",
    "order 123456, years 1990-1995 and 2019-2020",
    "the table has 123 456 789 rows and 9876543210 bytes",
    "commit 3f2a9bc and 3f2a9bc1d4e5",
    "123e4567-e89b-42d3-a456-426614174000",
    '{"id": "chatcmpl-123e4567-e89b-42d3-a456-426614174000", "created": 1775002808}',
    '{"max_tokens": 256, "completion_tokens": 12, "total_tokens": 1234567}',
    '{"token": "Hello", "logprob": -0.0123456789}',
    '{"eos_token": "</s>", "token_type": "bearer"}',
    "call me at noon, room 12, on the 3rd",
    "SELECT id, count(*) FROM t WHERE day BETWEEN 20240101 AND 20240131 LIMIT 100000",
    "def f(token: str, password: str | None = None) -> dict[str, int]: ...",
    'password = getpass.getpass("Password: ")',
    "connect(password=password, token=settings.token)",
    "password: ${DB_PASSWORD}",
    "The password is required. Passwords must have at least 8 characters.",
    "Password: must be 8 characters or more",
    "ISBN 978-3-16-148410-0, tracking number 940011189922319, MAC 00:1A:2B:3C:4D:5E",
    "model meta-llama/Llama-3.1-70B-Instruct-Turbo and Qwen2.5-Coder-32B-Instruct-GPTQ-Int4",
    "1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16; 1-2-3-4-5-6-7-8-9",
    "https://git.example/org/repo/blob/" + drawn(40, HEX) + "/setup.py and sha256:" + drawn(64, HEX),
    "runs:/" + drawn(32, HEX) + '/model, "request_id": "' + drawn(32, HEX) + '"',
    "git@git.example:org/repo.git, ISBN 0521540518",
    "credentials = google_auth.with_scopes(scopes=['one', 'two'])",
    'def f(credentials):\n    """Gives a token."""',
    "Token: a unit of text. The secret is patience. The key is simple.",
    "a bearer of good news; Bearer authentication",
    "std::vector<int> v; A::B c; x[1::2]; a[::2]",
    "@decorator, user@host, lodash@4.17.21",
    "getUtf8StringFromBase64EncodedBytes(my_very_long_variable_name_number_12)",
    "https://example.com/2024/01/15/some-Long-Article-Title-with-5-Words",
    "/usr/local/lib/python3.11/site-packages/transformers/models/llama",
    "Mozilla/5.0 (X11; Linux x86_64) Chrome/120.0.0.0",
    "GPU 80GB, 1920x1080, 10:1, 99.99%, 5-7 days, +12%",
    "Die Straße ist 12,5 km lang; über 3.000 Menschen waren am 3.10.1990 da.",
    "L'été, il fait 30 °C à Paris ; ça coûte 1 299,99 €.",
    "价格是 1299 元，时间是 2024年1月15日。",
    "السعر ١٢٣٤ ريال في عام ٢٠٢٤",
    "🎉 100 % 🙂👩‍👩‍👧 ok",
    "ACGTACGTACGTACGTACGTACGTACGTACGTACGT",
    "sk-learn-style-kebab-case-name and risk-averse-behaviour-of-people",
    "a" * 400,
    "0" * 40,
]


@pytest.mark.parametrize(("text", "masked"), MASKED.items())
def test_personal_data_is_masked(text: str, masked: str) -> None:
    assert redacted(text) == masked


@pytest.mark.parametrize("name", KEYS)
def test_keys_are_masked(name: str) -> None:
    after = "" if "cut off at its end" in name else " end"
    assert redacted(f"use {KEYS[name]}{after}") == f"use [key]{after}"


@pytest.mark.parametrize("text", KEPT)
def test_ordinary_text_stays(text: str) -> None:
    assert redacted(text) == text


SPLIT = {
    "email": "jane.doe@example.com",
    "phone": "+49 30 1234 5678",
    "card": "4111 1111 1111 1111",
    "iban": "DE89 3704 0044 0532 0130 00",
    "ip": "2001:db8::8a2e:370:7334",
    "key": KEYS["github"],
    "long jwt": ".".join((JWT_HEAD, drawn(2500), drawn(500))),
    "long pem": KEYS["pem"],
    "secret": "password=" + drawn(3000),
}


@pytest.mark.parametrize("before", [0, EXCERPT_CHARS - 70, EXCERPT_CHARS - 12, EXCERPT_CHARS - 1, 1490])
@pytest.mark.parametrize("name", SPLIT)
def test_the_cut_splits_no_pattern(name: str, before: int) -> None:
    secret = SPLIT[name]
    text = ("lorem ipsum " * 200)[:before] + " " + secret + " " + "dolor sit " * 700

    kept = redacted(text)

    assert kept is not None
    assert len(kept) <= EXCERPT_CHARS
    pieces = {secret[i : i + 6] for i in range(9 if name == "secret" else 0, len(secret) - 6)}
    assert not any(piece in kept for piece in pieces)
    assert len(kept) == EXCERPT_CHARS  # what follows a long secret is stored


def test_a_window_that_masks_shorten_shows_no_cut_pattern() -> None:
    text = (KEYS["anthropic"] + " ") * 2000 + "jane.doe@example.com"
    assert set((redacted(text) or "").split()) <= {"[key]", "[ke", "[k", "[", "[key"}


HARD = {
    "lone surrogates": "\ud800 jane@example.com \udfff" * 20,
    "nul": "\0" * 5000 + "jane@example.com",
    **{f"1 MB of {piece!r}": piece * (1_000_000 // len(piece)) for piece in (
        "a", "1", "1 ", "a@", "a.", '"', "\\", "-", " ", "(", "+1 ", ":", "1:", "1.1.", "de12 ", "eyJ.", "sk-", "_",
        "password=", '"password": "', "password is ", "bearer ", "http://a:b", "?token=abcdefg&", "cookie: a=b",
        "\\u4e2d", "a (at) ", "020 7946 ", BEGIN, END, "A" * 64 + "\n", "aB3" * 20 + "\n",
    )},
}  # fmt: skip


@pytest.mark.parametrize("name", HARD)
def test_no_text_is_too_hard(name: str) -> None:
    kept = redacted(HARD[name])
    assert kept is not None
    assert len(kept) <= EXCERPT_CHARS
    assert "jane" not in kept


def test_no_text_at_all() -> None:
    assert redacted(None) is None


def test_masking_needs_no_spark() -> None:
    code = "import sys, metrics.redact; sys.exit('pyspark' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


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


def test_rows_of_all_kinds_are_stored(spark: SparkSession) -> None:
    df = spark.createDataFrame([(0, None), (1, ""), (2, "to jane@example.com"), (3, "🙂 ok")], "i int, text string")
    # Bytes that are no UTF-8 must not stop the stream.
    broken = spark.sql("SELECT 4 AS i, CAST(X'6AFF6B' AS STRING) AS text")
    rows = df.union(broken).select("i", stored_text(F.col("text"), store="redacted").alias("text")).collect()
    assert dict(map(tuple, rows)) == {0: None, 1: "", 2: "to [email]", 3: "🙂 ok", 4: "j\ufffdk"}


def test_null_only_stays_null(spark: SparkSession) -> None:
    df = spark.createDataFrame([(None,), (None,)], "text string")
    assert [row[0] for row in df.select(stored_text(F.col("text"), store="redacted")).collect()] == [None, None]
