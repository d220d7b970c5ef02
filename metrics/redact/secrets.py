"""Keys, tokens and passwords: those with a known form, those with a name beside them, and long random strings."""

from __future__ import annotations

import math
import re
from collections import Counter
from itertools import pairwise

from metrics.redact.search import ESCAPE, IN_UUID, MASK, START, UUID, group, replace, skip

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


def mask_secrets(text: str) -> str:
    """Masks keys, tokens and passwords, but for those that only look like drawn at random."""
    if "PRIVATE KEY" in text:
        text = _PRIVATE_KEY.sub("[key]", text)
    text = _KEY.sub("[key]", text)
    if "://" in text:
        text = _URL_LOGIN.sub("[secret]", text)
        text = _WEBHOOK.sub("[secret]", text)
    if "=" in text:
        text = replace(text, _QUERY, group, "[secret]")
        text = replace(text, _COOKIE, group, "[secret]")
    if ";base64," in text:
        text = _EMBEDDED.sub("[secret]", text)
    lower = text.lower()
    if any(name in lower for name in _NAME_PARTS):
        text = replace(text, _NAMED, _named_secret, "[secret]")
    if "bearer" in lower:
        text = replace(text, _BEARER, _bearer, "[secret]")
    text = replace(text, _LOGIN_OPTION, group, "[secret]")
    return text


def mask_random(text: str) -> str:
    """Masks long strings that look drawn at random. After what has a clearer form."""
    return replace(text, _RANDOM, _random, "[secret]")


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
    mask = MASK.match(text, start)
    if (mask and mask.end() >= end) or not _is_secret(match, text[start:end], text[end : end + 12]):
        return skip(match)
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


def _random(match: re.Match[str]) -> tuple[int, int] | None:
    """A long string that looks drawn at random: hexadecimal, or letters of both cases and digits, well mixed."""
    word = _ID_PREFIX.sub("", IN_UUID.sub("", match[0]), count=1)
    if _ID_PREFIX.match(match[0]) and len(word) < 60:
        return skip(match)
    if digest := _HEX.search(match[0]):
        start, end = match.start() + digest.start(), match.start() + digest.end()
        known = _PUBLIC_HASH.search(match.string[max(0, start - 24) : start])
        return (end, end) if known or _entropy(digest[0]) < 2.8 else (start, end)
    parts = re.findall(r"[A-Za-z0-9]+", word)
    letters = "".join(parts)
    if len(letters) < 20 or not re.search(r"\d", letters):
        return skip(match)
    longest = max(parts, key=len)
    kinds = ["0" if c.isdigit() else "A" if c.isupper() else "a" for c in letters]
    # Upper to lower case is every word's start in camel case: it says nothing.
    changes = sum(a != b and a + b != "Aa" for a, b in pairwise(kinds)) / len(letters)
    mixed = len(set(kinds)) == 3 and len(longest) >= 8
    enough = changes >= 0.26 if mixed else len(longest) >= 32 and changes >= 0.25
    return match.span() if enough and _entropy(letters) > 3.4 else skip(match)


def _entropy(word: str) -> float:
    """Shannon's entropy in bits for each character."""
    return -sum(n / len(word) * math.log2(n / len(word)) for n in Counter(word).values())
