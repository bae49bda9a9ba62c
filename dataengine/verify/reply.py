"""A reply as checks of words read it: what it shows, what it marks as its answer, and text without markup."""

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass

from dataengine.verify.extract import SCANNED, Extracted, final_answer, plain, tagged, visible

_WRAPPER = re.compile(r"\\(?:text(?:bf|it|rm)?|math(?:bf|it|rm)|mbox|boxed|fbox|underline|emph)\s*\{([^{}]*)\}")
_ARROW = re.compile(r"\\(?:long)?(?:to|rightarrow)(?![A-Za-z])", re.IGNORECASE)
_NEW_LINE = re.compile(r"\\\\|<br\s?/?>")
_DRESS = re.compile(r"\\[()\[\],;:! ]|\\q?quad(?![A-Za-z])|\*+|__|[`$\"“”„«»\u200b\ufeff]")
_NUMBER = re.compile(r"[ \t]*\(\d{1,3}\)[ \t]*")
_BULLET = re.compile(r"^[ \t>]*(?:[-•+·#]+[ \t]+)*(?:\d{1,3}[.)](?!\d)[ \t]*)?", re.MULTILINE)
# A word of an alphabet goes on with these; scripts without spaces have no such bounds.
_LATIN = r"[0-9A-Za-z_\u00c0-\u024f]"


@dataclass(frozen=True, slots=True)
class Reply:
    """A final answer with what stands around it: all of what was marked as the answer, and all that is shown."""

    found: Extracted
    marked: str
    shown: str

    @property
    def details(self) -> dict[str, str]:
        """The evidence that every opinion on it gives."""
        return {"extracted": (self.marked or self.found.value)[:500], "from": self.found.origin}


def reply_of(answer: str | None, text: str) -> Reply | None:
    """A reply with its final answer (`extract.final_answer`), or None without one.

    An answer in tags or in a box is marked, and may have several lines; elsewhere `marked` is empty.
    """
    found = final_answer(answer, text)
    if found is None:
        return None
    shown = plain(visible(answer, text)[-SCANNED:])
    marked = found.value if found.origin == "boxed" else ""
    if found.origin == "answer_tag":
        marked = tagged(shown) or tagged(plain(text[-SCANNED:]))
    return Reply(found, marked, shown)


def undressed(text: str) -> str:
    """`text` in NFKC without markdown, quotation marks and LaTeX around words; line breaks stay.

    >>> undressed(r"**Zoey**: $\\text{knight}$")
    'Zoey: knight'
    """
    text = _NEW_LINE.sub("\n", unicodedata.normalize("NFKC", plain(text)))
    for _ in range(3):  # a wrapper in a wrapper, as in \boxed{\text{No}}
        text = _WRAPPER.sub(r"\1", text)
    return _DRESS.sub("", _ARROW.sub("→", text)).strip()


def unnumbered(text: str) -> str:
    """`text` without the bullets and numbers of lists; "(2)" starts a line.

    >>> unnumbered("1. Ann\\n- Bob"), unnumbered("(1) Ann (2) Bob")
    ('Ann\\nBob', '\\nAnn\\nBob')
    """
    return _BULLET.sub("", _NUMBER.sub("\n", text))


def any_of(phrases: Iterable[str]) -> str:
    """A regular expression for whole phrases, longest first; one letter alone is told from "a" and "i" by its case."""
    longest_first = sorted(set(phrases), key=lambda p: (-len(p), p))
    words = "|".join(re.escape(p) for p in longest_first if len(p) > 1)
    letters = "|".join(re.escape(p) for p in longest_first if len(p) == 1)
    return rf"(?<!{_LATIN})(?:{'|'.join(p for p in (words and f'(?i:{words})', letters) if p)})(?!{_LATIN})"
