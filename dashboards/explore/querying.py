"""Queries of the explore app: answers are bounded, and kept by the versions of the tables that they were read from."""

from dataclasses import dataclass
from typing import Any

import streamlit as st

from warehouse.connect import connect
from warehouse.views import names_in

# Answers that are kept at once, for all sessions together, and for how long.
_ANSWERS, _SECONDS = 500, 3600


@dataclass(frozen=True)
class Table:
    """The answer to a query: names of columns, rows, and whether there were more than were asked for."""

    names: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]
    cut: bool

    def dicts(self) -> list[dict[str, Any]]:
        """The rows by the names of the columns."""
        return [dict(zip(self.names, row, strict=True)) for row in self.rows]


@st.cache_data(max_entries=_ANSWERS, ttl=_SECONDS, show_spinner="asking the warehouse")
def ask(path: str, versions: tuple[tuple[str, int], ...], sql: str, parameters: tuple[Any, ...], most: int) -> Table:
    """At most `most` rows of a query over these versions of its tables; whoever asks again gets the same answer.

    A connection of its own for each query: threads must not share a cursor, and one lives for a fraction of a second.
    """
    with connect(path, versions=dict(versions), only=names_in(sql)) as connection:
        connection.execute(sql, list(parameters))
        names = tuple(d[0] for d in connection.description or ())
        rows = connection.fetchmany(most + 1)
    return Table(names, tuple(rows[:most]), len(rows) > most)
