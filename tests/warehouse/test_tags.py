"""Tags are names for versions: they work where numbers do, move when told to, and many processes may set them."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from schemas.errors import QueryError, SnapshotError
from tests.warehouse.conftest import Grow
from warehouse.connect import connect
from warehouse.snapshot import find_snapshot, list_snapshots, open_snapshot
from warehouse.tagging import read_tags, tag_snapshot, tags_of, untag_snapshot


def test_a_tag_means_its_version_until_it_is_moved(folder: Path, grow: Grow) -> None:
    first, second = grow(), grow()
    assert tag_snapshot(first, "release") is None
    assert open_snapshot(folder, "demo@release") == first
    assert tag_snapshot(first, "release") is None, "again is no change"
    with pytest.raises(SnapshotError, match=r"^demo@release is version 1 already; --move makes it 2$"):
        tag_snapshot(second, "release")
    assert tag_snapshot(second, "release", move=True) == 1
    assert open_snapshot(folder, "demo@release") == second
    tag_snapshot(second, "best")
    assert (tags_of(first.path), tags_of(second.path)) == ([], ["best", "release"])
    assert untag_snapshot(folder, "demo@release") == 2
    with pytest.raises(SnapshotError, match=r"there is no snapshot demo@release \(known: demo@1, demo@2\)"):
        open_snapshot(folder, "demo@release")
    assert open_snapshot(folder, "demo@best") == second
    assert list_snapshots(folder) == [first, second]


def test_the_tables_are_seen_as_the_tagged_version_saw_them(folder: Path, grow: Grow) -> None:
    tag_snapshot(grow(3), "release")
    grow(2)
    with connect(folder, at="demo@release") as connection:
        assert connection.sql("SELECT count(*) FROM prompts").fetchall() == [(3,)]
    with pytest.raises((QueryError, SnapshotError), match="there is no snapshot demo@nosuch"):
        connect(folder, at="demo@nosuch")


@pytest.mark.parametrize(
    "tag", ["", "3", "3a", "v3", "V12", "-a", ".a", "a b", "a/b", "../a", "a@b", "ä", "a\n", "a" * 101]
)
def test_what_looks_like_a_number_or_a_path_is_no_tag(grow: Grow, tag: str) -> None:
    with pytest.raises(SnapshotError, match="is no tag: it starts with a letter"):
        tag_snapshot(grow(1), tag)


@pytest.mark.parametrize("tag", ["release", "v", "v3a", "v1.0", "a" * 100])
def test_tags_are_like_names(folder: Path, grow: Grow, tag: str) -> None:
    snapshot = grow(1)
    tag_snapshot(snapshot, tag)
    assert find_snapshot(folder, f"demo@{tag}") == snapshot.path


@pytest.mark.parametrize("ref", ["demo@other", "demo@1", "demo", "nosuch@a", "../demo@a", "..@a", "@a", ""])
def test_no_such_tag_to_remove(folder: Path, grow: Grow, ref: str) -> None:
    tag_snapshot(grow(1), "a")
    with pytest.raises(SnapshotError, match="there is no such tag; `dataengine snapshot list` shows them"):
        untag_snapshot(folder, ref)
    assert not (folder / ".lock").exists()


def test_a_tag_whose_version_is_gone_or_whose_file_is_damaged_is_one_line(folder: Path, grow: Grow) -> None:
    snapshot = grow(1)
    path = folder / "snapshots" / "demo" / "tags.json"
    path.write_text('{"old": 7}')
    with pytest.raises(SnapshotError, match="there is no snapshot demo@old"):
        open_snapshot(folder, "demo@old")
    for broken in ("{", "[1]", '{"a": "1"}'):
        path.write_text(broken)
        with pytest.raises(SnapshotError, match=r"tags\.json: .*restore it from a copy, or remove it and tag again"):
            open_snapshot(folder, "demo@old")
        with pytest.raises(SnapshotError, match=r"tags\.json"):
            tag_snapshot(snapshot, "new")
        assert path.read_text() == broken
    assert open_snapshot(folder, "demo@1") == snapshot


TAGGER = """
import sys
from pathlib import Path
from warehouse.snapshot import open_snapshot
from warehouse.tagging import tag_snapshot
snapshot = open_snapshot(Path(sys.argv[1]), "demo@1")
sys.stdin.readline()
for number in range(40):
    tag_snapshot(snapshot, f"{sys.argv[2]}-{number}")
"""


def test_processes_at_once_lose_no_tag(folder: Path, grow: Grow) -> None:
    grow(1)
    taggers = [
        subprocess.Popen([sys.executable, "-c", TAGGER, str(folder), name], stdin=subprocess.PIPE, text=True)
        for name in ("a", "b", "c")
    ]
    for tagger in taggers:
        assert tagger.stdin is not None
        tagger.stdin.write("go\n")
        tagger.stdin.flush()
    assert [tagger.wait() for tagger in taggers] == [0, 0, 0]
    for tagger in taggers:
        assert tagger.stdin is not None
        tagger.stdin.close()
    assert read_tags(folder / "snapshots" / "demo") == {f"{name}-{n}": 1 for name in "abc" for n in range(40)}
    assert json.loads((folder / "snapshots" / "demo" / "tags.json").read_text()).keys() >= {"a-0", "c-39"}
