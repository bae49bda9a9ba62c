"""How much of a text says what it has said twice before: lines, sentences and phrases of many texts at once, as hashes.

A word is what stands between spaces; in scripts without spaces each character is one. Texts are code points in one row,
words, lines and sentences polynomial hashes of 64 bits over them: there is no Python loop over words.
"""

from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from dataengine.filters.tokens import LAST, UNSPACED, Hashes, Integers, code_points, hashed, mixed, sums

Flags = npt.NDArray[np.bool_]

#: Characters of a line or a sentence from which on saying it again counts.
SHORTEST = 20
#: What was said so often before counts as repeated: an answer may say all of the reasoning once more.
BEFORE = 2
#: Characters from which on no further text is looked at together: the arrays stay in the processor's cache.
BLOCK = 1 << 17

_SPACE, _LETTER, _ALONE, _STOP, _CLOSING = (1 << n for n in range(5))
_STOPS = ".!?…؟۔।॥։።።။។"
_FULL_STOPS = "。！？｡"  # no space follows these
_CLOSINGS = "\"'”’»)]}*$`」』）"


class Found(NamedTuple):
    """How much of a text one rule finds repeated, and where: the longest such span, as offsets, or None."""

    share: float = 0.0
    span: tuple[int, int] | None = None


class Repeats(NamedTuple):
    """What a text says for the third time or more. `words` is where those of its words begin that hold a letter.

    `lines` and `sentences` are shares of the characters, in lines (sentences) of `SHORTEST` characters or more, one of
    them a letter, that stood there twice before; all lines (sentences) are the whole, but for the space around them.
    `phrases` is the share of the words with a letter that are in runs of some such words, with all between them, that
    stood there twice before.
    """

    words: Integers
    lines: Found
    sentences: Found
    phrases: Found


class _Words(NamedTuple):
    """The words of a block of texts, in order; places count from the start of the block."""

    hashes: Hashes
    starts: Integers
    ends: Integers
    texts: Integers
    lettered: Flags
    opens_line: Flags
    opens_sentence: Flags


def repeats(texts: Sequence[str], phrase_words: int) -> list[Repeats]:
    """What each of the texts says again and again; a phrase is `phrase_words` words with a letter. Any string will do.

    >>> found = repeats(["One line that is long enough.\\n" * 4 + "Another line."], 8)[0]
    >>> round(found.lines.share, 2), found.lines.span, round(found.phrases.share, 2)
    (0.45, (60, 89), 0.46)
    """
    return [of_text for block in _blocks(texts) for of_text in _block(block, phrase_words)]


def _blocks(texts: Sequence[str]) -> Iterator[Sequence[str]]:
    start = size = 0
    for end, text in enumerate(texts, 1):
        size += len(text)
        if size >= BLOCK or end == len(texts):
            yield texts[start:end]
            start, size = end, 0


def _block(texts: Sequence[str], phrase_words: int) -> list[Repeats]:
    begins = np.cumsum([0, *(len(t) + 1 for t in texts)])
    words = _words(texts, begins)
    of_words = sums(words.hashes)
    found = (
        _units(words, words.opens_line, of_words, begins),
        _units(words, words.opens_sentence, of_words, begins),
        _phrases(words, of_words, begins, phrase_words),
    )
    lettered = words.starts[words.lettered]
    edges = np.searchsorted(lettered, begins).tolist()
    return [
        Repeats(lettered[edges[i] : edges[i + 1]] - begins[i], *(rule[i] for rule in found)) for i in range(len(texts))
    ]


def _words(texts: Sequence[str], begins: Integers) -> _Words:
    points = code_points("\n".join([*texts, ""]))
    kinds = _kinds().take(points, mode="clip")
    outside = kinds & _SPACE != 0
    # Where a word may begin or end: beside a space or a character that is a word by itself.
    apart = outside | (kinds & _ALONE != 0)
    edge = np.ones(len(points) + 1, np.bool_)
    edge[1:-1] = apart[1:] | apart[:-1]
    starts = np.flatnonzero(edge[:-1] & ~outside)
    last = np.flatnonzero(edge[1:] & ~outside)
    if not len(starts):
        none = np.zeros(0, np.int64)
        flags = np.zeros(0, np.bool_)
        return _Words(np.zeros(0, np.uint64), none, none, none, flags, flags, flags)
    hashes = hashed(sums(points + np.uint32(1)), starts, last + 1)
    lettered = np.bitwise_or.reduceat(kinds, starts) & _LETTER != 0
    opens_line = np.zeros(len(starts) + 1, np.bool_)
    opens_line[np.searchsorted(starts, np.flatnonzero(points == ord("\n")))] = True
    opens_line[0] = True
    opens_sentence = opens_line.copy()
    opens_sentence[1:] |= _stops(kinds, starts, last)
    texts_of = np.repeat(np.arange(len(texts)), np.diff(np.searchsorted(starts, begins)))
    return _Words(hashes, starts, last + 1, texts_of, lettered, opens_line[:-1], opens_sentence[:-1])


def _stops(kinds: npt.NDArray[np.uint8], starts: Integers, last: Integers) -> Flags:
    """Which words end with a full stop, quotation marks and brackets after it left aside."""
    stops: Flags = kinds[last] & _STOP != 0
    closing = np.flatnonzero(kinds[last] & _CLOSING)
    at = last[closing]
    for _ in range(3):
        at = at - 1
        inside = at >= starts[closing]
        closing, at = closing[inside], at[inside]
        stops[closing[kinds[at] & _STOP != 0]] = True
        closed = kinds[at] & _CLOSING != 0
        closing, at = closing[closed], at[closed]
    return stops


def _units(words: _Words, opens: Flags, of_words: Hashes, begins: Integers) -> list[Found]:
    """Of each text the lines or sentences (each from a word that opens one to the next) that are repeated."""
    first = np.flatnonzero(opens)
    end = np.append(first[1:], len(opens))[: len(first)]
    starts, ends, text = words.starts[first], words.ends[end - 1], words.texts[first]
    told = ends - starts >= SHORTEST
    if len(first):
        told &= np.logical_or.reduceat(words.lettered, first)
    told = np.flatnonzero(told)
    again = told[_again(hashed(of_words, first[told], end[told]), text[told])]
    count = len(begins) - 1
    characters = np.bincount(text, ends - starts, count)
    repeated = np.bincount(text[again], (ends - starts)[again], count)
    return _found(repeated, characters, text[again], starts[again], ends[again], begins)


def _phrases(words: _Words, of_words: Hashes, begins: Integers, size: int) -> list[Found]:
    at = np.flatnonzero(words.lettered)
    text = words.texts[at]
    count = len(begins) - 1
    total = np.bincount(text, minlength=count)
    first = np.flatnonzero(text[: len(text) - size + 1] == text[size - 1 :]) if len(at) >= size else at[:0]
    again = first[_again(hashed(of_words, at[first], at[first + size - 1] + 1), text[first])]
    change = np.zeros(len(at) + 1, np.int64)
    change[again] += 1
    change[again + size] -= 1
    covered = np.cumsum(change[:-1]) > 0
    # Stretches of such words; one never reaches into the next text.
    opens = covered.copy()
    opens[1:] &= ~covered[:-1] | (text[1:] != text[:-1])
    closes = covered.copy()
    closes[:-1] &= ~covered[1:] | (text[1:] != text[:-1])
    left, right = np.flatnonzero(opens), np.flatnonzero(closes)
    repeated = np.bincount(text[left], right - left + 1, count)
    return _found(repeated, total, text[left], words.starts[at[left]], words.ends[at[right]], begins)


def _found(
    repeated: npt.NDArray[Any],
    total: npt.NDArray[Any],
    text: Integers,
    starts: Integers,
    ends: Integers,
    begins: Integers,
) -> list[Found]:
    """The shares by text, with the longest of the spans (of equals the first)."""
    found = [Found()] * len(total)
    order = np.lexsort((starts, starts - ends, text))
    longest = order[np.diff(text[order], prepend=-1) != 0]
    offsets = begins[text[longest]]
    spans = zip((starts[longest] - offsets).tolist(), (ends[longest] - offsets).tolist(), strict=True)
    for number, span in zip(text[longest].tolist(), spans, strict=True):
        found[number] = Found(float(repeated[number] / total[number]), span)
    return found


def _again(hashes: Hashes, texts: Integers) -> Flags:
    """Which of the hashes stand `BEFORE` times or more before them in the same text."""
    keys = mixed(hashes + texts.astype(np.uint64) * np.uint64(0xD6E8FEB86659FD93))
    # Sorted with their places in the low bits: sorting numbers is four times as fast as sorting their places.
    low = np.uint64((1 << len(keys).bit_length()) - 1)
    order = (np.sort((keys & ~low) | np.arange(len(keys), dtype=np.uint64)) & low).astype(np.int64)
    again = np.zeros(len(keys), np.bool_)
    again[order[BEFORE:]] = keys[order[BEFORE:]] == keys[order[:-BEFORE]]
    return again


@cache
def _kinds() -> npt.NDArray[np.uint8]:
    kinds = np.zeros(LAST + 1, np.uint8)
    characters = [chr(point) for point in range(LAST)]
    kinds[:LAST] = np.where([c.isspace() for c in characters], _SPACE, 0)
    kinds[:LAST] |= np.where([c.isalpha() for c in characters], _LETTER, 0).astype(np.uint8)
    for first, last in UNSPACED:
        kinds[first : last + 1] |= _ALONE
    for characters_of, kind in ((_STOPS, _STOP), (_FULL_STOPS, _STOP | _ALONE), (_CLOSINGS, _CLOSING)):
        for character in characters_of:
            kinds[ord(character)] |= kind
    return kinds
