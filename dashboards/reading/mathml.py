"""LaTeX to MathML that holds allowed elements and attributes only."""

import html
import re
from functools import lru_cache
from typing import Final
from xml.etree.ElementTree import Element

from latex2mathml.converter import convert_to_element

#: Longer formulas are shown as their source.
MAX_FORMULA: Final = 1_500
_MAX_DEPTH: Final = 60
_ELEMENTS: Final = re.compile(
    "math|mrow|mi|mn|mo|mtext|mspace|ms|mfrac|msqrt|mroot|mstyle|merror|mpadded|mphantom|menclose|msub|msup|msubsup|"
    "munder|mover|munderover|mmultiscripts|mprescripts|none|mtable|mtr|mtd|mlabeledtr"
)
_WORDS: Final = re.compile(
    "display|displaystyle|scriptlevel|stretchy|fence|form|separator|accent|accentunder|notation|linethickness|linebreak|"
    "columnalign|rowalign|columnlines|rowlines|frame|mathvariant|movablelimits|largeop|symmetric"
)
_LENGTHS: Final = re.compile("width|height|depth|lspace|rspace|voffset|minsize|maxsize|rowspacing|columnspacing")
_WORD: Final = re.compile(r"[A-Za-z0-9.%\-]{1,20}(?: [A-Za-z0-9.%\-]{1,20}){0,20}")
_LENGTH: Final = re.compile(r"[+-]?([0-9]{0,2}(?:\.[0-9]{0,4})?)(em|ex|pt|px|mu|cm|mm|in|%)?(?: [0-9.]{1,5}em){0,20}")
# A formula that defines macros can grow without bound, and one that loads a package does nothing good.
_REFUSED: Final = re.compile(r"\\(?:def|gdef|edef|let|newcommand|renewcommand|providecommand|newenvironment|require)\b")
_ENVIRONMENT: Final = re.compile(r"\\(begin|end)\{(?:aligned|align|alignat|gathered|gather|eqnarray|split)\*?\}")
_EQUATION: Final = re.compile(r"\\(?:begin|end)\{(?:equation|displaymath|math)\*?\}")


@lru_cache(maxsize=4096)
def mathml(latex: str, *, block: bool) -> str | None:
    r"""`latex` as a `<math>` element; None when it cannot be shown, so that its source is shown instead.

    >>> mathml("x^2", block=False)
    '<math display="inline"><mrow><msup><mi>x</mi><mn>2</mn></msup></mrow></math>'
    """
    if len(latex) > MAX_FORMULA or _REFUSED.search(latex) or _depth(latex) > _MAX_DEPTH or not latex.strip():
        return None
    known = _EQUATION.sub("", _ENVIRONMENT.sub(r"\\\1{align*}", latex))
    try:
        root = convert_to_element(known, display="block" if block else "inline")
        out: list[str] = []
        _write(root, out)
    except Exception:  # noqa: BLE001 - the parser raises errors of many kinds at what is no LaTeX
        return None
    return "".join(out)


def _depth(latex: str) -> int:
    deepest = depth = 0
    for c in latex:
        depth += (c == "{") - (c == "}")
        deepest = max(deepest, depth)
    # Commands that take the next token nest without braces, and a frame each on the way down.
    return max(deepest, latex.count(r"\left"), latex.count(r"\sqrt") // 2)


def _write(element: Element, out: list[str]) -> None:
    if not _ELEMENTS.fullmatch(element.tag):
        raise ValueError(element.tag)
    out.append(f"<{element.tag}")
    for name, value in element.attrib.items():
        if (_WORDS.fullmatch(name) and _WORD.fullmatch(value)) or (
            _LENGTHS.fullmatch(name) and _LENGTH.fullmatch(value)
        ):
            out.append(f' {name}="{html.escape(value)}"')
    out.append(">")
    # The converter writes characters as references ("&#x02211;").
    out.append(html.escape(html.unescape(element.text or ""), quote=False))
    for child in element:
        _write(child, out)
        out.append(html.escape(html.unescape(child.tail or ""), quote=False))
    out.append(f"</{element.tag}>")
