"""What can be counted in a reply cheaply, once: its length, reflection, boxed answers, steps, formulas, code."""

from collections.abc import Sequence
from typing import ClassVar, Final

import numpy as np

from dataengine.checks import Filter, Opinion, Sample
from dataengine.filters.columns import Batch, Bits, batches, counting
from dataengine.filters.markdown import Numbers
from dataengine.filters.phrases import REFLECTION, STEP, in_any, in_others

# "$5 and $10": a formula neither begins nor ends with a space.
_FORMULA = r"\$\$[^$]+\$\$|\$[^\s$](?:[^$\n]*[^\s$])?\$|\\\(|\\\[|\\begin\{"
# By what they count: for every text, and for texts that are not ASCII alone.
_PATTERNS: Final[dict[str, tuple[list[str], list[str]]]] = {
    "boxed": ([r"\\boxed\b"], []),
    "formulas": ([_FORMULA], []),
    "reflections": (in_any(REFLECTION), in_others(REFLECTION)),
    "steps": (in_any(STEP), in_others(STEP)),
}


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
        for indices, batch in batches([s.text for s in samples]):
            columns = features(batch)
            names, words = tuple(columns), columns["words"]
            scores = np.round(1000 * columns["reflections"] / np.maximum(words, 1), 4)
            rows = zip(*(c.tolist() for c in columns.values()), strict=True)
            for index, score, row, any_word in zip(indices, scores.tolist(), rows, words.tolist(), strict=True):
                if any_word:
                    opinions[index] = Opinion("pass", score, "", dict(zip(names, row, strict=True)))
        return opinions


def features(batch: Batch) -> dict[str, Numbers]:
    """The columns of `FeaturesCheck.details`: one number for each reply of the batch."""
    lines, known = batch.lines, batch.structure
    characters = batch.characters(batch.begin, batch.end).reshape(-1, 2)
    spaces = batch.end - batch.begin - batch.ink.within(batch.begin, batch.end)
    shown = characters.sum(1) - spaces.reshape(-1, 2).sum(1)
    digits = Bits((batch.data >= ord("0")) & (batch.data <= ord("9"))).within(batch.begin, batch.end)
    found = _found(batch)

    def replies(chosen: Numbers) -> Numbers:
        """How many of these lines each reply has."""
        return np.bincount(lines.piece[chosen] >> 1, minlength=len(batch.texts))

    return {
        "characters": np.fromiter(map(len, batch.texts), dtype=np.int64, count=len(batch.texts)),
        "reasoning_characters": characters[:, 0],
        "answer_characters": characters[:, 1],
        "words": batch.words.within(batch.begin, batch.end).reshape(-1, 2).sum(1),
        "lines": replies(np.flatnonzero(batch.filled)),
        "paragraphs": replies(np.flatnonzero(batch.filled & ~known.code)),
        "code_blocks": replies(known.blocks[:, 0]),
        "boxed": found["boxed"],
        "formulas": found["formulas"],
        "steps": found["steps"] + replies(known.numbered),
        "reflections": found["reflections"],
        "digits": np.round(digits.reshape(-1, 2).sum(1) / np.maximum(shown, 1), 4),
    }


def _found(batch: Batch) -> dict[str, Numbers]:
    """How often the patterns are found in each reply."""
    sets = {name: every + ([] if batch.ascii else other) for name, (every, other) in _PATTERNS.items()}
    counts = iter(batch.ask(counting([p for patterns in sets.values() for p in patterns])))
    return {name: sum(next(counts) for _ in patterns).reshape(-1, 2).sum(1) for name, patterns in sets.items()}
