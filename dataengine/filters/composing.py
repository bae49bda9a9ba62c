"""Texts in Unicode's composed form (NFC), in which both ways to write an accent are one, and the way back."""

import unicodedata
from functools import cache, lru_cache
from itertools import groupby
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from dataengine.filters.tokens import LAST, code_points

# Python puts marks into order in quadratic time; more of them in a row are sorted first.
_MANY = 32


class Composed(NamedTuple):
    """A text in NFC; `places[i]` is where its character `i` begins in the original, one more the original's end."""

    text: str
    places: list[int]

    def span(self, start: int, end: int) -> tuple[int, int]:
        """A stretch of the composed text as offsets into the original."""
        return self.places[start], self.places[end]


def composed(text: str) -> Composed | None:
    """The text in NFC, in linear time; None where it is already.

    >>> found = composed("cafe\\u0301 noir")
    >>> found.text, found.span(0, 4)
    ('café noir', (0, 5))
    """
    if text.isascii() or unicodedata.is_normalized("NFC", text):
        return None
    joins, changes = _tables()
    points = code_points(text)
    joined = joins.take(points, mode="clip")
    joined[0] = False
    # A character with what may join it; most stand alone and stay as they are.
    starts = np.flatnonzero(~joined)
    ends = np.append(starts[1:], len(text))
    sizes = np.ones(len(starts), np.int64)
    parts: list[str] = []
    several: list[tuple[int, int]] = []
    done = 0
    for number in np.flatnonzero((ends - starts > 1) | changes.take(points[starts], mode="clip")).tolist():
        start, end = int(starts[number]), int(ends[number])
        part = _part(text[start:end]) if end - start <= _MANY else _ordered(text[start:end])
        parts += (text[done:start], part)
        sizes[number] = len(part)
        if len(part) > 1:
            several.append((number, _alike(part, text[start:end])))
        done = end
    parts.append(text[done:])
    places = np.repeat(starts, sizes)
    begins = np.cumsum(sizes) - sizes
    for number, alike in several:
        # What marks do not join stays where it is, such as a space before them.
        size = int(sizes[number])
        places[begins[number] : begins[number] + size] += np.minimum(np.arange(size), alike)
    return Composed("".join(parts), [*places.tolist(), len(text)])


def _alike(one: str, other: str) -> int:
    """With how many of the same characters both begin, and at most so many that something of each is left."""
    most = min(len(one), len(other)) - 1
    return next((i for i in range(most) if one[i] != other[i]), most)


@lru_cache(maxsize=4096)
def _part(text: str) -> str:
    return unicodedata.normalize("NFC", text)


def _ordered(text: str) -> str:
    plain = "".join(unicodedata.normalize("NFD", c) for c in text)
    groups = groupby(plain, key=lambda c: unicodedata.combining(c) == 0)
    return _part("".join(c for bare, g in groups for c in (g if bare else sorted(g, key=unicodedata.combining))))


@cache
def _tables() -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """By code point: whether it may join what is before it (a mark, or the second of two that compose, such as a vowel
    sign or the parts of a Korean syllable), and whether NFC changes it.
    """
    plain = [unicodedata.normalize("NFD", chr(point)) for point in range(LAST)]
    # What a composed character ends with: marks, but also some that no class of marks has.
    seconds = {p[-1] for p in plain if len(p) > 1}
    joins = [unicodedata.combining(p[0]) != 0 or p[0] in seconds for p in plain]
    changes = [not unicodedata.is_normalized("NFC", chr(point)) for point in range(LAST)]
    return np.array([*joins, False]), np.array([*changes, False])
