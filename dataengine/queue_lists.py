"""What the review queues hold, kept fresh beside the people who work in them."""

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from dataengine.review_queues import candidates
from schemas.access import GOLD
from schemas.errors import UserError
from schemas.queue import Queue
from schemas.records import Review
from warehouse.connect import connect
from warehouse.fetching import records
from warehouse.journal import Journal, item_of
from warehouse.standing import Item
from warehouse.store import Warehouse

# Seconds between two looks at the warehouse, and after which a queue that nobody asked for is not looked at.
_EVERY = 20.0
_UNUSED = 600.0
# A list that takes long to make is made less often: this many times as long lies between.
_REST = 15.0


@dataclass(frozen=True)
class Listed:
    """A queue's items in their order, those left out that enough people looked at when it was made.

    `total` counts those too. `problem` says in one line why there is no list.
    """

    items: tuple[Item, ...] = ()
    total: int = 0
    problem: str | None = None


@dataclass
class _Kept:
    listed: Listed
    versions: dict[str, int] = field(default_factory=dict)
    sent: int = 0
    asked: float = 0.0
    made: float = 0.0
    took: float = 0.0


class QueueLists:
    """The lists of all queues. A thread makes those that are in use anew when the tables have changed."""

    def __init__(self, warehouse: Warehouse, queues: Mapping[str, Queue], journal: Journal) -> None:
        self._warehouse = warehouse
        self._queues = queues
        self._journal = journal
        self._kept: dict[str, _Kept] = {}
        self._known_answers: dict[Item, Review] | None = None
        self._making = {name: threading.Lock() for name in queues}
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Starts the thread."""
        self._thread = threading.Thread(target=self._loop, name="queue lists", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stops the thread."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def of(self, name: str) -> Listed:
        """The list of a queue; made now where there is none yet, or something was sent there, by any process."""
        kept = self._kept.get(name)
        if kept is None or kept.sent != self._sent(name):
            kept = self._make(name, self._warehouse.versions())
        kept.asked = time.monotonic()
        return kept.listed

    def known(self, name: str) -> Listed | None:
        """The list of a queue if it was made already; nobody waits."""
        kept = self._kept.get(name)
        return kept.listed if kept else None

    @property
    def gold(self) -> Mapping[Item, Review]:
        """The items whose right answer is known, and what it is: the reviews of the name `gold`."""
        known = self._known_answers
        if known is None:
            known = self._known_answers = _gold(self._warehouse)
        return known

    def _sent(self, name: str) -> int:
        with self._journal.standing() as standing:
            return len(standing.sent.get(name, ()))

    def _make(self, name: str, versions: dict[str, int]) -> _Kept:
        with self._making[name]:
            kept, sent = self._kept.get(name), self._sent(name)
            if kept is not None and (kept.versions, kept.sent) == (versions, sent):
                return kept
            begun = time.monotonic()
            self._known_answers = _gold(self._warehouse)
            made = _Kept(self._list(self._queues[name]), versions, sent, kept.asked if kept else 0.0)
            made.made, made.took = time.monotonic(), time.monotonic() - begun
            self._kept[name] = made
            return made

    def _list(self, queue: Queue) -> Listed:
        try:
            found = candidates(self._warehouse.path, queue)
        except UserError as e:
            return Listed(problem=str(e))
        with self._journal.standing() as standing:
            sent = list(standing.sent.get(queue.queue, {}))
            looked = [item for item in standing.words if len(standing.lookers(queue.queue, item)) >= queue.reviewers]
        there = set(found)
        found += [item for item in sent if item not in there]
        left_out = {*looked, *self.gold}
        return Listed(tuple(item for item in found if item not in left_out), len(found))

    def _loop(self) -> None:
        # All once, for the counts behind their names; who opens one before it is made has it made themself.
        for name in self._queues:
            if self._stop.is_set():
                return
            if name not in self._kept:
                self._make(name, self._warehouse.versions())
        while not self._stop.wait(_EVERY):
            now = time.monotonic()
            for name, kept in list(self._kept.items()):
                if now - kept.asked < _UNUSED and now - kept.made > _REST * kept.took:
                    self._make(name, self._warehouse.versions())

    def forget(self, name: str) -> None:
        """Has a queue's list made anew when it is next asked for."""
        self._kept.pop(name, None)


def _gold(warehouse: Warehouse) -> dict[Item, Review]:
    with connect(warehouse.path, only=("reviews_current",)) as connection:
        found = connection.execute(
            "SELECT r.* FROM reviews r SEMI JOIN reviews_current USING (review_id) "
            "WHERE r.reviewer = ? ORDER BY r.number",
            [GOLD],
        )
        return {item_of(review): review for review in records(found, Review)}
