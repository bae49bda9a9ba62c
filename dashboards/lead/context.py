"""What every page of leads is given: the warehouse, the queues, who looks, and the desk that acts."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, NamedTuple, Protocol

from dashboards.explore.view import View
from schemas.access import Person
from schemas.queue import Queue
from schemas.records import Review

# Words that are read at once: a lead who has more looks at one queue at a time.
_MOST = 2_000_000

#: A query with its parameters, answered as dicts.
Rows = Callable[[str, Sequence[Any]], list[dict[str, Any]]]


class Held(NamedTuple):
    """Something that somebody has before them now; `until` is when the lease ends."""

    queue: str
    item: str
    person: str
    until: datetime


class Desk(Protocol):
    """What is done for a lead, and what only the desk knows."""

    def items(self, queue: str) -> Sequence[str]:
        """The ids of what stands in a queue, done or not: of trajectories, or of pairs."""
        ...

    def held(self) -> Iterable[Held]:
        """What people have before them now."""
        ...

    def skipped(self) -> Mapping[tuple[str, str], int]:
        """How often each (queue, person) passed something over."""
        ...

    def release(self, person: str, queue: str) -> int:
        """Ends the leases of a person in a queue; how many there were."""
        ...

    def send(self, ids: Sequence[str], person: Person, queue: str) -> int:
        """Puts trajectories (pairs) into a queue; how many were not there before."""
        ...

    def withdraw(self, reviews: Sequence[Review], person: Person) -> int:
        """Withdraws reviews, by further events in the names of who said them; how many."""
        ...


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
        """A query's rows."""
        return self.view.rows(sql, parameters, most=_MOST)
