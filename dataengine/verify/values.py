"""Calculates: the value of an expression, and whether two are the same.

A value without variables is a fraction where it is one, or else a number of fifty digits; expressions with variables
are compared at points drawn once and for all, positive and negative.
"""

import itertools
import math
import operator
import threading
from collections.abc import Callable, Iterable, Mapping
from fractions import Fraction
from functools import lru_cache
from typing import Any, Final

from dataengine.verify.formula import Call, Marked, Name, Node, NotUnderstood, Num
from dataengine.verify.grammar import is_value

#: Decimals to which a number that was written with a decimal point has to agree (math-verify's rounding).
DECIMALS: Final = 6
#: Names that are no variables.
CONSTANTS: Final = {"pi", "e", "i", "infty"}
_DIGITS = 50
# Decimals of a number that is no fraction, where it is to be known by itself.
_FINGERPRINT = 30
# Bits of a number that is calculated exactly.
_MOST_BITS = 20_000
_MOST_FACTORIAL = 1_000


class _Inexact(Exception):
    """The value is no fraction, or none of bearable size."""


def same_value(wanted: Node, given: Node) -> bool | None:
    """Whether two numbers or expressions are equal, a unit or percent sign read either way."""
    if not (is_value(wanted) and is_value(given)):
        return False
    results = [_same(w, g) for w, g in itertools.product(_readings(wanted), _readings(given))]
    if isinstance(wanted, Marked) and isinstance(given, Marked) and wanted.mark == given.mark:
        return results[0]
    return any_of(results)


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
    variables = variables_of(wanted) | variables_of(given)
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


def proportional(left: Node, right: Node) -> bool | None:
    """Whether one expression is a multiple of the other by a number other than zero."""
    variables = variables_of(left) | variables_of(right)
    factors = []
    for point in _points(variables):
        top, bottom = _evaluate(left, point), _evaluate(right, point)
        if top is None or bottom is None or top == 0 or bottom == 0:
            return None
        factors.append(_divided(top, bottom))
    return all(_close(factor, factors[0]) for factor in factors[1:])


def agree(wanted: Fraction, given: Fraction, *, decimal: bool = False) -> bool:
    """Equal, or, with `decimal`, equal to six decimals where what is wanted is no whole number."""
    if wanted == given:
        return True
    return decimal and wanted.denominator != 1 and round(wanted, DECIMALS) == round(given, DECIMALS) != 0


def value_of(node: Node) -> Any:
    """The value of a node without variables: a Fraction, a number of mpmath, or None."""
    return _evaluate(node, {}) if is_value(node) and not variables_of(node) else None


def fingerprint(node: Node) -> Fraction | str | None:
    """What a value is known by: a fraction (irrational ones to 30 decimals), or, with variables, its values at points.

    None where it has no value. Equal expressions have the same, different ones another.
    """
    if not is_value(node):
        return None
    variables = variables_of(node)
    values = [_evaluate(node, point) for point in _points(variables)]
    if any(value is None for value in values):
        return None
    told = {_known_by(value) for value in values}
    if len(told) == 1:
        return told.pop()  # sin^2 x + cos^2 x
    return f"{','.join(sorted(variables))}: {' '.join(_context().nstr(_real(value), 20) for value in values)}"


def _known_by(value: Any) -> Fraction | str:
    context, value = _context(), _real(value) if not isinstance(value, Fraction) else value
    if isinstance(value, Fraction):
        return value
    if isinstance(value, context.mpc) or context.isinf(value) or abs(value) < context.mpf(10) ** -_FINGERPRINT:
        return str(context.nstr(value, 20))
    return Fraction(int(context.nint(context.mpf(value) * 10**_FINGERPRINT)), 10**_FINGERPRINT)


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
    if context.mpf(10) ** -100 < size < context.mpf(10) ** -30:
        return None  # it may be what rounding has left of zero
    if decimal:
        return bool(difference < context.mpf(10) ** -DECIMALS / 2 and size > context.mpf(10) ** -DECIMALS)
    return False


def variables_of(node: Node) -> frozenset[str]:
    """The names in a value that are no constants."""
    if isinstance(node, Name):
        return frozenset(() if node.name in CONSTANTS else (node.name,))
    if isinstance(node, Call):
        return frozenset().union(*map(variables_of, node.args))
    if isinstance(node, Marked):
        return variables_of(node.value)
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
    return _bearable(_EXACT[node.op](*values))


def _bearable(value: Fraction) -> Fraction:
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
    """Newton's method from above."""
    root, closer = number + 1, 1 << -(-number.bit_length() // degree)
    while closer < root:
        root = closer
        closer = ((degree - 1) * root + number // root ** (degree - 1)) // degree
    if root**degree != number:
        raise _Inexact
    return root


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


def _folded(operation: Callable[[Fraction, Fraction], Fraction], values: tuple[Fraction, ...]) -> Fraction:
    result = values[0]
    for value in values[1:]:
        result = _bearable(operation(result, value))
    return result


def _quotient(top: Fraction, bottom: Fraction) -> Fraction:
    return top / bottom


_EXACT: dict[str, Callable[..., Fraction]] = {
    "+": lambda *a: _folded(operator.add, a),
    "*": lambda *a: _folded(operator.mul, a),
    "/": _quotient,
    "neg": lambda a: -a,
    "^": _power,
    "root": _root,
    "abs": abs,
    "!": _factorial,
    "binom": _binomial,
    "floor": lambda a: Fraction(a.numerator // a.denominator),
    "ceil": lambda a: Fraction(-(-a.numerator // a.denominator)),
}


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
    if not isinstance(node, Call):
        raise NotUnderstood("calculating with what is no number")
    a = [_numeric(n, point, c) for n in node.args]
    op = node.op
    if op == "+":
        return sum(a[1:], a[0])
    if op == "*":
        return math.prod(a[1:], start=a[0])
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
    names = {"ln": "ln", "arcsin": "asin", "arccos": "acos", "arctan": "atan"}
    if op in ("!", "binom") and all(abs(n) < 10**6 for n in a):
        return c.factorial(a[0]) if op == "!" else c.binomial(*a)
    # Of a number that large, sine and exponential would be calculated for hours.
    if op in _FUNCTIONS and len(a) == 1 and (op in ("ln", "log", "floor", "ceil") or abs(a[0]) < 10**9):
        return getattr(c, names.get(op, op))(a[0])
    raise NotUnderstood(op)


_FUNCTIONS = {
    *("sin", "cos", "tan", "cot", "sec", "csc", "arcsin", "arccos", "arctan", "sinh", "cosh", "tanh"),
    *("ln", "log", "exp", "floor", "ceil"),
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


def _divided(top: Any, bottom: Any) -> Any:
    if isinstance(top, Fraction) and isinstance(bottom, Fraction):
        return top / bottom
    return _real(top) / _real(bottom)


def _real(value: Any) -> Any:
    """A number of mpmath; a complex one whose imaginary part is nothing but rounding as a real one."""
    c = _context()
    if isinstance(value, Fraction):
        return c.mpf(value.numerator) / value.denominator
    if isinstance(value, c.mpc) and abs(value.imag) <= abs(value.real) * c.mpf(10) ** (10 - _DIGITS):
        return value.real
    return value


def any_of(results: Iterable[bool | None]) -> bool | None:
    """True where any is, else None where any is."""
    told: bool | None = False
    for result in results:
        if result:
            return True
        told = None if result is None else told
    return told
