"""The journal: nothing that was answered is lost, nobody looks twice or once too often, and each is published once."""

import json
import random
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from schemas.errors import WarehouseError, WarehouseTooNew
from schemas.records import Review
from tests.warehouse.conftest import Rows
from warehouse.journal import Conflict, Journal, Refused, publish
from warehouse.standing import MOST_LEASE, Item, Lease
from warehouse.store import Warehouse

ONE, TWO, THREE = Item("1", 1), Item("2", 1), Item("3", 1)
Q = "looks"
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
    def make(wanted: Item = ONE, reviewer: str = "ann", verdict: Any = "approve", **columns: Any) -> Review:
        edited: dict[str, Any] = {"text": "better", "child_id": f"child of {wanted.item_id} by {reviewer}"}
        values: dict[str, Any] = {"review_id": uuid4().hex, "created_at": datetime.now(UTC), "queue": Q}
        values |= {"trajectory_id": wanted.item_id, "attempt": wanted.attempt, **columns}
        return Review(reviewer=reviewer, verdict=verdict, **(edited if verdict == "edit" else {}), **values)

    return make


def taken(journal: Journal, items: list[Item], reviewer: str, **settings: Any) -> Item | None:
    lease = journal.take(Q, items, reviewer, **settings)
    return lease.item if lease else None


def holders(journal: Journal, item: Item, queue: str = Q) -> set[str]:
    with journal.standing() as standing:
        return set(standing.held(queue, item, journal._clock()))


def lookers(journal: Journal, item: Item, queue: str = Q) -> set[str]:
    with journal.standing() as standing:
        return standing.lookers(queue, item)


# -- leases


def test_an_item_is_given_to_as_many_as_look_at_each(journal: Journal) -> None:
    queue = [ONE, TWO]
    assert [taken(journal, queue, name) for name in ("ann", "bob", "cem")] == [ONE, TWO, None]
    assert taken(journal, queue, "bob") == TWO, "who has one is given it again"
    assert taken(journal, queue, "cem", looks=2) == ONE
    assert taken(journal, queue, "dee", looks=2) == TWO
    assert taken(journal, queue, "eve", looks=2) is None
    assert holders(journal, ONE) == {"ann", "cem"}


def test_a_lease_is_renewed_given_back_and_ends(journal: Journal, time_of: Clock) -> None:
    lease = journal.take(Q, [ONE], "ann", seconds=60)
    assert lease == Lease(Q, ONE, "ann", 1000.0, 1060.0)
    time_of.now += 59
    assert journal.renew(lease, seconds=60) == Lease(Q, ONE, "ann", 1000.0, 1119.0)
    time_of.now += 59
    assert taken(journal, [ONE], "bob") is None, "renewed"
    journal.release(Q, ONE, "bob")
    assert holders(journal, ONE) == {"ann"}, "only its holder gives it back"
    journal.release(Q, ONE, "ann")
    assert taken(journal, [ONE], "bob", seconds=60) == ONE
    time_of.now += 60
    assert holders(journal, ONE) == set()
    assert taken(journal, [ONE], "cem") == ONE


def test_a_lease_that_ended_is_renewed_while_its_place_is_free(
    journal: Journal, time_of: Clock, make_review: MakeReview
) -> None:
    lease = journal.take(Q, [ONE], "ann", seconds=60)
    assert lease is not None
    time_of.now += 100
    renewed = journal.renew(lease, seconds=60)
    assert renewed is not None and renewed.since == 1000.0
    time_of.now += 100
    assert taken(journal, [ONE], "bob") == ONE
    assert journal.renew(lease) is None, "another has it"
    assert journal.renew(lease, looks=2) is not None
    journal.submit_taken(make_review(ONE, "ann"), looks=2)
    assert journal.renew(lease, looks=2) is None, "what was said wants no lease"


@pytest.mark.parametrize("repeat", [0, 1])
def test_a_window_that_was_left_open_takes_nothing_again(
    journal: Journal, make_review: MakeReview, repeat: int
) -> None:
    if repeat:
        journal.submit([make_review(ONE)])
    lease = journal.take(Q, [ONE], "ann", repeat=repeat)
    assert lease is not None
    journal.submit_taken(make_review(ONE, repeat=repeat), looks=None)
    assert journal.renew(lease, looks=None) is None
    other = journal.take(Q, [TWO], "ann")
    assert other is not None
    journal.release(Q, TWO, "ann", skip=True)
    assert journal.renew(other, looks=None) is None, "passed over"
    assert taken(journal, [ONE, TWO], "ann", looks=None) is None


def test_what_is_passed_over_is_given_to_others(journal: Journal) -> None:
    assert taken(journal, [ONE, TWO], "ann") == ONE
    journal.release(Q, ONE, "ann", skip=True)
    assert taken(journal, [ONE, TWO], "ann") == TWO
    assert taken(journal, [ONE, TWO], "bob") == ONE
    assert journal.take("another", [ONE], "cem") is not None, "in each queue by itself"
    with journal.standing() as standing:
        assert standing.wants("another", ONE, "ann", 2, 1000.0), "as are skips"


def test_a_repeat_that_was_passed_over_does_not_come_back(journal: Journal, make_review: MakeReview) -> None:
    journal.submit([make_review(ONE)])
    lease = journal.take(Q, [ONE], "ann", looks=None, repeat=1)
    assert lease is not None and lease.repeat == 1
    journal.release(Q, ONE, "ann", skip=True)
    assert journal.take(Q, [ONE], "ann", looks=None, repeat=1) is None


def test_all_that_a_person_has_is_given_back_at_once(journal: Journal) -> None:
    first, second = journal.take(Q, [ONE], "ann"), journal.take("another", [TWO], "ann")
    assert first is not None and second is not None
    assert journal.release_all("ann", Q) == 1
    assert journal.release_all("ann", Q) == 0
    assert (holders(journal, ONE), holders(journal, TWO, "another")) == (set(), {"ann"})


def test_nobody_has_an_item_from_two_queues(journal: Journal, make_review: MakeReview, time_of: Clock) -> None:
    assert taken(journal, [ONE], "ann", seconds=60) == ONE
    assert journal.take("another", [ONE], "ann") is None
    time_of.now += 60
    assert journal.take("another", [ONE], "ann") is not None
    journal.submit_taken(make_review(ONE, queue="another"), looks=1)
    with pytest.raises(Refused, match="you have said this already"):
        journal.submit_taken(make_review(ONE), looks=1)


def test_a_review_ends_its_reviewers_lease_and_no_other(journal: Journal, make_review: MakeReview) -> None:
    taken(journal, [ONE], "ann")
    journal.submit([make_review(ONE, "bob"), make_review(ONE, "ann", queue="")])
    assert holders(journal, ONE) == {"ann"}
    assert taken(journal, [ONE, TWO], "ann") == TWO, "what was said elsewhere is given no more"
    journal.submit([make_review(TWO, "ann")])
    assert holders(journal, TWO) == set()


def test_a_clock_that_was_set_back_does_not_keep_a_lease_for_ever(journal: Journal, time_of: Clock) -> None:
    taken(journal, [ONE], "ann", seconds=60)
    time_of.now -= 7 * 86400
    assert taken(journal, [ONE], "bob") == ONE


def test_a_lease_that_a_clock_brings_back_to_life_is_no_further_look(
    journal: Journal, time_of: Clock, make_review: MakeReview
) -> None:
    taken(journal, [ONE], "ann", seconds=60)
    time_of.now += 100
    taken(journal, [ONE], "bob", seconds=60)
    journal.submit_taken(make_review(ONE, "bob"), looks=1)
    time_of.now -= 80
    assert holders(journal, ONE) == {"ann"}
    with pytest.raises(Refused, match="your lease ended"):
        journal.submit_taken(make_review(ONE, "ann"), looks=1)
    assert lookers(journal, ONE) == {"bob"}


@pytest.mark.parametrize("seconds", [0, -1, MOST_LEASE + 1, float("nan")])
def test_a_lease_has_bounds(journal: Journal, make_review: MakeReview, seconds: float) -> None:
    lease = Lease(Q, ONE, "ann", 1000.0, 1060.0)
    (review,) = journal.submit([make_review(TWO)])
    refused = "it must be above 0 and at most 3600"
    with pytest.raises(ValueError, match=refused):
        journal.take(Q, [ONE], "ann", seconds=seconds)
    with pytest.raises(ValueError, match=refused):
        journal.renew(lease, seconds=seconds)
    with pytest.raises(ValueError, match=refused):
        journal.withdraw(withdrawn(review), seconds=seconds)
    assert (holders(journal, ONE), lookers(journal, TWO)) == (set(), {"ann"})


def test_what_was_looked_at_since_the_queue_was_made_is_passed_over(journal: Journal, make_review: MakeReview) -> None:
    queue = [ONE, TWO]
    journal.submit([make_review(ONE, "ann")])
    assert taken(journal, queue, "bob") == TWO
    assert taken(journal, queue, "cem", looks=2) == ONE
    assert taken(journal, queue, "ann", looks=1) is None, "nobody looks twice, and the other one is taken"
    journal.submit([make_review(THREE, "ann")])
    assert taken(journal, [Item("3", 2)], "ann") == Item("3", 2), "a further attempt is looked at anew"


def test_reviews_from_elsewhere_are_no_looks_of_a_queue(journal: Journal, make_review: MakeReview) -> None:
    journal.submit([make_review(ONE, "ann", queue=""), make_review(ONE, "bob", queue="another")])
    assert taken(journal, [ONE], "ann") is None, "but nobody is asked again what they said"
    assert taken(journal, [ONE], "cem") == ONE


def test_what_was_edited_wants_no_look_and_its_child_one_by_another(journal: Journal, make_review: MakeReview) -> None:
    edit = make_review(ONE, "ann", "edit")
    journal.submit([edit])
    assert edit.child_id is not None
    child = Item(edit.child_id, 1)
    assert taken(journal, [ONE], "bob", looks=2) is None
    assert taken(journal, [ONE], "eve", looks=2, edited=True) == ONE
    assert taken(journal, [child], "bob") is None, "its author has looked at it"
    assert taken(journal, [child], "ann", looks=2) is None
    assert taken(journal, [child], "bob", looks=2) == child


def test_the_known_answer_of_an_item_is_no_edit_of_it(journal: Journal, make_review: MakeReview) -> None:
    journal.submit([make_review(ONE, "gold", "edit", queue="")])
    assert taken(journal, [ONE], "ann", looks=1) == ONE
    assert journal.submit_taken(make_review(ONE, "ann", "edit"), looks=1) is not None


def test_items_sent_to_a_queue_are_there_once(journal: Journal) -> None:
    assert journal.send([ONE, TWO, ONE], "lea", "sent") == 2
    assert journal.send([TWO, THREE], "ann", "sent") == 1
    with journal.standing() as standing:
        assert standing.sent["sent"] == {ONE: "lea", TWO: "lea", THREE: "ann"}


# Takes, and now and then skips, saves, repeats or withdraws, until nothing is left: `taker.py FOLDER NAME COUNT LOOKS`.
TAKER = """
import random, sys
from datetime import UTC, datetime
from uuid import uuid4
from schemas.records import Review
from warehouse.journal import Journal
from warehouse.standing import Item
from warehouse.store import Warehouse

folder, name, count, looks = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
chance = random.Random(name)
queue = [Item(f"{i:04}", 1) for i in range(count)]
with Journal(Warehouse.open(folder)) as journal:
    while lease := journal.take("looks", queue, name, looks=looks):
        if chance.random() < 0.2:
            journal.save_draft("looks", lease.item, name, {"note": name})
        review = Review(review_id=uuid4().hex, reviewer=name, verdict="approve", created_at=datetime.now(UTC),
                        trajectory_id=lease.item.item_id, attempt=1, queue="looks")
        assert journal.submit_taken(review, looks=looks) is not None
        assert journal.submit_taken(review, looks=looks) is None
        if chance.random() < 0.2:
            back = review.model_copy(update={"review_id": uuid4().hex, "verdict": "withdraw"})
            journal.withdraw(back, looks=looks)
"""


def start(script: str, *args: object) -> "subprocess.Popen[str]":
    return subprocess.Popen([sys.executable, "-c", script, *map(str, args)], stdout=subprocess.PIPE, text=True)


@pytest.mark.parametrize(("names", "looks"), [("ann bob cem", 1), ("ann bob cem dee", 2)])
def test_processes_that_fight_over_a_queue_look_at_each_exactly_so_often(
    warehouse: Warehouse, names: str, looks: int
) -> None:
    takers = [start(TAKER, warehouse.path, name, 60, looks) for name in names.split()]
    assert [t.communicate()[0] for t in takers] == [""] * len(takers)
    assert [t.returncode for t in takers] == [0] * len(takers)
    with Journal(warehouse) as journal, journal.standing() as standing:
        said = {item.item_id: standing.lookers("looks", item) for item in standing.words}
        of = {item: Counter(who for _, who in words) for item, words in standing.words.items()}
    # The last of a queue may be left to one who is through with theirs: never more, and nearly always all.
    assert max(map(len, said.values())) == looks
    assert sum(map(len, said.values())) >= 60 * looks - len(takers)
    assert all(most == 1 for words in of.values() for most in words.values())


def test_threads_share_a_journal(journal: Journal, make_review: MakeReview) -> None:
    items = [Item(f"{i:03}", 1) for i in range(60)]

    def work(name: str) -> None:
        while lease := journal.take(Q, items, name, looks=2):
            journal.save_draft(Q, lease.item, name, {"note": name})
            assert journal.submit_taken(make_review(lease.item, name), looks=2) is not None

    with ThreadPoolExecutor() as threads:
        list(threads.map(work, ("ann", "bob", "cem", "dee")))
    assert {len(lookers(journal, item)) for item in items} == {2}
    assert [journal.drafts(name) for name in ("ann", "bob", "cem", "dee")] == [[], [], [], []]


# -- what was taken and is said


def test_a_late_submission_is_taken_while_its_place_is_free_and_refused_after(
    journal: Journal, time_of: Clock, make_review: MakeReview
) -> None:
    for item in (ONE, TWO):
        taken(journal, [item], "ann", seconds=60)
        journal.save_draft(Q, item, "ann", {"note": "nearly"})
        time_of.now += 100
    assert journal.submit_taken(make_review(ONE, "ann"), looks=1) is not None
    assert taken(journal, [TWO], "bob") == TWO
    with pytest.raises(Refused, match="your lease ended and others have looked at this meanwhile"):
        journal.submit_taken(make_review(TWO, "ann"), looks=1)
    assert [d.item for d in journal.drafts("ann")] == [TWO]
    assert lookers(journal, TWO) == set()


def test_a_submission_is_answered_once_and_repeats_change_nothing(journal: Journal, make_review: MakeReview) -> None:
    taken(journal, [ONE], "ann")
    review = make_review(ONE, "ann")
    first = journal.submit_taken(review, looks=1)
    assert first is not None and journal.review(review.review_id) == first
    assert journal.submit_taken(review, looks=1) is None
    with pytest.raises(Refused, match="you have said this already, in another window perhaps"):
        journal.submit_taken(make_review(ONE, "ann", "reject"), looks=1)
    assert journal.review("0" * 64) is None


def test_a_stale_edit_is_a_conflict_and_its_draft_is_kept(journal: Journal, make_review: MakeReview) -> None:
    for name in ("ann", "bob"):
        taken(journal, [ONE], name, looks=2)
        journal.save_draft(Q, ONE, name, {"text": name})
    first = journal.submit_taken(make_review(ONE, "bob", "edit"), looks=2)
    assert first is not None
    with pytest.raises(Conflict, match="somebody else edited this meanwhile") as error:
        journal.submit_taken(make_review(ONE, "ann", "edit"), looks=2)
    assert error.value.child_id == first.child_id
    draft = journal.draft(Q, ONE, "ann")
    assert draft is not None and draft.body == {"text": "ann"}
    assert journal.submit_taken(make_review(ONE, "ann", "edit"), looks=2, base=first.child_id) is not None


def test_what_is_no_edit_is_never_stale(journal: Journal, make_review: MakeReview) -> None:
    for name in ("ann", "bob"):
        taken(journal, [ONE], name, looks=2)
    journal.submit_taken(make_review(ONE, "bob", "edit"), looks=2)
    assert journal.submit_taken(make_review(ONE, "ann", "reject"), looks=2) is not None


def test_people_who_do_not_know_of_each_other_edit_without_conflict(journal: Journal, make_review: MakeReview) -> None:
    journal.submit([make_review(ONE, "bob", "edit")])
    taken(journal, [ONE], "ann", looks=None, edited=True)
    assert journal.submit_taken(make_review(ONE, "ann", "edit"), looks=None) is not None


def withdrawn(review: Review) -> Review:
    emptied: dict[str, Any] = {"review_id": uuid4().hex, "verdict": "withdraw", "text": None, "child_id": None}
    return review.model_copy(update=emptied)


def test_who_takes_back_what_they_said_has_it_before_them_again(journal: Journal, make_review: MakeReview) -> None:
    edit = make_review(ONE, "ann", "edit")
    taken(journal, [ONE], "ann")
    journal.submit_taken(edit, looks=1)
    lease = journal.withdraw(withdrawn(edit), of=edit.review_id, looks=1)
    assert lease is not None and (lease.item, lease.reviewer) == (ONE, "ann")
    assert taken(journal, [ONE], "bob") is None
    assert edit.child_id is not None
    assert taken(journal, [Item(edit.child_id, 1)], "bob") is not None, "nobody made it any more"
    with pytest.raises(Refused, match="this was taken back already"):
        journal.withdraw(withdrawn(edit))
    assert journal.submit_taken(make_review(ONE, "ann"), looks=1) is not None
    with pytest.raises(Refused, match="this was taken back already"):
        journal.withdraw(withdrawn(edit), of=edit.review_id)
    assert lookers(journal, ONE) == {"ann"}
    with journal.standing() as standing:
        assert [said.verdict for said in standing.done[Q, "ann"].values()] == ["approve"]


def test_a_place_that_was_taken_meanwhile_is_not_given_back(
    journal: Journal, make_review: MakeReview, time_of: Clock
) -> None:
    review = make_review(ONE, "ann")
    journal.submit([review])
    taken(journal, [ONE], "bob", looks=2)
    assert journal.withdraw(withdrawn(review), looks=1) is None
    assert (lookers(journal, ONE), holders(journal, ONE)) == (set(), {"bob"})


def test_a_repeat_is_taken_back_by_itself(journal: Journal, make_review: MakeReview) -> None:
    first, again = make_review(ONE, "ann"), make_review(ONE, "ann", "reject", repeat=1)
    journal.submit([first])
    journal.take(Q, [ONE], "ann", looks=None, repeat=1)
    journal.submit_taken(again, looks=None)
    lease = journal.withdraw(withdrawn(again), of=again.review_id, looks=None)
    assert lease is not None and lease.repeat == 1
    assert lookers(journal, ONE) == {"ann"}


# -- drafts


def test_the_last_draft_of_each_reviewer_stays(journal: Journal) -> None:
    assert journal.draft(Q, ONE, "ann") is None
    text = "NUL \0, lone \ud800, 😀\n"
    first, second = (journal.save_draft(Q, ONE, "ann", {"text": t}) for t in ("first", text))
    assert first < second
    journal.save_draft(Q, ONE, "bob", {"text": "other"})
    journal.save_draft(Q, TWO, "ann", {})
    journal.save_draft("another", ONE, "ann", {})
    kept = journal.draft(Q, ONE, "ann")
    assert kept is not None
    assert (kept.number, kept.queue, kept.item, kept.body, kept.at) == (second, Q, ONE, {"text": text}, 1000.0)
    assert [(d.queue, d.item) for d in journal.drafts("ann")] == [(Q, ONE), (Q, TWO), ("another", ONE)]
    journal.drop_draft(Q, ONE, "ann")
    assert [d.queue for d in journal.drafts("ann")] == [Q, "another"]


def test_two_windows_do_not_overwrite_each_other(journal: Journal) -> None:
    seen = journal.save_draft(Q, ONE, "ann", {"window": "left", "text": "1"}, seen=0)
    later = journal.save_draft(Q, ONE, "ann", {"window": "left", "text": "2"}, seen=seen)
    assert journal.save_draft(Q, ONE, "ann", {"window": "left", "text": "3"}, seen=seen) > later, "a slow answer"
    for stale in (0, later):
        with pytest.raises(Conflict, match="another window has changed this draft") as error:
            journal.save_draft(Q, ONE, "ann", {"window": "right", "text": "mine"}, seen=stale)
    there = error.value.draft
    assert there is not None and there.body == {"window": "left", "text": "3"}
    assert journal.draft(Q, ONE, "ann") == there
    journal.save_draft(Q, ONE, "ann", {"window": "right", "text": "mine"}, seen=there.number)
    with pytest.raises(Conflict):
        journal.save_draft(Q, ONE, "ann", {"window": "left", "text": "4"}, seen=there.number)


def test_a_draft_is_gone_once_it_was_submitted(journal: Journal, make_review: MakeReview) -> None:
    for name in ("ann", "bob"):
        journal.save_draft(Q, ONE, name, {"note": name})
    journal.submit([make_review(ONE, "ann")])
    assert journal.drafts("ann") == []
    assert [d.body for d in journal.drafts("bob")] == [{"note": "bob"}]


def test_saving_a_draft_often_takes_the_room_of_one(journal: Journal) -> None:
    for i in range(100):
        journal.save_draft(Q, ONE, "ann", {"text": f"{i}" * 20_000})
    journal.close()
    assert journal.path.stat().st_size < 500_000


# -- reviews


def test_reviews_are_numbered_in_order_and_take_the_time_since_their_lease(
    journal: Journal, time_of: Clock, make_review: MakeReview
) -> None:
    lease = journal.take(Q, [ONE], "ann", seconds=60)
    assert lease is not None
    time_of.now += 50
    journal.renew(lease, seconds=60)
    time_of.now += 40
    first, second = journal.submit([make_review(ONE, "ann"), make_review(TWO, "ann")])
    time_of.now -= 500
    (third,) = journal.submit([make_review(THREE, "bob")])
    assert first.number < second.number < third.number
    assert (first.seconds, second.seconds) == (90.0, None)
    assert first.created_at == second.created_at == third.created_at, "a clock that is set back changes no order"
    assert [r for part in journal.reviews() for r in part] == [first, second, third]
    assert [r for part in journal.reviews(without={second.review_id}) for r in part] == [first, third]
    assert journal.last_review() == third.number


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
    assert (journal.last_review(), lookers(journal, ONE)) == (0, set())
    assert len(journal.submit([make_review(ONE)])) == 1
    assert lookers(journal, ONE) == {"ann"}


def test_what_failed_half_way_is_not_in_the_sum(
    journal: Journal, make_review: MakeReview, monkeypatch: pytest.MonkeyPatch
) -> None:
    review = make_review(ONE)
    journal.submit([review])

    def fails(lease: Lease) -> Any:
        raise MemoryError

    with monkeypatch.context() as patched:
        patched.setattr(journal, "_lease", fails)
        with pytest.raises(MemoryError):
            journal.withdraw(withdrawn(review), looks=1)
    assert lookers(journal, ONE) == {"ann"}
    journal.submit([make_review(TWO)])
    assert lookers(journal, TWO) == {"ann"}, "numbers that were given in vain are given again"
    assert journal.withdraw(withdrawn(review), looks=1) is not None


def test_it_knows_whether_something_was_edited_since(journal: Journal, make_review: MakeReview) -> None:
    (first,) = journal.submit([make_review(ONE, "ann", "edit")])
    journal.submit([make_review(TWO)])
    assert (journal.has_edits(0), journal.has_edits(first.number)) == (True, False)


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
        {"verdict": "tie"},
        {"verdict": "prefer_a", "pair_id": "3"},
        {"verdict": "approve", "pair_id": "3", "a_first": True},
        {"a_first": True},
        {"role": "chief"},
        {"repeat": -1},
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
from warehouse.journal import Journal, publish
from warehouse.standing import Item
from warehouse.store import Warehouse

folder, name, number = sys.argv[1], sys.argv[2], int(sys.argv[3])
warehouse = Warehouse.open(folder)
with Journal(warehouse) as journal:
    while True:
        number += 1
        journal.save_draft("looks", Item(name, 1), name, {"number": number})
        print("draft", number, flush=True)
        journal.submit([Review(review_id=uuid4().hex, reviewer=name, verdict="approve", note="x" * 1000,
                               created_at=datetime.now(UTC), trajectory_id=f"{name} {number:06}", attempt=1)])
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
    with pytest.raises(WarehouseTooNew, match="a journal of version 9, this program knows 2"):
        Journal(warehouse)


# As the journal was before it knew queues.
VERSION_1 = """
CREATE TABLE events (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    kind TEXT NOT NULL CHECK (kind IN ('lease', 'release', 'draft', 'review')),
    trajectory_id TEXT NOT NULL,
    attempt INTEGER NOT NULL,
    reviewer TEXT NOT NULL,
    at REAL NOT NULL,
    until REAL,
    since REAL,
    review_id TEXT,
    child_id TEXT,
    body TEXT NOT NULL DEFAULT '{}'
);
CREATE INDEX of_trajectory ON events (trajectory_id, kind, number);
CREATE INDEX leases ON events (until) WHERE kind = 'lease';
CREATE INDEX children ON events (child_id) WHERE child_id IS NOT NULL;
CREATE UNIQUE INDEX one_draft ON events (trajectory_id, reviewer) WHERE kind = 'draft';
CREATE UNIQUE INDEX each_review_once ON events (review_id) WHERE kind = 'review';
CREATE TRIGGER never_changed BEFORE UPDATE ON events
    BEGIN SELECT RAISE(ABORT, 'events are never changed'); END;
CREATE TRIGGER never_removed BEFORE DELETE ON events WHEN OLD.kind <> 'draft'
    BEGIN SELECT RAISE(ABORT, 'events are never removed'); END;
PRAGMA user_version = 1;
"""


@pytest.fixture
def old_journal(warehouse: Warehouse) -> Path:
    """A journal of version 1: ann approved 1 and edited 2, bob has 3 before him and a draft of it."""
    path = warehouse.path / "journal" / "events.sqlite"
    path.parent.mkdir()
    connection = sqlite3.connect(path)
    connection.executescript(VERSION_1)

    def add(kind: str, **columns: Any) -> None:
        values = {"kind": kind, "attempt": 1, "at": 900.0, **columns}
        marks = ", ".join("?" * len(values))
        connection.execute(f"INSERT INTO events ({', '.join(values)}) VALUES ({marks})", [*values.values()])

    def review(trajectory_id: str, verdict: str, **edited: str) -> None:
        body = {"review_id": trajectory_id * 32, "trajectory_id": trajectory_id, "attempt": 1, "reviewer": "ann",
                "verdict": verdict, "text": None, "child_id": None, "note": "n", "tags": ["t"], "seconds": 5.0,
                "created_at": "2026-01-01T00:00:00Z", **edited}  # fmt: skip
        add("review", trajectory_id=trajectory_id, reviewer="ann", review_id=body["review_id"],
            child_id=body["child_id"], body=json.dumps(body))  # fmt: skip

    add("lease", trajectory_id="1", reviewer="ann", until=1500.0, since=900.0)
    review("1", "approve")
    add("release", trajectory_id="2", reviewer="bob")
    review("2", "edit", text="better", child_id="made of 2")
    add("draft", trajectory_id="3", reviewer="bob", body='{"note": "old"}')
    add("lease", trajectory_id="3", reviewer="bob", until=1500.0, since=900.0)
    connection.commit()
    connection.close()
    return path


def test_a_journal_of_version_1_is_brought_up_to_date(
    old_journal: Path, warehouse: Warehouse, time_of: Clock, make_review: MakeReview, rows: Rows
) -> None:
    with Journal(warehouse, clock=time_of) as journal:
        reviews = [r for part in journal.reviews() for r in part]
        assert [(r.number, r.verdict, r.child_id, r.queue, r.role) for r in reviews] == [
            (2, "approve", None, "", "annotator"),
            (4, "edit", "made of 2", "", "annotator"),
        ]
        assert [(d.queue, d.item, d.body) for d in journal.drafts("bob")] == [("", THREE, {"note": "old"})]
        assert holders(journal, THREE, queue="") == {"bob"}
        with journal.standing() as standing:
            assert standing.has_said(Item("made of 2", 1), "ann") and standing.edits(TWO)[0].verdict == "edit"
        assert taken(journal, [ONE, TWO, THREE], "ann") == THREE, "she has said the others"
        (new,) = journal.submit([make_review(THREE, "ann")])
        assert new.number > 6
    with Journal(warehouse) as again:
        assert again.last_review() == new.number
        with pytest.raises(WarehouseError, match="events are never changed"), again._file.transaction():
            again._file.connection.execute("UPDATE events SET reviewer = 'bob'")
    assert publish(warehouse) == 3
    assert [r["verdict"] for r in rows("SELECT verdict FROM reviews ORDER BY number")] == ["approve", "edit", "approve"]


def test_processes_that_bring_it_up_to_date_at_once_do_so_once(old_journal: Path, warehouse: Warehouse) -> None:
    workers = [start(TAKER, warehouse.path, name, 5, 3) for name in ("ann", "bob", "cem")]
    for worker in workers:
        worker.communicate()
    assert [w.returncode for w in workers] == [0, 0, 0]
    with Journal(warehouse) as journal:
        assert [r.trajectory_id for part in journal.reviews() for r in part][:2] == ["1", "2"]
