"""The SQLite file that human work is written to: a table of events, and transactions that end on the disk."""

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from schemas.errors import WarehouseError, WarehouseTooNew

FILE = "journal/events.sqlite"
VERSION = 2
WAIT = 30.0
_SCHEMA = f"""
CREATE TABLE events (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    kind TEXT NOT NULL CHECK (kind IN ('lease', 'release', 'skip', 'draft', 'review', 'send')),
    queue TEXT NOT NULL DEFAULT '',
    item_id TEXT NOT NULL,  -- a trajectory, or a pair
    attempt INTEGER NOT NULL,  -- 0 for pairs
    reviewer TEXT NOT NULL,
    at REAL NOT NULL,  -- seconds since 1970, as `until`
    until REAL,        -- when a lease ends
    since REAL,        -- when a lease was first taken; it may have been renewed
    repeat INTEGER NOT NULL DEFAULT 0,
    review_id TEXT,
    verdict TEXT,
    child_id TEXT,
    body TEXT NOT NULL DEFAULT '{{}}'
);
CREATE UNIQUE INDEX one_draft ON events (queue, item_id, reviewer) WHERE kind = 'draft';
CREATE INDEX drafts ON events (reviewer) WHERE kind = 'draft';
CREATE INDEX children ON events (child_id) WHERE child_id IS NOT NULL;
CREATE UNIQUE INDEX each_review_once ON events (review_id) WHERE kind = 'review';
CREATE TRIGGER never_changed BEFORE UPDATE ON events
    BEGIN SELECT RAISE(ABORT, 'events are never changed'); END;
CREATE TRIGGER never_removed BEFORE DELETE ON events WHEN OLD.kind <> 'draft'
    BEGIN SELECT RAISE(ABORT, 'events are never removed'); END;
PRAGMA user_version = {VERSION};
"""
# Version 1 knew neither queues nor pairs; its verdicts stood in the bodies.
_FROM_1 = f"""
DROP TRIGGER never_changed;
DROP TRIGGER never_removed;
DROP INDEX of_trajectory;
DROP INDEX leases;
DROP INDEX children;
DROP INDEX one_draft;
DROP INDEX each_review_once;
ALTER TABLE events RENAME TO events_1;
{_SCHEMA}
INSERT INTO events (number, kind, item_id, attempt, reviewer, at, until, since, review_id, verdict, child_id, body)
    SELECT number, kind, trajectory_id, attempt, reviewer, at, until, since, review_id, json_extract(body, '$.verdict'),
        child_id, body
    FROM events_1 WHERE kind = 'review' ORDER BY number;
INSERT INTO events (number, kind, item_id, attempt, reviewer, at, until, since, child_id, body)
    SELECT number, kind, trajectory_id, attempt, reviewer, at, until, since, child_id, body
    FROM events_1 WHERE kind <> 'review' ORDER BY number;
DROP TABLE events_1;
"""


class JournalFile:
    """One connection to the file, for any number of threads, one of them at a time.

    Raises WarehouseError when the file cannot be read or written, WarehouseTooNew for one of a later version.
    """

    def __init__(self, folder: Path, clock: Callable[[], float]) -> None:
        self.path = folder / FILE
        self.clock = clock
        self._lock = threading.RLock()
        with self.told():
            self.path.parent.mkdir(exist_ok=True)
            self.connection = sqlite3.connect(self.path, timeout=WAIT, isolation_level=None, check_same_thread=False)
            self.connection.row_factory = sqlite3.Row
            self._prepare()

    def _prepare(self) -> None:
        # Who switches to WAL first has the file alone; others are told at once that it is locked, without waiting.
        give_up = time.monotonic() + WAIT
        while True:
            try:
                self.connection.execute("PRAGMA journal_mode = WAL")
                break
            except sqlite3.OperationalError:
                if time.monotonic() > give_up:
                    raise
                time.sleep(0.01)
        self.connection.execute("PRAGMA synchronous = FULL")
        with self.transaction():
            version = self.connection.execute("PRAGMA user_version").fetchone()[0]
            if version < VERSION:
                for statement in _statements(_FROM_1 if version else _SCHEMA):
                    self.connection.execute(statement)
        if version > VERSION:
            raise WarehouseTooNew(
                f"{self.path}: a journal of version {version}, this program knows {VERSION}: pip install -U dataengine"
            )

    def close(self) -> None:
        """Closes the connection."""
        with self._lock:
            self.connection.close()

    def add(self, kind: str, **columns: Any) -> int:
        """Writes an event, inside a transaction, and returns its number."""
        values = {"kind": kind, "at": self.clock(), **columns}
        cursor = self.connection.execute(
            f"INSERT INTO events ({', '.join(values)}) VALUES ({', '.join('?' * len(values))})", [*values.values()]
        )
        assert cursor.lastrowid is not None
        return cursor.lastrowid

    def rows(self, sql: str, values: Any = ()) -> list[sqlite3.Row]:
        """What a query finds."""
        with self.told():
            return self.connection.execute(sql, values).fetchall()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing, and nobody else writes in between; it is on the disk when it ends."""
        with self.told():
            self.connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                self.connection.execute("COMMIT")
            except BaseException:
                if self.connection.in_transaction:
                    self.connection.execute("ROLLBACK")
                raise

    @contextmanager
    def told(self) -> Iterator[None]:
        """Turns what SQLite says into one line; other threads wait until the end."""
        with self._lock:
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
