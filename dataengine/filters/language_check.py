"""Checks that reasoning and answer are each in the language of the prompt."""

from collections.abc import Sequence
from typing import Any, ClassVar

from dataengine.checks import Filter, Opinion, Sample
from dataengine.filters.identify import model_path
from dataengine.filters.language import main_of, segments_of, share_of
from dataengine.filters.latin import Segment
from dataengine.filters.settings import changed, share
from dataengine.prompting import boundaries

PARTS = ("reasoning", "answer")


class LanguageCheck(Filter):
    """Passes when half of the words of the reasoning, and of the answer, are in the prompt's language.

    The answer is all that stands after the reasoning, which is what a user sees; the prompt's language is the one that
    is declared for it (`sample.language`). `score` is the smaller of the two shares, `details.shares` has both;
    `minimum` (0.5) is what passes. `details.prompt`, `details.reasoning` and `details.answer` name the language with
    the most words that is found there, None where it cannot be told: such a part says nothing, and a reply of such
    parts is undecided. The reason of a failure names the part, or both. `parts` says which are looked at: a translation
    rightly answers in another language, and an answer may be a name or a line of code.
    """

    name: ClassVar[str] = "language"
    RULES: ClassVar[str] = "1"

    def __init__(self, *, parts: Sequence[str] = PARTS, minimum: float = 0.5) -> None:
        if isinstance(parts, str) or not all(isinstance(p, str) for p in parts):
            raise TypeError(f"parts is {parts!r}; it must be a list of names")
        if not parts or not {*parts} <= {*PARTS}:
            raise ValueError(f"parts is {list(parts)!r}; it must name some of {', '.join(PARTS)}")
        self.parts = tuple(p for p in PARTS if p in parts)
        self.minimum = share("minimum", minimum)
        super().__init__(**changed(type(self).__init__, {"parts": self.parts, "minimum": self.minimum}))
        model_path()  # a missing model is told before the run, not in the middle of it

    def __call__(self, samples: Sequence[Sample]) -> list[Opinion]:
        """One opinion per sample, in order; the models are asked once for all replies and once for all prompts."""
        replies = segments_of([s.text for s in samples], [s.language for s in samples])
        prompts = list(dict.fromkeys((s.prompt, s.language) for s in samples))
        found = segments_of([p for p, _ in prompts], [language for _, language in prompts])
        spoken = {prompt: main_of(segments) for prompt, segments in zip(prompts, found, strict=True)}
        return [
            self._told(sample, segments, spoken[sample.prompt, sample.language])
            for sample, segments in zip(samples, replies, strict=True)
        ]

    def opinion(self, sample: Sample) -> Opinion:
        """The opinion on one sample."""
        return self([sample])[0]

    def _told(self, sample: Sample, segments: Sequence[Segment], prompt: str | None) -> Opinion:
        details: dict[str, Any] = {"prompt": prompt}
        shares: dict[str, float] = {}
        start, end, after = boundaries(sample.text) or (0, 0, 0)
        for part, first, last in (("reasoning", start, end), ("answer", after, len(sample.text))):
            inside = [s for s in segments if first <= s.start < last]
            details[part] = main_of(inside)
            value, words = share_of(inside, sample.language)
            if words:
                shares[part] = round(value, 4)
        details["shares"] = shares
        if not sample.language.strip():
            return Opinion("undecided", reason="no_language", details=details)
        read = {part: value for part, value in shares.items() if part in self.parts}
        if not read:
            return Opinion("undecided", reason="no_words", details=details)
        off = [part for part, value in read.items() if value < self.minimum]
        if off:
            return Opinion("fail", min(read.values()), "_and_".join(off) + "_language", details)
        return Opinion("pass", min(read.values()), details=details)
