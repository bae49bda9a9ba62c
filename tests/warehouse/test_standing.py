"""What the events of the journal come to: whatever people do and clocks show, nobody looks twice and never one more."""

import tempfile
from collections import Counter, defaultdict
from contextlib import suppress
from dataclasses import fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from schemas.records import Review
from warehouse.journal import Conflict, Journal, Refused
from warehouse.standing import MOST_LEASE, Item, Lease, Standing
from warehouse.store import Warehouse

ITEMS = [Item(ident, 1) for ident in "xy"]
PEOPLE, QUEUES = st.sampled_from("abc"), st.sampled_from(["one", "two"])
CHOSEN = st.sampled_from(ITEMS)


def review_of(item: Item, reviewer: str, verdict: str, number: int, **columns: Any) -> Review:
    made = {"text": "t", "child_id": f"{item.item_id}{reviewer}"} if verdict == "edit" else {}
    values = {"review_id": f"{number:032x}", "created_at": datetime.now(UTC), **made, **columns}
    return Review(trajectory_id=item.item_id, attempt=item.attempt, reviewer=reviewer, verdict=verdict, **values)


class People(RuleBasedStateMachine):
    """Several people at two queues through two processes' journals, and a clock that jumps."""

    @initialize(looks=st.integers(1, 2))
    def begin(self, looks: int) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.looks, self.now, self.numbers = looks, 100_000.0, iter(range(1, 10_000))
        warehouse = Warehouse(Path(self.folder.name))
        self.journals = [Journal(warehouse, clock=lambda: self.now) for _ in range(2)]
        self.leases: list[Lease] = []

    def teardown(self) -> None:
        if hasattr(self, "journals"):
            for journal in self.journals:
                journal.close()
            self.folder.cleanup()

    @rule(by=st.sampled_from([-20_000, -300, -100, 1, 50, 400, 4000]))
    def time_passes(self, by: int) -> None:
        self.now += by

    @rule(at=st.integers(0, 1), queue=QUEUES, who=PEOPLE, items=st.permutations(ITEMS), edited=st.booleans())
    def take(self, at: int, queue: str, who: str, items: list[Item], edited: bool) -> None:
        lease = self.journals[at].take(queue, items, who, looks=self.looks, edited=edited, seconds=300)
        self.leases += [lease] if lease else []

    @rule(at=st.integers(0, 1), queue=QUEUES, who=PEOPLE, items=st.permutations(ITEMS))
    def take_again(self, at: int, queue: str, who: str, items: list[Item]) -> None:
        with self.journals[at].standing() as standing:
            again = [item for item, repeat in standing.done[queue, who] if not repeat]
        lease = self.journals[at].take(queue, again, who, looks=None, repeat=1, seconds=300)
        self.leases += [lease] if lease else []

    @rule(at=st.integers(0, 1), which=st.integers(0, 100))
    def renew(self, at: int, which: int) -> None:
        if self.leases:
            self.journals[at].renew(self.leases[which % len(self.leases)], looks=self.looks, seconds=300)

    @rule(at=st.integers(0, 1), which=st.integers(0, 100), verdict=st.sampled_from(["approve", "reject", "edit"]))
    def say(self, at: int, which: int, verdict: str) -> None:
        if self.leases:
            lease = self.leases[which % len(self.leases)]
            review = review_of(
                lease.item, lease.reviewer, verdict, next(self.numbers), queue=lease.queue, repeat=lease.repeat
            )
            with suppress(Refused, Conflict):
                self.journals[at].submit_taken(review, looks=None if lease.repeat else self.looks)

    @rule(at=st.integers(0, 1), queue=QUEUES, who=PEOPLE, item=CHOSEN, repeat=st.integers(0, 1))
    def take_back(self, at: int, queue: str, who: str, item: Item, repeat: int) -> None:
        review = review_of(item, who, "withdraw", next(self.numbers), queue=queue, repeat=repeat)
        with suppress(Refused):
            looks = None if repeat else self.looks
            lease = self.journals[at].withdraw(review, looks=looks, seconds=300)
            self.leases += [lease] if lease else []

    @rule(at=st.integers(0, 1), queue=QUEUES, who=PEOPLE, item=CHOSEN, skip=st.booleans())
    def release(self, at: int, queue: str, who: str, item: Item, skip: bool) -> None:
        self.journals[at].release(queue, item, who, skip=skip)

    @rule(at=st.integers(0, 1), who=PEOPLE, item=CHOSEN, verdict=st.sampled_from(["approve", "edit"]))
    def comes_from_elsewhere(self, at: int, who: str, item: Item, verdict: str) -> None:
        self.journals[at].submit([review_of(item, who, verdict, next(self.numbers))])

    @rule(at=st.integers(0, 1), who=PEOPLE, queue=QUEUES, item=CHOSEN)
    def send(self, at: int, who: str, queue: str, item: Item) -> None:
        self.journals[at].send([item], who, queue)

    @rule(at=st.integers(0, 1), queue=QUEUES, who=PEOPLE, item=CHOSEN)
    def write(self, at: int, queue: str, who: str, item: Item) -> None:
        self.journals[at].save_draft(queue, item, who, {})

    @invariant()
    def never_one_more_and_nobody_twice(self) -> None:
        if not hasattr(self, "journals"):
            return
        # By the reviews alone: of each person and queue what they said of an item and did not take back.
        stands: dict[tuple[str, str, int], list[str]] = defaultdict(list)
        for part in self.journals[0].reviews():
            for review in part:
                of = stands[review.queue, review.trajectory_id, review.repeat]
                if review.verdict == "withdraw":
                    of.remove(review.reviewer)
                elif review.queue or review.reviewer not in of:
                    of.append(review.reviewer)
        for (queue, _, repeat), people in stands.items():
            assert max(Counter(people).values(), default=0) <= 1, "nobody twice"
            if queue and not repeat:
                assert len(people) <= self.looks, "never one more"

    @invariant()
    def the_sum_is_that_of_the_file(self) -> None:
        if not hasattr(self, "journals"):
            return
        with Journal(Warehouse(Path(self.folder.name)), clock=lambda: self.now) as fresh, fresh.standing() as anew:
            for journal in self.journals:
                with journal.standing() as standing:
                    assert plain(standing) == plain(anew)


def plain(standing: Standing) -> dict[str, Any]:
    """A sum without what is empty: asking for something makes an empty place for it."""

    def full(value: Any) -> Any:
        return {k: v for k, v in value.items() if v} if isinstance(value, dict) else value

    return {f.name: full(getattr(standing, f.name)) for f in fields(standing)}


TestPeople = People.TestCase
TestPeople.settings = settings(
    max_examples=40, stateful_step_count=40, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)


def event(number: int, kind: str, **columns: Any) -> dict[str, Any]:
    empty = dict.fromkeys(("until", "since", "review_id", "verdict", "child_id"))
    of = {"number": number, "kind": kind, "item_id": "x", "attempt": 1, "queue": "one", "reviewer": "a", "repeat": 0}
    return {**empty, **of, **columns}


X = Item("x", 1)


def test_who_has_what_is_told_by_when_it_was_taken() -> None:
    standing = Standing()
    standing.add([
        event(1, "lease", since=5.0, until=50.0),
        event(2, "lease", item_id="y", since=3.0, until=30.0),
        event(3, "lease", item_id="z", queue="two", since=1.0, until=50.0),
        event(4, "lease", reviewer="b", since=5.0, until=50.0),
    ])  # fmt: skip
    assert [lease.item.item_id for lease in standing.has("one", "a", 10.0)] == ["y", "x"]
    assert [lease.item.item_id for lease in standing.has("one", "a", 40.0)] == ["x"]
    assert set(standing.held("one", X, 10.0)) == {"a", "b"}
    assert standing.held("one", X, 50.0) == {}
    assert not Lease("one", X, "a", 0.0, MOST_LEASE + 1.5).holds(1.0), "from before the clock was set back"


@pytest.mark.parametrize(("verdict", "child"), [("approve", None), ("withdraw", None), ("edit", "other")])
def test_another_word_takes_an_edit_and_its_authorship_back(verdict: str, child: str | None) -> None:
    standing = Standing()
    standing.add([event(1, "review", verdict="edit", child_id="made", review_id="1")])
    made = Item("made", 1)
    assert standing.has_said(made, "a") and standing.lookers("two", made) == {"a"}
    standing.add([event(2, "review", verdict=verdict, child_id=child, review_id="2")])
    assert not standing.has_said(made, "a")
    assert [said.child_id for said in standing.edits(X)] == ([child] if child else [])


def test_a_repeat_is_no_word_of_its_own() -> None:
    standing = Standing()
    standing.add([
        event(1, "review", verdict="approve", review_id="1"),
        event(2, "review", verdict="edit", child_id="made", review_id="2", repeat=1),
        event(3, "review", verdict="withdraw", review_id="3", repeat=1),
    ])  # fmt: skip
    assert [said.verdict for said in standing.words[X].values()] == ["approve"]
    assert not standing.has_said(Item("made", 1), "a")
    assert list(standing.done["one", "a"]) == [(X, 0)]
