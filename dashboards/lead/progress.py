"""Figures of progress: how far each queue is, what each person did, and how long an item takes them."""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from statistics import median, quantiles
from typing import Any

from dashboards.lead.context import Held, Rows
from dashboards.lead.words import ITEM
from schemas.access import GOLD

#: Who takes longer at an item has been away: such times are left out of medians.
IDLE_SECONDS = 1800

# Who edited a text has looked at what came of it; that is an item of its own, if the queue has it. Items with a known
# answer are none of the queue's.
_LOOKS = """
SELECT queue, coalesce(pair_id, trajectory_id) AS id, count(DISTINCT reviewer) AS looks,
    bool_or(verdict = 'edit') AS edited, bool_and(by_editing) AS made
FROM reviews_current
WHERE queue <> '' AND coalesce(pair_id, trajectory_id) NOT IN (
    SELECT coalesce(pair_id, trajectory_id) FROM reviews_current WHERE reviewer = $1
)
GROUP BY queue, id
"""
# What stands of each person's work, repeats included: they are work, too.
_WORK = f"""
WITH latest AS (
    SELECT * FROM reviews
    WHERE reviewer <> $1
    QUALIFY row_number() OVER (
        PARTITION BY {ITEM.format("")}, reviewer, repeat ORDER BY created_at DESC, number DESC
    ) = 1
)
SELECT reviewer, queue, verdict, seconds, created_at FROM latest WHERE verdict <> 'withdraw'
"""


@dataclass(frozen=True)
class QueueProgress:
    """How far a queue is; items are done when as many people looked at them as it asks for, or one edited them."""

    queue: str
    items: int
    done: int
    in_hands: int
    """Of those that are not done: what somebody has before them now."""
    begun: int
    """Neither: looked at, but not by as many as it asks for."""

    @property
    def open(self) -> int:
        """What nobody has looked at, nor looks at now."""
        return self.items - self.done - self.in_hands - self.begun


@dataclass(frozen=True)
class PersonProgress:
    """What a person did."""

    person: str
    today: int = 0
    in_all: int = 0
    edited: int = 0
    flagged: int = 0
    skipped: int = 0
    in_hands: int = 0
    seconds: float | None = None
    """The median time of an item, without those at which they were away."""
    lower: float | None = None
    upper: float | None = None
    """A quarter of the items took less than `lower`, a quarter more than `upper`."""
    timed: int = 0
    idle: int = 0
    last: datetime | None = None


def looks(rows: Rows) -> dict[str, list[dict[str, Any]]]:
    """By queue, what people have looked at: id, looks, edited, made (nobody but who edited it has)."""
    found: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in rows(_LOOKS, [GOLD]):
        found[row["queue"]].append(row)
    return found


def queue_progress(
    queue: str,
    reviewers: int,
    items: Collection[str],
    looked: Iterable[Mapping[str, Any]],
    held: Iterable[Held],
) -> QueueProgress:
    """How far a queue is; `items` are its items, of which those may be missing that were `looked` at."""
    there, looks, edited = set(items), dict[str, int](), set[str]()
    for row in looked:
        if row["id"] in there or not row["made"]:
            looks[row["id"]] = row["looks"]
        if row["edited"]:
            edited.add(row["id"])
    standing = there | set(looks)
    done = {item for item, number in looks.items() if number >= reviewers or item in edited}
    in_hands = {h.item for h in held if h.queue == queue} & standing - done
    return QueueProgress(
        queue,
        len(standing),
        len(done),
        len(in_hands),
        len(looks.keys() - done - in_hands),
    )


def work(rows: Rows) -> list[dict[str, Any]]:
    """Each item that a person worked on: reviewer, queue, verdict, seconds, created_at."""
    return rows(_WORK, [GOLD])


def person_progress(
    done: Iterable[Mapping[str, Any]], since: datetime, queue: str | None = None
) -> list[PersonProgress]:
    """What each person did in a queue, or in all; `since` is when today began."""
    of: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for row in done:
        if queue is None or row["queue"] == queue:
            of[row["reviewer"]].append(row)
    return [_of_person(who, of[who], since) for who in sorted(of)]


def with_hands(
    people: Iterable[PersonProgress],
    held: Iterable[Held],
    skipped: Mapping[tuple[str, str], int],
    queue: str | None = None,
) -> list[PersonProgress]:
    """The same with what they have before them and passed over; who did no more than that is added."""
    skips: Counter[str] = Counter()
    for (name, who), number in skipped.items():
        if queue is None or name == queue:
            skips[who] += number
    hands = Counter(h.person for h in held if queue is None or h.queue == queue)
    known = {p.person: p for p in people}
    return [
        replace(known.get(who) or PersonProgress(who), skipped=skips[who], in_hands=hands[who])
        for who in sorted({*known, *skips, *hands})
    ]


def _of_person(who: str, done: Sequence[Mapping[str, Any]], since: datetime) -> PersonProgress:
    taken = [row["seconds"] for row in done if row["seconds"] is not None]
    times = [s for s in taken if s <= IDLE_SECONDS]
    lower, _, upper = quantiles(times, n=4, method="inclusive") if len(times) > 1 else [None] * 3
    said = Counter(row["verdict"] for row in done)
    return PersonProgress(
        who,
        sum(row["created_at"] >= since for row in done),
        len(done),
        said["edit"],
        said["flag"],
        seconds=median(times) if times else None,
        lower=lower,
        upper=upper,
        timed=len(times),
        idle=len(taken) - len(times),
        last=max(row["created_at"] for row in done),
    )


def by_day(done: Iterable[Mapping[str, Any]], queue: str | None = None) -> list[dict[str, Any]]:
    """How many items were worked on each day, by queue: day, queue, items."""
    days = Counter(
        (row["created_at"].date(), row["queue"] or "imported") for row in done if queue in (None, row["queue"])
    )
    return [{"day": day, "queue": name, "items": number} for (day, name), number in sorted(days.items())]
