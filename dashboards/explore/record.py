"""All that is known of one trajectory or pair: what `dataengine explain` tells, and the texts it was made from."""

from pathlib import Path
from typing import Any

import streamlit as st

from dashboards.explore.narrowed import lineage_connection
from dataengine.lineage import Row, find, lineage_of, masks
from schemas.errors import InputError, SnapshotError
from warehouse.connect import connect, opened
from warehouse.membership import define_snapshot_rows, rows_holding, trained_on
from warehouse.snapshot import list_snapshots

Versions = tuple[tuple[str, int], ...]
_TEXTS = "SELECT attempt, text FROM trajectories WHERE trajectory_id = ? ORDER BY attempt"
_PARENT = (
    "SELECT p.trajectory_id, p.text FROM trajectories_current t "
    "JOIN trajectories_current p ON p.trajectory_id = t.parent_id WHERE t.trajectory_id = ?"
)


@st.cache_data(max_entries=200, ttl=3600, show_spinner="looking it up")
def record_of(path: str, versions: Versions, ident: str) -> Row:
    """The record of the one id that starts so: that of `dataengine.lineage`, of a prompt its kind and id alone.

    Of a trajectory there are also `texts`, by attempt, and `parent`, the text that it was made from. Secrets are
    masked, as `dataengine explain` does. Raises InputError when no id or several start so.
    """
    pinned = dict(versions)
    with connect(path, versions={t: pinned[t] for t in ("pairs", "trajectories", "prompts")}, only=_TABLES) as found:
        kind, full = find(found, ident)
    if kind == "prompt":
        return {"kind": kind, "id": full}
    with lineage_connection(Path(path), kind, full, pinned) as connection:
        hide = masks(connection, kind, full)
        record = lineage_of(connection, kind, full, hide)
        if record is None:
            raise InputError(f"{kind} {full[:12]} has no rows")
        if kind == "trajectory":
            record["texts"] = {n: hide(text) for n, text in connection.execute(_TEXTS, [full]).fetchall()}
            parent = connection.execute(_PARENT, [full]).fetchone()
            record["parent"] = parent and {"trajectory_id": parent[0], "text": hide(parent[1])}
    return record


_TABLES = ("pairs", "trajectories", "prompts")


@st.cache_data(max_entries=200, ttl=30, show_spinner=False)
def snapshots_of(path: str, trajectories: tuple[str, ...], pairs: tuple[str, ...]) -> tuple[list[dict[str, Any]], str]:
    """The rows of snapshots that hold them, with the policies trained on those; and what could not be read."""
    folder = Path(path)
    try:
        with opened(folder / ".tmp") as connection:
            define_snapshot_rows(connection, folder)
            places = rows_holding(connection, trajectories, pairs)
        hashes = {s.id: s.manifest.logical_hash for s in list_snapshots(folder)} if places else {}
    except SnapshotError as e:
        return [], str(e)
    trained = trained_on(folder, hashes)
    return [row | {"trained": trained.get(row["snapshot"], [])} for row in places], ""
