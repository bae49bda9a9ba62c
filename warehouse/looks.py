"""What people have looked at and what still wants a look, as the table `reviews` has it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb

from warehouse.connect import connect
from warehouse.views import names_in

# What of the asked ones can be looked at, and where each stands. What an edit made comes in with what was edited; an
# edit that its author replaced by another word counts no longer, and neither does what it made.
_LOOKED = """
WITH RECURSIVE edits AS (
    SELECT trajectory_id, child_id FROM reviews_current WHERE verdict = 'edit'
), family(trajectory_id) AS (
    SELECT trajectory_id FROM asked
    UNION SELECT e.child_id FROM edits e JOIN family USING (trajectory_id)
), passed AS (
    SELECT trajectory_id FROM verdicts_current
    WHERE outcome = 'pass' AND list_contains($require::VARCHAR[], "check")
    GROUP BY trajectory_id
    HAVING count(*) = len($require::VARCHAR[])
), said AS (
    SELECT trajectory_id, attempt, count(*) AS looks,
        count(*) FILTER (WHERE verdict = 'approve') AS approvals,
        bool_or(verdict = 'edit') AS edited,
        bool_or(verdict = 'flag') AS flagged,
        arg_max(verdict, (created_at, number)) FILTER (WHERE role = 'adjudicator' AND verdict <> 'flag') AS adjudicated
    FROM reviews_current
    WHERE pair_id IS NULL
    GROUP BY trajectory_id, attempt
), placed AS (
    SELECT t.trajectory_id, CASE
        WHEN s.adjudicated = 'approve' THEN 'approved'
        WHEN s.adjudicated = 'reject' THEN 'rejected'
        WHEN s.edited THEN 'edited'
        WHEN coalesce(s.looks, 0) < $looks THEN 'waiting'
        WHEN s.flagged THEN 'undecided'
        WHEN s.approvals * 2 > s.looks THEN 'approved'
        WHEN s.approvals * 2 = s.looks THEN 'undecided'
        ELSE 'rejected' END AS place
    FROM trajectories_current t
    SEMI JOIN family f ON f.trajectory_id = t.trajectory_id
    LEFT JOIN said s ON s.trajectory_id = t.trajectory_id AND s.attempt = t.attempt
    WHERE t.error IS NULL
        AND (t.engine <> 'review' OR t.trajectory_id IN (SELECT child_id FROM edits))
        AND (len($require::VARCHAR[]) = 0 OR t.trajectory_id IN (FROM passed))
)
"""


@dataclass(frozen=True)
class Looked:
    """How many attempts were approved, rejected, edited, are undecided (as many for as against) or wait for a look."""

    approved: int = 0
    rejected: int = 0
    edited: int = 0
    undecided: int = 0
    waiting: int = 0

    @property
    def total(self) -> int:
        """All of them; each stands in one of the counts."""
        return self.approved + self.rejected + self.edited + self.undecided + self.waiting


def looked_at(path: Path, ids: Sequence[str], *, looks: int = 1, require: Sequence[str] = ()) -> Looked:
    """Where those that passed every check of `require` stand when `looks` people are to look at each.

    What edits made of them, and of what edits made, counts with them.
    """
    with connect(path, only=names_in(_LOOKED)) as connection:
        _ask(connection, ids)
        counts = connection.execute(
            f"{_LOOKED} SELECT place, count(*) FROM placed GROUP BY place", {"looks": looks, "require": list(require)}
        ).fetchall()
    return Looked(**dict(counts))


def edited_from(path: Path, ids: Sequence[str]) -> list[str]:
    """The trajectories that people's edits made of those, and of what was made so, by id."""
    with connect(path, only=names_in(_LOOKED)) as connection:
        _ask(connection, ids)
        rows = connection.execute(
            f"{_LOOKED} SELECT trajectory_id FROM placed ANTI JOIN asked USING (trajectory_id) ORDER BY trajectory_id",
            {"looks": 1, "require": []},
        ).fetchall()
    return [row[0] for row in rows]


def _ask(connection: duckdb.DuckDBPyConnection, ids: Sequence[str]) -> None:
    connection.execute("CREATE TABLE asked AS SELECT unnest(?::VARCHAR[]) AS trajectory_id", [list(ids)])
