"""Tables that got columns: rows from before say what they always said, and old versions are read as ever."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake

from schemas.arrow import arrow_schema
from schemas.records import Review
from tests.warehouse.conftest import unpacked
from warehouse.connect import connect, refresh_duckdb_file
from warehouse.store import Warehouse

NEW = ("pair_id", "a_first", "queue", "guideline", "role", "repeat")
FILLED = {"pair_id": None, "a_first": None, "queue": "", "guideline": "", "role": "annotator", "repeat": 0}


def review(number: int, trajectory_id: str, reviewer: str = "ann", verdict: Any = "approve", **columns: Any) -> Review:
    values: dict[str, Any] = {
        "created_at": datetime(2026, 2, 1, 0, number, tzinfo=UTC),
        "attempt": 1,
        "number": number,
        **columns,
    }
    return Review(review_id=f"{number:032x}", trajectory_id=trajectory_id, reviewer=reviewer, verdict=verdict, **values)


def written_before(folder: Path, *rows: Review) -> None:
    """Adds rows of the shape that the table had in schema 7."""
    schema = pa.schema([f for f in arrow_schema(Review) if f.name not in NEW])
    told = [{name: value for name, value in row.model_dump().items() if name not in NEW} for row in rows]
    write_deltalake(str(folder / "tables" / "reviews"), pa.Table.from_pylist(told, schema=schema), mode="append")


def ask(folder: Path, sql: str, **settings: Any) -> list[tuple[Any, ...]]:
    with connect(folder, **settings) as connection:
        return connection.execute(sql).fetchall()


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A warehouse of schema 7 that holds one review."""
    folder = unpacked("7", tmp_path)
    assert {f.name for f in DeltaTable(folder / "tables" / "reviews").schema().fields}.isdisjoint(NEW)
    (first,) = duckdb.sql(
        f"SELECT min(trajectory_id) FROM read_parquet('{folder}/tables/trajectories/*.parquet')"
    ).fetchall()
    written_before(folder, review(1, first[0]))
    return folder


COLUMNS = f"SELECT {', '.join(NEW)} FROM reviews ORDER BY number"


def test_rows_from_before_say_where_nothing_was_asked(old: Path) -> None:
    warehouse = Warehouse.open(old)
    assert {*NEW} <= {f.name for f in warehouse.delta("reviews").schema().fields}
    assert ask(old, COLUMNS) == [tuple(FILLED.values())]
    assert ask(old, "SELECT reviewer, verdict, role, queue FROM reviews_current") == [
        ("ann", "approve", "annotator", "")
    ]
    warehouse.append("reviews", [review(2, "x", queue="audit", guideline="0" * 12, role="lead", repeat=1)])
    assert ask(old, COLUMNS)[1] == (None, None, "audit", "0" * 12, "lead", 1)
    refresh_duckdb_file(warehouse)
    with duckdb.connect(str(old / "warehouse.duckdb"), read_only=True) as connection:
        assert connection.execute("SELECT role, queue FROM reviews ORDER BY number").fetchall() == [
            ("annotator", ""),
            ("lead", "audit"),
        ]


def test_files_of_both_shapes_can_be_joined(old: Path) -> None:
    warehouse = Warehouse.open(old)
    warehouse.append("reviews", [review(2, "x", queue="audit")])
    assert warehouse.compact()["reviews"] == (2, 1)
    assert ask(old, "SELECT queue, role, repeat FROM reviews ORDER BY number") == [
        ("", "annotator", 0),
        ("audit", "annotator", 0),
    ]
    assert warehouse.append("reviews", [review(1, "x"), review(3, "x")]).known == 1, "keys are known over both shapes"


def test_versions_from_before_are_read_as_ever(old: Path) -> None:
    warehouse = Warehouse.open(old)
    warehouse.append("reviews", [review(2, "x", queue="audit")])
    assert ask(old, "SELECT count(*), min(role) FROM reviews", at="old-samples@1") == [(0, None)]
    assert ask(old, "SELECT count(*) > 0 FROM trajectories", at="old-samples@1") == [(True,)]
    for version, found in ((0, []), (1, [("", "annotator")])):
        versions = warehouse.versions() | {"reviews": version}
        assert ask(old, "SELECT queue, role FROM reviews", versions=versions) == found


def test_to_open_it_again_changes_nothing(old: Path) -> None:
    Warehouse.open(old)
    version = Warehouse.open(old).delta("reviews").version()
    Warehouse.open(old).add_columns("reviews")
    assert Warehouse.open(old).delta("reviews").version() == version


# -- the latest word of each


@pytest.fixture
def said(warehouse: Warehouse, folder: Path) -> Any:
    """Adds reviews in their order; what `reviews_current` holds then."""

    def add(*reviews: Review) -> list[tuple[Any, ...]]:
        warehouse.append("reviews", reviews)
        shown = "trajectory_id, attempt, pair_id, reviewer, verdict, by_editing"
        return ask(folder, f"SELECT {shown} FROM reviews_current ORDER BY ALL")

    return add


def test_what_was_taken_back_is_no_word(said: Any) -> None:
    assert said(
        review(1, "x"),
        review(2, "x", verdict="withdraw"),
        review(3, "y", verdict="edit", text="t", child_id="z"),
        review(4, "y", verdict="withdraw"),
        review(5, "w", verdict="reject"),
        review(6, "w", verdict="withdraw"),
        review(7, "w"),
    ) == [("w", 1, None, "ann", "approve", False)]


def test_what_is_said_again_is_no_word(said: Any) -> None:
    assert said(review(1, "x"), review(2, "x", verdict="reject", repeat=1)) == [("x", 1, None, "ann", "approve", False)]


def test_of_a_pair_the_latest_word_counts_whichever_attempt_was_shown(said: Any, folder: Path) -> None:
    pair: dict[str, Any] = {"pair_id": "p", "a_first": True}
    assert said(
        review(1, "a"),
        review(2, "a", verdict="prefer_a", **pair),
        review(3, "a", verdict="tie", **pair, attempt=2),
        review(4, "a", verdict="prefer_b", pair_id="q", a_first=False),
        review(5, "a", "bob", verdict="prefer_a", **pair),
        review(6, "a", "bob", verdict="reject"),
    ) == [
        ("a", 1, "p", "bob", "prefer_a", False),
        ("a", 1, "q", "ann", "prefer_b", False),
        ("a", 1, None, "ann", "approve", False),
        ("a", 1, None, "bob", "reject", False),
        ("a", 2, "p", "ann", "tie", False),
    ]
    assert ask(folder, "SELECT reviewer_a, reviewer_b, n, agreement FROM review_agreement") == [("ann", "bob", 2, 0.0)]


def test_agreement_is_of_people_who_do_not_know_what_others_said(said: Any, folder: Path) -> None:
    words = {
        "x": ("approve", "approve"),
        "y": ("reject", "flag"),
        "z": ("reject", "reject"),
        "w": ("approve", "reject"),
    }
    number = iter(range(1, 100))
    said(*(
        review(next(number), ident, who, word)
        for ident, said_of in words.items()
        for who, word in zip(("ann", "bob"), said_of, strict=True)
    ))  # fmt: skip
    said(review(50, "x", "dee", "reject", role="adjudicator"))
    # By chance: approve 2/4 * 1/4, reject 2/4 * 2/4.
    ((*who, n, agreement, kappa),) = ask(folder, "FROM review_agreement")
    assert (who, n, agreement, kappa) == (["ann", "bob"], 4, 0.5, round((0.5 - 0.375) / 0.625, 4))
