"""Which snapshots hold a row: the ids, split and weight of all their rows as a view, and what was trained on them."""

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb

from schemas.errors import SnapshotError
from warehouse.fetching import as_dicts
from warehouse.quoting import literal, parquet
from warehouse.snapshot import list_snapshots

# The columns of the view, and by kind of rows those of them that its files have.
_COLUMNS = {"prompt_id": "VARCHAR", "trajectory_id": "VARCHAR", "attempt": "BIGINT", "pair_id": "VARCHAR",
            "chosen_id": "VARCHAR", "rejected_id": "VARCHAR", "weight": "DOUBLE"}  # fmt: skip
_HELD = {
    "samples": ("prompt_id", "trajectory_id", "attempt", "weight"),
    "labels": ("prompt_id", "trajectory_id", "attempt", "weight"),
    "pairs": ("prompt_id", "pair_id", "chosen_id", "rejected_id", "weight"),
    "prompts": ("prompt_id", "weight"),
}

_TYPES = {"snapshot": "VARCHAR", "name": "VARCHAR", "version": "BIGINT", "rows_of": "VARCHAR", "split": "VARCHAR",
          "file": "VARCHAR", "row": "BIGINT", **_COLUMNS}  # fmt: skip


def define_snapshot_rows(
    connection: duckdb.DuckDBPyConnection, warehouse: Path, by: datetime | None = None
) -> list[str]:
    """Makes the view `snapshot_rows`, a row for each row of each snapshot made `by` then; returns the files it reads.

    Columns: `snapshot` (name@version), `name`, `version`, `rows_of` (samples, pairs, labels, prompts), `split`, `file`,
    `row` (its place in the file, from 1), and those ids and the weight that its kind has, NULL for the others. Raises
    SnapshotError when a file cannot be read.
    """
    files: dict[str, list[str]] = {kind: [] for kind in _HELD}
    for snapshot in list_snapshots(warehouse):
        if by is None or snapshot.manifest.created_at <= by:
            files[snapshot.manifest.rows_of] += map(str, snapshot.data_files())
    parts = [_part(kind, paths) for kind, paths in files.items() if paths]
    nothing = f"SELECT {', '.join(f'NULL::{kind} AS {name}' for name, kind in _TYPES.items())} WHERE false"
    try:
        connection.execute(f"CREATE VIEW snapshot_rows AS {' UNION ALL '.join(parts) or nothing}")
    except duckdb.Error as e:
        raise SnapshotError(f"a snapshot cannot be read, restore it from a copy: {str(e).splitlines()[0]}") from e
    return [path for paths in files.values() for path in paths]


def _part(kind: str, paths: Sequence[str]) -> str:
    held = ", ".join(name if name in _HELD[kind] else f"NULL::{t} AS {name}" for name, t in _COLUMNS.items())
    # Files of one kind have the same columns: with `union_by_name` DuckDB would open every one of them to find out.
    return f"""
        SELECT concat(split_part(filename, '/', -3), '@', substr(split_part(filename, '/', -2), 2)) AS snapshot,
            split_part(filename, '/', -3) AS name, substr(split_part(filename, '/', -2), 2)::BIGINT AS version,
            {literal(kind)} AS rows_of, split, split_part(filename, '/', -1) AS file, file_row_number + 1 AS row, {held}
        FROM {parquet(paths, "filename = true", "file_row_number = true")}"""


def rows_holding(
    connection: duckdb.DuckDBPyConnection, trajectories: Sequence[str], pairs: Sequence[str], prompt: str | None = None
) -> list[dict[str, Any]]:
    """The rows of `snapshot_rows` that hold these replies or pairs, or are that prompt in a set of prompts.

    By whole ids, and by those that files are sorted by, so that only the parts of a file are read that may hold them.
    """
    asked = {"trajectory_id": trajectories, "pair_id": pairs}
    wanted = [f"{column} IN ({', '.join(map(literal, ids))})" for column, ids in asked.items() if ids]
    wanted += [f"rows_of = 'prompts' AND prompt_id = {literal(prompt)}"] if prompt else []
    if not wanted:
        return []
    selects = " UNION ALL ".join(f"SELECT * FROM snapshot_rows WHERE {condition}" for condition in wanted)
    return as_dicts(connection.execute(f"{selects} ORDER BY name, version, split, file, row"))


def trained_on(warehouse: Path, snapshots: Mapping[str, str]) -> dict[str, list[str]]:
    """The policies trained on each of the snapshots (id -> logical hash), as far as the warehouse has them."""
    found: dict[str, list[str]] = {}
    for training in trainings(warehouse):
        if snapshots.get(training.get("snapshot", "")) == training.get("snapshot_hash", ""):
            found.setdefault(training["snapshot"], []).append(training["policy"])
    return found


def trainings(warehouse: Path) -> Iterator[dict[str, Any]]:
    """What `training.json` says of each checkpoint in the warehouse's folder, where `dataengine run` puts them."""
    for file in sorted((warehouse / "checkpoints").glob("*/training.json")):
        try:
            training = json.loads(file.read_bytes())
        except ValueError:
            continue  # who trains or samples from it is told
        if isinstance(training, dict):
            yield training
