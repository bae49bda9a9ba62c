"""What happens beside the screen: reviews reach the tables, and what was edited is checked at once."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import dataengine.review_settling
from dataengine.review_settling import Settler
from dataengine.reviewing import review_of, withdrawal_of
from schemas.records import Review, Trajectory
from tests.dataengine.made import Made
from warehouse.connect import connect
from warehouse.fetching import records
from warehouse.journal import Journal

pytestmark = pytest.mark.slow

RIGHT, WRONG = "<think>\nI add.\n</think>\nIt is \\boxed{7}.", "<think>\nI guess.\n</think>\nIt is \\boxed{8}."


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def made(tmp_path: Path) -> Made:
    return Made(tmp_path / "warehouse")


@pytest.fixture
def time_of() -> Clock:
    return Clock()


@pytest.fixture
def settler(made: Made, time_of: Clock) -> Iterator[Settler]:
    settler = Settler(made.warehouse, clock=time_of)
    yield settler
    settler.close()


def ask(made: Made, sql: str, *values: Any) -> list[tuple[Any, ...]]:
    with connect(made.path) as connection:
        return connection.execute(sql, values).fetchall()


def reply(made: Made, text: str = "It is \\boxed{7}, so it is.", **columns: Any) -> Trajectory:
    ident = made.reply(text, **{"checks": {"exact": "pass", "length": "pass", "judge": "pass"}, **columns})
    return trajectory(made, ident)


def trajectory(made: Made, ident: str) -> Trajectory:
    with connect(made.path) as connection:
        (found,) = records(connection.execute("FROM trajectories_current WHERE trajectory_id = ?", [ident]), Trajectory)
    return found


def say(made: Made, seen: Trajectory, reviewer: str, verdict: Any, text: str | None = None) -> Review:
    with Journal(made.warehouse) as journal:
        (review,) = journal.submit([review_of(seen, reviewer, verdict, text=text)])
    return review


def verdicts(made: Made, ident: str | None) -> dict[str, tuple[str, str]]:
    rows = ask(made, 'SELECT "check", outcome, reason FROM verdicts_current WHERE trajectory_id = ?', ident)
    return {check: (outcome, reason) for check, outcome, reason in rows}


def test_what_is_submitted_reaches_the_tables_and_then_there_is_nothing_to_do(made: Made, settler: Settler) -> None:
    seen = reply(made)
    say(made, seen, "ann", "approve")
    assert settler.tick()
    assert verdicts(made, seen.trajectory_id)["human"] == ("pass", "")
    versions = made.warehouse.versions()
    assert not settler.tick()
    assert made.warehouse.versions() == versions


def test_where_nobody_said_anything_nothing_is_written(made: Made, settler: Settler) -> None:
    before = made.warehouse.versions()
    settler.tick()
    assert made.warehouse.versions() == before


def test_an_edit_is_checked_by_what_its_parent_was_checked_by(made: Made, settler: Settler) -> None:
    edit = say(made, reply(made), "ann", "edit", RIGHT)
    assert settler.tick()
    found = verdicts(made, edit.child_id)
    assert {check: outcome for check, (outcome, _) in found.items()} == {
        "human": "pass", "exact": "pass", "length": "pass", "same_answer": "pass"
    }  # fmt: skip
    assert ask(made, "SELECT kept FROM trajectory_facts WHERE trajectory_id = ?", edit.child_id) == [(True,)]
    assert ask(made, "SELECT DISTINCT event FROM runs ORDER BY ALL") == [("finished",), ("started",)]


def test_it_is_said_that_the_answer_changed(made: Made, settler: Settler) -> None:
    edit = say(made, reply(made), "ann", "edit", WRONG)
    settler.tick()
    found = verdicts(made, edit.child_id)
    assert (found["exact"][0], found["same_answer"][0]) == ("fail", "fail")
    assert found["same_answer"][1]


def test_what_compares_with_all_others_is_left_to_the_run(made: Made, settler: Settler) -> None:
    seen = reply(made, checks={"exact": "pass", "duplicate": "pass", "contamination": "pass"})
    edit = say(made, seen, "ann", "edit", RIGHT)
    settler.tick()
    assert set(verdicts(made, edit.child_id)) == {"human", "exact", "same_answer"}


def test_edits_of_edits_are_checked_in_one_go(made: Made, settler: Settler) -> None:
    seen = reply(made)
    first = review_of(seen, "ann", "edit", text=RIGHT)
    assert first.child_id is not None
    child = seen.model_copy(update={"trajectory_id": first.child_id, "attempt": 1, "text": RIGHT})
    second = review_of(child, "bob", "edit", text=WRONG)
    with Journal(made.warehouse) as journal:
        journal.submit([first, second])
    assert settler.tick()
    found = verdicts(made, second.child_id)
    assert {check: outcome for check, (outcome, _) in found.items()} == {
        "human": "pass", "exact": "fail", "length": "pass", "same_answer": "fail"
    }  # fmt: skip


def test_an_edit_that_was_taken_back_is_not_checked(made: Made, settler: Settler) -> None:
    edit = say(made, reply(made), "ann", "edit", RIGHT)
    with Journal(made.warehouse) as journal:
        journal.withdraw(withdrawal_of(edit))
    settler.tick()
    assert verdicts(made, edit.child_id) == {"human": ("fail", "withdrawn")}


def test_words_are_gathered_and_edits_are_not_kept_waiting(made: Made, settler: Settler, time_of: Clock) -> None:
    one, two, three = (reply(made, f"{name} is \\boxed{{7}}") for name in ("one", "two", "three"))
    say(made, one, "ann", "approve")
    assert settler.tick()
    say(made, two, "ann", "approve")
    time_of.now += 5
    assert not settler.tick()
    edit = say(made, three, "ann", "edit", RIGHT)
    assert settler.tick()
    assert set(verdicts(made, edit.child_id)) > {"exact", "human"}
    assert "human" in verdicts(made, two.trajectory_id)
    say(made, two, "bob", "reject")
    assert not settler.tick()
    time_of.now += 10
    assert settler.tick()
    assert verdicts(made, two.trajectory_id)["human"] == ("undecided", "disagreement")


def test_a_check_that_is_not_to_be_had_is_one_line_and_the_others_are_run(
    made: Made, settler: Settler, time_of: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    seen = reply(made, checks={"exact": "pass", "length": "pass", "no_such_check": "pass"})
    edit = say(made, seen, "ann", "edit", RIGHT)
    assert settler.tick()
    (line,) = (line for line in capsys.readouterr().err.splitlines() if "not checked" in line)
    assert line.startswith("edited texts are not checked by no_such_check: ")
    assert set(verdicts(made, edit.child_id)) == {"human", "exact", "length", "same_answer"}
    time_of.now += 20
    again = say(made, seen, "bob", "edit", WRONG)
    assert settler.tick()
    assert set(verdicts(made, again.child_id)) == {"human", "exact", "length", "same_answer"}


def test_what_a_check_has_no_opinion_on_is_asked_once(
    made: Made, settler: Settler, time_of: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, ...]] = []
    check_missing = dataengine.review_settling.check_missing

    def counted(warehouse: Any, log: Any, label: str, specs: Any, ids: Any) -> Any:
        asked.append(tuple(spec.check for spec in specs))
        return check_missing(warehouse, log, label, [s for s in specs if s.check != "length"], ids)

    monkeypatch.setattr(dataengine.review_settling, "check_missing", counted)
    seen = reply(made)
    say(made, seen, "ann", "edit", RIGHT)
    settler.tick()
    time_of.now += 20
    say(made, seen, "bob", "approve")
    assert settler.tick()
    assert asked == [("exact", "length", "same_answer")]
