"""The journal of human work: leases, drafts and submitted reviews, in one SQLite file of the warehouse.

A reviewer's click must be safe when it is answered, and cheap: SQLite (WAL, synchronous=FULL) acknowledges it after an
fsync, some milliseconds. Events are only ever added; of a draft the last is kept, since each holds all of the text.
`publish` copies submitted reviews into the Delta table `reviews`, where SQL and old versions of the warehouse see them.
"""

import json
import sqlite3
import time
from collections.abc import Callable, Container, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, NamedTuple

from schemas.errors import WarehouseError, WarehouseTooNew
from schemas.keys import canonical_json
from schemas.records import Review
from warehouse.connect import connect
from warehouse.store import Warehouse

_FILE = "journal/events.sqlite"
_VERSION = 1
_SCHEMA = f"""
CREATE TABLE events (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    kind TEXT NOT NULL CHECK (kind IN ('lease', 'release', 'draft', 'review')),
    trajectory_id TEXT NOT NULL,
    attempt INTEGER NOT NULL,
    reviewer TEXT NOT NULL,
    at REAL NOT NULL,  -- seconds since 1970, as `until`
    until REAL,        -- when a lease ends
    since REAL,        -- when a lease was first taken; it may have been renewed
    review_id TEXT,
    child_id TEXT,
    body TEXT NOT NULL DEFAULT '{{}}'
);
CREATE INDEX of_trajectory ON events (trajectory_id, kind, number);
CREATE INDEX leases ON events (until) WHERE kind = 'lease';
CREATE INDEX children ON events (child_id) WHERE child_id IS NOT NULL;
CREATE UNIQUE INDEX one_draft ON events (trajectory_id, reviewer) WHERE kind = 'draft';
CREATE UNIQUE INDEX each_review_once ON events (review_id) WHERE kind = 'review';
CREATE TRIGGER never_changed BEFORE UPDATE ON events
    BEGIN SELECT RAISE(ABORT, 'events are never changed'); END;
CREATE TRIGGER never_removed BEFORE DELETE ON events WHEN OLD.kind <> 'draft'
    BEGIN SELECT RAISE(ABORT, 'events are never removed'); END;
PRAGMA user_version = {_VERSION};
"""
# A lease that ends later than this from now was taken before the clock was set back: it holds no longer.
MOST_LEASE = 3600.0
_LEASE = 600.0
_WAIT = 30.0
_BATCH = 1000

# The leases that hold: not over, and not followed by another, nor by their holder giving back or reviewing.
_HELD = """
SELECT l.trajectory_id, l.reviewer, l.since, l.until FROM events l
WHERE l.kind = 'lease' AND l.until > :now AND l.until <= :now + :most AND NOT EXISTS (
    SELECT 1 FROM events e WHERE e.trajectory_id = l.trajectory_id AND e.number > l.number
    AND (e.kind = 'lease' OR (e.kind IN ('release', 'review') AND e.reviewer = l.reviewer)))
"""
# Who has looked at an attempt; who edited one has looked at what came of it.
_LOOKED = """
SELECT reviewer FROM events WHERE kind = 'review' AND trajectory_id = :id AND attempt = :attempt
UNION SELECT reviewer FROM events WHERE child_id = :id
"""


class Attempt(NamedTuple):
    """One attempt of a trajectory: what a person looks at."""

    trajectory_id: str
    attempt: int


@dataclass(frozen=True)
class Lease:
    """Who has a trajectory before them; `since` and `until` are seconds since 1970."""

    trajectory_id: str
    reviewer: str
    since: float
    until: float


@dataclass(frozen=True)
class Draft:
    """Unfinished work of a reviewer; `body` is whatever the screen put there, `at` seconds since 1970."""

    trajectory_id: str
    attempt: int
    reviewer: str
    body: dict[str, Any]
    at: float


class Journal:
    """One connection to the journal. Any number of processes may have one; a thread needs one of its own.

    Every method that changes something returns when the change is on disk. Raises WarehouseError when the file cannot
    be read or written.
    """

    def __init__(self, warehouse: Warehouse, *, clock: Callable[[], float] = time.time) -> None:
        """Opens the journal of a warehouse, making it if there is none."""
        self.path = warehouse.path / _FILE
        self._clock = clock
        with self._told():
            self.path.parent.mkdir(exist_ok=True)
            self._connection = sqlite3.connect(self.path, timeout=_WAIT, isolation_level=None)
            self._connection.row_factory = sqlite3.Row
            self._prepare()

    def _prepare(self) -> None:
        # Who switches to WAL first has the file alone; others are told at once that it is locked, without waiting.
        give_up = time.monotonic() + _WAIT
        while True:
            try:
                self._connection.execute("PRAGMA journal_mode = WAL")
                break
            except sqlite3.OperationalError:
                if time.monotonic() > give_up:
                    raise
                time.sleep(0.01)
        self._connection.execute("PRAGMA synchronous = FULL")
        with self._transaction():
            version = self._connection.execute("PRAGMA user_version").fetchone()[0]
            if version == 0:
                for statement in _statements(_SCHEMA):
                    self._connection.execute(statement)
        if version > _VERSION:
            raise WarehouseTooNew(
                f"{self.path}: a journal of version {version}, this program knows {_VERSION}: pip install -U dataengine"
            )

    def __enter__(self) -> "Journal":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connection."""
        self._connection.close()

    # -- leases

    def take(
        self, queue: Iterable[Attempt], reviewer: str, *, looks: int = 1, seconds: float = _LEASE
    ) -> Attempt | None:
        """Leases the first of `queue` that nobody else has and that still wants a look, or None when there is none.

        What was looked at by `looks` people, by the reviewer, or was edited since the queue was made is passed over.
        """
        with self._transaction():
            held = self._held()
            for wanted in queue:
                lease = held.get(wanted.trajectory_id)
                if (lease is None or lease.reviewer == reviewer) and self._wants(wanted, reviewer, looks):
                    self._lease(wanted, reviewer, lease, seconds)
                    return wanted
        return None

    def lease(self, wanted: Attempt, reviewer: str, *, seconds: float = _LEASE) -> bool:
        """Takes or renews the lease of one trajectory; whether the reviewer has it now."""
        with self._transaction():
            lease = self._held().get(wanted.trajectory_id)
            if lease is not None and lease.reviewer != reviewer:
                return False
            self._lease(wanted, reviewer, lease, seconds)
            return True

    def release(self, wanted: Attempt, reviewer: str) -> None:
        """Gives a lease back; nothing happens when the reviewer has none."""
        with self._transaction():
            lease = self._held().get(wanted.trajectory_id)
            if lease is not None and lease.reviewer == reviewer:
                self._add("release", wanted, reviewer)

    def leases(self) -> dict[str, Lease]:
        """The leases that hold now, by trajectory."""
        with self._told():
            return self._held()

    def _held(self) -> dict[str, Lease]:
        rows = self._connection.execute(_HELD, {"now": self._clock(), "most": MOST_LEASE})
        return {row["trajectory_id"]: Lease(*row) for row in rows}

    def _wants(self, wanted: Attempt, reviewer: str, looks: int) -> bool:
        looked = {row[0] for row in self._connection.execute(_LOOKED, wanted._asdict() | {"id": wanted.trajectory_id})}
        edited = self._connection.execute(
            "SELECT 1 FROM events WHERE kind = 'review' AND trajectory_id = ? AND attempt = ? AND child_id IS NOT NULL",
            wanted,
        ).fetchone()
        return len(looked) < looks and reviewer not in looked and edited is None

    def _lease(self, wanted: Attempt, reviewer: str, before: Lease | None, seconds: float) -> None:
        if not 0 < seconds <= MOST_LEASE:
            raise ValueError(f"a lease of {seconds} seconds; it must be above 0 and at most {MOST_LEASE:.0f}")
        now = self._clock()
        self._add("lease", wanted, reviewer, until=now + seconds, since=before.since if before else now)

    # -- drafts

    def save_draft(self, wanted: Attempt, reviewer: str, body: dict[str, Any]) -> None:
        """Keeps unfinished work; it takes the place of the reviewer's draft before, and is gone when they submit."""
        with self._transaction():
            self._drop_draft(wanted.trajectory_id, reviewer)
            self._add("draft", wanted, reviewer, body=canonical_json(body))

    def draft(self, trajectory_id: str, reviewer: str) -> Draft | None:
        """The reviewer's draft on a trajectory, if there is one."""
        return next(iter(self._drafts("trajectory_id = ? AND reviewer = ?", trajectory_id, reviewer)), None)

    def drafts(self, reviewer: str) -> list[Draft]:
        """The reviewer's drafts, the oldest first."""
        return self._drafts("reviewer = ?", reviewer)

    def _drafts(self, condition: str, *values: str) -> list[Draft]:
        with self._told():
            rows = self._connection.execute(
                "SELECT trajectory_id, attempt, reviewer, body, at FROM events "
                f"WHERE kind = 'draft' AND {condition} ORDER BY number",
                values,
            ).fetchall()
        return [Draft(ident, attempt, who, json.loads(body), at) for ident, attempt, who, body, at in rows]

    def _drop_draft(self, trajectory_id: str, reviewer: str) -> None:
        self._connection.execute(
            "DELETE FROM events WHERE kind = 'draft' AND trajectory_id = ? AND reviewer = ?", [trajectory_id, reviewer]
        )

    # -- reviews

    def submit(self, reviews: Iterable[Review]) -> list[Review]:
        """Writes reviews in one transaction; those that are new, with number, time and the seconds they took.

        A review_id that is there already changes nothing, so a submission can be repeated. One whose lease has ended is
        taken all the same: work that was done is never refused, it is a further look.
        """
        added = []
        with self._transaction():
            held, now = self._held(), self._time_of_submission()
            for review in reviews:
                if self._known(review.review_id):
                    continue
                lease = held.get(review.trajectory_id)
                review = review.model_copy(update={"created_at": datetime.fromtimestamp(now, UTC)})
                if review.seconds is None and lease is not None and lease.reviewer == review.reviewer:
                    review = review.model_copy(update={"seconds": round(max(0.0, now - lease.since), 3)})
                number = self._add(
                    "review",
                    Attempt(review.trajectory_id, review.attempt),
                    review.reviewer,
                    at=now,
                    review_id=review.review_id,
                    child_id=review.child_id,
                    body=canonical_json(review.model_dump(mode="json", exclude={"number"})),
                )
                self._drop_draft(review.trajectory_id, review.reviewer)
                added.append(review.model_copy(update={"number": number}))
        return added

    def _time_of_submission(self) -> float:
        # In the transaction and never before the last: by time and number they stand in one order, the journal's.
        last = self._connection.execute(
            "SELECT at FROM events WHERE kind = 'review' ORDER BY number DESC LIMIT 1"
        ).fetchone()
        return max(self._clock(), last[0] if last else 0.0)

    def _known(self, review_id: str) -> bool:
        found = self._connection.execute("SELECT 1 FROM events WHERE kind = 'review' AND review_id = ?", [review_id])
        return found.fetchone() is not None

    def reviews(self, *, without: Container[str] = ()) -> Iterator[list[Review]]:
        """Submitted reviews in their order, some at a time; `without` are review_ids to leave out."""
        with self._told():
            listed = self._connection.execute("SELECT number, review_id FROM events WHERE kind = 'review' ORDER BY 1")
            numbers = [number for number, review_id in listed if review_id not in without]
        for start in range(0, len(numbers), _BATCH):
            part = numbers[start : start + _BATCH]
            marks = ", ".join("?" * len(part))
            with self._told():
                rows = self._connection.execute(
                    f"SELECT number, body FROM events WHERE number IN ({marks}) ORDER BY number", part
                ).fetchall()
            yield [Review(**json.loads(body), number=number) for number, body in rows]

    # -- the file

    def _add(self, kind: str, wanted: Attempt, reviewer: str, **columns: Any) -> int:
        values = {**wanted._asdict(), "kind": kind, "reviewer": reviewer, "at": self._clock(), **columns}
        cursor = self._connection.execute(
            f"INSERT INTO events ({', '.join(values)}) VALUES ({', '.join('?' * len(values))})", [*values.values()]
        )
        assert cursor.lastrowid is not None
        return cursor.lastrowid

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """All or nothing, and nobody else writes in between."""
        with self._told():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as e:
            raise WarehouseError(f"{self.path}: the journal cannot be used: {e}; what was answered is kept") from e


def _statements(script: str) -> Iterator[str]:
    # `executescript` would commit the transaction that it is run in.
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""


def publish(warehouse: Warehouse) -> int:
    """Copies submitted reviews into the table `reviews`, in their order, each once; returns how many were new.

    What is there is asked of the table itself: killed anywhere and called again, or called by two processes at once, it
    ends in the same rows.
    """
    if not (warehouse.path / _FILE).exists():
        return 0
    with connect(warehouse.path, only=("reviews",)) as connection:
        there = {row[0] for row in connection.execute("SELECT review_id FROM reviews").fetchall()}
    with Journal(warehouse) as journal:
        return sum(len(warehouse.append("reviews", batch).added) for batch in journal.reviews(without=there))
