"""Texts in Unicode's composed form (NFC), in which both ways to write an accent are one, and the way back."""

import re
import unicodedata
from typing import NamedTuple

# A character with the marks that may join it, or the parts of a Korean syllable.
_CLUSTER = re.compile("[\u1100-\u115f][\u1160-\u11a7](?:[\u11a8-\u11ff])?|.", re.DOTALL)


class Composed(NamedTuple):
    """A text in NFC; `places[i]` is where its character `i` begins in the original, one more the original's end."""

    text: str
    places: list[int]

    def span(self, start: int, end: int) -> tuple[int, int]:
        """A stretch of the composed text as offsets into the original."""
        return self.places[start], self.places[end]


def composed(text: str) -> Composed | None:
    """The text in NFC; None where it is already.

    >>> found = composed("cafe\\u0301 noir")
    >>> found.text, found.span(0, 4)
    ('café noir', (0, 5))
    """
    if unicodedata.is_normalized("NFC", text):
        return None
    parts: list[str] = []
    places: list[int] = []
    at = 0
    while at < len(text):
        match = _CLUSTER.match(text, at)
        assert match is not None
        end = match.end()
        while end < len(text) and unicodedata.combining(text[end]):
            end += 1
        part = unicodedata.normalize("NFC", text[at:end])
        parts.append(part)
        places += [at] * len(part)
        at = end
    return Composed("".join(parts), [*places, len(text)])
