"""The words of many texts at once, as 64-bit hashes with their places; written so that spelling does not count."""

import unicodedata
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Integers = npt.NDArray[np.int64]
Hashes = npt.NDArray[np.uint64]

#: Characters that are looked at together; a longer text is cut at a space.
BLOCK = 1 << 15
#: The last code point of our tables stands for itself and all above, of which none is in a word.
LAST = 0x323B0
#: Scripts without spaces, whose characters are words: Thai, Lao, Burmese, Khmer, kana, Han.
UNSPACED = (
    *((0x0E00, 0x0EFF), (0x1000, 0x109F), (0xAA60, 0xAA7F), (0x1780, 0x17FF), (0x3041, 0x30FF), (0x3005, 0x3005)),
    *((0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0x20000, 0x323AF)),
)
_APART, _LETTER, _DIGIT, _ALONE = range(4)
_BASE = 0x9E3779B97F4A7C15
_MODULUS = 1 << 64


class Tokens(NamedTuple):
    """The words of some texts, in order: hash, first and last place (end excluded) in its text, and number of the text.

    `plain` says that a word has two letters or more, or is a character of an unspaced script.
    """

    hashes: Hashes
    starts: Integers
    ends: Integers
    texts: Integers
    plain: npt.NDArray[np.bool_]


def tokenise(texts: Sequence[str], *, joined: bool = True) -> Tokens:
    """The words of `texts`: runs of letters, runs of digits, single characters of unspaced scripts.

    Case, compatibility forms (full width, ligatures), accents and other combining marks, and the script of digits do
    not count; all other characters stand between words. `joined` reads "1,000" and "don't" as one word, else as two.
    Any string will do, lone surrogates included.

    >>> found = tokenise(["Ça n'est: 1,000 km?", "ca NEST 1000km"])
    >>> found.hashes[:4].tolist() == found.hashes[4:].tolist()
    True
    """
    found = [_block(pieces, joined) for pieces in _blocks(texts)]
    return Tokens(*(np.concatenate(column) for column in zip(_no_tokens(), *found, strict=True)))


def _no_tokens() -> Tokens:
    none = np.zeros(0, np.int64)
    return Tokens(np.zeros(0, np.uint64), none, none, none, np.zeros(0, np.bool_))


def powers(length: int) -> tuple[Hashes, Hashes]:
    """The powers of the base of our hashes from 0 on, `length` of each, and their inverses (modulo 2**64)."""
    size = 1 << max(16, (length - 1).bit_length())
    both = _powers(size)
    return both[0][:length], both[1][:length]


def mixed(values: Hashes) -> Hashes:
    """The values with their bits spread, so that the upper ones make an address."""
    values = (values ^ (values >> np.uint64(31))) * np.uint64(0xBF58476D1CE4E5B9)
    return values ^ (values >> np.uint64(29))


def sums(values: Hashes | npt.NDArray[np.uint32]) -> Hashes:
    """The running sums of the values, each by its power of the base of our hashes: from 0 on, one more than values."""
    result = np.zeros(len(values) + 1, np.uint64)
    np.cumsum(values * powers(len(values))[0], out=result[1:])
    return result


def hashed(of: Hashes, first: Integers, end: Integers) -> Hashes:
    """The hashes of the values from `first` to `end`, end excluded, by their `sums`: polynomials, modulo 2**64."""
    return mixed((of[end] - of[first]) * powers(len(of))[1][first])


def code_points(text: str) -> npt.NDArray[np.uint32]:
    """The characters as numbers, lone surrogates too."""
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)


@lru_cache(maxsize=4)
def _powers(size: int) -> tuple[Hashes, Hashes]:
    result = []
    for base in (_BASE, pow(_BASE, -1, _MODULUS)):
        values = np.full(size, base, np.uint64)
        values[0] = 1
        result.append(np.cumprod(values))
    return result[0], result[1]


class _Tables(NamedTuple):
    """By code point: how many characters it is written as, where they stand in `flat`, the first of them; and by
    character what it is and its part of a hash.
    """

    length: npt.NDArray[np.uint8]
    place: Integers
    flat: npt.NDArray[np.uint32]
    first: npt.NDArray[np.uint32]
    kind: npt.NDArray[np.uint8]
    value: Hashes


@lru_cache(maxsize=1)
def _tables() -> _Tables:
    kind = np.zeros(LAST + 1, np.uint8)
    written = [_written(chr(c)) for c in range(LAST)] + [" "]
    for character in set("".join(written)):
        category = unicodedata.category(character)[0]
        kind[ord(character)] = {"L": _LETTER, "M": _LETTER, "N": _DIGIT}.get(category, _APART)
    for first, last in UNSPACED:
        kind[first : last + 1] = np.where(kind[first : last + 1] == _LETTER, _ALONE, kind[first : last + 1])
    length = np.fromiter(map(len, written), np.uint8, len(written))
    flat = code_points("".join(written))
    place = np.cumsum(length, dtype=np.int64) - length
    value = mixed(mixed(np.arange(1, LAST + 2, dtype=np.uint64) * np.uint64(_BASE)))
    value[kind == _APART] = 0
    return _Tables(length, place, flat, flat[np.minimum(place, len(flat) - 1)], kind, value)


def _written(character: str) -> str:
    """How a character is read: decomposed, without case, marks and what is not seen; digits as ours."""
    if unicodedata.category(character) in ("Cn", "Cs", "Co", "Cc"):
        return " "
    bare = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", character).casefold())
    return "".join(
        str(unicodedata.digit(c)) if unicodedata.category(c) == "Nd" else c
        for c in bare
        if not unicodedata.combining(c)
        and (unicodedata.category(c) != "Cf" or c == "\u200b")
        and not 0xFE00 <= ord(c) <= 0xFE0F
    )


_Piece = tuple[int, int, str]
"""(number of the text, place in it, characters)"""


def _blocks(texts: Sequence[str]) -> Iterator[list[_Piece]]:
    """The texts in order, in lists of some `BLOCK` characters."""
    block: list[_Piece] = []
    size = 0
    for number, text in enumerate(texts):
        at = 0
        while at < len(text):
            end = min(at + BLOCK, len(text))
            if end < len(text):
                end = max(text.rfind(" ", at, end), text.rfind("\n", at, end)) + 1 or end
            block.append((number, at, text[at:end]))
            size += end - at
            at = end
            if size >= BLOCK:
                yield block
                block, size = [], 0
    if block:
        yield block


def _block(pieces: list[_Piece], joined: bool) -> Tokens:
    tables = _tables()
    numbers, offsets, parts = zip(*pieces, strict=True)
    points = np.minimum(code_points("\n".join(parts)), LAST)
    length = tables.length[points]
    if (length == 1).all():
        characters, places = tables.first[points], None
    else:
        places = np.repeat(np.arange(len(points)), length)
        before = np.cumsum(length, dtype=np.int64) - length
        characters = tables.flat[np.arange(len(places)) + np.repeat(tables.place[points] - before, length)]
    kind = tables.kind[characters]
    if joined and len(marks := _joining(characters, kind)):
        places = np.delete(np.arange(len(characters)) if places is None else places, marks)
        characters, kind = np.delete(characters, marks), np.delete(kind, marks)
    edge = np.zeros(len(kind) + 1, np.bool_)
    edge[1:-1] = (kind[1:] != kind[:-1]) | (kind[1:] == _ALONE)
    edge[0] = edge[-1] = True
    inside = kind != _APART
    starts = np.flatnonzero(edge[:-1] & inside)
    ends = np.flatnonzero(edge[1:] & inside)  # the last character of each
    if not len(starts):
        return _no_tokens()
    power, inverse = powers(len(characters))
    hashes = mixed(np.add.reduceat(tables.value[characters] * power, starts) * inverse[starts])
    plain = (kind[starts] == _ALONE) | ((kind[starts] == _LETTER) & (ends > starts))
    if places is not None:
        starts, ends = places[starts], places[ends]
    # From places in the block to places in the texts.
    begins = np.cumsum([0, *(len(p) + 1 for p in parts[:-1])])
    piece = np.searchsorted(begins, starts, side="right") - 1
    shift = (np.array(offsets) - begins)[piece]
    return Tokens(hashes, starts + shift, ends + 1 + shift, np.array(numbers)[piece], plain)


def _joining(characters: npt.NDArray[np.uint32], kind: npt.NDArray[np.uint8]) -> Integers:
    """Where a comma stands between a digit and three digits, no more, or an apostrophe between letters."""
    end = len(kind) - 1
    at = np.flatnonzero((characters == ord(",")) | (characters == ord("'")) | (characters == ord("\u2019")))
    at = at[(at > 0) & (at < end)]
    before, comma = kind[at - 1], characters[at] == ord(",")
    following = [kind[np.minimum(at + k, end)] for k in range(1, 5)]
    three = np.logical_and.reduce([k == _DIGIT for k in following[:3]])
    three &= (at + 3 <= end) & ((following[3] != _DIGIT) | (at + 4 > end))
    joining: npt.NDArray[np.bool_] = np.where(
        comma, (before == _DIGIT) & three, (before == _LETTER) & (following[0] == _LETTER)
    )
    return at[joining]
