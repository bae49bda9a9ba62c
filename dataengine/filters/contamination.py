"""Checks that neither prompt nor reply holds an item of a benchmark."""

from collections.abc import Sequence
from typing import Any, ClassVar

from dataengine.checks import Filter, Opinion, Sample, versioned
from dataengine.filters.benchmarks import read_benchmarks
from dataengine.filters.ngrams import Index, Match
from dataengine.filters.settings import changed, count

#: Characters of a matched text that are kept as evidence.
MOST_CHARACTERS = 300
#: Characters whose words are held at once.
_BATCH = 1 << 20


class ContaminationCheck(Filter):
    """Fails a trajectory whose prompt or reply shares `minimum` n-grams of `words` words with a benchmark item.

    `benchmarks` names files (see `read_benchmarks`); n-grams are taken of questions and of reference solutions, and a
    question too short for one is looked for as a whole (see `Index` for the rules, `tokenise` for what a word is).

    `score` is the largest share of a question's or solution's n-grams that was found, 0.0 to 1.0. `details.benchmarks`
    are the names of those that were looked for, so that a mix can tell what a reply is clean of. `details.matches` has
    one entry per benchmark that was found, largest share first: `benchmark`, `item`, `part` (question or solution),
    `share`, `found` n-grams `of` so many, `in` (prompt or reply), the longest stretch as `span` ([start, end],
    characters of that text) and its `text`, cut at MOST_CHARACTERS. The version follows the benchmarks' names and
    texts, wherever their files lie.
    """

    name: ClassVar[str] = "contamination"
    RULES: ClassVar[str] = "2"

    def __init__(self, *, benchmarks: Any = None, words: int = 10, minimum: int = 1) -> None:
        given = {"words": count("words", words, 4), "minimum": count("minimum", minimum, 1)}
        super().__init__(**changed(type(self).__init__, given))
        self.index = Index(read_benchmarks(benchmarks), words, minimum)
        self.benchmarks = sorted(self.index.names)
        self.version = versioned(self.RULES, self.params | {"index": self.index.digest})

    def __call__(self, samples: Sequence[Sample]) -> list[Opinion]:
        """One opinion per sample, in order."""
        # Many trajectories have one prompt: each text is read once.
        texts = list(dict.fromkeys(text for s in samples for text in (s.prompt, s.text)))
        found: dict[str, list[Match]] = {}
        batch: list[str] = []
        size = 0
        for i, text in enumerate(texts):
            batch.append(text)
            size += len(text)
            if size >= _BATCH or i == len(texts) - 1:
                found |= {t: m for t, m in zip(batch, self.index.search(batch), strict=True) if m}
                batch, size = [], 0
        return [self._opinion(s, found) for s in samples]

    def _opinion(self, sample: Sample, found: dict[str, list[Match]]) -> Opinion:
        best: dict[str, tuple[Match, str, str]] = {}
        for where, text in (("prompt", sample.prompt), ("reply", sample.text)):
            for match in found.get(text, ()):
                other = best.get(match.part.benchmark)
                if other is None or match.share > other[0].share:
                    best[match.part.benchmark] = (match, where, text)
        if not best:
            return Opinion("pass", 0.0, details={"benchmarks": self.benchmarks})
        matches = sorted(best.values(), key=lambda m: -m[0].share)
        details = {"benchmarks": self.benchmarks, "matches": [_evidence(*m) for m in matches]}
        return Opinion("fail", round(matches[0][0].share, 4), "benchmark_item", details)


def _evidence(match: Match, where: str, text: str) -> dict[str, Any]:
    return {
        "benchmark": match.part.benchmark,
        "item": match.part.item,
        "part": match.part.kind,
        "share": round(match.share, 4),
        "found": match.found,
        "of": match.of,
        "in": where,
        "span": [match.start, match.end],
        "text": text[match.start : match.end][:MOST_CHARACTERS],
    }
