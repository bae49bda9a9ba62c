"""How much of each source a mix with targets takes, and what its rows weigh."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from math import ceil, floor

import duckdb

from schemas.errors import SnapshotError
from schemas.mix import Mix
from warehouse.chosen import left_out_of


@dataclass(frozen=True)
class Part:
    """One source's part: its proportion to the others, the rows or tokens at hand, and how often they may count.

    `left_out` are the rows that each rule left out before.
    """

    proportion: Fraction
    available: int
    max_epochs: Fraction
    left_out: Mapping[str, int] = field(default_factory=dict)

    @property
    def reach(self) -> int:
        """The most that it can come to."""
        return floor(self.available * self.max_epochs)


def meet_targets(connection: duckdb.DuckDBPyConnection, mix: Mix) -> list[float]:
    """Leaves out of `chosen` what is over the targets of the mix, as `over_target`; returns each source's weight.

    Rows are taken in the order of the lottery until the next one would go over the target. Where all rows of a source
    are less than its target, all are taken and weigh target / available each, otherwise 1. Raises SnapshotError, with
    what would make it feasible, for a target that a source does not reach.
    """
    if not mix.targets:
        return [1.0] * len(mix.sources)
    size, unit = ("1", "rows") if mix.targets[0].unit == "rows" else ("completion_tokens", "tokens")
    taken = f"""
        SELECT source, id, {size} AS size, sum({size}) OVER (PARTITION BY source ORDER BY place) AS until
        FROM chosen JOIN trajectories_current ON trajectory_id = id WHERE dropped IS NULL"""
    found = connection.execute(
        f"SELECT source, sum(size)::BIGINT, count(*) FILTER (WHERE size IS NULL) FROM ({taken}) GROUP BY 1"
    ).fetchall()
    unknown = [f"source {source + 1} has {n:,}" for source, _, n in sorted(found) if n]
    if unknown:
        raise SnapshotError(
            f"mix {mix.mix}: its targets are in tokens, and some rows have no completion_tokens: {', '.join(unknown)}; "
            'leave them out by where: "completion_tokens IS NOT NULL"'
        )
    available = {source: n or 0 for source, n, _ in found}
    left_out = left_out_of(connection)
    parts = [
        Part(
            Fraction(str(target.rows or target.share_of_tokens)),
            available.get(i, 0),
            Fraction(str(source.max_epochs)),
            left_out.get(i, {}),
        )
        for i, (source, target) in enumerate(zip(mix.sources, mix.targets, strict=True))
    ]
    goals = goals_of(mix, parts, unit)
    connection.execute(
        f"UPDATE chosen SET dropped = 'over_target' FROM ({taken}) AS taken "
        "WHERE chosen.source = taken.source AND chosen.id = taken.id AND dropped IS NULL "
        "AND until > ($goals::BIGINT[])[chosen.source + 1]",
        {"goals": goals},
    )
    return [max(1.0, goal / part.available) if part.available else 1.0 for part, goal in zip(parts, goals, strict=True)]


def goals_of(mix: Mix, parts: Sequence[Part], unit: str) -> list[int]:
    """Rows or tokens of each source: they sum to the mix's scale, or to the largest that every source allows.

    Without a scale, targets in rows are never exceeded. Raises SnapshotError for what cannot be met.
    """
    whole = sum((part.proportion for part in parts), Fraction(0))
    allowed = min(part.reach * whole / part.proportion for part in parts)
    largest = min(allowed, whole) if unit == "rows" else allowed
    goals = _shared_out(
        largest if mix.scale is None else Fraction(mix.scale), [part.proportion / whole for part in parts]
    )
    short = [i for i, (part, goal) in enumerate(zip(parts, goals, strict=True)) if goal > part.reach]
    empty = [i for i, part in enumerate(parts) if not part.available] if short or mix.scale is None else []
    if empty:
        named = ", ".join(_named(mix, i) for i in empty)
        raise SnapshotError(
            f"mix {mix.mix}: no {unit} are left for the target of {named}: no scale is feasible; `dataengine status` "
            "shows where they stop; or take the source out"
        )
    if short:
        needs = ", ".join(_need(i, parts[i], goals[i], unit) for i in short)
        epochs = ", ".join(f"max_epochs: {_epochs(parts[i], goals[i]):g} for source {i + 1}" for i in short)
        raise SnapshotError(f"mix {mix.mix}: {needs}; feasible are scale: {floor(allowed)}, the largest, or {epochs}")
    return goals


def _shared_out(scale: Fraction, shares: Sequence[Fraction]) -> list[int]:
    """Whole numbers that sum to the scale without its fraction, each within one of its share.

    The largest remainders are rounded up. What is whole already stays, so that a scarcest source is taken entirely.
    """
    exact = [scale * share for share in shares]
    goals = [floor(goal) for goal in exact]
    by_remainder = sorted(range(len(goals)), key=lambda i: (goals[i] - exact[i], i))
    for i in by_remainder[: floor(scale) - sum(goals)]:
        goals[i] += 1
    return goals


def _need(number: int, part: Part, goal: int, unit: str) -> str:
    most = f" ({part.reach:,} with max_epochs {float(part.max_epochs):g})" if part.max_epochs > 1 else ""
    rules = ", ".join(f"{rule} {rows:,}" for rule, rows in part.left_out.items())
    out = f" (rows left out: {rules})" if rules else ""
    return f"source {number + 1} needs {goal:,} {unit} and has {part.available:,}{most}{out}"


def _epochs(part: Part, goal: int) -> float:
    """The least max_epochs, to hundredths, with which the source reaches the goal."""
    return ceil(Fraction(100 * goal, part.available)) / 100


def _named(mix: Mix, number: int) -> str:
    where = " ".join((mix.sources[number].where or "").split())
    return f"source {number + 1}" + (f" (where: {where})" if where else "")
