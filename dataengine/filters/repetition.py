"""Checks that a reply does not go round in circles: repeated lines, repeated phrases, a loop at its end."""

import re
from typing import ClassVar, NamedTuple

from dataengine.checks import Filter, Opinion, Sample
from dataengine.filters.settings import changed, count, share

#: Characters of a reply that are read for lines and phrases (its last ones), and for a loop at the end.
SCANNED = 1_000_000
TAIL = 20_000

# Words between spaces; scripts without spaces go character by character.
_WORD = re.compile(
    r"[\u0e00-\u0eff\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff]|[^\s\u0e00-\u0eff\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff]+"
)
_LETTERS = re.compile(r"[^\W\d_]")


class Found(NamedTuple):
    """How much of a text one rule finds repeated, and where: offsets of the offending span, or None."""

    share: float
    span: tuple[int, int] | None


class RepetitionCheck(Filter):
    """Fails a reply that repeats itself. The thresholds are ours: the R1 report publishes none.

    - `max_lines` (0.5): share of the characters in lines that stood there before (lines of 20 characters or more).
    - `max_phrases` (0.5): share of the words inside phrases of `phrase_words` (8) words that stood there before.
    - `loop_repeats` (4): the same span this often in a row at the very end is a loop; it must fill 60 characters, or
      400 where it holds no letter (a grid of zeros is an answer).

    The two shares are not asked of texts under `min_words` (50). `score` is the largest share; time is linear.
    """

    name: ClassVar[str] = "repetition"
    RULES: ClassVar[str] = "1"

    def __init__(
        self,
        *,
        max_lines: float = 0.5,
        max_phrases: float = 0.5,
        phrase_words: int = 8,
        loop_repeats: int = 4,
        min_words: int = 50,
    ) -> None:
        given = {
            "max_lines": share("max_lines", max_lines),
            "max_phrases": share("max_phrases", max_phrases),
            "phrase_words": count("phrase_words", phrase_words, 2),
            "loop_repeats": count("loop_repeats", loop_repeats, 2),
            "min_words": count("min_words", min_words),
        }
        super().__init__(**changed(type(self).__init__, given))
        self.max_lines = max_lines
        self.max_phrases = max_phrases
        self.phrase_words = phrase_words
        self.loop_repeats = loop_repeats
        self.min_words = min_words

    def opinion(self, sample: Sample) -> Opinion:
        """The opinion on one sample."""
        offset = max(0, len(sample.text) - SCANNED)
        text = sample.text[offset:]
        loop = tail_loop(text, self.loop_repeats)
        # Tables of numbers and chains of sums look alike line by line without being a fault: only words are counted.
        words = [(m.start(), m.end()) for m in _WORD.finditer(text) if _LETTERS.search(m.group())]
        long_enough = len(words) >= self.min_words
        lines = repeated_lines(text) if long_enough else Found(0.0, None)
        phrases = repeated_phrases(text, words, self.phrase_words) if long_enough else Found(0.0, None)
        rules = (
            ("loop", loop, 0.0),
            ("lines", lines, self.max_lines),
            ("phrases", phrases, self.max_phrases),
        )
        score = max(found.share for _, found, _ in rules)
        for rule, found, most in rules:
            if found.span and found.share > most:
                span = [found.span[0] + offset, found.span[1] + offset]
                return Opinion("fail", score, rule, {"rule": rule, "share": round(found.share, 4), "span": span})
        return Opinion("pass", score)


def repeated_lines(text: str, shortest: int = 20) -> Found:
    """The share of characters in lines (of `shortest` characters or more) that stood before, and the longest one."""
    seen: set[str] = set()
    repeated = total = start = 0
    span: tuple[int, int] | None = None
    for line in text.split("\n"):
        bare = line.strip()
        total += len(bare)
        if len(bare) >= shortest and _LETTERS.search(bare):
            if bare in seen:
                repeated += len(bare)
                if span is None or len(line) > span[1] - span[0]:
                    span = (start, start + len(line))
            seen.add(bare)
        start += len(line) + 1
    return Found(repeated / total if total else 0.0, span)


def repeated_phrases(text: str, words: list[tuple[int, int]], size: int) -> Found:
    """The share of `words` (start, end) in a run of `size` words that stood before, and the longest such stretch."""
    tokens = [hash(text[a:b]) for a, b in words]
    seen: set[int] = set()
    covered = 0
    reach = 0  # words up to here are counted
    run = 0  # where the present stretch began
    longest: tuple[int, int] | None = None
    for i in range(len(tokens) - size + 1):
        phrase = hash(tuple(tokens[i : i + size]))
        if phrase in seen:
            if i > reach or longest is None:
                run = max(i, reach)
            covered += i + size - max(i, reach)
            reach = i + size
            if longest is None or reach - run > longest[1] - longest[0]:
                longest = (run, reach)
        seen.add(phrase)
    span = (words[longest[0]][0], words[longest[1] - 1][1]) if longest else None
    return Found(covered / len(tokens) if tokens else 0.0, span)


def tail_loop(text: str, repeats: int) -> Found:
    """The span at the end of `text` that is one unit said `repeats` times or more, as a share of the text.

    The text is read backwards: its Z-function (the length of the common prefix with itself from p on) tells for every
    unit length p how far back the unit goes on, in linear time.
    """
    end = len(text.rstrip())
    back = text[max(0, end - TAIL) : end][::-1]
    best: tuple[int, int] | None = None
    z = _z_function(back)
    for period in range(1, len(back) // repeats + 1):
        length = z[period] + period
        if length < period * repeats or (best and length <= best[1]):
            continue
        unit = back[:period]
        if length >= (60 if _LETTERS.search(unit) else 400):
            best = (period, length)
    if best is None:
        return Found(0.0, None)
    return Found(best[1] / end, (end - best[1], end))


def _z_function(text: str) -> list[int]:
    n = len(text)
    z = [0] * n
    left = right = 0
    for i in range(1, n):
        k = min(right - i, z[i - left]) if i < right else 0
        while i + k < n and text[k] == text[i + k]:
            k += 1
        z[i] = k
        if i + k > right:
            left, right = i, i + k
    return z
