"""`dataengine explain` and `doctor` tell who said what, as what, from which queue and by which guideline."""

from pathlib import Path
from typing import Any

import pytest

from dataengine.doctor import examine
from dataengine.explain_words import PARTS
from dataengine.lineage import lineage_of
from dataengine.reviewing import Taken, preference_of, review_of, settle, withdrawal_of
from schemas.records import Pair, Review, Trajectory
from tests.dataengine.made import Made
from warehouse.connect import connect
from warehouse.fetching import records
from warehouse.journal import Journal


@pytest.fixture
def made(tmp_path: Path) -> Made:
    return Made(tmp_path / "warehouse")


def known(made: Made, kind: str, ident: str) -> dict[str, Any]:
    with connect(made.path) as connection:
        found = lineage_of(connection, kind, ident)
    assert found is not None
    return found


def row(made: Made, table: str, record: Any) -> Any:
    with connect(made.path) as connection:
        return records(connection.execute(f"FROM {table}"), record)[0]


def submit(made: Made, *reviews: Review) -> None:
    with Journal(made.warehouse) as journal:
        journal.submit(reviews)
    settle(made.warehouse)


def people(text: str) -> list[list[str]]:
    """The table under `people:`, cells by their columns."""
    lines = text.split("people:\n", 1)[1].split("\n\n", 1)[0].splitlines()
    starts = [0, *(i for i in range(1, len(lines[1])) if lines[1][i - 1] == " " and lines[1][i] == "-")]
    ends = [*starts[1:], None]
    return [[line[a:b].strip() for a, b in zip(starts, ends, strict=True)] for line in (lines[0], *lines[2:])]


def test_of_a_trajectory_it_tells_role_queue_and_guideline_of_each_word(made: Made) -> None:
    ident = made.reply("It is 7.")
    seen = row(made, "trajectories", Trajectory)
    audit = Taken("audit", "0123456789ab")
    edit = review_of(seen, "bob", "edit", text="It is seven.", taken=audit)
    taken_back = review_of(seen, "cem", "flag", taken=audit)
    submit(
        made,
        review_of(seen, "ann", "reject", tags=["wrong"], note="no", taken=audit),
        review_of(seen, "ann", "approve", taken=audit._replace(repeat=1)),
        edit,
        taken_back,
        withdrawal_of(taken_back),
        review_of(seen, "jo", "approve", taken=Taken("settle", "ba9876543210", "adjudicator")),
    )
    record = known(made, "trajectory", ident)
    assert [(r["queue"], r["guideline"], r["role"], r["repeat"], r["counts"]) for r in record["reviews"]] == [
        ("audit", "0123456789ab", "annotator", 0, True),
        ("audit", "0123456789ab", "annotator", 1, False),
        ("audit", "0123456789ab", "annotator", 0, True),
        ("audit", "0123456789ab", "annotator", 0, False),
        ("audit", "0123456789ab", "annotator", 0, False),
        ("settle", "ba9876543210", "adjudicator", 0, True),
    ]
    head, *rows = people(PARTS["trajectory"](record))
    assert head[2:] == ["reviewer", "role", "said", "made", "tags", "note", "queue", "guideline", "counts", "when"]
    assert edit.child_id is not None
    assert [r[2:-1] for r in rows[:3]] == [
        ["ann", "annotator", "reject", "", "wrong", "no", "audit", "0123456789ab", "yes"],
        ["ann", "annotator", "approve, again", "", "", "", "audit", "0123456789ab", "no"],
        ["bob", "annotator", "edit", edit.child_id[:12], "", "", "audit", "0123456789ab", "yes"],
    ]
    assert [r[3:5] + r[8:-1] for r in rows[4:]] == [
        ["annotator", "withdraw", "audit", "0123456789ab", "no"],
        ["adjudicator", "approve", "settle", "ba9876543210", "yes"],
    ]
    (of_child,) = known(made, "trajectory", edit.child_id)["reviews"]
    assert (of_child["reviewer"], of_child["verdict"], of_child["counts"]) == ("bob", "edit", True)


def test_of_a_pair_it_tells_what_people_prefer_and_what_stood_left(made: Made) -> None:
    made.pair(made.reply("one"), made.reply("two"))
    pair = row(made, "pairs", Pair)
    taken = Taken("preferences", "0123456789ab")
    submit(
        made,
        preference_of(pair, "ann", "prefer_b", a_first=False, note="clearer", taken=taken),
        preference_of(pair, "bob", "tie", a_first=True, taken=taken),
    )
    record = known(made, "pair", pair.pair_id)
    head, *rows = people(PARTS["pair"](record))
    assert head[2:] == ["reviewer", "role", "said", "left", "tags", "note", "queue", "guideline", "counts", "when"]
    assert [r[2:-1] for r in rows] == [
        ["ann", "annotator", "prefer_b", "b", "", "clearer", "preferences", "0123456789ab", "yes"],
        ["bob", "annotator", "tie", "a", "", "", "preferences", "0123456789ab", "yes"],
    ]
    for side in ("a", "b"):
        assert record["replies"][side]["reviews"] == [], "nothing is said of an answer by itself"
    assert "human" in PARTS["pair"](record).split("which is better:")[1]


# -- doctor


def told(made: Made) -> list[str]:
    return [
        ("" if f.good else "! ") + f.text
        for f in examine(made.path)
        if any(word in f.text for word in ("review", "pair", "queue"))
    ]


def test_doctor_counts_what_is_not_in_the_tables_yet(made: Made) -> None:
    made.reply("one")
    seen = row(made, "trajectories", Trajectory)
    assert told(made) == [
        "ok       0 reviews stored twice",
        "ok       0 reviews without their trajectory",
        "ok       0 reviews without their pair",
        "ok       7 review queues",
    ]
    with Journal(made.warehouse) as journal:
        journal.submit([review_of(seen, "ann", "approve")])
    waits = "ok       the journal of reviews; 1 go into the tables with the next `dataengine run` or `review`"
    assert told(made)[-1] == waits
    settle(made.warehouse)
    assert told(made)[-1] == "ok       the journal of reviews"


def test_doctor_names_a_queue_whose_sql_fails_and_words_on_pairs_that_are_not_there(made: Made) -> None:
    file = made.path / "queues" / "mine.yaml"
    file.parent.mkdir()
    file.write_text("queue: mine\ntitle: T\nsql: SELECT trajectory_id FROM nowhere\nguideline: g\nreasons: {a: A}\n")
    made.reply("one")
    seen = row(made, "trajectories", Trajectory)
    pair = Pair(pair_id="f" * 64, prompt_id="p", a_id=seen.trajectory_id, b_id="b", run_id="r",
                created_at=seen.created_at)  # fmt: skip
    made.warehouse.append("reviews", [preference_of(pair, "ann", "tie", a_first=True)])
    found = told(made)
    assert "! wrong    1 reviews without their pair" in found
    assert any(line.startswith(f"! wrong    {file}: queue mine: ") and "nowhere" in line for line in found)
