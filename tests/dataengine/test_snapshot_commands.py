"""The commands about snapshots that are there already: verify, tag, untag, and what the list says of damage."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dataengine.importing import import_file
from schemas.mix import Mix, MixSource
from schemas.recipe import FileSource
from tests.dataengine.conftest import Answered
from warehouse.snapshot import create_snapshot

Cli = Callable[..., Answered]
Refused = Callable[..., str]


@pytest.fixture
def there(made: Path, tmp_path: Path) -> tuple[str, Path]:
    """A copy of the warehouse, to be changed, as the option that names it."""
    return ("--warehouse", shutil.copytree(made, tmp_path / "data"))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A warehouse with two versions of `demo` and one of `other`."""
    folder = tmp_path_factory.mktemp("snapshots")
    data, file = folder / "data", folder / "rows.jsonl"
    for count, names in ((8, ["demo"]), (9, ["demo", "other"])):
        rows = [
            {"prompt": f"What is {i}?", "reference": str(i), "response": f"<answer>{i}</answer>"} for i in range(count)
        ]
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
        source = FileSource(source="file", path=str(file))
        import_file(data, source, "trajectories", stage="reasoning", policy="hand@1", checks=["exact"])
        for name in names:
            mix = Mix(mix=name, sources=[MixSource(stage="reasoning", require=["exact"])], validation=0.5)
            create_snapshot(data, mix, {"plain": None})
    return data


def test_verify_says_what_is_wrong_and_exits_1(cli: Cli, refused: Refused, there: Any, tmp_path: Path) -> None:
    told = cli("snapshot", "verify", *there)
    assert told.code == 0
    assert told.out.splitlines() == [
        "ok       demo@1: 2 files", "ok       demo@2: 2 files", "ok       other@1: 2 files"
    ]  # fmt: skip
    version = there[1] / "snapshots" / "demo" / "v1"
    files = sorted(version.glob("*.parquet"))
    for file in files:
        file.unlink()
    told = cli("snapshot", "verify", "demo@1", "demo@2", *there)
    assert told.code == 1
    assert told.out.splitlines() == [
        "wrong    demo@1: 2 faults; restore from a copy what is named here",
        *(f"         missing    {file} is gone" for file in files),
        "ok       demo@2: 2 files",
    ]
    found = json.loads(cli("snapshot", "verify", "demo@1", "--json", *there).out)
    assert [(f["name"], f["good"], f["folder"]) for f in found] == [("demo@1", False, str(version))]
    assert [(f["file"], f["kind"]) for f in found[0]["faults"]] == [(file.name, "missing") for file in files]
    assert "there is no snapshot demo@7" in refused("snapshot", "verify", "demo@7", *there)


def test_verify_takes_folders_and_needs_no_warehouse_for_them(cli: Cli, refused: Refused, there: Any) -> None:
    assert cli("snapshot", "export", "demo@1", "--out", "out", *there).code == 0
    told = cli("snapshot", "verify", "out")
    assert (told.code, told.out) == (0, "ok       out: 8 files\n")
    assert cli("snapshot", "verify", "out", "other", *there).out.splitlines()[1] == "ok       other@1: 2 files"
    Path("out/README.md").write_text("")
    told = cli("snapshot", "verify", "out")
    assert told.code == 1
    assert told.out.splitlines()[1] == "         damaged    out/README.md is damaged (sha256 differs)"
    Path("empty").mkdir()
    assert "empty: has neither SHA256SUMS nor manifest.json" in refused("snapshot", "verify", "empty")
    assert "no warehouse here" in refused("snapshot", "verify")


def test_a_damaged_manifest_is_listed_as_such_everywhere(cli: Cli, refused: Refused, there: Any) -> None:
    (there[1] / "snapshots" / "demo" / "v2" / "manifest.json").write_text("{")
    told = cli("snapshot", "list", *there)
    assert told.code == 0
    lines = [line.split() for line in told.out.splitlines()[2:]]
    assert [line[0] for line in lines] == ["demo@1", "demo@2", "other@1"]
    assert lines[1] == ["demo@2", "damaged"]
    assert len(told.err.splitlines()) == 1
    assert "v2/manifest.json is damaged (" in told.err
    line = refused("snapshot", "show", "demo", *there)
    assert line.startswith(f"SnapshotError: {there[1]}/snapshots/demo/v2/manifest.json is damaged (")
    assert cli("snapshot", "show", "demo@1", *there).code == 0
    assert {s["snapshot"]: s["hash"] for s in json.loads(cli("status", "--json", *there).out)["snapshots"]}[
        "demo@2"
    ] == "damaged"
    told = cli("doctor", *there)
    assert told.code == 1
    assert "ok       snapshot demo@1\n" in told.out
    assert "wrong    demo@2: " in told.out


def test_a_tag_stands_for_a_number_in_every_command(cli: Cli, refused: Refused, there: Any) -> None:
    assert cli("snapshot", "tag", "demo@1", "release", *there).out == "demo@release is version 1\n"
    assert refused("snapshot", "tag", "demo@2", "release", *there).endswith("--move makes it 2")
    for command in ("show", "verify"):
        assert cli("snapshot", command, "demo@release", *there).out.split("demo@")[1].startswith("1")
    assert "tags          release\n" in cli("snapshot", "show", "demo@1", *there).out
    assert cli("snapshot", "export", "demo@release", "--out", "out", *there).code == 0
    told = cli("sql", "SELECT count(*) AS n FROM prompts", "--at", "demo@release", "--format", "csv", *there)
    assert told.out == "n\n8\n"
    moved = cli("snapshot", "tag", "demo", "release", "--move", *there)
    assert moved.out == "demo@release is version 2, and was version 1\n"
    listed = {line.split()[0]: line.split()[-1] for line in cli("snapshot", "list", *there).out.splitlines()[2:]}
    assert listed["demo@2"] == "release"
    assert listed["demo@1"] != "release"
    assert "'7' is no tag" in refused("snapshot", "tag", "demo@1", "7", *there)
    assert cli("snapshot", "untag", "demo@release", *there).out == "demo@release is no more; it was version 2\n"
    assert "there is no such tag" in refused("snapshot", "untag", "demo@release", *there)


def test_gc_lists_first_and_removes_when_told(cli: Cli, there: Any) -> None:
    version = there[1] / "snapshots" / "demo" / "v1"
    told = cli("gc", *there)
    assert (told.code, told.out) == (0, "nothing to remove\n")
    told = cli("gc", "--keep", "1", *there)
    assert told.code == 0
    line, total = told.out.splitlines()
    assert line.endswith(f"4 files  {version}: demo@1 is none of the newest 1")
    assert total.endswith("4 files  in all; --delete removes them")
    assert version.is_dir()
    found = json.loads(cli("gc", "--keep", "1", "--json", *there).out)
    assert [(g["kind"], g["path"], g["files"]) for g in found["garbage"]] == [("snapshot", str(version), 4)]
    assert found["notes"] == []
    told = cli("gc", "--keep", "1", "--delete", *there)
    assert told.out.splitlines()[-1].endswith("4 files  removed")
    assert not version.exists()
    assert cli("snapshot", "verify", *there).code == 0
    (there[1] / "snapshots" / "demo" / "v2" / "manifest.json").write_text("{")
    told = cli("gc", "--delete", *there)
    assert (told.code, told.out) == (1, "nothing to remove\n")
    assert told.err.startswith("no file of a table is removed: demo@2: ")
