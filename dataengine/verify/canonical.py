"""One text for all ways to write an answer, so that equal answers are found by comparing texts, not pair by pair.

Coarser than `equality` where that depends on who is asked: a percent sign and a unit are left out on both sides.
"""

from fractions import Fraction

from dataengine.verify.equality import region, side_of, unfolded
from dataengine.verify.exact import normalised as words_of
from dataengine.verify.formula import Based, Call, Marked, Matrix, Name, Node, NotUnderstood, Relation, Row, Words
from dataengine.verify.grammar import read
from dataengine.verify.math import too_complex
from dataengine.verify.numbers import bare, normalised, number_of
from dataengine.verify.values import CONSTANTS, DECIMALS, fingerprint

_MOST_CHARACTERS = 500
# Python writes no longer numbers in decimal.
_MOST_BITS = 4_000
_TURNED = {">": "<", ">=": "<="}


def canonical(answer: str) -> str:
    r"""The answer as a value where it is mathematics, else as its words without case, articles and punctuation.

    Numbers have six decimals, as verifiers compare them; expressions in variables are their values at fixed points.

    >>> canonical(r"\frac{1}{2}"), canonical("x = 0.50"), canonical("50%"), canonical("The cat.")
    ('0.5', '0.5', '50', 'cat')
    >>> canonical("{2, 1}") == canonical("1 and 2"), canonical("(1, 2)") == canonical("(2, 1)")
    (True, False)
    """
    number = number_of(normalised(answer))
    if number is not None:
        return _decimal(number.value)
    text = bare(answer)
    if not too_complex(text):
        try:
            return _node(unfolded(read(text)))
        except (NotUnderstood, RecursionError):
            pass
    return _cut(words_of(answer) or "".join(answer.split()))


def _node(node: Node) -> str:
    node = region(node)
    side = side_of(node, calculated=True)
    if side is not node:
        return _node(side)
    if isinstance(node, Marked):
        half = node.mark.replace(".", "")
        return _node(node.value) + (f" {half}" if half in ("am", "pm") else "")
    if isinstance(node, Words):
        return words_of(node.text) or node.text
    if isinstance(node, Based):
        return f"{node.digits}_{node.base}"
    if isinstance(node, Row):
        return _row(node)
    if isinstance(node, Matrix):
        return _cut("; ".join(", ".join(map(_node, row)) for row in node.rows))
    if isinstance(node, Relation):
        sides, signs = node.sides, node.signs
        if {*signs} <= {*_TURNED}:
            sides, signs = sides[::-1], tuple(_TURNED[sign] for sign in signs[::-1])
        # "2x = 4y" is "4y = 2x"
        written = sorted(map(_node, sides)) if {*signs} == {"="} else [_node(side) for side in sides]
        return _cut(" ".join(part for pair in zip(written, (*signs, ""), strict=True) for part in pair).strip())
    if isinstance(node, Call) and node.op == "ratio" and len(node.args) == 2 and not isinstance(node.args[1], Marked):
        node = Call("/", node.args)
    if isinstance(node, Call) and node.op == "cup":
        return _cut(f"cup({', '.join(sorted(map(_node, node.args)))})")
    if isinstance(node, Name) and node.name not in CONSTANTS:
        return node.name
    value = fingerprint(node)
    if value is not None:
        return _decimal(value) if isinstance(value, Fraction) else value
    if isinstance(node, Call):
        return _cut(f"{node.op}({', '.join(map(_node, node.args))})")
    return str(node)


def _row(row: Row) -> str:
    """A list or a set without its order, but "x = 1, y = 2" with its names; a tuple or an interval as it stands."""
    if row.kind not in ("", "{}"):
        return _cut(f"{row.kind[0]}{', '.join(map(_node, row.items))}{row.kind[1]}")
    names = {repr(item.sides[0]) for item in row.items if isinstance(item, Relation) and side_of(item) is not item}
    items = {f"{_named(item)}{_node(item)}" if len(names) > 1 else _node(item) for item in row.items}
    return _cut(f"{{{', '.join(sorted(items))}}}") if len(items) != 1 else items.pop()


def _named(item: Node) -> str:
    return f"{_node(item.sides[0])} = " if isinstance(item, Relation) and side_of(item) is not item else ""


def _decimal(value: Fraction) -> str:
    """A number to six decimals, or to six digits where it is smaller."""
    rounded = round(value, DECIMALS)
    if rounded == 0 != value:
        return f"{float(value):.5e}"
    whole, part = divmod(abs(rounded), 1)
    if whole.bit_length() > _MOST_BITS:
        return _cut(f"{'-' if rounded < 0 else ''}{whole:#x}")
    decimals = f"{int(part * 10**DECIMALS):06d}".rstrip("0")
    return f"{'-' if rounded < 0 else ''}{whole}{'.' if decimals else ''}{decimals}"


def _cut(text: str) -> str:
    return text[:_MOST_CHARACTERS]
