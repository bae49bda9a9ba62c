"""An index of the n-grams of reference texts: which of them stand in other texts, how much of each, and where."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from dataengine.filters.tokens import Hashes, Integers, Tokens, hashed, sums, tokenise

#: An n-gram in more items of one benchmark than this is its template or plain language, and tells nothing.
COMMON = 3
#: An n-gram with fewer different words of two letters or more (or characters of unspaced scripts) tells nothing.
PLAIN = 4
#: A text that is only found as a whole needs so many words; one with fewer is found where it fills a line or more.
WHOLE = 4


@dataclass(frozen=True, slots=True)
class Part:
    """A text of a benchmark item: its question, or its reference solution."""

    benchmark: str
    item: str
    kind: str
    text: str


class Match(NamedTuple):
    """What of a part stands in a text: `found` of `of` n-grams, the longest stretch of them from `start` to `end`."""

    part: Part
    found: int
    of: int
    start: int
    end: int

    @property
    def share(self) -> float:
        """The share of the part's n-grams that were found; 1.0 where it was found as a whole."""
        return self.found / self.of


class Index:
    """The n-grams of `words` words of parts of benchmark items, sorted by hash.

    - An n-gram that stands in more than COMMON items of one benchmark, or holds fewer than PLAIN different plain words,
      tells nothing and is left out.
    - A part with n-grams left is found where `minimum` of them stand (or all, if it has fewer).
    - A part without any is found where all its words stand in a row, a question of fewer than WHOLE words only where
      no other words stand on its lines. A solution of fewer than `words` words is not searched: `return x` is no item.

    What is one word or two, such as "1,000" or "don't", is indexed as both. Hashes are of 64 bits and the same on every
    machine.
    """

    def __init__(self, parts: Sequence[Part], words: int, minimum: int = 1) -> None:
        self.words, self.minimum = words, minimum
        # Each reading of a part is an entry of its own.
        readings = [tokenise([p.text for p in parts], joined=joined) for joined in (True, False)]
        tokens = Tokens(*(np.concatenate(c) for c in zip(readings[0], _after(readings[1], len(parts)), strict=True)))
        self.parts = [*parts, *parts]
        names = {name: i for i, name in enumerate(dict.fromkeys(p.benchmark for p in parts))}
        self.names = list(names)
        self.benchmarks = np.array([names[p.benchmark] for p in self.parts], np.int64)
        items = {key: i for i, key in enumerate(dict.fromkeys((p.benchmark, p.item) for p in parts))}
        owner = np.array([items[p.benchmark, p.item] for p in self.parts], np.int64)
        first, count, whole = _whole(tokens, len(self.parts))
        # A reading or a part that stands in the benchmark already adds nothing; nor does an empty one.
        _, kept = np.unique(np.stack([self.benchmarks, whole.view(np.int64)]), axis=1, return_index=True)
        new = np.zeros(len(self.parts), np.bool_)
        new[kept] = True
        new &= count > 0
        self._index_grams(tokens, new, owner)
        searched = np.array([p.kind == "question" for p in self.parts], np.bool_) | (count >= words)
        self._index_whole(tokens, first, count, whole, np.flatnonzero(new & searched & (self.telling == 0)))

    def _index_grams(self, tokens: Tokens, new: npt.NDArray[np.bool_], owner: Integers) -> None:
        starts, hashes = _windows(tokens, self.words)
        part = tokens.texts[starts]
        told = new[part] & (_different(tokens, starts, self.words) >= PLAIN)
        hashes, part = hashes[told], part[told]
        # Once per part, in order of hash; those in many items of a benchmark go.
        order = np.lexsort((owner[part], self.benchmarks[part], hashes))
        hashes, part = hashes[order], part[order]
        group = _numbered(hashes, self.benchmarks[part])
        items = np.bincount(group[_first(group, owner[part])])
        rare = items[group] <= COMMON
        hashes, part = hashes[rare], part[rare]
        order = np.lexsort((part, hashes))
        hashes, part = hashes[order], part[order]
        once = _first(hashes, part)
        self.telling = np.bincount(part[once], minlength=len(self.parts))
        self.grams = _Lookup(hashes[once], part[once])

    def _index_whole(self, tokens: Tokens, first: Integers, count: Integers, whole: Hashes, parts: Integers) -> None:
        self.count, self.whole = count, whole
        long = parts[count[parts] >= WHOLE]
        starts, hashes = _windows(tokens, WHOLE)
        at = np.searchsorted(starts, first[long])
        self.openings = _Lookup(hashes[at], long)
        short = parts[count[parts] < WHOLE]
        self.short = _Lookup(whole[short], short)
        self._lengths = np.unique(count[short]).tolist()

    @property
    def digest(self) -> str:
        """A hash of what is found and how it counts: of texts and benchmarks' names, not of their files or order."""
        sha = hashlib.sha256("".join(f"{name}\n" for name in sorted(self.names)).encode("utf-8", "surrogatepass"))
        hashes = [hashlib.sha256(name.encode("utf-8", "surrogatepass")).digest()[:8] for name in self.names]
        named = np.frombuffer(b"".join(hashes), "<u8")[self.benchmarks]
        for lookup in (self.grams, self.openings, self.short):
            of = lookup.values
            rows = np.stack([lookup.hashes, self.whole[of], self.telling[of].astype(np.uint64), named[of]])
            rows = rows[:, np.lexsort(rows)]
            sha.update(np.ascontiguousarray(rows).astype("<u8").tobytes() + b"|")
        return sha.hexdigest()

    def search(self, texts: Sequence[str]) -> list[list[Match]]:
        """For each text the part of each benchmark with the largest share (of equals the longest), largest first."""
        tokens = tokenise(texts)
        pairs = [self._grams_in(tokens), self._long_in(tokens), *self._short_in(tokens, texts)]
        text, part, found, of, first, last = (np.concatenate(c) for c in zip(*pairs, strict=True))
        share, benchmark = found / of, self.benchmarks[part]
        order = np.lexsort((part, first - last, -self.count[part], -share, benchmark, text))
        chosen = order[_first(text[order], benchmark[order])]
        matches: list[list[Match]] = [[] for _ in texts]
        for i in chosen[np.lexsort((part[chosen], first[chosen] - last[chosen], -share[chosen]))]:
            start, end = int(tokens.starts[first[i]]), int(tokens.ends[last[i] - 1])
            matches[text[i]].append(Match(self.parts[part[i]], int(found[i]), int(of[i]), start, end))
        return matches

    def _grams_in(self, tokens: Tokens) -> tuple[Integers, ...]:
        starts, hashes = _windows(tokens, self.words)
        hit, part, gram = self.grams.find(hashes)
        at = starts[hit]
        text = tokens.texts[at]
        order = np.lexsort((at, part, text))
        text, part, gram, at = text[order], part[order], gram[order], at[order]
        pair = _numbered(text, part)
        heads = np.flatnonzero(_first(text, part))
        # Different n-grams of each pair of text and part.
        by_gram = np.lexsort((gram, pair))
        found = np.bincount(pair[by_gram][_first(pair[by_gram], gram[by_gram])], minlength=len(heads))
        # Stretches of n-grams that overlap or touch; the longest, and of several the first.
        gap = np.cumsum(np.diff(at, prepend=0) > self.words, dtype=np.int64)
        begin = np.flatnonzero(_first(pair, gap))
        first, last = at[begin], at[np.append(begin[1:], len(at))[: len(begin)] - 1] + self.words
        owner = pair[begin]
        longest = np.lexsort((first, first - last, owner))
        longest = longest[_first(owner[longest], owner[longest])]
        of = self.telling[part[heads]]
        enough = found >= np.minimum(of, self.minimum)
        columns = (text[heads], part[heads], found, of, first[longest], last[longest])
        return tuple(c[enough] for c in columns)

    def _long_in(self, tokens: Tokens) -> tuple[Integers, ...]:
        starts, hashes = _windows(tokens, WHOLE)
        hit, part, _ = self.openings.find(hashes)
        first = starts[hit]
        last = first + self.count[part]
        fits = last <= len(tokens.hashes)
        first, last, part = first[fits], last[fits], part[fits]
        fits = (tokens.texts[first] == tokens.texts[last - 1]) & (_spans(tokens, first, last) == self.whole[part])
        return _as_whole(tokens, first[fits], last[fits], part[fits])

    def _short_in(self, tokens: Tokens, texts: Sequence[str]) -> Iterator[tuple[Integers, ...]]:
        for length in self._lengths:
            starts, hashes = _windows(tokens, length)
            hit, part, _ = self.short.find(hashes)
            first = starts[hit]
            alone = [_fills_lines(tokens, texts, i, i + length) for i in first.tolist()]
            kept = np.array(alone, np.bool_)
            yield _as_whole(tokens, first[kept], first[kept] + length, part[kept])


class _Lookup:
    """Values by hash, several of one hash too. A table of bytes keeps most hashes that are not there from a search."""

    def __init__(self, hashes: Hashes, values: Integers) -> None:
        order = np.lexsort((values, hashes))
        self.hashes, self.values = hashes[order], values[order]
        self._keys, self._begins = np.unique(self.hashes, return_index=True)
        self._counts = np.diff(np.append(self._begins, len(self.hashes)))
        bits = max(8, (8 * len(self._keys)).bit_length())
        self._shift = np.uint64(64 - bits)
        self._there = np.zeros(1 << bits, np.bool_)
        self._there[self._keys >> self._shift] = True

    def find(self, hashes: Hashes) -> tuple[Integers, Integers, Integers]:
        """(place in `hashes`, value, number of the hash) of everything that is there, in order."""
        at = np.flatnonzero(self._there[hashes >> self._shift])
        key = np.searchsorted(self._keys, hashes[at])
        there = key < len(self._keys)
        at, key = at[there], key[there]
        there = self._keys[key] == hashes[at]
        at, key = at[there], key[there]
        counts = self._counts[key]
        before = np.cumsum(counts) - counts
        values = self.values[np.arange(counts.sum()) + np.repeat(self._begins[key] - before, counts)]
        return np.repeat(at, counts), values, np.repeat(key, counts)


def _as_whole(tokens: Tokens, first: Integers, last: Integers, part: Integers) -> tuple[Integers, ...]:
    return tokens.texts[first], part, np.ones_like(part), np.ones_like(part), first, last


def _fills_lines(tokens: Tokens, texts: Sequence[str], first: int, last: int) -> bool:
    """Whether no other words stand on the lines of the words from `first` to `last`, end excluded."""
    number = tokens.texts[first]
    begin = tokens.ends[first - 1] if first and tokens.texts[first - 1] == number else None
    end = tokens.starts[last] if last < len(tokens.texts) and tokens.texts[last] == number else None
    before = begin is None or "\n" in texts[number][begin : tokens.starts[first]]
    return before and (end is None or "\n" in texts[number][tokens.ends[last - 1] : end])


def _after(tokens: Tokens, texts: int) -> Tokens:
    return tokens._replace(texts=tokens.texts + texts)


def _spans(tokens: Tokens, first: Integers, last: Integers) -> Hashes:
    """The hash of the words from `first` to `last`, end excluded."""
    return hashed(sums(tokens.hashes), first, last)


def _windows(tokens: Tokens, words: int) -> tuple[Integers, Hashes]:
    """Where `words` words of one text stand in a row, and their hashes."""
    if len(tokens.hashes) < words:
        return np.zeros(0, np.int64), np.zeros(0, np.uint64)
    starts = np.flatnonzero(tokens.texts[: len(tokens.texts) - words + 1] == tokens.texts[words - 1 :])
    return starts, _spans(tokens, starts, starts + words)


def _whole(tokens: Tokens, texts: int) -> tuple[Integers, Integers, Hashes]:
    """Of each text its first word, how many it has, and the hash of them all (of none: 0)."""
    first = np.searchsorted(tokens.texts, np.arange(texts))
    count = np.diff(np.append(first, len(tokens.texts)))
    return first, count, _spans(tokens, first, first + count)


def _different(tokens: Tokens, starts: Integers, words: int) -> Integers:
    """How many different plain words stand in the windows."""
    order = np.lexsort((np.arange(len(tokens.hashes)), tokens.hashes))
    before = np.full(len(order), -1, np.int64)
    same = tokens.hashes[order][1:] == tokens.hashes[order][:-1]
    before[order[1:][same]] = order[:-1][same]
    found = np.zeros(len(starts), np.int64)
    for k in range(words):
        found += tokens.plain[starts + k] & (before[starts + k] < starts)
    return found


def _first(*keys: Integers | Hashes) -> npt.NDArray[np.bool_]:
    """Where in sorted columns a row differs from the one before."""
    new = np.ones(len(keys[0]), np.bool_)
    new[1:] = np.logical_or.reduce([k[1:] != k[:-1] for k in keys])
    return new


def _numbered(*keys: Integers | Hashes) -> Integers:
    """The rows of sorted columns, equal ones with one number."""
    return np.cumsum(_first(*keys)) - 1
