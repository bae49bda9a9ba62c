"""Snapshots that earlier versions made still open, verify and export, each in the warehouse that it was made in.

What they are and how they were made stands in `snapshots_of/make.py`.
"""

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from dataengine.output import describe_snapshot
from dataengine.status import status
from schemas.errors import WarehouseError
from schemas.mix import MixFile
from schemas.records import RECORDS
from tests.warehouse.conftest import SNAPSHOTS_OF, unpacked
from trainers.data import read_manifest, read_rows
from warehouse.connect import connect
from warehouse.export import export_snapshot
from warehouse.formats import FORMATS
from warehouse.migrations import MIGRATIONS
from warehouse.snapshot import create_snapshot, list_snapshots, verify_files
from warehouse.store import Warehouse

pytestmark = pytest.mark.slow

# By archive: the schema that its warehouse has, and its snapshots besides those of samples.
VERSIONS: dict[str, tuple[int, list[str]]] = {
    "1": (1, []),
    "2": (2, []),
    "3": (3, []),
    "4": (4, []),
    "5-kinds": (5, ["old-labels@1", "old-pairs@1", "old-prompts@1"]),
    "5": (5, ["old-labels@1", "old-pairs@1", "old-prompts@1", "old-targets@1"]),
    "6": (6, ["old-labels@1", "old-pairs@1", "old-prompts@1", "old-targets@1"]),
    "7": (7, ["old-labels@1", "old-pairs@1", "old-prompts@1", "old-targets@1"]),
    "8": (8, ["old-labels@1", "old-pairs@1", "old-prompts@1", "old-targets@1"]),
}
SAMPLES = ["old-samples@1", "old-samples@2"]
# Of old-samples@1 and @2: the same in every version there was.
HASHES = {
    1: [
        "15481f4799d9aeb51e70b0937671832a4777fb09771940d1b39b165e8a657035",
        "910ac271688e408bb5279282bfa2490ea5f72a2c4d44daeef2002c6e5c359f74",
    ],
    2: [
        "d341d6c146d5c52c5dec09b98ae23454a2fdbce7f3f25a5a306d35262a32d24d",
        "d892d4907c7137c7a20968c250cad2315c3fac7f8082a43e2da985afd2b85f51",
    ],
}


@pytest.fixture(params=VERSIONS)
def version(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def old(version: str, tmp_path: Path) -> Path:
    return unpacked(version, tmp_path)


def test_there_is_an_archive_for_every_schema_there_was() -> None:
    assert {schema for schema, _ in VERSIONS.values()} == set(range(1, len(MIGRATIONS) + 1)), (
        "a new schema: make an archive of the last one, see snapshots_of/make.py"
    )
    assert sorted(VERSIONS) == sorted(p.name.removesuffix(".tar.gz") for p in SNAPSHOTS_OF.glob("*.tar.gz"))


def test_they_are_listed_shown_verified_and_exported(version: str, old: Path, tmp_path: Path) -> None:
    found = list_snapshots(old)
    assert [s.manifest.id for s in found] == sorted([*SAMPLES, *VERSIONS[version][1]])
    assert [s.manifest.logical_hash for s in found if s.manifest.id in SAMPLES] == HASHES[found[0].manifest.hash_rules]
    for snapshot in found:
        manifest = snapshot.manifest
        verify_files(snapshot)
        assert f"logical hash  {manifest.logical_hash}" in describe_snapshot(snapshot)
        rows = sum(pq.read_metadata(file).num_rows for file in snapshot.data_files())
        assert rows == manifest.rows > 0
        for form in (name for name, known in FORMATS.items() if manifest.rows_of in known.kinds):
            out = tmp_path / f"{manifest.id}-{form}"
            files = export_snapshot(snapshot, form, out)
            exported = [pq.read_metadata(f).num_rows for f in files if f.suffix == ".parquet"]
            lines = [len(f.read_text(encoding="utf-8").splitlines()) for f in files if f.suffix == ".jsonl"]
            assert sum(exported + lines) == rows


def test_the_trainer_reads_their_samples(old: Path) -> None:
    for ident, rows in zip(SAMPLES, (4, 8), strict=True):
        splits = read_rows(old, read_manifest(old, ident))
        assert sum(map(len, splits.values())) == rows
        assert all(row.messages[-1]["role"] == "assistant" for split in splits.values() for row in split)


def test_the_tables_are_as_they_were(version: str, old: Path) -> None:
    for ident, rows in zip(SAMPLES, (4, 8), strict=True):
        with connect(old, at=ident) as connection:
            assert connection.sql("SELECT count(*) FROM trajectory_facts").fetchall() == [(rows,)]
            assert connection.sql("SELECT count(*) FROM verdicts_current").fetchall() == [(2 * rows,)]
    # Opened, the warehouse has the tables of today.
    assert Warehouse.open(old).versions().keys() == RECORDS.keys()
    assert status(old).balanced


def test_the_mix_they_were_made_of_takes_the_same_rows_today(version: str, old: Path) -> None:
    for snapshot in list_snapshots(old):
        if snapshot.manifest.id == SAMPLES[0]:
            continue
        mix = MixFile.model_validate(snapshot.manifest.mix).root
        again, new = create_snapshot(old, mix, {"plain": None})
        # The rules of the hash changed after 5.
        assert new == (version <= "5-kinds")
        for before, after in zip(snapshot.data_files(), again.data_files(), strict=True):
            was = pq.read_table(before)
            assert pq.read_table(after, columns=was.column_names).to_pylist() == was.to_pylist()
        assert create_snapshot(old, mix, {"plain": None}) == (again, False)


def test_an_older_warehouse_that_cannot_be_brought_up_to_date_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = unpacked("2", tmp_path)

    def refused(*args: object) -> None:
        raise OSError(30, "Read-only file system", str(old))

    monkeypatch.setattr(Warehouse, "create_table", refused)
    with pytest.raises(WarehouseError, match="cannot be written: Read-only file system; name a folder on a disk"):
        Warehouse.open(old)
