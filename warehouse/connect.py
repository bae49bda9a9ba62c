"""DuckDB over the tables: views on the exact Parquet files of one version of each."""

import os
import tempfile
from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import datetime
from pathlib import Path

import duckdb

from schemas.duckdb_types import duckdb_columns
from schemas.errors import ConfigError, QueryError, WarehouseError
from schemas.records import RECORDS
from warehouse.quoting import literal, parquet
from warehouse.store import DEPENDENTS_FIRST, Warehouse
from warehouse.views import create_views, made_of
from warehouse.writing import IO_ERRORS, io_error

# Text of trajectories is read in; without a bound DuckDB takes 80 % of the machine.
_MEMORY_LIMIT = "2GB"
# Tables that got columns after they were made, and what those say of older rows where that is not NULL.
_GROWN = {"reviews": {"queue": "''", "guideline": "''", "role": "'annotator'", "repeat": "0"}}


def connect(
    path: str | Path,
    *,
    at: str | None = None,
    versions: Mapping[str, int] | None = None,
    only: Iterable[str] | None = None,
    snapshots: bool = False,
) -> duckdb.DuckDBPyConnection:
    """A connection with every table and view of the warehouse in place, for reading.

    With `only`, with those tables and views and what they are made of: it is there sooner, `names_in` tells which.

    It sees one version of each table, for as long as it lives: those that `at` means (a time in ISO form, or a
    snapshot's `name@version`), those given by number in `versions`, or the newest. It holds no lock on anything.
    `snapshots` adds the view `snapshot_rows`: see `warehouse.membership`. Raises WarehouseError when there is no
    warehouse, QueryError for an `at` that names nothing.
    """
    return connect_with_files(path, at=at, versions=versions, only=only, snapshots=snapshots)[0]


def connect_with_files(
    path: str | Path,
    *,
    at: str | None = None,
    versions: Mapping[str, int] | None = None,
    only: Iterable[str] | None = None,
    snapshots: bool = False,
) -> tuple[duckdb.DuckDBPyConnection, list[str]]:
    """As `connect`, and the files that the connection reads."""
    warehouse = Warehouse.open(path)
    connection = opened(_spill(warehouse))
    files = define_views(connection, warehouse, versions or pins(warehouse, at), only)
    if snapshots:
        from warehouse.membership import define_snapshot_rows

        files += define_snapshot_rows(connection, warehouse.path, _moment_of(warehouse, at))
    return connection, files


def opened(spill: Path) -> duckdb.DuckDBPyConnection:
    """An empty database in memory with the bounds that all have; what does not fit goes to the folder `spill`."""
    connection = duckdb.connect(":memory:")
    for variable, setting, default in (
        ("DATAENGINE_MEMORY", "memory_limit", _MEMORY_LIMIT),
        ("DATAENGINE_THREADS", "threads", None),
    ):
        value = os.environ.get(variable) or default
        try:
            if value:
                connection.execute(f"SET {setting} = ?", [value])
        except duckdb.Error as e:
            raise ConfigError(f"{variable} is {value!r}: {str(e).splitlines()[0]}") from None
    connection.execute("SET temp_directory = ?", [str(spill)])
    connection.execute("SET TimeZone = 'UTC'")
    return connection


def _spill(warehouse: Warehouse) -> Path:
    """Where sorts go that memory does not hold.

    A warehouse that may only be read, such as a mounted copy, is sorted and grouped in the system's own folder.
    """
    folder = warehouse.path if os.access(warehouse.path, os.W_OK) else Path(tempfile.gettempdir())
    return folder / ".tmp"


def pins(warehouse: Warehouse, at: str | None) -> Mapping[str, int | datetime | None]:
    """The version of each table that `at` means, in the order in which they are to be opened; None is the newest."""
    if at is None:
        return dict.fromkeys(DEPENDENTS_FIRST)
    if "@" in at:
        from warehouse.snapshot import open_snapshot

        # Version 0 is the empty table: one that the snapshot does not name was not there yet.
        return dict.fromkeys(DEPENDENTS_FIRST, 0) | open_snapshot(warehouse.path, at).manifest.tables
    return dict.fromkeys(DEPENDENTS_FIRST, _moment(at))


def _moment_of(warehouse: Warehouse, at: str | None) -> datetime | None:
    if at is None or "@" not in at:
        return None if at is None else _moment(at)
    from warehouse.snapshot import open_snapshot

    return open_snapshot(warehouse.path, at).manifest.created_at


def _moment(at: str) -> datetime:
    try:
        moment = datetime.fromisoformat(at)
    except ValueError:
        raise QueryError(f"--at {at}: neither a snapshot (name@version) nor a time such as 2026-01-31T12:00") from None
    return moment if moment.tzinfo else moment.astimezone()


def define_views(
    connection: duckdb.DuckDBPyConnection,
    warehouse: Warehouse,
    versions: Mapping[str, int | datetime | None],
    only: Iterable[str] | None = None,
    *,
    bound: bool = False,
) -> list[str]:
    """Makes the tables' views and those of views.sql, or only some with what they are made of; the files they read.

    `bound` is as in `create_views`.
    """
    wanted = None if only is None else made_of(only)
    files: list[str] = []
    for table, version in versions.items():
        if wanted is None or table in wanted:
            _, paths = warehouse.files(table, version)
            connection.execute(f"CREATE VIEW {table} AS {_select(table, paths)}")
            files.extend(paths)
    create_views(connection, wanted, bound=bound)
    return files


def _select(table: str, paths: list[str]) -> str:
    columns = duckdb_columns(RECORDS[table])
    if paths and table not in _GROWN:
        return f"SELECT * FROM {parquet(paths)}"
    empty = "SELECT " + ", ".join(f'CAST(NULL AS {t}) AS "{name}"' for name, t in columns.items()) + " WHERE false"
    if not paths:
        return empty
    # Files that were written before a column was added do not have it.
    told = f"{empty} UNION ALL BY NAME SELECT * FROM {parquet(paths, 'union_by_name = true')}"
    filled = [f"coalesce({name}, {value}) AS {name}" for name, value in _GROWN[table].items()]
    return f"SELECT * REPLACE ({', '.join(filled)}) FROM ({told})"


def refresh_duckdb_file(warehouse: Warehouse) -> Path:
    """Writes `warehouse.duckdb`, a file of views over the newest versions for any DuckDB client, and returns its path.

    It holds no data and can be made anew at any time. Replaced whole, so a reader has the old one or the new. It is in
    the format of DuckDB 1.0, so that clients older than ours read it too.
    """
    target = warehouse.path / "warehouse.duckdb"
    fresh = target.with_name(f".warehouse-{os.getpid()}.duckdb")
    log = Path(f"{fresh}.wal")
    try:
        # A process of the same number may have been killed at this.
        fresh.unlink(missing_ok=True)
        log.unlink(missing_ok=True)
        with duckdb.connect(":memory:") as connection:
            connection.execute(f"ATTACH {literal(str(fresh))} AS file (STORAGE_VERSION 'v1.0.0')")
            connection.execute("USE file")
            define_views(connection, warehouse, pins(warehouse, None), bound=True)
            # Else the views are still in the log beside the file; to close it says nothing of a full disk.
            connection.execute("CHECKPOINT file")
        fresh.replace(target)
    except IO_ERRORS as e:
        raise io_error(e, target, WarehouseError) from e
    finally:
        with suppress(OSError):
            fresh.unlink(missing_ok=True)
            log.unlink(missing_ok=True)
    return target
