"""What stands before a person who reviews: prompt, replies and the evidence on them, read from the tables."""

import threading
import time
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field

import duckdb

from schemas.errors import InputError, UserError
from schemas.records import Pair, Prompt, Trajectory, Verdict
from warehouse.connect import connect
from warehouse.fetching import records
from warehouse.standing import Item
from warehouse.store import Warehouse

_TABLES = ("prompts_current", "trajectories", "trajectories_current", "verdicts", "pairs")
_MOST_KEPT = 400
# Edits whose verdicts are asked for at once, and those that were found lately.
_MOST_AWAITED = 1000
# One item costs as much as thirty: the ids of all rows are looked through either way.
_AT_ONCE = 32
# Seconds after which what is read ahead is read of the newest tables: verdicts are added to replies that are there.
_STALE = 30.0
# Seconds between two looks for the verdicts that people wait for.
_LOOK = 2.0
# Of a text only the whole is read, and not its parts again. Of opinions only those of rules: a judge's word would be
# followed, and another person's too.
_REPLIES = "SELECT * REPLACE (NULL AS reasoning, NULL AS answer) FROM {table} WHERE trajectory_id IN ({ids})"
_VERDICTS = "SELECT * FROM verdicts WHERE trajectory_id IN ({ids}) AND kind IN ('verifier', 'filter')"
_IDS = "SELECT unnest(?::VARCHAR[])"


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


@dataclass
class _Awaited:
    """What was found of an edited text so far; its checks write one after the other."""

    verdicts: list[Verdict] = field(default_factory=list)
    complete: bool = False


class Reader:
    """Reads items, keeps the last few hundred, and reads ahead in a thread what will be asked for next.

    `prepare` is called in that thread with what was read ahead.
    """

    def __init__(self, warehouse: Warehouse) -> None:
        self._warehouse = warehouse
        self._kept: OrderedDict[Item, tuple[Contents, float]] = OrderedDict()
        self._ordered: set[Item] = set()
        self._lock = threading.Lock()
        self._opening = threading.Lock()
        self._reading = threading.Lock()
        self._connection: duckdb.DuckDBPyConnection | None = None
        self._versions: dict[str, int] = {}
        self._opened = 0.0
        self._awaited: OrderedDict[str, _Awaited] = OrderedDict()
        self._looked = 0.0
        self._ahead = ThreadPoolExecutor(1, thread_name_prefix="reading ahead")
        self.prepare: Callable[[Contents], object] = lambda contents: None

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
                return self._kept[item][0]
        # One at a time: many who come at once would read the same, and together more than memory holds.
        with self._reading:
            with self._lock:
                if item in self._kept:
                    return self._kept[item][0]
            found = self._found([item]) or _read(self._cursor(newest=True), [item])
            if item not in found:
                raise InputError(f"{item.item_id}: there is no such {'reply' if item.attempt else 'pair'} here")
            self._keep(found)
            return found[item]

    def lacks(self, items: Iterable[Item]) -> bool:
        """Whether one of the items would have to be read when it is asked for, or was read long ago."""
        with self._lock:
            return any(map(self._wanted, items))

    def _wanted(self, item: Item) -> bool:
        kept = self._kept.get(item)
        return item not in self._ordered and (kept is None or time.monotonic() - kept[1] > _STALE)

    def read_ahead(self, items: Sequence[Item]) -> None:
        """Has the items read in the thread, many at once, so that they are there when they are asked for."""
        with self._lock:
            wanted = [item for item in items if self._wanted(item)]
            self._ordered.update(wanted)
        for start in range(0, len(wanted), _AT_ONCE):
            self._ahead.submit(self._read_ahead, wanted[start : start + _AT_ONCE])

    def _read_ahead(self, items: Sequence[Item]) -> None:
        try:
            with suppress(UserError, OSError, duckdb.Error):  # said when somebody asks for it
                if time.monotonic() - self._opened > _STALE:
                    self._open()
                with self._reading:
                    found = self._found(items)
                    self._keep(found)
                for contents in found.values():
                    self.prepare(contents)
        finally:
            with self._lock:
                self._ordered.difference_update(items)

    def _found(self, items: Sequence[Item]) -> dict[Item, Contents]:
        try:
            return _read(self._cursor(), items)
        except duckdb.Error:  # files of an old version may be gone
            return _read(self._cursor(newest=True), items)

    def _keep(self, found: Mapping[Item, Contents]) -> None:
        with self._lock:
            self._kept.update({item: (contents, time.monotonic()) for item, contents in found.items()})
            while len(self._kept) > _MOST_KEPT:
                self._kept.popitem(last=False)

    def verdicts_on(self, trajectory_id: str) -> list[Verdict]:
        """What verifiers and filters found of an edited text; empty until they did.

        The tables are asked in the thread, every few seconds and for all who wait together. Nobody says which verdict
        is the last: they all are there when one look finds no more than the look before.
        """
        with self._lock:
            awaited = self._awaited.setdefault(trajectory_id, _Awaited())
            self._awaited.move_to_end(trajectory_id)
            while len(self._awaited) > _MOST_AWAITED:
                self._awaited.popitem(last=False)
            look = time.monotonic() - self._looked > _LOOK
            if look:
                self._looked = time.monotonic()
        if look:
            self._ahead.submit(self._look)
        return awaited.verdicts if awaited.complete else []

    def _look(self) -> None:
        with self._lock:
            wanted = {child: awaited for child, awaited in self._awaited.items() if not awaited.complete}
        if not wanted:
            return
        with (
            suppress(UserError, OSError, duckdb.Error),
            connect(self._warehouse.path, only=("verdicts",)) as connection,
        ):
            for child, verdicts in _verdicts(connection, list(wanted)).items():
                awaited = wanted[child]
                awaited.complete = len(verdicts) == len(awaited.verdicts)
                awaited.verdicts = verdicts

    def _cursor(self, *, newest: bool = False) -> duckdb.DuckDBPyConnection:
        connection = self._connection
        if connection is None or newest:
            connection = self._open()
        return connection.cursor()

    def _open(self) -> duckdb.DuckDBPyConnection:
        # Opening costs more than reading, so a connection stays until something is asked for that it lacks. Who reads
        # by the old one has a cursor of it, and who is answered from memory does not wait.
        with self._opening:
            versions = self._warehouse.versions()
            connection = self._connection
            if connection is None or versions != self._versions:
                connection = connect(self._warehouse.path, only=_TABLES)
                self._connection, self._versions = connection, versions
            self._opened = time.monotonic()
            return connection


def _read(cursor: duckdb.DuckDBPyConnection, items: Sequence[Item]) -> dict[Item, Contents]:
    """Those of the items that there are."""
    attempts, pairs = [i for i in items if i.attempt], [i.item_id for i in items if not i.attempt]
    found: list[tuple[Item, list[Trajectory], Pair | None]] = []
    if attempts:
        wanted = set(attempts)
        sql = _REPLIES.format(table="trajectories", ids=_IDS)
        for row in records(cursor.execute(sql, [[i.item_id for i in attempts]]), Trajectory):
            item = Item(row.trajectory_id, row.attempt)
            if item in wanted:
                found.append((item, [row], None))
    if pairs:
        told = records(cursor.execute(f"SELECT * FROM pairs WHERE pair_id IN ({_IDS})", [pairs]), Pair)
        sql = _REPLIES.format(table="trajectories_current", ids=_IDS)
        sides = {
            row.trajectory_id: row
            for row in records(cursor.execute(sql, [[i for p in told for i in (p.a_id, p.b_id)]]), Trajectory)
        }
        for pair in told:
            if pair.a_id in sides and pair.b_id in sides:
                found.append((Item(pair.pair_id, 0), [sides[pair.a_id], sides[pair.b_id]], pair))
    prompt_ids = sorted({rows[0].prompt_id for _, rows, _ in found})
    sql = f"SELECT * FROM prompts_current WHERE prompt_id IN ({_IDS})"
    prompts = {p.prompt_id: p for p in records(cursor.execute(sql, [prompt_ids]), Prompt)}
    verdicts = _verdicts(cursor, [row.trajectory_id for _, rows, _ in found for row in rows])
    return {
        item: Contents(
            prompt, tuple(Reply(row, _evidence(row, prompt, verdicts.get(row.trajectory_id, []))) for row in rows), pair
        )
        for item, rows, pair in found
        if (prompt := prompts.get(rows[0].prompt_id)) is not None
    }


def _verdicts(cursor: duckdb.DuckDBPyConnection, ids: Sequence[str]) -> dict[str, list[Verdict]]:
    found: dict[str, list[Verdict]] = defaultdict(list)
    for verdict in records(cursor.execute(_VERDICTS.format(ids=_IDS), [list(ids)]), Verdict):
        found[verdict.trajectory_id].append(verdict)
    return found


def _evidence(reply: Trajectory, prompt: Prompt, verdicts: Sequence[Verdict]) -> tuple[Verdict, ...]:
    """Of each check the latest verdict on the attempt, verifiers first."""
    latest: dict[str, Verdict] = {}
    for verdict in sorted(verdicts, key=lambda v: (v.created_at, v.version)):
        if verdict.attempt == reply.attempt and verdict.against in ("", prompt.against):
            latest[verdict.check] = verdict
    return tuple(sorted(latest.values(), key=lambda v: (v.kind != "verifier", v.check)))
