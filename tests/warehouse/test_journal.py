"""The journal: nothing that was answered is lost, nobody is given what another has, and reviews are published once."""

import random
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest

from schemas.errors import WarehouseError, WarehouseTooNew
from schemas.records import Review
from tests.warehouse.conftest import Rows
from warehouse.journal import MOST_LEASE, Attempt, Journal, publish
from warehouse.store import Warehouse

ONE, TWO, THREE = Attempt("1", 1), Attempt("2", 1), Attempt("3", 1)
MakeReview = Callable[..., Review]


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def time_of() -> Clock:
    return Clock()


@pytest.fixture
def journal(warehouse: Warehouse, time_of: Clock) -> Any:
    with Journal(warehouse, clock=time_of) as journal:
        yield journal


@pytest.fixture
def make_review() -> MakeReview:
    def make(wanted: Attempt = ONE, reviewer: str = "ann", verdict: str = "approve", **columns: Any) -> Review:
        edited = {"text": "better", "child_id": f"child of {wanted.trajectory_id} by {reviewer}"}
        values = {"review_id": uuid4().hex, "created_at": datetime.now(UTC), **wanted._asdict(), **columns}
        return Review(reviewer=reviewer, verdict=verdict, **(edited if verdict == "edit" else {}), **values)

    return make


# -- leases


def test_a_trajectory_is_given_to_one_reviewer_at_a_time(journal: Journal) -> None:
    queue = [ONE, TWO]
    assert journal.take(queue, "ann") == ONE
    assert journal.take(queue, "bob") == TWO
    assert journal.take(queue, "cem") is None
    assert journal.take(queue, "bob") == TWO, "who has one is given it again"
    assert {i: lease.reviewer for i, lease in journal.leases().items()} == {"1": "ann", "2": "bob"}


def test_a_lease_is_renewed_given_back_and_ends(journal: Journal, time_of: Clock) -> None:
    assert journal.lease(ONE, "ann", seconds=60)
    assert not journal.lease(ONE, "bob")
    time_of.now += 59
    assert journal.lease(ONE, "ann", seconds=60)
    time_of.now += 59
    assert not journal.lease(ONE, "bob"), "renewed"
    journal.release(ONE, "bob")
    assert not journal.lease(ONE, "bob"), "only its holder gives it back"
    journal.release(ONE, "ann")
    assert journal.lease(ONE, "bob", seconds=60)
    time_of.now += 60
    assert journal.leases() == {}
    assert journal.take([ONE], "cem") == ONE


def test_a_review_ends_its_reviewers_lease_and_no_other(journal: Journal, make_review: MakeReview) -> None:
    journal.take([ONE], "ann")
    journal.submit([make_review(ONE, "bob")])
    assert journal.leases()["1"].reviewer == "ann"
    journal.submit([make_review(ONE, "ann")])
    assert journal.leases() == {}


def test_a_clock_that_was_set_back_does_not_keep_a_lease_for_ever(journal: Journal, time_of: Clock) -> None:
    journal.lease(ONE, "ann", seconds=60)
    time_of.now -= 7 * 86400
    assert journal.lease(ONE, "bob")


@pytest.mark.parametrize("seconds", [0, -1, MOST_LEASE + 1, float("nan")])
def test_a_lease_has_bounds(journal: Journal, seconds: float) -> None:
    with pytest.raises(ValueError, match="it must be above 0 and at most 3600"):
        journal.lease(ONE, "ann", seconds=seconds)
    assert journal.leases() == {}


def test_what_was_looked_at_since_the_queue_was_made_is_passed_over(journal: Journal, make_review: MakeReview) -> None:
    queue = [ONE, TWO]
    journal.submit([make_review(ONE, "ann")])
    assert journal.take(queue, "bob") == TWO
    assert journal.take(queue, "cem", looks=2) == ONE
    assert journal.take(queue, "ann", looks=2) is None, "nobody looks twice, and the other one is taken"
    journal.submit([make_review(THREE, "ann")])
    assert journal.take([Attempt("3", 2)], "ann") == Attempt("3", 2), "a further attempt is looked at anew"


def test_what_was_edited_wants_no_look_and_its_child_one_by_another(journal: Journal, make_review: MakeReview) -> None:
    edit = make_review(ONE, "ann", "edit")
    journal.submit([edit])
    assert edit.child_id is not None
    child = Attempt(edit.child_id, 1)
    assert journal.take([ONE], "bob", looks=2) is None
    assert journal.take([child], "bob") is None, "its author has looked at it"
    assert journal.take([child], "ann", looks=2) is None
    assert journal.take([child], "bob", looks=2) == child


TAKER = """
import sys, time
from datetime import UTC, datetime
from uuid import uuid4
from schemas.records import Review
from warehouse.journal import Attempt, Journal
from warehouse.store import Warehouse

folder, name, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
queue = [Attempt(f"{i:04}", 1) for i in range(count)]
with Journal(Warehouse.open(folder)) as journal:
    while taken := journal.take(queue, name):
        assert journal.leases()[taken.trajectory_id].reviewer == name
        review = Review(review_id=uuid4().hex, reviewer=name, verdict="approve", created_at=datetime.now(UTC),
                        **taken._asdict())
        journal.submit([review])
        print(taken.trajectory_id, flush=True)
"""


def start(script: str, *args: object) -> "subprocess.Popen[str]":
    return subprocess.Popen([sys.executable, "-c", script, *map(str, args)], stdout=subprocess.PIPE, text=True)


def test_processes_that_fight_over_a_queue_look_at_each_once(warehouse: Warehouse) -> None:
    takers = [start(TAKER, warehouse.path, name, 150) for name in ("ann", "bob", "cem")]
    taken = [t.communicate()[0].split() for t in takers]
    assert [t.returncode for t in takers] == [0, 0, 0]
    assert sorted(i for ids in taken for i in ids) == [f"{i:04}" for i in range(150)]
    assert publish(warehouse) == 150


# -- drafts


def test_the_last_draft_of_each_reviewer_stays(journal: Journal) -> None:
    assert journal.draft("1", "ann") is None
    text = "NUL \0, lone \ud800, 😀\n"
    for body in ({"text": "first"}, {"text": text}):
        journal.save_draft(ONE, "ann", body)
    journal.save_draft(ONE, "bob", {"text": "other"})
    journal.save_draft(TWO, "ann", {})
    kept = journal.draft("1", "ann")
    assert kept is not None
    assert (kept.attempt, kept.body, kept.at) == (1, {"text": text}, 1000.0)
    assert [d.trajectory_id for d in journal.drafts("ann")] == ["1", "2"]


def test_a_draft_is_gone_once_it_was_submitted(journal: Journal, make_review: MakeReview) -> None:
    for name in ("ann", "bob"):
        journal.save_draft(ONE, name, {"note": name})
    journal.submit([make_review(ONE, "ann")])
    assert journal.drafts("ann") == []
    assert [d.body for d in journal.drafts("bob")] == [{"note": "bob"}]


def test_saving_a_draft_often_takes_the_room_of_one(journal: Journal) -> None:
    for i in range(100):
        journal.save_draft(ONE, "ann", {"text": f"{i}" * 20_000})
    journal.close()
    assert journal.path.stat().st_size < 500_000


# -- reviews


def test_reviews_are_numbered_in_order_and_take_the_time_since_their_lease(
    journal: Journal, time_of: Clock, make_review: MakeReview
) -> None:
    journal.lease(ONE, "ann", seconds=60)
    time_of.now += 50
    journal.lease(ONE, "ann", seconds=60)
    time_of.now += 40
    first, second = journal.submit([make_review(ONE, "ann"), make_review(TWO, "ann")])
    time_of.now -= 500
    (third,) = journal.submit([make_review(THREE, "bob")])
    assert first.number < second.number < third.number
    assert (first.seconds, second.seconds) == (90.0, None)
    assert first.created_at == second.created_at == third.created_at, "a clock that is set back changes no order"
    assert [r for part in journal.reviews() for r in part] == [first, second, third]


def test_a_submission_can_be_repeated(journal: Journal, make_review: MakeReview) -> None:
    review = make_review(ONE, note="NUL \0, lone \ud800")
    assert len(journal.submit([review])) == 1
    assert journal.submit([review, review]) == []
    assert journal.submit([review.model_copy(update={"verdict": "reject"})]) == []


def test_reviews_are_submitted_together_or_not_at_all(journal: Journal, make_review: MakeReview) -> None:
    def torn() -> Any:
        yield make_review(ONE)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        journal.submit(torn())
    assert list(journal.reviews()) == []
    assert len(journal.submit([make_review(ONE)])) == 1


@pytest.mark.parametrize(
    "columns",
    [
        {"verdict": "edit", "text": None},
        {"verdict": "edit", "child_id": None},
        {"text": "better"},
        {"child_id": "x"},
        {"verdict": "maybe"},
        {"reviewer": " "},
        {"reviewer": "a\nb"},
        {"reviewer": "a" * 101},
        {"review_id": "not hex"},
        {"attempt": 0},
    ],
)
def test_reviews_that_cannot_be(columns: dict[str, Any]) -> None:
    good = {"review_id": "0" * 32, "trajectory_id": "1", "attempt": 1, "reviewer": "ann", "verdict": "approve"}
    edited = {"text": "better", "child_id": "2"} if columns.get("verdict") == "edit" else {}
    with pytest.raises(ValueError, match="1 validation error"):
        Review.model_validate({**good, **edited, "created_at": datetime.now(UTC), **columns})


def test_events_are_never_changed_nor_removed(journal: Journal, make_review: MakeReview) -> None:
    journal.submit([make_review(ONE)])
    with sqlite3.connect(journal.path) as other:
        for statement in ("UPDATE events SET reviewer = 'bob'", "DELETE FROM events"):
            with pytest.raises(sqlite3.IntegrityError, match="events are never"):
                other.execute(statement)
    other.close()


# -- publishing


def test_reviews_are_published_in_order_and_once(
    warehouse: Warehouse, journal: Journal, make_review: MakeReview, rows: Rows
) -> None:
    assert publish(warehouse) == 0
    sent = [make_review(ONE, note="lone \ud800", tags=["a", "b"]), make_review(TWO, "bob", "edit")]
    journal.submit(sent)
    assert publish(warehouse) == 2
    journal.submit([make_review(THREE, "bob", "reject")])
    assert (publish(warehouse), publish(Warehouse.open(warehouse.path))) == (1, 0)
    found = rows("SELECT * FROM reviews ORDER BY created_at, number")
    assert [(r["trajectory_id"], r["verdict"]) for r in found] == [("1", "approve"), ("2", "edit"), ("3", "reject")]
    assert (found[0]["note"], found[0]["tags"], found[1]["text"]) == ("lone \ufffd", ["a", "b"], "better")


def test_a_warehouse_that_nobody_reviewed_gets_no_journal(warehouse: Warehouse) -> None:
    assert publish(warehouse) == 0
    assert not (warehouse.path / "journal").exists()


def test_reviews_of_a_journal_that_was_lost_stay_and_a_new_one_goes_on(
    warehouse: Warehouse, journal: Journal, make_review: MakeReview, rows: Rows
) -> None:
    journal.submit([make_review(ONE)])
    publish(warehouse)
    journal.close()
    journal.path.unlink()
    with Journal(warehouse) as anew:
        anew.submit([make_review(TWO)])
    assert publish(warehouse) == 1
    found = rows("SELECT trajectory_id, number FROM reviews ORDER BY created_at, number")
    assert found == [{"trajectory_id": "1", "number": 1}, {"trajectory_id": "2", "number": 1}]


# Submits, drafts and publishes without end, and prints what was answered: `worker.py FOLDER NAME FIRST`.
WORKER = """
import sys
from datetime import UTC, datetime
from uuid import uuid4
from schemas.records import Review
from warehouse.journal import Attempt, Journal, publish
from warehouse.store import Warehouse

folder, name, number = sys.argv[1], sys.argv[2], int(sys.argv[3])
warehouse = Warehouse.open(folder)
with Journal(warehouse) as journal:
    while True:
        number += 1
        wanted = Attempt(f"{name} {number:06}", 1)
        journal.save_draft(Attempt(name, 1), name, {"number": number})
        print("draft", number, flush=True)
        journal.submit([Review(review_id=uuid4().hex, reviewer=name, verdict="approve", note="x" * 1000,
                               created_at=datetime.now(UTC), **wanted._asdict())])
        print("review", number, flush=True)
        if number % 5 == 0:
            publish(warehouse)
"""


@pytest.mark.slow
def test_nothing_that_was_answered_is_lost_or_published_twice_when_processes_are_killed(
    warehouse: Warehouse, rows: Rows
) -> None:
    chance = random.Random(6)
    answered: dict[str, dict[str, int]] = {name: {"draft": 0, "review": 0} for name in ("ann", "bob")}
    for _ in range(4):
        workers = {name: start(WORKER, warehouse.path, name, at["draft"]) for name, at in answered.items()}
        for worker in workers.values():
            assert worker.stdout is not None
            worker.stdout.readline()
        time.sleep(chance.uniform(0.0, 0.3))
        for name, worker in workers.items():
            worker.kill()
            for line in worker.communicate()[0].splitlines():
                what, number = line.split()
                answered[name][what] = max(answered[name][what], int(number))
    with Journal(warehouse) as journal:
        for name, at in answered.items():
            (draft,) = journal.drafts(name)
            assert draft.body["number"] >= at["draft"]
    publish(warehouse)
    found = rows("SELECT reviewer, trajectory_id, number FROM reviews ORDER BY created_at, number")
    assert len({r["trajectory_id"] for r in found}) == len(found), "none twice"
    numbers = [r["number"] for r in found]
    assert numbers == sorted(numbers), "in the order in which they were submitted"
    for name, at in answered.items():
        kept = {int(r["trajectory_id"].split()[1]) for r in found if r["reviewer"] == name}
        assert at["review"] > 5
        assert at["review"] in kept
        # A number is left out only where the process died between the two answers.
        assert len(set(range(1, at["review"])) - kept) <= 5


# -- the file


def test_processes_that_open_it_at_once_make_one(warehouse: Warehouse) -> None:
    workers = [start(WORKER, warehouse.path, name, 0) for name in ("ann", "bob", "cem")]
    for worker in workers:
        assert worker.stdout is not None
        assert worker.stdout.readline() == "draft 1\n"
        worker.kill()
        worker.communicate()


def test_a_file_that_is_no_journal_is_named(warehouse: Warehouse) -> None:
    path = warehouse.path / "journal" / "events.sqlite"
    path.parent.mkdir()
    path.write_bytes(b"not a database" * 1000)
    with pytest.raises(WarehouseError, match=r"events\.sqlite: the journal cannot be used: file is not a database"):
        Journal(warehouse)


def test_a_journal_of_a_later_version_is_refused(warehouse: Warehouse) -> None:
    Journal(warehouse).close()
    path = warehouse.path / "journal" / "events.sqlite"
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 9")
    connection.close()
    with pytest.raises(WarehouseTooNew, match="a journal of version 9, this program knows 1"):
        Journal(warehouse)
