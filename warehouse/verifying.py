"""Are the files of snapshots and exports still what they were: everything that is wrong, not the first thing."""

import os
import re
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from threading import Event, Lock
from typing import Any

import pyarrow as pa

from schemas.errors import SnapshotError
from schemas.manifest import HASH_RULES, Manifest, SnapshotFile
from warehouse.hashing import BLOCK
from warehouse.snapshot import (
    Fault,
    Snapshot,
    content_hash,
    every_snapshot,
    fault_of,
    find_snapshot,
    open_folder,
    read_manifest,
)

_SUMS = "SHA256SUMS"
_MANIFEST = "manifest.json"
# What a loader that is given the folder would take for rows.
_DATA = {".parquet", ".jsonl", ".csv", ".arrow"}


@dataclass(frozen=True)
class Listed:
    """One file as it has to be; `bytes` and `rows` are None where the list does not tell them."""

    path: str
    sha256: str
    bytes: int | None = None
    rows: int | None = None


@dataclass(frozen=True)
class Target:
    """A folder that is to be verified: the files that it has to have, and what is wrong without reading them."""

    name: str
    folder: Path
    files: list[Listed] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    snapshot: Snapshot | None = None

    @property
    def blocks(self) -> int:
        """How much there is to read, in blocks of 1 MiB, a part of one counted as one."""
        paths = (self.folder / file.path for file in self.files)
        return sum(-(-path.stat().st_size // BLOCK) for path in paths if path.is_file())


@dataclass(frozen=True)
class Verified:
    """What was found in a folder: no faults, and it is whole."""

    name: str
    folder: Path
    files: int
    faults: list[Fault]

    @property
    def good(self) -> bool:
        """Whether it is whole."""
        return not self.faults

    @property
    def text(self) -> str:
        """A line, and one more for each fault."""
        if self.good:
            return f"ok       {self.name}: {self.files:,} files"
        lines = [f"wrong    {self.name}: {len(self.faults):,} faults; restore from a copy what is named here"]
        return "\n".join([*lines, *(f"         {fault.kind:<10} {fault.text}" for fault in self.faults)])

    def as_json(self) -> dict[str, Any]:
        """The same as plain values."""
        return {
            "name": self.name,
            "folder": str(self.folder),
            "good": self.good,
            "files": self.files,
            "faults": [asdict(fault) for fault in self.faults],
        }


def snapshot_targets(warehouse: Path, refs: Sequence[str] = ()) -> list[Target]:
    """The snapshots of these names, or all of the warehouse. Raises SnapshotError for a name that none has."""
    folders = [find_snapshot(warehouse, ref) for ref in refs] or [s.path for s in every_snapshot(warehouse)]
    return [
        _snapshot(f"{f.parent.name}@{f.name.removeprefix('v')}", f, lambda f: open_folder(f).manifest) for f in folders
    ]


def folder_target(folder: Path) -> Target:
    """A folder by the list that lies in it: an export by SHA256SUMS, a snapshot that was copied by its manifest.

    Raises SnapshotError when neither is there.
    """
    if not (folder / _SUMS).exists() and (folder / _MANIFEST).is_file():
        return _snapshot(str(folder), folder, read_manifest)
    try:
        lines = (folder / _SUMS).read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        raise SnapshotError(f"{folder}: has neither {_SUMS} nor {_MANIFEST}; name a snapshot, or its export") from None
    except (OSError, UnicodeDecodeError) as e:
        return Target(str(folder), folder, faults=[Fault(_SUMS, "list", f"{folder / _SUMS} cannot be read: {e}")])
    files, faults = [], []
    for number, line in enumerate(lines, start=1):
        if found := re.fullmatch(r"([0-9a-f]{64}) [ *](.+)", line):
            files.append(Listed(found[2], found[1]))
        else:
            faults.append(Fault(_SUMS, "list", f"{folder / _SUMS}:{number} is no line of sha256sum"))
    if not lines:
        faults.append(Fault(_SUMS, "list", f"{folder / _SUMS} is empty"))
    return Target(str(folder), folder, files, [*faults, *_unexpected(folder, files)])


def verify(
    targets: Iterable[Target], advance: Callable[[int], None] | None = None, *, content: bool = False
) -> list[Verified]:
    """Reads every file of every target, several at once, and names all that is wrong.

    Beside hashes and sizes the rows of Parquet files are held against the list. `advance` is called with the number of
    blocks (as in `Target.blocks`) that were read, from one thread at a time. With `content` the logical hash of each
    snapshot that is whole so far is worked out from its rows, where it was made by today's rules.
    """
    lock, stopped = Lock(), Event()

    def tell(blocks: int) -> None:
        if stopped.is_set():
            raise InterruptedError("stopped")  # out of the middle of a large file
        with lock:
            if advance:
                advance(blocks)

    def look(target: Target, file: Listed) -> Fault | None:
        return fault_of(target.folder, file.path, file.sha256, file.bytes, tell) or _miscounted(target.folder, file)

    targets = list(targets)
    pool = ThreadPoolExecutor(min(8, os.cpu_count() or 1))  # hashing lets other threads run
    try:
        running = [[pool.submit(look, target, file) for file in target.files] for target in targets]
        found = []
        for target, looks in zip(targets, running, strict=True):
            faults = [*target.faults, *(fault for look in looks if (fault := look.result()))]
            if content and target.snapshot and target.snapshot.manifest.hash_rules == HASH_RULES and not faults:
                faults += _other_content(target.snapshot)
            found.append(Verified(target.name, target.folder, len(target.files), faults))
        return found
    finally:
        stopped.set()
        pool.shutdown(cancel_futures=True)


def _snapshot(name: str, folder: Path, read: Callable[[Path], Manifest]) -> Target:
    path = folder / _MANIFEST
    try:
        manifest = read(folder)
    except SnapshotError as e:
        return Target(name, folder, faults=[Fault(_MANIFEST, "manifest", str(e))])
    faults = []
    total = sum(file.rows for file in manifest.files)
    if total != manifest.rows:
        faults.append(Fault(_MANIFEST, "rows", f"{path} says {manifest.rows:,} rows, and {total:,} in its files"))
    files = [Listed(file.path, file.sha256, file.bytes, file.rows) for file in manifest.files]
    return Target(name, folder, files, [*faults, *_unexpected(folder, manifest.files)], Snapshot(manifest, folder))


def _other_content(snapshot: Snapshot) -> list[Fault]:
    path = snapshot.path / _MANIFEST
    try:
        found = content_hash(snapshot)
    except pa.ArrowException as e:
        return [Fault(_MANIFEST, "content", f"{path}: its rows cannot be read: {str(e).splitlines()[0]}")]
    if found == snapshot.manifest.logical_hash:
        return []
    told = f"{path} says logical hash {snapshot.manifest.logical_hash}, and the rows have {found}"
    return [Fault(_MANIFEST, "content", told)]


def _unexpected(folder: Path, listed: Sequence[Listed | SnapshotFile]) -> list[Fault]:
    known = {file.path for file in listed}
    there = sorted(p for p in folder.rglob("*") if p.suffix in _DATA and p.is_file())
    names = [str(p.relative_to(folder)) for p in there]
    return [
        Fault(name, "unexpected", f"{folder / name} is not in the list, and would be read as data")
        for name in names
        if name not in known
    ]


def _miscounted(folder: Path, file: Listed) -> Fault | None:
    """Whether the footer of a Parquet file tells another number of rows than the list."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    if file.rows is None:
        return None
    path = folder / file.path
    try:
        rows = pq.read_metadata(path).num_rows
    except (pa.ArrowException, OSError) as e:
        return Fault(file.path, "unreadable", f"{path} is no Parquet file: {e}")
    if rows != file.rows:
        return Fault(file.path, "rows", f"{path} has {rows:,} rows, and {file.rows:,} in the manifest")
    return None
