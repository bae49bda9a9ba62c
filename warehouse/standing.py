"""Who has what before them, and who said what: the events of the journal, added up."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from schemas.access import GOLD

# A lease that ends later than this from now was taken before the clock was set back: it holds no longer.
MOST_LEASE = 3600.0


class Item(NamedTuple):
    """What a person looks at: one attempt of a trajectory, or a pair (its id, and 0)."""

    item_id: str
    attempt: int


@dataclass(frozen=True)
class Lease:
    """Who has an item of a queue before them; `since` and `until` are seconds since 1970."""

    queue: str
    item: Item
    reviewer: str
    since: float
    until: float
    repeat: int = 0

    def holds(self, now: float) -> bool:
        """Whether it is not over."""
        return now < self.until <= now + MOST_LEASE


@dataclass(frozen=True)
class Said:
    """A person's latest word on an item; `number` is its event."""

    number: int
    queue: str
    item: Item
    reviewer: str
    verdict: str
    child_id: str | None
    repeat: int
    review_id: str


@dataclass
class Standing:
    """The sum of the events up to `number`; grows by `add`."""

    number: int = 0
    leases: dict[tuple[str, Item], dict[str, Lease]] = field(default_factory=lambda: defaultdict(dict))
    """By queue and item, then by person."""
    queues_with: dict[Item, set[str]] = field(default_factory=lambda: defaultdict(set))
    """By item: the queues from which somebody has it before them."""
    words: dict[Item, dict[tuple[str, str], Said]] = field(default_factory=lambda: defaultdict(dict))
    """By item, then by queue and person; what was withdrawn is gone, repeats are not in it."""
    authors: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    """Who edited a text into being, by its trajectory."""
    skips: set[tuple[str, Item, str]] = field(default_factory=set)
    done: dict[tuple[str, str], dict[tuple[Item, int], Said]] = field(default_factory=lambda: defaultdict(dict))
    """By queue and person, then by item and repeat, in the order in which it was said."""
    sent: dict[str, dict[Item, str]] = field(default_factory=lambda: defaultdict(dict))
    """By queue: items that people sent there, and who."""

    def add(self, events: Iterable[Mapping[str, Any]]) -> None:
        """Adds events, in their order."""
        for event in events:
            self.number = event["number"]
            item = Item(event["item_id"], event["attempt"])
            queue, reviewer, kind = event["queue"], event["reviewer"], event["kind"]
            if kind == "lease":
                self.leases[queue, item][reviewer] = Lease(
                    queue, item, reviewer, event["since"], event["until"], event["repeat"]
                )
                self.queues_with[item].add(queue)
            elif kind == "send":
                self.sent[queue][item] = reviewer
            elif kind in ("release", "skip"):
                self._end_lease(queue, item, reviewer)
                if kind == "skip":
                    self.skips.add((queue, item, reviewer))
            elif kind == "review":
                self._end_lease(queue, item, reviewer)
                columns = ("number", "verdict", "child_id", "repeat", "review_id")
                self._say(Said(queue=queue, item=item, reviewer=reviewer, **{c: event[c] for c in columns}))

    def _end_lease(self, queue: str, item: Item, reviewer: str) -> None:
        held = self.leases.get((queue, item))
        if held is not None:
            held.pop(reviewer, None)
            if not held:
                del self.leases[queue, item]
                self.queues_with[item].discard(queue)

    def _say(self, said: Said) -> None:
        done, place = self.done[said.queue, said.reviewer], (said.item, said.repeat)
        done.pop(place, None)
        if said.verdict != "withdraw":
            done[place] = said
        if said.repeat:
            return
        words = self.words[said.item]
        before = words.pop((said.queue, said.reviewer), None)
        if before is not None and before.child_id is not None:
            self.authors[before.child_id].discard(said.reviewer)
        if said.verdict != "withdraw":
            words[said.queue, said.reviewer] = said
        if said.child_id is not None:
            self.authors[said.child_id].add(said.reviewer)

    def held(self, queue: str, item: Item, now: float) -> dict[str, Lease]:
        """The leases of an item that hold, by person."""
        return {r: lease for r, lease in self.leases.get((queue, item), {}).items() if lease.holds(now)}

    def has(self, queue: str, reviewer: str, now: float) -> list[Lease]:
        """What a person has before them from a queue, the first taken first."""
        found = [
            held[reviewer]
            for (of, _), held in self.leases.items()
            if of == queue and reviewer in held and held[reviewer].holds(now)
        ]
        return sorted(found, key=lambda lease: lease.since)

    def has_said(self, item: Item, reviewer: str) -> bool:
        """Whether a person looked at an item, from whatever queue; who edited a text has looked at what came of it."""
        of = self.words.get(item, {})
        return any(who == reviewer for _, who in of) or reviewer in self.authors.get(item.item_id, ())

    def may_say(self, queue: str, item: Item, reviewer: str, repeat: int, *, skipped: bool = False) -> bool:
        """Whether a person has not said it yet, of repeats that one, and but for `skipped` did not pass it over."""
        if not skipped and (queue, item, reviewer) in self.skips:
            return False
        if repeat:
            return (item, repeat) not in self.done.get((queue, reviewer), {})
        return not self.has_said(item, reviewer)

    def edits(self, item: Item) -> list[Said]:
        """What people's latest edits made of an item, the first first; known answers are not people's."""
        words = self.words.get(item, {}).values()
        found = [said for said in words if said.child_id is not None and said.reviewer != GOLD]
        return sorted(found, key=lambda said: said.number)

    def lookers(self, queue: str, item: Item) -> set[str]:
        """Who looked at an item of a queue; the author of an edited text has looked at it."""
        said = {who for of, who in self.words.get(item, {}) if of == queue}
        return said | self.authors.get(item.item_id, set())

    def has_place(self, queue: str, item: Item, reviewer: str, looks: int | None) -> bool:
        """Whether fewer than `looks` others have looked at an item."""
        return looks is None or len(self.lookers(queue, item) - {reviewer}) < looks

    def is_free(self, queue: str, item: Item, reviewer: str, looks: int | None, now: float) -> bool:
        """Whether one of the `looks` places at an item is left for a person."""
        if looks is None:
            return True
        others = (self.lookers(queue, item) | set(self.held(queue, item, now))) - {reviewer}
        return len(others) < looks

    def wants(
        self, queue: str, item: Item, reviewer: str, looks: int | None, now: float, *, edited: bool = False
    ) -> bool:
        """Whether a person may be given an item: a place is free, and they neither looked at it nor passed it over.

        Neither what they have before them from another queue. What somebody edited is not looked at any more, unless
        `edited`; the edited text is, as an item of its own.
        """
        return (
            self.may_say(queue, item, reviewer, 0)
            and not self._has_elsewhere(queue, item, reviewer, now)
            and self.is_free(queue, item, reviewer, looks, now)
            and (edited or not self.edits(item))
        )

    def _has_elsewhere(self, queue: str, item: Item, reviewer: str, now: float) -> bool:
        return any(
            of != queue and (lease := self.leases[of, item].get(reviewer)) is not None and lease.holds(now)
            for of in self.queues_with.get(item, ())
        )
