"""How far people who judge the same items agree: percent, Cohen's and Fleiss' kappa, Krippendorff's alpha, intervals.

Ratings come as two sequences: which item, and what was said of it, one entry for each person and item. What is missing
is left out, or None. None of the figures tells the raters apart but Cohen's, so a rater's second word on an item has to
be left out before.
"""

from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

Level = Literal["nominal", "ordinal", "interval"]
Floats = npt.NDArray[np.float64]
#: Resamples of a bootstrap, and the share of them inside its interval.
RESAMPLES = 2000
LEVEL = 0.95
# Draws of items that are made at once: 32 MB of them.
_AT_ONCE = 4_000_000
# Below this share of its terms a difference is what rounding left of none.
_NONE_LEFT = 1e-12
# The 97.5th percentile of the normal distribution.
_Z = 1.959963984540054


@dataclass(frozen=True)
class Figure:
    """A figure of agreement with the interval of a bootstrap over items; None where it has no value."""

    value: float | None
    low: float | None
    high: float | None
    items: int
    """Those that it is of: with two ratings or more."""
    ratings: int
    """Of those items."""
    dropped: int = 0
    """Items that were left out."""


def percent(items: Sequence[Hashable], labels: Sequence[Hashable], *, seed: int = 0) -> Figure:
    """The share of pairs of ratings of one item that say the same, 0 to 1, as the mean over items.

    Of two raters that is how often they agree; of more it is the mean P_i of Fleiss (1971). Items with one rating are
    dropped.
    """
    counts, dropped = _counts(items, labels)
    same = _same(counts)

    def of(weights: Floats) -> Floats:
        mean: Floats = weights @ same / weights.sum(axis=1)
        return mean

    return _figure(counts, of, dropped, seed)


def fleiss_kappa(
    items: Sequence[Hashable], labels: Sequence[Hashable], *, n: int | None = None, seed: int = 0
) -> Figure:
    """Fleiss' kappa for items with n ratings each, whoever gave them (Fleiss 1971).

    (P - Pe) / (1 - Pe), with P the mean over items of the share of pairs of ratings that agree, and Pe the sum over
    labels of their squared share of all ratings. With `n`, items with another number of ratings are dropped, and
    counted in `dropped`; without it they have to have equally many. Raises ValueError where they have not.
    """
    counts, dropped = _counts(items, labels)
    ratings = counts.sum(axis=1)
    if n is not None:
        if n < 2:
            raise ValueError(f"n is {n}; agreement needs two ratings of an item at least")
        counts, dropped = counts[ratings == n], dropped + int((ratings != n).sum())
    elif dropped or len(np.unique(ratings)) > 1:
        found = ", ".join(["1"] * bool(dropped) + [f"{r:.0f}" for r in np.unique(ratings)])
        raise ValueError(
            f"items have {found} ratings; Fleiss' kappa wants equally many: give n, or take Krippendorff's"
        )
    same = _same(counts)

    def of(weights: Floats) -> Floats:
        shares = weights @ counts
        shares /= shares.sum(axis=1, keepdims=True)
        return _beyond_chance(weights @ same / weights.sum(axis=1), (shares**2).sum(axis=1))

    return _figure(counts, of, dropped, seed)


def krippendorff_alpha(
    items: Sequence[Hashable],
    values: Sequence[Any],
    level: Level = "nominal",
    *,
    order: Sequence[Hashable] | None = None,
    seed: int = 0,
) -> Figure:
    """Krippendorff's alpha: 1 - observed / expected disagreement, for any number of ratings of an item.

    After Krippendorff, "Computing Krippendorff's Alpha-Reliability" (2011). The disagreement of two values is 0 or 1
    (nominal), the squared difference of their ranks, of equals the middle one (ordinal), or of themselves (interval).
    Ordinal values are ranked as in `order`, or as they sort. Items with one rating are dropped. None where only one
    value was ever given. Raises ValueError for a value that `order` lacks.
    """
    if level == "interval":
        moments, dropped = _moments(items, values)
        size, total, squares = moments.T

        def of_moments(weights: Floats) -> Floats:
            return _alpha(weights, size, total, squares, weights @ total, weights @ squares)

        return _figure(moments, of_moments, dropped, seed, ratings=size)
    counts, dropped = _counts(items, values, sorted(_there(values)) if level == "ordinal" and order is None else order)
    size = counts.sum(axis=1)

    def nominal(weights: Floats) -> Floats:
        found = weights @ ((size**2 - (counts**2).sum(axis=1)) / (size - 1))
        of_labels = weights @ counts
        n = of_labels.sum(axis=1)
        return _one_minus(found * (n - 1), n**2 - (of_labels**2).sum(axis=1), n**2)

    def ordinal(weights: Floats) -> Floats:
        of_labels = weights @ counts
        n = of_labels.sum(axis=1, keepdims=True)
        # From the middle, and as shares of all: sums of squares then stay small beside what they differ by.
        ranks = (np.cumsum(of_labels, axis=1) - of_labels / 2) / n - 0.5
        return _alpha(
            weights,
            size,
            ranks @ counts.T,
            ranks**2 @ counts.T,
            (of_labels * ranks).sum(axis=1),
            (of_labels * ranks**2).sum(axis=1),
        )

    return _figure(counts, ordinal if level == "ordinal" else nominal, dropped, seed)


def cohen_kappa(first: Sequence[Hashable | None], second: Sequence[Hashable | None], *, seed: int = 0) -> Figure:
    """Cohen's kappa of two raters over the items, one after the other, that both rated (Cohen 1960); see `cohen`."""
    both = [(a, b) for a, b in zip(first, second, strict=True) if a is not None and b is not None]
    place = {label: i for i, label in enumerate(sorted({label for pair in both for label in pair}, key=repr))}
    cells = np.zeros((len(place), len(place)))
    for a, b in both:
        cells[place[a], place[b]] += 1
    return cohen(cells, dropped=len(first) - len(both), seed=seed)


def cohen(cells: npt.ArrayLike, *, errors: npt.ArrayLike | None = None, dropped: int = 0, seed: int = 0) -> Figure:
    """Cohen's kappa of a table of counts, what one said by what the other said, with its bootstrap interval.

    What is drawn from has one case more, spread over the cells in which the two differ, or `errors` in their place: a
    few cases of which none went wrong would else give an interval without width. A resample without a kappa tells
    nothing and is left out.
    """
    table = np.asarray(cells, dtype=np.float64)
    n = int(table.sum())
    figure = Figure(None, None, None, n, 2 * n, dropped)
    if n == 0 or np.isnan(kappa := float(kappas(table))):
        return figure
    added = _one_error(table) if errors is None else np.asarray(errors, dtype=np.float64)
    shares = (table + added).ravel() / (n + added.sum())
    drawn = np.random.default_rng(seed).multinomial(n, shares, size=RESAMPLES).reshape(-1, *table.shape)
    low, high = _interval(kappas(drawn.astype(np.float64)))
    return Figure(kappa, low, high, n, 2 * n, dropped)


def kappas(cells: Floats) -> Floats:
    """Cohen's kappa of each table of counts in the last two dimensions; NaN where it has no value.

    (observed - expected) / (1 - expected), where expected is the agreement of two who say the same things as often but
    independently (Cohen 1960). Without a value where that is 1: both said one and the same thing only.
    """
    n = cells.sum(axis=(-2, -1))
    observed = np.trace(cells, axis1=-2, axis2=-1) / n
    return _beyond_chance(observed, (cells.sum(axis=-2) * cells.sum(axis=-1)).sum(axis=-1) / n**2)


def wilson(hits: int, n: int) -> tuple[float, float]:
    """The 95 % score interval of a share of `hits` in `n` trials (Wilson 1927); 0 to 1 without a trial.

    >>> [round(x, 3) for x in wilson(9, 10)]
    [0.596, 0.982]
    """
    if n == 0:
        return 0.0, 1.0
    share, z = hits / n, _Z**2 / n
    middle, half = share + z / 2, _Z * (share * (1 - share) / n + z / (4 * n)) ** 0.5
    return max(0.0, (middle - half) / (1 + z)), min(1.0, (middle + half) / (1 + z))


def _one_error(table: Floats) -> Floats:
    used = (table.sum(axis=0) + table.sum(axis=1)) > 0
    differ = np.outer(used, used) & ~np.eye(len(table), dtype=bool)
    return differ / max(1, int(differ.sum()))


def _beyond_chance(observed: Floats, expected: Floats) -> Floats:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(1 - expected > _NONE_LEFT, (observed - expected) / (1 - expected), np.nan)


def _one_minus(found: Floats, expected: Floats, scale: Floats) -> Floats:
    """1 - found / expected; NaN where `expected` is nothing beside the terms that it is the difference of."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(expected > _NONE_LEFT * scale, 1 - found / expected, np.nan)


def _alpha(weights: Floats, size: Floats, total: Floats, squares: Floats, all_: Floats, all_squares: Floats) -> Floats:
    """Alpha of squared differences, of the sums of the values of an item and of their squares.

    The sum of the squared differences of all ordered pairs of m values is 2 (m sum(x^2) - sum(x)^2).
    """
    within = (size * squares - total**2) / (size - 1)
    n = weights @ size
    return _one_minus((weights * within).sum(axis=1) * (n - 1), n * all_squares - all_**2, n * all_squares)


def _same(counts: Floats) -> Floats:
    """Of each item the share of ordered pairs of its ratings that say the same."""
    m = counts.sum(axis=1)
    share: Floats = ((counts**2).sum(axis=1) - m) / (m * (m - 1))
    return share


def _there(values: Sequence[Any]) -> set[Any]:
    return {v for v in values if not _missing(v)}


def _missing(value: Any) -> bool:
    return value is None or bool(value != value)


def _coded(items: Sequence[Hashable], values: Sequence[Any]) -> tuple[npt.NDArray[np.int64], list[Any], int]:
    """The number of each rating's item, the ratings, and how many items have no second one; what is missing is gone."""
    there = [(item, value) for item, value in zip(items, values, strict=True) if not _missing(value)]
    numbers: dict[Hashable, int] = {}
    coded = np.array([numbers.setdefault(item, len(numbers)) for item, _ in there], dtype=np.int64)
    sizes = np.bincount(coded, minlength=len(numbers))
    enough = sizes >= 2
    kept = enough[coded]
    renumbered = (np.cumsum(enough) - 1)[coded[kept]]
    return renumbered, [there[i][1] for i in np.flatnonzero(kept)], int((~enough).sum())


def _counts(
    items: Sequence[Hashable], labels: Sequence[Any], order: Sequence[Hashable] | None = None
) -> tuple[Floats, int]:
    """How often each item got each label, as items x labels, and how many items were dropped."""
    coded, said, dropped = _coded(items, labels)
    place = {label: i for i, label in enumerate(sorted(set(said), key=repr) if order is None else order)}
    if unknown := set(said) - place.keys():
        raise ValueError(f"values that the order lacks: {', '.join(sorted(map(repr, unknown)))}")
    number = int(coded.max()) + 1 if len(coded) else 0
    cells = coded * len(place) + np.array([place[label] for label in said], dtype=np.int64)
    return np.bincount(cells, minlength=number * len(place)).reshape(number, len(place)).astype(np.float64), dropped


def _moments(items: Sequence[Hashable], values: Sequence[Any]) -> tuple[Floats, int]:
    """Of each item how many values it has, their sum and that of their squares; and how many items were dropped.

    Values are counted from their median, in units of the largest distance from it: alpha stays as it is by that.
    """
    coded, said, dropped = _coded(items, values)
    value = np.array(said, dtype=np.float64)
    if len(value):
        value = value - np.median(value)
        value = value / (np.abs(value).max() or 1.0)
    sums = [np.bincount(coded, weights=w) for w in (np.ones_like(value), value, value**2)]
    return np.stack(sums, axis=1), dropped


def _figure(
    rows: Floats, of: Callable[[Floats], Floats], dropped: int, seed: int, *, ratings: Floats | None = None
) -> Figure:
    """The figure of items that are told by `rows`; `of` takes how often each item is there, as resamples x items."""
    number = len(rows)
    counted = int((rows.sum(axis=1) if ratings is None else ratings).sum())
    if number == 0:
        return Figure(None, None, None, 0, 0, dropped)
    value = float(of(np.ones((1, number)))[0])
    if np.isnan(value):
        return Figure(None, None, None, number, counted, dropped)
    # In an order of their own, so that the interval does not hang on that in which items come.
    places = np.lexsort(rows.T)
    low, high = _interval(np.concatenate([of(drawn) for drawn in _resamples(places, seed)]))
    return Figure(value, low, high, number, counted, dropped)


def _resamples(places: npt.NDArray[np.int64], seed: int) -> Iterator[Floats]:
    """How often each item was drawn, with replacement and as many as there are; some resamples at a time."""
    random, number = np.random.default_rng(seed), len(places)
    for start in range(0, RESAMPLES, step := max(1, _AT_ONCE // number)):
        size = min(step, RESAMPLES - start)
        drawn = places[random.integers(number, size=(size, number))] + number * np.arange(size)[:, None]
        yield np.bincount(drawn.ravel(), minlength=size * number).reshape(size, number).astype(np.float64)


def _interval(found: Floats) -> tuple[float | None, float | None]:
    told = found[~np.isnan(found)]
    if not len(told):
        return None, None
    low, high = np.quantile(told, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)
