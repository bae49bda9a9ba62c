"""From a row of an exported file back to its id: by the ids in it, or by what it says."""

import itertools
import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import duckdb

from schemas.errors import InputError, SnapshotError
from warehouse.fetching import as_dicts
from warehouse.formats import FORMATS
from warehouse.quoting import literal, parquet
from warehouse.snapshot import KINDS, Snapshot, list_snapshots, open_snapshot

#: By kind of rows the id by which its rows are told apart.
ROW_ID = {name: kind.ident for name, kind in KINDS.items()}
# What a row says, by format: the columns that hold content, and not ids.
_CONTENT = {
    "messages": ("messages",),
    "sharegpt": ("conversations",),
    "alpaca": ("instruction", "output", "system", "history"),
    "preference": ("prompt", "chosen", "rejected"),
    "prompt-completion": ("prompt", "completion"),
    "prompts": ("prompt", "reference", "verifier"),
}


def find_row(warehouse: Path, file: Path, line: int, ref: str | None = None) -> tuple[str, str | None]:
    """The id of a row of an exported file (Parquet or lines of JSON; the first is 1), and its snapshot where known.

    The snapshot is `ref`, or that which the card beside the file names. A row without ids, as in `openai`, is looked
    for by what it says in that snapshot, or in all of them. Raises InputError when there is no such row, or it is none
    of a snapshot; SnapshotError when the snapshot is not there, or another one of that name.
    """
    row = _read(file, line)
    snapshot = open_snapshot(warehouse, ref) if ref else _named_beside(warehouse, file)
    for name in ("pair_id", "trajectory_id", "prompt_id"):
        if isinstance(row.get(name), str):
            return row[name], snapshot.manifest.id if snapshot else None
    return _by_content(row, [snapshot] if snapshot else list_snapshots(warehouse), f"{file}:{line}")


def _read(file: Path, line: int) -> dict[str, Any]:
    try:
        with file.open("rb") as stream:
            parquet = stream.read(4) == b"PAR1"
        row = _of_parquet(file, line) if parquet else _of_lines(file, line)
    except (OSError, ValueError) as e:
        raise InputError(f"{file}:{line}: cannot be read as a row: {str(e).splitlines()[0]}") from e
    if not isinstance(row, dict):
        raise InputError(f"{file}: there is no row {line}" if row is None else f"{file}:{line}: is no JSON object")
    return row


def _of_parquet(file: Path, line: int) -> Any:
    with duckdb.connect(":memory:") as connection:
        try:
            found = connection.execute(
                f"SELECT * FROM read_parquet({literal(str(file))}, file_row_number = true) WHERE file_row_number = ?",
                [line - 1],
            )
        except duckdb.Error as e:
            raise ValueError(str(e)) from e
        return next(iter(as_dicts(found)), None)


def _of_lines(file: Path, line: int) -> Any:
    with file.open(encoding="utf-8") as stream:
        text = next(itertools.islice(stream, line - 1, None), None)
    return None if text is None else json.loads(text)


def _named_beside(warehouse: Path, file: Path) -> Snapshot | None:
    """The snapshot of the card in the file's folder: that of an export, or of the snapshot itself."""
    try:
        text = (file.parent / "README.md").read_text(encoding="utf-8")
    except (OSError, ValueError):
        return None
    named = re.search(r"^pretty_name: (\S+@\d+)$", text, re.MULTILINE)
    hashed = re.search(r"logical hash `([0-9a-f]{64})`", text)
    if not named or not hashed:
        return None
    snapshot = open_snapshot(warehouse, named[1])
    if snapshot.manifest.logical_hash != hashed[1]:
        raise SnapshotError(
            f"{file.parent}: its card says {named[1]} with hash {hashed[1][:12]}, and the one here has "
            f"{snapshot.manifest.logical_hash[:12]}: it is of another warehouse; name that by --warehouse"
        )
    return snapshot


def _by_content(row: dict[str, Any], snapshots: Iterable[Snapshot], place: str) -> tuple[str, str | None]:
    forms = [form for form, columns in _CONTENT.items() if set(columns) <= row.keys()]
    if not forms:
        raise InputError(f"{place}: has no ids, and is a row of none of the formats of `dataengine snapshot export`")
    reasoning = "split" if '"reasoning_content"' in json.dumps(row, default=str) else "content"
    found: dict[str, str] = {}
    for snapshot in snapshots:
        kind = snapshot.manifest.rows_of
        if kind in FORMATS[forms[0]].kinds and (kind == "labels") == ("label" in row):
            for ident in _saying(row, snapshot, forms[0], reasoning):
                found[ident] = snapshot.manifest.id
    if not found:
        raise InputError(f"{place}: has no ids, and what it says stands in no snapshot; name the one by --snapshot")
    if len(found) > 1:
        raise InputError(f"{place}: has no ids, and several rows say the same: {', '.join(found)}; give one of these")
    return next(iter(found.items()))


def _saying(row: dict[str, Any], snapshot: Snapshot, form: str, reasoning: str) -> list[str]:
    """The ids of the snapshot's rows that are exported as this one."""
    kind = snapshot.manifest.rows_of
    rows = f"SELECT {FORMATS[form].kinds[kind](reasoning)} FROM {parquet(snapshot.data_files())}"
    with duckdb.connect(":memory:") as connection:
        exported = connection.sql(rows)
        types = {name: str(t) for name, t in zip(exported.columns, exported.types, strict=True)}
        same, given = [], []
        for column in _CONTENT[form]:
            text = types[column] == "VARCHAR"
            same.append(f"{column} IS NOT DISTINCT FROM {'?' if text else f'?::JSON::{types[column]}'}")
            given.append(row[column] if text else json.dumps(_filled(row[column], reasoning)))
        try:
            found = connection.execute(
                f"SELECT {ROW_ID[kind]} FROM ({rows}) WHERE {' AND '.join(same)} ORDER BY 1", given
            )
        except duckdb.ConversionException:
            return []  # of another shape
        return [ident for (ident,) in found.fetchall()]


def _filled(value: Any, reasoning: str) -> Any:
    """A list of messages; lines of JSON leave out the reasoning of whoever has none."""
    if reasoning == "content" or not isinstance(value, list):
        return value
    return [{"reasoning_content": None, **m} if isinstance(m, dict) else m for m in value]
