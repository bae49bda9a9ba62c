"""The same rows and mix make the same snapshot, whoever writes them, in what order, and with how many threads."""

import random
from pathlib import Path

import pytest

from schemas.errors import ConfigError
from tests.warehouse.random_rows import SOURCES, SYSTEMS, mix, random_clusters, random_rows, write
from warehouse.connect import connect
from warehouse.snapshot import create_snapshot
from warehouse.store import Warehouse

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def twins(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two warehouses of the same rows: in few commits, compacted; and in many, in another order, not compacted."""
    rows = random_rows(random.Random(7), prompts=60)
    rows["clusters"] = list(random_clusters(random.Random(7), [p.model_dump()["prompt_id"] for p in rows["prompts"]]))
    folder = tmp_path_factory.mktemp("twins")
    write(folder / "a", rows, random.Random(1)).compact()
    write(folder / "b", rows, random.Random(2), batch=40)
    assert len(Warehouse.open(folder / "b").files("trajectories")[1]) > 4, "so that four threads have work"
    return folder / "a", folder / "b"


@pytest.mark.parametrize("rows", SOURCES)
def test_two_clean_folders_with_one_and_four_threads_make_the_same_snapshot(
    rows: str, twins: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = mix(rows, *SOURCES[rows], validation=0.2, seed=3)
    made = []
    for folder, threads in zip(twins, ("1", "4"), strict=True):
        monkeypatch.setenv("DATAENGINE_THREADS", threads)
        made.append(create_snapshot(folder, asked, SYSTEMS)[0].manifest)
    one, four = made
    assert one.logical_hash == four.logical_hash
    assert one.counts == four.counts
    assert len(one.counts["split"]) == 2
    assert one.rows > 20
    assert [(f.path, f.sha256) for f in one.files] == [(f.path, f.sha256) for f in four.files], "and the same bytes"

    assert not create_snapshot(twins[0], asked, SYSTEMS)[1], "nothing new"
    other = asked.model_copy(update={"seed": 4, "salt": "another"})
    assert create_snapshot(twins[0], other, SYSTEMS)[0].manifest.logical_hash != one.logical_hash


def test_the_number_of_threads_is_taken_from_the_environment(
    twins: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATAENGINE_THREADS", "3")
    with connect(twins[0]) as connection:
        assert connection.execute("SELECT current_setting('threads')").fetchone() == (3,)
    monkeypatch.setenv("DATAENGINE_THREADS", "many")
    with pytest.raises(ConfigError, match=r"^DATAENGINE_THREADS is 'many': "):
        connect(twins[0])
