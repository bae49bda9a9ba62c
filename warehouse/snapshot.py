"""Snapshots: a mix made into Parquet files once, and never changed after."""

import re
import shutil
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import version as installed
from pathlib import Path

import duckdb
from pydantic import ValidationError

from schemas.errors import SnapshotError, first_problem
from schemas.manifest import HASH_RULES, Manifest
from schemas.mix import NAME, AnyMix
from schemas.records import now
from warehouse.card import card
from warehouse.connect import connect
from warehouse.decontamination import decontamination
from warehouse.filing import bytes_of_a_row, write_files
from warehouse.fitting import OpenChat, chat_of, template_check
from warehouse.hashing import logical_hash, sha256_of
from warehouse.quoting import parquet
from warehouse.row_kind import RowKind, refuse_empty
from warehouse.rows_labels import LABELS
from warehouse.rows_pairs import PAIRS
from warehouse.rows_prompts import PROMPTS
from warehouse.rows_samples import SAMPLES
from warehouse.splits import near_duplicates
from warehouse.store import Warehouse
from warehouse.tagging import TAG, read_tags
from warehouse.writing import IO_ERRORS, fsync, io_error

KINDS: dict[str, RowKind] = {"samples": SAMPLES, "pairs": PAIRS, "labels": LABELS, "prompts": PROMPTS}


@dataclass(frozen=True)
class Snapshot:
    """A finished snapshot: its manifest and the folder that holds it."""

    manifest: Manifest
    path: Path

    def data_files(self, split: str | None = None) -> list[Path]:
        """The Parquet files, of one split or of all."""
        return [self.path / f.path for f in self.manifest.files if split is None or f.path.startswith(f"{split}-")]

    @property
    def id(self) -> str:
        """`name@version`."""
        return self.manifest.id


@dataclass(frozen=True)
class Damaged:
    """A snapshot whose manifest cannot be read: its `name@version`, its folder, and the problem on one line."""

    id: str
    path: Path
    problem: str


def open_snapshot(warehouse: Path, ref: str) -> Snapshot:
    """The snapshot `name@version` or `name@tag`, or the newest of `name`.

    Raises SnapshotError when there is none, or its manifest cannot be read.
    """
    return open_folder(find_snapshot(warehouse, ref))


def open_folder(folder: Path) -> Snapshot:
    """The snapshot in a folder of a warehouse. Raises SnapshotError for a manifest that is damaged or another's."""
    manifest, named = read_manifest(folder), f"{folder.parent.name}@{folder.name.removeprefix('v')}"
    if manifest.id != named:
        raise SnapshotError(f"{folder}: says it is {manifest.id}, not {named}; the folder was renamed or copied over")
    return Snapshot(manifest, folder)


def find_snapshot(warehouse: Path, ref: str) -> Path:
    """The folder of `name@version` or `name@tag`, or of the newest of `name`. Raises SnapshotError without one."""
    name, _, which = ref.partition("@")
    if not re.fullmatch(NAME, name) or not re.fullmatch(f"([0-9]{{1,9}}|{TAG})?", which):
        raise SnapshotError(f"{ref}: a snapshot is called name@version, such as laptop-sft@1, or name@tag")
    folder = warehouse / "snapshots" / name
    versions = _versions(warehouse, name)
    number = versions[-1] if versions and not which else int(which) if which.isdigit() else None
    if which and number is None:
        number = read_tags(folder).get(which)
    if number is None or number not in versions:
        known = ", ".join(f"{n}@{v}" for n in _names(warehouse) for v in _versions(warehouse, n)) or "none yet"
        raise SnapshotError(f"there is no snapshot {ref} (known: {known}); `dataengine snapshot create MIX` makes one")
    return folder / f"v{number}"


def read_manifest(folder: Path) -> Manifest:
    """The manifest in a snapshot's folder. Raises SnapshotError, naming the file, for one that is gone or damaged."""
    path = folder / "manifest.json"
    remedy = "restore it from a copy, or remove the folder and make the next version"
    try:
        return Manifest.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        raise SnapshotError(f"{path} is gone; {remedy}") from None
    except OSError as e:
        raise SnapshotError(f"{path}: cannot be read: {e.strerror}") from None
    except ValidationError as e:
        raise SnapshotError(f"{path} is damaged ({first_problem(e).removeprefix(': ')}); {remedy}") from None


def list_snapshots(warehouse: Path) -> list[Snapshot]:
    """All snapshots whose manifest can be read, by name and version."""
    return [s for s in every_snapshot(warehouse) if isinstance(s, Snapshot)]


def every_snapshot(warehouse: Path) -> list[Snapshot | Damaged]:
    """All snapshots by name and version, damaged ones among them: one must not hide the others."""
    found: list[Snapshot | Damaged] = []
    for name in _names(warehouse):
        for number in _versions(warehouse, name):
            folder = warehouse / "snapshots" / name / f"v{number}"
            try:
                found.append(open_folder(folder))
            except SnapshotError as e:
                found.append(Damaged(f"{name}@{number}", folder, str(e)))
    return found


def _names(warehouse: Path) -> list[str]:
    folder = warehouse / "snapshots"
    return sorted(p.name for p in folder.iterdir() if re.fullmatch(NAME, p.name)) if folder.is_dir() else []


def _versions(warehouse: Path, name: str) -> list[int]:
    """The numbers of a name, damaged snapshots among them; an empty folder is none."""
    folder = warehouse / "snapshots" / name
    if not folder.is_dir():
        return []
    found = ((re.fullmatch(r"v([1-9]\d*)", p.name), p) for p in folder.iterdir())
    return sorted(int(m.group(1)) for m, p in found if m and p.is_dir() and any(p.iterdir()))


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
    the same of it, that one is returned and nothing is written, also when another process has just made it. Raises
    SnapshotError when no row qualifies, a check that the mix requires was never run, a row does not meet what the mix
    requires of all, or the folder cannot be written; ConfigError as `open_chat` does.
    """
    kind = KINDS[mix.rows]
    warehouse = Warehouse.open(path)
    parent = warehouse.path / "snapshots" / mix.mix
    tables = warehouse.versions()
    made_from = {
        "mix": mix.model_dump(mode="json"),
        "systems": dict(systems),
        "tables": tables,
        "code": {**(code or {}), "duckdb": installed("duckdb")},
    }
    newest: Snapshot | None = None
    with suppress(SnapshotError):  # there is none yet, or it is damaged: then the next one is made
        newest = open_snapshot(warehouse.path, mix.mix)
    # A chat template is no part of what it was made from: it may have changed in the tokenizer's folder.
    current = newest and newest.manifest.hash_rules == HASH_RULES
    if (
        newest
        and current
        and newest.manifest.chat_template is None
        and made_from.items() <= newest.manifest.model_dump().items()
    ):
        return newest, False
    work = parent / f".making-{uuid.uuid4().hex[:12]}"
    try:
        work.mkdir(parents=True)
        with connect(path, versions=tables) as connection:
            chat = chat_of(mix, open_chat)
            kind.select(connection, mix, systems, chat)
            refuse_empty(connection, mix, kind)
            clean, fits = decontamination(connection, mix), template_check(connection, mix, chat)
            read = (warehouse.files(table, tables[table])[1] for table in ("trajectories", "prompts"))
            replies = 2 if mix.rows == "pairs" else 1
            files, content = write_files(connection, work, kind, replies * bytes_of_a_row(*read))
            connection.execute(f"CREATE VIEW hashed AS FROM {parquet(work / file.path for file in files)}")
            if newest and newest.manifest.logical_hash == content and newest.manifest.promises(clean, fits):
                return newest, False
            manifest = Manifest(
                name=mix.mix,
                version=1,
                created_at=now(),
                logical_hash=content,
                hash_rules=HASH_RULES,
                rows=sum(file.rows for file in files),
                prompts=_scalar(connection, "SELECT count(DISTINCT prompt_id) FROM hashed"),
                counts={c: _counts(connection, c) for c in kind.counted}
                | {"dropped": kind.left_out(connection)}
                | {"near_duplicates": near_duplicates(connection, mix)},
                checks=_check_versions(connection, kind),
                decontamination=clean,
                chat_template=fits,
                files=files,
                **made_from,
            )
        return _publish(work, parent, manifest)
    except IO_ERRORS as e:
        raise io_error(e, parent, SnapshotError) from e
    finally:
        shutil.rmtree(work, ignore_errors=True)


def content_hash(snapshot: Snapshot) -> str:
    """The logical hash worked out anew, from the files. Raises pyarrow.ArrowException when they cannot be read."""
    kind = KINDS[snapshot.manifest.rows_of]
    return logical_hash(snapshot.data_files(), [*kind.hashed, *kind.nested])


def _publish(work: Path, parent: Path, manifest: Manifest) -> tuple[Snapshot, bool]:
    """Gives the finished folder the next free number. The rename is what makes the snapshot exist.

    Whoever else makes the same content meanwhile has the lower number, and is what both return.
    """
    warehouse = parent.parent.parent
    while True:
        taken = _versions(warehouse, parent.name)
        with suppress(SnapshotError):  # there is none yet, or it is damaged
            newest = open_snapshot(warehouse, parent.name)
            same = newest.manifest.logical_hash == manifest.logical_hash
            if same and newest.manifest.promises(manifest.decontamination, manifest.chat_template):
                return newest, False
        manifest = manifest.model_copy(update={"version": taken[-1] + 1 if taken else 1})
        (work / "README.md").write_text(card(manifest), encoding="utf-8")
        (work / "manifest.json").write_text(manifest.model_dump_json(indent=2) + "\n", encoding="utf-8")
        for file in [*work.iterdir(), work]:
            fsync(file)
        target = parent / f"v{manifest.version}"
        try:
            work.rename(target)
        except OSError:
            if target.is_dir():
                continue  # another process took this number
            raise
        fsync(parent)
        return Snapshot(manifest, target), True


def verify_files(snapshot: Snapshot) -> None:
    """Re-hashes every file; raises SnapshotError naming one that is damaged or gone."""
    for file in snapshot.manifest.files:
        fault = fault_of(snapshot.path, file.path, file.sha256, file.bytes)
        if fault:
            raise SnapshotError(f"{snapshot.manifest.id}: {fault.text}; restore it from a copy")


@dataclass(frozen=True)
class Fault:
    """What is wrong with one file: a word for programs, and the path with what is wrong in words."""

    file: str
    kind: str
    text: str


def fault_of(
    folder: Path, name: str, sha256: str, size: int | None = None, advance: Callable[[int], None] | None = None
) -> Fault | None:
    """Holds a file of a folder against its sha256, and its size in bytes where that is known; None if it is whole."""
    path = folder / name
    if not path.resolve().is_relative_to(folder.resolve()):
        return Fault(name, "outside", f"{path} lies outside of the folder")
    try:
        if not path.is_file():
            return Fault(name, "missing", f"{path} is gone")
        there = path.stat().st_size
        if size is not None and there != size:
            kind = "short" if there < size else "long"
            return Fault(name, kind, f"{path} is {'too ' * (kind == 'long')}{kind}: {there:,} of {size:,} bytes")
        if sha256_of(path, advance) != sha256:
            return Fault(name, "damaged", f"{path} is damaged (sha256 differs)")
    except OSError as e:
        return Fault(name, "unreadable", f"{path} cannot be read: {e.strerror}")
    return None


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
