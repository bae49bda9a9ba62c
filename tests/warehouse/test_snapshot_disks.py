"""A disk that is really full, and one that may only be read: real file systems, mounted where that is permitted."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.warehouse.conftest import NEWEST, mounted, unpacked
from warehouse.connect import connect
from warehouse.snapshot import list_snapshots, verify_files
from warehouse.store import Warehouse

MIX = "mix: new\nsources:\n  - {stage: reasoning, require: [format]}\n"
LARGE = "SELECT count(*) FROM (SELECT sha256(range::VARCHAR) AS x, range FROM range(500000) ORDER BY x)"


@pytest.fixture
def mounts() -> Iterator[Callable[..., Path]]:
    with ExitStack() as stack:
        yield lambda folder, *options: stack.enter_context(mounted(folder, *options))


@pytest.fixture
def command(tmp_path: Path) -> Callable[..., "subprocess.CompletedProcess[str]"]:
    """Runs `dataengine` in a process of its own, in the test's folder."""
    (tmp_path / "mix.yaml").write_text(MIX)

    def run(*args: object, **environment: str) -> "subprocess.CompletedProcess[str]":
        told = [sys.executable, "-m", "dataengine.cli", *map(str, args)]
        env = {**os.environ, **environment}
        return subprocess.run(told, capture_output=True, text=True, check=False, cwd=tmp_path, env=env)

    return run


@pytest.fixture
def refusal(command: Callable[..., "subprocess.CompletedProcess[str]"]) -> Callable[..., str]:
    """The one line of a command that is refused."""

    def run(*args: object) -> str:
        done = command(*args)
        assert (done.returncode, done.stdout) == (2, ""), done
        (line,) = done.stderr.splitlines()
        return line

    return run


def fill(disk: Path, leaving: int) -> Path:
    """Takes all of a disk but so many bytes."""
    ballast = disk / "ballast"
    free = os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize
    with ballast.open("wb") as file:
        file.write(b"\0" * (free - leaving))
    return ballast


@pytest.mark.parametrize("leaving", [0, pytest.param(8192, marks=pytest.mark.slow)])
def test_a_full_disk_is_one_line_and_when_there_is_space_the_same_command_goes_on(
    leaving: int,
    mounts: Callable[..., Path],
    command: Callable[..., "subprocess.CompletedProcess[str]"],
    refusal: Callable[..., str],
    tmp_path: Path,
) -> None:
    disk = mounts(tmp_path / "disk", "-t", "tmpfs", "-o", "size=2m", "none")
    data = unpacked(NEWEST, disk)
    before = list_snapshots(data)
    ballast = fill(disk, leaving)
    full = "cannot be written: No space left on device; free some space and run the same command again"
    create = ("snapshot", "create", "mix.yaml", "--warehouse", data)
    export = ("snapshot", "export", "old-samples", "--out", disk / "out", "--warehouse", data)
    assert refusal(*create) == f"SnapshotError: {data / 'snapshots' / 'new'}: {full}"
    assert refusal(*export) == f"SnapshotError: {disk / 'out'}: {full}"
    compacted = command("compact", "--warehouse", data)
    assert compacted.returncode == 2
    # A thread of deltalake may say on its own, before, that it panicked.
    line = compacted.stderr.splitlines()[-1]
    assert line.startswith(f"WarehouseError: {data}") and full in line and "Traceback" not in compacted.stderr
    assert list_snapshots(data) == before
    for snapshot in before:
        verify_files(snapshot)
    assert not (disk / "out").exists()
    assert not [p for p in disk.rglob(".*") if p.name.startswith((".making", ".out", ".warehouse"))]

    ballast.unlink()
    for again in (create, export, ("compact", "--warehouse", data)):
        assert command(*again).returncode == 0
    with connect(data) as connection:
        assert connection.sql("SELECT count(*), count(DISTINCT trajectory_id) FROM trajectories").fetchall() == [(8, 8)]


@pytest.mark.slow
def test_in_a_folder_that_may_only_be_read_everything_is_read_and_writing_is_refused_in_one_line(
    mounts: Callable[..., Path],
    command: Callable[..., "subprocess.CompletedProcess[str]"],
    refusal: Callable[..., str],
    tmp_path: Path,
) -> None:
    source = unpacked(NEWEST, tmp_path)
    data = mounts(tmp_path / "data", "--bind", str(source))
    subprocess.run(["mount", "-o", "remount,ro,bind", data], check=True)
    assert "old-samples@2" in command("snapshot", "list", "--warehouse", data).stdout
    assert "old-samples@2" in command("snapshot", "show", "old-samples", "--warehouse", data).stdout
    for query in (("SELECT 1",), ("SELECT count(*) FROM trajectory_facts", "--at", "old-samples@1")):
        assert command("sql", *query, "--warehouse", data).returncode == 0
    assert command("snapshot", "export", "old-samples", "--out", "out", "--warehouse", data).returncode == 0
    # More than memory holds: sorted elsewhere.
    done = command("sql", LARGE, "--warehouse", data, DATAENGINE_MEMORY="50MB")
    assert done.returncode == 0 and "500000" in done.stdout, done

    only_read = "cannot be written: Read-only file system; name a folder on a disk that can be written"
    create = ("snapshot", "create", "mix.yaml", "--warehouse", data)
    assert refusal(*create) == f"SnapshotError: {data / 'snapshots' / 'new'}: {only_read}"
    export = ("snapshot", "export", "old-samples", "--out", data / "out", "--warehouse", data)
    assert refusal(*export) == f"SnapshotError: {data / 'out'}: {only_read}"
    compact = refusal("compact", "--warehouse", data)
    assert compact.startswith(f"WarehouseError: {data}: table prompts {only_read}")


def test_an_older_warehouse_that_may_only_be_read_cannot_be_brought_up_to_date(
    mounts: Callable[..., Path], refusal: Callable[..., str], tmp_path: Path
) -> None:
    data = mounts(tmp_path / "data", "--bind", str(unpacked("2", tmp_path)))
    subprocess.run(["mount", "-o", "remount,ro,bind", data], check=True)
    said = refusal("snapshot", "list", "--warehouse", data)
    assert said.startswith(f"WarehouseError: {data}: cannot be written: Read-only file system; name a folder")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_the_right_to_write_is_named(refusal: Callable[..., str], tmp_path: Path) -> None:
    data = unpacked(NEWEST, tmp_path)
    (data / "snapshots").chmod(0o555)
    said = refusal("snapshot", "create", "mix.yaml", "--warehouse", data)
    assert said.startswith(f"SnapshotError: {data / 'snapshots' / 'new'}: cannot be written: Permission denied; name")
    assert Warehouse.open(data).path == data
