"""`snapshot verify` names everything that is wrong with a snapshot or an export, and nothing else."""

import json
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from schemas.errors import SnapshotError
from tests.warehouse.conftest import Grow
from warehouse.export import export_snapshot
from warehouse.hashing import BLOCK, sha256_of
from warehouse.snapshot import Damaged, every_snapshot, list_snapshots, open_snapshot
from warehouse.verifying import Verified, folder_target, snapshot_targets, verify


def faults(found: Verified) -> set[tuple[str, str]]:
    assert found.good == (not found.faults)
    assert all("\n" not in fault.text for fault in found.faults)
    return {(fault.file, fault.kind) for fault in found.faults}


def check(folder: Path, *refs: str) -> dict[str, set[tuple[str, str]]]:
    return {found.name: faults(found) for found in verify(snapshot_targets(folder, refs))}


def test_whole_snapshots_are_good(folder: Path, grow: Grow) -> None:
    for _ in range(2):
        grow(8)
    grow(1, "other")
    assert check(folder) == {"demo@1": set(), "demo@2": set(), "other@1": set()}
    assert check(folder, "demo", "demo@1") == {"demo@2": set(), "demo@1": set()}
    with pytest.raises(SnapshotError, match=r"there is no snapshot demo@9 \(known: demo@1, demo@2, other@1\)"):
        snapshot_targets(folder, ["demo@9"])
    assert snapshot_targets(folder.parent) == []


def test_every_fault_is_named_not_the_first_alone(folder: Path, grow: Grow) -> None:
    snapshot, other = grow(8), grow(8, "other")
    train, validation = snapshot.data_files()
    data = bytearray(train.read_bytes())
    data[len(data) // 2] ^= 1
    train.write_bytes(data)
    validation.write_bytes(validation.read_bytes()[:-1])
    shutil.copy(train, snapshot.path / "train-00001-of-00001.parquet")
    (snapshot.path / "notes.md").write_text("mine")
    (folder / "snapshots" / "other" / "v1" / "manifest.json").write_text('{"name": "other"')
    assert check(folder) == {
        "demo@1": {
            (train.name, "damaged"),
            (validation.name, "short"),
            ("train-00001-of-00001.parquet", "unexpected"),
        },
        "other@1": {("manifest.json", "manifest")},
    }
    train.unlink()
    validation.write_bytes(validation.read_bytes() + b"more")
    assert {(train.name, "missing"), (validation.name, "long")} < check(folder, "demo@1")["demo@1"]
    (other.path / "manifest.json").unlink()
    (fault,) = verify(snapshot_targets(folder, ["other"]))[0].faults
    assert fault.text == (
        f"{other.path}/manifest.json is gone; restore it from a copy, or remove the folder and make the next version"
    )


def test_rows_are_held_against_the_files(folder: Path, grow: Grow) -> None:
    snapshot = grow(8)
    path = snapshot.path / "manifest.json"
    said = json.loads(path.read_text())
    said["files"][0]["rows"] += 1
    path.write_text(json.dumps(said))
    name = said["files"][0]["path"]
    assert check(folder) == {"demo@1": {(name, "rows"), ("manifest.json", "rows")}}
    # The hash is right, and it is no Parquet file all the same.
    (snapshot.path / name).write_bytes(b"not Parquet at all")
    said["files"][0] |= {"bytes": 18, "sha256": sha256_of(snapshot.path / name)}
    path.write_text(json.dumps(said))
    assert (name, "unreadable") in check(folder)["demo@1"]


def test_the_content_is_held_against_the_logical_hash(folder: Path, grow: Grow) -> None:
    snapshot = grow(8)
    assert [found.faults for found in verify(snapshot_targets(folder), content=True)] == [[]]
    # Another layout of the same rows has the same content, and another row has another.
    path = snapshot.path / "manifest.json"
    said = json.loads(path.read_text())
    for change, expected in (({}, set()), ({"weight": 2.0}, {("manifest.json", "content")})):
        for file in said["files"]:
            table = pq.read_table(snapshot.path / file["path"])
            rows = [row | change for row in table.to_pylist()]
            pq.write_table(pa.Table.from_pylist(rows, table.schema), snapshot.path / file["path"], compression="gzip")
            file["bytes"] = (snapshot.path / file["path"]).stat().st_size
            file["sha256"] = sha256_of(snapshot.path / file["path"])
        path.write_text(json.dumps(said))
        assert check(folder) == {"demo@1": set()}
        assert faults(verify(snapshot_targets(folder), content=True)[0]) == expected


def test_a_file_outside_of_the_folder_is_not_read(folder: Path, grow: Grow) -> None:
    snapshot = grow(8)
    path = snapshot.path / "manifest.json"
    said = json.loads(path.read_text())
    said["files"][0]["path"] = "../../../elsewhere.parquet"
    path.write_text(json.dumps(said))
    assert ("../../../elsewhere.parquet", "outside") in check(folder)["demo@1"]


@pytest.mark.parametrize("broken", ["", "{", "[]", '{"name": "demo"}', "\x00\xff"])
def test_a_broken_manifest_is_one_line_and_hides_no_other_snapshot(folder: Path, grow: Grow, broken: str) -> None:
    first, second = grow(), grow()
    (second.path / "manifest.json").write_bytes(broken.encode("latin-1"))
    with pytest.raises(SnapshotError) as error:
        open_snapshot(folder, "demo")
    message = str(error.value)
    assert message.startswith(f"{second.path}/manifest.json is damaged (")
    assert message.endswith("); restore it from a copy, or remove the folder and make the next version")
    assert "\n" not in message
    assert list_snapshots(folder) == [first]
    assert every_snapshot(folder) == [first, Damaged("demo@2", second.path, message)]
    assert open_snapshot(folder, "demo@1") == first
    with pytest.raises(SnapshotError, match=r"known: demo@1, demo@2\)"):
        open_snapshot(folder, "demo@3")
    assert grow().id == "demo@3", "the next version can be made"


def test_without_its_manifest_a_snapshot_is_damaged_and_its_number_taken(folder: Path, grow: Grow) -> None:
    snapshot = grow()
    (snapshot.path / "manifest.json").unlink()
    with pytest.raises(SnapshotError, match=r"manifest\.json is gone; restore it"):
        open_snapshot(folder, "demo@1")
    assert grow().id == "demo@2"


def test_a_folder_that_was_renamed_is_told(folder: Path, grow: Grow) -> None:
    snapshot = grow()
    snapshot.path.rename(snapshot.path.with_name("v7"))
    with pytest.raises(SnapshotError, match="says it is demo@1, not demo@7; the folder was renamed or copied over"):
        open_snapshot(folder, "demo@7")
    assert check(folder) == {"demo@7": {("manifest.json", "manifest")}}


def test_an_export_is_held_against_its_sums(tmp_path: Path, grow: Grow) -> None:
    out = tmp_path / "out"
    export_snapshot(grow(8), "messages", out, shard_rows=2)
    (found,) = verify([folder_target(out)])
    assert (found.good, found.name) == (True, str(out))
    assert found.files == len(list(out.iterdir())) - 1
    (out / "manifest.json").write_text("{}")  # of a repository, say
    assert verify([folder_target(out)])[0].good
    (out / "manifest.json").unlink()
    shards = sorted(out.glob("*.parquet"))
    shards[0].unlink()
    shards[1].write_bytes(b"PAR1")
    (out / "README.md").write_text("another")
    pq.write_table(pa.table({"a": [1]}), out / "extra.parquet")
    with (out / "SHA256SUMS").open("a") as f:
        f.write("no such line\n")
    (found,) = verify([folder_target(out)])
    assert faults(found) == {
        (shards[0].name, "missing"),
        (shards[1].name, "damaged"),
        ("README.md", "damaged"),
        ("extra.parquet", "unexpected"),
        ("SHA256SUMS", "list"),
    }
    (out / "SHA256SUMS").write_text("")
    assert ("SHA256SUMS", "list") in faults(verify([folder_target(out)])[0])
    (out / "SHA256SUMS").unlink()
    with pytest.raises(SnapshotError, match=r"has neither SHA256SUMS nor manifest\.json"):
        folder_target(out)


def test_a_copy_of_a_snapshot_needs_no_warehouse(tmp_path: Path, grow: Grow) -> None:
    copy = Path(shutil.copytree(grow(8).path, tmp_path / "copy"))
    assert verify([folder_target(copy)])[0].good
    file = next(copy.glob("*.parquet"))
    file.unlink()
    assert faults(verify([folder_target(copy)])[0]) == {(file.name, "missing")}


def test_progress_comes_to_the_number_of_blocks(tmp_path: Path) -> None:
    sizes = {"a": BLOCK * 2, "b": BLOCK + 1, "c": 1, "d": 0}
    for name, size in sizes.items():
        (tmp_path / name).write_bytes(b"x" * size)
    (tmp_path / "SHA256SUMS").write_text("".join(f"{sha256_of(tmp_path / n)}  {n}\n" for n in sizes))
    target, read = folder_target(tmp_path), []
    assert verify([target], read.append)[0].good
    assert sum(read) == target.blocks == 5
