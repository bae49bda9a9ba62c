r"""Reads an answer, in LaTeX or plain text, into a form that can be compared.

A recursive descent over tokens, in one pass. What it does not know it refuses (`NotUnderstood`), and a computer algebra
system is asked instead: a form that is read half would give a wrong verdict.
"""

import re
from fractions import Fraction
from functools import lru_cache

from dataengine.verify.formula import (
    COMMANDS,
    FUNCTIONS,
    GREEK,
    JOINS,
    Based,
    Call,
    Marked,
    Matrix,
    Name,
    Node,
    NotUnderstood,
    Num,
    Relation,
    Row,
    Token,
    Words,
    number,
    tokens_of,
)

_MAX_DEPTH = 50
_TABLE = """
    = = < < > > <= <= >= >= != != le <= leq <= leqslant <= ge >= geq >= geqslant >= lt < gt > ne != neq !=
    in in approx approx equiv equiv
"""
_SPLIT = _TABLE.split()
_RELATIONS = dict(zip(_SPLIT[::2], _SPLIT[1::2], strict=True))
_FRACTIONS = {"frac", "dfrac", "tfrac", "cfrac"}
_NAMES = {"pi", "infty", "mathbb", "overline", "vec", "hat", "bar", "angle", "triangle", "widehat"}
_STARTS = {*_FRACTIONS, *_NAMES, *FUNCTIONS, *GREEK, "sqrt", "binom", "dbinom", "tbinom", "lfloor", "lceil", "lvert"}
_ARC = {"sin": "arcsin", "cos": "arccos", "tan": "arctan"}
_COUNTED = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
_PROSE = re.compile(r"[A-Za-z]{2,}(?:[ ,'-]+[A-Za-z]+)*[.!]?")


@lru_cache(maxsize=512)
def read(text: str) -> Node:
    r"""The form of an answer. Raises NotUnderstood.

    >>> read(r"\left[0, \dfrac12\right)").kind
    '[)'
    """
    words = text.lower().strip(" .!").split()
    if len(words) == 1 and words[0] in _COUNTED:
        return Num(Fraction(_COUNTED.index(words[0])))
    if _PROSE.fullmatch(text.strip()) and len("".join(words)) > 3 and not COMMANDS & {*words}:
        return Words(" ".join(words))
    parser = _Parser(tokens_of(text))
    node = parser.answer()
    if parser.next()[0] != "end":
        raise NotUnderstood(f"what is {parser.next()[1]!r}?")
    return node


def is_value(node: Node) -> bool:
    """Whether it is a number or an expression: no list, no equation, no words."""
    return isinstance(node, Num | Name | Marked) or (isinstance(node, Call) and node.op not in ("cup", "ratio"))


class _Parser:
    def __init__(self, tokens: list[Token]) -> None:
        self.tokens = tokens
        self.at = 0
        self.depth = 0
        self.in_bars = False

    def next(self, ahead: int = 0) -> Token:
        place = self.at + ahead
        return self.tokens[place] if place < len(self.tokens) else ("end", "")

    def op(self, *wanted: str) -> bool:
        kind, value = self.next()
        return kind == "op" and value in wanted

    def cmd(self, *wanted: str) -> bool:
        kind, value = self.next()
        return kind == "cmd" and value in wanted

    def take(self) -> Token:
        token = self.next()
        if token[0] == "end":
            raise NotUnderstood("it ends too early")
        self.at += 1
        return token

    def expect(self, token: Token) -> None:
        if self.take() != token:
            raise NotUnderstood(f"{token[1]!r} is missing")

    def answer(self) -> Node:
        """Items by comma, semicolon, "and", "or"; "p=5, q=2; p=7, q=2" is a list of two pairs."""
        groups: list[list[Node]] = [[]]
        while self.next()[0] != "end":
            groups[-1].append(self.relation())
            found, another = self.separator()
            if not found:
                break
            if another:
                groups.append([])
        groups = [g for g in groups if g]
        if not groups:
            raise NotUnderstood("nothing is there")
        if len(groups) > 1 and len({len(g) for g in groups}) == 1 and len(groups[0]) > 1:
            return Row("", tuple(Row("()", tuple(g)) for g in groups))
        items = tuple(n for g in groups for n in g)
        return items[0] if len(items) == 1 else Row("", items)

    def separator(self) -> tuple[bool, bool]:
        """Takes what stands between two items: (whether there was any, whether it begins another group)."""
        found = another = comma = False
        while True:
            kind, value = self.next()
            if kind == "op" and value in ",;":
                comma = True
                another |= value == ";"
            elif kind == "words" and value in JOINS:
                another |= not comma  # in "1, 2, and 3" it only closes the list
            elif not self.cmd("quad", "qquad") and not (value == "." and self.next(1)[0] == "end"):
                return found, another
            found = True
            self.at += 1

    def relation(self) -> Node:
        if self.op("=") or self.cmd("approx"):
            self.at += 1  # "= 5"
        sides = [self.union()]
        signs = []
        while self.next()[0] in ("op", "cmd") and self.next()[1] in _RELATIONS:
            sign = _RELATIONS[self.take()[1]]
            side = self.union()
            if sign == "approx" and not isinstance(sides[-1], Name):
                continue  # of "1/3, about 0.33" the exact side counts
            signs.append("=" if sign == "approx" else sign)
            sides.append(side)
        return Relation(tuple(sides), tuple(signs)) if signs else sides[0]

    def union(self) -> Node:
        parts = [self.ratio()]
        while self.cmd("cup"):
            self.at += 1
            parts.append(self.ratio())
        return Call("cup", tuple(parts)) if len(parts) > 1 else parts[0]

    def ratio(self) -> Node:
        parts = [self.sum()]
        while self.op(":"):
            self.at += 1
            parts.append(self.sum())
        return Call("ratio", tuple(parts)) if len(parts) > 1 else parts[0]

    def sum(self) -> Node:
        self.depth += 1
        if self.depth > _MAX_DEPTH:
            raise NotUnderstood("too deep")
        terms: list[Node] = []
        signed = False
        while True:
            sign = self.next()[1] if self.op("+", "-") or self.cmd("pm", "mp") else ""
            if terms and not sign:
                break
            if sign:
                self.at += 1
                signed = True
            term = self.term()
            if signed:
                _values(term, *terms[:1])
            ops = {"-": "neg", "pm": "pm", "mp": "mp"}
            terms.append(Call(ops[sign], (term,)) if sign in ops else term)
        self.depth -= 1
        return terms[0] if len(terms) == 1 else Call("+", tuple(terms))

    def term(self) -> Node:
        node = self.signed()
        while True:
            if self.op("*", "/") or self.cmd("cdot", "times", "div", "ast"):
                divided = self.take()[1] in ("/", "div")
                other = self.signed()
                node = Call("/", _values(node, other)) if divided else _product(node, other)
            elif self.next()[0] == "words" and self.next()[1] not in JOINS:
                node = self.marked(node)
            elif self.starts():
                node = _product(node, self.factor())
            else:
                return node

    def starts(self) -> bool:
        kind, value = self.next()
        if kind == "op":
            return value in "([{" or (value == "|" and not self.in_bars)
        return kind in ("num", "name") or (kind == "cmd" and value in _STARTS)

    def marked(self, node: Node) -> Node:
        words = []
        while self.next()[0] == "words" and self.next()[1] not in JOINS:
            words.append(self.take()[1])
        if self.op("^"):
            self.at += 1
            exponent = self.exponent()
            if not isinstance(exponent, Num):
                raise NotUnderstood("a unit to that power")
            words[-1] += str(exponent.value)
        if isinstance(node, Words):
            return Words(" ".join([node.text, *words]))
        return Marked(_values(node)[0], " ".join(words))

    def signed(self) -> Node:
        if not self.op("-", "+"):
            return self.factor()
        negative = False
        while self.op("-", "+"):
            negative ^= self.take()[1] == "-"
        node = _values(self.factor())[0]
        return Call("neg", (node,)) if negative else node

    def factor(self) -> Node:
        node = self.base()
        while True:
            if self.op("^", "**"):
                self.at += 1
                braced = self.op("{") and self.next(1) == ("cmd", "circ")
                self.at += braced
                if self.cmd("circ"):
                    self.at += 1
                    node = Marked(_values(node)[0], "deg")
                    if braced:
                        self.expect(("op", "}"))
                else:
                    node = Call("^", _values(node, self.exponent()))
                    if self.op("^", "**"):
                        raise NotUnderstood("a power of a power without brackets")
            elif self.op("!"):
                self.at += 1
                node = Call("!", _values(node))
            elif self.op("%") or self.cmd("%", "degree", "degrees"):
                node = Marked(_values(node)[0], "%" if self.take()[1] == "%" else "deg")
            elif self.op("_") and isinstance(node, Num):
                node = self.based()
            else:
                return node

    def based(self) -> Node:
        digits = self.tokens[self.at - 1][1]
        self.at += 1
        base = self.argument()
        if not isinstance(base, Num) or not digits.isdigit() or not 2 <= base.value <= 36:
            raise NotUnderstood("a subscript of a number")
        return Based(digits.lstrip("0") or "0", int(base.value))

    def exponent(self) -> Node:
        if self.op("{"):
            return self.group()
        if self.op("-", "+"):
            negative = self.take()[1] == "-"
            inner = self.base()
            return Call("neg", (inner,)) if negative else inner
        return self.base()

    def group(self) -> Node:
        self.expect(("op", "{"))
        node = self.sum()
        self.expect(("op", "}"))
        return node

    def argument(self) -> Node:
        r"""An argument of \frac: in braces, or one digit or letter, as TeX has it."""
        if self.op("{"):
            return self.group()
        kind, value = self.next()
        if kind != "num" or not value.isdigit():
            return self.base()
        if len(value) > 1:
            self.tokens[self.at] = (kind, value[1:])
        else:
            self.at += 1 + (self.next(1)[0] == "gap")
        return number(value[0])

    def base(self) -> Node:
        self.depth += 1
        if self.depth > _MAX_DEPTH:
            raise NotUnderstood("too deep")
        node = self.start()
        self.depth -= 1
        return node

    def start(self) -> Node:
        kind, value = self.take()
        if kind == "num":
            return self.mixed(number(value))
        if kind == "name":
            return self.name(value)
        if kind == "words":
            return Words(value.strip(".!"))
        if kind == "env":
            return self.matrix(value)
        if kind == "cmd":
            return self.command(value)
        if kind == "op" and value in "([":
            return self.bracketed(value)
        if kind == "op" and value == "{":
            items = self.items()
            self.expect(("op", "}"))
            return items[0] if len(items) == 1 else Row("{}", items)
        if kind == "op" and value == "|":
            return self.bars(("op", "|"))
        raise NotUnderstood(f"{value!r} at the start of a value")

    def mixed(self, whole: Num) -> Num:
        r"""2\frac{1}{2}, 2 1/2, and 1 000; other numbers in a row are no product."""
        if whole.decimal or not (self.next()[0] == "gap" or self.cmd(*_FRACTIONS)):
            return whole
        if self.next()[0] == "gap":
            self.at += 1
            top = self.take()[1]
            if self.op("/") and self.next(1)[0] == "num":
                self.at += 1
                part = _proper(number(top), number(self.take()[1]))
                if part is not None:
                    return Num(whole.value + part)
            elif len(top.partition(".")[0]) == 3 and whole.value < 1000:
                return Num(whole.value * 1000 + Fraction(top), "." in top)
            raise NotUnderstood("numbers in a row")
        start, kept = self.at, self.tokens[self.at :]
        self.at += 1
        part = _proper(self.argument(), self.argument())
        if part is not None:
            return Num(whole.value + part)
        self.at, self.tokens[start:] = start, kept
        return whole

    def name(self, letter: str) -> Node:
        name = letter
        if self.op("_"):
            self.at += 1
            name += "_" + self.raw()
        while self.op("'"):
            name += self.take()[1]
        if letter in "fghFG" and self.op("("):
            # The value of an unknown function: a name of its own for each argument.
            start = self.at
            self.at += 1
            self.bracketed("(")
            return Name(name + "".join(t[1] for t in self.tokens[start : self.at]))
        return Name(name)

    def raw(self) -> str:
        """The text of the next token, or of a group in braces, as it stands."""
        if not self.op("{"):
            return self.take()[1]
        start, depth = self.at + 1, 0
        while True:
            token = self.take()
            depth += (token == ("op", "{")) - (token == ("op", "}"))
            if depth == 0:
                return "".join(t[1] for t in self.tokens[start : self.at - 1])

    def items(self) -> tuple[Node, ...]:
        bars, self.in_bars = self.in_bars, False
        items = [self.relation()]
        while self.op(",", ";"):
            self.at += 1
            items.append(self.relation())
        self.in_bars = bars
        return tuple(items)

    def bracketed(self, opened: str) -> Node:
        items = self.items()
        kind, closed = self.take()
        if kind != "op" or closed not in ")]":
            raise NotUnderstood("a bracket is not closed")
        if len(items) > 1:
            return Row(opened + closed, items)
        if opened + closed not in ("()", "[]"):
            raise NotUnderstood("brackets that do not fit")
        return items[0]

    def bars(self, closing: Token) -> Node:
        before, self.in_bars = self.in_bars, True
        node = self.sum()
        self.in_bars = before
        self.expect(closing)
        return Call("abs", _values(node))

    def matrix(self, opening: str) -> Node:
        if not opening.startswith("\\begin") or "{v" in opening or "{V" in opening:
            raise NotUnderstood("a determinant")
        rows: list[tuple[Node, ...]] = []
        cells: list[Node] = []
        while True:
            cells.append(self.sum())
            kind, value = self.take()
            if (kind, value) == ("op", "&"):
                continue
            rows.append(tuple(cells))
            cells = []
            if kind == "break" and self.next()[0] == "env":
                kind, value = self.take()
            if kind == "env" and value.startswith("\\end"):
                break
            if kind != "break":
                raise NotUnderstood(f"{value!r} in a matrix")
        if len({len(r) for r in rows}) != 1:
            raise NotUnderstood("rows of different length")
        return Matrix(tuple(rows))

    def command(self, name: str) -> Node:
        if name in _FRACTIONS:
            return Call("/", _values(self.argument(), self.argument()))
        if name == "sqrt":
            degree: Node = Num(Fraction(2))
            if self.op("["):
                self.at += 1
                degree = self.sum()
                self.expect(("op", "]"))
            return Call("root", _values(self.group() if self.op("{") else self.base(), degree))
        if name in ("binom", "dbinom", "tbinom"):
            return Call("binom", _values(self.argument(), self.argument()))
        if name in FUNCTIONS:
            return self.function(name)
        if name in GREEK:
            return self.name(f"{name} ")
        if name in ("pi", "infty"):
            return Name(name)
        if name in ("emptyset", "varnothing"):
            return Row("{}", ())
        if name == "{":
            items = () if self.cmd("}") else self.items()
            self.expect(("cmd", "}"))
            return Row("{}", items)
        if name in ("lvert", "|", "vert"):
            return self.bars(("cmd", "rvert" if name == "lvert" else name))
        if name in ("lfloor", "lceil"):
            node = self.sum()
            self.expect(("cmd", "r" + name[1:]))
            return Call(name[1:], _values(node))
        if name in _NAMES:
            return Name(f"{name} {self.raw()}")
        raise NotUnderstood(f"\\{name}")

    def function(self, name: str) -> Node:
        r"""A function and what it is of: \sin^2 x, \log_2(8), \sin 2x \cos y."""
        power = base = None
        while self.op("^", "_"):
            if self.take()[1] == "^":
                power = self.exponent()
            else:
                base = self.argument()
        if self.op("(", "{"):
            of = self.group() if self.op("{") else self.base()
        else:
            of = self.signed()
            while self.starts() and not self.op("(", "[", "|") and not self.cmd(*FUNCTIONS):
                of = Call("*", _values(of, self.factor()))
        if power == Call("neg", (Num(Fraction(1)),)) and name in _ARC:
            name, power = _ARC[name], None
        node = Call(name, _values(of) if base is None else _values(of, base))
        return node if power is None else Call("^", (node, power))


def _values(*nodes: Node) -> tuple[Node, ...]:
    """The nodes, all of which have to be values."""
    if not all(map(is_value, nodes)):
        raise NotUnderstood("calculating with what is no number")
    return nodes


def _product(left: Node, right: Node) -> Node:
    """A product of many factors is one node, not a chain of them."""
    factors = left.args if isinstance(left, Call) and left.op == "*" else (left,)
    return Call("*", _values(*factors, right))


def _proper(top: Node, bottom: Node) -> Fraction | None:
    """A fraction of two whole numbers below one, as the second half of a mixed number; None for any other."""
    if isinstance(top, Num) and isinstance(bottom, Num) and top.value < bottom.value:
        value = top.value / bottom.value
        return None if top.decimal or bottom.decimal else value
    return None
