"""Appending: the first row of a key wins, whoever writes it, however often, and whatever dies meanwhile."""

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from schemas.errors import UserError, WarehouseError, WarehouseTooNew
from schemas.records import Message, Migration, Prompt
from tests.warehouse.conftest import MakePrompt, MakeTrajectory, MakeVerdict, Rows
from warehouse.connect import connect, refresh_duckdb_file
from warehouse.migrations import MIGRATIONS
from warehouse.ordering import rows_met
from warehouse.store import Warehouse

# Writes verdicts of checks named by number, in batches, from `first` on: `writer.py FOLDER FIRST BATCHES SIZE RUN`.
WRITER = """
import sys
from datetime import UTC, datetime
from schemas.records import Verdict
from warehouse.store import Warehouse

folder, first, batches, size, run = sys.argv[1], *map(int, sys.argv[2:5]), sys.argv[5]
warehouse = Warehouse.open(folder, create=True)
print("open", flush=True)
for start in range(first, first + batches * size, size):
    rows = [
        Verdict(trajectory_id=f"{i:08}", attempt=1, check="format", version="1", kind="filter", outcome="pass",
                reason="x" * 200, run_id=run, created_at=datetime.now(UTC))
        for i in range(start, start + size)
    ]
    done = warehouse.append("verdicts", rows)
    print(start, len(done.added), flush=True)
"""


def start_writer(folder: Path, first: int, batches: int, size: int, run: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, str(folder), str(first), str(batches), str(size), run],
        stdout=subprocess.PIPE,
        text=True,
    )


def verdict_ids(folder: Path) -> Counter[str]:
    with connect(folder) as connection:
        return Counter(r[0] for r in connection.execute("SELECT trajectory_id FROM verdicts").fetchall())


def test_the_first_row_of_a_key_wins(
    warehouse: Warehouse,
    make_prompt: MakePrompt,
    make_trajectory: MakeTrajectory,
    make_verdict: MakeVerdict,
    rows: Rows,
) -> None:
    trajectory = make_trajectory(make_prompt())
    first, second = make_verdict(trajectory, "pass"), make_verdict(trajectory, "fail")
    assert warehouse.append("verdicts", [first]).added == [first]
    done = warehouse.append("verdicts", [second])
    assert (done.added, done.known) == ([], 1)
    assert [r["outcome"] for r in rows("SELECT outcome FROM verdicts")] == ["pass"]


def test_the_same_batch_twice_is_written_once(
    warehouse: Warehouse, make_prompt: MakePrompt, make_trajectory: MakeTrajectory, make_verdict: MakeVerdict
) -> None:
    batch = [make_verdict(make_trajectory(make_prompt(), i)) for i in range(5)]
    assert len(warehouse.append("verdicts", batch).added) == 5
    version = warehouse.versions()["verdicts"]
    assert warehouse.append("verdicts", batch).known == 5
    assert warehouse.versions()["verdicts"] == version, "nothing new makes no commit"
    assert warehouse.append("verdicts", []).added == []


def test_a_key_that_stands_twice_in_a_batch_is_written_once(
    warehouse: Warehouse, make_prompt: MakePrompt, make_trajectory: MakeTrajectory, make_verdict: MakeVerdict
) -> None:
    trajectory = make_trajectory(make_prompt())
    batch = [
        make_verdict(trajectory, "pass"),
        make_verdict(trajectory, "fail"),
        make_verdict(trajectory, check="other"),
    ]
    done = warehouse.append("verdicts", batch)
    assert done.added == [batch[0], batch[2]]
    assert done.known == 1


def test_every_part_of_a_verdicts_key_tells_rows_apart(
    warehouse: Warehouse, make_prompt: MakePrompt, make_trajectory: MakeTrajectory, make_verdict: MakeVerdict
) -> None:
    trajectory = make_trajectory(make_prompt())
    variants: list[dict[str, Any]] = [{}, {"check": "b"}, {"version": "2"}, {"against": "x"}, {"attempt": 2}]
    batch = [make_verdict(trajectory, **v) for v in variants]
    assert warehouse.append("verdicts", batch).added == batch


def test_two_open_warehouses_see_what_the_other_wrote(
    folder: Path, warehouse: Warehouse, make_prompt: MakePrompt
) -> None:
    other = Warehouse.open(folder)
    one, two = make_prompt("one?"), make_prompt("two?")
    assert len(warehouse.append("prompts", [one]).added) == 1
    assert len(other.append("prompts", [one, two]).added) == 1
    assert warehouse.append("prompts", [two]).known == 1


@pytest.mark.slow
def test_three_processes_writing_overlapping_keys_leave_the_union_once(folder: Path) -> None:
    # The same 100 keys in all three, and 60 of each one's own, half of which the next one writes too.
    writers = [
        start_writer(folder, 0, 20, 5, "a"),
        start_writer(folder, 0, 20, 5, "b"),
        start_writer(folder, 0, 20, 5, "c"),
    ]
    added = [sum(int(line.split()[1]) for line in w.communicate()[0].splitlines()[1:]) for w in writers]
    assert [w.returncode for w in writers] == [0, 0, 0]
    assert sum(added) == 100
    assert verdict_ids(folder) == Counter(f"{i:08}" for i in range(100))
    more = [start_writer(folder, 80 + 30 * i, 12, 5, run) for i, run in enumerate("abc")]
    assert [w.wait() for w in more] == [0, 0, 0]
    for w in more:
        assert w.stdout is not None
        w.stdout.close()
    assert verdict_ids(folder) == Counter(f"{i:08}" for i in range(200))


def test_processes_that_make_a_warehouse_at_once_make_one(folder: Path) -> None:
    writers = [start_writer(folder, 0, 1, 3, str(i)) for i in range(3)]
    assert [(w.communicate()[0].splitlines()[0], w.returncode) for w in writers] == [("open", 0)] * 3
    with connect(folder) as connection:
        assert connection.execute("SELECT number, name FROM migrations ORDER BY 1").fetchall() == [
            (1, "tables"),
            (2, "clusters"),
            (3, "reviews"),
            (4, "calibrations"),
            (5, "pairs"),
            (6, "logs_stay"),
            (7, "rollouts"),
            (8, "queues"),
        ]


@pytest.mark.slow
def test_a_killed_writer_leaves_whole_commits_and_each_key_once(folder: Path) -> None:
    size = 40
    for round_ in range(4):
        writer = start_writer(folder, 0, 1000, size, f"run-{round_}")
        assert writer.stdout is not None
        for _ in range(3 + round_):
            acknowledged = writer.stdout.readline().split()
        time.sleep(0.013 * round_)
        os.kill(writer.pid, signal.SIGKILL)
        writer.communicate()
        counts = verdict_ids(folder)
        assert set(counts.values()) == {1}
        assert len(counts) % size == 0, "a commit is whole or not there"
        assert f"{int(acknowledged[0]):08}" in counts, "what was acknowledged is kept"


def test_compaction_keeps_the_rows_and_open_readers_keep_reading(
    folder: Path, warehouse: Warehouse, make_prompt: MakePrompt
) -> None:
    for i in range(6):
        warehouse.append("prompts", [make_prompt(f"{i}?")])
    with connect(folder) as before:
        assert warehouse.compact()["prompts"] == (6, 1)
        assert before.execute("SELECT count(*) FROM prompts").fetchone() == (6,)
    with connect(folder) as after:
        assert after.execute("SELECT count(*), count(DISTINCT prompt_id) FROM prompts").fetchone() == (6, 6)
    assert warehouse.compact()["prompts"] == (1, 1)
    assert warehouse.append("prompts", [make_prompt("0?")]).known == 1
    assert Warehouse.open(folder).append("prompts", [make_prompt("5?")]).known == 1


def test_compaction_orders_many_scattered_verdicts_and_only_those(
    folder: Path, warehouse: Warehouse, make_prompt: MakePrompt, make_trajectory: MakeTrajectory,
    make_verdict: MakeVerdict, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    def add(batches: range) -> None:
        for batch in batches:
            replies = [make_trajectory(prompt, 4 * batch + i) for i in range(4)]
            warehouse.append("verdicts", [make_verdict(t, check=check) for t in replies for check in checks])

    def rows() -> list[tuple[object, ...]]:
        with connect(folder) as connection:
            return connection.execute("FROM verdicts ORDER BY ALL").fetchall()

    def met() -> tuple[int, int]:
        return rows_met(warehouse.files("verdicts")[1], "trajectory_id")

    prompt, checks = make_prompt(), [f"check-{i}" for i in range(10)]
    add(range(20))
    before = rows()
    warehouse.compact()
    assert met() == (800, 800), "few are left as they lie"
    monkeypatch.setattr("warehouse.store._ROW_GROUP", 40)
    monkeypatch.setattr("warehouse.store._SCATTERED", 100)
    with connect(folder) as reader:
        assert warehouse.compact()["verdicts"] == (1, 1)
        assert len(reader.execute("FROM verdicts").fetchall()) == 800
    assert rows() == before
    assert met() <= (80, 800)
    version = warehouse.versions()["verdicts"]
    warehouse.compact()
    assert warehouse.versions()["verdicts"] == version, "what is in order is left as it is"
    add(range(18, 21))
    assert len(rows()) == 840, "keys are known after it"
    add(range(21, 22))
    warehouse.compact()
    assert met() <= (80 + 100, 880)
    with connect(folder) as connection:
        (plan,) = connection.execute(
            "EXPLAIN ANALYZE SELECT * FROM verdicts WHERE trajectory_id = ?", [rows()[0][0]]
        ).fetchall()
        assert "10 rows" in plan[1]


def test_rows_met_counts_what_the_worst_value_makes_a_reader_read(tmp_path: Path) -> None:
    def file(name: str, groups: list[list[str] | None]) -> str:
        with pq.ParquetWriter(tmp_path / name, pa.schema({"n": pa.int64(), "id": pa.string()})) as writer:
            for ids in groups:
                writer.write_table(pa.table({"n": [1] * len(ids or ["x"]), "id": pa.array(ids or [None], pa.string())}))
        return str(tmp_path / name)

    assert rows_met([], "id") == (0, 0)
    apart = file("apart", [["a", "b"], ["c", "d"], ["e"]])
    assert rows_met([apart], "id") == (2, 5)
    assert rows_met([apart, file("touching", [["b", "c", "c"]])], "id") == (5, 8)
    assert rows_met([apart, file("untold", [None])], "id") == (3, 6), "no value says nothing"


@pytest.mark.slow
def test_readers_see_whole_batches_while_writers_write(folder: Path, warehouse: Warehouse) -> None:
    writers = [start_writer(folder, 1000 * i, 15, 7, str(i)) for i in range(2)]
    seen = [0]
    while any(w.poll() is None for w in writers):
        count = sum(verdict_ids(folder).values())
        assert count % 7 == 0
        seen.append(count)
    assert [w.communicate() and w.returncode for w in writers] == [0, 0]
    assert seen == sorted(seen)
    assert sum(verdict_ids(folder).values()) == 2 * 15 * 7


def test_a_connection_sees_one_version_for_as_long_as_it_lives(
    folder: Path, warehouse: Warehouse, make_prompt: MakePrompt
) -> None:
    warehouse.append("prompts", [make_prompt("1?")])
    with connect(folder) as connection:
        warehouse.append("prompts", [make_prompt("2?")])
        assert connection.execute("SELECT count(*) FROM prompts").fetchone() == (1,)


def test_a_failed_request_is_followed_by_another_attempt_and_a_complete_one_is_final(
    warehouse: Warehouse, make_prompt: MakePrompt, make_trajectory: MakeTrajectory
) -> None:
    prompt = make_prompt()
    failed = {"error": "timeout", "finish_reason": None, "text": ""}
    assert attempts(warehouse, make_trajectory(prompt, **failed)) == [1]
    assert attempts(warehouse, make_trajectory(prompt, **failed)) == [2]
    assert attempts(warehouse, make_trajectory(prompt)) == [3]
    assert attempts(warehouse, make_trajectory(prompt)) == []
    assert attempts(warehouse, make_trajectory(prompt, max_tokens=10_000)) == []
    assert attempts(warehouse, make_trajectory(prompt, **failed)) == []


def test_a_truncated_reply_is_asked_again_only_with_a_larger_budget(
    folder: Path, warehouse: Warehouse, make_prompt: MakePrompt, make_trajectory: MakeTrajectory
) -> None:
    prompt = make_prompt()
    cut: dict[str, Any] = {"finish_reason": "length"}
    assert attempts(warehouse, make_trajectory(prompt, **cut, max_tokens=100)) == [1]
    assert attempts(warehouse, make_trajectory(prompt, **cut, max_tokens=100)) == []
    assert attempts(warehouse, make_trajectory(prompt, max_tokens=50)) == []
    other = Warehouse.open(folder)
    assert attempts(other, make_trajectory(prompt, **cut, max_tokens=200)) == [2]
    assert attempts(warehouse, make_trajectory(prompt, max_tokens=150)) == []
    assert attempts(warehouse, make_trajectory(prompt, max_tokens=201)) == [3]
    assert attempts(warehouse, make_trajectory(prompt, **cut, max_tokens=900)) == []


def test_attempts_in_one_batch_count_on(
    warehouse: Warehouse, make_prompt: MakePrompt, make_trajectory: MakeTrajectory
) -> None:
    prompt = make_prompt()
    batch = [
        make_trajectory(prompt, error="timeout", finish_reason=None),
        make_trajectory(prompt, finish_reason="length", max_tokens=10),
        make_trajectory(prompt, finish_reason="length", max_tokens=10),
        make_trajectory(prompt, max_tokens=20),
        make_trajectory(prompt, max_tokens=30),
    ]
    assert attempts(warehouse, *batch) == [1, 2, 3]


def attempts(warehouse: Warehouse, *trajectories: Any) -> list[int]:
    """The numbers under which the trajectories were stored."""
    return [row.attempt for row in warehouse.append("trajectories", trajectories).added]


def test_a_corrected_reference_is_a_new_revision_and_the_same_row_again_is_nothing(
    folder: Path, warehouse: Warehouse, make_prompt: MakePrompt
) -> None:
    def revisions(*prompts: Prompt, of: Warehouse = warehouse) -> list[int]:
        return [row.revision for row in of.append("prompts", prompts).added]  # type: ignore[attr-defined]

    assert revisions(make_prompt(reference="2"), make_prompt(reference="2")) == [1]
    assert revisions(make_prompt(reference="3")) == [2]
    assert revisions(make_prompt(reference="3", source_ref="elsewhere")) == []
    assert revisions(make_prompt(reference="2")) == [], "the uncorrected row, read again, undoes nothing"
    assert revisions(make_prompt(reference="2", source="other")) == [1]
    assert revisions(make_prompt(reference="2", license="MIT"), of=Warehouse.open(folder)) == [3]
    warehouse.compact()
    assert revisions(make_prompt(reference="2", license="MIT"), of=Warehouse.open(folder)) == []


def test_any_text_is_stored_and_read_back(warehouse: Warehouse, rows: Rows) -> None:
    text = "NUL \0, emoji 😀, quote ' \" \\, line\u2028 end, lone \ud800 surrogate"
    prompt = Prompt.make([Message(role="user", content=text)], domain="\ud800'", source="😀\0")
    assert len(warehouse.append("prompts", [prompt]).added) == 1
    assert warehouse.append("prompts", [prompt]).known == 1
    (row,) = rows("SELECT messages[1].content AS text, domain, source FROM prompts_current")
    assert row == {"text": text.replace("\ud800", "\ufffd"), "domain": "\ufffd'", "source": "😀\0"}


@pytest.mark.parametrize("name", ["with space", "qu'ote", "ünï-名", "a#b;c{d}", '"double"', "a,b=c&d"])
def test_a_warehouse_may_lie_in_a_folder_of_any_common_name(tmp_path: Path, name: str, make_prompt: MakePrompt) -> None:
    warehouse = Warehouse.open(tmp_path / name, create=True)
    for question in ("1?", "2?"):
        warehouse.append("prompts", [make_prompt(question)])
    warehouse.compact()
    assert warehouse.append("prompts", [make_prompt("1?")]).known == 1
    with connect(tmp_path / name) as connection:
        assert connection.execute("SELECT count(*) FROM prompts_current").fetchone() == (2,)
    with duckdb.connect(str(refresh_duckdb_file(warehouse)), read_only=True) as connection:
        assert connection.execute("SELECT count(*) FROM prompts").fetchone() == (2,)


@pytest.mark.parametrize("name", ["per%20cent", "br[ack]et", "st*r", "what?", "back\\slash"])
def test_a_folder_whose_name_the_libraries_misread_is_refused(tmp_path: Path, name: str) -> None:
    message = refusal(WarehouseError, tmp_path / name, create=True)
    assert "a warehouse's path cannot hold" in message
    assert not (tmp_path / name).exists()


def refusal(kind: type[UserError], path: Path, *, create: bool = False) -> str:
    with pytest.raises(kind) as error:
        Warehouse.open(path, create=create)
    message = str(error.value)
    assert "\n" not in message
    return message


def test_where_there_is_no_warehouse_the_way_to_make_one_is_told(tmp_path: Path) -> None:
    path = tmp_path / "none"
    assert refusal(WarehouseError, path) == (
        f"{path}: no warehouse here; `dataengine run RECIPE --warehouse {path}` makes one"
    )
    assert not path.exists()


def test_a_folder_or_file_in_use_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    assert (
        refusal(WarehouseError, tmp_path, create=True) == f"{tmp_path}: not empty and no warehouse; name a new folder"
    )
    file = tmp_path / "notes.txt"
    assert refusal(WarehouseError, file, create=True) == f"{file}: not empty and no warehouse; name a new folder"
    assert [p.name for p in tmp_path.iterdir()] == ["notes.txt"]


def test_an_empty_folder_becomes_a_warehouse(tmp_path: Path) -> None:
    assert set(Warehouse.open(tmp_path, create=True).versions().values()) == {0, len(MIGRATIONS)}
    assert Warehouse.open(tmp_path, create=True).versions()["migrations"] == len(MIGRATIONS)


def test_a_warehouse_of_a_later_version_is_refused(folder: Path, warehouse: Warehouse) -> None:
    later = len(MIGRATIONS) + 1
    warehouse.append("migrations", [Migration(number=later, name="later", created_at=datetime.now(UTC))])
    assert refusal(WarehouseTooNew, folder) == (
        f"{folder}: written by schema {later}, this version knows {later - 1}: pip install -U dataengine"
    )


@pytest.mark.parametrize("done", range(len(MIGRATIONS)))
def test_a_warehouse_whose_making_was_cut_short_is_finished(folder: Path, warehouse: Warehouse, done: int) -> None:
    for file in (folder / "tables" / "migrations" / "_delta_log").glob("*.json"):
        if int(file.stem) > done:
            file.unlink()
    assert Warehouse.open(folder).versions()["migrations"] == len(MIGRATIONS)
