"""The structure of replies by their lines: code blocks, headings, lists, tables."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from dataengine.filters.bits import Bits, Bytes, Mask, Numbers

#: Lines indented deeper than so many characters are no structure.
DEEPEST = 16

_FENCE, _HEADING, _BULLET, _DOT, _DIGIT, _BAR = range(1, 7)
_BLANK = np.zeros(256, dtype=np.bool_)
_BLANK[[ord(" "), ord("\t")]] = True
_KINDS = np.zeros(256, dtype=np.uint8)
for _kind, _signs in enumerate((b"`~", b"#", b"-*+", b"\xe2", b"0123456789", b"|"), 1):
    _KINDS[list(_signs)] = _kind


@dataclass(frozen=True)
class Lines:
    """Lines of UTF-8 text: what stands between the line breaks at `breaks` of `data`.

    The text consists of pieces; `first` is the first line of each.

    Three more bytes may be looked at after the end of the last.
    """

    data: Bytes
    breaks: Numbers
    first: Numbers

    @cached_property
    def begin(self) -> Numbers:
        """Where each line begins."""
        return self.breaks[:-1] + 1

    @property
    def end(self) -> Numbers:
        """Where each ends."""
        return self.breaks[1:]

    @cached_property
    def piece(self) -> Numbers:
        """The piece of each."""
        return np.repeat(np.arange(len(self.first)), np.diff(self.first, append=len(self.begin)))

    def count(self, bits: Bits) -> Numbers:
        """How many positions of a set, which has no line break, each line has."""
        return np.diff(bits.before(self.breaks))

    def at(self, offset: int) -> int:
        """The line that a byte lies in."""
        return int(np.searchsorted(self.begin, offset, side="right")) - 1

    def last_of(self, piece: int) -> int:
        """The last line of a piece."""
        return int(self.first[piece + 1]) - 1 if piece + 1 < len(self.first) else len(self.begin) - 1


@dataclass(frozen=True)
class Structure:
    """Lines by what they are, as indices, ascending. A line in a code block (`code`) is nothing else.

    `items` are bullets and numbered lines, `numbered` the latter alone; a table is told by the line under its head.
    `blocks` are the code blocks, fences included: (first line, last line), one a row.
    """

    blocks: Numbers
    code: Mask
    headings: Numbers
    items: Numbers
    numbered: Numbers
    tables: Numbers


def structure(lines: Lines) -> Structure:
    """The structure of lines, after CommonMark, told by each line's first characters."""
    data, at = lines.data, lines.begin.copy()
    indented = np.flatnonzero(_BLANK[data[at]])
    for _ in range(DEEPEST):
        at[indented] += 1
        indented = indented[_BLANK[data[at[indented]]]]
    kinds = _KINDS[data[at]]
    first = {kind: np.flatnonzero(kinds == kind) for kind in range(1, 7)}
    blocks = np.array(list(_blocks(lines, first[_FENCE], at)), dtype=np.int64).reshape(-1, 2)
    edges = np.zeros(len(at) + 1, dtype=np.int8)
    edges[blocks[:, 0]] += 1
    edges[blocks[:, 1] + 1] -= 1
    code = np.cumsum(edges[:-1], dtype=np.int8) > 0

    def told(kind: int, holds: Mask) -> Numbers:
        chosen = first[kind][holds]
        return chosen[~code[chosen]]

    headings = told(_HEADING, _heading(lines, at[first[_HEADING]]))
    numbered = told(_DIGIT, _numbered(lines, at[first[_DIGIT]]))
    bullets = told(_BULLET, data[at[first[_BULLET]] + 1] == ord(" "))
    dots = told(_DOT, (data[at[first[_DOT]] + 1] == 0x80) & (data[at[first[_DOT]] + 2] == 0xA2))  # •
    tables = told(_BAR, _table(lines, at[first[_BAR]]))
    return Structure(blocks, code, headings, np.sort(np.concatenate((numbered, bullets, dots))), numbered, tables)


def _heading(lines: Lines, at: Numbers) -> Mask:
    """Up to six `#` and a space."""
    for _ in range(6):
        at = at + (lines.data[at] == ord("#"))
    holds: Mask = lines.data[at] == ord(" ")
    return holds


def _numbered(lines: Lines, at: Numbers) -> Mask:
    """`1. `, `12) `, `3、`."""
    data = lines.data
    for _ in range(3):
        at = at + ((data[at] >= ord("0")) & (data[at] <= ord("9")))
    dot = ((data[at] == ord(".")) | (data[at] == ord(")"))) & (data[at + 1] == ord(" "))
    holds: Mask = dot | (data[at] == 0xE3) & (data[at + 1] == 0x80) & (data[at + 2] == 0x81)
    return holds


def _table(lines: Lines, at: Numbers) -> Mask:
    """`|---|` and `| :--- |`, which only tables have: a formula may begin with a bar."""
    data, at = lines.data, at + 1
    at = at + (data[at] == ord(" "))
    at = at + (data[at] == ord(":"))
    holds: Mask = (data[at] == ord("-")) & (data[at + 1] == ord("-"))
    return holds


def _blocks(lines: Lines, fences: Numbers, at: Numbers) -> Iterator[tuple[int, int]]:
    """First and last line of each code block; one that is never closed runs to the end of its piece.

    Whether a fence opens or closes depends on all before it, so that these few lines are taken one by one.
    """
    opened, piece, mark = -1, -1, b""
    places = zip(
        fences.tolist(), lines.piece[fences].tolist(), at[fences].tolist(), lines.end[fences].tolist(), strict=True
    )
    for line, within, start, end in places:
        if opened >= 0 and within != piece:
            yield opened, lines.last_of(piece)
            opened = -1
        told = lines.data[start:end].tobytes().rstrip()
        rest = told.lstrip(told[:1])
        fence = told[: len(told) - len(rest)]
        # "```x```" on one line is no block.
        if opened < 0 and len(fence) >= 3 and b"`" not in rest:
            opened, piece, mark = line, within, fence
        elif opened >= 0 and not rest and fence.startswith(mark):
            yield opened, line
            opened = -1
    if opened >= 0:
        yield opened, lines.last_of(piece)
