"""Tags: names that people give to versions of a snapshot, such as laptop-sft@release."""

import fcntl
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from schemas.errors import SnapshotError
from schemas.mix import NAME
from warehouse.writing import fsync

if TYPE_CHECKING:
    from warehouse.snapshot import Snapshot

# Starts with a letter, so that no tag looks like a number; v3 is how the folder of version 3 is called.
TAG = r"(?![vV][0-9]+(?:$|@))[A-Za-z][A-Za-z0-9._-]{0,99}"
_FILE = "tags.json"


def read_tags(folder: Path) -> dict[str, int]:
    """The tags in `snapshots/NAME` and the versions that they mean. Raises SnapshotError when the file is damaged."""
    path = folder / _FILE
    try:
        tags = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as e:
        raise SnapshotError(
            f"{path}: cannot be read ({e}); restore it from a copy, or remove it and tag again"
        ) from None
    if not isinstance(tags, dict) or not all(isinstance(number, int) for number in tags.values()):
        raise SnapshotError(f"{path}: is no list of tags; restore it from a copy, or remove it and tag again")
    return tags


def tags_of(version: Path) -> list[str]:
    """The tags of the version in `snapshots/NAME/vN`."""
    return sorted(tag for tag, number in read_tags(version.parent).items() if f"v{number}" == version.name)


def tag_snapshot(snapshot: "Snapshot", tag: str, *, move: bool = False) -> int | None:
    """Gives a version a tag; with `move` takes it from the version that has it, whose number is returned.

    Raises SnapshotError for a name that no tag can have, and for a tag of another version without `move`.
    """
    name, number = snapshot.manifest.name, snapshot.manifest.version
    if not re.fullmatch(TAG, tag):
        raise SnapshotError(
            f"{tag!r} is no tag: it starts with a letter, has letters, digits, `.`, `_` and `-`, and is none like v3"
        )
    with locked_tags(snapshot.path.parent):
        # In here no version goes: `dataengine gc` takes the same lock.
        if not snapshot.path.is_dir():
            raise SnapshotError(f"{snapshot.manifest.id}: was removed just now")
        tags = read_tags(snapshot.path.parent)
        before = tags.get(tag)
        if before == number:
            return None
        if before is not None and not move:
            raise SnapshotError(f"{name}@{tag} is version {before} already; --move makes it {number}")
        _write(snapshot.path.parent, tags | {tag: number})
        return before


def untag_snapshot(warehouse: Path, ref: str) -> int:
    """Removes the tag of `name@tag`; the version that had it, which stays. Raises SnapshotError when there is none."""
    name, _, tag = ref.partition("@")
    folder = warehouse / "snapshots" / name
    if not re.fullmatch(NAME, name) or not re.fullmatch(TAG, tag) or not folder.is_dir():
        raise SnapshotError(f"{ref}: there is no such tag; `dataengine snapshot list` shows them")
    with locked_tags(folder):
        tags = read_tags(folder)
        if tag not in tags:
            raise SnapshotError(f"{ref}: there is no such tag; `dataengine snapshot list` shows them")
        _write(folder, {other: number for other, number in tags.items() if other != tag})
        return tags[tag]


@contextmanager
def locked_tags(folder: Path) -> Iterator[None]:
    """Holds the tags and versions in `snapshots/NAME` for this process alone, waiting for whoever has them."""
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _write(folder: Path, tags: dict[str, int]) -> None:
    """Replaces the file whole. Under the lock, so the temporary name is this process's alone."""
    fresh = folder / f".{_FILE}"
    fresh.write_text(json.dumps(tags, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    fsync(fresh)
    fresh.replace(folder / _FILE)
    fsync(folder)
