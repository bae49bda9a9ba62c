"""Finds personal data in a text: e-mail addresses, telephone numbers, cards, accounts, US SSNs, public IP addresses.

Every finder yields (start, end) in order, in time linear in the text, and leaves out what is known to be nobody's.
"""

import ipaddress
import re
from collections.abc import Iterator

Span = tuple[int, int]

_AT = re.compile(r"@(?=[A-Za-z0-9])((?:[A-Za-z0-9-]{1,63}\.){1,6}([A-Za-z]{2,12}))(?![\w(\[-])", re.ASCII)
_LOCAL = re.compile(r"[A-Za-z0-9_](?:[\w.+%-]{0,62}[A-Za-z0-9_])?\Z", re.ASCII)
_USERINFO = re.compile(r"//[^\s/@]{0,64}:\Z")
_GENERIC = frozenset(
    str.split(
        "com org net edu gov mil int info biz name pro app dev xyz online site store shop tech cloud email blog live "
        "mobi museum coop jobs travel agency academy africa asia berlin club design digital global group health law "
        "life media network news one page science social solutions space studio systems team today top website wiki "
        "work world"
    )
)
# RFC 2606 and 6761, and the names that stand for "some domain" in what people and models write.
_NO_DOMAIN = re.compile(
    r"(?:.*\.)?(?:(?:example|domain|(?:your|my|some)[a-z-]*|test|foo|bar|acme|xyz|abc|company|email|placeholder)"
    r"(?:\.[a-z]{2,4}){1,2}|.*\.(?:test|example|invalid|localhost|local))",
)

# Digits in one number: at most one space or sign between two, an area code in brackets.
_RUN = re.compile(r"[+(]{0,2}[0-9](?:(?:[ .\-/\u00a0\u2010-\u2013]|\)[ -]?| ?\((?=[0-9]{1,5}\)))?[0-9])*")
_LONGEST_RUN = 50
_NOT_DIGIT = re.compile(r"[^0-9]+")
_PLUS = re.compile(
    r"1[2-9]|7[3-9]|2(?:[07]|1[1-38]|[2346]\d|5[0-8]|9[017-9])|3(?:[0-469]|[57]\d|8[0-79])|4(?:[013-9]|2[013])"
    r"|5(?:[1-8]|[09]\d)|6(?:[0-6]|7[02-9]|8\d|9[0-2])|8(?:[1246]|5[02356]|8[06])|9(?:[0-58]|6[0-8]|7\d|9[2-68])"
)
_NATIONAL = re.compile(
    r"(?:1[-. ])?(?:\([0-9]{3}\)[ -]{0,2}[0-9]{3}[-. ]|[0-9]{3}-[0-9]{3}-|[0-9]{3}\.[0-9]{3}\.)[0-9]{4}"
)
_TRUNK = re.compile(r"\(?0[1-9][0-9]{0,2}(?:\)[ -]?|-)[0-9]{2,4}-[0-9]{3,4}")
_CALLED = re.compile(
    r"(?:\b(?:(?:tele)?phone|tele?f(?:on|oon|ono)|téléphone|teléfono|tel|tél|mobile?|móvil|celular|cell|handy|fax|"
    r"whats ?app|sms|portable|call (?:me|us|him|her|at))\b|телефон|тел\.|моб\.|电话|手机|联系方式|電話|手機|携帯|"
    r"전화|휴대폰|هاتف|جوال|फ़ोन|फोन|मोबाइल)[^0-9\n+(]{0,20}\Z",
    re.IGNORECASE,
)
_OPERATORS = frozenset("=+-*/^<>$\\{_×÷·&#~")
_CLOSING = frozenset("0123456789)}")
# Digits in the order of the keys are made up, whatever the country.
_KEYS = re.compile("0?1234567|2345678|3456789|9876543|8765432|7654321")
_FREE_OF_CHARGE = frozenset({"800", "833", "844", "855", "866", "877", "888", "900"})

_CARD = re.compile(
    r"(?<![\w.])(?<![0-9][ -])(?:"
    r"[2-6][0-9]{3}([ -])[0-9]{4}\1[0-9]{4}\1[0-9]{1,4}(?:\1[0-9]{3})?|3[0-9]{3}([ -])[0-9]{6}\2[0-9]{4,5}"
    r"|[2-6][0-9]{12,18})(?!\w|[ -][0-9]{4}|\.[0-9])",
    re.ASCII,
)
_ISSUERS = (
    (re.compile("4"), (13, 16, 19)),  # Visa
    (re.compile("5[1-5]|222[1-9]|22[3-9]|2[3-6]|27[01]|2720"), (16,)),  # Mastercard
    (re.compile("3[47]"), (15,)),  # American Express
    (re.compile("3(?:0[0-5]|[68])"), (14,)),  # Diners Club
    (re.compile("6011|64[4-9]|65|35(?:2[89]|[3-8])"), (16,)),  # Discover, JCB
    (re.compile("62"), (16, 17, 18, 19)),  # UnionPay
)
_PAID = re.compile(
    r"(?:\b(?:cards?|credit|debit|visa|master ?card|amex|american express|kreditkarte|carte|tarjeta|cartão|carta)\b"
    r"|карт[аы]|卡号|信用卡|银行卡|カード|카드)[^0-9\n]{0,30}\Z",
    re.IGNORECASE,
)
# Numbers that payment services publish for tests; most others of these have no more than three different digits.
_TEST_CARDS = frozenset(
    str.split(
        "4012888888881881 378282246310005 371449635398431 6011111111111117 6011000990139424 30569309025904 "
        "38520000023237 3530111333300000 3566002020360505 2223003122003222 4917610000000000 6200000000000005"
    )
)

_IBAN = re.compile(r"(?<![A-Za-z0-9])(?=([A-Z]{2}[0-9]{2}(?: ?[A-Z0-9]){11,30}))")
#: Characters of an account number, by country.
IBAN_LENGTHS = {
    entry[:2]: int(entry[2:])
    for entry in str.split(
        "AD24 AE23 AL28 AT20 AZ28 BA20 BE16 BG22 BH22 BI27 BR29 BY28 CH21 CR22 CY28 CZ24 DE22 DJ27 DK18 DO28 EE20 EG29 "
        "ES24 FI18 FK18 FO18 FR27 GB22 GE22 GI23 GL18 GR27 GT28 HR21 HU28 IE22 IL23 IQ23 IS26 IT27 JO30 KW30 KZ20 LB28 "
        "LC32 LI21 LT20 LU20 LV21 LY25 MC27 MD24 ME22 MK19 MN20 MR27 MT31 MU30 NI28 NL18 NO15 OM23 PK24 PL28 PS29 PT25 "
        "QA29 RO24 RS22 RU33 SA24 SC31 SD18 SE24 SI19 SK24 SM27 SO23 ST25 SV28 TL23 TN24 TR26 UA29 VA22 VG24 XK20 YE30"
    )
}
# The registry's own examples, which every text about account numbers shows.
_SAMPLE_IBANS = frozenset(
    str.split(
        "DE89370400440532013000 GB29NWBK60161331926819 GB82WEST12345698765432 FR1420041010050500013M02606 "
        "NL91ABNA0417164300 ES9121000418450200051332 CH9300762011623852957 AT611904300234573201 BE68539007547034 "
        "IT60X0542811101000000123456 PL61109010140000071219812874 SE4550000000058398257466 NO9386011117947"
    )
)

_SSN = re.compile(r"(?<![\w.-])(?!000|666|9)[0-9]{3}([ -])(?!00)[0-9]{2}\1(?!0000)[0-9]{4}(?![\w-])", re.ASCII)
_INSURED = re.compile(r"\b(?:SSNs?|social security|taxpayer id|tax id)\b[^\n]{0,50}\Z", re.IGNORECASE)
_SAMPLE_SSNS = frozenset({"078051120", "219099999", "123456789", "111223333", "123121234"})

_IPV4 = re.compile(r"(?<![\w.-])(?<![vV/] )[0-9]{1,3}(?:\.[0-9]{1,3}){3}(?![\w-]|\.[0-9])", re.ASCII)
_IPV6 = re.compile(r"(?<![\w:.])[23][0-9a-fA-F]{3}:[0-9a-fA-F:]{2,34}(?![\w:])", re.ASCII)
_RESOLVERS = frozenset({"8.8.8.8", "8.8.4.4", "1.1.1.1", "1.0.0.1", "9.9.9.9", "208.67.222.222", "208.67.220.220"})


def emails(text: str) -> Iterator[Span]:
    """E-mail addresses at a domain that could be somebody's."""
    for m in _AT.finditer(text):
        domain, top = m[1].lower(), m[2]
        local = _LOCAL.search(text, max(0, m.start() - 64), m.start())
        if local is None or not (top.islower() or top.isupper()) or _NO_DOMAIN.fullmatch(domain):
            continue
        if len(top) > 2 and top.lower() not in _GENERIC:
            continue
        if len(local.group()) == len(domain.split(".")[-2]) == 1:
            continue  # a@b.co
        if local.group() == "git" or _USERINFO.search(text, max(0, local.start() - 70), local.start()):
            continue
        yield local.start(), m.end()


def phones(text: str) -> Iterator[Span]:
    """Telephone numbers: international, or national in a form or beside a word that nothing else has."""
    for m in _RUN.finditer(text):
        run = m.group()
        if not 9 <= len(run) <= _LONGEST_RUN:
            continue
        digits = _NOT_DIGIT.sub("", run)
        if not 9 <= len(digits) <= 15 or len(set(digits)) <= 3 or _KEYS.search(digits):
            continue
        before = text[max(0, m.start() - 48) : m.start()]
        if (before[-1:].isalnum() and before[-1:].isascii()) or _goes_on(text, m.end()):
            continue
        if _is_phone(run, digits, before):
            yield m.start() + (run[0] == "(" and ")" not in run), m.end()


def _is_phone(run: str, digits: str, before: str) -> bool:
    called = _CALLED.search(before) is not None
    last = before.rstrip(" ")[-1:]
    if not called and last in _OPERATORS:
        return False
    if run.lstrip("(").startswith("+"):
        if not called and (last in _CLOSING or (run.lstrip("(+").isdigit() and before.rstrip()[-1:] in _CLOSING)):
            return False  # a sum, on one line or on two
        return _PLUS.match(digits) is not None and (digits[0] != "1" or _is_nanp(digits[1:]))
    if _NATIONAL.fullmatch(run):
        return _is_nanp(digits[-10:])
    if _TRUNK.fullmatch(run):
        return len(digits) >= 10
    return called and ("." not in run or run.count(".") > 1) and (digits[0] == "0" or len(digits) > 9)


def _is_nanp(digits: str) -> bool:
    """Whether ten digits are a number of somebody's in North America: 555 is for films, 800 for companies."""
    area, exchange = digits[:3], digits[3:6]
    if len(digits) != 10 or area[0] in "01" or exchange[0] in "01" or area[1:] == "11" or exchange[1:] == "11":
        return False
    return area not in _FREE_OF_CHARGE and exchange != "555" and area != "555"


def _goes_on(text: str, end: int) -> bool:
    """Whether what follows makes a number part of a formula, a word or a longer number."""
    after = text[end : end + 3]
    if after[:1].isascii() and (after[:1].isalnum() or after[:1] in {"_", "^", "%"}):
        return True
    if after[:1] in {",", ":"} and after[1:2].isdigit():
        return True
    return after.lstrip(" ")[:1] in _OPERATORS - {"-", "<", "/", "\\", "#", "&", "_"}


def cards(text: str) -> Iterator[Span]:
    """Payment cards: the prefix and length of an issuer and the check digit, in groups as printed or after "card"."""
    for m in _CARD.finditer(text):
        digits = _NOT_DIGIT.sub("", m.group())
        if len(set(digits)) <= 3 or digits in _TEST_CARDS or not _luhn(digits):
            continue
        if not any(prefix.match(digits) and len(digits) in lengths for prefix, lengths in _ISSUERS):
            continue
        grouped = len(digits) < len(m.group())
        if grouped or _PAID.search(text, max(0, m.start() - 60), m.start()):
            yield m.span()


def _luhn(digits: str) -> bool:
    doubled = (sum(divmod(2 * int(d), 10)) for d in digits[-2::-2])
    return (sum(doubled) + sum(int(d) for d in digits[-1::-2])) % 10 == 0


def ibans(text: str) -> Iterator[Span]:
    """International bank account numbers: the country's length and the check digits (ISO 13616, modulo 97)."""
    for m in _IBAN.finditer(text):
        length = IBAN_LENGTHS.get(m[1][:2], 0)
        bare, end = "", m.start()
        while len(bare) < length and end < m.end(1):
            bare += text[end].strip()
            end += 1
        if not length or len(bare) < length or bare in _SAMPLE_IBANS:
            continue
        if text[end : end + 1].isalnum() and text[end : end + 1].isascii():
            continue
        if int("".join(str(int(c, 36)) for c in bare[4:] + bare[:4])) % 97 == 1:
            yield m.start(), end


def ssns(text: str) -> Iterator[Span]:
    """US social security numbers with separators, after words that say so."""
    for m in _SSN.finditer(text):
        if _NOT_DIGIT.sub("", m.group()) not in _SAMPLE_SSNS and _INSURED.search(
            text, max(0, m.start() - 70), m.start()
        ):
            yield m.span()


def ips(text: str) -> Iterator[Span]:
    """Public addresses; of IPv4 those that are no version or section number: three parts of two digits or more."""
    for pattern in (_IPV4, _IPV6):
        for m in pattern.finditer(text):
            try:
                address = ipaddress.ip_address(m.group())
            except ValueError:
                continue
            if not address.is_global or address.is_multicast or m.group() in _RESOLVERS:
                continue
            parts = m.group().split(".")
            if address.version == 6 or (sum(len(p) > 1 for p in parts) >= 3 and parts[3] != "0"):
                yield m.span()
