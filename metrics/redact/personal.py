"""E-mail addresses, IBANs, payment cards, IP addresses and phone numbers."""

from __future__ import annotations

import ipaddress
import re

import phonenumbers

from metrics.redact.search import ESCAPE, IN_UUID, START, UUID, replace, skip

_EMAIL = re.compile(
    r"(?<![\w.!#$%&*+/=?^{|}~-])(?:(?<=\\)[nrt](?=[\w.+-]))?+"
    r"(?!git@)(?P<value>(?:[\w.!#$%&*+/=?^{|}~-]|\\u[0-9A-Fa-f]{4})++[@\uff20]"
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


def mask_accounts(text: str) -> str:
    """Masks e-mail addresses, IBANs and payment cards."""
    if "@" in text or "\uff20" in text or "%40" in text or re.search(r"(?i)[\[({]\s?at\s?[\])}]", text):
        text = replace(text, _EMAIL, _email, "[email]")
    if re.search(r"\d", text):
        text = replace(text, _IBAN, _iban, "[iban]")
        text = replace(text, _CARD, _card, "[card]")
    return text


def mask_numbers(text: str) -> str:
    """Masks IP addresses and phone numbers. After accounts, of which they could be a part."""
    if ":" in text:
        text = replace(text, _IPV6, _ipv6, "[ip]")
    if re.search(r"\d\D{0,3}\d", text):
        text = replace(text, _IPV4, _ipv4, "[ip]")
        text = replace(text, _PHONE, _phone, "[phone]")
    return text


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
    if IN_UUID.fullmatch(match[0]):
        return skip(match)
    digits = "".join(str(int(char)) for char in match[0] if char.isdecimal())
    doubled = (sum(divmod(2 * int(digit), 10)) for digit in digits[-2::-2])
    luhn = (sum(map(int, digits[::-2])) + sum(doubled)) % 10 == 0
    return match.span() if luhn and _CARD_ISSUER.match(digits) else None


def _ipv4(match: re.Match[str]) -> tuple[int, int] | None:
    parts = [int(part) for part in match[0].split(".")]
    before = match.string[max(0, match.start() - 12) : match.start()]
    browser = parts[2:] == [0, 0] and re.search(r"[A-Za-z]/$", before)  # Chrome/120.0.0.0
    if max(parts) > 255 or browser or _NO_IP.search(before):
        return skip(match)
    address = ipaddress.IPv4Address(".".join(map(str, parts)))
    # 127.0.0.1, 169.254.169.254, 0.0.0.0 and netmasks are nobody's address.
    harmless = address.is_loopback or address.is_link_local or address.is_unspecified or parts[0] == 255
    return skip(match) if harmless else match.span()


def _ipv6(match: re.Match[str]) -> tuple[int, int] | None:
    value = match[0].rstrip(".") if match[0].endswith("::") else match[0].rstrip(".:")
    groups = [group for group in value.split(":") if group]
    # C++ names and slices (A::B, [1::2]) are valid addresses too.
    if not re.search(r"\d", value) or not (len(groups) >= 3 or (len(groups) == 2 and len(groups[0]) == 4)):
        return skip(match)
    try:
        ipaddress.IPv6Address(value)
    except ValueError:
        return skip(match)
    return match.start(), match.start() + len(value)


def _phone(match: re.Match[str]) -> tuple[int, int] | None:
    candidate = match[0]
    if sum(char.isdecimal() for char in candidate) < 7 or IN_UUID.fullmatch(candidate):
        return skip(match)
    if date := _DATE.match(candidate):
        return match.start() + date.end(), match.start() + date.end()
    if _PHONE_CUE.search(match.string[max(0, match.start() - 40) : match.start()]):
        found = _phone_span(candidate, phonenumbers.Leniency.POSSIBLE, REGIONS)
    elif candidate.lstrip("(")[0] in "+\uff0b":
        found = _phone_span(candidate, phonenumbers.Leniency.POSSIBLE, ("US",))
    elif _NO_PHONE.search(match.string[max(0, match.start() - 12) : match.start()]):
        return skip(match)
    else:
        regions = next((regions for shape, regions in _PHONE_SHAPES if shape.match(candidate)), ())
        found = _phone_span(candidate, phonenumbers.Leniency.VALID, regions)
    return (match.start() + found[0], match.start() + found[1]) if found else skip(match)


def _phone_span(candidate: str, leniency: int, regions: tuple[str, ...]) -> tuple[int, int] | None:
    for region in regions:
        for found in phonenumbers.PhoneNumberMatcher(candidate, region, leniency=leniency):
            unbalanced = found.raw_string.startswith("(") and ")" not in found.raw_string
            return found.start + unbalanced, found.end
    return None
