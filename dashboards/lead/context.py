"""What every page of leads is given: the warehouse, the queues, who looks, and the desk that acts."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, NamedTuple, TypeVar

import streamlit as st

from dashboards.explore.view import View
from dataengine.desk import Desk
from dataengine.queue_lists import Listed
from schemas.access import Person
from schemas.queue import Queue
from warehouse.connect import connect
from warehouse.fetching import as_dicts
from warehouse.views import names_in

T = TypeVar("T")
#: A query with its parameters, answered as dicts.
Rows = Callable[[str, Sequence[Any]], list[dict[str, Any]]]
# Figures that are kept at once, for all leads together, and for how long.
_FIGURES, _SECONDS = 300, 3600


class Held(NamedTuple):
    """Something that somebody has before them now; `until` is when the lease ends."""

    queue: str
    item: str
    person: str
    until: datetime


@dataclass(frozen=True)
class Lead:
    """One run of a page of leads."""

    view: View
    queues: Mapping[str, Queue]
    person: Person
    desk: Desk
    link: Callable[[str], str] | None = None
    """The address of a trajectory's page, where there is one."""
    clock: Callable[[], datetime] = field(default=lambda: datetime.now(UTC))

    def rows(self, sql: str, parameters: Sequence[Any] = ()) -> list[dict[str, Any]]:
        """A query's rows, all of them, of the versions of tables that this look is at."""
        versions = dict(self.view.versions(sql))
        with connect(self.view.path, versions=versions, only=names_in(sql)) as connection:
            return as_dicts(connection.execute(sql, list(parameters)))

    def kept(self, name: str, tables: str, make: Callable[[], T], *of: Any) -> T:
        """What `make` works out of these tables (names of tables and views), kept until they have a newer version."""
        found: T = _kept(str(self.view.path), self.view.versions(tables), name, of, make)
        return found

    def items(self, queue: str) -> Listed:
        """What stands in a queue, without what is done; kept fresh by the desk."""
        return self.desk.lists.of(queue)

    def held(self) -> list[Held]:
        """What people have before them now."""
        now = self.clock()
        with self.desk.journal.standing() as standing:
            leases = [lease for held in standing.leases.values() for lease in held.values()]
        return [
            Held(lease.queue, lease.item.item_id, lease.reviewer, datetime.fromtimestamp(lease.until, UTC))
            for lease in leases
            if lease.holds(now.timestamp())
        ]

    def skipped(self) -> Mapping[tuple[str, str], int]:
        """How many items each (queue, person) passed over."""
        with self.desk.journal.standing() as standing:
            return Counter((queue, person) for queue, _, person in standing.skips)


@st.cache_data(max_entries=_FIGURES, ttl=_SECONDS, show_spinner="working it out")
def _kept(
    path: str, versions: tuple[tuple[str, int], ...], name: str, of: tuple[Any, ...], _make: Callable[[], T]
) -> T:
    return _make()
