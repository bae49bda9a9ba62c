"""Processes that make snapshots of one mix at once: one version for one content, no number twice, no error."""

import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

import warehouse.snapshot as snapshots
from schemas.mix import Mix
from tests.warehouse.conftest import NEWEST, unpacked
from warehouse.snapshot import Snapshot, create_snapshot, list_snapshots, verify_files

MIX = "mix: new\nsources:\n  - {stage: reasoning, require: [format]}\n"
# Loads all that the command needs, and waits until it is told to go.
WAITING = (
    "import sys, dataengine.cli, warehouse.export, warehouse.snapshot\n"
    "print('ready', flush=True); sys.stdin.readline(); dataengine.cli.main()"
)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    (tmp_path / "mix.yaml").write_text(MIX)
    return unpacked(NEWEST, tmp_path)


@pytest.fixture
def at_once(data: Path) -> Callable[..., list[str]]:
    """Runs commands on the warehouse, all from the same moment on; what they said, after all of them did well."""

    def run(*commands: tuple[str, ...]) -> list[str]:
        children = [
            subprocess.Popen(
                [sys.executable, "-c", WAITING, *command, "--warehouse", str(data)],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=data.parent,
            )
            for command in commands
        ]  # fmt: skip
        for child in children:
            assert child.stdout is not None and child.stdout.readline() == "ready\n"
        for child in children:
            assert child.stdin is not None
            child.stdin.write("\n")
            child.stdin.flush()
        ends = [(*child.communicate(), child.returncode) for child in children]
        assert all(code == 0 and err == "" for _, err, code in ends), ends
        return [out for out, _, _ in ends]

    return run


def made(data: Path) -> list[Snapshot]:
    """The snapshots of the mix `new`, whose numbers have no gap, and nothing else in their folder."""
    found = [s for s in list_snapshots(data) if s.manifest.name == "new"]
    assert [s.manifest.version for s in found] == list(range(1, len(found) + 1))
    assert sorted(p.name for p in (data / "snapshots" / "new").iterdir()) == sorted(s.path.name for s in found)
    for snapshot in found:
        verify_files(snapshot)
    return found


@pytest.mark.parametrize("processes", [2, pytest.param(8, marks=pytest.mark.slow)])
def test_processes_that_make_the_same_content_make_one_version(
    processes: int, at_once: Callable[..., list[str]], data: Path
) -> None:
    said = at_once(*[("snapshot", "create", "mix.yaml")] * processes)
    (only,) = made(data)
    lines = Counter(out.splitlines()[0] for out in said)
    end = f": 8 rows, hash {only.manifest.logical_hash}"
    assert lines == {f"new@1 made{end}": 1, f"new@1 unchanged{end}": processes - 1}


@pytest.mark.parametrize("processes", [2, pytest.param(8, marks=pytest.mark.slow)])
def test_processes_that_make_two_contents_of_one_name_share_the_numbers(
    processes: int, at_once: Callable[..., list[str]], data: Path
) -> None:
    all_rows, half = (
        ("snapshot", "create", "mix.yaml"),
        ("snapshot", "create", "mix.yaml", "sources.0.max_per_prompt=1"),
    )
    export = ("snapshot", "export", "old-samples@2", "--out", "out")
    said = at_once(*[all_rows, half] * (processes // 2), export)
    found = made(data)
    assert {s.manifest.rows for s in found} == {8, 4}
    hashes = [s.manifest.logical_hash for s in found]
    assert all(one != next_one for one, next_one in pairwise(hashes)), "else it were unchanged"
    new = Counter(out.split()[0] for out in said if " made: " in out)
    assert new == {s.id: 1 for s in found}
    assert len(list((data.parent / "out").glob("*.parquet"))) == 2


def test_what_another_process_made_meanwhile_is_what_both_return(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mix = Mix.model_validate({"mix": "new", "sources": [{"stage": "reasoning", "require": ["format"]}]})
    systems = {"plain": None}
    publish, others = snapshots._publish, []

    def late(*args: Any) -> Any:
        monkeypatch.setattr(snapshots, "_publish", publish)
        others.append(create_snapshot(data, mix, systems))
        return publish(*args)

    monkeypatch.setattr(snapshots, "_publish", late)
    slow, new = create_snapshot(data, mix, systems)
    ((fast, first),) = others
    assert (slow, new, first) == (fast, False, True)
    assert made(data) == [fast]
