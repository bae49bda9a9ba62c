"""Checks that a reply does not go round in circles: what it says again, a loop at its end, how far it is compressed."""

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from dataengine.checks import Filter, Opinion, Sample
from dataengine.filters.composing import Composed, composed
from dataengine.filters.repeats import Repeats, repeats
from dataengine.filters.settings import changed, count, share
from dataengine.filters.tail_loop import tail_loop
from dataengine.filters.tokens import Integers

#: Characters of a reply that are read, its last ones.
SCANNED = 1_000_000
#: Characters that are compressed together.
WINDOW = 2048

_LZ4 = pa.Codec("lz4_raw")


class RepetitionCheck(Filter):
    """Fails a reply that repeats itself. The thresholds are ours: the R1 report publishes none.

    - `loop_repeats` (4): the same span this often in a row at the very end is a `loop`; it must fill 60 characters, or
      400 where it holds no letter (a grid of zeros is an answer).
    - `max_lines` (0.2), `max_sentences` (0.25): share of the characters in `lines` or `sentences` (of 20 characters or
      more) that stood there twice before: an answer may say all of the reasoning once more.
    - `max_phrases` (0.3): share of the words in `phrases` of `phrase_words` (12) words that stood there twice before.
    - `min_compression` (0.15): bytes after `compression` (LZ4) by bytes before, of the 2,048 characters that shrink
      most. It finds what is said again and again with other numbers.

    Only words with a letter count, and texts with fewer than `min_words` (50) of them are only asked for a loop.
    `score` is the largest share, the loop's of the text among them; where the compression alone fails, 1 less it.
    `details` holds the shares above 0, the compression, and in `spans` the longest stretch of each as [start, end,
    rule], that of the reason first. Time is linear.
    """

    name: ClassVar[str] = "repetition"
    RULES: ClassVar[str] = "2"

    def __init__(
        self,
        *,
        max_lines: float = 0.2,
        max_sentences: float = 0.25,
        max_phrases: float = 0.3,
        min_compression: float = 0.15,
        phrase_words: int = 12,
        loop_repeats: int = 4,
        min_words: int = 50,
    ) -> None:
        given = {
            "max_lines": share("max_lines", max_lines),
            "max_sentences": share("max_sentences", max_sentences),
            "max_phrases": share("max_phrases", max_phrases),
            "min_compression": share("min_compression", min_compression),
            "phrase_words": count("phrase_words", phrase_words, 2),
            "loop_repeats": count("loop_repeats", loop_repeats, 2),
            "min_words": count("min_words", min_words),
        }
        super().__init__(**changed(type(self).__init__, given))
        self.most = {"loop": 0.0, "lines": max_lines, "sentences": max_sentences, "phrases": max_phrases}
        self.min_compression = min_compression
        self.phrase_words = phrase_words
        self.loop_repeats = loop_repeats
        self.min_words = min_words

    def opinion(self, sample: Sample) -> Opinion:
        """The opinion on one sample."""
        return self([sample])[0]

    def __call__(self, samples: Sequence[Sample]) -> list[Opinion]:
        """One opinion per sample, in order."""
        forms = [composed(s.text) for s in samples]
        texts = [(form.text if form else s.text)[-SCANNED:] for form, s in zip(forms, samples, strict=True)]
        told = []
        for sample, form, text, said in zip(samples, forms, texts, repeats(texts, self.phrase_words), strict=True):
            offset = (len(form.text) if form else len(sample.text)) - len(text)
            told.append(self._told(text, said, offset, form))
        return told

    def _told(self, text: str, said: Repeats, offset: int, form: Composed | None) -> Opinion:
        found = {"loop": tail_loop(text, self.loop_repeats)}
        ratio, window = 1.0, None
        if len(said.words) >= self.min_words:
            found |= {"lines": said.lines, "sentences": said.sentences, "phrases": said.phrases}
            ratio, window = compression(text, said.words, self.min_words)
        score = max(part.share for part in found.values())
        reason = next((rule for rule, part in found.items() if part.span and part.share > self.most[rule]), "")
        spans = {rule: part.span for rule, part in found.items() if part.span}
        if ratio < self.min_compression and window:
            spans["compression"] = window
            if not reason:
                reason, score = "compression", max(score, 1 - ratio)
        details: dict[str, Any] = {rule: round(part.share, 4) for rule, part in found.items() if part.span}
        if window:
            details["compression"] = round(ratio, 4)
        if spans:
            ordered = sorted(spans.items(), key=lambda item: item[0] != reason)
            places = [(start + offset, end + offset, rule) for rule, (start, end) in ordered]
            details["spans"] = [[*(form.span(a, b) if form else (a, b)), rule] for a, b, rule in places]
        return Opinion("fail" if reason else "pass", score, reason, details)


def compression(text: str, words: Integers, least: int) -> tuple[float, tuple[int, int] | None]:
    """Bytes after LZ4 by bytes before, of that stretch of `WINDOW` characters (counted from the end) that is compressed
    furthest and holds `least` words or more, which begin at `words`; and the stretch. Of no such stretch: 1.0, None.
    """
    number = (len(text) - 1 - words) // WINDOW
    lowest: tuple[float, tuple[int, int] | None] = (1.0, None)
    for n in np.flatnonzero(np.bincount(number) >= least).tolist():
        end = len(text) - n * WINDOW
        start = max(0, end - WINDOW)
        plain = text[start:end].encode("utf-8", "surrogatepass")
        ratio = _LZ4.compress(plain).size / len(plain)
        if ratio < lowest[0] or lowest[1] is None:
            lowest = ratio, (start, end)
    return lowest
