"""MinHash signatures of texts, made without a Python loop over words: code points, words and shingles are arrays.

Every hash here is arithmetic modulo 2^64 with fixed constants, so that a text has the same signature in every process
and on every machine.
"""

import unicodedata
from collections.abc import Sequence
from functools import cache
from hashlib import blake2b

import numpy as np
import numpy.typing as npt
from rensa import RMinHash

from dataengine.filters.composing import composed
from schemas.keys import storable

U64 = npt.NDArray[np.uint64]
U32 = npt.NDArray[np.uint32]
Ints = npt.NDArray[np.int64]

#: Words of a shingle, and numbers of a signature: one number more or less of 128 is 0.008 of similarity.
WORDS = 5
NUMBERS = 128

_SEED = 20_250_120
_ODD = 0x9E3779B97F4A7C15
_CODE_POINT = np.uint64(0xD6E8FEB86659FD93)
_CODE_POINT_INVERSE = np.uint64(pow(0xD6E8FEB86659FD93, -1, 2**64))
_NEIGHBOURS = [np.uint64(pow(_ODD, k + 1, 2**64)) for k in range(WORDS)]
# Code points that are hashed at once: what is worked on together stays within some ten megabytes.
_AT_ONCE = 1 << 17

_SPACE, _LETTER, _ALONE = 0, 1, 2
# Scripts without spaces between words: each character is a word. All planes above the first two are such or symbols.
_UNSPACED = (range(0x0E00, 0x0F00), range(0x1780, 0x1800), range(0x3040, 0x3100), range(0x3400, 0xA000))
_TABLED = 0x20000


def normal(text: str) -> str:
    """The text as it is compared: in Unicode's form NFC, lone surrogates replaced, without space around it."""
    plain = storable(text)
    form = composed(plain)
    return (form.text if form else plain).strip()


def hashes(texts: Sequence[str]) -> U64:
    """A hash of each text: of a million different texts, two agree once in thirty million times."""
    return np.frombuffer(b"".join(blake2b(t.encode(), digest_size=8).digest() for t in texts), np.dtype("<u8"))


def signatures(texts: Sequence[str]) -> tuple[U32, Ints]:
    """For each `normal` text its signature, `NUMBERS` numbers a row, and how many words it has.

    A word is a run of letters, digits and marks, or any one character else that is no space: `5 - 3` and `5 + 3` are
    different words. Letters are compared in lower case. The shingles of a text are all runs of `WORDS` words in it, or
    the whole text where it is shorter. The share of equal numbers in two signatures estimates the Jaccard similarity of
    their shingles (Broder 1997), with a standard error of sqrt(J (1 - J) / NUMBERS), 0.035 at 0.8.

    >>> made, words = signatures(["one two three four five", "One  two three, four five", "One two\\nthree four five"])
    >>> words.tolist(), bool((made[0] == made[2]).all()), bool((made[0] == made[1]).any())
    ([5, 6, 5], True, False)
    """
    made = np.empty((len(texts), NUMBERS), np.uint32)
    words = np.empty(len(texts), np.int64)
    lengths = [len(t) for t in texts]
    start = 0
    while start < len(texts):
        end, held = start + 1, lengths[start]
        while end < len(texts) and held + lengths[end] <= _AT_ONCE:
            held += lengths[end]
            end += 1
        found, counts = _words(texts[start:end], lengths[start:end])
        shingles, offsets = _shingles(found, counts)
        matrix = RMinHash.digest_matrix_from_flat_token_hashes(shingles, offsets, NUMBERS, _SEED)
        made[start:end] = np.array(matrix.to_rows(), np.uint32)
        words[start:end] = counts
        start = end
    return made, words


def similarity(one: U32, others: U32) -> npt.NDArray[np.float64]:
    """The estimated Jaccard similarity of a signature, or of as many as there are others, to each of the others."""
    return np.asarray((one == others).mean(axis=-1))


def mixed(values: U64) -> U64:
    """The values, each spread over all 64 bits (the finaliser of SplitMix64)."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def _words(texts: Sequence[str], lengths: Sequence[int]) -> tuple[U64, Ints]:
    """The hashes of all words, one text after the other, and how many each text has.

    A word's hash is a polynomial in its code points: the difference of two running sums, shifted to the word's start.
    """
    points = np.frombuffer("".join(texts).encode("utf-32-le"), np.int32).astype(np.int64)
    kinds, values = _tables()
    # What lies outside the tables is like their last entry, but for its value.
    kind, value = kinds.take(points, mode="clip"), values.take(points, mode="clip")
    outside = np.flatnonzero(points >= _TABLED)
    value[outside] = points[outside] + 1
    bounds = np.concatenate([[0], np.cumsum(lengths)])
    # A word begins where the kind changes, at each character that stands alone, and with each text.
    begins = np.ones(len(points) + 1, bool)
    begins[1:-1] = (kind[1:] != kind[:-1]) | (kind[1:] == _ALONE)
    begins[bounds] = True
    edges = np.flatnonzero(begins)
    is_word = kind[edges[:-1]] != _SPACE if len(points) else np.zeros(0, bool)
    first, last = edges[:-1][is_word], edges[1:][is_word]
    powers, inverses = _powers(len(points))
    sums = np.zeros(len(points) + 1, np.uint64)
    np.cumsum(value * powers, out=sums[1:])
    return mixed((sums[last] - sums[first]) * inverses[first]), np.diff(np.searchsorted(first, bounds))


def _shingles(words: U64, counts: Ints) -> tuple[U64, U64]:
    """The hashes of all shingles, one text after the other, and where each text's begin (with the end of the last)."""
    # Each text is followed by zeros, so that no shingle reaches into the next and short texts have one of their own.
    gap = WORDS - 1
    owner = np.repeat(np.arange(len(counts)), counts)
    padded = np.zeros(len(words) + gap * (len(counts) + 1), np.uint64)
    padded[np.arange(len(words)) + gap * owner] = words
    combined = np.zeros(len(padded) - gap, np.uint64)
    for k, factor in enumerate(_NEIGHBOURS):
        combined += padded[k : len(combined) + k] * factor
    number = np.where(counts > 0, np.maximum(counts - gap, 1), 0)
    offsets = np.concatenate([[0], np.cumsum(number)])
    begins = np.concatenate([[0], np.cumsum(counts + gap)[:-1]]) if len(counts) else np.zeros(0, np.int64)
    at = np.arange(offsets[-1]) + np.repeat(begins - offsets[:-1], number)
    return mixed(combined[at]), offsets.astype(np.uint64)


@cache
def _tables() -> tuple[npt.NDArray[np.uint8], U64]:
    """For each code point of the first two planes: space, letter or alone; and its lower case, plus one."""
    kinds = np.full(_TABLED, _ALONE, np.uint8)
    values = np.arange(1, _TABLED + 1, dtype=np.uint64)
    for point in range(_TABLED):
        character = chr(point)
        if character.isspace():
            kinds[point] = _SPACE
        elif character.isalnum() or unicodedata.category(character)[0] == "M":
            kinds[point] = _LETTER
            low = character.lower()
            if len(low) == 1:
                values[point] = ord(low) + 1
    for block in _UNSPACED:
        kinds[block.start : block.stop] = _ALONE
    kinds[0x3000] = _SPACE
    return kinds, values


def _powers(count: int) -> tuple[U64, U64]:
    """The first `count` powers of the code points' factor, and of its inverse."""
    if count <= 2 * _AT_ONCE:
        powers, inverses = _common_powers()
        return powers[:count], inverses[:count]
    return _raised(_CODE_POINT, count), _raised(_CODE_POINT_INVERSE, count)


@cache
def _common_powers() -> tuple[U64, U64]:
    return _raised(_CODE_POINT, 2 * _AT_ONCE), _raised(_CODE_POINT_INVERSE, 2 * _AT_ONCE)


def _raised(factor: np.uint64, count: int) -> U64:
    powers = np.full(count, factor, np.uint64)
    powers[:1] = 1
    return np.multiply.accumulate(powers)
