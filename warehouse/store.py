"""The tables: Delta Lake folders that many processes append to, each key once."""

import fcntl
import os
import random
import shutil
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from deltalake import CommitProperties, DeltaTable, Schema, Transaction, WriterProperties, write_deltalake
from deltalake.exceptions import CommitFailedError, DeltaError

from schemas.errors import WarehouseError
from schemas.records import RECORDS, Migration, Record
from warehouse.admission import Admission, admission_for
from warehouse.ordering import rows_met
from warehouse.panics import without_panics
from warehouse.writing import in_words, refusal

# One application id for all keyed commits of a table: two of them from the same version then conflict, which plain
# appends to a Delta table never do.
_APP_ID = "keys"
_MAX_TRIES = 200
# A snapshot names versions of tables, which only the log can tell: deltalake would remove it after 30 days.
_LOG_STAYS = {"delta.enableExpiredLogCleanup": "false"}
# A commit that fails so often while nobody else commits has not lost a race.
_NO_RACE = 5
# Below this many files a table reads fast enough; above, the writer that notices compacts.
_MANY_FILES = 256
# By what a table's files are ordered: of its many small rows few are asked for at once, by this column.
_ORDERED_BY = {"verdicts": "trajectory_id"}
# Rows of a row group, the least that is read: as DuckDB's own. The ids of so many verdicts still fit into a dictionary.
_ROW_GROUP = 122_880
# Ordering writes the whole table. It is worth while where one id makes a reader read more rows than these (0.1 s of
# work), and more than this share of all: so a growing table is written anew each time it has grown by that much.
_SCATTERED = 1_000_000
_SCATTERED_SHARE = 0.125
# Bytes that ordering holds in memory; what is more goes to the system's temporary folder.
_ORDERING_MEMORY = 1 << 30
# The order in which tables are pinned: what a row refers to is pinned after it, and so is there.
DEPENDENTS_FIRST = (
    "metrics",
    "calibrations",
    "rollouts",
    "pair_verdicts",
    "pair_steps",
    "pairs",
    "verdicts",
    "reviews",
    "trajectories",
    "clusters",
    "prompts",
    "runs",
    "migrations",
)
# What a folder's path may not hold: deltalake takes %, [, ] and \\ for parts of a URL, DuckDB [, * and ? for a pattern.
_UNUSABLE = "%[]*?\\"


@dataclass(frozen=True)
class Appended:
    """What became of a batch: `added` rows, in the order given, and how many were `known` already."""

    added: list[Record]
    known: int


@dataclass
class _Table:
    delta: DeltaTable
    admission: Admission
    files: set[str] = field(default_factory=set)
    latest: datetime | None = None
    """The largest `created_at` in the table."""

    def later(self, rows: Sequence[Record]) -> list[Record]:
        """The rows, those that seem older than the table put right after it.

        What is current is told by `created_at`, and a clock that was set back must not bring back yesterday's verdicts.
        """
        latest = self.latest
        if latest is None:
            return list(rows)
        after = {"created_at": latest + timedelta(microseconds=1)}
        return [row if row.created_at > latest else row.model_copy(update=after) for row in rows]


def is_warehouse(path: Path) -> bool:
    """Whether there is a warehouse in that folder."""
    return (path.expanduser() / "tables" / Migration.TABLE / "_delta_log").is_dir()


class Warehouse:
    """A folder of tables. Opening takes no lock; any number of processes may read and append at once."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._tables: dict[str, _Table] = {}

    @classmethod
    def open(cls, path: str | Path, *, create: bool = False) -> "Warehouse":
        """Opens the warehouse at `path`, making it first if `create`.

        Raises WarehouseError when there is none, WarehouseTooNew when a later version of the program wrote it.
        """
        from warehouse.migrations import migrate

        root = Path(path).expanduser().resolve()
        if bad := sorted(set(_UNUSABLE) & set(str(root))):
            raise WarehouseError(f"{root}: a warehouse's path cannot hold {' '.join(bad)}; name another folder")
        if not is_warehouse(root):
            if not create:
                raise WarehouseError(f"{path}: no warehouse here; `dataengine run RECIPE --warehouse {path}` makes one")
            if root.exists() and (not root.is_dir() or any(p.name != "tables" for p in root.iterdir())):
                raise WarehouseError(f"{path}: not empty and no warehouse; name a new folder")
        warehouse = cls(root)
        migrate(warehouse, create=create)
        return warehouse

    def table_path(self, table: str) -> Path:
        """The folder of a table."""
        return self.path / "tables" / table

    def create_table(self, table: str) -> None:
        """Makes an empty table if there is none; appears whole, so that processes may do so at once.

        Two `DeltaTable.create` in one folder would leave two commits, and the commits of `migrations` are counted.
        """
        from schemas.arrow import arrow_schema

        path = self.table_path(table)
        if (path / "_delta_log").is_dir():
            return
        work = path.with_name(f".{table}-{uuid.uuid4().hex[:12]}")
        try:
            DeltaTable.create(work.as_uri(), schema=arrow_schema(RECORDS[table]), configuration=_LOG_STAYS)
            work.rename(path)
        except OSError:
            if not (path / "_delta_log").is_dir():
                raise
        finally:
            shutil.rmtree(work, ignore_errors=True)

    def keep_log(self, table: str) -> None:
        """Makes the log of a table stay, where it was made before tables were made so."""

        def stays(delta: DeltaTable) -> None:
            if not delta.metadata().configuration.items() >= _LOG_STAYS.items():
                delta.alter.set_table_properties(_LOG_STAYS)

        self._alter(table, stays)

    def add_columns(self, table: str) -> None:
        """Gives a table the columns that its record has by now; in rows that are there they are NULL."""
        from schemas.arrow import arrow_schema

        def add(delta: DeltaTable) -> None:
            there = {field.name for field in delta.schema().fields}
            wanted = Schema.from_arrow(arrow_schema(RECORDS[table])).fields
            if missing := [field for field in wanted if field.name not in there]:
                delta.alter.add_columns(missing)

        self._alter(table, add)

    def _alter(self, table: str, change: Callable[[DeltaTable], None]) -> None:
        """Makes a change of a table that is none where it was made already; several processes may do so at once."""
        for _ in range(_MAX_TRIES):
            try:
                return change(self.delta(table))
            except CommitFailedError:
                continue  # somebody wrote, or did the same
            except (DeltaError, OSError) as e:
                raise self._unwritable(table, e) from e
        raise WarehouseError(f"{self.path}: table {table}: lost {_MAX_TRIES} races; too many writers")

    def delta(self, table: str, version: int | None = None) -> DeltaTable:
        """The Delta table of that name, at a version or the newest."""
        return DeltaTable(self.table_path(table).as_uri(), version=version)

    def _paths(self, table: str, delta: DeltaTable) -> list[str]:
        # The log names files as parts of a URL, with spaces and the like escaped; they lie in the table's folder.
        return [str(self.table_path(table) / uri.rpartition("/")[2]) for uri in delta.file_uris()]

    def append(self, table: str, rows: Iterable[Record]) -> Appended:
        """Writes the rows whose keys are new, in one commit, and says which those were.

        Compare-and-swap: rows are held against version V of the table and committed as V + 1; another keyed commit in
        between makes the commit fail, and the rows are held against the newer version. The first row of a key wins.
        `created_at` grows from commit to commit, whatever the clock does.
        """
        from schemas.arrow import to_arrow

        batch = list(rows)
        if not batch:
            return Appended([], 0)
        state = self._state(table)
        stuck = 0
        for attempt in range(_MAX_TRIES):
            self._refresh(table, state)
            admitted = state.later(state.admission.admit(batch))
            if not admitted:
                return Appended([], len(batch))
            version = state.delta.version()
            try:
                write_deltalake(
                    state.delta,
                    to_arrow(RECORDS[table], admitted),
                    mode="append",
                    commit_properties=CommitProperties(app_transactions=[Transaction(_APP_ID, version + 1)]),
                )
            except CommitFailedError as e:
                # Lost the race. Wait a little, at random, or the same processes meet again.
                time.sleep(random.uniform(0, min(0.5, 0.01 * 2 ** min(attempt, 6))))
                state.delta = self.delta(table)
                stuck = stuck + 1 if state.delta.version() == version else 0
                if stuck == _NO_RACE:
                    raise self._unwritable(table, e) from e
                continue
            except (DeltaError, OSError) as e:
                raise self._unwritable(table, e) from e
            if len(state.files) > _MANY_FILES and len(state.delta.file_uris()) > _MANY_FILES:
                self.compact_table(table)
            return Appended(admitted, len(batch) - len(admitted))
        raise WarehouseError(f"{self.path}: table {table}: lost {_MAX_TRIES} races; too many writers")

    def _unwritable(self, table: str, error: Exception) -> WarehouseError:
        reason = refusal(error) or f"{in_words(error)}; mend this and run the same command again"
        return WarehouseError(
            f"{self.path}: table {table} cannot be written: {reason}; what was committed before is kept"
        )

    def _state(self, table: str) -> _Table:
        if table not in self._tables:
            self._tables[table] = _Table(self.delta(table), admission_for(RECORDS[table]))
        return self._tables[table]

    def _refresh(self, table: str, state: _Table) -> None:
        """Brings the writer's memory to the newest version, reading only files it has not seen."""
        import pyarrow.compute as pc
        import pyarrow.parquet as pq

        state.delta.update_incremental()
        files = set(self._paths(table, state.delta))
        for file in sorted(files - state.files):
            columns = pq.read_table(file, columns=[*state.admission.columns, "created_at"])
            state.admission.absorb({name: columns[name].to_pylist() for name in state.admission.columns})
            state.latest = max(filter(None, (state.latest, pc.max(columns["created_at"]).as_py())), default=None)
        state.files = files

    def versions(self) -> dict[str, int]:
        """The newest version of every table."""
        return {table: self.delta(table).version() for table in DEPENDENTS_FIRST}

    def files(self, table: str, version: int | datetime | None = None) -> tuple[int, list[str]]:
        """The version (the newest, that number, or the one at that time) of a table and its Parquet files."""
        try:
            delta = self.delta(table, version if isinstance(version, int) else None)
            if isinstance(version, datetime):
                delta.load_as_version(version)
        except Exception as e:
            # deltalake raises plain exceptions of several kinds for a version that is gone or never was
            raise WarehouseError(f"{self.path}: table {table} has no version {version}: {e}") from e
        paths = self._paths(table, delta)
        if version is not None and not all(map(os.path.exists, paths)):
            raise WarehouseError(
                f"{self.path}: table {table}: files of version {version} are gone; `dataengine gc` removes those that "
                "no snapshot needs: ask for a snapshot or a later time"
            )
        return delta.version(), paths

    def compact(self) -> dict[str, tuple[int, int]]:
        """Joins small files, and orders those of verdicts by trajectory where they are many and scattered.

        Returns for each table the number of files before and after. Nothing is deleted.
        """
        # The commits of `migrations` are counted, so that table is left as it is.
        return {table: self.compact_table(table, order=True) for table in RECORDS if table != Migration.TABLE}

    def compact_table(self, table: str, *, order: bool = False) -> tuple[int, int]:
        """Joins the small files of one table; old files stay for whoever still reads them. `order` as in `compact`.

        One process at a time: Delta sees no conflict between two compactions of the same files, both would stand, and
        every row twice. Who comes second leaves it to the first. Raises WarehouseError where the table's folder cannot
        be written.
        """
        try:
            with self.alone(table) as alone, without_panics():
                # Loaded inside the lock, so that it is the newest version that is compacted.
                delta = self.delta(table)
                before = len(delta.file_uris())
                by = _ORDERED_BY.get(table)
                written = WriterProperties(compression="ZSTD", max_row_group_size=_ROW_GROUP) if by else None
                if alone and order and by and self._scattered(table, delta, by):
                    # This joins files too.
                    delta.optimize.z_order([by], max_spill_size=_ORDERING_MEMORY, writer_properties=written)
                elif alone and before > 1:
                    delta.optimize.compact(writer_properties=written)
                return before, len(delta.file_uris())
        except (DeltaError, OSError) as e:
            raise self._unwritable(table, e) from e

    def _scattered(self, table: str, delta: DeltaTable, by: str) -> bool:
        most, rows = rows_met(self._paths(table, delta), by)
        return most > max(_SCATTERED, rows * _SCATTERED_SHARE)

    @contextmanager
    def alone(self, table: str) -> Iterator[bool]:
        """Whether this process may now replace or remove files of the table; then no other may, until the end.

        The lock ends with the process that holds it. Who reads and appends does not ask for it.
        """
        with (self.path / "tables" / f".{table}.compacting").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
            else:
                yield True
