"""What a warehouse no longer needs: finds it, and removes it when told to.

Nobody's data goes unasked: snapshots go by an explicit number to keep, files of tables when no version that anybody can
still ask for has them, leftovers of killed work when they are a day old.
"""

import json
import re
import shutil
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import groupby
from pathlib import Path
from typing import Any, Literal

from schemas.errors import ConfigError, SnapshotError, WarehouseError
from schemas.records import RECORDS
from warehouse.connect import refresh_duckdb_file
from warehouse.snapshot import Damaged, Snapshot, every_snapshot
from warehouse.store import Warehouse
from warehouse.tagging import locked_tags, read_tags

HISTORY = timedelta(days=7)
_A_DAY = timedelta(days=1)
# Only names that this program gives: what else lies in the folder is somebody's.
_LEFTOVERS = (
    ("snapshots/*/.making-*", r"\.making-[0-9a-f]{12}", "a snapshot that was not finished"),
    ("tables/.*", rf"\.({'|'.join(RECORDS)})-[0-9a-f]{{12}}", "a table that was not finished"),
    (".*", r"\..+-[0-9a-f]{8}", "an export that was not finished"),
    (".*", r"\.warehouse-[0-9]+\.duckdb(\.wal)?", "a warehouse.duckdb that was not finished"),
    (".*", r"\.tmp", "what queries put on disk"),
)
_REMOVING = ".removing-"


@dataclass(frozen=True)
class Garbage:
    """One thing that nobody needs: a snapshot, the files of a table that no version needs, or a leftover."""

    kind: Literal["snapshot", "table", "leftover"]
    path: Path
    files: int
    bytes: int
    reason: str


@dataclass
class Collected:
    """What is garbage, and in `notes` what could not be told, a line each; that is left as it is."""

    garbage: list[Garbage] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def bytes(self) -> int:
        """Of all of it."""
        return sum(g.bytes for g in self.garbage)

    def as_json(self) -> dict[str, Any]:
        """The same as plain values."""
        garbage = [{**vars(g), "path": str(g.path)} for g in self.garbage]
        return {"bytes": self.bytes, "garbage": garbage, "notes": self.notes}


def collect(
    path: str | Path,
    *,
    keep: int | None = None,
    history: timedelta = HISTORY,
    checkpoints: Sequence[Path] = (),
    delete: bool = False,
) -> Collected:
    """Finds what a warehouse no longer needs, and removes it if `delete`.

    `keep` is how many of the newest versions of each snapshot stay; None is all. What is tagged stays too, and what a
    checkpoint was trained on: those in the warehouse's `checkpoints` and in the folders named. Of tables the files of
    the newest version stay, those of every version that was the newest within `history`, at least a day, and those of
    the versions that a snapshot names. Raises WarehouseError when there is no warehouse, ConfigError for a folder of
    checkpoints that is not there, since a wrong name would leave what they need unprotected.
    """
    warehouse = Warehouse.open(path)
    for folder in checkpoints:
        if not folder.is_dir():
            raise ConfigError(f"--checkpoints {folder}: is no folder; name one that holds checkpoints")
    history = max(history, _A_DAY)
    found = Collected()
    gone = _snapshots(warehouse.path, keep, checkpoints, delete, found)
    _leftovers(warehouse.path, datetime.now(UTC) - _A_DAY, delete, found)
    _tables(warehouse, gone, history, delete, found)
    return found


def _snapshots(root: Path, keep: int | None, checkpoints: Sequence[Path], delete: bool, found: Collected) -> set[Path]:
    """Removes the older versions; returns the folders of those that are gone, or would be."""
    gone: set[Path] = set()
    if keep is None:
        return gone
    try:
        trained_on = {snapshot for folder in (root / "checkpoints", *checkpoints) for snapshot in _trained_on(folder)}
    except SnapshotError as e:
        found.notes.append(f"no snapshot is removed: {e}")
        return gone
    for name, versions in groupby(every_snapshot(root), key=lambda s: s.path.parent):
        # A damaged version counts for none, and stays: who knows what it was can still mend it.
        older = [s for s in versions if isinstance(s, Snapshot)][:-keep]
        with locked_tags(name):
            # Read under the lock: a tag that was given before is seen, one that comes later finds the version gone.
            try:
                tagged = set(read_tags(name).values())
            except SnapshotError as e:
                found.notes.append(f"no version of {name.name} is removed: {e}")
                continue
            for s in older:
                if s.manifest.version in tagged or s.id in trained_on or not s.path.is_dir():
                    continue
                found.garbage.append(_measured("snapshot", s.path, f"{s.id} is none of the newest {keep}"))
                gone.add(s.path)
                if delete:
                    # From now on it does not exist; a kill leaves a leftover, never half a snapshot.
                    s.path.rename(name / f"{_REMOVING}{s.path.name}-{uuid.uuid4().hex[:8]}")
        if delete:
            for removed in name.glob(f"{_REMOVING}*"):
                shutil.rmtree(removed, ignore_errors=True)
    return gone


def _trained_on(checkpoints: Path) -> Iterator[str]:
    """The snapshots of the checkpoints in a folder, unfinished trainings among them."""
    for path in sorted([*checkpoints.glob("*/training.json"), *checkpoints.glob("*.partial/planned.json")]):
        try:
            yield str(json.loads(path.read_bytes())["snapshot"])
        except (OSError, ValueError, TypeError, KeyError) as e:
            raise SnapshotError(f"{path} does not tell its snapshot ({e}); mend or remove it") from None


def _leftovers(root: Path, cutoff: datetime, delete: bool, found: Collected) -> None:
    """Removes what killed work left, if nothing in it was touched since."""
    for pattern, named, reason in _LEFTOVERS:
        for path in sorted(root.glob(pattern)):
            if re.fullmatch(named, path.name) and _touched(path) < cutoff.timestamp():
                _drop(_measured("leftover", path, reason), delete, found)
    for path in sorted(root.glob(f"snapshots/*/{_REMOVING}*")):
        _drop(_measured("leftover", path, "a snapshot whose removal was not finished"), delete, found)


def _drop(garbage: Garbage, delete: bool, found: Collected) -> None:
    path = garbage.path
    if path.name == ".tmp" and not garbage.files:
        return
    found.garbage.append(garbage)
    # The folder of queries stays: one that is running may want it again.
    for part in (path.iterdir() if path.name == ".tmp" else [path]) if delete else ():
        if part.is_dir():
            shutil.rmtree(part, ignore_errors=True)
        else:
            part.unlink(missing_ok=True)


def _tables(warehouse: Warehouse, gone: set[Path], history: timedelta, delete: bool, found: Collected) -> None:
    """Removes files of tables that no version needs which somebody may still ask for."""
    cutoff = (datetime.now(UTC) - history).timestamp()
    stay = [s for s in every_snapshot(warehouse.path) if s.path not in gone]
    if damaged := [s for s in stay if isinstance(s, Damaged)]:
        # The versions that it pins are not known, so no file is known to be free.
        found.notes.extend(f"no file of a table is removed: {s.id}: {s.problem}" for s in damaged)
        return
    pinned = {(t, v) for s in stay if isinstance(s, Snapshot) for t, v in s.manifest.tables.items()}
    if delete and (warehouse.path / "warehouse.duckdb").exists():
        refresh_duckdb_file(warehouse)  # it may name files of an old version
    for table in RECORDS:
        with warehouse.alone(table) as alone:
            if not alone:
                found.notes.append(f"table {table} is being compacted: left for the next time")
                continue
            try:
                stale = _stale(warehouse, table, [v for t, v in pinned if t == table], cutoff)
            except WarehouseError as e:
                found.notes.append(f"no file of table {table} is removed: {e}")
                continue
            if stale:
                size = sum(file.stat().st_size for file in stale)
                reason = f"in no version of the last {history.days} days, and no snapshot needs them"
                found.garbage.append(Garbage("table", warehouse.table_path(table), len(stale), size, reason))
            if delete:
                for file in stale:
                    file.unlink(missing_ok=True)


def _stale(warehouse: Warehouse, table: str, pinned: Sequence[int], cutoff: float) -> list[Path]:
    """The table's files that none of these has: the newest version, those that were it since `cutoff`, those pinned.

    deltalake's own vacuum is not asked: it forgets when files were replaced once a checkpoint has left that out, and
    adds commits. A file that a writer is about to commit is younger than the cutoff.
    """
    there = list(warehouse.table_path(table).glob("*.parquet"))
    listed = [path for version in (None, *pinned) for path in warehouse.files(table, version)[1]]
    needed = {Path(path).name for path in listed} | _replaced_since(warehouse.table_path(table) / "_delta_log", cutoff)
    return [file for file in there if file.name not in needed and file.stat().st_mtime < cutoff]


def _replaced_since(log: Path, cutoff: float) -> set[str]:
    """The files that were taken out of the table by commits since then: all that a version since then had, but is gone.

    Raises WarehouseError when the log does not reach back so far.
    """
    replaced: set[str] = set()
    commits = sorted(p for p in log.iterdir() if re.fullmatch(r"\d{20}\.json", p.name))
    oldest = cutoff
    for commit in reversed(commits):
        actions = [json.loads(line) for line in commit.read_text(encoding="utf-8").splitlines() if line]
        told = [a["commitInfo"].get("timestamp", 0) / 1000 for a in actions if "commitInfo" in a]
        # The later of the two: a copied log is as old as its copy, and a clock may have been set back.
        oldest = max([*told, commit.stat().st_mtime])
        if oldest >= cutoff:
            replaced |= {a["remove"]["path"].rpartition("/")[2] for a in actions if "remove" in a}
    if oldest >= cutoff and int(commits[0].stem):
        raise WarehouseError(f"its log begins with version {int(commits[0].stem)}, after the time that is to be kept")
    return replaced


def _measured(kind: Literal["snapshot", "leftover"], path: Path, reason: str) -> Garbage:
    files = [path] if path.is_file() else [p for p in path.rglob("*") if p.is_file()]
    return Garbage(kind, path, len(files), sum(p.stat().st_size for p in files), reason)


def _touched(path: Path) -> float:
    """When the newest of a file, or of a folder and all in it, was written."""
    try:
        return max(p.stat().st_mtime for p in (path, *path.rglob("*")))
    except OSError:
        return float("inf")  # somebody is at it this very moment
