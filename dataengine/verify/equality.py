"""Says whether two answers are equal: values by calculating, everything else by its parts.

Order counts in tuples, intervals and matrices, and not in sets, lists and unions.
"""

import itertools
from collections.abc import Iterable, Iterator
from fractions import Fraction
from typing import Any

from dataengine.verify.formula import Based, Call, Marked, Matrix, Name, Node, NotUnderstood, Num, Relation, Row, Words
from dataengine.verify.grammar import is_value
from dataengine.verify.values import CONSTANTS, any_of, proportional, same_value, value_of, variables_of

# Items of an unordered list that are matched with those of another.
_MOST_ITEMS = 40
_FLIPPED = {"<": ">", ">": "<", "<=": ">=", ">=": "<=", "=": "="}


def equal(wanted: Node, given: Node) -> bool | None:
    """Whether an answer is the one that is wanted; None where that cannot be told by calculating."""
    try:
        return _equal(unfolded(wanted), unfolded(given))
    except (NotUnderstood, RecursionError):
        return None


def _equal(wanted: Node, given: Node) -> bool | None:
    if wanted == given:
        return True
    wanted, given = region(wanted), region(given)
    if isinstance(wanted, Relation) or isinstance(given, Relation):
        return _relations(wanted, given)
    if isinstance(wanted, Row) or isinstance(given, Row):
        return _rows(wanted, given)
    if isinstance(wanted, Matrix) or isinstance(given, Matrix):
        return _matrices(wanted, given)
    if isinstance(wanted, Words) or isinstance(given, Words):
        return bool(_words(wanted) == _words(given))
    if isinstance(wanted, Based):
        return (
            (given.digits, given.base) == (wanted.digits, wanted.base)
            if isinstance(given, Based)
            else (isinstance(given, Num) and str(given.value) == wanted.digits)
        )
    if isinstance(given, Based):
        return False
    if {_half_of_day(wanted), _half_of_day(given)} == {"am", "pm"}:
        return False
    if _parts(wanted, "cup") or _parts(given, "cup"):
        return _unordered(_parts(wanted, "cup"), _parts(given, "cup"))
    if _parts(wanted, "ratio") or _parts(given, "ratio"):
        return _ratios(wanted, given)
    return same_value(wanted, given)


# Lists and their like ------------------------------------------------------------------------------------------------


def _rows(wanted: Node, given: Node) -> bool | None:
    left = wanted.items if isinstance(wanted, Row) else (wanted,)
    right = given.items if isinstance(given, Row) else (given,)
    kinds = (wanted.kind if isinstance(wanted, Row) else "", given.kind if isinstance(given, Row) else "")
    if not (isinstance(wanted, Row) and isinstance(given, Row)) and (len(left) != 1 or len(right) != 1):
        return False
    loose = {"", "{}"}
    if kinds[0] in loose and kinds[1] in loose:
        return _lists(left, right)
    if kinds[0] != kinds[1]:
        # A list may stand between brackets or not, three items are no interval, but a set is no tuple.
        bare = "" in kinds and set(kinds) <= {"", "()", "[]"}
        if not bare and (set(kinds) != {"()", "[]"} or len(left) < 3):
            return False
    return len(left) == len(right) and _all(_equal(side_of(w), side_of(g)) for w, g in zip(left, right, strict=True))


def _lists(left: tuple[Node, ...], right: tuple[Node, ...]) -> bool | None:
    """Lists without an order; "x = 1, y = 2" and "1, 2" have one."""
    names = [_name_of(n) for n in left], [_name_of(n) for n in right]
    if all(names[0]) and all(names[1]) and {*names[0]} == {*names[1]}:
        values = (
            tuple(tuple(side_of(n) for n in side if _name_of(n) == name) for side in (left, right))
            for name in {*names[0]}
        )
        return _all(_unordered(*pair) for pair in values)
    several = any(all(n) and len({*n}) > 1 for n in names)
    left, right = tuple(map(side_of, left)), tuple(map(side_of, right))
    if several:
        return len(left) == len(right) and _all(map(_equal, left, right))
    return _unordered(left, right)


def _unordered(left: tuple[Node, ...], right: tuple[Node, ...]) -> bool | None:
    """Whether every item of each has an equal one in the other."""
    if len(left) > _MOST_ITEMS or len(right) > _MOST_ITEMS:
        return None
    return _all(
        any_of(_equal(*(pair if first else pair[::-1])) for pair in ((item, other) for other in others))
        for first, items, others in ((True, left, right), (False, right, left))
        for item in items
    )


def _matrices(wanted: Node, given: Node) -> bool | None:
    if not (isinstance(wanted, Matrix) and isinstance(given, Matrix)):
        # A vector may be written as a column or as a tuple.
        return None if {type(wanted), type(given)} == {Matrix, Row} else False
    if [len(r) for r in wanted.rows] != [len(r) for r in given.rows]:
        return False
    cells = zip(itertools.chain(*wanted.rows), itertools.chain(*given.rows), strict=True)
    return _all(_equal(w, g) for w, g in cells)


def _ratios(wanted: Node, given: Node) -> bool | None:
    left, right = _parts(wanted, "ratio"), _parts(given, "ratio")
    if not all(map(is_value, (*left, *right))):
        return None
    if left and right:
        if len(left) != len(right):
            return False
        if any(value_of(n) == 0 for n in (*left, *right)):
            return _all(map(_equal, left, right))  # 12:00 is a time
        pairs = list(zip(left, right, strict=True))
        return _all(same_value(Call("*", (w, pairs[0][1])), Call("*", (g, pairs[0][0]))) for w, g in pairs[1:])
    both = left or right
    if len(both) != 2 or not (is_value(given) if left else is_value(wanted)):
        return False
    quotient = Call("/", both)
    return same_value(quotient, given) if left else same_value(wanted, quotient)


def _half_of_day(node: Node) -> str:
    """The "am" or "pm" of a time."""
    parts = _parts(node, "ratio")
    last = parts[-1] if parts else node
    mark = last.mark.replace(".", "") if isinstance(last, Marked) else ""
    return mark if mark in ("am", "pm") else ""


def _words(node: Node) -> Any:
    """Words to compare: a letter by itself may be a name."""
    return node.text if isinstance(node, Words) else node.name.lower() if isinstance(node, Name) else node


# Equations and inequalities ------------------------------------------------------------------------------------------


def _relations(wanted: Node, given: Node) -> bool | None:
    if not isinstance(given, Relation):
        assert isinstance(wanted, Relation)
        side = side_of(wanted)
        if side is wanted:
            return None if isinstance(given, Row | Call) and {*wanted.signs} <= {"<", ">", "<=", ">="} else False
        return _equal(side, given)
    if not isinstance(wanted, Relation):
        side = side_of(given, calculated=True)
        if side is given:
            return None if isinstance(wanted, Row | Call) and {*given.signs} <= {"<", ">", "<=", ">="} else False
        return _equal(wanted, side)
    if {*wanted.signs} == {*given.signs} == {"="}:
        return _equations(wanted, given)
    if len(wanted.sides) != len(given.sides):
        return False
    if wanted.signs != given.signs:
        if not {*given.signs} <= {*_FLIPPED}:
            return False
        given = Relation(given.sides[::-1], tuple(_FLIPPED[s] for s in given.signs[::-1]))
        if wanted.signs != given.signs:
            return False
    same = _all(map(_equal, wanted.sides, given.sides))
    if same is False and len(wanted.sides) == 2 and wanted.signs[0] in _FLIPPED:
        return None  # x + 1 < 3 is x < 2
    return same


def _equations(wanted: Relation, given: Relation) -> bool | None:
    names = _name_of(wanted), _name_of(given)
    # n = 7 for x = 7 is as good; for y = 2x + 1 it is another equation.
    if all(names) and (names[0] == names[1] or not variables_of(wanted.sides[-1])):
        return _equal(wanted.sides[-1], given.sides[-1])
    if len(wanted.sides) != 2 or len(given.sides) != 2 or not all(map(is_value, (*wanted.sides, *given.sides))):
        return _all(map(_equal, wanted.sides, given.sides)) if len(wanted.sides) == len(given.sides) else False
    # Two equations are the same when one is a multiple of the other.
    left, right = (Call("+", (r.sides[0], Call("neg", (r.sides[1],)))) for r in (wanted, given))
    if not variables_of(left):
        return _all(map(_equal, wanted.sides, given.sides))
    return proportional(left, right)


def side_of(node: Node, *, calculated: bool = False) -> Node:
    """Of "x = 7" the 7, of "x in S" the S; with `calculated` of "3 + 4 = 7" the 7 too; else the node itself."""
    if not isinstance(node, Relation):
        return node
    first, *others = node.sides
    if node.signs == ("in",) and is_value(first):
        return others[-1]
    if {*node.signs} == {"="}:
        if _is_name(first) and not _is_name_only(others[-1]):
            return others[-1]
        if calculated and (all(not variables_of(s) for s in node.sides if is_value(s))):
            return others[-1]
    return node


def _name_of(node: Node) -> str:
    """What "x = 7" gives a value to, or nothing."""
    if isinstance(node, Relation) and {*node.signs} == {"="} and _is_name(node.sides[0]):
        return repr(node.sides[0])
    return ""


def _is_name(node: Node) -> bool:
    """Whether it is what answers give a value to: x, AB, |AB|, f(x), (p, q), A:B, NO/BO."""
    if isinstance(node, Name):
        return node.name not in CONSTANTS - {"e", "i"}
    if isinstance(node, Words):
        return True
    if isinstance(node, Row):
        return node.kind == "()" and all(map(_is_name, node.items))
    if isinstance(node, Marked):
        return _is_name(node.value)
    return isinstance(node, Call) and node.op in ("*", "abs", "ratio", "/") and all(map(_is_name, node.args))


def _is_name_only(node: Node) -> bool:
    """Whether it says no more than a name does: of y = x neither side is the answer."""
    return isinstance(node, Name) and node.name not in CONSTANTS


def region(node: Node) -> Node:
    """An inequality between numbers as the interval it is, and the real line as one."""
    if isinstance(node, Relation) and {*node.signs} <= {"<", ">", "<=", ">="}:
        sides, signs = node.sides, node.signs
        if {*signs} <= {">", ">="}:
            sides, signs = sides[::-1], tuple(_FLIPPED[s] for s in signs[::-1])
        if not {*signs} <= {"<", "<="}:
            return node
        infinity = Name("infty")
        if _parts(sides[-2], "abs"):
            return _absolute(sides, signs) or node
        if len(sides) == 2 and _is_name(sides[0]) and _number(sides[1]):
            return Row("(" + (")" if signs[0] == "<" else "]"), (Call("neg", (infinity,)), sides[1]))
        if len(sides) == 2 and _is_name(sides[1]) and _number(sides[0]):
            return Row(("(" if signs[0] == "<" else "[") + ")", (sides[0], infinity))
        if len(sides) == 3 and _is_name(sides[1]) and _number(sides[0]) and _number(sides[2]):
            return Row(("(" if signs[0] == "<" else "[") + (")" if signs[1] == "<" else "]"), (sides[0], sides[2]))
    if node == Name("mathbb R"):
        return Row("()", (Call("neg", (Name("infty"),)), Name("infty")))
    if isinstance(node, Relation) and node.signs == ("in",) and is_value(node.sides[0]):
        return region(node.sides[1])
    if isinstance(node, Row) and node.kind == "" and node.items and all(_is_region(n) for n in node.items):
        return Call("cup", tuple(map(region, node.items)))  # x < 1 or x > 3
    return node


def _absolute(sides: tuple[Node, ...], signs: tuple[str, ...]) -> Node | None:
    """|x| < 3 as the interval from -3 to 3, 1 <= |x| <= 2 as two."""
    closing, high = (")" if signs[-1] == "<" else "]"), sides[-1]
    opening = "(" if closing == ")" else "["
    if not _number(high):
        return None
    if len(sides) == 2:
        return Row(opening + closing, (Call("neg", (high,)), high))
    low = value_of(sides[0])
    if len(sides) != 3 or not isinstance(low, Fraction) or low <= 0:
        return None
    inner = ("(", ")") if signs[0] == "<" else ("[", "]")
    left = Row(opening + inner[1], (Call("neg", (high,)), Call("neg", (sides[0],))))
    return Call("cup", (left, Row(inner[0] + closing, (sides[0], high))))


def _is_region(node: Node) -> bool:
    return isinstance(node, Relation) and isinstance(region(node), Row)


def _number(node: Node) -> bool:
    return is_value(node) and not variables_of(node)


# Plus or minus -------------------------------------------------------------------------------------------------------


def unfolded(node: Node) -> Node:
    """ "1 ± 2" as the list "3, -1", in a list or a set as two of its items."""
    if not _has_sign(node):
        return node
    if isinstance(node, Row) and node.kind in ("", "{}"):
        return Row(node.kind, tuple(n for item in node.items for n in _both(item)))
    return Row("", tuple(_both(node)))


def _both(node: Node) -> Iterator[Node]:
    if _has_sign(node):
        yield _chosen(node, 1)
        yield _chosen(node, -1)
    else:
        yield node


def _has_sign(node: Node) -> bool:
    if isinstance(node, Call):
        return node.op in ("pm", "mp") or any(map(_has_sign, node.args))
    if isinstance(node, Row):
        return any(map(_has_sign, node.items))
    if isinstance(node, Relation):
        return any(map(_has_sign, node.sides))
    return isinstance(node, Marked) and _has_sign(node.value)


def _chosen(node: Node, sign: int) -> Node:
    if isinstance(node, Call):
        args = tuple(_chosen(a, sign) for a in node.args)
        if node.op in ("pm", "mp"):
            return args[0] if (node.op == "pm") == (sign > 0) else Call("neg", args)
        return Call(node.op, args)
    if isinstance(node, Row):
        return Row(node.kind, tuple(_chosen(n, sign) for n in node.items))
    if isinstance(node, Relation):
        return Relation(tuple(_chosen(n, sign) for n in node.sides), node.signs)
    return Marked(_chosen(node.value, sign), node.mark) if isinstance(node, Marked) else node


# Three values --------------------------------------------------------------------------------------------------------


def _all(results: Iterable[bool | None]) -> bool | None:
    """False where any is, else None where any is."""
    told: bool | None = True
    for result in results:
        if result is False:
            return False
        told = None if result is None else told
    return told


def _parts(node: Node, op: str) -> tuple[Node, ...]:
    """What an operation is of; nothing for any other node."""
    return node.args if isinstance(node, Call) and node.op == op else ()
