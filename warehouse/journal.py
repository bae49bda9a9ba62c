"""The journal of human work: leases, drafts and submitted reviews, in one SQLite file of the warehouse.

A reviewer's click must be safe when it is answered, and cheap: SQLite (WAL, synchronous=FULL) acknowledges it after an
fsync, some milliseconds. Events are only ever added, and are the audit log; of a draft the last is kept, since each
holds all of the text. `publish` copies submitted reviews into the Delta table `reviews`, where SQL and old versions of
the warehouse see them. What the events come to is added up in memory (`warehouse.standing`), and brought up to date
inside of each transaction, so that any number of processes decide by all that was said.
"""

import json
import time
from collections.abc import Callable, Container, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from types import TracebackType
from typing import Any

from schemas.keys import canonical_json
from schemas.records import Review
from warehouse.connect import connect
from warehouse.journal_file import FILE, JournalFile
from warehouse.standing import MOST_LEASE, Item, Lease, Standing
from warehouse.store import Warehouse

_LEASE = 900.0
_BATCH = 1000


class Refused(Exception):
    """A submission that would be one look too many, or the same person's second; the draft is kept."""


class Conflict(Exception):
    """Somebody changed what a person works on; nothing was overwritten.

    `child_id` is the trajectory that an edit made of the same attempt in between, `draft` what another tab has kept.
    """

    def __init__(self, message: str, *, child_id: str | None = None, draft: "Draft | None" = None) -> None:
        super().__init__(message)
        self.child_id = child_id
        self.draft = draft


@dataclass(frozen=True)
class Draft:
    """Unfinished work of a reviewer; `body` is whatever the screen put there, `at` seconds since 1970."""

    number: int
    queue: str
    item: Item
    reviewer: str
    body: dict[str, Any]
    at: float


class Journal:
    """One connection to the journal. Any number of processes may have one, and threads share it.

    Every method that changes something returns when the change is on disk. Raises WarehouseError when the file cannot
    be read or written.
    """

    def __init__(self, warehouse: Warehouse, *, clock: Callable[[], float] = time.time) -> None:
        """Opens the journal of a warehouse, making it if there is none."""
        self._clock = clock
        self._file = JournalFile(warehouse.path, clock)
        self.path = self._file.path
        self._standing = Standing()

    def __enter__(self) -> "Journal":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connection."""
        self._file.close()

    @contextmanager
    def standing(self) -> Iterator[Standing]:
        """What all events up to now come to; other threads wait meanwhile."""
        with self._file.told():
            self._catch_up()
            yield self._standing

    @contextmanager
    def _deciding(self) -> Iterator[Standing]:
        try:
            with self._file.transaction():
                self._catch_up()
                yield self._standing
        except (Refused, Conflict):
            raise  # before anything was written
        except BaseException:
            # What was added up may hold events that were not written: it is added up anew.
            self._standing = Standing()
            raise

    def _catch_up(self) -> None:
        rows = self._file.connection.execute(
            "SELECT number, kind, queue, item_id, attempt, reviewer, until, since, repeat, review_id, verdict, "
            "child_id FROM events WHERE number > ? AND kind <> 'draft' ORDER BY number",
            [self._standing.number],
        )
        self._standing.add(rows)

    # -- leases

    def take(
        self,
        queue: str,
        items: Iterable[Item],
        reviewer: str,
        *,
        looks: int | None = 1,
        repeat: int = 0,
        edited: bool = False,
        seconds: float = _LEASE,
    ) -> Lease | None:
        """Leases the first of `items` that a person may be given, or None when there is none.

        Who has one of the queue before them is given that. `looks` is how many people look at each, in all; None is as
        many as come. With `repeat` the items are taken as they are given, whoever looked at them, but for what the
        person passed over; with `edited` also what somebody edited.
        """
        seconds = _bounded(seconds)
        with self._deciding() as standing:
            now = self._clock()
            for lease in standing.has(queue, reviewer, now):
                if standing.may_say(queue, lease.item, reviewer, lease.repeat):
                    return lease
            for item in items:
                again = repeat and standing.may_say(queue, item, reviewer, repeat)
                if again or (not repeat and standing.wants(queue, item, reviewer, looks, now, edited=edited)):
                    return self._lease(Lease(queue, item, reviewer, now, now + seconds, repeat))
        return None

    def renew(self, lease: Lease, *, looks: int | None = 1, seconds: float = _LEASE) -> Lease | None:
        """The lease for as long again, also where it had ended and the place is still free; None where it is gone."""
        queue, item, reviewer, seconds = lease.queue, lease.item, lease.reviewer, _bounded(seconds)
        with self._deciding() as standing:
            now = self._clock()
            held = standing.held(queue, item, now).get(reviewer)
            free = lease.repeat or standing.is_free(queue, item, reviewer, looks, now)
            if held is None and not (free and standing.may_say(queue, item, reviewer, lease.repeat)):
                return None
            since = held.since if held else lease.since
            return self._lease(Lease(queue, item, reviewer, since, now + seconds, lease.repeat))

    def release(self, queue: str, item: Item, reviewer: str, *, skip: bool = False) -> None:
        """Gives a lease back; with `skip` the person is not given the item again."""
        with self._deciding() as standing:
            if skip or reviewer in standing.held(queue, item, self._clock()):
                self._add("skip" if skip else "release", queue, item, reviewer)

    def release_all(self, reviewer: str, queue: str) -> int:
        """Gives back all that a person has from a queue; how many that were."""
        with self._deciding() as standing:
            held = standing.has(queue, reviewer, self._clock())
            for lease in held:
                self._add("release", queue, lease.item, reviewer)
        return len(held)

    def _lease(self, lease: Lease) -> Lease:
        self._add(
            "lease", lease.queue, lease.item, lease.reviewer, until=lease.until, since=lease.since, repeat=lease.repeat
        )
        return lease

    def send(self, items: Iterable[Item], reviewer: str, queue: str) -> int:
        """Puts items into a queue by hand; how many were not there."""
        with self._deciding() as standing:
            new = [item for item in dict.fromkeys(items) if item not in standing.sent[queue]]
            for item in new:
                self._add("send", queue, item, reviewer)
        return len(new)

    # -- drafts

    def save_draft(
        self, queue: str, item: Item, reviewer: str, body: dict[str, Any], *, seen: int | None = None
    ) -> int:
        """Keeps unfinished work in place of the person's draft before, until they submit; returns its number.

        `body["window"]` names the window it is from and `seen` the number of the draft that the window showed last:
        raises Conflict, and keeps what is there, where another window has written since.
        """
        with self._deciding():
            before = next(
                iter(self._drafts("queue = ? AND item_id = ? AND reviewer = ?", queue, item.item_id, reviewer)), None
            )
            if before and seen is not None and before.number > seen and before.body.get("window") != body.get("window"):
                raise Conflict("another window has changed this draft", draft=before)
            self._drop_draft(queue, item, reviewer)
            return self._add("draft", queue, item, reviewer, body=canonical_json(body))

    def draft(self, queue: str, item: Item, reviewer: str) -> Draft | None:
        """The person's draft on an item, if there is one."""
        found = self._drafts("queue = ? AND item_id = ? AND reviewer = ?", queue, item.item_id, reviewer)
        return next(iter(found), None)

    def drafts(self, reviewer: str) -> list[Draft]:
        """The person's drafts, the oldest first."""
        return self._drafts("reviewer = ?", reviewer)

    def drop_draft(self, queue: str, item: Item, reviewer: str) -> None:
        """Throws a person's draft away."""
        with self._deciding():
            self._drop_draft(queue, item, reviewer)

    def _drafts(self, condition: str, *values: str) -> list[Draft]:
        rows = self._file.rows(
            "SELECT number, queue, item_id, attempt, reviewer, body, at FROM events "
            f"WHERE kind = 'draft' AND {condition} ORDER BY number",
            values,
        )
        return [
            Draft(n, of, Item(ident, attempt), who, json.loads(body), at)
            for n, of, ident, attempt, who, body, at in rows
        ]

    def _drop_draft(self, queue: str, item: Item, reviewer: str) -> None:
        self._file.connection.execute(
            "DELETE FROM events WHERE kind = 'draft' AND queue = ? AND item_id = ? AND reviewer = ?",
            [queue, item.item_id, reviewer],
        )

    # -- reviews

    def submit(self, reviews: Iterable[Review]) -> list[Review]:
        """Writes reviews in one transaction; those that are new, with number, time and the seconds they took.

        A review_id that is there already changes nothing, so a submission can be repeated. Nothing is refused: reviews
        that were made elsewhere are further looks.
        """
        with self._deciding() as standing:
            return [made for review in reviews if (made := self._submit(standing, review)) is not None]

    def submit_taken(self, review: Review, *, looks: int | None, base: str | None = None) -> Review | None:
        """Writes the review of an item that was taken from its queue; None when it is there already.

        Raises Refused where the person has said it already, or where their lease ended and others have the place; and
        Conflict for an edit where somebody else edited the attempt and `base` is not what came of that, but where
        `looks` is None: then people do not know of each other. In all three cases nothing is written and the draft is
        kept.
        """
        with self._deciding() as standing:
            if not self._known(review.review_id):
                self._refuse_more(standing, review, looks)
                if review.verdict == "edit" and looks is not None:
                    self._refuse_stale(standing, review, base)
            return self._submit(standing, review)

    def withdraw(
        self, review: Review, *, of: str | None = None, looks: int | None = None, seconds: float = _LEASE
    ) -> Lease | None:
        """Writes that a person takes back what they said (`verdict` withdraw) and gives them the item again.

        Without a lease where the place was taken meanwhile. Raises Refused where there is nothing to be taken back, and
        with `of` where that review_id is not what they said last of it.
        """
        item, queue, reviewer, seconds = item_of(review), review.queue, review.reviewer, _bounded(seconds)
        with self._deciding() as standing:
            stands = standing.done[queue, reviewer].get((item, review.repeat))
            if stands is None or of not in (None, stands.review_id):
                raise Refused("this was taken back already")
            self._submit(standing, review)
            self._catch_up()
            now = self._clock()
            if not queue or not standing.is_free(queue, item, reviewer, looks, now):
                return None
            return self._lease(Lease(queue, item, reviewer, now, now + seconds, review.repeat))

    def _refuse_more(self, standing: Standing, review: Review, looks: int | None) -> None:
        queue, item, reviewer, now = review.queue, item_of(review), review.reviewer, self._clock()
        if not standing.may_say(queue, item, reviewer, review.repeat, skipped=True):
            raise Refused("you have said this already, in another window perhaps")
        # A clock that is set back brings a lease to life again, when others have been in its place already.
        held = reviewer in standing.held(queue, item, now) and standing.has_place(queue, item, reviewer, looks)
        if not held and not review.repeat and not standing.is_free(queue, item, reviewer, looks, now):
            raise Refused(
                "your lease ended and others have looked at this meanwhile; what you wrote is kept as a draft"
            )

    def _refuse_stale(self, standing: Standing, review: Review, base: str | None) -> None:
        edits = standing.edits(item_of(review))
        if edits and edits[-1].child_id != base and edits[-1].child_id != review.child_id:
            raise Conflict("somebody else edited this meanwhile", child_id=edits[-1].child_id)

    def _submit(self, standing: Standing, review: Review) -> Review | None:
        if self._known(review.review_id):
            return None
        item, now = item_of(review), self._time_of_submission()
        lease = standing.held(review.queue, item, now).get(review.reviewer)
        review = review.model_copy(update={"created_at": datetime.fromtimestamp(now, UTC)})
        if review.seconds is None and lease is not None:
            review = review.model_copy(update={"seconds": round(max(0.0, now - lease.since), 3)})
        number = self._add(
            "review",
            review.queue,
            item,
            review.reviewer,
            at=now,
            repeat=review.repeat,
            review_id=review.review_id,
            verdict=review.verdict,
            child_id=review.child_id,
            body=canonical_json(review.model_dump(mode="json", exclude={"number"})),
        )
        self._drop_draft(review.queue, item, review.reviewer)
        return review.model_copy(update={"number": number})

    def _time_of_submission(self) -> float:
        # In the transaction and never before the last: by time and number they stand in one order, the journal's.
        last = self._file.connection.execute(
            "SELECT at FROM events WHERE kind = 'review' ORDER BY number DESC LIMIT 1"
        ).fetchone()
        return max(self._clock(), last[0] if last else 0.0)

    def _known(self, review_id: str) -> bool:
        found = self._file.connection.execute(
            "SELECT 1 FROM events WHERE kind = 'review' AND review_id = ?", [review_id]
        )
        return found.fetchone() is not None

    def review(self, review_id: str) -> Review | None:
        """A submitted review."""
        rows = self._file.rows("SELECT number, body FROM events WHERE kind = 'review' AND review_id = ?", [review_id])
        return next((Review(**json.loads(body), number=number) for number, body in rows), None)

    def edit_of(self, child_id: str) -> Review | None:
        """The latest review that edited a text into being."""
        rows = self._file.rows(
            "SELECT number, body FROM events WHERE child_id = ? AND kind = 'review' ORDER BY number DESC LIMIT 1",
            [child_id],
        )
        return next((Review(**json.loads(body), number=number) for number, body in rows), None)

    def reviews(self, *, without: Container[str] = ()) -> Iterator[list[Review]]:
        """Submitted reviews in their order, some at a time; `without` are review_ids to leave out."""
        listed = self._file.rows("SELECT number, review_id FROM events WHERE kind = 'review' ORDER BY 1")
        numbers = [number for number, review_id in listed if review_id not in without]
        for start in range(0, len(numbers), _BATCH):
            part = numbers[start : start + _BATCH]
            marks = ", ".join("?" * len(part))
            rows = self._file.rows(f"SELECT number, body FROM events WHERE number IN ({marks}) ORDER BY number", part)
            yield [Review(**json.loads(body), number=number) for number, body in rows]

    def last_review(self) -> int:
        """The number of the last submitted review, 0 when there is none."""
        (row,) = self._file.rows("SELECT coalesce(max(number), 0) FROM events WHERE kind = 'review'")
        return int(row[0])

    def has_edits(self, after: int) -> bool:
        """Whether an edit was submitted after the event of that number."""
        return bool(
            self._file.rows(
                "SELECT 1 FROM events WHERE kind = 'review' AND verdict = 'edit' AND number > ? LIMIT 1", [after]
            )
        )

    def _add(self, kind: str, queue: str, item: Item, reviewer: str, **columns: Any) -> int:
        return self._file.add(kind, queue=queue, **item._asdict(), reviewer=reviewer, **columns)


def item_of(review: Review) -> Item:
    """What a review is of."""
    return Item(review.trajectory_id, review.attempt) if review.pair_id is None else Item(review.pair_id, 0)


def _bounded(seconds: float) -> float:
    if not 0 < seconds <= MOST_LEASE:
        raise ValueError(f"a lease of {seconds} seconds; it must be above 0 and at most {MOST_LEASE:.0f}")
    return seconds


def publish(warehouse: Warehouse) -> int:
    """Copies submitted reviews into the table `reviews`, in their order, each once; returns how many were new.

    What is there is asked of the table itself: killed anywhere and called again, or called by two processes at once, it
    ends in the same rows.
    """
    if not (warehouse.path / FILE).exists():
        return 0
    there = _published(warehouse)
    with Journal(warehouse) as journal:
        return sum(len(warehouse.append("reviews", batch).added) for batch in journal.reviews(without=there))


def unpublished(warehouse: Warehouse) -> int:
    """How many submitted reviews the table `reviews` does not hold yet."""
    with Journal(warehouse) as journal:
        return sum(map(len, journal.reviews(without=_published(warehouse))))


def _published(warehouse: Warehouse) -> set[str]:
    with connect(warehouse.path, only=("reviews",)) as connection:
        return {row[0] for row in connection.execute("SELECT review_id FROM reviews").fetchall()}
