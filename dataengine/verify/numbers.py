"""Numbers as answers write them: thousands separators, fractions, currencies, percent signs, units."""

import re
from fractions import Fraction
from typing import NamedTuple

from dataengine.verify.extract import plain
from dataengine.verify.values import agree

#: Digits in a row that are parsed as a number.
MAX_DIGITS = 400

_MACROS = re.compile(r"\\(?:left|right|displaystyle|textstyle|bigl?|bigr?|Bigl?|Bigr?)(?![A-Za-z])|(?<!\\)\\[!,;: ]|~")
_WRAPPED = re.compile(r"\$+(.*?)\$+|\\\((.*)\\\)|\\\[(.*)\\\]", re.DOTALL)
_BOX = re.compile(r"\\(?:boxed|fbox)\s*\{(.*)\}", re.DOTALL)
_TEXT = re.compile(r"\\(?:text|mbox|textrm|textbf|textit|mathrm|mathbf|mathit|operatorname)\s*\{([^{}]*)\}")
_DECIMAL = r"(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?|\.\d+"
_NUMBER = re.compile(
    rf"(?P<sign>[-+]?)\s*(?:[$€£¥₹]\s*)?(?P<minus>-?)"
    rf"(?:\\frac\s*\{{\s*(?P<num>-?\d+)\s*\}}\s*\{{\s*(?P<den>-?\d+)\s*\}}|\\frac\s*(?P<n1>\d)\s*(?P<d1>\d)"
    rf"|(?P<a>{_DECIMAL})(?:\s*/\s*(?P<b>\d+))?)\s*\.?\s*(?P<unit>.{{0,60}})",
    re.DOTALL,
)
_UNIT = re.compile(
    r"(?P<percent>\\?%|percent|per cent)"
    r"|(?:\^\s*\{?\s*\\circ\s*\}?|°|\\degrees?|degrees?)\s*(?P<scale>[CFK]?)"
    r"|(?P<words>[A-Za-z][A-Za-z.]*(?:[\s/-]{1,3}[A-Za-z][A-Za-z.]*){0,4})\s*(?P<power>(?:\^\s*\{?\s*-?\d\s*\}?|[²³])?)",
    re.IGNORECASE,
)
# Words that stand for one another, and short ones that are units and no variables.
_UNITS = {
    **dict.fromkeys(("cm", "centimeter", "centimeters", "centimetre", "centimetres"), "cm"),
    **dict.fromkeys(("mm", "millimeter", "millimeters"), "mm"),
    **dict.fromkeys(("m", "meter", "meters", "metre", "metres"), "m"),
    **dict.fromkeys(("km", "kilometer", "kilometers", "kilometre", "kilometres"), "km"),
    **dict.fromkeys(("in", "inch", "inches"), "in"),
    **dict.fromkeys(("ft", "foot", "feet"), "ft"),
    **dict.fromkeys(("mi", "mile", "miles"), "mi"),
    **dict.fromkeys(("kg", "kilogram", "kilograms"), "kg"),
    **dict.fromkeys(("g", "gram", "grams"), "g"),
    **dict.fromkeys(("lb", "lbs", "pound", "pounds"), "lb"),
    **dict.fromkeys(("s", "sec", "second", "seconds"), "s"),
    **dict.fromkeys(("min", "minute", "minutes"), "min"),
    **dict.fromkeys(("h", "hr", "hrs", "hour", "hours"), "h"),
    **dict.fromkeys(("dollar", "dollars", "usd"), "dollar"),
    **dict.fromkeys(("cent", "cents"), "cent"),
    **dict.fromkeys(("a.m", "am"), "am"),
    **dict.fromkeys(("p.m", "pm"), "pm"),
}
_FUNCTIONS = {"pi", "sin", "cos", "tan", "log", "ln", "exp", "sqrt", "mod", "and", "or", "if", "to", "i", "e", "th"}

_DECIMAL_COMMA = re.compile(r"([-+]?\d+),(\d+)\s*[$€£]?")


class Number(NamedTuple):
    """A number, whether it is in percent, and its unit."""

    value: Fraction
    percent: bool
    unit: str | None


def bare(text: str) -> str:
    """A formula without the delimiters, box, stars and full stop around it, in plain digits and punctuation."""
    text = plain(text).strip()
    for _ in range(3):
        text = text.rstrip(".。").strip() if not text.endswith("..") else text
        inner = _BOX.fullmatch(text) or _WRAPPED.fullmatch(text)
        if inner is None:
            break
        text = next(g for g in inner.groups() if g is not None).strip()
    return text.strip('*`"“”').strip()


def normalised(text: str) -> str:
    """LaTeX without what does not change its value: delimiters, spacing commands, sizes, text wrappers, a final stop.

    >>> normalised(r"$\\dfrac{1}{2}$."), normalised(r"10{,}000")
    ('\\\\frac{1}{2}', '10,000')
    """
    text = text.strip()
    if text.isascii() and text.isdigit():
        return text
    text = bare(text)
    text = re.sub(r"\\[dtc]frac(?![A-Za-z])", r"\\frac", text).replace("{,}", ",").replace("\\$", "$")
    text = re.sub(r"(?<=\d)\\[!,;: ]+,?(?=\d{3}(?!\d))", ",", text)
    text = re.sub(r"(?<=\d),(?:\\!\s*)+(?=\d{3}(?!\d))", ",", text)
    text = _TEXT.sub(lambda m: " " + m.group(1) + " ", _MACROS.sub(" ", text))
    return " ".join(text.split())


def number_of(text: str) -> Number | None:
    """The number that a normalised answer is; None where it is none.

    Takes integers, decimals, thousands separators, fractions of integers, a currency sign before, a percent sign or a
    unit after. "13x" is no number with a unit: x is a variable.
    """
    if len(text) > MAX_DIGITS:
        return None
    if text.isascii() and text.isdigit():
        return Number(Fraction(int(text)), False, None)
    match = _NUMBER.fullmatch(text)
    if match is None:
        return None
    if match["num"]:
        top, bottom = Fraction(match["num"]), int(match["den"])
    elif match["n1"]:
        top, bottom = Fraction(match["n1"]), int(match["d1"])
    else:
        top, bottom = Fraction(match["a"].replace(",", "")), int(match["b"] or 1)
    if bottom == 0:
        return None
    value = top if bottom == 1 else top / bottom
    if (match["sign"] == "-") != (match["minus"] == "-"):
        value = -value
    unit = match["unit"].strip().rstrip(".").strip()
    if not unit:
        return Number(value, False, None)
    named = _UNIT.fullmatch(unit)
    if named is None:
        return None
    if named["percent"]:
        return Number(value, True, None)
    if named["words"] is None:
        return Number(value, False, "degree" + (named["scale"] or ""))
    words = named["words"].lower()
    known = _UNITS.get(words)
    attached = match["unit"][:1].isalpha() and text[match.start("unit") - 1 : match.start("unit")] != " "
    if words in _FUNCTIONS or set(words.split()) & _FUNCTIONS or (len(words) == 1 and (known is None or attached)):
        return None
    if known is None and len(words) < 3:
        return None
    power = re.sub(r"\D", "", named["power"].replace("²", "2").replace("³", "3"))
    return Number(value, False, (known or words) + power)


def decimal_comma(text: str, other: str) -> bool:
    """Whether "2,74" is written for the 2.74 of the other side."""
    match = _DECIMAL_COMMA.fullmatch(text)
    return match is not None and "." in other and number_of(f"{match[1]}.{match[2]}") == number_of(other) is not None


def same_number(wanted: Number, given: Number) -> bool:
    """Whether two numbers are the same, a percent sign read either way. Two known units have to be the same."""
    if wanted.unit and given.unit and wanted.unit != given.unit and {wanted.unit, given.unit} <= set(_UNITS.values()):
        return False
    if agree(wanted.value, given.value, decimal=True):
        return True
    if wanted.percent == given.percent:
        return False
    scaled = (wanted.value / 100, given.value) if wanted.percent else (wanted.value, given.value / 100)
    return agree(*scaled, decimal=True)
