"""Blanks what belongs to no language: code, LaTeX, URLs, tags, quoted terms."""

import re

from dataengine.filters.scripts import LATIN_LETTERS
from dataengine.filters.terms import QUOTES, quoted

# Inside a word these marks are an apostrophe or a sign of feet and inches, or they close.
_AT_EDGE = rf"(?<![0-9{LATIN_LETTERS}].)(?=\S)"
# Each alternative begins with a letter of its own: then the search skips to the next of them.
_OPEN = re.compile(
    r"```|~~~|`|\$\$|\$|\\\(|\\\[|\\begin\{|\\[A-Za-z]+|https?://\S+|www\.\S+|@\S+|</?\w{1,20}[^<>\n]{0,200}>"
    + rf"|'(?![0-9]){_AT_EDGE}"
    + "".join(f"|{mark}" if mark in "「『《〈«" else f"|{mark}{_AT_EDGE}" for mark in QUOTES if mark != "'")
)
# What ends the reasoning ends all that was open in it.
_END = re.compile(r"</think>|\|special_token\|")
_CLOSE = {"\\(": "\\)", "\\[": "\\]"}


def masked(text: str) -> str:
    """`text`, of the same length, with code, LaTeX, URLs, tags and quoted terms blanked; other line breaks stay."""
    parts: list[str] = []
    at = 0
    for end in _END.finditer(text):
        parts += (_masked(text[at : end.start()]), "\n" * len(end.group()))
        at = end.end()
    return "".join([*parts, _masked(text[at:])])


def _masked(text: str) -> str:
    out: list[str] = []
    at = 0
    never: set[str] = set()  # closing marks that do not come again
    while (opening := _OPEN.search(text, at)) is not None:
        mark, start, end = opening.group(), opening.start(), opening.end()
        if mark in QUOTES:
            end = quoted(text, mark, end)
        elif mark in ("`", "$"):
            end = _inline(text, mark, end)
        elif mark in ("```", "~~~", "$$", *_CLOSE) or mark == "\\begin{":
            end = _block(text, mark, end, never)
        out.append(text[at:start])
        # A blanked block ends a sentence only where it has lines of its own.
        out.append(" " * (end - start) if mark not in ("```", "~~~") else "\n" * (end - start))
        at = end
    out.append(text[at:])
    return "".join(out)


def _inline(text: str, mark: str, at: int) -> int:
    """The end of `code` or $math$ that opened just before `at`, on its line; `at` itself where it is no such thing."""
    close = text.find(mark, at)
    if close < 0 or text.find("\n", at, close) >= 0:
        return at
    # "$5 and $10": a formula neither begins nor ends with a space, and no digit follows it.
    money = mark == "$" and (text[at].isspace() or text[close - 1].isspace() or text[close + 1 : close + 2].isdigit())
    return at if money or close == at else close + 1


def _block(text: str, mark: str, at: int, never: set[str]) -> int:
    if mark == "\\begin{":
        name = text[at : at + 40].partition("}")[0]
        close = "\\end{" + name + "}"
    else:
        close = _CLOSE.get(mark, mark)
    if close in never or len(never) > 100:
        return at
    end = text.find(close, at)
    if end < 0:
        never.add(close)
        # A fence that is never closed runs to the end, as it is shown.
        return len(text) if mark in ("```", "~~~") else at
    return end + len(close)
