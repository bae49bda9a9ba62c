"""What a person does at their desk: tasks, words, what they take back, and what the role allows."""

from collections import Counter
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from dataengine.desk import Conflict, Desk, NotYours, Refused, Task, Words, send
from dataengine.reviewing import settle
from schemas.access import Person
from schemas.errors import InputError, UserError
from schemas.queue import Queue
from schemas.records import Review, now
from tests.dataengine.made import Made
from warehouse.connect import connect
from warehouse.journal import Journal
from warehouse.standing import Item

ANN, BOB, CEM, DEE = (Person(name, ("annotator",)) for name in ("ann", "bob", "cem", "dee"))
JUDGE, LEAD, NOBODY = Person("jo", ("adjudicator",)), Person("lea", ("lead",)), Person("nix", ())
BETTER = "<think>\nI add.\n</think>\nIt is 7."


class Clock:
    now = 100_000.0

    def __call__(self) -> float:
        return self.now


def queue(name: str = "look", sql: str = "SELECT trajectory_id FROM trajectories", **settings: Any) -> Queue:
    values: dict[str, Any] = {"title": "T", "guideline": "g", "reasons": {"wrong": "W"}, **settings}
    return Queue(queue=name, sql=sql, **values)


@pytest.fixture
def made(tmp_path: Path) -> Made:
    return Made(tmp_path / "warehouse")


@pytest.fixture
def time_of() -> Clock:
    return Clock()


@pytest.fixture
def open_desk(made: Made, time_of: Clock) -> Iterator[Callable[..., Desk]]:
    """A desk with these queues."""
    desks: list[Desk] = []

    def opened(*queues: Queue) -> Desk:
        desks.append(Desk(made.warehouse, {q.queue: q for q in queues}, clock=time_of))
        return desks[-1]

    yield opened
    for desk in desks:
        desk.close()


@pytest.fixture
def desk(made: Made, open_desk: Callable[..., Desk]) -> Desk:
    """A desk at three replies, each to be looked at by one person."""
    for name in ("one", "two", "three"):
        made.reply(name)
    return open_desk(queue(order="given", lease=900))


def taken(desk: Desk, person: Person, name: str = "look") -> Task:
    task = desk.take(name, person)
    assert task is not None
    return task


def say(desk: Desk, task: Task, person: Person, verdict: Any = "approve", **more: Any) -> Review:
    values = {"nonce": f"{task.id} {verdict} {more}", **more}
    review = desk.submit(task, person, Words(verdict, **values))
    assert review is not None
    return review


# -- taking


def test_a_task_has_what_may_be_seen_and_a_reload_gives_the_same(made: Made, open_desk: Any) -> None:
    reply = made.reply("one", checks={"exact": "pass", "language_mix": "fail", "judge": "pass"})
    desk = open_desk(queue())
    task = taken(desk, ANN)
    assert (task.item, task.id) == (Item(reply, 1), f"look/{reply}/1/0")
    (shown,) = task.shown
    assert (shown.trajectory.text, task.contents.prompt.reference) == ("one", "7")
    assert [v.check for v in shown.verdicts] == ["exact", "language_mix"], "no judge's word"
    assert (task.a_first, task.draft, task.others, task.edited, task.base) == (None, None, (), None, None)
    assert taken(desk, ANN) == task
    assert desk.open("look", task.item, ANN) == task


def test_each_is_looked_at_by_exactly_so_many(made: Made, open_desk: Any) -> None:
    ids = [made.reply(name) for name in ("one", "two", "three")]
    desk = open_desk(queue(reviewers=2))
    looks: Counter[str] = Counter()
    people = [ANN, BOB, CEM, DEE]
    while people:
        for person in list(people):
            task = desk.take("look", person)
            if task is None:
                people.remove(person)
            else:
                say(desk, task, person)
                looks[task.item.item_id] += 1
    assert looks == dict.fromkeys(ids, 2)
    with desk.journal.standing() as standing:
        assert {len(standing.lookers("look", Item(ident, 1))) for ident in ids} == {2}


def test_what_another_has_or_nobody_took_cannot_be_opened(desk: Desk, time_of: Clock) -> None:
    task = taken(desk, ANN)
    other = next(item for item in desk.lists.of("look").items if item != task.item)
    for item in (task.item, other, Item("' OR 1 --", 1), Item(task.item.item_id, 2)):
        with pytest.raises(NotYours, match="you do not have this item before you"):
            desk.open("look", item, BOB)
    with pytest.raises(NotYours, match="another person's task"):
        desk.submit(task, BOB, Words("approve", "n"))
    time_of.now += 900
    with pytest.raises(NotYours):
        desk.open("look", task.item, ANN)


def test_roles_say_which_queues_are_there(made: Made, open_desk: Any) -> None:
    made.reply("one")
    desk = open_desk(queue(), queue("settle", kind="adjudicate"))
    allowed = {p.name: [q.queue for q in desk.allowed(p)] for p in (ANN, JUDGE, LEAD, NOBODY)}
    assert allowed == {"ann": ["look"], "jo": ["look", "settle"], "lea": ["look"], "nix": []}
    for person, name in ((ANN, "settle"), (LEAD, "settle"), (NOBODY, "look"), (ANN, "nowhere")):
        for attempt in (lambda p=person, n=name: desk.take(n, p), lambda p=person, n=name: desk.undo(n, p),
                        lambda p=person, n=name: desk.open(n, Item("x", 1), p)):  # fmt: skip
            with pytest.raises(NotYours, match=f"there is no queue '{name}' for you"):
                attempt()


def test_a_queue_whose_sql_fails_says_so(made: Made, open_desk: Any) -> None:
    desk = open_desk(queue(sql="SELECT trajectory_id FROM nowhere"))
    with pytest.raises(UserError, match=r"queue look: .*nowhere"):
        desk.take("look", ANN)


def test_begun_work_comes_first_also_when_its_lease_ended(desk: Desk, time_of: Clock) -> None:
    first = taken(desk, ANN)
    desk.skip(first)
    begun = taken(desk, ANN)
    desk.save_draft(begun, {"text": "half"})
    time_of.now += 1000
    again = taken(desk, ANN)
    assert again.item == begun.item and again.draft is not None and again.draft.body == {"text": "half"}
    desk.release("ann", "look")
    other = taken(desk, BOB)
    while other.item != begun.item:
        desk.skip(other)
        other = taken(desk, BOB)
    assert other.draft is None, "nobody sees another's draft"
    assert taken(desk, ANN).item != begun.item, "another has it now"


def test_a_skipped_task_does_not_come_back(desk: Desk) -> None:
    seen = []
    while task := desk.take("look", ANN):
        seen.append(task.item)
        desk.skip(task)
    assert len(set(seen)) == len(seen) == 3
    assert taken(desk, BOB).item in seen


# -- gold and repeats


def known(made: Made, ident: str, verdict: Any = "approve", **edited: Any) -> None:
    made.warehouse.append("reviews", [Review(
        review_id=ident, trajectory_id=ident, attempt=1, reviewer="gold", verdict=verdict, created_at=now(), **edited
    )])  # fmt: skip


def test_about_so_many_tasks_are_gold_and_all_may_do_each(made: Made, open_desk: Any) -> None:
    gold = {made.reply(f"gold {n}") for n in range(8)}
    for ident in gold:
        known(made, ident)
    for n in range(12):
        made.reply(f"reply {n}")
    desk = open_desk(queue(gold=0.4))
    assert desk.lists.of("look").total == 20 and not gold & {i.item_id for i in desk.lists.of("look").items}
    done: dict[str, list[str]] = {}
    for person in (ANN, BOB):
        for _ in range(8):
            task = taken(desk, person)
            assert taken(desk, person).item == task.item
            say(desk, task, person, "edit", text=f"{BETTER} {person.name}")
            done.setdefault(person.name, []).append(task.item.item_id)
    shares = {name: len(gold & set(ids)) for name, ids in done.items()}
    assert all(1 <= n <= 6 for n in shares.values()), shares
    assert not set(done["ann"]) & set(done["bob"]) - gold, "the others are for one person each"
    both = gold & set(done["ann"]) | gold & set(done["bob"])
    with desk.journal.standing() as standing:
        assert all(standing.wants("look", Item(i, 1), "dee", None, 0.0, edited=True) for i in both)


def test_the_known_answer_of_a_gold_item_is_not_shown(made: Made, open_desk: Any) -> None:
    ident = made.reply("one")
    with Journal(made.warehouse) as journal:
        journal.submit([Review(review_id="1" * 32, trajectory_id=ident, attempt=1, reviewer="gold", verdict="edit",
                               text=BETTER, child_id="made", created_at=now())])  # fmt: skip
    settle(made.warehouse)
    desk = open_desk(queue(gold=0.5, sql=f"SELECT trajectory_id FROM trajectories WHERE trajectory_id = '{ident}'"))
    task = next(task for n in range(50) if (task := desk.take("look", Person(f"p{n}", ("annotator",)))))
    assert task.item == Item(ident, 1)
    assert (task.edited, task.others, task.base) == (None, (), None)
    person = Person(task.lease.reviewer, ("annotator",))
    desk.save_draft(task, {"text": "mine"})
    assert say(desk, desk.open("look", task.item, person), person, "edit", text="mine").child_id is not None


def test_after_some_others_a_person_is_given_what_they_did_again(made: Made, open_desk: Any) -> None:
    for n in range(60):
        made.reply(f"reply {n}")
    desk = open_desk(queue(repeats=0.5))
    order: list[tuple[str, int]] = []
    for _ in range(40):
        task = taken(desk, ANN)
        say(desk, task, ANN, "approve")
        order.append((task.item.item_id, task.lease.repeat))
    again = [place for place, (_, repeat) in enumerate(order) if repeat]
    assert 5 <= len(again) <= 25
    firsts = [ident for ident, repeat in order if not repeat]
    assert len(set(firsts)) == len(firsts)
    assert len({order[place][0] for place in again}) == len(again), "each once"
    for place in again:
        assert place - order.index((order[place][0], 0)) > 10
    reviews = [r for part in desk.journal.reviews() for r in part]
    assert Counter(r.repeat for r in reviews) == {0: 40 - len(again), 1: len(again)}


def test_a_repeat_that_is_passed_over_makes_way(made: Made, open_desk: Any) -> None:
    for n in range(40):
        made.reply(f"reply {n}")
    desk = open_desk(queue(repeats=0.5))
    task = taken(desk, ANN)
    while not task.lease.repeat:
        say(desk, task, ANN)
        task = taken(desk, ANN)
    desk.skip(task)
    assert taken(desk, ANN).item != task.item


# -- saying


def test_what_is_said_is_written_with_queue_guideline_and_role(desk: Desk, time_of: Clock) -> None:
    task = taken(desk, ANN)
    time_of.now += 30
    review = say(desk, task, ANN, "reject", reasons=["wrong"], note=" step 2 ")
    kept = {k: getattr(review, k) for k in ("queue", "guideline", "role", "repeat", "tags", "note", "seconds")}
    assert kept == {"queue": "look", "guideline": task.queue.guideline_version, "role": "annotator", "repeat": 0,
                    "tags": ["wrong"], "note": "step 2", "seconds": 30.0}  # fmt: skip
    assert taken(desk, ANN).item != task.item


def test_the_same_click_twice_is_one_review(desk: Desk) -> None:
    task = taken(desk, ANN)
    assert desk.submit(task, ANN, Words("approve", "click")) is not None
    assert desk.submit(task, ANN, Words("approve", "click")) is None
    with pytest.raises(Refused, match="you have said this already"):
        desk.submit(task, ANN, Words("approve", "another click"))


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (Words("reject", "n"), "say why: pick a reason, or write a note"),
        (Words("reject", "n", note="  "), "say why"),
        (Words("reject", "n", reasons=["typo"]), "there is no reason 'typo' in queue look"),
        (Words("prefer_a", "n"), "prefer_a is not said of a reply"),
        (Words("withdraw", "n"), "withdraw is not said of a reply"),
        (Words("edit", "n", text=" "), "an edit needs the edited `text`"),
        (Words("approve", "n", text="other"), "the text was changed"),
    ],
)
def test_what_is_no_review_is_refused_and_the_task_stays(desk: Desk, words: Words, reason: str) -> None:
    task = taken(desk, ANN)
    with pytest.raises(ValueError, match=reason):
        desk.submit(task, ANN, words)
    assert taken(desk, ANN).item == task.item


def test_where_nothing_is_edited_no_edit_is_taken(made: Made, open_desk: Any) -> None:
    made.reply("one")
    desk = open_desk(queue(edit=False))
    with pytest.raises(ValueError, match="replies of this queue are not edited"):
        desk.submit(taken(desk, ANN), ANN, Words("edit", "n", text=BETTER))


def test_drafts_keep_the_lease_and_two_windows_conflict(desk: Desk, time_of: Clock) -> None:
    task = taken(desk, ANN)
    events = "SELECT count(*) FROM events WHERE kind = 'lease'"
    seen = 0
    for second in range(2000):
        time_of.now += 1
        if second % 10 == 0:
            seen = desk.save_draft(task, {"window": "left", "text": f"{second}"}, seen=seen)
    assert taken(desk, ANN).item == task.item
    assert desk.journal._file.rows(events)[0][0] <= 6, "now and then, not with each draft"
    with pytest.raises(Conflict, match="another window"):
        desk.save_draft(task, {"window": "right", "text": "old"}, seen=0)


def test_a_late_word_is_refused_and_its_draft_kept(made: Made, open_desk: Any, time_of: Clock) -> None:
    made.reply("one")
    desk = open_desk(queue())
    task = taken(desk, ANN)
    desk.save_draft(task, {"text": "half"})
    time_of.now += 1000
    assert taken(desk, BOB).item == task.item
    assert not desk.renew(task)
    with pytest.raises(Refused, match="your lease ended"):
        desk.submit(task, ANN, Words("approve", "n"))
    assert [d.body["text"] for d in desk.journal.drafts("ann")] == ["half"]
    assert desk.take("look", ANN) is None


def test_a_stale_edit_is_a_conflict_and_can_be_said_with_the_new_base(made: Made, open_desk: Any) -> None:
    made.reply("one")
    desk = open_desk(queue(reviewers=2))
    mine, theirs = taken(desk, ANN), taken(desk, BOB)
    desk.save_draft(mine, {"text": "mine", "base": mine.base})
    first = say(desk, theirs, BOB, "edit", text=BETTER)
    task = taken(desk, ANN)
    assert task.edited == first and task.base is None, "what the draft was made of"
    with pytest.raises(Conflict) as error:
        desk.submit(task, ANN, Words("edit", "n", text="mine"))
    assert error.value.child_id == first.child_id
    assert task.draft == desk.journal.draft("look", task.item, "ann")
    assert say(desk, task, ANN, "edit", text="mine", base=first.child_id).verdict == "edit"


# -- taking back


def test_undo_gives_the_task_back_with_what_was_written(desk: Desk) -> None:
    first = taken(desk, ANN)
    said = say(desk, first, ANN, "edit", text=BETTER, note="n", reasons=["wrong"])
    second = taken(desk, ANN)
    desk.save_draft(second, {"text": "begun"})
    task = desk.undo("look", ANN)
    assert task is not None and task.item == first.item and task.draft is not None
    assert {k: task.draft.body[k] for k in ("text", "note", "reasons", "verdict")} == {
        "text": said.text, "note": "n", "reasons": ["wrong"], "verdict": "edit"
    }  # fmt: skip
    assert taken(desk, ANN) == task
    say(desk, task, ANN, "approve")
    again = taken(desk, ANN)
    assert again.item == second.item and again.draft is not None, "what was begun before comes next"
    assert [said.verdict for said in desk.said("look", ANN)] == ["approve"]
    words = [r.verdict for part in desk.journal.reviews() for r in part]
    assert words == ["edit", "withdraw", "approve"], "nothing is erased"


def test_undo_by_id_and_where_nothing_is_left(desk: Desk) -> None:
    with pytest.raises(Refused, match="nothing of yours to take back"):
        desk.undo("look", ANN)
    first = say(desk, taken(desk, ANN), ANN)
    say(desk, taken(desk, ANN), ANN)
    others = say(desk, taken(desk, BOB), BOB)
    task = desk.undo("look", ANN, first.review_id)
    assert task is not None and task.item.item_id == first.trajectory_id
    for ident in (first.review_id, others.review_id, "x"):
        with pytest.raises(Refused, match="nothing of yours to take back"):
            desk.undo("look", ANN, ident)


def test_undo_after_others_took_the_place_gives_no_task(made: Made, open_desk: Any) -> None:
    made.reply("one")
    desk = open_desk(queue())
    say(desk, taken(desk, ANN), ANN, "flag")
    assert desk.journal.take("look", [desk.said("look", ANN)[0].item], "bob", looks=2) is not None
    assert desk.undo("look", ANN) is None
    assert desk.said("look", ANN) == []


# -- adjudicating


def test_an_adjudicator_sees_what_others_said_and_decides_alone(made: Made, open_desk: Any) -> None:
    ident = made.reply("one")
    desk = open_desk(queue(reviewers=2), queue("settle", kind="adjudicate"))
    say(desk, taken(desk, ANN), ANN, "approve")
    say(desk, taken(desk, BOB), BOB, "reject", note="no")
    task = taken(desk, JUDGE, "settle")
    assert {(r.reviewer, r.verdict, r.note) for r in task.others} == {("ann", "approve", ""), ("bob", "reject", "no")}
    review = say(desk, task, JUDGE, "approve", note="ann is right")
    assert (review.role, review.queue) == ("adjudicator", "settle")
    assert desk.take("settle", Person("kim", ("adjudicator",))) is None
    settle(made.warehouse)
    with connect(made.path) as connection:
        found = connection.execute(
            "SELECT outcome FROM verdicts_current WHERE \"check\" = 'human' AND trajectory_id = ?", [ident]
        ).fetchall()
    assert found == [("pass",)]


def test_an_adjudicator_may_edit_what_was_edited(made: Made, open_desk: Any) -> None:
    made.reply("one")
    desk = open_desk(queue(reviewers=2), queue("settle", kind="adjudicate"))
    mine, theirs = taken(desk, ANN), taken(desk, BOB)
    say(desk, mine, ANN, "flag")
    first = say(desk, theirs, BOB, "edit", text=BETTER)
    task = taken(desk, JUDGE, "settle")
    assert task.edited == first and task.base == first.child_id
    assert say(desk, task, JUDGE, "edit", text=f"{BETTER}!").role == "adjudicator"


def test_nobody_settles_what_they_said_themselves(made: Made, open_desk: Any) -> None:
    made.reply("one")
    desk = open_desk(queue(), queue("settle", kind="adjudicate"))
    say(desk, taken(desk, JUDGE), JUDGE, "flag")
    assert desk.take("settle", JUDGE) is None
    assert desk.take("settle", Person("kim", ("adjudicator",))) is not None


# -- pairs


def test_sides_are_drawn_for_each_person_and_recorded(made: Made, open_desk: Any) -> None:
    replies = [made.reply(f"reply {n}") for n in range(13)]
    for a, b in pairwise(replies):
        made.pair(a, b)
    desk = open_desk(queue("prefer", "SELECT pair_id FROM pairs", rows="pairs", reviewers=2))
    drawn: dict[str, dict[Item, bool]] = {"ann": {}, "bob": {}}
    for person in (ANN, BOB):
        while task := desk.take("prefer", person):
            assert task.a_first is not None and task.contents.pair is not None
            left, right = (reply.trajectory.trajectory_id for reply in task.shown)
            a, b = task.contents.pair.a_id, task.contents.pair.b_id
            assert (left, right) == ((a, b) if task.a_first else (b, a))
            assert desk.open("prefer", task.item, person).a_first == task.a_first, "a reload shows the same"
            word = task.preference("left")
            assert word == ("prefer_a" if task.a_first else "prefer_b") != task.preference("right")
            review = say(desk, task, person, word)
            assert (review.a_first, review.pair_id, review.trajectory_id) == (task.a_first, task.item.item_id, a)
            drawn[person.name][task.item] = task.a_first
    for sides in drawn.values():
        assert 1 <= sum(sides.values()) <= 11
    assert drawn["ann"] != drawn["bob"]


def test_of_pairs_other_words_are_said(made: Made, open_desk: Any) -> None:
    made.pair(made.reply("a"), made.reply("b"))
    desk = open_desk(queue("prefer", "SELECT pair_id FROM pairs", rows="pairs"))
    task = taken(desk, ANN, "prefer")
    assert task.preference("tie") == "tie"
    for word in ("approve", "edit", "withdraw"):
        with pytest.raises(ValueError, match=f"{word} is not said of pairs"):
            desk.submit(task, ANN, Words(word, "n", text="x"))  # type: ignore[arg-type]
    assert say(desk, task, ANN, "flag").pair_id == task.item.item_id
    task = desk.undo("prefer", ANN)  # type: ignore[assignment]
    assert task is not None and say(desk, task, ANN, "tie").verdict == "tie"


# -- what leads do


def test_what_is_sent_is_in_the_queue_at_once_from_whatever_process(made: Made, open_desk: Any) -> None:
    one, two = made.reply("one"), made.reply("two")
    failed = made.reply("failed", error="timeout", text="")
    desk = open_desk(queue("sent", "SELECT trajectory_id FROM trajectories WHERE false"))
    assert desk.take("sent", ANN) is None
    assert desk.send([one, one], LEAD, "sent") == 1
    assert taken(desk, ANN, "sent").item == Item(one, 1)
    assert send(made.warehouse, [one, two], BOB, "sent") == 1
    assert taken(desk, BOB, "sent").item == Item(two, 1)
    for ids in ([one, "ffff"], [failed]):
        with pytest.raises(InputError, match=r"1 of . are no trajectory with a reply"):
            desk.send(ids, LEAD, "sent")
    with pytest.raises(InputError, match="there is no queue nowhere; there are: sent"):
        desk.send([one], LEAD, "nowhere")


def test_pairs_are_sent_to_queues_of_pairs(made: Made, open_desk: Any) -> None:
    pair = made.pair(made.reply("a"), made.reply("b"))
    desk = open_desk(queue("prefer", "SELECT pair_id FROM pairs WHERE false", rows="pairs"))
    assert desk.send([pair], LEAD, "prefer") == 1
    assert taken(desk, ANN, "prefer").item == Item(pair, 0)
    with pytest.raises(InputError, match="are no pair"):
        desk.send([made.reply("c")], LEAD, "prefer")


def test_a_lead_gives_leases_back_and_takes_back_what_was_said(desk: Desk, made: Made) -> None:
    said = [say(desk, taken(desk, ANN), ANN) for _ in range(2)]
    third = taken(desk, ANN)
    assert desk.release("ann", "look") == 1
    assert taken(desk, BOB).item == third.item
    with pytest.raises(NotYours, match="only a lead"):
        desk.withdraw(said, ANN)
    assert desk.withdraw(said, LEAD) == 2
    assert desk.withdraw(said, LEAD) == 0
    assert desk.said("look", ANN) == []
    last = [r for part in desk.journal.reviews() for r in part][-1]
    assert (last.verdict, last.reviewer, last.note) == ("withdraw", "ann", "taken back by lea")
    again = say(desk, taken(desk, ANN), ANN, "flag")
    assert desk.withdraw(said, LEAD) == 0, "what was said since stands"
    assert [word.review_id for word in desk.said("look", ANN)] == [again.review_id]


# -- what is read


def test_evidence_that_came_since_is_shown(made: Made, open_desk: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dataengine.desk_reading._STALE", 0.0)
    made.reply("one", checks={"exact": "pass"})
    desk = open_desk(queue())
    item = taken(desk, ANN).item
    made.reply("one", checks={"language_mix": "fail"})
    desk.reader.read_ahead([item])
    desk.reader._ahead.submit(int).result()
    assert {v.check for v in desk.open("look", item, ANN).shown[0].verdicts} == {"exact", "language_mix"}


def test_what_came_since_the_start_is_read(made: Made, open_desk: Any) -> None:
    made.reply("one")
    desk = open_desk(queue())
    taken(desk, ANN)
    new = made.reply("two")
    assert desk.reader.read(Item(new, 1)).replies[0].trajectory.text == "two"
    with pytest.raises(InputError, match="there is no such pair here"):
        desk.reader.read(Item(new, 0))
