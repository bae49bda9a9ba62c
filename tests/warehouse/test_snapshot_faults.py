"""What `kill -9`, a full disk and a folder that may only be read leave of create, export and compact."""

import hashlib
import random
import shutil
import signal
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import duckdb
import pytest

from schemas.errors import SnapshotError
from schemas.keys import key
from schemas.mix import Mix
from schemas.records import Message, Prompt, Trajectory, Verdict, now
from tests.warehouse.faults import Faults, build, spread
from warehouse.connect import connect
from warehouse.export import export_snapshot
from warehouse.snapshot import Snapshot, create_snapshot, list_snapshots, open_snapshot, verify_files
from warehouse.store import Warehouse

MIX: dict[str, Any] = {"mix": "demo", "validation": 0.5, "sources": [{"stage": "reasoning", "require": ["format"]}]}
OF_ALL = {"prompts": "prompt_id", "trajectories": "trajectory_id, attempt", "verdicts": 'trajectory_id, "check"'}
WORDS = 200


def add(folder: Path, first: int, count: int = 6, samples: int = 2) -> None:
    """Adds prompts whose replies do not compress, one commit a table."""
    chance, opened = random.Random(first), Warehouse.open(folder, create=True)
    prompts = [
        Prompt.make([Message(role="user", content=f"What is {n}?")], source="sums", domain="math")
        for n in range(first, first + count)
    ]
    replies = []
    for prompt in prompts:
        for sample in range(samples):
            thought = " ".join(chance.randbytes(6).hex() for _ in range(WORDS))
            replies.append(
                Trajectory(
                    trajectory_id=key(prompt.prompt_id, sample), prompt_id=prompt.prompt_id, stage="reasoning",
                    policy="model@1", engine="embedded", sampling="{}", sample_index=sample, rendered_key="rendered",
                    reasoning=thought, answer="7", text=f"<think>\n{thought}\n</think>\n7", finish_reason="stop",
                    prompt_tokens=5, completion_tokens=20, max_tokens=100, run_id="run-1", created_at=now(),
                )
            )  # fmt: skip
    opened.append("prompts", prompts)
    opened.append("trajectories", replies)
    opened.append(
        "verdicts",
        [
            Verdict(
                trajectory_id=t.trajectory_id, attempt=t.attempt, check="format", version="1", kind="filter",
                outcome="pass", score=1.0, run_id="run-1", created_at=now(),
            )
            for t in replies
        ],
    )  # fmt: skip


def create(folder: Path) -> Snapshot:
    return create_snapshot(folder, Mix.model_validate(MIX), {"plain": None})[0]


@pytest.fixture(scope="session")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a warehouse, of whose mix demo@1 holds the first half of the rows, and the mix."""
    folder = tmp_path_factory.mktemp("filled")
    add(folder / "data", 0)
    create(folder / "data")
    add(folder / "data", 100)
    (folder / "mix.yaml").write_text(Mix.model_validate(MIX).model_dump_json())
    return folder


@pytest.fixture(scope="session")
def expected(filled: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same, undisturbed: with demo@2 and its export `out`, tables compacted."""
    folder = tmp_path_factory.mktemp("expected") / "here"
    shutil.copytree(filled, folder)
    export_snapshot(open_snapshot(folder / "data", "demo@1"), "messages", folder / "out")
    create(folder / "data")
    Warehouse.open(folder / "data").compact()
    return folder


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("library"))


@pytest.fixture
def faults(filled: Path, library: Path, tmp_path: Path) -> Callable[[], Faults]:
    """A fresh copy of the filled folder, and commands on it with faults."""

    def fresh() -> Faults:
        shutil.rmtree(tmp_path / "here", ignore_errors=True)
        shutil.copytree(filled, tmp_path / "here")
        return Faults(library, tmp_path / "here")

    return fresh


def tables(folder: Path, at: str | None = None) -> dict[str, list[Any]]:
    with connect(folder / "data", at=at) as connection:
        return {table: connection.sql(f"FROM {table} ORDER BY {ids}").fetchall() for table, ids in OF_ALL.items()}


def sums(out: Path) -> dict[str, str]:
    """What SHA256SUMS says, after the files were held against it."""
    found = dict(line.split("  ")[::-1] for line in (out / "SHA256SUMS").read_text().splitlines())
    assert {p.name for p in out.iterdir()} == {*found, "SHA256SUMS"}
    for name, digest in found.items():
        assert hashlib.sha256((out / name).read_bytes()).hexdigest() == digest
    return found


def left(folder: Path) -> list[str]:
    """What is only there while something is made, the locks of compaction apart."""
    return [p.name for p in folder.rglob(".*") if p.name != ".tmp" and not p.name.endswith(".compacting")]


class OfCreate:
    command = ("snapshot", "create", "mix.yaml", "--warehouse", "data")

    @staticmethod
    def whole(folder: Path, expected: Path) -> None:
        """The old state or the new one."""
        found = list_snapshots(folder / "data")
        assert [s.manifest.id for s in found] in (["demo@1"], ["demo@1", "demo@2"])
        for snapshot in found:
            verify_files(snapshot)
            there = open_snapshot(expected / "data", snapshot.manifest.id)
            assert snapshot.manifest.logical_hash == there.manifest.logical_hash

    @staticmethod
    def again(folder: Path, expected: Path) -> None:
        """Done once more it comes to what it comes to undisturbed."""
        made = create(folder / "data")
        assert made.manifest.id == "demo@2"
        assert made.manifest.logical_hash == open_snapshot(expected / "data", "demo@2").manifest.logical_hash
        verify_files(made)
        assert [s.manifest.id for s in list_snapshots(folder / "data")] == ["demo@1", "demo@2"]


class OfExport:
    command = ("snapshot", "export", "demo@1", "--out", "out", "--warehouse", "data")

    @staticmethod
    def whole(folder: Path, expected: Path) -> None:
        if (folder / "out").exists():
            assert sums(folder / "out") == sums(expected / "out")
        verify_files(open_snapshot(folder / "data", "demo@1"))

    @staticmethod
    def again(folder: Path, expected: Path) -> None:
        opened = open_snapshot(folder / "data", "demo@1")
        if (folder / "out").exists():
            with pytest.raises(SnapshotError, match="exists already"):
                export_snapshot(opened, "messages", folder / "out")
        else:
            export_snapshot(opened, "messages", folder / "out")
        assert sums(folder / "out") == sums(expected / "out")


class OfCompact:
    command = ("compact", "--warehouse", "data")

    @staticmethod
    def whole(folder: Path, expected: Path) -> None:
        assert tables(folder) == tables(expected)
        assert tables(folder, "demo@1") == tables(expected, "demo@1")
        verify_files(open_snapshot(folder / "data", "demo@1"))
        if (folder / "data" / "warehouse.duckdb").exists():
            with duckdb.connect(str(folder / "data" / "warehouse.duckdb"), read_only=True) as client:
                assert client.sql("SELECT count(*) FROM trajectory_facts").fetchall() == [(24,)]

    @staticmethod
    def again(folder: Path, expected: Path) -> None:
        opened = Warehouse.open(folder / "data")
        for before, after in opened.compact().values():
            assert after <= 1 and before <= 2
        OfCompact.whole(folder, expected)
        add(folder / "data", 200)
        assert opened.compact()["trajectories"] == (2, 1)
        verify_files(create(folder / "data"))


OF_COMMANDS = pytest.mark.parametrize("of", [OfCreate, OfExport, OfCompact])
AMID = pytest.mark.parametrize("points", [1, pytest.param(20, marks=pytest.mark.slow)])


@pytest.fixture(scope="session")
def changes(filled: Path, library: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[Any], list[str]]:
    """What each command changes when nobody disturbs it."""

    @cache
    def of_command(of: Any) -> list[str]:
        folder = tmp_path_factory.mktemp("changes") / "here"
        shutil.copytree(filled, folder)
        return Faults(library, folder).changes(*of.command)

    return of_command


@AMID
@OF_COMMANDS
def test_killed_it_leaves_the_old_state_or_the_new(
    of: Any, points: int, faults: Callable[[], Faults], changes: Callable[[Any], list[str]], expected: Path
) -> None:
    for at in spread(changes(of), points):
        here = faults()
        done = here.run(*of.command, fault="kill", at=at)
        assert done.returncode == (-signal.SIGKILL if len(here.made) >= at else 0), (at, changes(of)[at - 1], done)
        of.whole(here.folder, expected)
        of.again(here.folder, expected)


@AMID
@OF_COMMANDS
def test_out_of_space_it_says_so_in_one_line_and_leaves_nothing_half_made(
    of: Any, points: int, faults: Callable[[], Faults], changes: Callable[[Any], list[str]], expected: Path
) -> None:
    for at in spread(changes(of), points):
        here = faults()
        done = here.run(*of.command, fault="full", at=at)
        if done.returncode:
            assert done.returncode == 2, (at, changes(of)[at - 1], done)
            assert len(done.stderr.splitlines()) == 1, (at, changes(of)[at - 1], done)
            assert f"Error: {here.folder}" in done.stderr
            assert "No space left on device; free some space and run the same command again" in done.stderr
        else:
            takes_space = [change for change in here.made[at - 1 :] if not change.startswith(("unlink", "rmdir"))]
            assert not takes_space, (at, takes_space)
        of.whole(here.folder, expected)
        assert not left(here.folder)
        of.again(here.folder, expected)


def test_kills_are_spread_over_all_that_is_done(changes: Callable[[Any], list[str]]) -> None:
    made, compacted = changes(OfCreate), changes(OfCompact)
    assert any(c.startswith("write /data/snapshots/demo/.making-") and c.endswith(".parquet") for c in made)
    assert any(c.startswith("write") and c.endswith("/manifest.json") for c in made)
    assert made[-2].startswith("rename /data/snapshots/demo/.making-")
    assert any(c.startswith("linkat /data/tables/trajectories/_delta_log/") for c in compacted)
    assert (spread(range(9), 3), spread(range(9), 1)) == ([1, 5, 9], [5])
    assert all(len(spread(changes(of), 20)) == 20 for of in (OfCreate, OfExport, OfCompact))
