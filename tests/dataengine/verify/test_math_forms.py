"""Answers in every form are compared as a careful reader would compare them, whichever way they are written."""

import re
from collections.abc import Iterator
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dataengine.checks import Opinion, Sample
from dataengine.verify.equality import equal
from dataengine.verify.formula import NotUnderstood
from dataengine.verify.grammar import read
from dataengine.verify.math import MathCheck
from dataengine.verify.units import convert, measure


@pytest.fixture(scope="module")
def check() -> Iterator[MathCheck]:
    made = MathCheck(workers=1)
    yield made
    made.close()


def opinion(check: MathCheck, reply: str, reference: str, **verify: object) -> Opinion:
    (told,) = check([Sample(text=reply, answer=reply, reference=reference, metadata={"verify": verify})])
    return told


EQUAL = """
    3\\frac{1}{2} | \\frac{7}{2}          # mixed numbers
    2 1/3 | \\frac73
    3.2 \\times 10^{5} | 320000           # scientific notation
    3.2e-5 | 0.000032
    1 000 | 1000                          # separators
    12{,}345 | 12345
    11,\\! 111,\\! 100 | 11111100
    1000,99 | 1000.99
    € 5.50 | 5.5                          # currencies
    \\$1,200 | 1200
    28\\% | \\frac{28}{100}               # percent
    28\\% | 28
    15 \\text{ cm}^2 | 15                 # units
    5\\sqrt{2} \\text{ cm} | 5\\sqrt2
    \\frac{1}{3} \\text{ of the cake} | 1/3
    90^\\circ | \\frac{\\pi}{2}           # angles
    2\\sqrt{3} | \\sqrt{12}               # expressions
    \\frac{\\sqrt{2}}{2} | \\frac{1}{\\sqrt{2}}
    \\sqrt[3]{-8} | -2
    x^2 - 1 | (x-1)(x+1)
    \\sin^2 x + \\cos^2 x | 1
    2\\sin b\\cos a | 2\\cos a\\sin b
    n! | n (n-1)!
    \\log_2 8 | 3
    e^{i\\pi} | -1
    \\binom{5}{2} | 10
    |x - 1| | |1 - x|
    x_1 + x_{2} | x_2 + x_1
    \\lfloor 3.7 \\rfloor | 3
    (1, 2) | \\left( 1, 2 \\right)        # tuples and intervals
    (0.5, 1] | (\\frac12, 1]
    [-2, 7] | -2 \\le x \\le 7
    (-\\infty, 3) | x < 3
    (3, \\infty) | 3 < x
    (-\\infty,1)\\cup(3,\\infty) | x < 1 \\text{ or } x > 3
    (2,12)\\cup(12,102) | x \\in (12,102) \\cup (2,12)
    [-2,-1]\\cup[1,2] | 1 \\le |z| \\le 2
    \\mathbb{R} | (-\\infty, \\infty)
    \\{1, 2\\} | {2, 1}                   # sets and lists
    \\{1, 2\\} | 2, 1
    1 and 2 | 2, 1
    \\emptyset | \\{\\}
    1 \\pm \\sqrt{19} | 1 - \\sqrt{19}, 1 + \\sqrt{19}
    \\pm 2, 5 | 5, -2, 2
    x = 2 \\text{ or } x = 3 | 3, 2
    a = 4, -8 | -8, 4
    k = 45, n = 2 | n = 2, k = 45
    k = 45, n = 2 | 45, 2
    p=5, q=2; p=7, q=2 | (7,2),(5,2)
    \\begin{pmatrix}1&2\\\\3&4\\end{pmatrix} | \\begin{bmatrix} 1 & 2 \\\\ 3 & \\frac{8}{2} \\end{bmatrix}
    y = 2x + 1 | 2x + 1                   # equations
    y = 2x + 1 | 4x - 2y + 2 = 0
    f(x) = x^2 | x^2
    (p, q) = (3, 2) | (3, 2)
    x = 5 | n = 5
    \\frac{NO}{BO} = \\frac12 | 0.5
    3:4 | 6:8                             # ratios
    3:4 | \\frac34
    f(2) < f(1) < f(4) | f(4) > f(1) > f(2)
    \\text{Evelyn} | evelyn               # words
    \\text{(C)} | C
    no solution | No solution.
    seven | 7
    （１，２） | (1, 2)                   # full width
    ３／４ | 0.75
    \\mathbf{1 6 2} | 162
    \\frac13 \\approx 0.33 | 1/3
"""
DIFFERENT = """
    3\\frac{1}{2} | \\frac{3}{2}
    \\{1, 2\\} | (1, 2)                   # a set is no tuple
    (1, 2) | (2, 1)
    (1, 2) | [1, 2]
    (0, 9) | [0, 9)
    1, 2 | 1, 2, 3
    1, 2 | 1
    k = 45, n = 2 | n = 45, k = 2
    k = 45, n = 2 | 2, 45
    1 \\pm \\sqrt{19} | 1 + \\sqrt{19}
    x^2 - 1 | x^2 + 1
    \\frac{1}{3} | 0.33
    13 | 13x
    \\sqrt{x^2+1} | x + 1
    10^{100} + 1 | 10^{100}
    \\frac{1}{2004!} | \\frac{1}{2006!}
    y = 2x + 1 | y = 2x - 1
    y = 2x + 1 | x = 2y + 1
    x + z = 1 | 1
    12:00 | 1:00
    3:4 | 4:3
    3:30 \\text{ p.m.} | 3:30 \\text{ a.m.}
    \\begin{pmatrix}1\\\\2\\end{pmatrix} | \\begin{pmatrix}2\\\\1\\end{pmatrix}
    (2,12)\\cup(12,102) | (2,12)
    -2 \\le x \\le 7 | -2 < x \\le 7
    \\text{east} | \\text{west}
    x | X
    204_5 | 204_6
    204_5 | 54
    28 | \\frac{28}{100}
    0.28 | 28
    1 - \\frac{1}{\\mathrm{e}} | 1 + \\frac{1}{\\mathrm{e}}
"""


def cases(table: str) -> list[tuple[str, str]]:
    lines = [re.sub(r"\s+#.*", "", line).strip() for line in table.strip().splitlines()]
    return [(left.strip(), right.strip()) for left, _, right in (line.partition(" | ") for line in lines)]


@pytest.mark.parametrize(("one", "other"), cases(EQUAL))
def test_forms_that_are_equal_are_so_both_ways(check: MathCheck, one: str, other: str) -> None:
    for wanted, told in ((one, other), (other, one)):
        assert opinion(check, f"So it is $\\boxed{{{told}}}$.", wanted).outcome == "pass", (wanted, told)


@pytest.mark.parametrize(("one", "other"), cases(DIFFERENT))
def test_forms_that_are_not_equal_are_so_neither_way(check: MathCheck, one: str, other: str) -> None:
    for wanted, told in ((one, other), (other, one)):
        assert opinion(check, f"So it is $\\boxed{{{told}}}$.", wanted).outcome == "fail", (wanted, told)


@pytest.mark.parametrize(
    ("reply", "answer"),
    [
        (r"\boxed{1} and \boxed{2}", "1, 2"),
        (r"$x = \boxed{1}$ or $x = \boxed{2}$", "1, 2"),
        (r"\boxed{(1, 2)},\quad \boxed{(3, 4)}", "(3, 4), (1, 2)"),
        (r"\boxed{7}. Once more: \boxed{7}", "7"),
        (r"$a = \boxed{3}$, $b = \boxed{4}$, so in all $a + b = \boxed{7}$", "7"),
        (r"\boxed{5} would be wrong. \boxed{6}", "6"),
        (r"The first brings \boxed{200}, both $10,455. The final answer is $10,455$. I hope it is correct.", "10455"),
        (r'Between $\boxed{12 $ and $13 }. $ The final answer is "$12 $ and $13 $".', "12 and 13"),
        (r"\boxed{7}. This final answer is correct.", "7"),
        (r"\\boxed{\\frac{1}{2}}", "0.5"),
        (r"\framebox{204}", "204"),
        (r"Therefore $k = \frac{1}{28}$.", r"\frac{1}{28}"),
        (r"The answer is therefore $7 + 14 = \mathbf{2 1}$.", "21"),
        ("$1$ and $2$", "2, 1"),
        ("It costs $10 more, in all 45 dollars.", "45"),
        ("Die Summe ist 2,74", "2.74"),
        ("<answer>The root is $x = 5$.</answer>", "5"),
        ("所以答案是：３４。", "34"),
    ],
)
def test_the_final_answer_is_found_in_a_reply(check: MathCheck, reply: str, answer: str) -> None:
    told = opinion(check, reply, answer)
    assert told.outcome == "pass", told


def test_an_answer_may_leave_out_the_base_that_was_asked_for(check: MathCheck) -> None:
    assert opinion(check, r"\boxed{204}", "204_5").outcome == "pass"
    assert opinion(check, r"\boxed{204_5}", "204").outcome == "fail"


def test_a_reference_may_be_a_whole_solution(check: MathCheck) -> None:
    assert opinion(check, r"\boxed{9}", r"Since $3^2 = 9$ we have $\boxed{9}$ of them.").outcome == "pass"


def test_an_alias_is_as_good_as_the_reference(check: MathCheck) -> None:
    aliases = [r"\arcsin\frac{10}{13}", "50.28^\\circ"]
    assert opinion(check, r"\boxed{\arcsin(10/13)}", r"\arcsin\frac{1}{1.3}", aliases=aliases).outcome == "pass"
    assert opinion(check, r"\boxed{50.28}", "1", aliases=aliases).outcome == "pass"
    assert opinion(check, r"\boxed{2}", "1", aliases=aliases).outcome == "fail"


@pytest.mark.parametrize("reference", ["1", r"\int_0^1 2x dx"])
def test_while_one_reference_cannot_be_told_another_answer_is_not_wrong(check: MathCheck, reference: str) -> None:
    told = opinion(check, r"\boxed{2}", reference, aliases=["see the appendix"])
    assert (told.outcome, told.reason) == ("undecided", "reference_not_parsed")
    assert opinion(check, r"\boxed{2}", reference).outcome == "fail"


@pytest.mark.parametrize(
    ("reply", "reference", "unit", "outcome"),
    [
        ("0.0821", "0.082", "V", "pass"),
        (r"82.1 \text{ mV}", "0.082", "V", "pass"),
        (r"82.1 \text{ mV}", "0.082", r"$\mathrm{~V}$", "pass"),
        (r"0.082 \text{ kg}", "0.082", "V", "fail"),
        (r"-21.3 \mathrm{~kJ} \mathrm{~mol}^{-1}", "-21.2", r" $\mathrm{~kJ} \mathrm{~mol}^{-1}$", "pass"),
        (r"-21300 J/mol", "-21.2", r" $\mathrm{~kJ} \mathrm{~mol}^{-1}$", "pass"),
        ("6.9", "6.9", r"$10^{-2} \mathrm{~s}^{-1}$", "pass"),
        ("0.069", "6.9", r"$10^{-2} \mathrm{~s}^{-1}$", "pass"),
        (r"6.9 \times 10^{-2} \text{ s}^{-1}", "6.9", r"$10^{-2} \mathrm{~s}^{-1}$", "pass"),
        (r"6.9 \text{ s}^{-1}", "6.9", r"$10^{-2} \mathrm{~s}^{-1}$", "fail"),
        (r"298.15 \text{ K}", "25", r"$^{\circ} \mathrm{C}$", "pass"),
        (r"\frac{1}{12}", "0.0833", "", "pass"),
        ("0.09", "0.0833", "", "fail"),
        (r"E = 3.00 \text{ florins}", "3", "J", "pass"),
        ("I cannot say", "3", "J", "undecided"),
    ],
)
def test_science_numbers_have_a_tolerance_and_units(
    check: MathCheck, reply: str, reference: str, unit: str, outcome: str
) -> None:
    assert opinion(check, f"\\boxed{{{reply}}}", reference, tolerance=0.01, unit=unit).outcome == outcome


def test_what_is_asked_of_the_verifier_and_is_not_understood_cannot_be_told(check: MathCheck) -> None:
    told = opinion(check, r"\boxed{1}", "1", tolerance=2)
    assert (told.outcome, told.reason) == ("undecided", "reference_not_usable")
    assert "tolerance" in told.details["message"]


def test_units_are_converted() -> None:
    assert convert(1.0, "m/s", r"\mathrm{km} \mathrm{~h}^{-1}") == pytest.approx(3.6)
    assert convert(1.0, "florins", "J") is None
    with pytest.raises(ValueError, match="convert"):
        convert(1.0, "kg", "m")
    assert measure("about five") is None


# Any expression, written in two ways.
NUMBERS = st.integers(-30, 30).filter(bool)


@st.composite
def expressions(draw: st.DrawFn, depth: int = 3) -> tuple[str, str]:
    """LaTeX and plain text of the same expression."""
    kind = (
        draw(st.sampled_from(["number", "name", "sum", "product", "fraction", "root", "power"])) if depth else "number"
    )
    if kind in ("number", "name"):
        text = str(draw(NUMBERS)) if kind == "number" else draw(st.sampled_from("xyz"))
        return (f"({text})", f"({text})")
    (a, b), (c, d) = draw(expressions(depth - 1)), draw(expressions(depth - 1))
    if kind == "sum":
        return f"({a} + {c})", f"({d}+{b})"
    if kind == "product":
        return f"({a} \\cdot {c})", f"({d}*{b})"
    if kind == "fraction":
        return f"\\frac{{{a}}}{{{c}}}", f"({b})/({d})"
    if kind == "root":
        return f"\\sqrt{{({a})^{{2}} + 1}}", f"sqrt(1+({b})^2)"
    return f"({a})^{{2}}", f"(({b})*({b}))"


@given(expressions())
@settings(max_examples=150)
def test_an_expression_is_equal_to_itself_in_another_writing(pair: tuple[str, str]) -> None:
    latex, plain = pair
    assert equal(read(latex), read(plain)) in (True, None)  # None where it divides by zero
    if equal(read(latex), read(plain)):
        assert equal(read(f"{latex} + 1"), read(plain)) is False


@given(st.lists(st.fractions(-9, 9, max_denominator=9), min_size=2, max_size=6, unique=True), st.randoms())
def test_order_counts_in_tuples_alone(values: list[Fraction], chance: object) -> None:
    other = sorted(values, reverse=values == sorted(values))
    listed, shuffled = ([f"\\frac{{{v.numerator}}}{{{v.denominator}}}" for v in vs] for vs in (values, other))
    one, two = ", ".join(listed), ", ".join(shuffled)
    assert equal(read(f"\\{{{one}\\}}"), read(f"\\{{{two}\\}}")) is True
    assert equal(read(one), read(two)) is True
    assert equal(read(f"({one})"), read(f"({two})")) is False
    assert equal(read(f"({one})"), read(f"({one})")) is True
    assert equal(read(f"\\{{{one}\\}}"), read(f"\\{{{one}, 99\\}}")) is False


WRITTEN = r"""0 1 2 3 4 5 6 7 8 9 x y f n + - * / = < > ! % | _ ^ ( ) , ; : [ ] { } & $ ' ９ ² 1,000 e999 and cm
    \frac \sqrt \boxed{ \text{ \{ \} \pm \cup \begin{pmatrix} \end{pmatrix} \\ \left( \sin \log \pi \infty \le \in"""
PIECES = st.sampled_from([*WRITTEN.split(), " ", "\x00", "\x01", "\ud800"])


@given(st.lists(PIECES, max_size=40).map("".join), st.lists(PIECES, max_size=40).map("".join))
@settings(max_examples=300, deadline=None)
def test_whatever_is_written_is_read_or_refused(one: str, other: str) -> None:
    try:
        left, right = read(one), read(other)
    except NotUnderstood:
        return
    assert equal(left, left) is not False
    assert equal(left, right) in (True, False, None)


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    "hostile",
    [
        r"\cot 483766960194616^{86315}",
        r"\sin(10^{99999})",
        "(((999!)!)!)!",
        "/".join(["(x+1)^{999}"] * 60),
        "+".join(f"\\frac{{1}}{{{10**30 + n}}}" for n in range(40)),
        "*".join(["99999^{99999}"] * 100),
        "-" * 1_900 + "1",
        "{" * 40 + "x" + "}" * 40,
        ",".join(f"x^{{{n}}}" for n in range(300)),
        "\\frac" * 300 + "1",
        "|" * 900,
        "x" + "^x" * 40,
    ],
)
def test_hostile_forms_take_no_time(hostile: str) -> None:
    """This runs in the caller's process, where nothing can end it; the test's own time limit is the assertion."""
    try:
        node = read(hostile)
    except NotUnderstood:
        return
    for other in ("x^2+1", "\\sqrt{2}", f"{hostile}+1"[:2_000]):
        try:
            assert equal(node, read(other)) in (True, False, None)
        except NotUnderstood:
            continue
