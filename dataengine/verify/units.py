"""Numbers with units, in LaTeX or plain text: found, and converted by `pint`."""

import functools
import re
from dataclasses import dataclass
from typing import Any

_MOST_UNIT = 100
_NUMBER = re.compile(
    r"(?P<number>[-+]?\s*(?:\d{1,3}(?:,\d{3})+|\d+)?(?:\.\d*)?(?:[eE][-+]?\d{1,3}(?![\d.]))?)"
    r"(?:\s*(?:\\times|\\cdot|×|·|\*|x)\s*10\s*(?:\^|\*\*)\s*\{?\s*(?P<power>[-+]?\d{1,3})\s*\}?)?\s*(?P<unit>.*)",
    re.DOTALL,
)
_TEN = re.compile(r"10\s*(?:\^|\*\*)\s*\{?\s*([-+]?\d{1,3})\s*\}?")
_WRAPPER = re.compile(r"\\(?:mathrm|text|rm|mbox|operatorname|hbox|mathbf)(?![A-Za-z])")
_SIGNS = (
    (r"\\left|\\right|\\[,;:! ]|[~$]|\{\s*\}", " "),
    (r"\^?\s*\{?\s*(?:\\circ|°)\s*\}?[\s{]*([CF])(?![A-Za-z])", r" deg\1 "),
    (r"\^?\s*\{?\s*(?:\\circ|°)\s*\}?", " degree "),
    (r"\\Omega|Ω", " ohm "),
    (r"\\mu\s*|μ", "µ"),
    (r"\\(?:AA|mathring\s*\{?A\}?)|Å", " angstrom "),
    (r"\\?%", " percent "),
    (r"\\cdot|\\times|·|×|⋅|(?<=[A-Za-z])-(?=[A-Za-z])", " * "),
    (r"\^\s*\{?\s*([-+]?\d{1,2})\s*\}?", r"**\1 "),
    (r"²", "**2 "),
    (r"³", "**3 "),
    (r"[{}]", " "),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Measure:
    """A number with what stands behind it."""

    value: float
    unit: str


def measure(text: str) -> Measure | None:
    r"""The number at the start of a text, with its unit; None where there is no number.

    >>> measure(r"-21.2 \mathrm{~kJ} \mathrm{~mol}^{-1}").unit, measure(r"3 \times 10^{5} m").value
    ('\\mathrm{~kJ} \\mathrm{~mol}^{-1}', 300000.0)
    """
    match = _NUMBER.match(text.strip()[:1_000])
    if match is None or not re.search(r"\d", match["number"]):
        return None
    value = float(re.sub(r"[\s,]", "", match["number"]))
    return Measure(value * 10.0 ** int(match["power"] or 0), match["unit"].strip())


def split(text: str) -> tuple[str, str]:
    r"""A number and its unit, which a text command begins (`20\pi \mathrm{~cm}^3`) or a space (`\pi/4 s`)."""
    match = _WRAPPER.search(text)
    if match and match.start():
        return text[: match.start()].strip(), text[match.start() :]
    head, _, last = text.strip().rpartition(" ")
    return (head, last) if head and parsed(last) is not None else (text, "")


def power_of_ten(unit: str) -> tuple[float, str]:
    """A unit such as "10^9 J" as its factor and the rest."""
    bare = _WRAPPER.sub(" ", unit).strip(" {}$~")
    match = _TEN.match(bare)
    return (10.0 ** int(match[1]), bare[match.end() :].strip(" {}$~")) if match else (1.0, unit)


def convert(value: float, unit: str, wanted: str) -> float | None:
    """A value in another unit; None where one is not known. Raises ValueError where they measure other things."""
    source, target = parsed(unit), parsed(wanted)
    if source is None or target is None:
        return None
    import pint

    try:
        return float(_registry().Quantity(value, source).to(target).magnitude)
    except pint.DimensionalityError as e:
        raise ValueError(str(e)) from None
    except (pint.PintError, ArithmeticError):
        return None


@functools.lru_cache(maxsize=4096)
def parsed(text: str) -> Any:
    """A unit as `pint` has it, or None where it is not known."""
    if not text.strip() or len(text) > _MOST_UNIT:
        return None
    plain = _WRAPPER.sub(" ", text)
    for pattern, sign in _SIGNS:
        plain = re.sub(pattern, sign, plain)
    plain = plain.strip(" .,")
    if not re.fullmatch(r"[A-Za-zµ_*/()\s\d+-]+", plain) or re.search(r"\*\*\s*[-+]?\d+\s*\*\*|\d{3}", plain):
        return None
    # "ft-lb" is a pound of force.
    plain = re.sub(r"\bft \* lb\b", "ft * lbf", " ".join(plain.split()))
    plain = re.sub(r"(?<=[\w)]) (?=[A-Za-zµ(])", " * ", plain)
    try:
        return _registry().parse_units(plain)
    except Exception:  # noqa: BLE001  (whatever pint's parser raises for text that is no unit)
        return None


@functools.cache
def _registry() -> Any:
    import pint

    return pint.UnitRegistry(autoconvert_offset_to_baseunit=True)
