"""From ids forward to every snapshot: the view `snapshot_rows`, what is found by id, and what was trained."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from schemas.errors import QueryError, SnapshotError
from schemas.records import Trajectory
from tests.warehouse.conftest import Compare, MakeMix, MakePrompt, MakeTrajectory, MakeVerdict, Prove, mix_of
from warehouse.connect import connect
from warehouse.membership import rows_holding, trained_on
from warehouse.snapshot import create_snapshot
from warehouse.sql import query
from warehouse.store import Warehouse

SYSTEMS = {"plain": None}
COLUMNS = ("snapshot", "split", "rows_of", "row", "prompt_id", "trajectory_id", "pair_id", "chosen_id", "weight")

Filled = tuple[Path, list[Trajectory], str]


@pytest.fixture(scope="module")
def template() -> dict[str, Filled]:
    return {}


@pytest.fixture
def filled(template: dict[str, Filled], folder: Path, request: pytest.FixtureRequest, tmp_path_factory: Any) -> Filled:
    """Two replies to each of two prompts, a pair, and a snapshot of every kind; `demo` in two versions.

    In a copy of the warehouse that the first test has made.
    """
    if not template:
        path, rows, pair = request.getfixturevalue("filling")
        template["filled"] = (shutil.copytree(path, tmp_path_factory.mktemp("filled") / "w"), rows, pair)
    path, rows, pair = template["filled"]
    return shutil.copytree(path, folder, dirs_exist_ok=True), rows, pair


@pytest.fixture
def filling(
    warehouse: Warehouse,
    make_prompt: MakePrompt,
    make_trajectory: MakeTrajectory,
    make_verdict: MakeVerdict,
    make_mix: MakeMix,
    compare: Compare,
    prove: Prove,
) -> Filled:
    prompts = [make_prompt(f"What is {i} + {i}?") for i in range(2)]
    rows = [make_trajectory(p, i) for p in prompts for i in range(2)]
    warehouse.append("prompts", prompts)
    warehouse.append("trajectories", rows)
    warehouse.append("verdicts", [make_verdict(row) for row in rows[:3]])
    pair = compare(rows[0], rows[1], 2, 2)
    prove()
    create_snapshot(warehouse.path, make_mix(), SYSTEMS)
    warehouse.append("verdicts", [make_verdict(rows[3])])
    for mix in (
        make_mix(),
        mix_of("pairs", {"judge": "likes", "balanced": False}, name="of-pairs"),
        mix_of("labels", {"stage": "reasoning", "check": "format"}, name="of-labels"),
        mix_of("prompts", {"domain": "math"}, name="of-prompts"),
    ):
        create_snapshot(warehouse.path, mix, SYSTEMS)
    return warehouse.path, rows, pair


def holding(path: Path, *asked: Any) -> set[tuple[str, str]]:
    """The snapshots that hold these, with the id of the row that does."""
    with connect(path, snapshots=True) as connection:
        found = rows_holding(connection, *asked)
    return {(r["snapshot"], r["pair_id"] or r["trajectory_id"] or r["prompt_id"]) for r in found}


def test_every_row_of_every_snapshot_of_every_kind_is_in_the_view(filled: Filled) -> None:
    path, rows, pair = filled
    sql = f"SELECT {', '.join(COLUMNS)} FROM snapshot_rows"
    found = [dict(zip(COLUMNS, row, strict=True)) for row in query(path, sql).fetchall()]
    assert {s: sum(r["snapshot"] == s for r in found) for s in {r["snapshot"] for r in found}} == {
        "demo@1": 3, "demo@2": 4, "of-pairs@1": 1, "of-labels@1": 4, "of-prompts@1": 2
    }  # fmt: skip
    assert {r["split"] for r in found} == {"train"} and {r["weight"] for r in found} == {1.0}
    assert {r["trajectory_id"] for r in found if r["rows_of"] in ("samples", "labels")} == {
        t.trajectory_id for t in rows
    }
    (of_pair,) = [r for r in found if r["rows_of"] == "pairs"]
    assert (of_pair["pair_id"], of_pair["chosen_id"]) == (pair, rows[0].trajectory_id)
    assert of_pair["trajectory_id"] is None
    assert {r["prompt_id"] for r in found if r["rows_of"] == "prompts"} == {t.prompt_id for t in rows}
    in_order = [r["trajectory_id"] for r in sorted(found, key=lambda r: r["row"]) if r["snapshot"] == "demo@2"]
    assert in_order == sorted(in_order), "rows count from 1, in the order of the file"
    assert sorted(r["row"] for r in found if r["snapshot"] == "demo@2") == [1, 2, 3, 4]


def test_a_reply_a_pair_and_a_prompt_are_found_in_what_holds_them(filled: Filled) -> None:
    path, rows, pair = filled
    first, last = rows[0].trajectory_id, rows[3].trajectory_id
    assert holding(path, [first], [pair]) == {
        ("demo@1", first), ("demo@2", first), ("of-labels@1", first), ("of-pairs@1", pair)
    }  # fmt: skip
    assert holding(path, [last], []) == {("demo@2", last), ("of-labels@1", last)}
    assert holding(path, [], [pair]) == {("of-pairs@1", pair)}
    prompt = rows[3].prompt_id
    held = holding(path, [r.trajectory_id for r in rows[2:]], [], prompt)
    assert held == {
        ("of-prompts@1", prompt), ("demo@1", rows[2].trajectory_id),
        *((s, r.trajectory_id) for s in ("demo@2", "of-labels@1") for r in rows[2:]),
    }  # fmt: skip
    assert holding(path, [], []) == holding(path, ["0" * 64], ["0" * 64], "0" * 64) == set()


def test_at_a_snapshot_only_those_made_by_then_are_there(filled: Filled) -> None:
    path = filled[0]
    sql = "SELECT DISTINCT snapshot FROM SNAPSHOT_ROWS ORDER BY 1"
    assert query(path, sql, at="demo@1").fetchall() == [("demo@1",)]
    assert ("of-pairs@1",) in query(path, sql, at="of-labels@1").fetchall()
    assert query(path, sql, at="2026-01-01T00:00+00:00").fetchall() == []
    with pytest.raises(QueryError, match="neither a snapshot"):
        query(path, sql, at="tomorrow")


def test_without_snapshots_it_is_empty_with_the_same_columns(filled: Filled, tmp_path: Path) -> None:
    Warehouse.open(tmp_path / "empty", create=True)
    described = [
        [row[:2] for row in query(p, "DESCRIBE snapshot_rows").fetchall()] for p in (filled[0], tmp_path / "empty")
    ]
    assert described[0] == described[1]
    assert query(tmp_path / "empty", "FROM snapshot_rows").fetchall() == []


def test_other_questions_do_not_look_at_snapshots_and_a_lost_file_is_told_to_those_that_do(filled: Filled) -> None:
    path = filled[0]
    for file in (path / "snapshots").rglob("*.parquet"):
        file.unlink()
    assert query(path, "SELECT count(*) FROM trajectories").fetchall() == [(4,)]
    with pytest.raises(SnapshotError, match="a snapshot cannot be read, restore it from a copy") as error:
        query(path, "FROM snapshot_rows")
    assert "\n" not in str(error.value)


def test_no_file_but_those_of_snapshots_can_be_read_with_it(filled: Filled) -> None:
    path = filled[0]
    manifest = path / "snapshots" / "demo" / "v1" / "manifest.json"
    with pytest.raises(QueryError):
        query(path, f"SELECT * FROM read_text('{manifest}'), snapshot_rows")


def test_a_mix_cannot_go_by_what_is_in_snapshots(filled: Filled, make_mix: MakeMix) -> None:
    with pytest.raises(SnapshotError, match="snapshot_rows"):
        where = "trajectory_id NOT IN (SELECT trajectory_id FROM snapshot_rows)"
        create_snapshot(filled[0], make_mix("other", where=where), SYSTEMS)


def test_checkpoints_are_found_by_the_snapshot_and_its_hash(tmp_path: Path) -> None:
    def checkpoint(name: str, **training: str) -> None:
        (tmp_path / "checkpoints" / name).mkdir(parents=True)
        (tmp_path / "checkpoints" / name / "training.json").write_text(json.dumps(training))

    checkpoint("a-1", snapshot="demo@1", snapshot_hash="aa", policy="a@1")
    checkpoint("b-1", snapshot="demo@1", snapshot_hash="aa", policy="b@1")
    checkpoint("of-another", snapshot="demo@1", snapshot_hash="bb", policy="c@1")
    checkpoint("nothing")
    checkpoint("damaged")
    (tmp_path / "checkpoints" / "damaged" / "training.json").write_text("{")
    assert trained_on(tmp_path, {"demo@1": "aa", "demo@2": "cc"}) == {"demo@1": ["a@1", "b@1"]}
    assert trained_on(tmp_path / "nowhere", {"demo@1": "aa"}) == {}
