"""Checks that a reply stays in the language of its prompt, reasoning included."""

from typing import ClassVar

from dataengine.checks import Filter, Opinion, Sample
from dataengine.filters.language import model_path, same_language, segments
from dataengine.filters.settings import changed, share

#: Spans that are listed as evidence.
MOST_SPANS = 50


class LanguageMixCheck(Filter):
    """Passes when the share of words in the prompt's language is `minimum` or more (0.95: ours, no paper names one).

    `score` is that share over the whole reply, `details.spans` the stretches in another language as
    [start, end, language], offsets in characters of `sample.text`. A reply without words is undecided.
    """

    name: ClassVar[str] = "language_mix"
    RULES: ClassVar[str] = "1"

    def __init__(self, *, minimum: float = 0.95) -> None:
        given = {"minimum": share("minimum", minimum)}
        super().__init__(**changed(type(self).__init__, given))
        self.minimum = minimum
        model_path()  # a missing model is told before the run, not in the middle of it

    def opinion(self, sample: Sample) -> Opinion:
        """The opinion on one sample."""
        if not sample.language.strip():
            return Opinion("undecided", reason="no_language")
        right = total = off = 0
        spans: list[list[int | str]] = []
        for segment in segments(sample.text, sample.language):
            if segment.language is None:
                continue
            total += segment.words
            if same_language(segment.language, sample.language):
                right += segment.words
            else:
                off += 1
                if len(spans) < MOST_SPANS:
                    spans.append([segment.start, segment.end, segment.language])
        if not total:
            return Opinion("undecided", reason="no_words")
        score = right / total
        details = {"words": total, "spans": spans, "segments_off": off}
        if score >= self.minimum:
            return Opinion("pass", score, details=details)
        return Opinion("fail", score, "language_mixed", details)
