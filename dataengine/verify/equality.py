"""Says whether two answers are equal: values by calculating, everything else by its parts.

A value without variables is calculated as a fraction, or else to 50 digits; one with variables at points drawn once and
for all, positive and negative. Order counts in tuples, intervals and matrices, and not in sets, lists and unions.
"""

import itertools
import threading
from collections.abc import Callable, Iterator, Mapping
from fractions import Fraction
from functools import lru_cache
from typing import Any, Final

from dataengine.verify.formula import Based, Call, Marked, Matrix, Name, Node, NotUnderstood, Num, Relation, Row, Words
from dataengine.verify.grammar import is_value

#: Decimals to which a number that was written with a decimal point has to agree (math-verify's rounding).
DECIMALS: Final = 6
_DIGITS = 50
# Bits of a number that is calculated exactly.
_MOST_BITS = 20_000
_MOST_FACTORIAL = 1_000
# Items of an unordered list that are matched with those of another.
_MOST_ITEMS = 100
_CONSTANTS = {"pi", "e", "i", "infty"}
_FLIPPED = {"<": ">", ">": "<", "<=": ">=", ">=": "<=", "=": "="}


class _Inexact(Exception):
    """The value is no fraction, or none of bearable size."""


def equal(wanted: Node, given: Node) -> bool | None:
    """Whether an answer is the one that is wanted; None where that cannot be told by calculating."""
    try:
        return _equal(_unfold(wanted), _unfold(given))
    except (NotUnderstood, _Inexact, RecursionError):
        return None


def _equal(wanted: Node, given: Node) -> bool | None:
    if wanted == given:
        return True
    wanted, given = _region(wanted), _region(given)
    if isinstance(wanted, Relation) or isinstance(given, Relation):
        return _relations(wanted, given)
    if isinstance(wanted, Row) or isinstance(given, Row):
        return _rows(wanted, given)
    if isinstance(wanted, Matrix) or isinstance(given, Matrix):
        return _matrices(wanted, given)
    if isinstance(wanted, Words) or isinstance(given, Words):
        return _words(wanted) == _words(given)
    if isinstance(wanted, Based):
        return (given.digits, given.base) == (wanted.digits, wanted.base) if isinstance(given, Based) else (
            isinstance(given, Num) and str(given.value) == wanted.digits
        )
    if isinstance(given, Based):
        return False
    if _is(wanted, "cup") or _is(given, "cup"):
        return _is(wanted, "cup") and _is(given, "cup") and _unordered(wanted.args, given.args)
    if _is(wanted, "ratio") or _is(given, "ratio"):
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
    return len(left) == len(right) and _all(_equal(_side(w), _side(g)) for w, g in zip(left, right, strict=True))


def _lists(left: tuple[Node, ...], right: tuple[Node, ...]) -> bool | None:
    """Lists without an order; "x = 1, y = 2" and "1, 2" have one."""
    names = [_name_of(n) for n in left], [_name_of(n) for n in right]
    if all(names[0]) and all(names[1]) and {*names[0]} == {*names[1]}:
        return _unordered(left, right)
    several = any(all(n) and len({*n}) > 1 for n in names)
    left, right = tuple(map(_side, left)), tuple(map(_side, right))
    if several:
        return len(left) == len(right) and _all(map(_equal, left, right))
    return _unordered(left, right)


def _unordered(left: tuple[Node, ...], right: tuple[Node, ...]) -> bool | None:
    """Whether every item of each has an equal one in the other."""
    if len(left) > _MOST_ITEMS or len(right) > _MOST_ITEMS:
        return None
    return _all(
        _any(_equal(*(pair if first else pair[::-1])) for pair in ((item, other) for other in others))
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
    left = wanted.args if _is(wanted, "ratio") else ()
    right = given.args if _is(given, "ratio") else ()
    if left and right:
        if len(left) != len(right):
            return False
        if any(value_of(n) == 0 for n in (*left, *right)):
            return _all(map(_equal, left, right))  # 12:00 is a time
        pairs = list(zip(left, right, strict=True))
        return _all(
            same_value(Call("*", (w, pairs[0][1])), Call("*", (g, pairs[0][0]))) for w, g in pairs[1:]
        )
    both = left or right
    if len(both) != 2 or not (is_value(given) if left else is_value(wanted)):
        return False
    quotient = Call("/", both)
    return same_value(quotient, given) if left else same_value(wanted, quotient)


def _words(node: Node) -> Any:
    """Words to compare: a letter by itself may be a name."""
    return node.text if isinstance(node, Words) else node.name.lower() if isinstance(node, Name) else node


# Equations and inequalities ------------------------------------------------------------------------------------------


def _relations(wanted: Node, given: Node) -> bool | None:
    if not isinstance(given, Relation):
        assert isinstance(wanted, Relation)
        side = _side(wanted)
        if side is wanted:
            return None if isinstance(given, Row | Call) and {*wanted.signs} <= {"<", ">", "<=", ">="} else False
        return _equal(side, given)
    if not isinstance(wanted, Relation):
        side = _side(given, calculated=True)
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
    if all(names):
        same = _equal(wanted.sides[-1], given.sides[-1])
        if names[0] == names[1] or (same is True and not _variables(wanted.sides[-1])):
            return same
        if same is not True and len(_variables(wanted.sides[-1])) == 0:
            return same
    if len(wanted.sides) != 2 or len(given.sides) != 2 or not all(map(is_value, (*wanted.sides, *given.sides))):
        return _all(map(_equal, wanted.sides, given.sides)) if len(wanted.sides) == len(given.sides) else False
    # Two equations are the same when one is a multiple of the other.
    left, right = (Call("+", (r.sides[0], Call("neg", (r.sides[1],)))) for r in (wanted, given))
    variables = _variables(left)
    if variables != _variables(right):
        return False
    if not variables:
        return _all(map(_equal, wanted.sides, given.sides))
    factors = []
    for point in _points(frozenset(variables)):
        values = [_evaluate(side, point) for side in (left, right)]
        if any(v is None or v == 0 for v in values):
            return None
        factors.append(values[0] / values[1])
    return all(_close(f, factors[0]) for f in factors[1:])


def _side(node: Node, *, calculated: bool = False) -> Node:
    """Of "x = 7" the 7, of "x in S" the S; with `calculated` of "3 + 4 = 7" the 7 too; else the node itself."""
    if not isinstance(node, Relation):
        return node
    first, *others = node.sides
    if node.signs == ("in",) and is_value(first):
        return others[-1]
    if {*node.signs} == {"="}:
        if _is_name(first) and not _is_name_only(others[-1]):
            return others[-1]
        if calculated and (all(not _variables(s) for s in node.sides if is_value(s))):
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
        return node.name not in _CONSTANTS - {"e", "i"}
    if isinstance(node, Words):
        return True
    if isinstance(node, Row):
        return node.kind == "()" and all(map(_is_name, node.items))
    if isinstance(node, Marked):
        return _is_name(node.value)
    return isinstance(node, Call) and node.op in ("*", "abs", "ratio", "/") and all(map(_is_name, node.args))


def _is_name_only(node: Node) -> bool:
    """Whether it says no more than a name does: of y = x neither side is the answer."""
    return isinstance(node, Name) and node.name not in _CONSTANTS


def _region(node: Node) -> Node:
    """An inequality between numbers as the interval it is, and the real line as one."""
    if isinstance(node, Relation) and {*node.signs} <= {"<", ">", "<=", ">="}:
        sides, signs = node.sides, node.signs
        if {*signs} <= {">", ">="}:
            sides, signs = sides[::-1], tuple(_FLIPPED[s] for s in signs[::-1])
        if not {*signs} <= {"<", "<="}:
            return node
        infinity = Name("infty")
        if len(sides) == 2 and _is_name(sides[0]) and _number(sides[1]):
            return Row("(" + (")" if signs[0] == "<" else "]"), (Call("neg", (infinity,)), sides[1]))
        if len(sides) == 2 and _is_name(sides[1]) and _number(sides[0]):
            return Row(("(" if signs[0] == "<" else "[") + ")", (sides[0], infinity))
        if len(sides) == 3 and _is_name(sides[1]) and _number(sides[0]) and _number(sides[2]):
            return Row(("(" if signs[0] == "<" else "[") + (")" if signs[1] == "<" else "]"), (sides[0], sides[2]))
    if node == Name("mathbb R"):
        return Row("()", (Call("neg", (Name("infty"),)), Name("infty")))
    if isinstance(node, Relation) and node.signs == ("in",) and is_value(node.sides[0]):
        return _region(node.sides[1])
    if isinstance(node, Row) and node.kind == "" and node.items and all(_is_region(n) for n in node.items):
        return Call("cup", tuple(map(_region, node.items)))  # x < 1 or x > 3
    return node


def _is_region(node: Node) -> bool:
    return isinstance(node, Relation) and isinstance(_region(node), Row)


def _number(node: Node) -> bool:
    return is_value(node) and not _variables(node)


# Values --------------------------------------------------------------------------------------------------------------


def same_value(wanted: Node, given: Node) -> bool | None:
    """Whether two numbers or expressions are equal, a unit or percent sign read either way."""
    if not (is_value(wanted) and is_value(given)):
        return False
    results = [_same(w, g) for w, g in itertools.product(_readings(wanted), _readings(given))]
    if isinstance(wanted, Marked) and isinstance(given, Marked) and wanted.mark == given.mark:
        return results[0]
    return _any(results)


def _readings(node: Node) -> list[Node]:
    """28% is 28 or 0.28; 90 degrees are 90 or half of pi; 13 cm are 13."""
    if not isinstance(node, Marked):
        return [node]
    value = node.value
    if node.mark in ("%", "percent", "percentage", "pct"):
        return [value, Call("/", (value, Num(Fraction(100))))]
    if node.mark.startswith("deg"):
        return [value, Call("*", (value, Name("pi"), Num(Fraction(1, 180))))]
    return [value]


def _same(wanted: Node, given: Node) -> bool | None:
    if isinstance(wanted, Num) and isinstance(given, Num):
        return agree(wanted.value, given.value, decimal=wanted.decimal or given.decimal)
    variables = _variables(wanted) | _variables(given)
    if variables != _variables(wanted) or variables != _variables(given):
        # x - x + 1 is 1, but nobody writes that: what has other variables is something else, unless it cancels.
        return None if not variables - _variables(wanted) or not variables - _variables(given) else False
    decimal = not variables and (_has_decimal(wanted) or _has_decimal(given))
    told = set()
    for point in _points(frozenset(variables)):
        left, right = _evaluate(wanted, point), _evaluate(given, point)
        if left is None or right is None:
            return None
        told.add(_close(left, right, decimal=decimal))
        if len(told) > 1:
            return None  # equal where x is positive only
    return told.pop()


def agree(wanted: Fraction, given: Fraction, *, decimal: bool = False) -> bool:
    """Equal, or equal to six decimals where one is written with a decimal point and the reference is no whole number."""
    if wanted == given:
        return True
    return decimal and wanted.denominator != 1 and round(wanted, DECIMALS) == round(given, DECIMALS) != 0


def value_of(node: Node) -> Any:
    """The value of a node without variables: a Fraction, a number of mpmath, or None."""
    return _evaluate(node, {}) if is_value(node) and not _variables(node) else None


def _close(left: Any, right: Any, *, decimal: bool = False) -> bool | None:
    if isinstance(left, Fraction) and isinstance(right, Fraction):
        return agree(left, right, decimal=decimal)
    context = _context()
    left, right = _real(left), _real(right)
    difference, size = abs(left - right), max(abs(left), abs(right))
    if context.isinf(size) or context.isnan(difference):
        return bool(left == right) if not context.isnan(left) and not context.isnan(right) else None
    if difference <= size * context.mpf(10) ** (10 - _DIGITS):
        # At this size fifty digits do not tell whole numbers apart.
        return True if size < context.mpf(10) ** 30 else None
    if size < context.mpf(10) ** -30:
        return None
    if decimal:
        return bool(difference < context.mpf(10) ** -DECIMALS / 2 and size > context.mpf(10) ** -DECIMALS)
    return False


@lru_cache(maxsize=4096)
def _variables(node: Node) -> frozenset[str]:
    if isinstance(node, Name):
        return frozenset(() if node.name in _CONSTANTS else (node.name,))
    if isinstance(node, Call):
        return frozenset().union(*map(_variables, node.args))
    if isinstance(node, Marked):
        return _variables(node.value)
    return frozenset()


def _has_decimal(node: Node) -> bool:
    if isinstance(node, Call):
        return any(map(_has_decimal, node.args))
    if isinstance(node, Marked):
        return _has_decimal(node.value)
    return isinstance(node, Num) and node.decimal


@lru_cache(maxsize=256)
def _points(variables: frozenset[str]) -> tuple[Mapping[str, Fraction], ...]:
    """Where expressions in these variables are compared: one point where all are positive, others of mixed signs."""
    if not variables:
        return ({},)
    names = sorted(variables)
    primes = [(1009, 613), (1223, 887), (1453, 1031), (1657, 1201), (2003, 1327), (2311, 1709), (2557, 1901)]
    points = []
    for turn in range(3):
        point = {}
        for i, name in enumerate(names):
            top, bottom = primes[(i + turn) % len(primes)]
            sign = -1 if turn and (i + turn) % 2 else 1
            point[name] = sign * (Fraction(top, bottom) + i // len(primes) + Fraction(turn, 7))
        points.append(point)
    return tuple(points)


def _evaluate(node: Node, point: Mapping[str, Fraction]) -> Any:
    """The value at a point: a Fraction where it is one, else a number of mpmath; None where there is none."""
    try:
        return _exact(node, point)
    except ZeroDivisionError:
        return None
    except _Inexact:
        pass
    context = _context()
    try:
        value = _numeric(node, point, context)
    except (ZeroDivisionError, ValueError, OverflowError, context.NoConvergence):
        return None
    return None if context.isnan(value) else value


def _exact(node: Node, point: Mapping[str, Fraction]) -> Fraction:
    """The value as a fraction. Raises _Inexact where it is none, or too large."""
    if isinstance(node, Num):
        return node.value
    if isinstance(node, Name):
        if node.name in point:
            return point[node.name]
        raise _Inexact
    if isinstance(node, Marked):
        return _exact(_in_calculation(node), point)
    if not isinstance(node, Call) or node.op not in _EXACT:
        raise _Inexact
    values = [_exact(a, point) for a in node.args]
    value = _EXACT[node.op](*values)
    if value.numerator.bit_length() + value.denominator.bit_length() > _MOST_BITS:
        raise _Inexact
    return value


def _in_calculation(node: Marked) -> Node:
    """What a marked value is inside an expression: 20% of 5 is one, sin 30 degrees is a half."""
    readings = _readings(node)
    return readings[-1]


def _power(base: Fraction, exponent: Fraction) -> Fraction:
    if exponent.denominator != 1:
        return _root(_power(base, Fraction(exponent.numerator)), Fraction(exponent.denominator))
    bits = base.numerator.bit_length() + base.denominator.bit_length()
    if bits * abs(exponent) > _MOST_BITS:
        raise _Inexact
    return base ** int(exponent)


def _root(base: Fraction, degree: Fraction) -> Fraction:
    """The root where it is a fraction, the real one of a positive number."""
    if degree.denominator != 1 or not 1 <= degree <= 64 or base < 0:
        raise _Inexact
    roots = [_whole_root(n, int(degree)) for n in (base.numerator, base.denominator)]
    return Fraction(*roots)


def _whole_root(number: int, degree: int) -> int:
    low, high = 0, 1 << (number.bit_length() // degree + 1)
    while low < high:
        middle = (low + high) // 2
        low, high = (middle + 1, high) if middle**degree < number else (low, middle)
    if low**degree != number:
        raise _Inexact
    return low


def _factorial(n: Fraction) -> Fraction:
    if n.denominator != 1 or not 0 <= n <= _MOST_FACTORIAL:
        raise _Inexact
    result = 1
    for k in range(2, int(n) + 1):
        result *= k
    return Fraction(result)


def _binomial(n: Fraction, k: Fraction) -> Fraction:
    if n.denominator != 1 or k.denominator != 1 or not 0 <= k <= n <= _MOST_FACTORIAL:
        raise _Inexact
    return _factorial(n) / _factorial(k) / _factorial(n - k)


def _quotient(top: Fraction, bottom: Fraction) -> Fraction:
    return top / bottom


_EXACT: dict[str, Callable[..., Fraction]] = {
    "+": lambda *a: sum(a, Fraction(0)),
    "*": lambda *a: _product(a),
    "/": _quotient,
    "neg": lambda a: -a,
    "^": _power,
    "root": _root,
    "abs": abs,
    "!": _factorial,
    "binom": _binomial,
    "lfloor": lambda a: Fraction(a.numerator // a.denominator),
    "lceil": lambda a: Fraction(-(-a.numerator // a.denominator)),
}


def _product(values: tuple[Fraction, ...]) -> Fraction:
    result = Fraction(1)
    for value in values:
        result *= value
    return result


_local = threading.local()


def _context() -> Any:
    """Arithmetic with fifty digits; one for each thread, since its precision is a setting that it changes itself."""
    if not hasattr(_local, "context"):
        from mpmath.ctx_mp import MPContext

        _local.context = MPContext()
        _local.context.dps = _DIGITS
    return _local.context


def _numeric(node: Node, point: Mapping[str, Fraction], c: Any) -> Any:
    """The value to fifty digits, complex where it has to be. Raises NotUnderstood, ValueError, ZeroDivisionError."""
    if isinstance(node, Num):
        return c.mpf(node.value.numerator) / node.value.denominator
    if isinstance(node, Name):
        if node.name in point:
            return c.mpf(point[node.name].numerator) / point[node.name].denominator
        return {"pi": c.pi, "e": c.e, "i": c.mpc(0, 1), "infty": c.inf}[node.name]
    if isinstance(node, Marked):
        return _numeric(_in_calculation(node), point, c)
    assert isinstance(node, Call)
    a = [_numeric(n, point, c) for n in node.args]
    op = node.op
    if op == "+":
        return sum(a[1:], a[0])
    if op == "*":
        return a[0] * (_numeric(Call("*", node.args[1:]), point, c) if len(a) > 2 else a[1])
    if op == "/":
        return a[0] / a[1]
    if op == "neg":
        return -a[0]
    if op == "^":
        return _numeric_power(a[0], a[1], c)
    if op == "root":
        return c.sqrt(a[0]) if a[1] == 2 else _numeric_power(a[0], 1 / a[1], c)
    if op == "abs":
        return abs(a[0])
    if op == "log" and len(a) == 2:
        return c.log(a[0]) / c.log(a[1])
    if op == "lg":
        return c.log(a[0]) / c.log(10)
    names = {"ln": "ln", "arcsin": "asin", "arccos": "acos", "arctan": "atan", "lfloor": "floor", "lceil": "ceil"}
    if op in ("!", "binom") and all(abs(n) < 10**6 for n in a):
        return c.factorial(a[0]) if op == "!" else c.binomial(*a)
    if op in _FUNCTIONS and len(a) == 1:
        return getattr(c, names.get(op, op))(a[0])
    raise NotUnderstood(op)


_FUNCTIONS = {
    *("sin", "cos", "tan", "cot", "sec", "csc", "arcsin", "arccos", "arctan", "sinh", "cosh", "tanh"),
    *("ln", "log", "exp", "lfloor", "lceil"),
}


def _numeric_power(base: Any, exponent: Any, c: Any) -> Any:
    if abs(exponent) > 10**9:
        raise NotUnderstood("a power that large")
    if isinstance(base, c.mpf) and base < 0 and isinstance(exponent, c.mpf) and exponent != c.nint(exponent):
        # The real root of a negative number where its degree is odd: the cube root of -8 is -2 to most who write it.
        degree = 1 / exponent
        if abs(degree - c.nint(degree)) < c.mpf(10) ** -40 and int(c.nint(degree)) % 2:
            return -((-base) ** exponent)
    return base**exponent


def _real(value: Any) -> Any:
    """A number of mpmath; a complex one whose imaginary part is nothing but rounding as a real one."""
    c = _context()
    if isinstance(value, Fraction):
        return c.mpf(value.numerator) / value.denominator
    if isinstance(value, c.mpc) and abs(value.imag) <= abs(value.real) * c.mpf(10) ** (10 - _DIGITS):
        return value.real
    return value


# Plus or minus -------------------------------------------------------------------------------------------------------


def _unfold(node: Node) -> Node:
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


def _all(results: Iterator[bool | None]) -> bool | None:
    """False where any is, else None where any is."""
    told: bool | None = True
    for result in results:
        if result is False:
            return False
        told = None if result is None else told
    return told


def _any(results: Any) -> bool | None:
    """True where any is, else None where any is."""
    told: bool | None = False
    for result in results:
        if result:
            return True
        told = None if result is None else told
    return told


def _is(node: Node, op: str) -> bool:
    return isinstance(node, Call) and node.op == op
