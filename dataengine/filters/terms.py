"""Finds words that are spoken of, or that name something: quoted terms, glosses in brackets, proper names."""

import re
from typing import Final

from dataengine.filters.scripts import CASED, LATIN_LETTERS, LATIN_WORD, UNSPACED

#: Words of the longest term; one of a script without spaces has twice as many characters.
MOST_WORDS: Final = 4
#: Words of a term that holds a full stop: a longer one is a sentence.
MOST_STOPPED: Final = 2
#: Quotation marks that open, with those that close them.
QUOTES: Final = {
    '"': '"',
    "'": "'",
    "“": "”“",
    "„": "“”",
    "”": "”",
    "‘": "’",
    "‚": "‘’",
    "«": "»",
    "»": "«",
    "「": "」",
    "『": "』",
    "《": "》",
    "〈": "〉",
}

# Characters between quotation marks that are looked at.
_LONGEST = 80


def _closing(opens: str, closes: str) -> re.Pattern[str]:
    """What stands between the marks, and the closing one.

    Beside a letter or a digit that is an apostrophe or a sign of feet and inches, after a space it opens.
    """
    inside = "" if opens in closes else opens
    space = "" if opens == "«" else r"(?<!\s)"
    return re.compile(rf"[^\n{inside}]{{1,{_LONGEST}}}?{space}[{closes}](?![0-9{LATIN_LETTERS}])")


_QUOTED = {opens: _closing(opens, closes) for opens, closes in QUOTES.items()}
_UNSPACED = re.compile(f"[{UNSPACED}]")
_STOP = re.compile(r"[.!?…。！？]")
_ENDED = re.compile(r"[.!?…]\W*$")
_BRACKETS = {"(": ")", "[": "]", "（": "）", "【": "】"}
_CASED_WORD = re.compile(rf"[{CASED}]{{2,}}(?:['’-][{CASED}]+)*")


def quoted(text: str, mark: str, at: int) -> int:
    """The end of a quoted term whose opening `mark` ends at `at`, closing mark included; `at` where it is no term.

    >>> quoted("the word «Zeitgeist» in English", "«", 10)
    20
    """
    found = _QUOTED[mark].match(text, at)
    if found is None:
        return at
    inside = found.group()[:-1]
    most = MOST_STOPPED if _STOP.search(inside) else MOST_WORDS
    return found.end() if _words(inside) <= most else at


def _words(text: str) -> float:
    """How many words stand in a text, where two characters of a script without spaces are one."""
    return len(_UNSPACED.findall(text)) / 2 + len(_UNSPACED.sub(" ", text).split())


def glossed(text: str, start: int, end: int) -> bool:
    """Whether a stretch is a term that stands alone in brackets, such as a word in its own script."""
    closing = _BRACKETS.get(text[start - 1 : start])
    return closing is not None and text[end : end + 1] == closing and _words(text[start:end]) <= MOST_WORDS


def named(text: str) -> bool:
    """Whether half the words of a text or more have a capital letter, as in names and titles.

    >>> named("Massachusetts Institute of Technology"), named("Let me check that")
    (True, False)
    """
    words: list[str] = _CASED_WORD.findall(text)
    return bool(words) and sum(word[0].isupper() for word in words) * 2 >= len(words)


def titled(text: str) -> bool:
    """Whether a text is a name or title by itself: a few words without a full stop, named but for the first.

    >>> titled("Leonardo da Vinci"), titled("Decision trees"), titled("Tom kennt Maria.")
    (True, False, False)
    """
    words: list[str] = _CASED_WORD.findall(text)
    return len(words) <= MOST_WORDS and named(" ".join(words[1:])) and not _ENDED.search(text)


def without_names(text: str) -> str:
    """A sentence without its words with a capital letter, but for the first word."""
    first = LATIN_WORD.search(text)
    start = first.end() if first else 0
    return text[:start] + LATIN_WORD.sub(lambda m: "" if m.group()[0].isupper() else m.group(), text[start:])
