"""How far the work is: the funnel, and the line that says that nothing got lost."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import duckdb

from warehouse.connect import connect
from warehouse.fetching import as_dicts
from warehouse.snapshot import Damaged, every_snapshot

OUTCOMES = ("pass", "fail", "undecided", "error", "pending")


@dataclass(frozen=True)
class Conservation:
    """One stage and check: applicable = pass + fail + undecided + error + pending."""

    stage: str
    check: str
    applicable: int
    counts: dict[str, int]

    @property
    def balanced(self) -> bool:
        """Whether it adds up."""
        return self.applicable == sum(self.counts.values())

    @property
    def text(self) -> str:
        """The line that every command which works on rows prints."""
        parts = " + ".join(f"{count:,} {name}" for name, count in self.counts.items())
        verdict = "" if self.balanced else f"  DOES NOT ADD UP: {sum(self.counts.values()):,}"
        return f"{self.stage:<13} {self.check:<14} {self.applicable:>8,} = {parts}{verdict}"


def conservation(path: Path, stage: str | None = None) -> list[Conservation]:
    """The conservation lines of a warehouse, of one stage or of all."""
    with connect(path, only=("funnel",)) as connection:
        return _lines(connection, stage)


def _lines(connection: duckdb.DuckDBPyConnection, stage: str | None = None) -> list[Conservation]:
    columns = ", ".join(f'"{name}"' for name in OUTCOMES)
    rows = connection.execute(
        f'SELECT stage, "check", applicable, {columns} FROM funnel '
        "WHERE \"check\" <> '(kept)' AND coalesce(stage = $stage, true)",
        {"stage": stage},
    ).fetchall()
    return [Conservation(s, c, n, dict(zip(OUTCOMES, counts, strict=True))) for s, c, n, *counts in rows]


@dataclass(frozen=True)
class Status:
    """Everything `dataengine status` shows."""

    stages: list[dict[str, Any]]
    conservation: list[Conservation]
    runs: list[dict[str, Any]]
    snapshots: list[dict[str, Any]]
    conflicts: int

    @property
    def balanced(self) -> bool:
        """Whether every line adds up."""
        return all(line.balanced for line in self.conservation)

    def as_json(self) -> dict[str, Any]:
        """The same as plain values."""
        return {**asdict(self), "balanced": self.balanced}


def status(path: Path) -> Status:
    """The state of a warehouse."""
    with connect(path) as connection:
        stages = _dicts(
            connection,
            "SELECT stage, count(DISTINCT prompt_id) AS prompts, count(*) AS trajectories, "
            "count(*) FILTER (WHERE error IS NULL) AS replies, count(*) FILTER (WHERE error IS NOT NULL) AS failed, "
            "count(*) FILTER (WHERE error IS NULL AND finish_reason = 'length') AS truncated, "
            "coalesce(sum(completion_tokens), 0)::BIGINT AS tokens FROM trajectories_current GROUP BY 1 ORDER BY 1",
        )
        runs = _dicts(
            connection,
            "SELECT recipe, run_id, state, strftime(started_at, '%Y-%m-%d %H:%M') AS started FROM runs_current "
            "ORDER BY started_at DESC LIMIT 5",
        )
        conflicts = connection.execute("SELECT count(*) FROM prompts_current WHERE conflict").fetchone()
        lines = _lines(connection)
    snapshots = [
        {"snapshot": s.id, "rows": None, "hash": "damaged"}
        if isinstance(s, Damaged)
        else {"snapshot": s.id, "rows": s.manifest.rows, "hash": s.manifest.logical_hash[:12]}
        for s in every_snapshot(Path(path).expanduser().resolve())
    ]
    return Status(stages, lines, runs, snapshots, int(conflicts[0]) if conflicts else 0)


def _dicts(connection: duckdb.DuckDBPyConnection, sql: str) -> list[dict[str, Any]]:
    return as_dicts(connection.execute(sql))
