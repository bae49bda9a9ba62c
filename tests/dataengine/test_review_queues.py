"""Which queues there are, and what they hold of a real warehouse."""

from pathlib import Path
from typing import Any

import pytest

from dataengine.review_queues import candidates, load_queues
from dataengine.shipped import shipped
from schemas.errors import ConfigError
from schemas.keys import key
from schemas.queue import Queue
from tests.dataengine.made import Made
from warehouse.standing import Item

MINE = "queue: {}\ntitle: Mine\nsql: SELECT trajectory_id FROM trajectories\nguideline: g\nreasons: {{wrong: W}}\n"


@pytest.fixture
def made(tmp_path: Path) -> Made:
    return Made(tmp_path / "warehouse")


def ids_of(made: Made, name: str) -> set[str]:
    return {item.item_id for item in candidates(made.path, load_queues(made.path)[name])}


def queue(sql: str, **settings: Any) -> Queue:
    return Queue(queue="q", title="T", sql=sql, guideline="g", reasons={"wrong": "W"}, **settings)


def test_shipped_queues_are_called_as_their_files_and_open_on_an_empty_warehouse(made: Made) -> None:
    queues = load_queues(made.path)
    assert set(queues) == set(shipped("queues"))
    assert len(queues) == 7
    for one in queues.values():
        assert candidates(made.path, one) == [], one.queue


def test_second_look_holds_cold_start_and_rewrites_that_passed_in_their_last_form(made: Made) -> None:
    good = {"exact": "pass"}
    cold = made.reply("cold", stage="cold_start", checks=good)
    first = made.reply("first", stage="cold_start", checks=good)
    last = made.reply("last", stage="cold_start", parent_id=first, checks=good)
    kept = made.reply("kept", stage="cold_start", checks=good)
    made.reply("spoilt", stage="cold_start", parent_id=kept, checks={"exact": "fail"})
    rewritten = made.reply("rewritten", parent_id=key("elsewhere"), checks=good)
    made.reply("plain", checks=good)
    made.reply("wrong", stage="cold_start", checks={"exact": "fail"})
    assert ids_of(made, "second-look") == {cold, last, kept, rewritten}


def test_disagreement_holds_what_the_rule_and_a_judge_say_different_things_of(made: Made) -> None:
    one = made.reply("one", checks={"exact": "pass", "judge": "fail"})
    other = made.reply("other", checks={"exact": "fail", "judge": "pass"})
    made.reply("agreed", checks={"exact": "pass", "judge": "pass"})
    made.reply("untold", checks={"exact": "fail", "judge": "undecided"})
    made.reply("unjudged", checks={"exact": "fail"})
    made.reply("evaluated", stage="eval", checks={"exact": "fail", "judge": "pass"})
    assert ids_of(made, "disagreement") == {one, other}


def test_language_mix_holds_what_failed_that_check(made: Made) -> None:
    mixed = made.reply("mixed", checks={"language_mix": "fail"})
    made.reply("clean", checks={"language_mix": "pass"})
    assert ids_of(made, "language-mix") == {mixed}


def test_audit_holds_a_twentieth_of_what_is_kept_and_always_the_same(made: Made) -> None:
    rows = [made.reply(f"reply {n}", checks={"exact": "pass" if n % 2 else "fail"}) for n in range(12)]
    first = ids_of(made, "audit")
    assert first <= set(rows[1::2])
    drawn = [n for n in range(400) if int(key_hash(key(f"reply {n}")), 16) / 16**13 < 0.05]
    assert 8 < len(drawn) < 40
    more = made.reply(f"reply {drawn[-1]}", sample_index=1, checks={"exact": "pass"})
    assert ids_of(made, "audit") == first | {more}


def key_hash(trajectory_id: str) -> str:
    import hashlib

    return hashlib.sha256(f"audit{trajectory_id}".encode()).hexdigest()[:13]


def test_preferences_hold_pairs_that_nothing_prefers_clearly(made: Made) -> None:
    a, b, c = (made.reply(name) for name in "abc")
    right, wrong = made.reply("right", checks={"exact": "pass"}), made.reply("wrong", checks={"exact": "fail"})
    close = made.pair(a, b, 0.5, -0.5)
    made.pair(a, c, 2.0, 2.0)
    unjudged = made.pair(b, c)
    made.pair(right, wrong)
    assert ids_of(made, "preferences") == {close, unjudged}


def test_adjudicate_holds_what_people_disagree_on_or_flagged(made: Made) -> None:
    disputed, flagged, agreed, alone, known = (
        made.reply(name) for name in ("disputed", "flagged", "agreed", "alone", "known")
    )
    made.said(disputed, ann="approve", ben="reject")
    made.said(flagged, ann="flag")
    made.said(agreed, ann="approve", ben="approve")
    made.said(alone, ann="reject")
    made.said(known, gold="approve", ann="reject")
    assert ids_of(made, "adjudicate") == {disputed, flagged}
    made.said(agreed, role="adjudicator", cem="reject")
    made.said(disputed, role="adjudicator", cem="reject")
    assert ids_of(made, "adjudicate") == {disputed, flagged}


def test_nothing_but_what_somebody_sent_is_in_sent(made: Made) -> None:
    made.reply("one", checks={"exact": "pass"})
    assert ids_of(made, "sent") == set()


def test_a_queue_of_the_warehouse_takes_the_place_of_a_shipped_one_and_a_file_that_of_either(
    made: Made, tmp_path: Path
) -> None:
    own = made.path / "queues"
    own.mkdir()
    (own / "mine.yaml").write_text(MINE.format("audit"))
    (own / "other.yml").write_text(MINE.format("other"))
    (own / "readme.txt").write_text("no queue")
    (tmp_path / "given.yaml").write_text(MINE.format("other"))
    queues = load_queues(made.path, [tmp_path / "given.yaml"])
    assert set(queues) == {*shipped("queues"), "other"}
    assert queues["audit"].file == own / "mine.yaml"
    assert queues["other"].file == tmp_path / "given.yaml"


def test_two_queues_of_one_name_in_one_place_are_refused(made: Made) -> None:
    own = made.path / "queues"
    own.mkdir()
    for name in ("a", "b"):
        (own / f"{name}.yaml").write_text(MINE.format("mine"))
    with pytest.raises(ConfigError, match=r"b\.yaml: queue mine stands in .*a\.yaml too; rename one"):
        load_queues(made.path)


def test_an_attempt_is_the_current_one_and_each_comes_once(made: Made) -> None:
    twice = made.reply("twice", finish_reason="length", max_tokens=8)
    made.reply("twice", max_tokens=16)
    made.reply("failed", error="timeout", text="")
    unknown = "SELECT trajectory_id FROM trajectories UNION ALL SELECT 'ffff' UNION ALL SELECT NULL"
    assert candidates(made.path, queue(unknown)) == [Item(twice, 2)]


def test_the_given_order_is_kept_and_the_random_one_is_everybodys(made: Made) -> None:
    ids = sorted(made.reply(f"reply {n}") for n in range(20))
    listed = "SELECT trajectory_id FROM trajectories ORDER BY trajectory_id {}"
    down = [a.item_id for a in candidates(made.path, queue(listed.format("DESC"), order="given"))]
    assert down == ids[::-1]
    drawn = candidates(made.path, queue(listed.format("DESC")))
    assert drawn == candidates(made.path, queue(listed.format("ASC")))
    assert {a.item_id for a in drawn} == set(ids)
    assert [a.item_id for a in drawn] not in (ids, ids[::-1])


@pytest.mark.parametrize("end", [";", " ; -- the end", "\n;;\n/* ; */", " -- the end"])
def test_sql_may_end_as_people_end_it(made: Made, end: str) -> None:
    one = made.reply("one")
    found = candidates(made.path, queue(f"SELECT trajectory_id, ';é;' AS note FROM trajectories{end}"))
    assert found == [Item(one, 1)]


@pytest.mark.parametrize(
    ("sql", "said"),
    [
        ("SELECT nothing FROM trajectories", "nothing"),
        ("SELECT prompt_id, stage FROM trajectories", "gives no column trajectory_id, but prompt_id, stage"),
        ("SELECT trajectory_id FROM nowhere", "nowhere"),
        ("SELECT trajectory_id FRM trajectories", "syntax error"),
        ("SELECT trajectory_id FROM trajectories; DROP VIEW trajectories", "give one statement, not 2"),
        ("SELECT trajectory_id FROM trajectories) UNION (SELECT 'x'", "syntax error"),
        ("SELECT content AS trajectory_id FROM read_text('/etc/passwd')", "Permission Error"),
        ("SELECT (1 / 0)::INT AS trajectory_id, error(text) FROM trajectories WHERE error(text) IS NULL", "bang"),
    ],
)
def test_sql_that_fails_is_told_with_queue_and_file(made: Made, tmp_path: Path, sql: str, said: str) -> None:
    made.reply("bang")
    file = tmp_path / "q.yaml"
    file.write_text(f"queue: q\ntitle: T\nsql: |\n  {sql}\nguideline: g\nreasons: {{wrong: W}}\n")
    with pytest.raises(ConfigError) as error:
        candidates(made.path, Queue.load(file))
    assert str(error.value).startswith(f"{file}: queue q: ")
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_pairs_want_ids_of_pairs(made: Made) -> None:
    pair = made.pair(made.reply("a"), made.reply("b"))
    assert candidates(made.path, queue("SELECT pair_id FROM pairs UNION ALL SELECT 'ffff'", rows="pairs")) == [
        Item(pair, 0)
    ]
    with pytest.raises(ConfigError, match="queue q: its sql gives no column pair_id, but trajectory_id"):
        candidates(made.path, queue("SELECT trajectory_id FROM trajectories", rows="pairs"))
