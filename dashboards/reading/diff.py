"""What an edit changed, word by word: bounded work, so that any two texts can be compared while a person waits."""

import re
from collections.abc import Sequence
from typing import Final, Literal, NamedTuple

from dashboards.reading.exact import exact_html

_TOKEN: Final = re.compile(r"\n|[^\S\n]+|\w+|[^\w\s]")
_LINE: Final = re.compile(r"[^\n]*\n|[^\n]+")
#: Differences (tokens put in or taken out) up to which a passage is compared word by word; together, and by line.
_MOST: Final = 600
_MOST_LINES: Final = 800
_STEPS: Final = 1_500_000


Kind = Literal["=", "-", "+"]


class Change(NamedTuple):
    """A run of text that both have ("="), only the first has ("-"), or only the second has ("+")."""

    kind: Kind
    text: str


class Sizes(NamedTuple):
    """How much was put in and taken out, in characters and words."""

    added: int
    removed: int
    words_added: int
    words_removed: int


def changes(before: str, after: str) -> list[Change]:
    """The way from `before` to `after`: first by line, then by word within what changed.

    What "=" and "-" hold is `before`, what "=" and "+" hold is `after`. A passage with too many differences is given
    as a whole taken out and a whole put in.

    >>> changes("the sum is 4", "the sum is 5")
    [Change(kind='=', text='the sum is '), Change(kind='-', text='4'), Change(kind='+', text='5')]
    """
    out: list[Change] = []
    steps = [_STEPS]
    a, b = _LINE.findall(before), _LINE.findall(after)
    removed: list[str] = []
    added: list[str] = []
    found = _compare(a, b, _MOST_LINES, steps)
    for kind, line in [*found, ("=", "")]:
        if kind == "=":
            if removed or added:
                old, new = _TOKEN.findall("".join(removed)), _TOKEN.findall("".join(added))
                out += [Change(k, t) for k, t in _compare(old, new, _MOST, steps)]
                removed, added = [], []
            out.append(Change("=", line))
        else:
            (removed if kind == "-" else added).append(line)
    return _joined(out)


def sizes(found: Sequence[Change]) -> Sizes:
    """How much changed."""
    added = [c.text for c in found if c.kind == "+"]
    removed = [c.text for c in found if c.kind == "-"]

    def words(texts: list[str]) -> int:
        return sum(len(t.split()) for t in texts)

    return Sizes(sum(map(len, added)), sum(map(len, removed)), words(added), words(removed))


def diff_html(before: str, after: str, *, context: int = 120) -> str:
    """The changes as HTML (`<ins>`, `<del>`); longer passages without a change are cut to `context` at both ends."""
    out, frames = [], [2_000]
    found = changes(before, after)
    for i, (kind, text) in enumerate(found):
        if kind != "=":
            tag = "ins" if kind == "+" else "del"
            out.append(f"<{tag}>{exact_html(text, frames)}</{tag}>")
            continue
        head = context if i else 0
        tail = context if i < len(found) - 1 else 0
        if len(text) > head + tail + 40:
            gap = f'<span class="gap">{len(text) - head - tail:,} characters unchanged</span>'
            rest = exact_html(text[-tail:], frames) if tail else ""
            out.append(exact_html(text[:head], frames) + gap + rest)
        else:
            out.append(exact_html(text, frames))
    return "".join(out) if any(c.kind != "=" for c in found) else ""


def _compare(a: Sequence[str], b: Sequence[str], most: int, steps: list[int]) -> list[tuple[Kind, str]]:
    start = 0
    while start < min(len(a), len(b)) and a[start] == b[start]:
        start += 1
    end = 0
    while end < min(len(a), len(b)) - start and a[-1 - end] == b[-1 - end]:
        end += 1
    old, new = a[start : len(a) - end], b[start : len(b) - end]
    middle = _shortest(old, new, most, steps) if old and new else None
    if middle is None:
        middle = [("-", "".join(old)), ("+", "".join(new))]
    return [("=", "".join(a[:start])), *middle, ("=", "".join(a[len(a) - end :]))]


def _shortest(a: Sequence[str], b: Sequence[str], most: int, steps: list[int]) -> list[tuple[Kind, str]] | None:
    """Myers' shortest edit script (1986), or None when it has more than `most` differences or the steps are used up."""
    reach, trace = {1: 0}, list[dict[int, int]]()
    for d in range(min(most, len(a) + len(b)) + 1):
        trace.append(dict(reach))
        for k in range(-d, d + 1, 2):
            down = k == -d or (k != d and reach[k - 1] < reach[k + 1])
            x = x0 = reach[k + 1] if down else reach[k - 1] + 1
            while x < len(a) and x - k < len(b) and a[x] == b[x - k]:
                x += 1
            reach[k] = x
            steps[0] -= 1 + x - x0
            if x >= len(a) and x - k >= len(b):
                return _way(a, b, trace)
        if steps[0] < 0:
            return None
    return None


def _way(a: Sequence[str], b: Sequence[str], trace: list[dict[int, int]]) -> list[tuple[Kind, str]]:
    out: list[tuple[Kind, str]] = []
    x, y = len(a), len(b)
    for d in range(len(trace) - 1, -1, -1):
        reach, k = trace[d], x - y
        before = k + 1 if k == -d or (k != d and reach[k - 1] < reach[k + 1]) else k - 1
        px = reach[before]
        py = px - before
        while x > px and y > py:
            x, y = x - 1, y - 1
            out.append(("=", a[x]))
        if d:
            out.append(("+", b[py]) if x == px else ("-", a[px]))
        x, y = px, py
    return out[::-1]


def _joined(found: Sequence[Change]) -> list[Change]:
    """Neighbours of one kind as one; between two runs that both have, what is taken out comes before what is put in."""
    out: list[Change] = []
    removed: list[str] = []
    added: list[str] = []
    same: list[str] = []

    def flush() -> None:
        if same:
            out.append(Change("=", "".join(same)))
        if removed:
            out.append(Change("-", "".join(removed)))
        if added:
            out.append(Change("+", "".join(added)))
        for run in (same, removed, added):
            run.clear()

    for kind, text in found:
        if not text:
            continue
        if kind == "=":
            if removed or added:
                flush()
            same.append(text)
        else:
            (removed if kind == "-" else added).append(text)
    flush()
    return out
