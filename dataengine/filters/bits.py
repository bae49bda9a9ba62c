"""Sets of positions as bits, 64 to a word: joined, moved and counted without a look at each position."""

from collections.abc import Callable
from functools import cached_property

import numpy as np
import numpy.typing as npt

Bytes = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]
Numbers = npt.NDArray[np.int64]
_Words = npt.NDArray[np.uint64]


# Bytes that are tested at once, so that what is made of them stays in the processor's cache.
_BLOCK = 1 << 17


class Bits:
    """The positions of those bytes that pass a test; `before` and `within` count them."""

    def __init__(self, data: Bytes, test: Callable[[Bytes], Mask]) -> None:
        self._words: _Words = np.zeros(len(data) // 64 + 1, dtype="<u8")
        packed = self._words.view(np.uint8)
        for start in range(0, len(data), _BLOCK):
            part = np.packbits(test(data[start : start + _BLOCK]), bitorder="little")
            packed[start // 8 : start // 8 + len(part)] = part

    def __or__(self, other: "Bits") -> "Bits":
        return _made(self._words | other._words)

    def __and__(self, other: "Bits") -> "Bits":
        return _made(self._words & other._words)

    def __invert__(self) -> "Bits":
        return _made(~self._words)

    def __bool__(self) -> bool:
        return bool(self._words.any())

    def later(self) -> "Bits":
        """Each position plus one."""
        words = self._words << np.uint64(1)
        words[1:] |= self._words[:-1] >> np.uint64(63)
        return _made(words)

    def earlier(self) -> "Bits":
        """Each position minus one."""
        words = self._words >> np.uint64(1)
        words[:-1] |= self._words[1:] << np.uint64(63)
        return _made(words)

    def before(self, at: Numbers) -> Numbers:
        """How many positions of the set lie before each of `at`, from 0 to the length of the data."""
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
