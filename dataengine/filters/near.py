"""Which signatures are similar, without comparing each with each: those that share a band of numbers are compared."""

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from dataengine.filters.minhash import U32, U64, Ints, mixed, similarity

#: Two signatures meet when one of these bands, of so many numbers each, is equal: 0.998 of the pairs of similarity 0.8
#: do, 0.28 of those of 0.5, 0.015 of those of 0.3.
BANDS = 21
ROWS = 6
#: A row is compared with no more than so many others for each band. Ten thousand questions from one template would
#: otherwise be compared each with each; near duplicates share many bands, so that few are missed.
MOST = 64


def leaders(
    signatures: U32, threshold: float, salts: U64, stands: npt.NDArray[np.bool_], fixed: int
) -> tuple[Ints, npt.NDArray[np.float64]]:
    """For each row the row that represents it, itself or an earlier one, and the similarity to the nearest.

    Rows are in order of precedence. A row is represented by the most similar of the earlier rows that represent
    themselves, if their similarity reaches `threshold`; so no row that comes later changes what was said of a row
    before. Only rows that `stands` marks represent others, the first `fixed` rows are represented by nobody else, and
    rows of different `salts` never meet.
    """
    leader = np.arange(len(signatures))
    score = np.zeros(len(signatures))
    meeting = _Meeting(signatures, salts)
    for row in meeting.rows:
        if row >= fixed:
            others = meeting.others(row)
            if others:
                found = similarity(signatures[row], signatures[others])
                nearest = int(found.argmax())
                score[row] = found[nearest]
                if found[nearest] >= threshold:
                    leader[row] = others[nearest]
                    continue
        if stands[row]:
            meeting.enter(row)
    return leader, score


def components(signatures: U32, threshold: float, salts: U64) -> Ints:
    """For each row the first row that it is connected with by a chain of similar rows, itself if there is none."""
    parent = list(range(len(signatures)))
    meeting = _Meeting(signatures, salts)
    for row in meeting.rows:
        others = meeting.others(row)
        if others:
            found = similarity(signatures[row], signatures[others])
            for other in np.flatnonzero(found >= threshold).tolist():
                a, b = _root(parent, others[other]), _root(parent, row)
                parent[max(a, b)] = min(a, b)
        meeting.enter(row)
    return np.array([_root(parent, row) for row in range(len(parent))], np.int64)


def _root(parent: list[int], row: int) -> int:
    while parent[row] != row:
        parent[row] = parent[parent[row]]
        row = parent[row]
    return row


class _Meeting:
    """Who was entered under each band that several rows share."""

    def __init__(self, signatures: U32, salts: U64) -> None:
        self._numbers = np.full((len(signatures), BANDS), -1, np.int32)
        count = 0
        for band in range(BANDS):
            keys = salts
            for column in range(band * ROWS, (band + 1) * ROWS):
                keys = mixed(keys + signatures[:, column])
            _, inverse, sizes = np.unique(keys, return_inverse=True, return_counts=True)
            shared = sizes > 1
            numbers = np.where(shared, np.cumsum(shared) + (count - 1), -1)
            self._numbers[:, band] = numbers[inverse]
            count += int(shared.sum())
        self._entered: list[list[int]] = [[] for _ in range(count)]

    @property
    def rows(self) -> Iterable[int]:
        """The rows that share a band with another, in order."""
        return map(int, np.flatnonzero((self._numbers >= 0).any(axis=1)))

    def others(self, row: int) -> Sequence[int]:
        """The rows entered before that share a band with this one, in order."""
        return sorted({other for number in self._shared(row) for other in self._entered[number]})

    def enter(self, row: int) -> None:
        """Makes a row known to those that come later."""
        for number in self._shared(row):
            if len(self._entered[number]) < MOST:
                self._entered[number].append(row)

    def _shared(self, row: int) -> list[int]:
        return [number for number in self._numbers[row].tolist() if number >= 0]
