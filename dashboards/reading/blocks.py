"""A text in blocks: paragraphs, and code between fences as one; together they are the whole text."""

import re
from typing import Final, NamedTuple

#: Longer blocks are cut, so that the browser need not lay out megabytes at once; what is cut is not rendered.
MAX_BLOCK: Final = 8_000
#: After so many blocks the rest is cut by length alone.
MAX_BLOCKS: Final = 3_000
_BLANK: Final = re.compile(r"\n(?:[ \t\r]*\n)+")
_FENCE: Final = re.compile(r"^ {0,3}(`{3,}|~{3,})[^\n]*$", re.MULTILINE)


class Block(NamedTuple):
    """One block of a text: from `start` to before `end` in code points, blank lines after it included."""

    start: int
    end: int
    #: Whether it is a piece of something longer that had to be cut.
    cut: bool = False


def blocks(text: str, borders: tuple[int, ...] = ()) -> list[Block]:
    """The blocks of `text` in order, without gaps; at each of `borders` one begins."""
    edges = sorted({b for b in borders if 0 < b < len(text)})
    out: list[Block] = []
    for start, end in zip([0, *edges], [*edges, len(text)], strict=True):
        _paragraphs(text, start, end, out)
    return out


def _paragraphs(text: str, start: int, end: int, out: list[Block]) -> None:
    at = search = start
    blank = _BLANK.search(text, search, end)
    while at < end:
        if len(out) >= MAX_BLOCKS:
            _cut(text, at, end, out, whole=False)
            return
        if blank and blank.start() < search:
            blank = _BLANK.search(text, search, end)
        stop = blank.end() if blank else end
        fence = _FENCE.search(text, search, stop)
        if fence:
            close = re.compile(rf"^ {{0,3}}{fence[1][0]}{{{len(fence[1])},}}[ \t\r]*$", re.MULTILINE)
            closing = close.search(text, fence.end(), end)
            search = closing.end() if closing else end
            if search < end and search - at < 10 * MAX_BLOCK:
                continue
            stop = search
        _cut(text, at, stop, out, whole=True)
        at = search = stop


def _cut(text: str, start: int, end: int, out: list[Block], *, whole: bool) -> None:
    """Appends one block, or several when it is too long: cut behind a line, else a space, else anywhere."""
    if whole and end - start <= MAX_BLOCK:
        out.append(Block(start, end))
        return
    while start < end:
        stop = min(start + MAX_BLOCK, end)
        if stop < end:
            stop = (
                (text.rfind("\n", start + MAX_BLOCK // 2, stop) + 1)
                or (text.rfind(" ", start + MAX_BLOCK // 2, stop) + 1)
                or stop
            )
        out.append(Block(start, stop, cut=True))
        start = stop
