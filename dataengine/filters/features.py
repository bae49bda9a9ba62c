"""What can be counted in a reply cheaply, once: its length, reflection, boxed answers, steps, formulas, code."""

from collections.abc import Callable, Sequence
from typing import ClassVar

import numpy as np

from dataengine.checks import Filter, Opinion, Sample
from dataengine.filters.bits import Bits, Numbers
from dataengine.filters.columns import Batch, Questions, batches
from dataengine.filters.phrases import REFLECTION, STEP, patterns

# "$5 and $10": a formula neither begins nor ends with a space.
_FORMULA = r"\$\$[^$]+\$\$|\$[^\s$](?:[^$\n]*[^\s$])?\$(?:[^0-9]|\z)|\\\(|\\\[|\\begin\{"


def _questions(*, plain: bool) -> Questions:
    return Questions(
        {
            "boxed": [r"\\boxed\b"],
            "formulas": [_FORMULA],
            "reflections": patterns(REFLECTION, plain=plain),
            "steps": patterns(STEP, plain=plain),
        }
    )


_PLAIN, _ALL = _questions(plain=True), _questions(plain=False)


class FeaturesCheck(Filter):
    """Counts what tells replies apart. It always passes, but for a text without a word, which is undecided.

    `details` holds, of the whole reply: `characters` (of the composed form, NFC), `reasoning_characters`,
    `answer_characters`, `words` (what stands between spaces; in scripts without spaces each character), `lines` (with
    something in them), `paragraphs` (lines outside of code blocks), `code_blocks`, `boxed` (`\\boxed`), `formulas`
    (LaTeX), `steps` ("Step 1", 第一步, and numbered lines), `reflections` ("wait", "let me check" and their like in
    twelve languages: `phrases`), and `digits`, the share of digits among the characters that are no space. `score` is
    reflections in 1,000 words. Which words are counted is our choice: the R1 report names a few.
    """

    name: ClassVar[str] = "features"
    RULES: ClassVar[str] = "1"

    def __init__(self) -> None:
        super().__init__()

    def opinion(self, sample: Sample) -> Opinion:
        """The opinion on one sample."""
        return self([sample])[0]

    def __call__(self, samples: Sequence[Sample]) -> list[Opinion]:
        """One opinion per sample, in order."""
        opinions = [Opinion("undecided", reason="empty")] * len(samples)
        asked = [(i, b, b.ask(_PLAIN if b.ascii else _ALL)) for i, b in batches([s.text for s in samples])]
        for indices, batch, found in asked:
            columns = features(batch, found)
            names, words = tuple(columns), columns["words"]
            scores = np.round(1000 * columns["reflections"] / np.maximum(words, 1), 4)
            rows = zip(*(c.tolist() for c in columns.values()), strict=True)
            for index, score, any_word, row in zip(indices, scores.tolist(), words.tolist(), rows, strict=True):
                if any_word:
                    opinions[index] = Opinion("pass", score, "", dict(zip(names, row, strict=True)))
        return opinions


def features(batch: Batch, asked: Callable[[], dict[str, Numbers]]) -> dict[str, Numbers]:
    """The columns of `FeaturesCheck.details`: one number for each reply of the batch."""
    lines, known = batch.lines, batch.structure
    characters = batch.characters(batch.begin, batch.end)
    spaces = batch.end - batch.begin - batch.ink.within(batch.begin, batch.end)
    digits = Bits(batch.data, lambda data: data - ord("0") < 10).within(batch.begin, batch.end)  # bytes wrap around

    def replies(chosen: Numbers) -> Numbers:
        """How many of these lines each reply has."""
        return np.bincount(lines.piece[chosen] % batch.count, minlength=batch.count)

    def both(pieces: Numbers) -> Numbers:
        """The sum over the two pieces of each reply."""
        return pieces[: batch.count] + pieces[batch.count :]

    words = both(batch.words.within(batch.begin, batch.end))
    paragraphs = replies(np.flatnonzero(batch.filled & ~known.code))
    found = asked()
    return {
        "characters": np.fromiter(map(len, batch.texts), dtype=np.int64, count=batch.count),
        "reasoning_characters": characters[: batch.count],
        "answer_characters": characters[batch.count :],
        "words": words,
        "lines": replies(np.flatnonzero(batch.filled)),
        "paragraphs": paragraphs,
        "code_blocks": replies(known.blocks[:, 0]),
        "boxed": found["boxed"].sum(0),
        "formulas": found["formulas"].sum(0),
        "steps": found["steps"].sum(0) + replies(known.numbered),
        "reflections": found["reflections"].sum(0),
        "digits": np.round(both(digits) / np.maximum(both(characters - spaces), 1), 4),
    }
