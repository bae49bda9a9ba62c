"""Reviews become verdicts and edits trajectories: the same rows whenever and however often it is done."""

import json
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataengine.reviewing import Taken, _opinions, _rounds, review_of, settle, withdrawal_of
from schemas.records import Review, Trajectory
from warehouse.connect import connect
from warehouse.fetching import records
from warehouse.journal import Journal
from warehouse.looks import Looked, edited_from, looked_at
from warehouse.store import Warehouse

TEXT = "<think>\n{0} and {0}\n</think>\nIt is <answer>{1}</answer>."
Say = Callable[..., Review]


def fill(cli: Any, folder: Path, count: int = 4) -> None:
    rows = [
        {"prompt": f"What is {i} + {i}?", "response": TEXT.format(i, 2 * i), "reference": 2 * i} for i in range(count)
    ]
    (folder / "replies.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    assert cli("import", "replies.jsonl", "--as", "trajectories", "--warehouse", "data").code == 0


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("filled") / "data"


@pytest.fixture
def warehouse(cli: Any, tmp_path: Path, filled: Path) -> Warehouse:
    """A copy of what the first test has imported."""
    if not filled.exists():
        fill(cli, tmp_path)
        shutil.move(tmp_path / "data", filled)
    return Warehouse.open(shutil.copytree(filled, tmp_path / "data"))


def trajectories(warehouse: Warehouse, condition: str = "parent_id IS NULL") -> list[Trajectory]:
    with connect(warehouse.path) as connection:
        return records(
            connection.execute(f"SELECT * FROM trajectories_current WHERE {condition} ORDER BY trajectory_id"),
            Trajectory,
        )


@pytest.fixture
def seen(warehouse: Warehouse) -> Trajectory:
    return trajectories(warehouse)[0]


@pytest.fixture
def say(warehouse: Warehouse) -> Say:
    """Submits one review, and settles it."""

    def say(trajectory: Trajectory, reviewer: str, verdict: Any, text: str | None = None, **more: Any) -> Review:
        with Journal(warehouse) as journal:
            (review,) = journal.submit([review_of(trajectory, reviewer, verdict, text=text, **more)])
        settle(warehouse)
        return review

    return say


def child_of(warehouse: Warehouse, review: Review) -> Trajectory:
    (child,) = trajectories(warehouse, f"trajectory_id = '{review.child_id}'")
    return child


@pytest.fixture
def human(rows: Any) -> Callable[[Trajectory], Any]:
    """What people say of a trajectory now: outcome, reason."""

    def ask(trajectory: Trajectory) -> Any:
        found = rows(
            "SELECT outcome, reason FROM verdicts_current WHERE \"check\" = 'human' "
            f"AND trajectory_id = '{trajectory.trajectory_id}'"
        )
        return found[0] if found else None

    return ask


def test_an_approval_and_a_rejection_are_verdicts(warehouse: Warehouse, say: Say, human: Any, rows: Any) -> None:
    one, two, three, *_ = trajectories(warehouse)
    say(one, "ann", "approve")
    review = say(two, "ann", "reject", note=" wrong\nsum ", tags=["math", "", "math"])
    assert (human(one), human(two), human(three)) == (("pass", ""), ("fail", "rejected"), None)
    ((version, score, details),) = rows(
        f"SELECT version, score, details FROM verdicts WHERE kind = 'person' AND trajectory_id = '{two.trajectory_id}'"
    )
    assert (version, score) == ("1.1", 0.0)
    assert json.loads(details) == {
        "review_id": review.review_id,
        "reviewer": "ann",
        "note": "wrong\nsum",
        "tags": ["math"],
        "looks": 1,
        "approvals": 0,
    }
    facts = f"SELECT human, human_score, kept FROM trajectory_facts WHERE trajectory_id = '{two.trajectory_id}'"
    assert rows(facts) == [("fail", 0.0, False)]


def test_an_edit_is_a_trajectory_that_its_reviewer_wrote_and_passed(
    warehouse: Warehouse, seen: Trajectory, say: Say, human: Any
) -> None:
    text = "<think>\nLet me see.\n</think>\nSo it is <answer>0</answer>."
    child = child_of(warehouse, say(seen, "ann", "edit", text))
    assert (child.parent_id, child.policy, child.engine, child.attempt) == (
        seen.trajectory_id,
        "human:ann",
        "review",
        1,
    )
    assert (child.text, child.reasoning, child.answer) == (text, "Let me see.", "So it is <answer>0</answer>.")
    assert (child.prompt_id, child.stage, child.rendered_key) == (seen.prompt_id, seen.stage, seen.rendered_key)
    assert (human(seen), human(child)) == (("fail", "edited"), ("pass", ""))


def test_an_edit_is_known_by_its_parent_its_reviewer_and_its_text(warehouse: Warehouse) -> None:
    one, two, *_ = trajectories(warehouse)
    edits = [(one, "ann", "a"), (one, "ann", "b"), (one, "bob", "a"), (two, "ann", "a"), (one, "ann", "a")]
    ids = [review_of(t, who, "edit", text=text).child_id for t, who, text in edits]
    assert len(set(ids)) == 4
    assert ids[0] == ids[4]


def test_the_greater_number_of_people_decides_and_a_tie_is_undecided(seen: Trajectory, say: Say, human: Any) -> None:
    said = []
    for reviewer, verdict in (("ann", "approve"), ("bob", "reject"), ("cem", "reject"), ("cem", "approve")):
        say(seen, reviewer, verdict)
        said.append(human(seen))
    assert said == [("pass", ""), ("undecided", "disagreement"), ("fail", "rejected"), ("pass", "")]


def test_an_edit_fails_what_others_approved(seen: Trajectory, say: Say, human: Any) -> None:
    for reviewer in ("ann", "bob"):
        say(seen, reviewer, "approve")
    say(seen, "cem", "edit", "better")
    assert human(seen) == ("fail", "edited")


@pytest.mark.slow
def test_a_further_word_takes_back_an_edit_and_what_it_made(
    warehouse: Warehouse, seen: Trajectory, say: Say, human: Any, rows: Any
) -> None:
    first = child_of(warehouse, say(seen, "ann", "edit", "first"))
    second = child_of(warehouse, say(seen, "ann", "edit", "second"))
    assert (human(first), human(second)) == (("fail", "withdrawn"), ("pass", ""))
    say(seen, "ann", "approve")
    assert (human(seen), human(second)) == (("pass", ""), ("fail", "withdrawn"))
    again = child_of(warehouse, say(seen, "ann", "edit", "first"))
    assert (again.trajectory_id, human(first)) == (first.trajectory_id, ("pass", ""))
    assert rows("SELECT count(*) FROM trajectories WHERE engine = 'review'") == [(2,)]


def test_an_author_may_reject_what_they_made_and_the_edit_stays(
    warehouse: Warehouse, seen: Trajectory, say: Say, human: Any
) -> None:
    child = child_of(warehouse, say(seen, "ann", "edit", "better"))
    say(child, "ann", "reject")
    assert (human(seen), human(child)) == (("fail", "edited"), ("fail", "rejected"))


def test_edits_of_edits_and_all_words_settled_at_once_end_as_one_by_one(
    warehouse: Warehouse, seen: Trajectory, human: Any
) -> None:
    first = review_of(seen, "ann", "edit", text="better")
    assert first.child_id is not None
    child = seen.model_copy(update={"trajectory_id": first.child_id, "attempt": 1, "text": "better"})
    second = review_of(child, "bob", "edit", text="best")
    with Journal(warehouse) as journal:
        journal.submit([first, second, review_of(child, "ann", "reject"), review_of(child, "bob", "approve")])
    done = settle(warehouse)
    assert (done.reviews, done.edits, done.verdicts) == (4, 2, 7)
    assert not settle(warehouse).worked
    assert (human(seen), human(child)) == (("fail", "edited"), ("undecided", "disagreement"))
    assert human(child_of(warehouse, second)) == ("fail", "withdrawn")


verdicts = st.sampled_from(["approve", "reject", "edit", "flag", "withdraw"])
words = st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("xyz"), verdicts, st.integers(0, 2)), max_size=12)


@given(words, st.integers(0, 12))
def test_what_is_said_later_changes_no_verdict_that_was_given(said: list[tuple[str, str, Any, int]], cut: int) -> None:
    reviews = []
    for number, (reviewer, ident, verdict, version) in enumerate(said):
        edited = {"text": "t", "child_id": f"{ident}{reviewer}{version}"} if verdict == "edit" else {}
        reviews.append(Review(review_id=f"{number:032}", trajectory_id=ident, attempt=1, reviewer=reviewer,
                              verdict=verdict, created_at=datetime.now(UTC), **edited))  # fmt: skip
    every = list(_opinions(reviews))
    assert every[:cut] == list(_opinions(reviews[:cut]))
    keys = [(o.attempt, o.number) for opinions in every for o in opinions]
    assert len(set(keys)) == len(keys), "each verdict has a key of its own"
    in_commits = [(o.attempt, o.number) for commit in _rounds(every) for o in commit]
    assert sorted(in_commits) == sorted(keys)
    for commit in _rounds(every):
        assert len({o.attempt for o in commit}) == len(commit)
    for attempt in {a for a, _ in keys}:
        assert [n for a, n in in_commits if a == attempt] == [n for a, n in keys if a == attempt]


# -- where attempts stand


@pytest.mark.slow
def test_where_attempts_stand_when_so_many_are_to_look(warehouse: Warehouse, say: Say) -> None:
    one, two, three, four = trajectories(warehouse)
    ids = [t.trajectory_id for t in (one, two, three, four)]
    say(one, "ann", "approve")
    child = say(two, "ann", "edit", "better").child_id
    say(three, "bob", "reject")
    assert looked_at(warehouse.path, ids) == Looked(approved=2, rejected=1, edited=1, waiting=1)
    assert looked_at(warehouse.path, ids, looks=2) == Looked(edited=1, waiting=4)
    assert looked_at(warehouse.path, ids, require=["human"]) == Looked(approved=2)
    say(one, "bob", "reject")
    assert looked_at(warehouse.path, ids, looks=2) == Looked(edited=1, undecided=1, waiting=3)
    assert edited_from(warehouse.path, ids) == [child]
    say(two, "ann", "approve")
    assert edited_from(warehouse.path, ids) == []
    say(three, "cem", "flag")
    assert looked_at(warehouse.path, ids, looks=2) == Looked(undecided=2, waiting=2)
    judge = Taken(role="adjudicator")
    say(one, "dee", "approve", taken=judge)
    say(three, "dee", "reject", taken=judge)
    say(three, "eve", "flag", taken=judge)
    say(four, "dee", "approve", taken=judge)
    assert looked_at(warehouse.path, ids, looks=2) == Looked(approved=2, rejected=1, waiting=1)


# -- flags, what was taken back, and who decides alone


def withdraw(warehouse: Warehouse, review: Review) -> None:
    with Journal(warehouse) as journal:
        journal.withdraw(withdrawal_of(review))
    settle(warehouse)


def test_what_somebody_flagged_is_undecided_until_it_is_settled(seen: Trajectory, say: Say, human: Any) -> None:
    said = []
    for reviewer, verdict in (("ann", "approve"), ("bob", "flag"), ("cem", "approve"), ("bob", "approve")):
        say(seen, reviewer, verdict)
        said.append(human(seen))
    assert said == [("pass", ""), ("undecided", "flagged"), ("undecided", "flagged"), ("pass", "")]


def test_an_edit_of_a_flagged_attempt_fails_it(seen: Trajectory, say: Say, human: Any) -> None:
    say(seen, "ann", "flag")
    say(seen, "bob", "edit", "better")
    assert human(seen) == ("fail", "edited")


def test_what_was_taken_back_is_as_if_it_had_not_been_said(
    warehouse: Warehouse, seen: Trajectory, say: Say, human: Any, rows: Any
) -> None:
    say(seen, "ann", "approve")
    rejected = say(seen, "bob", "reject", note="no", tags=["wrong"])
    assert human(seen) == ("undecided", "disagreement")
    withdraw(warehouse, rejected)
    assert human(seen) == ("pass", "")
    assert rows("SELECT reviewer, verdict FROM reviews_current") == [("ann", "approve")]
    assert rows("SELECT verdict, note, tags FROM reviews WHERE reviewer = 'bob' ORDER BY number") == [
        ("reject", "no", ["wrong"]),
        ("withdraw", "", []),
    ]


def test_when_all_is_taken_back_nobody_has_looked(
    warehouse: Warehouse, seen: Trajectory, say: Say, human: Any, rows: Any
) -> None:
    withdraw(warehouse, say(seen, "ann", "reject"))
    assert human(seen) == ("undecided", "withdrawn")
    assert looked_at(warehouse.path, [seen.trajectory_id]) == Looked(waiting=1)
    assert rows("SELECT score FROM verdicts_current WHERE \"check\" = 'human'") == [(None,)]
    say(seen, "ann", "approve")
    assert human(seen) == ("pass", "")


def test_an_edit_that_was_taken_back_takes_what_it_made_with_it(
    warehouse: Warehouse, seen: Trajectory, say: Say, human: Any
) -> None:
    edit = say(seen, "ann", "edit", "better")
    child = child_of(warehouse, edit)
    withdraw(warehouse, edit)
    assert (human(seen), human(child)) == (("undecided", "withdrawn"), ("fail", "withdrawn"))
    assert edited_from(warehouse.path, [seen.trajectory_id]) == []


def test_an_adjudicator_decides_alone(seen: Trajectory, say: Say, human: Any, rows: Any) -> None:
    for reviewer in ("ann", "bob"):
        say(seen, reviewer, "approve")
    say(seen, "cem", "flag")
    say(seen, "dee", "reject", taken=Taken("adjudicate", role="adjudicator"))
    assert human(seen) == ("fail", "rejected")
    say(seen, "eve", "approve")
    assert human(seen) == ("fail", "rejected"), "whoever speaks after"
    say(seen, "fay", "approve", taken=Taken("adjudicate", role="adjudicator"))
    assert human(seen) == ("pass", ""), "of two the later"
    say(seen, "gus", "flag", taken=Taken("adjudicate", role="adjudicator"))
    assert human(seen) == ("pass", ""), "a flag decides nothing"
    ((details,),) = rows("SELECT details FROM verdicts_current WHERE \"check\" = 'human'")
    assert json.loads(details)["adjudicated"] is True


def test_what_an_adjudicator_edits_takes_the_place_of_what_others_said(
    warehouse: Warehouse, seen: Trajectory, say: Say, human: Any
) -> None:
    for reviewer in ("ann", "bob"):
        say(seen, reviewer, "approve")
    child = child_of(warehouse, say(seen, "dee", "edit", "best", taken=Taken(role="adjudicator")))
    assert (human(seen), human(child)) == (("fail", "edited"), ("pass", ""))
    for reviewer in ("ann", "bob"):
        say(child, reviewer, "reject")
    assert human(child) == ("pass", ""), "it was an adjudicator's"


def test_what_a_person_says_again_decides_nothing(
    warehouse: Warehouse, seen: Trajectory, say: Say, human: Any, rows: Any
) -> None:
    say(seen, "ann", "approve", taken=Taken("audit"))
    say(seen, "ann", "reject", taken=Taken("audit", repeat=1))
    say(seen, "ann", "edit", "better", taken=Taken("audit", repeat=2))
    assert human(seen) == ("pass", "")
    assert trajectories(warehouse, "engine = 'review'") == []
    assert rows("SELECT verdict, repeat FROM reviews ORDER BY number") == [("approve", 0), ("reject", 1), ("edit", 2)]
    assert rows("SELECT verdict FROM reviews_current") == [("approve",)]


def test_a_review_says_from_where_it_was_taken(seen: Trajectory, say: Say, rows: Any) -> None:
    say(seen, "ann", "approve", taken=Taken("audit", "0123456789ab", "lead"))
    assert rows("SELECT queue, guideline, role FROM reviews_current") == [("audit", "0123456789ab", "lead")]


# -- what is no review


@pytest.mark.parametrize(
    ("given_", "reason"),
    [
        ({"verdict": "edit"}, "an edit needs the edited `text`"),
        ({"verdict": "edit", "text": " \n"}, "an edit needs the edited `text`"),
        ({"verdict": "edit", "text": "x" * 1_000_001}, "the text is longer than 1,000,000 characters"),
        ({"verdict": "edit", "text": None, "same": True}, "the edited text is the text as it was"),
        ({"verdict": "approve", "text": "another"}, "approve, but the text was changed"),
        ({"verdict": "reject", "note": "x" * 20_001}, "the note is longer than 20,000 characters"),
        ({"reviewer": "  "}, "a reviewer's name is 1 to 100 printable characters"),
        ({"reviewer": "a\u202eb"}, "a reviewer's name is 1 to 100 printable characters"),
        ({"failed": True}, "it has no reply"),
    ],
)
def test_what_a_reviewer_cannot_say(seen: Trajectory, given_: dict[str, Any], reason: str) -> None:
    given_ = {"reviewer": "ann", "verdict": "approve", **given_}
    if given_.pop("same", False):
        given_["text"] = f" {seen.text}\n"
    if given_.pop("failed", False):
        seen = seen.model_copy(update={"error": "timeout"})
    with pytest.raises(ValueError, match=reason):
        review_of(seen, **given_)


def test_any_text_can_be_said_and_composed_names_are_one(
    warehouse: Warehouse, seen: Trajectory, say: Say, human: Any
) -> None:
    odd = "NUL \0, lone \ud800, right \u200fto left, 😀"
    child = child_of(warehouse, say(seen, "Jose\u0301", "edit", odd, note=odd, tags=[odd]))
    assert (child.text, child.policy) == (odd.replace("\ud800", "\ufffd"), "human:José")
    say(seen, "José", "approve")
    assert human(seen) == ("pass", "")


# -- killed

# Submits the reviews of a file, some at a time, and settles them: `worker.py FOLDER FILE`.
WORKER = """
import json, sys
from dataengine.reviewing import settle
from schemas.records import Review
from warehouse.journal import Journal
from warehouse.store import Warehouse

warehouse = Warehouse.open(sys.argv[1])
reviews = [Review.model_validate_json(line) for line in open(sys.argv[2], encoding="utf-8")]
print("ready", flush=True)
for start in range(0, len(reviews), 6):
    with Journal(warehouse) as journal:
        journal.submit(reviews[start : start + 6])
    settle(warehouse)
"""
VERDICTS = (
    "SELECT trajectory_id, attempt, version, outcome, score, reason, details FROM verdicts "
    "WHERE \"check\" = 'human' ORDER BY ALL"
)
CURRENT = "SELECT trajectory_id, outcome FROM verdicts_current WHERE \"check\" = 'human' ORDER BY ALL"
CHILDREN = (
    "SELECT trajectory_id, attempt, parent_id, policy, text FROM trajectories WHERE engine = 'review' ORDER BY ALL"
)
REVIEWS = "SELECT review_id, number, trajectory_id, verdict FROM reviews ORDER BY created_at, number"


@pytest.mark.slow
def test_killed_anywhere_it_ends_in_the_same_rows(cli: Any, tmp_path: Path, rows: Any) -> None:
    fill(cli, tmp_path, 12)
    (tmp_path / "data").rename(tmp_path / "undisturbed")
    fill(cli, tmp_path, 12)
    chance = random.Random(5)
    every = trajectories(Warehouse.open(tmp_path / "data"))
    said = []
    for number in range(48):
        word: Any = chance.choice(["approve", "reject", "edit"])
        text = f"version {chance.randrange(3)}" if word == "edit" else None
        seen = chance.choice(every)
        said.append(review_of(seen, chance.choice("abc"), word, text=text, review_id=f"{number:032x}"))
    (tmp_path / "said.jsonl").write_text("".join(r.model_dump_json() + "\n" for r in said))

    def worker(folder: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [sys.executable, "-c", WORKER, tmp_path / folder, tmp_path / "said.jsonl"],
            stdout=subprocess.PIPE,
            text=True,
        )

    undisturbed = worker("undisturbed")
    undisturbed.communicate()
    for _ in range(4):
        both = [worker("data"), worker("data")]
        for process in both:
            assert process.stdout is not None
            process.stdout.readline()
        time.sleep(chance.uniform(0.1, 0.9))
        for process in both:
            process.kill()
            process.communicate()
    last = worker("data")
    last.communicate()
    assert (undisturbed.returncode, last.returncode) == (0, 0)
    for sql in (REVIEWS, CHILDREN, VERDICTS, CURRENT):
        assert rows(sql) == rows(sql, tmp_path / "undisturbed")
    assert len(rows(REVIEWS)) == 48
