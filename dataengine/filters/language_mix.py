"""Checks that a reply stays in the language of its prompt, reasoning included."""

from collections.abc import Sequence
from typing import ClassVar

from dataengine.checks import Filter, Opinion, Sample
from dataengine.filters.identify import model_path, same_language
from dataengine.filters.language import segments_of, share_of
from dataengine.filters.latin import Segment
from dataengine.filters.settings import changed, share

#: Spans that are listed as evidence.
MOST_SPANS = 50


class LanguageMixCheck(Filter):
    """Passes when the share of words in the prompt's language is `minimum` or more (0.95: ours, no paper names one).

    `score` is that share over the whole reply, `details.spans` the stretches in another language as
    [start, end, language], offsets in characters of `sample.text`; `details.switches` of them share their sentence with
    another language. A reply without words is undecided.
    """

    name: ClassVar[str] = "language_mix"
    RULES: ClassVar[str] = "3"

    def __init__(self, *, minimum: float = 0.95) -> None:
        given = {"minimum": share("minimum", minimum)}
        super().__init__(**changed(type(self).__init__, given))
        self.minimum = minimum
        model_path()  # a missing model is told before the run, not in the middle of it

    def __call__(self, samples: Sequence[Sample]) -> list[Opinion]:
        """One opinion per sample, in order; the models are asked once for all."""
        found = segments_of([s.text for s in samples], [s.language for s in samples])
        return [self._told(sample, segments) for sample, segments in zip(samples, found, strict=True)]

    def opinion(self, sample: Sample) -> Opinion:
        """The opinion on one sample."""
        return self([sample])[0]

    def _told(self, sample: Sample, segments: Sequence[Segment]) -> Opinion:
        if not sample.language.strip():
            return Opinion("undecided", reason="no_language")
        score, total = share_of(segments, sample.language)
        if not total:
            return Opinion("undecided", reason="no_words")
        off = [s for s in segments if s.language is not None and not same_language(s.language, sample.language)]
        details = {
            "words": total,
            "spans": [[s.start, s.end, s.language] for s in off[:MOST_SPANS]],
            "segments_off": len(off),
            "switches": sum(s.inside for s in off),
        }
        if score >= self.minimum:
            return Opinion("pass", score, details=details)
        return Opinion("fail", score, "language_mixed", details)
