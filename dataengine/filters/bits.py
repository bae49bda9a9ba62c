"""Sets of positions as bits, 64 to a word: joined, moved and counted without a look at each position."""

from functools import cached_property

import numpy as np
import numpy.typing as npt

Mask = npt.NDArray[np.bool_]
Numbers = npt.NDArray[np.int64]
_Words = npt.NDArray[np.uint64]


class Bits:
    """A set of positions from 0 on, made from a mask; `before` and `within` count in it."""

    def __init__(self, mask: Mask) -> None:
        packed = np.packbits(mask, bitorder="little")
        self._words: _Words = np.zeros(len(mask) // 64 + 1, dtype="<u8")
        self._words.view(np.uint8)[: len(packed)] = packed

    def __or__(self, other: "Bits") -> "Bits":
        return _made(self._words | other._words)

    def but(self, other: "Bits") -> "Bits":
        """What is not in the other set."""
        return _made(self._words & ~other._words)

    def moved(self) -> "Bits":
        """Each position plus one."""
        words = self._words << np.uint64(1)
        words[1:] |= self._words[:-1] >> np.uint64(63)
        return _made(words)

    def before(self, at: Numbers) -> Numbers:
        """How many positions of the set lie before each of `at`, from 0 to the length of the mask."""
        word, rest = at >> 6, (at & 63).astype(np.uint64)
        below = self._words[word] & ((np.uint64(1) << rest) - np.uint64(1))
        counted: Numbers = self._passed[word] + np.bitwise_count(below)
        return counted

    def within(self, start: Numbers, end: Numbers) -> Numbers:
        """How many positions of the set lie in each half-open interval."""
        return self.before(end) - self.before(start)

    @cached_property
    def _passed(self) -> Numbers:
        """How many lie before each word."""
        counted = np.zeros(len(self._words), dtype=np.int64)
        np.cumsum(np.bitwise_count(self._words[:-1]), out=counted[1:])
        return counted


def _made(words: _Words) -> Bits:
    bits = Bits.__new__(Bits)
    bits._words = words
    return bits
