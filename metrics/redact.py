"""What of a text may be stored: nothing, a masked excerpt, or all of it (``text.store``).

An excerpt has personal data and secrets masked, as far as a pattern can know them: e-mail addresses, phone numbers,
payment cards, IBANs, IP addresses, keys, tokens and passwords. Names of persons, postal addresses, birthdays and
whatever else only its meaning makes personal are **not** recognised: no pattern can. Who must not store those keeps
``text.store`` at ``none``.
"""

from __future__ import annotations

import ipaddress
import math
import re
from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from typing import TYPE_CHECKING

import pandas as pd
import phonenumbers

if TYPE_CHECKING:
    from pyspark.sql import Column

EXCERPT_CHARS = 500

WINDOWS = (1_500, 6_000, 24_000)
"""How many characters are looked at: more only where masks have shortened those before to less than an excerpt."""

TAIL_CHARS = 500
"""What is dropped at the end of a window: an address or a number there may be cut, and so not recognised."""

Finder = Callable[[re.Match[str]], tuple[int, int] | None]

# JSON has line breaks as \n and may have a quote as \u201c: those letters are no part of the word that follows.
ESCAPE = r"(?<=\\[nrt])|(?<=\\u[0-9A-Fa-f]{4})"
START = rf"(?:(?<![A-Za-z0-9_])|{ESCAPE})"
UUID = r"[0-9A-Fa-f]{8}-(?:[0-9A-Fa-f]{4}-){3}[0-9A-Fa-f]{12}(?![0-9A-Za-z])"

_MASK = re.compile(r"\[(?:email|phone|card|iban|ip|key|secret)\]")

# ---------------------------------------------------------------------------------------------------------- keys

_PRIVATE_KEY = re.compile(
    # Without its end, a private key may go on to the end of the text.
    r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY[A-Z ]{0,10}-----(?=(?s:.){0,300}?[A-Za-z0-9+/]{24}|(?s:.){0,60}\Z)"
    r"(?:(?s:.)*?-----END [A-Z0-9 ]{0,40}PRIVATE KEY[A-Z ]{0,10}-----|(?s:.)*)"
    # Without its start, it is the lines before its end.
    r"|(?<![\w+/=])(?:[A-Za-z0-9+/=]{40,}+(?:\s|\\[nr])++)*+(?:[A-Za-z0-9+/=]{1,80}+(?:\s|\\[nr])++)?"
    r"-----END [A-Z0-9 ]{0,40}PRIVATE KEY[A-Z ]{0,10}-----"
)

_KEY = re.compile(
    START
    + r"""(?:
    (?:AKIA|ASIA|ABIA|ACCA|AROA|AIDA)[A-Z0-9]{16}                             # AWS
    |gh[pousr]_[A-Za-z0-9]{16,} |github_pat_\w{20,}
    |(?:gl(?:pat|dt|ft|soat|rt|cbt|ptt|imt|agent|ffct)|gloas)-[\w.-]{16,} |GR1348941[\w-]{16,}
    |xox[a-z](?:\.xox[a-z])?-[\w-]{10,} |xapp-\d-[\w-]{10,}                   # Slack
    |(?:[srp]k_(?:live|test)|whsec)_\w{10,}                                   # Stripe
    |[sp]k-(?=[\w-]*[A-Z0-9])[\w-]{16,}                                       # OpenAI, Anthropic and others
    |(?:dapi|dose|dkea)[0-9a-f]{16,}(?:-\d+)?                                 # Databricks
    |AIza[\w-]{30,} |ya29\.[\w.-]{20,} |GOCSPX-[\w-]{20,}                     # Google
    |hf_[A-Za-z0-9]{16,} |api_org_[A-Za-z0-9]{16,}                            # Hugging Face
    |eyJ[\w-]{12,}=*(?:\.[\w-]*=*){0,4}                                       # JSON web token
    |npm_[A-Za-z0-9]{30,} |pypi-[\w-]{40,} |SG\.[\w-]{16,}\.[\w-]{16,} |dckr_pat_[\w-]{20,}
    |(?:gsk|r8|ntn|lin_api|fw|nvapi)[_-](?=\w*\d)[A-Za-z0-9_-]{24,} |(?:xai|pplx)-[A-Za-z0-9]{24,}
    |do[opr]_v1_[0-9a-f]{32,} |shp(?:at|ca|pa|ss)_[0-9A-Fa-f]{20,} |hv[sbr]\.[\w-]{20,} |ATATT3[\w=-]{20,}
    |AGE-SECRET-KEY-1[A-Z0-9]{20,} |\d{8,10}:AA[\w-]{30,}
    )""",
    re.VERBOSE,
)

# ------------------------------------------------------------------------------------------- passwords and secrets

_URL_LOGIN = re.compile(r"(?<=://)[^\s/@:\"'`\\<>?#]{0,256}:[^\s/@\"'`\\<>]{1,512}(?=@)")
_EMBEDDED = re.compile(r"(?<=;base64,)[A-Za-z0-9+/_-]{16,}={0,2}")
_WEBHOOK = re.compile(r"(?<=hooks\.slack\.com/services/)[\w/]{10,}")
_QUERY = re.compile(
    r"(?<=[?&])(?i:[\w.-]{0,40}?(?:token|key|secret|passw(?:or)?d|pwd|signature|sig|auth|jwt|session|credential))="
    r"(?P<value>[^\s&#\"'`\\<>\[\])]{6,})"
)
_COOKIE = re.compile(r"(?i)\bcookie\\*[\"']?\s?:\s?\\*[\"']?(?P<value>[\w.-]{1,80}=[^\r\n\"'\\]+)")
_LOGIN_OPTION = re.compile(r"(?<=\s)(?:-u|--user)[ =][\"']?(?P<value>[A-Za-z][^\s\"':]*:[^\s\"']+)")

_LOGIN_NAMES = (
    r"passwor[dt]|passwd|passphrase|passcode|kennwort|mot\ de\ passe|contrase(?:ñ|\\u00f1)a|(?<![a-z])senha"
    r"|пароль|密码|密碼|비밀번호|パスワード|(?<![a-z])pwd|(?<![a-z])pass"
)
_KEY_NAMES = r"(?:api|access|auth|private|secret|account|encryption|signing|master|subscription)[\ _-]?key"
_VAGUE_NAMES = r"secret|token|credentials?|cvv|cvc|authorization"
_NAME_PARTS = (
    *("pass", "kennwort", "contrase", "senha", "пароль", "密码", "密碼"),
    *("비밀번호", "パスワード", "pwd", "key", "secret", "token", "credential", "cvv", "cvc", "authorization"),
)
"""Parts of those names: a text with none of them needs no slower search."""
_VAGUE_ONLY = re.compile(_VAGUE_NAMES)
_NAMED_ONLY = re.compile(rf"(?:{_LOGIN_NAMES}|key|{_VAGUE_NAMES}|_)", re.IGNORECASE)
_NAMED = re.compile(
    rf"""(?P<name>(?:{_LOGIN_NAMES})|(?:{_KEY_NAMES})|(?:{_VAGUE_NAMES}))(?:[_-]?(?:hash|value|\d{{1,2}}))?
    (?:\\*["'`]|\*\*|\])*+
    (?P<sep>\s*(?:=>|:=|={{1,2}}|[:\uff1a])(?:\*\*)?\s*|>|\s*[是为為]\s*|\s+(?:is|was|ist|lautet|est|es)\s*:?\s+
        |(?<=--token)\s|(?<=--password)\s)
    (?:(?:f|b|r)(?=["']))?
    (?:(?P<quote>\\*(?:\"\"\"|["'`]))|[“„«\u2018])?
    (?P<scheme>(?:bearer|basic|digest|token|apikey|aws4-hmac-sha256)[\ \t]+)?""",
    re.IGNORECASE | re.VERBOSE,
)
_BARE_VALUE = re.compile(r"(?:[^\s\"'`\\,;&<>“”„«»。、\uff0c\uff1b]|,(?=[^\s\"'`\\]))++")
_BEARER = re.compile(r"(?i)\bbearer\s+(?P<value>[\w.~+/=-]{8,})")

_TEMPLATE = re.compile(r"\$[{(]|\{\{|%s$|%\(|\.\.\.|…|\*+$")
_CODE = re.compile(
    r"[A-Za-z_][A-Za-z_.]*\((?:.*\))?$|[A-Za-z_]+\.[A-Za-z_.]+\(|\w[\w.]*\[|(?:[A-Za-z_]+\.)+[A-Za-z_]+$|\$[A-Za-z_]+$|/"
)
_CALL = re.compile(r"[A-Za-z_][A-Za-z_.]*\(")
_STRONG_TOKEN = re.compile(r"(?i)(?:access|auth|refresh|api|bearer|session|id|bot|security|csrf)[_-]?$")
_NO_SECRET = re.compile(
    r"none|null|nil|true|false|undefined|str|string|text|int|integer|bytes|any|object|optional|required|missing|empty"
    r"|wrong|incorrect|correct|invalid|valid|weak|strong|expired|important|secure|insecure|safe|unsafe|changed|reset"
    r"|hashed|encrypted|stored|needed|necessary|mandatory|hidden|visible|set|not|too|an?|the|in|on|at|your|my"
    r"|nicht|falsch|richtig|erforderlich|requis|incorrecta|not_set|raise|return|pass|continue|break|await",
    re.IGNORECASE,
)
_ENDS = re.compile(r"[.!?]?(?:\s*(?:$|[\r\n\"'`<])|\\+[nrt\"]|\s+[A-Z])|[.!?。\uff01\uff1f](?:\s|$)|[,;)\]}]")

_RANDOM = re.compile(rf"{START}{UUID}|(?:(?<![A-Za-z0-9+/=_\\-])|{ESCAPE})[A-Za-z0-9+/_-]{{24,}}={{0,2}}")
_HEX = re.compile(r"(?<![A-Za-z0-9])(?=[0-9]*[A-Fa-f])(?:[0-9a-f]{32,}|[0-9A-F]{32,})(?![A-Za-z0-9])")
_PUBLIC_HASH = re.compile(
    r"(?:blob|commit|tree|raw|runs:)/$|sha(?:1|256|512)[:-]$"
    r"|(?:run|request|trace|span|event|message|conversation|dataset|model|job)[_ ]?id\W{1,6}$",
    re.IGNORECASE,
)
_ID_PREFIX = re.compile(
    r"(?:chatcmpl|cmpl|resp|msg|call|run|req|thread|asst|file|toolu|trace|tr|span)[-_]", re.IGNORECASE
)
_IN_UUID = re.compile(UUID)

# ------------------------------------------------------------------------------------------- addresses and numbers

_EMAIL = re.compile(
    r"(?<![\w.!#$%&*+/=?^{|}~-])(?:(?<=\\)[nrt](?=[\w.+-]))?+"
    r"(?!git@)(?P<value>(?:[\w.!#$%&*+/=?^{|}~-]|\\u[0-9A-Fa-f]{4})++@"
    r"(?:(?:[A-Za-z0-9-]+\.)+[A-Za-z]{2,}|(?:[\w-]+\.)+[^\W\d_][\w-]+)"
    r"|[\w.+-]++\s?[\[({]\s?at\s?[\])}]\s?[\w-]{1,64}(?:(?:\.|\s?[\[({]\s?(?:dot|punkt)\s?[\])}]\s?)[\w-]{1,64}){1,5}"
    r")|(?<![\w.+-])(?P<encoded>[\w.+-]++%40(?:[A-Za-z0-9-]+\.)+[A-Za-z]{2,})",
    re.IGNORECASE,
)
_CJK_THEN_ASCII = re.compile(r"[^\x00-\u02ff]+(?=[A-Za-z0-9])")

IBAN_COUNTRIES = {
    15: "NO", 16: "BE", 18: "DK FI FK FO GL NL SD", 19: "MK SI", 20: "AT BA EE KZ LT LU MN XK", 21: "CH HR LI LV",
    22: "BG BH CR DE GB GE IE ME RS VA", 23: "AE GI IL IQ OM SO TL", 24: "AD CZ ES MD PK RO SA SE SK TN VG",
    25: "LY PT ST", 26: "IS TR", 27: "BI DJ FR GR IT MC MR SM", 28: "AL AZ BY CY DO GT HN HU LB NI PL SV",
    29: "BR EG PS QA UA", 30: "JO KW MU YE", 31: "MT SC", 32: "LC", 33: "RU",
}  # fmt: skip
_IBAN_CHARS = {country: n for n, countries in IBAN_COUNTRIES.items() for country in countries.split()}
_IBAN = re.compile(START + r"[A-Za-z]{2}[0-9]{2}(?:[ \u00a0]?[A-Za-z0-9]){11,30}")

_CARD = re.compile(
    rf"{START}{UUID}|{START}(?<![\d][.,])(?:\d{{4}}([ .\u00a0-]?)\d{{4}}\1\d{{4}}\1\d{{1,4}}(?:\1\d{{3}})?"
    r"|3\d{3}([ .\u00a0-])\d{6}\2\d{4,5}|\d{13,19})(?!\d)"
)
_CARD_ISSUER = re.compile(
    r"4(?:\d{12}|\d{15}|\d{18})$|5[0-8]\d{11,17}$|6\d{12,18}$|3[47]\d{13}$|3[0689]\d{12,17}$|35\d{14}$|2[2-7]\d{14}$"
)

_IPV4 = re.compile(rf"(?:(?<![A-Za-z0-9_.])|{ESCAPE})(?:[0-9]{{1,3}}\.){{3}}[0-9]{{1,3}}(?![A-Za-z0-9_]|\.[0-9])")
_NO_IP = re.compile(
    r"(?:\b(?:version|release|build|v|ver|section|chapter|clause|figure|table|kapitel|abschnitt)[.:]?\s|==|§\s?)$",
    re.IGNORECASE,
)
_IPV6 = re.compile(rf"(?:(?<![A-Za-z0-9_:.])|{ESCAPE})(?=[0-9A-Fa-f]{{0,4}}:)[0-9A-Fa-f:.]{{6,45}}(?![A-Za-z0-9_:])")

REGIONS = ("US", "GB", "DE", "FR", "NL", "ES", "IT", "CH", "AU", "IN", "CN", "JP", "BR", "MX")
"""Whose national numbers are known; numbers with a country code are, whatever the country."""

_PHONE = re.compile(
    rf"{START}{UUID}"
    rf"|{START}(?:(?=[(]?[+\uff0b])|(?<![/$€£#-])(?<!\d[.,]))"
    r"[+\uff0b]?[(]?[+\uff0b]?\d[\d ()./\u00a0\u2010-\u2013-]{4,60}\d(?![A-Za-z0-9_])"
)
_PHONE_SHAPES = (
    (
        re.compile(r"1?[ .-]?[(]?[2-9]\d\d(?:[)][ -]?|[ .-])[2-9]\d\d[ .-]\d{4}(?!\d)|1-\d{3}-\d{3}-\d{4}(?!\d)"),
        ("US",),
    ),
    (re.compile(r"1[3-9]\d[ -]?\d{4}[ -]?\d{4}$"), ("CN",)),
    (re.compile(r"[6-9]\d{4}[ -]\d{5}$"), ("IN",)),
    (re.compile(r"[(]\d\d[)] ?9?\d{4}-\d{4}$"), ("BR",)),
    (re.compile(r"00\d|[(]?0[\d)]"), tuple(region for region in REGIONS if region not in ("US", "BR", "MX", "ES"))),
)
"""What national numbers look like where no word such as "phone" goes before them, and in which regions."""

_PHONE_CUE = re.compile(
    r"(?i)(?:(?<![a-z])(?:tel|tél|cell|call|fax|ring|dial|text(?=\s(?:me|us|him|her)\b)|sms|handy)"
    r"(?:\s(?:me|us|him|her))?(?:\s(?:at|on))?|phone|mobile|whatsapp"
    r"|telefono?|teléfono|móvil|celular|téléphone|rufnummer|телефон|тел|电话|電話|手机|手機|هاتف|전화)"
    r"(?:[\s_-]?(?:number|nummer|no|nr)\b)?[^\w\n+(]{0,8}(?:(?:is|ist|est|es|at|under|unter|是|为)[\s:]{1,2})?$"
)
_NO_PHONE = re.compile(r"(?i)(?:isbn|issn|doi|order|invoice|ticket|\bid)\W{1,3}$")
_DATE = re.compile(r"[(]?(?:\d{1,2}([./-])\d{1,2}\1(?:\d{4}|\d{2})|(?:19|20)\d\d([./-]?)[01]\d\2[0-3]\d)(?!\d)")


def redacted(text: str | None) -> str | None:
    """The first 500 characters of a text, with personal data and secrets masked by words such as ``[email]``.

    Never raises, whatever the text; NULL stays NULL.
    """
    if text is None:
        return None
    kept = ""
    for seen in WINDOWS:
        masked = _masked(text[:seen])
        if len(text) <= seen:
            return masked[:EXCERPT_CHARS]
        # What a mask has replaced at the end of the window may go on after it: nothing of that shows.
        kept = masked if masked.endswith("]") and _MASK.match(masked, masked.rfind("[")) else masked[:-TAIL_CHARS]
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
    if "PRIVATE KEY" in text:
        text = _PRIVATE_KEY.sub("[key]", text)
    text = _KEY.sub("[key]", text)
    if "://" in text:
        text = _URL_LOGIN.sub("[secret]", text)
        text = _WEBHOOK.sub("[secret]", text)
    if "=" in text:
        text = _replace(text, _QUERY, _group, "[secret]")
        text = _replace(text, _COOKIE, _group, "[secret]")
    if ";base64," in text:
        text = _EMBEDDED.sub("[secret]", text)
    lower = text.lower()
    if any(name in lower for name in _NAME_PARTS):
        text = _replace(text, _NAMED, _named_secret, "[secret]")
    if "bearer" in lower:
        text = _replace(text, _BEARER, _bearer, "[secret]")
    text = _replace(text, _LOGIN_OPTION, _group, "[secret]")
    if "@" in text or "%40" in text or re.search(r"(?i)[\[({]\s?at\s?[\])}]", text):
        text = _replace(text, _EMAIL, _email, "[email]")
    if re.search(r"\d", text):
        text = _replace(text, _IBAN, _iban, "[iban]")
        text = _replace(text, _CARD, _card, "[card]")
    text = _replace(text, _RANDOM, _random, "[secret]")
    if ":" in text:
        text = _replace(text, _IPV6, _ipv6, "[ip]")
    if re.search(r"\d\D{0,3}\d", text):
        text = _replace(text, _IPV4, _ipv4, "[ip]")
        text = _replace(text, _PHONE, _phone, "[phone]")
    return text


def _replace(text: str, pattern: re.Pattern[str], find: Finder, mask: str) -> str:
    """Masks what ``find`` says of each match; where that is nothing, the search goes on within the match."""
    pieces, copied, at = [], 0, 0
    while match := pattern.search(text, at):
        span = find(match)
        if span is None:
            at = match.start() + 1
            continue
        start, at = span
        if start < at:
            pieces += [text[copied:start], mask]
            copied = at
    return "".join([*pieces, text[copied:]]) if copied else text


def _skip(match: re.Match[str]) -> tuple[int, int]:
    return match.end(), match.end()


def _group(match: re.Match[str]) -> tuple[int, int]:
    return _skip(match) if _MASK.fullmatch(match["value"]) else match.span("value")


def _bearer(match: re.Match[str]) -> tuple[int, int] | None:
    value = match["value"]
    return match.span("value") if len(value) >= 24 or re.search(r"\d", value) else None


def _named_secret(match: re.Match[str]) -> tuple[int, int]:
    """The value after ``password=``, ``"api_key":``, ``my password is`` and so on."""
    text, start = match.string, match.end()
    if match["quote"]:
        end = _quoted_end(text, start, match["quote"])
    else:
        bare = _BARE_VALUE.match(text, start)
        end = start + len(bare[0].rstrip(".,;:)]}*|")) if bare else start
    mask = _MASK.match(text, start)
    if (mask and mask.end() >= end) or not _is_secret(match, text[start:end], text[end : end + 12]):
        return _skip(match)
    return start, end


def _quoted_end(text: str, start: int, quote: str) -> int:
    """Where the quoted value ends; inside JSON in JSON, quotes with more backslashes belong to the value."""
    at = text.find(quote, start)
    while at > start and text[at - 1] == "\\":
        at = text.find(quote, at + 1)
    line = text.find("\n", start)
    ends = [end for end in (at, line) if end >= 0]
    return min(ends, default=len(text))


def _is_secret(match: re.Match[str], value: str, after: str) -> bool:
    if not value or _NO_SECRET.fullmatch(value) or _TEMPLATE.match(value):
        return False
    name, quoted, scheme = match["name"].lower(), bool(match["quote"]), bool(match["scheme"])
    words = re.fullmatch(r"[^\W\d_]+(?:-[^\W\d_]+){0,2}|[A-Za-z]+(?:_[A-Za-z]+)+", value)
    before = match.string[max(0, match.start() - 10) : match.start()]
    # Tokenizers and log probabilities say "token" of words and of small numbers.
    if name == "token" and not scheme and not _STRONG_TOKEN.search(before):
        return len(value) >= 8 and not words and bool(re.search(r"\d", value))
    if quoted:
        return bool(re.search(r"\w", value)) or len(value) >= 4
    if scheme:
        return not words or len(value) > 24
    if _CODE.match(value) or (match["sep"] == " = " and _CALL.match(value)):
        return False
    if name.startswith("credential") and not re.search(r"\d", value):
        return False
    return _is_bare_password(name, match["sep"], value, after) if words else len(value) >= 3


def _is_bare_password(name: str, sep: str, value: str, after: str) -> bool:
    """Whether plain words after a name are its value, and not the sentence or the program going on."""
    if _NAMED_ONLY.search(value) or (_VAGUE_ONLY.fullmatch(name) and "=" not in sep):
        return False
    return (sep == "=" and after[:1] not in ("(", ".", "[")) or bool(_ENDS.match(after))


def _email(match: re.Match[str]) -> tuple[int, int]:
    start, end = match.span("value" if match["value"] else "encoded")
    # Chinese or Japanese before an address, with no space between, is no part of it.
    if before := _CJK_THEN_ASCII.match(match.string, start, end):
        start = before.end()
    return start, end


def _iban(match: re.Match[str]) -> tuple[int, int] | None:
    length = _IBAN_CHARS.get(match[0][:2].upper(), 0)
    places = [i for i, char in enumerate(match[0]) if char.isalnum()][:length]
    if not length or len(places) < length:
        return None
    end = match.start() + places[-1] + 1
    code = "".join(match[0][i] for i in places)
    follows = match.string[end : end + 1]
    whole = not (follows.isascii() and follows.isalnum())
    return (
        (match.start(), end) if whole and int("".join(str(int(c, 36)) for c in code[4:] + code[:4])) % 97 == 1 else None
    )


def _card(match: re.Match[str]) -> tuple[int, int] | None:
    if _IN_UUID.fullmatch(match[0]):
        return _skip(match)
    digits = "".join(str(int(char)) for char in match[0] if char.isdecimal())
    doubled = (sum(divmod(2 * int(digit), 10)) for digit in digits[-2::-2])
    luhn = (sum(map(int, digits[::-2])) + sum(doubled)) % 10 == 0
    return match.span() if luhn and _CARD_ISSUER.match(digits) else None


def _random(match: re.Match[str]) -> tuple[int, int] | None:
    """A long string that looks drawn at random: hexadecimal, or letters of both cases and digits, well mixed."""
    word = _ID_PREFIX.sub("", _IN_UUID.sub("", match[0]), count=1)
    if _ID_PREFIX.match(match[0]) and len(word) < 60:
        return _skip(match)
    if digest := _HEX.search(match[0]):
        start, end = match.start() + digest.start(), match.start() + digest.end()
        known = _PUBLIC_HASH.search(match.string[max(0, start - 24) : start])
        return (end, end) if known or _entropy(digest[0]) < 2.8 else (start, end)
    parts = re.findall(r"[A-Za-z0-9]+", word)
    letters = "".join(parts)
    if len(letters) < 20 or not re.search(r"\d", letters):
        return _skip(match)
    longest = max(parts, key=len)
    kinds = ["0" if c.isdigit() else "A" if c.isupper() else "a" for c in letters]
    # Upper to lower case is every word's start in camel case: it says nothing.
    changes = sum(a != b and a + b != "Aa" for a, b in pairwise(kinds)) / len(letters)
    mixed = len(set(kinds)) == 3 and len(longest) >= 8
    enough = changes >= 0.26 if mixed else len(longest) >= 32 and changes >= 0.25
    return match.span() if enough and _entropy(letters) > 3.4 else _skip(match)


def _entropy(word: str) -> float:
    """Shannon's entropy in bits for each character."""
    return -sum(n / len(word) * math.log2(n / len(word)) for n in Counter(word).values())


def _ipv4(match: re.Match[str]) -> tuple[int, int] | None:
    parts = [int(part) for part in match[0].split(".")]
    before = match.string[max(0, match.start() - 12) : match.start()]
    browser = parts[2:] == [0, 0] and re.search(r"[A-Za-z]/$", before)  # Chrome/120.0.0.0
    if max(parts) > 255 or browser or _NO_IP.search(before):
        return _skip(match)
    address = ipaddress.IPv4Address(".".join(map(str, parts)))
    # 127.0.0.1, 169.254.169.254, 0.0.0.0 and netmasks are nobody's address.
    harmless = address.is_loopback or address.is_link_local or address.is_unspecified or parts[0] == 255
    return _skip(match) if harmless else match.span()


def _ipv6(match: re.Match[str]) -> tuple[int, int] | None:
    value = match[0].rstrip(".") if match[0].endswith("::") else match[0].rstrip(".:")
    groups = [group for group in value.split(":") if group]
    # C++ names and slices (A::B, [1::2]) are valid addresses too.
    if not re.search(r"\d", value) or not (len(groups) >= 3 or (len(groups) == 2 and len(groups[0]) == 4)):
        return _skip(match)
    try:
        ipaddress.IPv6Address(value)
    except ValueError:
        return _skip(match)
    return match.start(), match.start() + len(value)


def _phone(match: re.Match[str]) -> tuple[int, int] | None:
    candidate = match[0]
    if sum(char.isdecimal() for char in candidate) < 7 or _IN_UUID.fullmatch(candidate):
        return _skip(match)
    if date := _DATE.match(candidate):
        return match.start() + date.end(), match.start() + date.end()
    if _PHONE_CUE.search(match.string[max(0, match.start() - 40) : match.start()]):
        found = _phone_span(candidate, phonenumbers.Leniency.POSSIBLE, REGIONS)
    elif candidate.lstrip("(")[0] in "+\uff0b":
        found = _phone_span(candidate, phonenumbers.Leniency.POSSIBLE, ("US",))
    elif _NO_PHONE.search(match.string[max(0, match.start() - 12) : match.start()]):
        return _skip(match)
    else:
        regions = next((regions for shape, regions in _PHONE_SHAPES if shape.match(candidate)), ())
        found = _phone_span(candidate, phonenumbers.Leniency.VALID, regions)
    return (match.start() + found[0], match.start() + found[1]) if found else _skip(match)


def _phone_span(candidate: str, leniency: int, regions: tuple[str, ...]) -> tuple[int, int] | None:
    for region in regions:
        for found in phonenumbers.PhoneNumberMatcher(candidate, region, leniency=leniency):
            unbalanced = found.raw_string.startswith("(") and ")" not in found.raw_string
            return found.start + unbalanced, found.end
    return None
