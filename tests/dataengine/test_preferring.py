"""What people say of pairs: the greater number decides, and it reaches views and mixes."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dataengine.preferring import missing_preferences
from dataengine.reviewing import Taken, preference_of, settle, withdrawal_of
from schemas.errors import SnapshotError
from schemas.records import Pair, Review
from tests.dataengine.made import Made
from tests.warehouse.conftest import mix_of
from warehouse.connect import connect
from warehouse.fetching import as_dicts, records
from warehouse.journal import Journal
from warehouse.snapshot import create_snapshot

pytestmark = pytest.mark.slow

Say = Callable[..., Review]


@pytest.fixture
def made(tmp_path: Path) -> Made:
    return Made(tmp_path / "warehouse")


@pytest.fixture
def pair(made: Made) -> Pair:
    ident = made.pair(made.reply("a good one"), made.reply("a bad one!"))
    with connect(made.path) as connection:
        (found,) = records(connection.execute("FROM pairs WHERE pair_id = ?", [ident]), Pair)
    return found


@pytest.fixture
def say(made: Made, pair: Pair) -> Say:
    """Submits a word on the pair, and settles it."""

    def say(reviewer: str, verdict: Any, *, a_first: bool = True, settled: bool = True, **more: Any) -> Review:
        with Journal(made.warehouse) as journal:
            (review,) = journal.submit([preference_of(pair, reviewer, verdict, a_first=a_first, **more)])
        if settled:
            settle(made.warehouse)
        return review

    return say


def ask(made: Made, sql: str) -> list[dict[str, Any]]:
    with connect(made.path) as connection:
        return as_dicts(connection.execute(sql))


@pytest.fixture
def human(made: Made) -> Callable[[], Any]:
    """What people say of the pair now: outcome, score, reason."""

    def latest() -> Any:
        found = ask(made, "SELECT outcome, score, reason FROM pair_verdicts WHERE \"check\" = 'human' "
                    "ORDER BY created_at DESC LIMIT 1")  # fmt: skip
        return tuple(found[0].values()) if found else None

    return latest


def test_a_preference_is_a_verdict_that_says_how_it_was_shown(made: Made, pair: Pair, say: Say) -> None:
    taken = Taken("preferences", "0123456789ab")
    review = say("ann", "prefer_b", a_first=False, attempt=2, note=" clearer ", tags=["clearer"], taken=taken)
    (row,) = ask(made, "FROM pair_verdicts")
    found = {k: row[k] for k in ("pair_id", "check", "version", "draw", "draws", "a_first", "outcome", "score")}
    assert found == {"pair_id": pair.pair_id, "check": "human", "version": "1.1", "draw": 0, "draws": 1,
                     "a_first": False, "outcome": "fail", "score": -2.0}  # fmt: skip
    assert json.loads(row["details"]) == {"review_id": review.review_id, "reviewer": "ann", "note": "clearer",
                                          "tags": ["clearer"], "looks": 1, "for_a": 0, "for_b": 1}  # fmt: skip
    (kept,) = ask(made, "SELECT trajectory_id, attempt, pair_id, a_first, queue, guideline FROM reviews")
    assert kept == {"trajectory_id": pair.a_id, "attempt": 2, "pair_id": pair.pair_id, "a_first": False,
                    "queue": "preferences", "guideline": "0123456789ab"}  # fmt: skip
    assert ask(made, "FROM verdicts WHERE \"check\" = 'human'") == [], "nothing is said of its answers by themselves"


@pytest.mark.parametrize(
    ("said", "outcome"),
    [
        ("prefer_a", ("pass", 2.0, "")),
        ("prefer_b", ("fail", -2.0, "")),
        ("tie", ("undecided", 0.0, "tie")),
        ("tie tie", ("undecided", 0.0, "tie")),
        ("prefer_a prefer_b", ("undecided", 0.0, "disagreement")),
        ("prefer_a tie prefer_b", ("undecided", 0.0, "disagreement")),
        ("prefer_a tie", ("pass", 1.5, "")),
        ("prefer_b prefer_b prefer_a tie", ("fail", -1.25, "")),
        ("flag", ("undecided", None, "flagged")),
        ("prefer_a prefer_a flag", ("undecided", None, "flagged")),
    ],
)
def test_the_greater_number_of_people_decides(say: Say, human: Any, said: str, outcome: Any) -> None:
    words = said.split()
    for number, word in enumerate(words):
        say(f"person {number}", word, settled=number == len(words) - 1)
    assert human() == outcome


def test_a_person_has_one_word_and_may_take_it_back(made: Made, say: Say, human: Any) -> None:
    first = say("ann", "prefer_a")
    say("bob", "flag")
    say("bob", "prefer_a")
    assert human() == ("pass", 2.0, "")
    say("ann", "prefer_b", settled=False)
    last = say("bob", "prefer_b")
    assert human() == ("fail", -2.0, "")
    for review in (first, last):
        with Journal(made.warehouse) as journal:
            journal.withdraw(withdrawal_of(review))
    settle(made.warehouse)
    assert human() == ("undecided", None, "withdrawn")
    assert ask(made, "FROM reviews_current") == []


def test_an_adjudicator_decides_alone(say: Say, human: Any) -> None:
    for name in ("ann", "bob"):
        say(name, "prefer_a", settled=False)
    say("cem", "flag", settled=False)
    judge = Taken(role="adjudicator")
    say("dee", "prefer_b", taken=judge)
    assert human() == ("fail", -2.0, "")
    say("eve", "prefer_a")
    assert human() == ("fail", -2.0, "")
    say("fay", "tie", taken=judge)
    assert human() == ("undecided", 0.0, "tie")
    say("gus", "flag", taken=judge)
    assert human() == ("undecided", 0.0, "tie"), "a flag decides nothing"


def test_what_is_said_again_decides_nothing(made: Made, say: Say, human: Any) -> None:
    say("ann", "prefer_a")
    say("ann", "prefer_b", taken=Taken(repeat=1))
    assert human() == ("pass", 2.0, "")
    assert len(ask(made, "FROM pair_verdicts")) == 1


def test_words_settled_at_once_end_as_one_by_one(made: Made, say: Say, human: Any) -> None:
    words = [("ann", "prefer_a"), ("bob", "prefer_b"), ("bob", "prefer_a")]
    for reviewer, word in words:
        say(reviewer, word, settled=False)
    done = settle(made.warehouse)
    assert (done.reviews, done.verdicts) == (3, 3)
    assert not settle(made.warehouse).worked
    told = ask(made, "SELECT version, outcome FROM pair_verdicts ORDER BY created_at")
    assert [tuple(row.values()) for row in told] == [("1.1", "pass"), ("1.2", "undecided"), ("1.3", "pass")]
    assert list(missing_preferences(made.path, "r")) == []


def test_what_people_prefer_is_beside_what_judges_do(made: Made, pair: Pair, say: Say) -> None:
    sql = "SELECT chosen_id, rejected_id, score, kept FROM preferences WHERE \"check\" = 'human'"
    for name in ("ann", "bob", "cem"):
        say(name, "prefer_b", settled=name == "cem")
    chosen = {"chosen_id": pair.b_id, "rejected_id": pair.a_id}
    assert ask(made, sql) == [{**chosen, "score": -2.0, "kept": True}]
    for name in ("dee", "eve", "fay"):
        say(name, "prefer_a", settled=name == "fay")
    assert ask(made, sql) == [{"chosen_id": None, "rejected_id": None, "score": 0.0, "kept": False}]


def test_it_reaches_a_mix_of_pairs_without_an_export(made: Made, say: Say) -> None:
    mix = mix_of("pairs", {"check": "human", "balanced": False, "show": "answer"})
    with pytest.raises(SnapshotError, match="asks which answers people prefer, and nobody has compared any here"):
        create_snapshot(made.path, mix, {"plain": None})
    say("ann", "prefer_b")
    manifest = create_snapshot(made.path, mix, {"plain": None})[0].manifest
    assert (manifest.rows, manifest.checks) == (1, {"human": ["1.1"]})
    say("bob", "prefer_a")
    with pytest.raises(SnapshotError, match="takes no pairs: left out are not_kept 1"):
        create_snapshot(made.path, mix, {"plain": None})


@pytest.mark.parametrize(("verdict", "more"), [("approve", {}), ("edit", {}), ("tie", {"reviewer": " "}),
                                               ("tie", {"note": "x" * 20_001})])  # fmt: skip
def test_what_is_not_said_of_pairs(pair: Pair, verdict: Any, more: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"said of attempts|has `text`|printable characters|longer than"):
        preference_of(pair, more.pop("reviewer", "ann"), verdict, a_first=True, **more)
