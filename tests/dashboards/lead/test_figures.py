"""The figures of the pages of leads, against small cases that are worked out by hand."""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from dashboards.lead.against import Beside, beside, counts, differing
from dashboards.lead.agreeing import (
    by_week,
    confusion,
    monday,
    right,
    right_by_week,
    together,
    two_by_two,
    with_oneself,
)
from dashboards.lead.context import Held, Rows
from dashboards.lead.progress import IDLE_SECONDS, by_day, looks, person_progress, queue_progress, with_hands, work
from dashboards.lead.words import Answered, Word, at_gold, guidelines, twice, words
from schemas.records import Review, Trajectory, Verdict, now
from tests.dashboards.lead.made_up import pairs, review, trajectories
from warehouse.store import Warehouse

pytestmark = pytest.mark.slow

MONDAY = datetime(2026, 11, 2, 9, tzinfo=UTC)


@pytest.fixture
def replies(warehouse: Warehouse) -> list[Trajectory]:
    return trajectories(warehouse, 6)


class Told:
    """Writes reviews one after the other, an hour apart."""

    def __init__(self, warehouse: Warehouse) -> None:
        self.warehouse, self.number = warehouse, 0

    def __call__(self, of: Any, reviewer: str, verdict: str, *, queue: str = "q", **more: Any) -> Review:
        self.number += 1
        at = more.pop("at", MONDAY + timedelta(hours=self.number))
        said = review(of, reviewer, verdict, queue=queue, at=at, number=self.number, **more)
        self.warehouse.append("reviews", [said])
        return said


@pytest.fixture
def tell(warehouse: Warehouse) -> Told:
    return Told(warehouse)


def verdict_on(warehouse: Warehouse, of: Trajectory, outcome: Any, **more: Any) -> None:
    given = {"check": "math", "version": "1", "kind": "verifier", "run_id": "r", "created_at": now(), **more}
    warehouse.append("verdicts", [Verdict(trajectory_id=of.trajectory_id, attempt=1, outcome=outcome, **given)])


# -- words


def test_words_are_the_latest_of_each_person_without_those_that_cannot_be_compared(
    tell: Told, rows: Rows, replies: list[Trajectory]
) -> None:
    tell(replies[0], "ann", "reject")
    tell(replies[0], "ann", "approve")  # said anew
    tell(replies[0], "ben", "edit")  # what came of it is ben's own: no second opinion
    tell(replies[0], "cem", "reject")
    tell(replies[0], "cem", "withdraw")
    tell(replies[0], "dot", "approve", role="adjudicator")
    tell(replies[0], "ann", "reject", repeat=1)
    tell(replies[0], "eli", "flag", queue="other")
    tell(replies[1], "gold", "approve", queue="")  # an item with a known answer
    tell(replies[1], "ann", "reject")
    said = words(rows, "q")
    assert [(w.reviewer, w.verdict) for w in said] == [("ann", "approve"), ("ben", "edit")]
    assert [(w.reviewer, w.verdict) for w in words(rows, "other")] == [("eli", "flag")]


def test_a_pair_is_one_item(tell: Told, rows: Rows, replies: list[Trajectory], warehouse: Warehouse) -> None:
    import random

    one, other, _ = pairs(warehouse, replies, random.Random(1))
    tell(one, "ann", "prefer_a")
    tell(one, "ben", "tie")
    tell(other, "ann", "prefer_b")
    assert {w.item for w in words(rows, "q")} == {one.pair_id, other.pair_id}
    found = together(words(rows, "q"), 2)
    assert found.ordinal is not None and found.ordinal.items == 1


def test_guidelines_come_with_the_first_word_that_was_said_by_each(
    tell: Told, rows: Rows, replies: list[Trajectory]
) -> None:
    tell(replies[0], "ann", "approve", guideline="a" * 12)
    tell(replies[0], "ben", "approve", guideline="b" * 12)
    tell(replies[1], "ann", "approve", guideline="a" * 12)
    tell(replies[1], "ben", "approve")
    found = [(g.version[0], g.since, g.words) for g in guidelines(rows, "q")]
    assert found == [("a", MONDAY + timedelta(hours=1), 2), ("b", MONDAY + timedelta(hours=2), 1)]


# -- agreement


def said_of(*said: str, at: datetime = MONDAY) -> list[Word]:
    """Each text is an item, each character who said what: `aA bR` is that a approved and b rejected."""
    names = {"A": "approve", "R": "reject", "E": "edit", "F": "flag"}
    return [
        Word(f"{at:%m%d}-{i}", word[0], names[word[1]], "", at) for i, item in enumerate(said) for word in item.split()
    ]


def test_agreement_of_all_people() -> None:
    found = together(said_of("aA bA", "aA bR", "aR bR", "aR bR cR", "aA"), 2)
    # Items of two words: 1, 0, 1; of three: 1.
    assert (found.percent.value, found.percent.items, found.percent.dropped) == (0.75, 4, 1)
    # Of the three with just two: P = 2/3, half of the words are approvals.
    assert found.fleiss.value == pytest.approx((2 / 3 - 0.5) / 0.5) and found.fleiss.dropped == 2
    # Off-diagonal coincidences: 2 of 9; expected: 2 * 3 * 6 / 8.
    assert found.nominal.value == pytest.approx(1 - 2 / (2 * 3 * 6 / 8))
    assert found.ordinal is None
    assert together(said_of("aA"), 1).fleiss.value is None


def test_each_two_people_are_compared_on_what_both_judged() -> None:
    both = ["aA bA"] * 20 + ["aA bR"] * 5 + ["aR bA"] * 10 + ["aR bR"] * 15
    found = {(t.a, t.b): t for t in two_by_two(said_of(*both, "aA cA", "dA"))}
    assert found.keys() == {("a", "b"), ("a", "c")}
    # Observed 0.7, expected 0.5 * 0.6 + 0.5 * 0.4.
    assert found["a", "b"].kappa.value == pytest.approx(0.4) and found["a", "b"].kappa.items == 50
    assert found["a", "b"].percent.value == pytest.approx(0.7)
    assert (found["a", "c"].kappa.value, found["a", "c"].percent.value) == (None, 1)


def test_confusion_of_all_is_the_same_either_way_and_of_two_as_they_are_asked_for() -> None:
    said = said_of("aA bR", "aA bR", "aR bR cA")
    everybody = confusion(said)
    assert everybody["approve", "reject"] == everybody["reject", "approve"] == 4
    assert everybody["reject", "reject"] == 2
    assert confusion(said, ("a", "b")) == {("approve", "reject"): 2, ("reject", "reject"): 1}
    assert confusion(said, ("b", "a")) == {("reject", "approve"): 2, ("reject", "reject"): 1}


def test_an_item_counts_in_the_week_of_its_last_word() -> None:
    later = MONDAY + timedelta(days=8)
    first, second = said_of("aA bA", "aR bR", "aR bA"), said_of("aA bA", "aR bR", at=later)
    late = first[-1]._replace(at=later)
    found = by_week([*first[:-1], late, *second])
    assert [(w.week, w.figure.items) for w in found] == [(date(2026, 11, 2), 2), (date(2026, 11, 9), 3)]
    assert found[0].figure.value == 1
    assert monday(datetime(2027, 1, 1)) == date(2026, 12, 28)


def test_agreement_with_oneself(tell: Told, rows: Rows, replies: list[Trajectory]) -> None:
    for i, (first, second) in enumerate([("approve", "approve"), ("reject", "approve"), ("edit", "edit")]):
        tell(replies[i], "ann", first)
        tell(replies[i], "ann", second, repeat=1)
    tell(replies[3], "ann", "approve")
    tell(replies[3], "ann", "reject", repeat=1)
    tell(replies[3], "ann", "withdraw", repeat=1)
    tell(replies[4], "ben", "approve", repeat=1)  # without a first word that stands
    (ann,) = with_oneself(twice(rows))
    assert (ann.reviewer, ann.hits, ann.n, ann.share) == ("ann", 2, 3, pytest.approx(2 / 3))
    assert ann.low == pytest.approx(0.2077, abs=1e-3) and ann.high == pytest.approx(0.9385, abs=1e-3)
    assert twice(rows, "other") == []


def test_known_answers_are_met_by_saying_whether_it_may_stand(
    tell: Told, rows: Rows, replies: list[Trajectory]
) -> None:
    for reply, known in zip(replies[:4], ("approve", "reject", "reject", "approve"), strict=True):
        tell(reply, "gold", known, queue="")
    for reply, word in zip(replies[:4], ("approve", "edit", "approve", "flag"), strict=True):
        tell(reply, "ann", word)
    tell(replies[0], "ben", "reject", queue="other")
    ann, ben = right(at_gold(rows))
    assert (ann.hits, ann.n, ann.left_out) == (2, 3, 1)
    assert (ben.hits, ben.n) == (0, 1)
    assert [s.reviewer for s in right(at_gold(rows, "other"))] == ["ben"]


def test_known_preferences_are_met_by_the_same_preference() -> None:
    def answered(verdict: str, days: int = 0) -> Answered:
        return Answered("p", "ann", verdict, "prefer_a", MONDAY + timedelta(days=days))

    (ann,) = right([answered("prefer_a"), answered("tie"), answered("prefer_b")])
    assert (ann.hits, ann.n) == (1, 3)
    weeks = right_by_week([answered("prefer_a"), answered("tie", 7), answered("flag", 14)])
    assert [(week.day, share.hits, share.n) for week, share in weeks] == [(2, 1, 1), (9, 0, 1)]


# -- progress


def test_progress_of_a_queue(tell: Told, rows: Rows, replies: list[Trajectory]) -> None:
    ids = [t.trajectory_id for t in replies]
    tell(replies[0], "ann", "approve")
    tell(replies[0], "ben", "approve")
    tell(replies[1], "ann", "edit")  # done by that: nobody looks at it any more
    tell(replies[2], "ann", "approve")
    tell(replies[3], "ann", "approve")
    tell(replies[3], "ann", "withdraw")
    tell(replies[4], "gold", "approve", queue="")
    tell(replies[4], "ann", "approve")
    held = [Held("q", ids[3], "cem", MONDAY), Held("q", ids[0], "cem", MONDAY), Held("other", ids[5], "cem", MONDAY)]
    # What is done is not in the desk's list any more.
    found = queue_progress("q", 2, [ids[2], ids[3], ids[5]], looks(rows)["q"], held)
    assert (found.items, found.done, found.in_hands, found.begun, found.open) == (5, 2, 1, 1, 1)
    empty = queue_progress("none", 2, [], [], [])
    assert (empty.items, empty.open) == (0, 0)


def test_what_each_person_did(tell: Told, rows: Rows, replies: list[Trajectory]) -> None:
    for i, seconds in enumerate((10, 20, 60, IDLE_SECONDS + 1)):
        tell(replies[i], "ann", "approve", seconds=float(seconds))
    tell(replies[4], "ann", "flag", queue="other")
    tell(replies[5], "ann", "reject")
    tell(replies[5], "ann", "withdraw")
    tell(replies[0], "ann", "approve", repeat=1, seconds=30.0)
    tell(replies[0], "gold", "approve")
    today = MONDAY + timedelta(hours=4)
    skipped, held = {("q", "ann"): 2, ("other", "ben"): 1}, [Held("q", "x", "cem", MONDAY)]
    did = person_progress(work(rows), today)
    ann, ben, cem = with_hands(did, held, skipped)
    assert [p.person for p in with_hands(did, held, skipped, "other")] == ["ann", "ben"]
    assert (ann.in_all, ann.today, ann.flagged, ann.skipped, ann.in_hands) == (6, 3, 1, 2, 0)
    # Of 10, 20, 30, 60: who took longer was away.
    assert (ann.seconds, ann.timed, ann.idle, ann.lower, ann.upper) == (25, 4, 1, 17.5, 37.5)
    assert (ben.person, ben.skipped, ben.in_all, ben.seconds, ben.last) == ("ben", 1, 0, None, None)
    assert (cem.person, cem.in_hands) == ("cem", 1)
    (alone,) = person_progress(work(rows), today, "other")
    assert (alone.person, alone.in_all, alone.seconds) == ("ann", 1, None)
    assert by_day(work(rows), "other") == [{"day": MONDAY.date(), "queue": "other", "items": 1}]


# -- people against checks


def test_people_beside_a_rule(tell: Told, rows: Rows, replies: list[Trajectory], warehouse: Warehouse) -> None:
    against = rows("SELECT against FROM prompts", [])[0]["against"]
    for reply, outcome in zip(replies, ("pass", "pass", "fail", "fail", "undecided"), strict=False):
        verdict_on(warehouse, reply, outcome, against=against)
    verdict_on(warehouse, replies[0], "pass", check="prose", kind="filter")
    for reply, word in zip(replies, ("approve", "reject", "edit", "approve", "approve"), strict=False):
        tell(reply, "ann", word)
    tell(replies[0], "ben", "flag", queue="other")
    (found,) = beside(rows)
    assert (found.check, found.kind, found.rows, found.n) == ("math", "verifier", "attempts", 6)
    # Both told on four: 1 pass/pass, 1 fail/fail of 4; by chance a half.
    assert (found.kappa.value, found.kappa.items, found.agreement) == (0, 4, 0.5)
    assert found.by_person["ben"].items == 0
    cells = {(c["said"], c["told"]): c["n"] for c in counts(found) if c["n"]}
    assert cells == {
        ("approve", "pass"): 1, ("reject", "pass"): 1, ("edit", "fail"): 1, ("approve", "fail"): 1,
        ("approve", "undecided"): 1, ("flag", "pass"): 1,
    }  # fmt: skip
    ids = {t.trajectory_id: i for i, t in enumerate(replies)}

    def where(**asked: Any) -> list[int]:
        return sorted(ids[r["id"]] for r in differing(rows, found, **asked))

    assert where() == [1, 3]
    assert where(said="approve", told="fail") == [3]
    assert where(said="flag") == [0] and where(told="undecided") == [4]
    assert where(queue="other") == [] and where(most=1) in ([1], [3])
    (other,) = beside(rows, "other")
    assert (other.n, other.kappa.value) == (1, None)


def test_people_beside_a_judge_of_pairs(
    tell: Told, rows: Rows, replies: list[Trajectory], warehouse: Warehouse
) -> None:
    import random

    made = pairs(warehouse, replies, random.Random(2))
    judged = {r["pair_id"]: r["score"] for r in rows("SELECT pair_id, score FROM pair_verdicts", [])}
    for pair in made[:2]:
        tell(pair, "ann", "prefer_a" if judged[pair.pair_id] > 0 else "prefer_b")
    tell(made[2], "ann", "tie")
    found = [b for b in beside(rows) if b.rows == "pairs"]
    assert [(b.check, b.kind, b.n) for b in found] == [("preference", "judge", 3)]
    assert found[0].agreement == pytest.approx(2 / 3)
    assert [r["id"] for r in differing(rows, found[0])] == [made[2].pair_id]


def test_a_crowd_has_all_figures(crowd: Path) -> None:
    """Of made-up people who are mostly right, agreement is well above chance and below 1."""
    from tests.dashboards.lead.conftest import rows_of

    rows = rows_of(crowd)
    found = together(words(rows, "second-look"), 2)
    for figure in (found.percent, found.fleiss, found.nominal):
        assert figure.value is not None and figure.low is not None and figure.high is not None
        assert 0.1 < figure.low < figure.value < figure.high < 1
    assert len(by_week(words(rows, "second-look"))) >= 5
    assert all(isinstance(b, Beside) and b.kappa.value is not None for b in beside(rows))
