"""Checks mathematical answers: equal text, then equal numbers, then math-verify in a process that can be killed."""

import re
from collections.abc import Sequence
from fractions import Fraction
from typing import ClassVar, Literal

from dataengine.checks import Opinion, Sample, Verifier
from dataengine.verify.equality import equal
from dataengine.verify.extract import Extracted, final_answer, last_number, plain
from dataengine.verify.formula import NotUnderstood, Words
from dataengine.verify.grammar import read
from dataengine.verify.pool import DEADLINE, Pool

#: Characters of an answer or a reference that are parsed at all.
MAX_LENGTH = 2_000
#: Levels of brackets that are parsed.
MAX_NESTING = 50
#: Digits in a row that are parsed as a number.
MAX_DIGITS = 400

_MACROS = re.compile(r"\\(?:left|right|displaystyle|textstyle|bigl?|bigr?|Bigl?|Bigr?)(?![A-Za-z])|(?<!\\)\\[!,;: ]|~")
_WRAPPED = re.compile(r"\$+(.*?)\$+|\\\((.*)\\\)|\\\[(.*)\\\]", re.DOTALL)
# Two words or more and nothing else: an answer in prose, which is equal to its own text or cannot be told.
_PROSE = re.compile(r"[A-Za-z]{2,}(?:[ ,;'-]+[A-Za-z]{2,})+[.?!]?")
_BOX = re.compile(r"\\(?:boxed|fbox)\s*\{(.*)\}", re.DOTALL)
_TEXT = re.compile(r"\\(?:text|mbox|textrm|textbf|textit|mathrm|mathbf|mathit|operatorname)\s*\{([^{}]*)\}")
_SIDE = re.compile(r"^[A-Za-z](?:\([a-z]\))?\s*=\s*(?!=)")
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
}
_FUNCTIONS = {"pi", "sin", "cos", "tan", "log", "ln", "exp", "sqrt", "mod", "and", "or", "if", "to", "i", "e", "th"}

Parsed = Literal["equal", "different", "reference_not_parsed", "answer_not_parsed"]


class MathCheck(Verifier):
    """Passes when the final answer is mathematically equal to the reference.

    `deadline` is seconds per comparison, `workers` the processes that compare; neither changes an outcome, so neither
    is in the version.
    """

    name: ClassVar[str] = "math"
    RULES: ClassVar[str] = "1"

    def __init__(self, *, deadline: float = DEADLINE, workers: int | None = None) -> None:
        super().__init__()
        self._pool = Pool(["math_verify"], workers=workers, deadline=deadline)

    def close(self) -> None:
        """Ends the worker processes."""
        self._pool.close()

    def __call__(self, samples: Sequence[Sample]) -> list[Opinion]:
        """One opinion per sample, in order."""
        opinions: list[Opinion | None] = []
        pairs: list[tuple[str, str]] = []
        asked: list[tuple[int, dict[str, str]]] = []
        for i, sample in enumerate(samples):
            opinion, pair, details = _quick(sample)
            opinions.append(opinion)
            if opinion is None:
                pairs.append(pair)
                asked.append((i, details))
        for (i, details), answer in zip(asked, self._pool.map(compare, pairs), strict=True):
            if answer.failure or answer.value is None:
                reason = answer.failure or "crash"
                note = details | {"message": answer.message}
                opinions[i] = Opinion("error", None, reason, note, answer.seconds)
            else:
                opinions[i] = _opinion(answer.value, details | {"by": "math_verify"}, answer.seconds)
        return [o for o in opinions if o is not None]


def compare(pair: tuple[str, str]) -> Parsed:
    """What math-verify says of (reference, answer), both LaTeX without delimiters; runs in a worker."""
    from math_verify import parse, verify

    parsed = []
    for side in pair:
        # A line break or a dollar sign inside would end the formula.
        formula = side.replace("\n", " ").replace("$", "")
        parsed.append(parse(f"${formula}$", parsing_timeout=None))
    gold, target = parsed
    if gold and target and verify(gold, target, timeout_seconds=None):
        return "equal"
    # The text of a formula that could not be parsed comes back as a string; an expression is anything else.
    if all(isinstance(g, str) for g in gold):
        return "reference_not_parsed"
    if all(isinstance(t, str) for t in target):
        return "answer_not_parsed"
    return "different"


def bare(text: str) -> str:
    """A formula without the delimiters, box, stars and full stop around it, in plain digits and punctuation."""
    text = plain(text).strip()
    for _ in range(3):
        text = text.rstrip(".。").strip() if not text.endswith("..") else text
        inner = _BOX.fullmatch(text) or _WRAPPED.fullmatch(text)
        if inner is None:
            break
        text = next(g for g in inner.groups() if g is not None).strip()
    return text.strip("*`").strip()


def normalised(text: str) -> str:
    """LaTeX without what does not change its value: delimiters, spacing commands, sizes, text wrappers, a final stop.

    >>> normalised(r"$\\dfrac{1}{2}$."), normalised(r"10{,}000")
    ('\\\\frac{1}{2}', '10,000')
    """
    text = bare(text)
    text = re.sub(r"\\[dtc]frac(?![A-Za-z])", r"\\frac", text).replace("{,}", ",").replace("\\$", "$")
    text = re.sub(r"(?<=\d)\\[!,;: ]+,?(?=\d{3}(?!\d))", ",", text)
    text = re.sub(r"(?<=\d),(?:\\!|\s)+(?=\d{3}(?!\d))", ",", text)
    text = _TEXT.sub(lambda m: " " + m.group(1) + " ", _MACROS.sub(" ", text))
    return " ".join(text.split())


def too_complex(text: str) -> str | None:
    """Why a formula is not parsed: its parser or its arithmetic would take unbounded time. None where it is."""
    if len(text) > MAX_LENGTH:
        return "too_long"
    depth = 0
    for char in text:
        if char in "([{":
            depth += 1
            if depth > MAX_NESTING:
                return "too_nested"
        elif char in ")]}":
            depth = max(0, depth - 1)
    if re.search(rf"\d{{{MAX_DIGITS + 1}}}", text):
        return "too_many_digits"
    if re.search(r"(?:\^|\*\*)[\s{(]*[-+]?\d{6}", text):
        return "exponent_too_large"
    # 9^{9^9}: digits raised to a power that is a power of digits; 2^{2^3} is small enough to be harmless.
    tower = re.search(r"\d[\s})]*(?:\^|\*\*)[\s{(]*(\d{1,6})[\s})]*(?:\^|\*\*)[\s{(]*(\d{1,6})[\s})]*(\^|\*\*)?", text)
    if tower and (tower.group(3) or int(tower.group(2)) > 20 or int(tower.group(1)) ** int(tower.group(2)) > 10_000):
        return "exponent_too_large"
    if re.search(r"\d{5}[\s})]*!|![\s})]*!", text):
        return "factorial_too_large"
    return None


def number_of(text: str) -> tuple[Fraction, bool, str | None] | None:
    """The number a normalised answer is: (value, whether in percent, its unit or None); None where it is no number.

    Takes integers, decimals, thousands separators, fractions of integers, a currency sign before, a percent sign or a
    unit after. "13x" is no number with a unit: x is a variable.
    """
    if len(text) > MAX_DIGITS:
        return None
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
    value = top / bottom
    if (match["sign"] == "-") != (match["minus"] == "-"):
        value = -value
    unit = match["unit"].strip().rstrip(".").strip()
    if not unit:
        return value, False, None
    named = _UNIT.fullmatch(unit)
    if named is None:
        return None
    if named["percent"]:
        return value, True, None
    if named["words"] is None:
        return value, False, "degree" + (named["scale"] or "")
    words = named["words"].lower()
    known = _UNITS.get(words)
    attached = match["unit"][:1].isalpha() and text[match.start("unit") - 1 : match.start("unit")] != " "
    if words in _FUNCTIONS or set(words.split()) & _FUNCTIONS or (len(words) == 1 and (known is None or attached)):
        return None
    if known is None and len(words) < 3:
        return None
    power = re.sub(r"\D", "", named["power"].replace("²", "2").replace("³", "3"))
    return value, False, (known or words) + power


def _quick(sample: Sample) -> tuple[Opinion | None, tuple[str, str], dict[str, str]]:
    """An opinion that needs no parser, or else the pair to parse."""
    nothing = ("", "")
    if not (sample.reference or "").strip():
        return Opinion("undecided", reason="no_reference"), nothing, {}
    wanted = normalised((sample.reference or "")[: MAX_LENGTH + 1])
    gold = number_of(wanted)
    found = final_answer(sample.answer, sample.text, numeric=gold is not None)
    if found is None:
        return Opinion("undecided", reason="no_answer"), nothing, {}
    details: dict[str, str] = {"extracted": found.value[:500], "from": found.origin}
    given = normalised(found.value)
    if _same_text(wanted, given):
        return _opinion("equal", details | {"by": "text"}), nothing, details
    if found.origin == "whole" and len(given) > 300:
        return Opinion("undecided", None, "no_answer", details), nothing, details
    given = _one_side(wanted, given)
    if _same_text(wanted, given):
        return _opinion("equal", details | {"by": "text"}), nothing, details
    if gold is not None:
        said = number_of(given) or _only_number(found, given)
        if said is not None:
            same: Parsed = "equal" if _same_number(gold, said) else "different"
            return _opinion(same, details | {"by": "number"}), nothing, details
    if _PROSE.fullmatch(wanted):
        # A parser would take its letters for a product of variables and find every answer different from it.
        return Opinion("undecided", None, "reference_not_parsed", details), nothing, details
    for side, text in (("reference", wanted), ("answer", given)):
        why = too_complex(text)
        if why:
            return Opinion("undecided", None, f"{side}_{why}", details), nothing, details
    told = _by_form(bare(sample.reference or ""), bare(found.value))
    if told is not None:
        return _opinion(told, details | {"by": "form"}), nothing, details
    return None, (_latex(wanted), _latex(given)), details


def _by_form(wanted: str, given: str) -> Parsed | None:
    """What reading both and calculating says; None where that does not tell."""
    try:
        left, right = read(wanted), read(given)
    except NotUnderstood:
        return None
    if isinstance(right, Words) and not isinstance(left, Words):
        return "answer_not_parsed"
    same = equal(left, right)
    return None if same is None else "equal" if same else "different"


def _opinion(result: Parsed, details: dict[str, str], seconds: float | None = None) -> Opinion:
    if result == "equal":
        return Opinion("pass", 1.0, "", details, seconds)
    if result == "different":
        return Opinion("fail", 0.0, "different", details, seconds)
    return Opinion("undecided", None, result, details, seconds)


def _same_text(wanted: str, given: str) -> bool:
    left, right = "".join(wanted.split()), "".join(given.split())
    # Letters of formulas are case-sensitive, words are not.
    return left == right or (left.isalpha() and len(left) > 2 and left.casefold() == right.casefold())


def _one_side(wanted: str, given: str) -> str:
    """Of "x = 7" the 7, where the reference is no equation."""
    return given if "=" in wanted else _SIDE.sub("", given)


def _only_number(found: Extracted, given: str) -> tuple[Fraction, bool, str | None] | None:
    """The number of a sentence that holds only one, or of "3 + 4 = 7" what stands after the last sign."""
    if found.origin not in ("phrase", "answer_tag", "whole", "boxed", "hashes") or len(given) > 300:
        return None
    _, sign, result = given.rpartition("=")
    if sign and (number := number_of(result.strip())) is not None:
        return number
    if "\\" in given or not re.search(r"[A-Za-z]{3}", given) or found.origin == "boxed":
        return None
    number_text = last_number(given)
    if number_text is None or len(re.findall(r"\d+(?:[.,/]\d+)*", given)) != 1:
        return None
    return number_of(normalised(number_text))


def _same_number(gold: tuple[Fraction, bool, str | None], said: tuple[Fraction, bool, str | None]) -> bool:
    wanted, wanted_percent, wanted_unit = gold
    value, percent, unit = said
    if wanted_unit and unit and wanted_unit != unit and {wanted_unit, unit} <= set(_UNITS.values()):
        return False
    if _close(wanted, value):
        return True
    if wanted_percent != percent:
        return _close(wanted / 100, value) if wanted_percent else _close(wanted, value / 100)
    return False


def _close(wanted: Fraction, value: Fraction) -> bool:
    """Equal, or equal to six decimals where the reference is no whole number (math-verify's rounding)."""
    return wanted == value or (wanted.denominator != 1 and round(wanted, 6) == round(value, 6) != 0)


def _latex(text: str) -> str:
    """A plain `{1, 2}` as the set it stands for: in LaTeX its braces would only group."""
    if text.startswith("{") and text.endswith("}") and "," in text:
        return "\\{" + text[1:-1] + "\\}"
    return text.replace("\\%", "%").replace("%", "\\%")
