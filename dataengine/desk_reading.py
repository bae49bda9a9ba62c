"""What stands before a person who reviews: prompt, replies and the evidence on them, read from the tables."""

import threading
import time
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass

import duckdb

from schemas.errors import InputError, UserError
from schemas.records import Pair, Prompt, Trajectory, Verdict
from warehouse.connect import connect
from warehouse.fetching import records
from warehouse.standing import Item
from warehouse.store import Warehouse

_TABLES = ("prompts_current", "trajectories", "trajectories_current", "verdicts", "pairs")
_MOST_KEPT = 300
# Seconds after which what is read ahead is read of the newest tables: verdicts are added to replies that are there.
_STALE = 30.0
# Of the opinions there are only these: a judge's word would be followed, and another person's too.
_VERDICTS = """
SELECT * FROM verdicts
WHERE trajectory_id IN ({ids}) AND kind IN ('verifier', 'filter') AND against IN ('', ?)
QUALIFY row_number() OVER (
    PARTITION BY trajectory_id, attempt, "check" ORDER BY created_at DESC, version DESC
) = 1
ORDER BY kind DESC, "check"
"""


@dataclass(frozen=True)
class Reply:
    """One reply, with what verifiers and filters say of it, latest version by check."""

    trajectory: Trajectory
    verdicts: tuple[Verdict, ...]


@dataclass(frozen=True)
class Contents:
    """What an item is: the prompt, and one reply, or two of a pair (`a` first)."""

    prompt: Prompt
    replies: tuple[Reply, ...]
    pair: Pair | None = None


class Reader:
    """Reads items, keeps the last few hundred, and reads ahead in a thread what will be asked for next."""

    def __init__(self, warehouse: Warehouse) -> None:
        self._warehouse = warehouse
        self._kept: OrderedDict[Item, Contents] = OrderedDict()
        self._lock = threading.Lock()
        self._connection: duckdb.DuckDBPyConnection | None = None
        self._versions: dict[str, int] = {}
        self._opened = 0.0
        self._ahead = ThreadPoolExecutor(1, thread_name_prefix="reading ahead")

    def close(self) -> None:
        """Ends the thread and the connection."""
        self._ahead.shutdown(cancel_futures=True)
        if self._connection is not None:
            self._connection.close()

    def read(self, item: Item) -> Contents:
        """An item's contents. Raises InputError where the warehouse has no such item."""
        with self._lock:
            if item in self._kept:
                self._kept.move_to_end(item)
                return self._kept[item]
        found = self._found(item)
        if found is None:
            raise InputError(f"{item.item_id}: there is no such {'reply' if item.attempt else 'pair'} here")
        with self._lock:
            self._kept[item] = found
            while len(self._kept) > _MOST_KEPT:
                self._kept.popitem(last=False)
        return found

    def _found(self, item: Item) -> Contents | None:
        with suppress(duckdb.Error):  # files of an old version may be gone
            if found := _read(self._cursor(), item):
                return found
        return _read(self._cursor(newest=True), item)

    def read_ahead(self, items: Iterable[Item]) -> None:
        """Reads items in the thread, so that they are there when they are asked for."""
        if time.monotonic() - self._opened > _STALE:
            self._ahead.submit(self._freshen)
        for item in items:
            with self._lock:
                if item in self._kept:
                    continue
            self._ahead.submit(self._read_quietly, item)

    def newest_verdicts(self, trajectory_id: str) -> list[Verdict]:
        """What verifiers and filters say of a trajectory by now."""
        return records(
            self._cursor(newest=True).execute(
                "SELECT * FROM verdicts WHERE trajectory_id = ? AND kind IN ('verifier', 'filter') ORDER BY kind DESC",
                [trajectory_id],
            ),
            Verdict,
        )

    def _freshen(self) -> None:
        with suppress(UserError, OSError):
            versions = self._warehouse.versions()
            connection = connect(self._warehouse.path, only=_TABLES) if versions != self._versions else None
            with self._lock:
                self._opened = time.monotonic()
                if connection is not None:
                    # Who reads by the old one has a cursor of it; it ends with the last of them.
                    self._versions, self._connection = versions, connection
                    self._kept.clear()

    def _read_quietly(self, item: Item) -> None:
        with suppress(UserError):  # said when somebody asks for it
            self.read(item)

    def _cursor(self, *, newest: bool = False) -> duckdb.DuckDBPyConnection:
        # Opening costs more than reading one item, so a connection stays until something is asked for that it lacks.
        with self._lock:
            if self._connection is None or (newest and self._versions != self._warehouse.versions()):
                self._versions = self._warehouse.versions()
                self._connection, self._opened = connect(self._warehouse.path, only=_TABLES), time.monotonic()
            return self._connection.cursor()


def _read(cursor: duckdb.DuckDBPyConnection, item: Item) -> Contents | None:
    if item.attempt:
        found = records(
            cursor.execute("SELECT * FROM trajectories WHERE trajectory_id = ? AND attempt = ?", list(item)), Trajectory
        )
        return _with_prompt(cursor, found) if found else None
    pairs = records(cursor.execute("SELECT * FROM pairs WHERE pair_id = ?", [item.item_id]), Pair)
    if not pairs:
        return None
    sides = [pairs[0].a_id, pairs[0].b_id]
    found = records(
        cursor.execute("SELECT * FROM trajectories_current WHERE trajectory_id IN (?, ?)", sides), Trajectory
    )
    found.sort(key=lambda t: sides.index(t.trajectory_id))
    return _with_prompt(cursor, found, pairs[0]) if len(found) == 2 else None


def _with_prompt(
    cursor: duckdb.DuckDBPyConnection, found: Sequence[Trajectory], pair: Pair | None = None
) -> Contents | None:
    prompts = records(cursor.execute("SELECT * FROM prompts_current WHERE prompt_id = ?", [found[0].prompt_id]), Prompt)
    if not prompts:
        return None
    (prompt,) = prompts
    ids = [t.trajectory_id for t in found]
    verdicts = records(cursor.execute(_VERDICTS.format(ids=", ".join("?" * len(ids))), [*ids, prompt.against]), Verdict)
    return Contents(
        prompt,
        tuple(
            Reply(
                t,
                tuple(v for v in verdicts if v.trajectory_id == t.trajectory_id and v.attempt == t.attempt),
            )
            for t in found
        ),
        pair,
    )
