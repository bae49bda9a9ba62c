"""The forms that final answers have: numbers, expressions, lists, sets, intervals, equations, words.

Here are the nodes of a form and the tokens that it is written in; `grammar` reads it, `equality` compares two.
"""

import re
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

#: Tokens of a formula that are read; a final answer is shorter.
MAX_TOKENS: Final = 1_000
#: Decimal places that a number in scientific notation may move its point.
MAX_EXPONENT: Final = 400


class NotUnderstood(Exception):
    """The text is in no form that is known here."""


@dataclass(frozen=True, slots=True)
class Num:
    """A number; `decimal` where it was written with a decimal point, and may have been rounded."""

    value: Fraction
    decimal: bool = False


@dataclass(frozen=True, slots=True)
class Name:
    """A variable, or a constant such as pi; a subscript belongs to the name."""

    name: str


@dataclass(frozen=True, slots=True)
class Call:
    """An operation or a function on its arguments: `+ * / ^ neg pm mp abs root ! binom ratio cup sin log ...`."""

    op: str
    args: tuple["Node", ...]


@dataclass(frozen=True, slots=True)
class Marked:
    """A value with what is written behind it: "%", "deg", or words such as a unit."""

    value: "Node"
    mark: str


@dataclass(frozen=True, slots=True)
class Row:
    """Items between brackets: a tuple or vector `()`, an interval `(]`, a set `{}`, or a bare list ''."""

    kind: str
    items: tuple["Node", ...]


@dataclass(frozen=True, slots=True)
class Matrix:
    """Rows of cells."""

    rows: tuple[tuple["Node", ...], ...]


@dataclass(frozen=True, slots=True)
class Relation:
    """Sides with the signs between them: `1 < x <= 2` has three sides and two signs."""

    sides: tuple["Node", ...]
    signs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Words:
    """An answer in words, in lower case."""

    text: str


@dataclass(frozen=True, slots=True)
class Based:
    """Digits in another base than ten."""

    digits: str
    base: int


Node = Num | Name | Call | Marked | Row | Matrix | Relation | Words | Based
#: (kind, text); the kinds are num, gap (space between two numbers), name, words, cmd, env, break, op and unsure.
Token = tuple[str, str]

GREEK: Final = {
    *("alpha", "beta", "gamma", "delta", "epsilon", "varepsilon", "zeta", "eta", "theta", "vartheta", "iota", "kappa"),
    *("lambda", "mu", "nu", "xi", "rho", "sigma", "tau", "upsilon", "phi", "varphi", "chi", "psi", "omega", "Gamma"),
    *("Delta", "Theta", "Lambda", "Xi", "Pi", "Sigma", "Phi", "Psi", "Omega", "ell", "hbar"),
}
FUNCTIONS: Final = {
    *("sin", "cos", "tan", "cot", "sec", "csc", "arcsin", "arccos", "arctan", "sinh", "cosh", "tanh"),
    *("ln", "log", "lg", "exp"),
}
#: Commands that are also written without their backslash.
COMMANDS: Final = {*FUNCTIONS, "sqrt", "pi", "infty", "infinity"}
JOINS: Final = {"and", "or", "和", "或"}

# Each sign and the command that it stands for.
_TABLE = r"""
    π \pi ∞ \infty × \times · \cdot ⋅ \cdot ÷ \div ≤ \le ≥ \ge ≠ \ne ∪ \cup ∈ \in ± \pm ∓ \mp √ \sqrt ≈ \approx
    ° ^\circ ² ^2 ³ ^3 ∅ \emptyset ℝ \mathbb{R} ⟨ ( ⟩ ) 、 , – - θ \theta α \alpha β \beta λ \lambda
    \lbrace \{ \rbrace \} \lbrack [ \rbrack ] \langle ( \rangle )
"""
_SPLIT = _TABLE.split()
_WRITTEN = {sign: f"{command} " for sign, command in zip(_SPLIT[::2], _SPLIT[1::2], strict=True)}
_WRITTEN_AS = re.compile("|".join(re.escape(w) + ("(?![A-Za-z])" if w[0] == "\\" else "") for w in _WRITTEN))
# A formula that was escaped once too often, as in JSON.
_ESCAPED = re.compile(
    r"\\\\(?=(?:[dt]?frac|sqrt|left|right|text|times|cdot|pi|infty|leq?|geq?|in|cup|pm|sin|cos|ln|log)(?![A-Za-z]))"
)
_SPACING = re.compile(
    r"\\(?:left|right|displaystyle|textstyle|limits|bigl?|bigr?|Bigl?|Bigr?|biggl?|biggr?|Biggl?|Biggr?)(?![A-Za-z])\.?"
    r"|(?<!\\)\\[!,;: ]|\\?\$|~"
)
_GROUPED = re.compile(r"(?<=\d)(?:\{,\}|,\\!|\\!,|\\,|,\s?\\!\s?)(?=\s?\d{3}(?!\d))\s?")
_THOUSANDS = re.compile(r"(?<![\d.,])\d{1,3}(?:,\d{3})+(?!\d|,\d)")
_TEXT = re.compile(
    r"\\(?:text|mbox|hbox|textrm|textbf|textit|textnormal|mathrm|mathbf|mathit|mathsf|bm|boldsymbol|operatorname)\*?"
    r"\s*\{([^{}]*)\}"
)
_TOKEN = re.compile(
    r"(?P<space>\s+)|(?P<num>(?:\d+(?:\.\d+)?|\.\d+)(?:[eE][-+]?\d+(?![A-Za-z\d]))?)"
    r"|(?P<break>\\\\(?:\[[^\]]*\])?)"
    r"|(?P<env>\\(?:begin|end)\s*\{(?:[pbBvV]?matrix|array|smallmatrix)\}(?:\s*\{[lcr| ]*\})?)"
    r"|\\(?P<cmd>[A-Za-z]+|[{}%|])|(?P<words>\x01[^\x01]*\x01)|(?P<letters>[A-Za-z]+)|(?P<op><=|>=|!=|\*\*|.)",
    re.DOTALL,
)
_SHORT_UNITS = {
    "cm",
    "mm",
    "km",
    "kg",
    "mg",
    "ft",
    "in",
    "mi",
    "lb",
    "lbs",
    "min",
    "sec",
    "hr",
    "hrs",
    "mph",
    "am",
    "pm",
}


def tokens_of(text: str) -> list[Token]:
    """The tokens of a formula; delimiters, spacing and sizes are none. Raises NotUnderstood for too many."""
    text = _WRITTEN_AS.sub(lambda m: _WRITTEN[m[0]], text)
    text = _ESCAPED.sub(r"\\", text)
    text = _without_thousands(_GROUPED.sub("", text))
    text = _SPACING.sub(" ", text)
    for _ in range(3):
        text, found = _TEXT.subn(_inside_text, text)
        if not found:
            break
    tokens: list[Token] = []
    space = False
    for match in _TOKEN.finditer(text):
        kind = str(match.lastgroup)
        value = match[kind]
        if kind == "space":
            space = True
            continue
        if kind == "num" and space and tokens and tokens[-1][0] == "num":
            tokens.append(("gap", " "))
        space = False
        if kind == "letters":
            tokens += _letters(value)
        elif kind == "words":
            tokens.append((kind, value.strip("\x01").lower()))
        else:
            tokens.append((kind, value))
        if len(tokens) > MAX_TOKENS:
            raise NotUnderstood("too long")
    return tokens


def number(text: str) -> Num:
    """A number as it is written: 12, .5, 3.2e-5."""
    digits, exponent, power = text.lower().partition("e")
    if exponent and abs(int(power)) > MAX_EXPONENT:
        raise NotUnderstood("an exponent that large")
    return Num(Fraction(digits) * Fraction(10) ** int(power or 0), "." in digits or bool(exponent))


def _without_thousands(text: str) -> str:
    """Commas between groups of three digits go; between brackets they separate items."""
    if "," not in text:
        return text

    def plain(match: re.Match[str]) -> str:
        before = text[: match.start()]
        opened = sum(map(before.count, ("(", "[", "\\{"))) - sum(map(before.count, (")", "]", "\\}")))
        return match[0] if opened > 0 else match[0].replace(",", "")

    return _THOUSANDS.sub(plain, text)


def _inside_text(match: re.Match[str]) -> str:
    r"""What stands in \text{}: words, or formula again where it holds digits, one letter or what joins two items."""
    inner = match[1].strip()
    if not inner:
        return " "
    if re.fullmatch(r"-?[\d ]+", inner):
        return " " + inner.replace(" ", "") + " "  # \mathbf{1 6 2}
    if re.fullmatch(r"\(?[A-Za-z]\)?|[\d.,:/\s$-]+", inner) or inner in COMMANDS or inner in JOINS:
        return f" {inner} "
    if re.search(r"\d", inner):
        return f" {inner} "
    return f" \x01{inner}\x01 "


def _letters(run: str) -> list[Token]:
    """A run of letters: a function, a word, or variables in a product."""
    if run in COMMANDS:
        return [("cmd", "infty" if run == "infinity" else run)]
    if run in JOINS or len(run) > 3 or run.lower() in _SHORT_UNITS:
        return [("words", run.lower())]
    # "abc" may be a product or a word: its letters do not tell.
    return [("unsure", run)] if len(run) == 3 else [("name", c) for c in run]
