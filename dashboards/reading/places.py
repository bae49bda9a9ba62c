"""Where a reader wants to go in a reply: the end of the thinking, the last box, each reflective word."""

import re
from functools import lru_cache
from typing import Final, NamedTuple

from dataengine.filters.phrases import REFLECTION, patterns

THINK_END: Final = "</think>"
#: Reflective words are looked for in so many characters.
MAX_SEARCHED: Final = 200_000
MAX_WAITS: Final = 2_000
_GAP: Final = re.compile(r"(?:[ \t\r]{0,80}\n){0,8}")


class Places(NamedTuple):
    """Offsets in code points; `waits` are (start, end)."""

    think_end: int | None
    #: Where the answer begins: behind the line of `</think>`.
    answer: int | None
    box: int | None
    waits: list[tuple[int, int]]


@lru_cache(maxsize=2)
def _reflective(plain: bool) -> re.Pattern[str]:
    # The lists are written for Rust's engine, where \b by itself would know Unicode.
    return re.compile("|".join(patterns(REFLECTION, plain=plain)).replace(r"(?-u:\b)", r"\b"))


def places(text: str) -> Places:
    """The places of `text`: behind the last `</think>`, at the last box, at each reflective word."""
    end = text.rfind(THINK_END)
    box = max(text.rfind("\\boxed"), text.rfind("\\fbox"))
    searched = text[:MAX_SEARCHED]
    waits = []
    for found in _reflective(searched.isascii()).finditer(searched):
        waits.append(found.span())
        if len(waits) == MAX_WAITS:
            break
    behind = end + len(THINK_END) if end >= 0 else None
    answer = gap.end() if behind and (gap := _GAP.match(text, behind)) else None
    return Places(behind, answer, box if box >= 0 else None, waits)
