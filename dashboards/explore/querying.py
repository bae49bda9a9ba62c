"""Queries of the explore app: answers are bounded, and kept by the versions of the tables that they were read from."""

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import streamlit as st

from schemas.errors import SnapshotError
from warehouse.connect import connect, opened
from warehouse.quoting import parquet
from warehouse.store import DEPENDENTS_FIRST, Warehouse
from warehouse.views import names_in

# Answers that are kept at once, for all sessions together, and for how long.
_ANSWERS, _SECONDS = 500, 3600
# Seconds for which a look at the versions of tables holds: a run writes all the time, and each look costs milliseconds
# a table, and all answers that were kept.
_LOOK = 10
# Queries that run at once: each takes all cores that it is given, and up to two gigabytes.
_AT_ONCE = threading.BoundedSemaphore(4)


@dataclass(frozen=True)
class Table:
    """The answer to a query: names of columns, rows, and whether there were more than were asked for."""

    names: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]
    cut: bool

    def dicts(self) -> list[dict[str, Any]]:
        """The rows by the names of the columns."""
        return [dict(zip(self.names, row, strict=True)) for row in self.rows]


@dataclass(frozen=True)
class Look:
    """The newest version of every table, and when that was seen."""

    versions: Mapping[str, int]
    at: datetime


@st.cache_data(max_entries=20, ttl=_LOOK, show_spinner=False)
def look_at(path: str) -> Look:
    """What all who come within some seconds see of a warehouse. Raises WarehouseError where there is none."""
    warehouse = Warehouse.open(path)
    # Dependents first: a verdict is never seen without its trajectory.
    return Look({table: warehouse.delta(table).version() for table in DEPENDENTS_FIRST}, datetime.now(UTC))


@st.cache_data(max_entries=_ANSWERS, ttl=_SECONDS, show_spinner="asking the warehouse")
def ask(path: str, versions: tuple[tuple[str, int], ...], sql: str, parameters: tuple[Any, ...], most: int) -> Table:
    """At most `most` rows of a query over these versions of its tables; whoever asks again gets the same answer.

    A connection of its own for each query: threads must not share a cursor, and one lives for a fraction of a second.
    """
    with _AT_ONCE, connect(path, versions=dict(versions), only=names_in(sql)) as connection:
        connection.execute(sql, list(parameters))
        names = tuple(d[0] for d in connection.description or ())
        rows = connection.fetchmany(most + 1)
    return Table(names, tuple(rows[:most]), len(rows) > most)


@st.cache_data(max_entries=_ANSWERS, ttl=_SECONDS, show_spinner="reading the snapshot")
def ask_files(warehouse: str, files: tuple[str, ...], content: str, sql: str, most: int) -> Table:
    """At most `most` rows of a query over files that are there for good, called `rows`; `content` is their hash."""
    with _AT_ONCE, opened(Path(warehouse) / ".tmp") as connection:
        try:
            connection.execute(f"CREATE VIEW rows AS FROM {parquet(files)}")
            connection.execute(sql)
            names = tuple(d[0] for d in connection.description or ())
            rows = connection.fetchmany(most + 1)
        except duckdb.Error as e:
            raise SnapshotError(f"a snapshot cannot be read, restore it from a copy: {str(e).splitlines()[0]}") from e
    return Table(names, tuple(rows[:most]), len(rows) > most)
