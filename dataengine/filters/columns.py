"""Replies of a batch as one buffer of bytes, so that numpy and compiled patterns count in all of them at once."""

import re
import unicodedata
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import chain

import numpy as np
import polars as pl
import pyarrow as pa

from dataengine.filters.bits import Bits, Mask, Numbers
from dataengine.filters.markdown import Lines, Structure, structure
from dataengine.prompting import boundaries

#: Characters that are looked at together; one text may have more.
MOST = 1 << 22
#: Characters of batches that are kept for the next check.
MOST_KEPT = 1 << 24

# Scripts without spaces beside Chinese and Japanese: first byte in UTF-8, and from where to where the second is.
_UNSPACED = ((0xE0, (0xB8, 0xBB)), (0xE1, (0x80, 0x82)), (0xE1, (0x9E, 0x9F)))  # Thai and Lao, Burmese, Khmer
# Nothing composes across the start of such a stretch.
_STRETCH = re.compile(r"[\x00-\x7f]+[^\x00-\x7f]*|[^\x00-\x7f]+")


class Questions:
    """What to look for in replies, by name.

    The finds of patterns (in the syntax of Rust's `regex`) are counted in reasoning and answer, those of one name
    together; other questions are asked of the column `answer` alone. All are asked at once, on all cores: a round costs
    as much as a few patterns.
    """

    def __init__(self, counts: Mapping[str, Sequence[str]], answers: Mapping[str, pl.Expr] | None = None) -> None:
        self.counts = counts
        self.answers = answers or {}
        parts = pl.col("reasoning"), pl.col("answer")
        asked = [part.str.count_matches(p) for patterns in counts.values() for p in patterns for part in parts]
        self.asked = [q.alias(str(n)) for n, q in enumerate([*asked, *self.answers.values()])]


class Batch:
    """Replies, composed (NFC), in two pieces each: the reasonings are the first `count` pieces, the answers the others.

    Without reasoning tags all of a reply is its answer, as `take_apart` has it. `data` is the UTF-8 of all pieces, each
    in lines of its own, lone surrogates as question marks; `begin` and `end` are the pieces' offsets in it, in bytes,
    `at` their offsets in their texts, in characters.
    """

    def __init__(self, texts: Sequence[str]) -> None:
        self.texts = [t if t.isascii() else unicodedata.normalize("NFC", t) for t in texts]
        self.count = len(self.texts)
        self.ascii = all(t.isascii() for t in self.texts)
        parts = [boundaries(t) for t in self.texts]
        self.reasoned = np.array([p is not None for p in parts])
        cuts = [p or (0, 0, 0) for p in parts]
        reasonings = (text[start:end] for text, (start, end, _) in zip(self.texts, cuts, strict=True))
        answers = (text[after:] for text, (_, _, after) in zip(self.texts, cuts, strict=True))
        encoded = [piece.encode("utf-8", "replace") for piece in chain(reasonings, answers)]
        # Line breaks at the end, so that a look at the next bytes of the last line stays inside.
        self._buffer = b"\n".join([b"", *encoded, b"\n" * 8])
        self.data = np.frombuffer(self._buffer, dtype=np.uint8)
        lengths = np.fromiter(map(len, encoded), dtype=np.int64, count=len(encoded))
        self._offsets = np.concatenate(([1], 1 + np.cumsum(lengths + 1)))
        self.begin, self.end = self._offsets[:-1], self._offsets[:-1] + lengths
        self.at = np.array([start for start, _, _ in cuts] + [after for _, _, after in cuts], dtype=np.int64)

    @cached_property
    def lines(self) -> Lines:
        """The lines of all pieces."""
        breaks = np.flatnonzero(self.data[: self._offsets[-1]] == ord("\n"))
        return Lines(self.data, breaks, np.searchsorted(breaks, self.begin) - 1)

    def ask(self, questions: Questions) -> Callable[[], dict[str, Numbers]]:
        """Starts to look; the call gives what was found, by name.

        Counts are those in reasoning and answer, (2, replies); what was asked of the answer has one number a reply.
        """
        query = self._strings.lazy().select(questions.asked).collect(background=True)

        def told() -> dict[str, Numbers]:
            columns = iter(query.fetch_blocking())
            found = {name: np.zeros((2, self.count), dtype=np.int64) for name in questions.counts}
            for name, patterns in questions.counts.items():
                for _ in patterns:
                    found[name] += [next(columns).to_numpy(), next(columns).to_numpy()]
            return found | {name: next(columns).to_numpy().astype(np.int64) for name in questions.answers}

        return told

    @cached_property
    def _strings(self) -> pl.DataFrame:
        """Reasoning and answers as strings, each after a line break."""
        offsets, data = pa.py_buffer(self._offsets - 1), pa.py_buffer(self._buffer)
        pieces = pl.from_arrow(pa.LargeStringArray.from_buffers(len(self.begin), offsets, data))
        assert isinstance(pieces, pl.Series)
        return pl.DataFrame({"reasoning": pieces[: self.count], "answer": pieces[self.count :]})

    @cached_property
    def structure(self) -> Structure:
        """What the lines are."""
        return structure(self.lines)

    @cached_property
    def ink(self) -> Bits:
        """Bytes that are no space."""
        return Bits(self.data, lambda data: data > ord(" "))

    @cached_property
    def filled(self) -> Mask:
        """The lines with something in them."""
        return self.lines.count(self.ink) > 0

    def characters(self, start: Numbers, end: Numbers) -> Numbers:
        """Characters between byte offsets."""
        return end - start if self.ascii else self._characters.within(start, end)

    @cached_property
    def room(self) -> Numbers:
        """The room that each line takes: one for a character, two from U+3000 on (Han, kana, Hangul)."""
        if self.ascii:
            return self.lines.end - self.lines.begin
        return self.lines.count(self._characters) - 1 + self.lines.count(self._wide)  # a break is a character

    def offsets(self, piece: Numbers, at: Numbers) -> Numbers:
        """Byte offsets in pieces as offsets in characters of the composed texts."""
        return self.at[piece] + self.characters(self.begin[piece], at)

    @cached_property
    def _characters(self) -> Bits:
        return Bits(self.data, lambda data: data.view(np.int8) >= -64)  # no byte that follows in a character

    @cached_property
    def _wide(self) -> Bits:
        return Bits(self.data, lambda data: data >= 0xE3)

    @cached_property
    def words(self) -> Bits:
        """Where words start: what stands between spaces, and in scripts without spaces each character."""
        if self.ascii:
            return self.ink & ~self.ink.later()
        # All characters that are looked for are of three bytes in UTF-8.
        kana, marks = self._bytes(0xE3), self._bytes(0x80).earlier()  # E3 80: marks, and the wide space
        signs = self._bytes(0xEF) & self._bytes(0xBC, 0xBD).earlier()  # of full width
        alone = self._bytes(0xE4, 0xE9) | kana & ~marks
        for first, second in _UNSPACED:
            if lead := self._bytes(first):
                alone |= lead & self._bytes(*second).earlier()
        apart = alone | kana | signs
        letters = self.ink & ~(apart | apart.later() | apart.later().later())
        return alone | letters & ~letters.later()

    def _bytes(self, low: int, high: int | None = None) -> Bits:
        if high is None:
            return Bits(self.data, lambda data: data == low)
        return Bits(self.data, lambda data: data - low <= high - low)  # below `low` bytes wrap around


_last: tuple[list[str], list[tuple[list[int], Batch]]] = ([], [])


def batches(texts: Sequence[str]) -> list[tuple[list[int], Batch]]:
    """The texts as batches, with their indices: ASCII apart, where much need not be looked for.

    Those made last are kept, as one check after another asks for the same.
    """
    global _last
    if _last[0] != texts:
        made = [(indices, Batch([texts[i] for i in indices])) for indices in _parts(texts)]
        _last = (list(texts), made) if sum(map(len, texts)) <= MOST_KEPT else ([], [])
        return made
    return _last[1]


def forget() -> None:
    """Drops the batches that are kept."""
    global _last
    _last = ([], [])


def _parts(texts: Sequence[str]) -> Iterator[list[int]]:
    plain = [t.isascii() for t in texts]
    for kind in (True, False):
        indices: list[int] = []
        size = 0
        for index in (i for i, p in enumerate(plain) if p is kind):
            if indices and size + len(texts[index]) > MOST:
                yield indices
                indices, size = [], 0
            indices.append(index)
            size += len(texts[index])
        if indices:
            yield indices


def in_original(text: str, composed: str, offsets: Sequence[int]) -> list[int]:
    """Offsets in the NFC form of a text, at ASCII characters or the end, as offsets in the text itself."""
    if text == composed:
        return list(offsets)
    here, there = [0], [0]
    for stretch in _STRETCH.finditer(text):
        here.append(stretch.end())
        there.append(there[-1] + len(unicodedata.normalize("NFC", stretch.group())))
    at = [bisect_right(there, offset) - 1 for offset in offsets]
    return [here[n] + offset - there[n] for n, offset in zip(at, offsets, strict=True)]
