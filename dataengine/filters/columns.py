"""Replies of a batch as one buffer of bytes, so that numpy and compiled patterns count in all of them at once."""

import re
import unicodedata
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from dataengine.filters.bits import Bits, Mask, Numbers
from dataengine.filters.markdown import Lines, Structure, structure
from dataengine.prompting import boundaries

#: Characters that are looked at together; one text may have more.
MOST = 1 << 22
#: Characters of batches that are kept for the next check.
MOST_KEPT = 1 << 24

# What the first byte of a character makes of it; of some the second has a say: (first, second from, to, what it is).
_LETTER, _SPACE, _UNSPACED, _UNSURE = range(4)
_SECONDS = (
    (0xE0, 0xB8, 0xBB, _UNSPACED),  # Thai, Lao
    (0xE1, 0x80, 0x82, _UNSPACED),  # Burmese
    (0xE1, 0x9E, 0x9F, _UNSPACED),  # Khmer
    (0xE3, 0x80, 0x80, _SPACE),  # wide space, marks of Chinese and Japanese
    (0xE3, 0x81, 0xBF, _UNSPACED),  # kana, Han
    (0xEF, 0xBC, 0xBD, _SPACE),  # full-width signs
)
_CLASSES = bytearray([_LETTER] * 256)
_CLASSES[0xE4:0xEA] = bytes([_UNSPACED] * 6)  # Han
_TOLD = np.full((256, 256), _LETTER, dtype=np.uint8)
for _first, _low, _high, _kind in _SECONDS:
    _CLASSES[_first] = _UNSURE
    _TOLD[_first, _low : _high + 1] = _kind
# Nothing composes across the start of such a stretch.
_STRETCH = re.compile(r"[\x00-\x7f]+[^\x00-\x7f]*|[^\x00-\x7f]+")


class Batch:
    """Replies, composed (NFC), each as two pieces: reasoning (piece 2n) and answer (piece 2n + 1).

    Without reasoning tags all of a reply is its answer, as `take_apart` has it. `data` is the UTF-8 of all pieces, each
    in lines of its own, lone surrogates as question marks; `begin` and `end` are the pieces' offsets in it, in bytes,
    `at` their offsets in their texts, in characters.
    """

    def __init__(self, texts: Sequence[str]) -> None:
        self.texts = [t if t.isascii() else unicodedata.normalize("NFC", t) for t in texts]
        self.ascii = all(t.isascii() for t in self.texts)
        parts = [boundaries(t) for t in self.texts]
        self.reasoned = np.array([p is not None for p in parts])
        cuts = [p or (0, 0, 0) for p in parts]
        encoded = [
            piece.encode("utf-8", "replace")
            for text, (start, end, after) in zip(self.texts, cuts, strict=True)
            for piece in (text[start:end], text[after:])
        ]
        # Line breaks at the end, so that a look at the next bytes of the last line stays inside.
        self._buffer = b"\n".join([b"", *encoded, b"\n" * 8])
        self.data = np.frombuffer(self._buffer, dtype=np.uint8)
        lengths = np.fromiter(map(len, encoded), dtype=np.int64, count=len(encoded))
        self._offsets = np.concatenate(([1], 1 + np.cumsum(lengths + 1)))
        self.begin, self.end = self._offsets[:-1], self._offsets[:-1] + lengths
        self.at = np.array([at for start, _, after in cuts for at in (start, after)], dtype=np.int64)
        breaks = np.flatnonzero(self.data[: self._offsets[-1]] == ord("\n"))
        starts = breaks[:-1] + 1
        self.lines = Lines(self.data, starts, breaks[1:], np.searchsorted(self.begin, starts, side="right") - 1)

    def ask(self, questions: "Questions") -> dict[str, Numbers]:
        """The answers to questions about the pieces as strings (each after a line break), by name."""
        answers = self._column.to_frame().select(questions.asked)
        found: dict[str, Numbers] = {}
        for name, column in zip(questions.names, answers, strict=True):
            found[name] = found.get(name, 0) + column.to_numpy().astype(np.int64)
        return found

    @cached_property
    def _column(self) -> pl.Series:
        offsets, data = pa.py_buffer(self._offsets - 1), pa.py_buffer(self._buffer)
        column = pl.from_arrow(pa.LargeStringArray.from_buffers(len(self.begin), offsets, data))
        assert isinstance(column, pl.Series)
        return column

    @cached_property
    def structure(self) -> Structure:
        """What the lines are."""
        return structure(self.lines)

    @cached_property
    def ink(self) -> Bits:
        """Bytes that are no space."""
        return Bits(self.data > ord(" "))

    @cached_property
    def filled(self) -> Mask:
        """The lines with something in them."""
        return self.ink.within(self.lines.begin, self.lines.end) > 0

    def characters(self, start: Numbers, end: Numbers) -> Numbers:
        """Characters between byte offsets."""
        return end - start if self.ascii else self._characters.within(start, end)

    def widths(self, start: Numbers, end: Numbers) -> Numbers:
        """The room that the characters between byte offsets take: one each, from U+3000 on (Han, kana, Hangul) two."""
        return end - start if self.ascii else self._characters.within(start, end) + self._wide.within(start, end)

    def offsets(self, piece: Numbers, at: Numbers) -> Numbers:
        """Byte offsets in pieces as offsets in characters of the composed texts."""
        return self.at[piece] + self.characters(self.begin[piece], at)

    @cached_property
    def _characters(self) -> Bits:
        return Bits(self.data.view(np.int8) >= -64)  # no byte that follows in a character

    @cached_property
    def _wide(self) -> Bits:
        return Bits(self.data >= 0xE3)

    @cached_property
    def words(self) -> Bits:
        """Where words start: what stands between spaces, and in scripts without spaces each character."""
        letters, alone = self.ink, None
        if not self.ascii:
            classes = self._classes()
            alone, apart = Bits(classes == _UNSPACED), Bits(classes != _LETTER)
            # All of these characters are of three bytes.
            letters = letters.but(apart | apart.moved() | apart.moved().moved())
        starts = letters.but(letters.moved())
        return starts if alone is None else starts | alone

    def _classes(self) -> npt.NDArray[np.uint8]:
        """Of each byte that begins a character apart from words what it is; all others are letters."""
        classes = np.frombuffer(bytearray(self._buffer.translate(_CLASSES)), dtype=np.uint8)
        unsure = np.flatnonzero(classes == _UNSURE)
        classes[unsure] = _TOLD[self.data[unsure], self.data[unsure + 1]]
        return classes


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


class Questions:
    """Questions about strings by name, answered by numbers (1 for true); those of one name are added up.

    All are asked at once, on all cores: a round costs as much as a few patterns.
    """

    def __init__(self, questions: Mapping[str, Sequence[pl.Expr]]) -> None:
        self.names = [name for name, asked in questions.items() for _ in asked]
        self.asked = [q.alias(str(n)) for n, q in enumerate(q for asked in questions.values() for q in asked)]


def count(*patterns: str) -> list[pl.Expr]:
    """How often patterns (in the syntax of Rust's `regex`) are found."""
    return [pl.first().str.count_matches(p) for p in patterns]


def holds(pattern: str) -> list[pl.Expr]:
    """Whether a pattern is found."""
    return [pl.first().str.contains(pattern)]


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
