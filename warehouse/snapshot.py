"""Snapshots: a mix made into Parquet files once, and never changed after."""

import hashlib
import os
import re
import shutil
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version as installed
from pathlib import Path

import duckdb

from schemas.errors import SnapshotError
from schemas.manifest import Manifest, SnapshotFile
from schemas.mix import NAME, AnyMix
from schemas.records import now
from warehouse.card import card
from warehouse.connect import connect
from warehouse.hashing import logical_hash
from warehouse.quoting import identifier, literal
from warehouse.row_kind import RowKind, refuse_empty
from warehouse.rows_labels import LABELS
from warehouse.rows_pairs import PAIRS
from warehouse.rows_prompts import PROMPTS
from warehouse.rows_samples import SAMPLES
from warehouse.splits import near_duplicates
from warehouse.store import Warehouse

SPLITS = ("train", "validation")
# Row groups are small, so that a reader's first rows are there soon and neither side holds many texts at once.
PARQUET = "FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 1, ROW_GROUP_SIZE 10240"
KINDS: dict[str, RowKind] = {"samples": SAMPLES, "pairs": PAIRS, "labels": LABELS, "prompts": PROMPTS}


@dataclass(frozen=True)
class Snapshot:
    """A finished snapshot: its manifest and the folder that holds it."""

    manifest: Manifest
    path: Path

    def data_files(self, split: str | None = None) -> list[Path]:
        """The Parquet files, of one split or of all."""
        return [self.path / f.path for f in self.manifest.files if split is None or f.path.startswith(f"{split}-")]


def open_snapshot(warehouse: Path, ref: str) -> Snapshot:
    """The snapshot `name@version`, or the newest of `name`. Raises SnapshotError when there is none."""
    name, _, number = ref.partition("@")
    if not re.match(NAME, name) or not re.fullmatch("[0-9]{0,9}", number):
        raise SnapshotError(f"{ref}: a snapshot is called name@version, such as laptop-sft@1")
    versions = _versions(warehouse, name)
    if not versions or (number and int(number) not in versions):
        known = ", ".join(s.manifest.id for s in list_snapshots(warehouse)) or "none yet"
        raise SnapshotError(f"there is no snapshot {ref} (known: {known}); `dataengine snapshot create MIX` makes one")
    folder = warehouse / "snapshots" / name / f"v{int(number) if number else versions[-1]}"
    return Snapshot(Manifest.model_validate_json((folder / "manifest.json").read_bytes()), folder)


def list_snapshots(warehouse: Path) -> list[Snapshot]:
    """All finished snapshots, by name and version."""
    folder = warehouse / "snapshots"
    names = sorted(p.name for p in folder.iterdir() if p.is_dir()) if folder.is_dir() else []
    return [open_snapshot(warehouse, f"{n}@{v}") for n in names for v in _versions(warehouse, n)]


def _versions(warehouse: Path, name: str) -> list[int]:
    folder = warehouse / "snapshots" / name
    if not folder.is_dir():
        return []
    found = (re.fullmatch(r"v(\d+)", p.name) for p in folder.iterdir() if (p / "manifest.json").is_file())
    return sorted(int(m.group(1)) for m in found if m)


def create_snapshot(
    path: str | Path, mix: AnyMix, systems: Mapping[str, str | None], code: Mapping[str, str] | None = None
) -> tuple[Snapshot, bool]:
    """Makes the next version of the mix's snapshot; returns it and whether it is new.

    `systems` gives the system prompt of each template that the mix names, None for none. When the content equals that
    of the newest version, that one is returned and nothing is written. Raises SnapshotError when no row qualifies or a
    check that the mix requires was never run.
    """
    kind = KINDS[mix.rows]
    warehouse = Warehouse.open(path)
    parent = warehouse.path / "snapshots" / mix.mix
    parent.mkdir(parents=True, exist_ok=True)
    tables = warehouse.versions()
    made_from = {
        "mix": mix.model_dump(mode="json"),
        "systems": dict(systems),
        "tables": tables,
        "code": {**(code or {}), "duckdb": installed("duckdb")},
    }
    versions = _versions(warehouse.path, mix.mix)
    newest = open_snapshot(warehouse.path, f"{mix.mix}@{versions[-1]}") if versions else None
    if newest and made_from.items() <= newest.manifest.model_dump().items():
        return newest, False
    work = parent / f".making-{uuid.uuid4().hex[:12]}"
    work.mkdir()
    try:
        with connect(path, versions=tables) as connection:
            kind.select(connection, mix, systems)
            refuse_empty(connection, mix, kind)
            files = _write_files(connection, work, kind.order)
            content = logical_hash(connection, [work / f.path for f in files], [*kind.hashed, *kind.nested], kind.order)
            if newest and newest.manifest.logical_hash == content:
                return newest, False
            manifest = Manifest(
                name=mix.mix,
                version=1,
                created_at=now(),
                logical_hash=content,
                rows=sum(file.rows for file in files),
                prompts=_scalar(connection, "SELECT count(DISTINCT prompt_id) FROM hashed"),
                counts={c: _counts(connection, c) for c in kind.counted}
                | {"dropped": kind.left_out(connection)}
                | {"near_duplicates": near_duplicates(connection, mix)},
                checks=_check_versions(connection, kind),
                files=files,
                **made_from,
            )
        return _publish(work, parent, manifest)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _write_files(connection: duckdb.DuckDBPyConnection, folder: Path, order: str) -> list[SnapshotFile]:
    # DuckDB writes a column as required where its statistics happen to prove that there are no NULLs. Of a hash they
    # prove nothing, so all columns are optional, whatever the plan: equal rows then make equal files.
    columns = connection.sql("SELECT * FROM selected LIMIT 0").columns
    listed = ", ".join(f"if(hash(split) <> 0, {identifier(name)}, NULL) AS {identifier(name)}" for name in columns)
    files = []
    for split in SPLITS:
        rows = _scalar(connection, f"SELECT count(*) FROM taken WHERE split = '{split}'")
        if not rows:
            continue
        file = folder / f"{split}-00000-of-00001.parquet"
        ordered = f"SELECT * FROM selected WHERE split = '{split}' ORDER BY {order}"
        connection.execute(f"COPY (SELECT {listed} FROM ({ordered})) TO {literal(str(file))} ({PARQUET})")
        files.append(SnapshotFile(path=file.name, rows=rows, bytes=file.stat().st_size, sha256=sha256_of(file)))
    return files


def _publish(work: Path, parent: Path, manifest: Manifest) -> tuple[Snapshot, bool]:
    """Gives the finished folder the next free number. The rename is what makes the snapshot exist."""
    while True:
        taken = _versions(parent.parent.parent, parent.name)
        manifest = manifest.model_copy(update={"version": taken[-1] + 1 if taken else 1})
        (work / "README.md").write_text(card(manifest), encoding="utf-8")
        (work / "manifest.json").write_text(manifest.model_dump_json(indent=2) + "\n", encoding="utf-8")
        for file in [*work.iterdir(), work]:
            _fsync(file)
        target = parent / f"v{manifest.version}"
        try:
            work.rename(target)
        except OSError:
            if target.exists():
                continue  # another process took this number
            raise
        _fsync(parent)
        return Snapshot(manifest, target), True


def verify_files(snapshot: Snapshot) -> None:
    """Re-hashes every file; raises SnapshotError naming one that is damaged or gone."""
    for file in snapshot.manifest.files:
        path = snapshot.path / file.path
        if not path.is_file():
            raise SnapshotError(f"{snapshot.manifest.id}: {path} is gone; restore it from a copy")
        if sha256_of(path) != file.sha256:
            raise SnapshotError(f"{snapshot.manifest.id}: {path} is damaged (sha256 differs); restore it from a copy")


def sha256_of(path: Path) -> str:
    """Hex sha256 of a file's bytes."""
    with path.open("rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


def _fsync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _scalar(connection: duckdb.DuckDBPyConnection, sql: str) -> int:
    row = connection.execute(sql).fetchone()
    assert row is not None
    return int(row[0])


def _counts(connection: duckdb.DuckDBPyConnection, column: str) -> dict[str, int]:
    rows = connection.execute(
        f"SELECT {column}::VARCHAR, count(*) FROM hashed GROUP BY 1 ORDER BY 2 DESC, 1"
    ).fetchall()
    return {str(value): int(n) for value, n in rows}


def _check_versions(connection: duckdb.DuckDBPyConnection, kind: RowKind) -> dict[str, list[str]]:
    rows = connection.execute(
        f'SELECT "check", list(DISTINCT version ORDER BY version) FROM ({kind.checks}) GROUP BY 1 ORDER BY 1'
    ).fetchall()
    return {name: list(versions) for name, versions in rows}
