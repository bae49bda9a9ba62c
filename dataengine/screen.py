"""Text that others wrote, made safe for a terminal."""

import re

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
