"""Figures of how far people agree: with each other, with themselves, with known answers, and from week to week."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from datetime import date, datetime, timedelta
from itertools import combinations
from typing import NamedTuple

from dashboards.lead.words import OF_PAIRS, Answered, Twice, Word
from dataengine.agreement import Figure, cohen_kappa, fleiss_kappa, krippendorff_alpha, percent, wilson

_NEITHER = Figure(None, None, None, 0, 0)


class Together(NamedTuple):
    """All people of a queue together."""

    percent: Figure
    fleiss: Figure
    """Of the items that as many people looked at as the queue asks for."""
    nominal: Figure
    """Krippendorff's alpha, to which each two different words are as different."""
    ordinal: Figure | None
    """The same of preferences, a tie being between the two; what was flagged is left out."""


class Two(NamedTuple):
    """Two people, on the items that both looked at."""

    a: str
    b: str
    percent: Figure
    kappa: Figure


class Share(NamedTuple):
    """How many of `n` a person got right, or said again; with the interval of the share."""

    reviewer: str
    hits: int
    n: int
    left_out: int
    low: float
    high: float
    kappa: Figure = _NEITHER

    @property
    def share(self) -> float | None:
        """The share, None of nothing."""
        return self.hits / self.n if self.n else None


class Week(NamedTuple):
    """A week, which begins on a Monday, and its figure."""

    week: date
    figure: Figure


def together(said: Sequence[Word], looks: int) -> Together:
    """Agreement of all; `looks` is how many people look at each item."""
    items, labels = [w.item for w in said], [w.verdict for w in said]
    scale = OF_PAIRS[:3]
    preferred = [w for w in said if w.verdict in scale]
    return Together(
        percent(items, labels),
        fleiss_kappa(items, labels, n=looks) if looks >= 2 else _NEITHER,
        krippendorff_alpha(items, labels),
        krippendorff_alpha([w.item for w in preferred], [w.verdict for w in preferred], "ordinal", order=scale)
        if preferred
        else None,
    )


def two_by_two(said: Iterable[Word]) -> list[Two]:
    """Each two people who looked at the same items: in how much they said the same, and Cohen's kappa."""
    found = []
    for (a, b), both in sorted(_both(said).items()):
        first, second = [x for x, _ in both], [y for _, y in both]
        numbers = list(range(len(both)))
        found.append(Two(a, b, percent(numbers * 2, first + second), cohen_kappa(first, second)))
    return found


def confusion(said: Iterable[Word], people: tuple[str, str] | None = None) -> Counter[tuple[str, str]]:
    """What one said of an item by what the other said of it; of two people, or of each two, either way round."""
    cells: Counter[tuple[str, str]] = Counter()
    for (a, b), both in _both(said).items():
        if people is None:
            cells.update(both)
            cells.update((y, x) for x, y in both)
        elif {a, b} == set(people):
            cells.update(both if (a, b) == people else [(y, x) for x, y in both])
    return cells


def _both(said: Iterable[Word]) -> dict[tuple[str, str], list[tuple[str, str]]]:
    """Of each two people, by name, what they said of each item that both looked at."""
    by_item: dict[str, dict[str, str]] = defaultdict(dict)
    for word in said:
        by_item[word.item][word.reviewer] = word.verdict
    both: dict[tuple[str, str], list[tuple[str, str]]] = defaultdict(list)
    for words in by_item.values():
        for a, b in combinations(sorted(words), 2):
            both[a, b].append((words[a], words[b]))
    return both


def by_week(said: Sequence[Word]) -> list[Week]:
    """Krippendorff's alpha of the items whose last word fell in each week; weeks without such items are left out."""
    last: dict[str, datetime] = {}
    for word in said:
        last[word.item] = max(word.at, last.get(word.item, word.at))
    weeks: dict[date, list[Word]] = defaultdict(list)
    for word in said:
        weeks[monday(last[word.item])].append(word)
    found = [
        Week(week, krippendorff_alpha([w.item for w in words], [w.verdict for w in words]))
        for week, words in sorted(weeks.items())
    ]
    return [w for w in found if w.figure.items]


def with_oneself(again: Iterable[Twice]) -> list[Share]:
    """Of each person how often they said the same when an item came again."""
    of: dict[str, list[Twice]] = defaultdict(list)
    for one in again:
        of[one.reviewer].append(one)
    return [
        _share(who, [t.first == t.second for t in them])._replace(
            kappa=cohen_kappa([t.first for t in them], [t.second for t in them])
        )
        for who, them in sorted(of.items())
    ]


def right(answered: Iterable[Answered]) -> list[Share]:
    """Of each person how often they said what is known; what they flagged is left out."""
    of: dict[str, list[bool | None]] = defaultdict(list)
    for one in answered:
        of[one.reviewer].append(one.right)
    return [_share(who, them) for who, them in sorted(of.items())]


def right_by_week(answered: Iterable[Answered]) -> list[tuple[date, Share]]:
    """The same by week and person."""
    of: dict[tuple[date, str], list[bool | None]] = defaultdict(list)
    for one in answered:
        of[monday(one.at), one.reviewer].append(one.right)
    return [(week, share) for (week, who), them in sorted(of.items()) if (share := _share(who, them)).n]


def monday(at: datetime) -> date:
    """The first day of the week of a moment, in its own time zone.

    >>> monday(datetime(2026, 11, 29, 23, 59))
    datetime.date(2026, 11, 23)
    """
    return at.date() - timedelta(days=at.weekday())


def _share(who: str, hits: Sequence[bool | None]) -> Share:
    n, good = sum(hit is not None for hit in hits), sum(hit is True for hit in hits)
    return Share(who, good, n, len(hits) - n, *wilson(good, n))
