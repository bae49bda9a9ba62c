"""Checks that a reply was not there before, word for word or nearly so."""

from collections.abc import Iterator, Sequence
from typing import ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt

from dataengine.checks import Filter, Opinion, Sample
from dataengine.filters.minhash import U32, U64, Ints, hashes, mixed, normal, signatures
from dataengine.filters.near import leaders
from dataengine.filters.settings import changed, share


class DuplicateCheck(Filter):
    """Fails all but one of the replies that say the same, word for word or in nearly the same words.

    - `threshold` (0.8, as is usual): the Jaccard similarity of their runs of five words (characters, in scripts without
      spaces) from which two replies are near duplicates; estimated from signatures, with a standard error of 0.035.
    - `within` (`all`): `prompt` compares only replies to one prompt, for short answers that many prompts share.

    Replies are taken in order: complete before cut off, longer before shorter, then by a hash of their words. The first
    stands for itself, and so does each that is similar to none that stands; the others fail as `exact` or `near`, with
    the most similar one in `details.representative`. A reply that was cut off stands for nobody else, since a whole one
    may take its place. Equal replies are told apart by their ids, so that neither the order of rows nor the way that
    their characters are composed changes what is said of a text.

    `score` is the similarity to the representative, 1.0 for equal texts; of a reply that passes, that to the most
    similar one that was compared, 0.0 if none was. A reply without words is undecided.
    """

    name: ClassVar[str] = "duplicate"
    RULES: ClassVar[str] = "1"

    def __init__(self, *, threshold: float = 0.8, within: str = "all") -> None:
        given = {"threshold": share("threshold", threshold), "within": within}
        if threshold < 0.5:
            raise ValueError(f"threshold is {threshold}; below 0.5 too few of the similar replies would be found")
        if within not in ("all", "prompt"):
            raise ValueError(f"within is {within!r}; there are: all, prompt")
        super().__init__(**changed(type(self).__init__, given))
        self.threshold = threshold
        self.within = within

    def __call__(self, samples: Sequence[Sample]) -> list[Opinion]:
        """One opinion per sample, in order, taking the samples for all there are."""
        comparison = self.comparison()
        comparison.add(samples)
        opinions = dict(comparison.opinions())
        return [opinions[i] for i in range(len(samples))]

    def comparison(self) -> "DuplicateComparison":
        """A new comparison, with nothing added."""
        return DuplicateComparison(self.threshold, self.within == "prompt")


class DuplicateComparison:
    """Signatures of the samples added so far, some 700 bytes each; their texts are not kept."""

    def __init__(self, threshold: float, within_prompt: bool) -> None:
        self._threshold = threshold
        self._within_prompt = within_prompt
        self._ids: list[str] = []
        self._parts: list[_Part] = []

    def add(self, samples: Sequence[Sample], *, settled: bool = False) -> None:
        """Looks at samples: further ones to give an opinion on, or `settled` ones that passed before."""
        if samples:
            texts = [normal(s.text) for s in samples]
            made, words = signatures(texts)
            self._ids += [s.trajectory_id for s in samples]
            self._parts.append(
                _Part(
                    signatures=made,
                    words=words,
                    text=hashes(texts),
                    prompt=hashes([normal(s.prompt) if self._within_prompt else "" for s in samples]),
                    length=np.array([len(t) for t in texts], np.int64),
                    whole=np.array([s.finish_reason != "length" for s in samples]),
                    settled=np.full(len(samples), settled),
                )
            )

    def opinions(self) -> Iterator[tuple[int, Opinion]]:
        """(number in the order of adding, opinion) of each sample that is not settled; those that stand come first."""
        if not self._parts:
            return
        rows = _Part(*(np.concatenate(columns) for columns in zip(*self._parts, strict=True)))
        self._parts = [rows]
        ties = np.empty(len(self._ids), np.int64)
        # The shorter id first: line 9 of a file before line 10.
        ties[sorted(range(len(ties)), key=lambda i: (len(self._ids[i]), self._ids[i]))] = np.arange(len(ties))
        order = np.lexsort((ties, rows.text, -rows.length, ~rows.whole, ~rows.settled))
        representative, score = self._represented(rows, order)
        for row in order[np.count_nonzero(rows.settled) :].tolist():
            stands = int(representative[row])
            if not rows.words[row]:
                yield row, Opinion("undecided", reason="no_words")
            elif stands == row:
                yield row, Opinion("pass", float(score[row]))
            else:
                reason = "exact" if rows.text[row] == rows.text[stands] else "near"
                yield row, Opinion("fail", float(score[row]), reason, {"representative": self._ids[stands]})

    def _represented(self, rows: "_Part", order: Ints) -> tuple[Ints, npt.NDArray[np.float64]]:
        """For each row the row that stands for it and their similarity, or itself and that to the nearest."""
        texts = mixed(rows.text ^ mixed(rows.prompt))[order]
        _, first, inverse = np.unique(texts, return_index=True, return_inverse=True)
        # For each row the first with its text; in terms of `order`, as long as nothing else is said.
        same = first[inverse]
        same = np.where(rows.whole[order][same], same, np.arange(len(order)))
        compared = np.flatnonzero((same == np.arange(len(order))) & (rows.words[order] > 0))
        at = order[compared]
        leader, found = leaders(
            rows.signatures[at],
            self._threshold,
            rows.prompt[at],
            stands=rows.whole[at],
            fixed=int(rows.settled[at].sum()),
        )
        representative = np.arange(len(order))
        score = np.zeros(len(order))
        representative[at], score[at] = at[leader], found
        copies = order[same != np.arange(len(order))]
        originals = order[same][same != np.arange(len(order))]
        alone = representative[originals] == originals
        representative[copies] = representative[originals]
        score[copies] = np.where(alone, 1.0, score[originals])
        return representative, score


class _Part(NamedTuple):
    """What is kept of some samples, a row each."""

    signatures: U32
    words: Ints
    text: U64
    prompt: U64
    length: Ints
    whole: npt.NDArray[np.bool_]
    settled: npt.NDArray[np.bool_]
