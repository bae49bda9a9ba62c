"""What a lead would do something to: selections, with their count and a sample, to be confirmed before it is done."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb

from dashboards.lead.context import Held, Rows
from schemas.access import GOLD
from schemas.errors import QueryError
from schemas.records import Review
from warehouse.sql import query

#: More than this is not done by a click.
MOST = 100_000

_STANDING = (
    "SELECT {0} FROM reviews_current WHERE NOT by_editing AND reviewer <> $1 AND {1} ORDER BY created_at, number"
)


@dataclass(frozen=True)
class Selection:
    """What was chosen: the ids that would be acted on, and rows about them to show."""

    ids: tuple[str, ...]
    sample: tuple[dict[str, Any], ...]
    unknown: int = 0
    """Ids that the warehouse does not have, or that cannot be acted on: they are left out."""

    @property
    def count(self) -> int:
        """How many would be acted on."""
        return len(self.ids)


def asked_for(path: Path, sql: str, column: str) -> list[str]:
    """The ids that a query of the lead's gives in `column`, each once, in its order.

    Raises QueryError, with one line for the lead, for SQL that fails, does more than read, gives no such column or more
    than MOST ids.
    """
    found = query(path, sql)
    if column not in found.columns:
        raise QueryError(f"the query gives no column {column}, but {', '.join(found.columns)}")
    at = found.columns.index(column)
    try:
        rows = found.limit(MOST + 1).fetchall()
    except duckdb.Error as e:
        raise QueryError(str(e).splitlines()[0]) from e
    ids = list(dict.fromkeys(str(row[at]) for row in rows if row[at] is not None))
    if len(rows) > MOST:
        raise QueryError(f"the query gives more than {MOST:,} rows; narrow it down")
    return ids


def to_send(rows: Rows, ids: Sequence[str], kind: str) -> Selection:
    """Those of the ids that are trajectories with a reply, or pairs (`kind` is what the queue has)."""
    if kind == "pairs":
        sql = (
            "SELECT pair_id AS id, prompt_id, a_id, b_id FROM pairs "
            "WHERE pair_id IN (SELECT unnest($1::VARCHAR[])) ORDER BY list_position($1::VARCHAR[], pair_id)"
        )
    else:
        sql = (
            "SELECT trajectory_id AS id, stage, policy, text[:200] AS text FROM trajectories_current "
            "WHERE error IS NULL AND trajectory_id IN (SELECT unnest($1::VARCHAR[]))"
        )
    found = {r["id"]: r for r in rows(sql, [tuple(ids)])}
    known = [i for i in ids if i in found]
    return Selection(tuple(known), tuple(found[i] for i in known[:10]), len(ids) - len(known))


def to_withdraw(
    rows: Rows, *, queue: str = "", reviewer: str = "", verdict: str = "", ids: Sequence[str] | None = None
) -> Selection:
    """The reviews that stand of a person, a queue, a verdict, or with these review_ids."""
    conditions, parameters = ["true"], list[Any]([GOLD])
    for column, value in (("queue", queue), ("reviewer", reviewer), ("verdict", verdict)):
        if value:
            parameters.append(value)
            conditions.append(f"{column} = ${len(parameters)}")
    if ids is not None:
        parameters.append(tuple(ids))
        conditions.append(f"review_id IN (SELECT unnest(${len(parameters)}::VARCHAR[]))")
    columns = "review_id, created_at, queue, reviewer, verdict, coalesce(pair_id, trajectory_id) AS id, note"
    found = rows(_STANDING.format(columns, " AND ".join(conditions)), parameters)
    known = tuple(r["review_id"] for r in found)
    return Selection(known, tuple(found[:10]), 0 if ids is None else len(ids) - len(known))


def reviews(rows: Rows, ids: Sequence[str]) -> list[Review]:
    """The reviews of these review_ids, as the journal has them."""
    found = rows("SELECT * FROM reviews WHERE review_id IN (SELECT unnest($1::VARCHAR[]))", [tuple(ids)])
    return [Review(**r) for r in found]


def to_release(held: Iterable[Held], queue: str, person: str) -> Selection:
    """What a person has before them from a queue."""
    found = [h for h in held if h.queue == queue and h.person == person]
    rows = ({"queue": h.queue, "person": h.person, "id": h.item, "until": h.until} for h in found)
    return Selection(tuple(h.item for h in found), tuple(rows))
