"""Text that others wrote, made safe for a terminal."""

import re
from collections.abc import Sequence

# Controls but for line breaks and tabs, marks that turn the direction of a line, and surrogates that UTF-8 cannot hold.
_UNSAFE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(text: str) -> str:
    r"""`text` with those characters as escapes that would act on a terminal or cannot be written to one.

    >>> printable("red: \x1b[31m")
    'red: \\x1b[31m'
    """
    return _UNSAFE.sub(lambda m: m.group().encode("unicode_escape").decode("ascii"), text)


def one_line(text: str) -> str:
    """`text` with each run of white space as one space."""
    return re.sub(r"\s+", " ", text)


def indented(text: str, by: int = 4) -> str:
    """Every line of `text` with `by` spaces before it."""
    return "\n".join(" " * by + line for line in text.splitlines())


def first_of(notes: Sequence[str], most: int = 20) -> list[str]:
    """The first notes, and of a great many how many more there are.

    >>> first_of(["a", "b", "c"], 2)
    ['a', 'b', '... and 1 more']
    """
    more = len(notes) - most
    return [*notes[:most], f"... and {more:,} more"] if more > 0 else list(notes)
