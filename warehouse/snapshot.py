"""Snapshots: a mix made into Parquet files once, and never changed after."""

import hashlib
import json
import os
import re
import shutil
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import version as installed
from pathlib import Path
from typing import Any

import duckdb

from schemas.errors import SnapshotError
from schemas.keys import canonical_json
from schemas.manifest import Manifest, SnapshotFile
from schemas.mix import NAME, AnyMix
from schemas.records import now
from warehouse.connect import connect
from warehouse.decontamination import decontamination
from warehouse.fitting import OpenChat, chat_of, template_check
from warehouse.quoting import literal
from warehouse.row_kind import RowKind, refuse_empty
from warehouse.rows_labels import LABELS
from warehouse.rows_pairs import PAIRS
from warehouse.rows_prompts import PROMPTS
from warehouse.rows_samples import SAMPLES
from warehouse.store import Warehouse

SPLITS = ("train", "validation")
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
    path: str | Path,
    mix: AnyMix,
    systems: Mapping[str, str | None],
    code: Mapping[str, str] | None = None,
    open_chat: OpenChat | None = None,
) -> tuple[Snapshot, bool]:
    """Makes the next version of the mix's snapshot; returns it and whether it is new.

    `systems` gives the system prompt of each template that the mix names, None for none; `open_chat` the chat template
    of a tokenizer, which a mix with a `chat_template` needs. When the newest version has the same content and promises
    the same of it, that one is returned and nothing is written. Raises SnapshotError when no row qualifies, a check
    that the mix requires was never run, or a row does not meet what the mix requires of all; ConfigError as `open_chat`
    does.
    """
    kind = KINDS[mix.rows]
    warehouse = Warehouse.open(path)
    parent = warehouse.path / "snapshots" / mix.mix
    parent.mkdir(parents=True, exist_ok=True)
    work = parent / f".making-{uuid.uuid4().hex[:12]}"
    work.mkdir()
    try:
        tables = warehouse.versions()
        with connect(path, versions=tables) as connection:
            chat = chat_of(mix, open_chat)
            kind.select(connection, mix, systems, chat)
            refuse_empty(connection, mix, kind)
            logical_hash = _logical_hash(connection, kind)
            clean, fits = decontamination(connection, mix), template_check(connection, mix, chat)
            existing = _versions(warehouse.path, mix.mix)
            if existing:
                newest = open_snapshot(warehouse.path, f"{mix.mix}@{existing[-1]}")
                if newest.manifest.logical_hash == logical_hash and newest.manifest.promises(clean, fits):
                    return newest, False
            files = _write_files(connection, work, kind.order)
            manifest = Manifest(
                name=mix.mix,
                version=1,
                created_at=now(),
                logical_hash=logical_hash,
                mix=mix.model_dump(mode="json"),
                rows=_scalar(connection, "SELECT count(*) FROM selected"),
                prompts=_scalar(connection, "SELECT count(DISTINCT prompt_id) FROM selected"),
                counts={c: _counts(connection, c) for c in kind.counted} | {"dropped": kind.left_out(connection)},
                tables=tables,
                checks=_check_versions(connection, kind),
                decontamination=clean,
                chat_template=fits,
                code={**(code or {}), "duckdb": installed("duckdb")},
                files=files,
            )
        return _publish(work, parent, manifest)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _logical_hash(connection: duckdb.DuckDBPyConnection, kind: RowKind) -> str:
    """sha256 over the canonical JSON of every row's content, rows by id: the same whatever the file layout."""
    digest = hashlib.sha256()
    for row in _rows(connection, kind):
        digest.update(canonical_json(row).encode("utf-8"))
        digest.update(b"\n")
    return digest.hexdigest()


def _rows(connection: duckdb.DuckDBPyConnection, kind: RowKind) -> Iterator[list[Any]]:
    columns = [*kind.hashed, *(f"to_json({column})" for column in kind.nested)]
    cursor = connection.cursor().execute(f"SELECT {', '.join(columns)} FROM selected ORDER BY {kind.order}")
    plain = len(kind.hashed)
    while batch := cursor.fetchmany(10_000):
        for row in batch:
            yield [*row[:plain], *(None if text is None else json.loads(text) for text in row[plain:])]


def _write_files(connection: duckdb.DuckDBPyConnection, folder: Path, order: str) -> list[SnapshotFile]:
    files = []
    for split in SPLITS:
        rows = _scalar(connection, f"SELECT count(*) FROM selected WHERE split = '{split}'")
        if not rows:
            continue
        file = folder / f"{split}-00000-of-00001.parquet"
        connection.execute(
            f"COPY (SELECT * FROM selected WHERE split = '{split}' ORDER BY {order}) "
            f"TO {literal(str(file))} (FORMAT parquet, COMPRESSION zstd)"
        )
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


def card(manifest: Manifest) -> str:
    """The dataset card: front matter that `datasets` reads, then the counts."""
    splits = [s for s in SPLITS if manifest.counts["split"].get(s)]
    lines = ["---", f"pretty_name: {manifest.id}", "configs:", "- config_name: default", "  data_files:"]
    for split in splits:
        lines += [f"  - split: {split}", f"    path: {split}-*.parquet"]
    lines += ["---", "", f"# {manifest.id}", ""]
    lines += [manifest.about, ""]
    lines += [f"{manifest.rows} rows from {manifest.prompts} prompts; logical hash `{manifest.logical_hash}`.", ""]
    if manifest.decontamination:
        lines += ["| held against | candidates | left out |", "|---|---:|---:|"]
        lines += [f"| {b} | {c.checked} | {c.contaminated} |" for b, c in manifest.decontamination.items()] + [""]
    if fits := manifest.chat_template:
        lines += [
            f"Every row survives the chat template of `{fits.tokenizer}` (sha256 `{fits.sha256}`): {fits.text}.",
            "",
        ]
    for column in KINDS[manifest.rows_of].counted:
        lines += [f"| {column} | rows |", "|---|---:|"]
        lines += [f"| {value} | {rows} |" for value, rows in manifest.counts[column].items()] + [""]
    return "\n".join(lines)


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
        f"SELECT {column}::VARCHAR, count(*) FROM selected GROUP BY 1 ORDER BY 2 DESC, 1"
    ).fetchall()
    return {str(value): int(n) for value, n in rows}


def _check_versions(connection: duckdb.DuckDBPyConnection, kind: RowKind) -> dict[str, list[str]]:
    rows = connection.execute(
        f'SELECT "check", list(DISTINCT version ORDER BY version) FROM ({kind.checks}) GROUP BY 1 ORDER BY 1'
    ).fetchall()
    return {name: list(versions) for name, versions in rows}
