"""The loop at the end of a text: one unit said again and again until the tokens ran out."""

import numpy as np
import numpy.typing as npt

from dataengine.filters.repeats import Found
from dataengine.filters.tokens import code_points, hashed, sums

#: Characters at the end of a text in which a loop is looked for; one that fills them is followed further back.
TAIL = 20_000
#: Characters a loop must fill, and one without any letter.
LETTERED = 60
BARE = 400


def tail_loop(text: str, repeats: int) -> Found:
    """The longest span at the end of `text` that is one unit said `repeats` times or more, as a share of the text.

    Space at the end is left aside; the last unit may be cut off. Takes a search for the last characters, and only where
    they stand there before a comparison of all lengths of a unit by their hashes.
    """
    end = len(text.rstrip())
    tail = text[max(0, end - TAIL) : end]
    # In a loop of LETTERED characters or more all but one part in `repeats` stands there before, one unit earlier.
    again = LETTERED - LETTERED // repeats
    if end < LETTERED or tail.rfind(tail[-again:], max(0, len(tail) - len(tail) // repeats - again), len(tail) - 1) < 0:
        return Found()
    points = code_points(tail)
    longest = passed = of_longest = 0
    for unit in _units(points, repeats):
        # By Fine and Wilf, of the units that leave room for this one only its multiples come, with the same loop.
        if unit <= passed:
            continue
        length = _length(points, unit)
        if length < unit * repeats:  # the hashes agreed by chance
            continue
        passed = max(passed, length - unit)
        lettered = any(map(str.isalpha, tail[-unit:]))
        if length >= max(longest + 1, LETTERED if lettered else BARE):
            longest, of_longest = length, unit
    if longest == len(tail) < end:
        longest = _length(code_points(text[:end]), of_longest)
    return Found(longest / end, (end - longest, end)) if longest else Found()


def _length(points: npt.NDArray[np.uint32], unit: int) -> int:
    """How many characters at the end are equal to those one unit before, the first unit included."""
    differ = np.flatnonzero(points[unit:] != points[:-unit])
    return len(points) - (int(differ[-1]) + 1 if len(differ) else 0)


def _units(points: npt.NDArray[np.uint32], repeats: int) -> list[int]:
    """The lengths of which `repeats` units or more end the text, ascending, as far as hashes tell."""
    count = len(points)
    unit = np.arange(1, count // repeats + 1)
    of_points = sums(points + np.uint32(1))
    # All of it but the last unit is equal to what stands one unit later.
    before = hashed(of_points, count - unit * repeats, count - unit)
    after = hashed(of_points, count - unit * (repeats - 1), np.full_like(unit, count))
    return [int(n) for n in unit[before == after]]
