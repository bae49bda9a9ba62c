"""Garbage collection removes what nobody can ask for any more; snapshots, writers and readers lose nothing."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from schemas.errors import ConfigError, WarehouseError
from schemas.records import RECORDS, Metric
from tests.warehouse.conftest import Grow, MakePrompt
from warehouse.connect import connect, refresh_duckdb_file
from warehouse.garbage import Collected, collect
from warehouse.migrations import MIGRATIONS
from warehouse.snapshot import Snapshot, list_snapshots, open_snapshot
from warehouse.store import Warehouse
from warehouse.tagging import tag_snapshot
from warehouse.verifying import snapshot_targets, verify

pytestmark = pytest.mark.slow


def age(folder: Path, days: float = 30) -> None:
    """Makes everything in the folder look so many days older, the times in the logs of tables too."""
    for path in sorted(folder.rglob("*"), reverse=True):
        if path.parent.name == "_delta_log" and path.suffix == ".json":
            actions = [json.loads(line) for line in path.read_text().splitlines()]
            for action in actions:
                for kind, when in (("commitInfo", "timestamp"), ("remove", "deletionTimestamp")):
                    if kind in action:
                        action[kind][when] -= int(days * 86_400_000)
            before = path.stat().st_mtime
            path.write_text("".join(json.dumps(action) + "\n" for action in actions))
            os.utime(path, (before, before))
        before = path.stat().st_mtime
        os.utime(path, (before - days * 86_400,) * 2)


def tree(folder: Path) -> set[str]:
    """All files, but for the empty ones that only hold locks."""
    locks = (".lock", ".compacting")
    return {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file() and not p.name.endswith(locks)}


def parquet(folder: Path) -> set[str]:
    return {name for name in tree(folder / "tables") if name.endswith(".parquet") and "_delta_log" not in name}


def answers(folder: Path) -> dict[str, Any]:
    """What the tables say, as every snapshot and as the newest version have them."""
    said = {}
    for at in [None, *(s.id for s in list_snapshots(folder))]:
        with connect(folder, at=at, only=list(RECORDS)) as connection:
            said[str(at)] = [
                connection.sql(f"SELECT count(*), bit_xor(hash({table})) FROM {table}").fetchall() for table in RECORDS
            ]
    return said


def whole(folder: Path) -> bool:
    return all(found.good for found in verify(snapshot_targets(folder)))


def kinds(found: Collected) -> set[tuple[str, str]]:
    return {(g.kind, g.path.name) for g in found.garbage}


@pytest.fixture
def worn(folder: Path, warehouse: Warehouse, grow: Grow, make_prompt: MakePrompt) -> list[Snapshot]:
    """Three versions of `demo` a month old; between them appends that no snapshot saw before they were compacted."""
    made = []
    for number in range(3):
        for part in range(3):
            warehouse.append("prompts", [make_prompt(f"{number}.{part}?")])
        warehouse.compact_table("prompts")
        made.append(grow(2))
    warehouse.compact()
    age(folder)
    return made


def test_files_that_a_snapshot_needs_stay_and_the_others_go(
    folder: Path, warehouse: Warehouse, worn: list[Snapshot]
) -> None:
    before, files = answers(folder), tree(folder)
    dry = collect(folder)
    assert tree(folder) == files, "nothing is removed unless asked for"
    assert ("table", "prompts") in kinds(dry)
    assert {g.kind for g in dry.garbage} == {"table"}
    free = set()
    for table in ("prompts", "trajectories", "verdicts"):
        pinned = [s.manifest.tables[table] for s in worn]
        delta = warehouse.delta(table)
        free |= {f"{table}/{name}" for name in delta.vacuum(7 * 24, True, False, full=True, keep_versions=pinned)}
    found = collect(folder, delete=True)
    assert found == dry
    gone = files - tree(folder)
    assert len(gone) == sum(g.files for g in found.garbage) > 0
    assert {name.removeprefix("tables/") for name in gone} == free, "as deltalake's own vacuum would have it"
    assert answers(folder) == before
    assert whole(folder)
    assert collect(folder, delete=True).garbage == []


def test_time_travel_reaches_back_as_far_as_the_history_and_says_so_beyond(
    folder: Path, warehouse: Warehouse, grow: Grow
) -> None:
    for days in (20, 3):
        for _ in range(3):
            grow(1)
        warehouse.compact()
        age(folder, days)
    times = [datetime.now(UTC) - timedelta(days=d) for d in (20, 1)]
    shutil.rmtree(folder / "snapshots")

    def prompts(moment: datetime) -> Any:
        with connect(folder, at=moment.isoformat(), only=["prompts"]) as connection:
            return connection.sql("SELECT count(*) FROM prompts").fetchall()

    log = warehouse.table_path("prompts") / "_delta_log" / f"{2:020}.json"
    early = datetime.fromtimestamp(log.stat().st_mtime, UTC)
    assert prompts(times[1]) == [(6,)]
    versions = range(warehouse.delta("prompts").version() + 1)
    assert collect(folder, history=timedelta(days=25), delete=True).garbage == []
    assert collect(folder, history=timedelta(days=10), delete=True).garbage != []
    assert prompts(times[1]) == [(6,)]
    assert prompts(times[0]) == [(3,)], "ten days ago, these were there"
    missing = [v for v in versions if not all(Path(p).exists() for p in _listed(warehouse, "prompts", v))]
    assert missing == [1, 2, 3], "the versions before the compaction 23 days ago"
    with pytest.raises(WarehouseError, match=r"table prompts: files of version .* are gone; `dataengine gc` removes"):
        prompts(early)


def _listed(warehouse: Warehouse, table: str, version: int) -> list[str]:
    return [str(uri) for uri in warehouse.delta(table, version).file_uris()]


def test_what_is_younger_than_the_history_stays_and_an_open_connection_goes_on(
    folder: Path, warehouse: Warehouse, worn: list[Snapshot], grow: Grow
) -> None:
    grow(3)
    with connect(folder) as connection:
        before = connection.sql("SELECT count(*) FROM trajectories").fetchall()
        warehouse.compact()
        assert collect(folder, delete=True).garbage != []
        assert connection.sql("SELECT count(*) FROM trajectories").fetchall() == before
        assert connection.sql("SELECT sum(length(text)) FROM trajectories").fetchall()
    files = parquet(folder)
    age(folder, 2)
    assert collect(folder, delete=True).garbage == []
    assert parquet(folder) == files


def test_what_a_killed_writer_left_goes_and_what_one_is_writing_stays(folder: Path, warehouse: Warehouse) -> None:
    table = warehouse.table_path("prompts")
    (table / "part-old.parquet").write_bytes(b"old")
    age(folder, 8)
    (table / "part-new.parquet").write_bytes(b"new")
    found = collect(folder, delete=True)
    assert [(g.path, g.files, g.bytes) for g in found.garbage] == [(table, 1, 3)]
    assert [p.name for p in table.glob("*.parquet")] == ["part-new.parquet"]


def test_only_older_versions_go_that_nobody_named(folder: Path, warehouse: Warehouse, grow: Grow) -> None:
    made = [grow(1) for _ in range(6)]
    other = grow(1, "other")
    tag_snapshot(made[0], "release")
    for path, number in (("mine-abc/training.json", 2), ("mine-def.partial/planned.json", 3)):
        (folder / "checkpoints" / path).parent.mkdir(parents=True)
        (folder / "checkpoints" / path).write_text(json.dumps({"snapshot": f"demo@{number}"}))
    elsewhere = folder.parent / "elsewhere"
    (elsewhere / "it").mkdir(parents=True)
    (elsewhere / "it" / "training.json").write_text('{"snapshot": "demo@4"}')
    before = answers(folder)
    assert collect(folder, delete=True).garbage == [], "none goes unasked"
    assert kinds(collect(folder, keep=1)) == {("snapshot", "v4"), ("snapshot", "v5")}
    assert kinds(collect(folder, keep=5)) == set()
    found = collect(folder, keep=1, checkpoints=[elsewhere], delete=True)
    assert kinds(found) == {("snapshot", "v5")}
    assert found.garbage[0].reason == "demo@5 is none of the newest 1"
    assert found.notes == []
    left = [made[0], made[1], made[2], made[3], made[5], other]
    assert list_snapshots(folder) == left
    assert open_snapshot(folder, "demo@release") == made[0]
    assert whole(folder)
    after = answers(folder)
    assert after == {at: said for at, said in before.items() if at != "demo@5"}
    assert grow(1).id == "demo@7", "numbers are never given twice"
    assert not [p for p in (folder / "snapshots" / "demo").iterdir() if p.name.startswith(".removing")]


def test_with_a_snapshot_go_the_files_that_only_it_needed(folder: Path, worn: list[Snapshot]) -> None:
    collect(folder, delete=True)
    files, before = parquet(folder), answers(folder)
    dry = collect(folder, keep=1)
    found = collect(folder, keep=1, delete=True)
    assert found == dry
    assert parquet(folder) < files
    assert answers(folder) == {at: before[at] for at in ("None", "demo@3")}
    assert whole(folder)


def test_a_kill_in_between_leaves_no_half_of_a_snapshot(
    folder: Path, grow: Grow, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = grow(1), grow(1)

    def killed(path: Path, **options: Any) -> None:
        (Path(path) / "manifest.json").unlink()
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("warehouse.garbage.shutil.rmtree", killed)
        with pytest.raises(KeyboardInterrupt):
            collect(folder, keep=1, delete=True)
    assert list_snapshots(folder) == [second]
    assert not first.path.exists()
    assert whole(folder)
    (left,) = collect(folder, delete=True).garbage
    assert left.reason == "a snapshot whose removal was not finished"
    assert not left.path.exists()


def test_leftovers_go_a_day_after_they_were_last_touched(folder: Path, warehouse: Warehouse, grow: Grow) -> None:
    grow(1)
    left = [
        "snapshots/demo/.making-0123456789ab/train.parquet",
        "tables/.prompts-0123456789ab/_delta_log/0.json",
        ".out-01234567/train.parquet",
        ".tmp/duckdb_temp_storage-0.tmp",
        ".warehouse-77.duckdb",
        ".warehouse-77.duckdb.wal",
    ]
    mine = [".git-abc/config", ".notes/a", "mine-01234567/a", "snapshots/demo/.mine/a", "tables/.mine-0123456789ab/a"]
    for name in left + mine:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("12345")
    files = tree(folder)
    assert collect(folder, delete=True).garbage == []
    for name in left:
        for path in (folder / name, *(folder / name).parents):
            os.utime(path, (time.time() - 90_000,) * 2)
    os.utime(folder / left[0])
    dry = collect(folder)
    assert tree(folder) == files
    found = collect(folder, delete=True)
    assert found == dry
    assert sorted(g.path.name for g in found.garbage) == sorted(
        [".prompts-0123456789ab", ".out-01234567", ".tmp", ".warehouse-77.duckdb", ".warehouse-77.duckdb.wal"]
    )
    assert found.bytes == 25
    assert files - tree(folder) == set(left[1:])
    assert (folder / ".tmp").is_dir()
    assert collect(folder).garbage == []


@pytest.mark.parametrize(
    ("broken", "note"),
    [
        ("snapshots/demo/v1/manifest.json", "no file of a table is removed: demo@1: "),
        ("snapshots/demo/tags.json", "no version of demo is removed: "),
        ("checkpoints/a-1/training.json", "no snapshot is removed: "),
    ],
)
def test_what_cannot_be_told_stays_and_is_named(folder: Path, worn: list[Snapshot], broken: str, note: str) -> None:
    (folder / broken).parent.mkdir(parents=True, exist_ok=True)
    (folder / broken).write_text("{")
    files = tree(folder)
    found = collect(folder, keep=1, delete=True)
    (told,) = found.notes
    assert told.startswith(note)
    assert str(folder / broken) in told
    assert "\n" not in told
    gone = files - tree(folder)
    if "manifest" in broken:
        assert kinds(found) == {("snapshot", "v2")}, "the damaged one and the newest stay"
        assert all(name.startswith("snapshots/demo/v2/") for name in gone)
    else:
        assert {g.kind for g in found.garbage} == {"table"}
        assert all(name.startswith("tables/") for name in gone)


def test_checkpoints_that_are_not_there_are_refused_before_anything_goes(
    folder: Path, worn: list[Snapshot], tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="nowhere: is no folder; name one that holds checkpoints"):
        collect(folder, keep=1, checkpoints=[tmp_path / "nowhere"], delete=True)
    assert [s.manifest.id for s in list_snapshots(folder)] == [s.manifest.id for s in worn]


def test_a_table_that_is_being_compacted_is_left_for_the_next_time(
    folder: Path, warehouse: Warehouse, worn: list[Snapshot]
) -> None:
    with warehouse.alone("prompts") as alone:
        assert alone
        found = collect(folder, delete=True)
    assert found.notes == ["table prompts is being compacted: left for the next time"]
    assert ("table", "prompts") not in kinds(found)
    assert ("table", "prompts") in kinds(collect(folder, delete=True))


def test_warehouse_duckdb_names_no_file_that_is_gone(folder: Path, warehouse: Warehouse, grow: Grow) -> None:
    import duckdb

    for _ in range(3):
        grow(1)
    refresh_duckdb_file(warehouse)
    shutil.rmtree(folder / "snapshots")
    warehouse.compact()
    age(folder)
    assert collect(folder, delete=True).garbage != []
    with duckdb.connect(str(folder / "warehouse.duckdb"), read_only=True) as connection:
        assert connection.execute("SELECT count(*) FROM trajectories").fetchall() == [(3,)]


WRITER = """
import sys
from schemas.records import Metric, now
from warehouse.store import Warehouse
warehouse = Warehouse.open(sys.argv[1])
sys.stdin.readline()
for step in range(40):
    warehouse.append("metrics", [Metric(run_id=sys.argv[2], step=step, name="loss", value=1.0, created_at=now())])
    if step % 10 == 9:
        warehouse.compact_table("metrics")
"""


def test_writers_in_the_meantime_lose_nothing(
    folder: Path, warehouse: Warehouse, clock: Callable[[], datetime]
) -> None:
    for step in range(30):
        row = Metric(run_id="before", step=step, name="loss", value=1.0, created_at=clock())
        warehouse.append("metrics", [row])
    warehouse.compact_table("metrics")
    age(folder)
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(folder), name], stdin=subprocess.PIPE, text=True)
        for name in ("a", "b")
    ]
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.write("go\n")
        writer.stdin.flush()
    removed = 0
    while any(writer.poll() is None for writer in writers):
        removed += sum(g.files for g in collect(folder, delete=True).garbage)
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.close()
    assert [writer.returncode for writer in writers] == [0, 0]
    assert removed == 30
    with connect(folder) as connection:
        found = connection.sql("SELECT run_id, count(*), count(DISTINCT step) FROM metrics GROUP BY 1 ORDER BY 1")
        assert found.fetchall() == [("a", 40, 40), ("b", 40, 40), ("before", 30, 30)]


def test_a_snapshot_answers_however_old_it_is_and_however_much_was_written_since(
    folder: Path, warehouse: Warehouse, grow: Grow, clock: Callable[[], datetime]
) -> None:
    warehouse.append("metrics", [Metric(run_id="a", step=0, name="loss", value=1.0, created_at=clock())])
    grow(1)
    for step in range(1, 98):
        warehouse.append("metrics", [Metric(run_id="a", step=step, name="loss", value=1.0, created_at=clock())])
    age(folder, 400)
    before = answers(folder)["demo@1"]
    for step in range(98, 102):
        warehouse.append("metrics", [Metric(run_id="a", step=step, name="loss", value=1.0, created_at=clock())])
    assert list((warehouse.table_path("metrics") / "_delta_log").glob("*.checkpoint.parquet")), "where logs are cleaned"
    warehouse.compact()
    collect(folder, delete=True)
    assert answers(folder)["demo@1"] == before
    with connect(folder, at="demo@1") as connection:
        assert connection.sql("SELECT count(*) FROM metrics").fetchall() == [(1,)]


def test_a_warehouse_made_before_logs_stayed_is_mended_while_somebody_writes(
    folder: Path, warehouse: Warehouse, clock: Callable[[], datetime], monkeypatch: pytest.MonkeyPatch
) -> None:
    def write(to: Warehouse, step: int) -> None:
        to.append("metrics", [Metric(run_id="a", step=step, name="loss", value=1.0, created_at=clock())])

    shutil.rmtree(folder)
    with monkeypatch.context() as before:
        before.setattr("warehouse.store._LOG_STAYS", {})
        before.setattr("warehouse.migrations.MIGRATIONS", MIGRATIONS[:5])
        writer = Warehouse.open(folder, create=True)
        write(writer, 0)
    assert Warehouse.open(folder).delta("metrics").metadata().configuration == {
        "delta.enableExpiredLogCleanup": "false"
    }
    version = Warehouse.open(folder).delta("metrics").version()
    assert version == 2, "once"
    write(writer, 1)
    with connect(folder) as connection:
        assert connection.sql("SELECT step FROM metrics ORDER BY 1").fetchall() == [(0,), (1,)]
