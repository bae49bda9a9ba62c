"""The check of duplicates over a warehouse: all replies of a stage are looked at, those without a verdict judged."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from dataengine import checking
from dataengine.checking import load_checks, run_checks
from dataengine.importing import import_file
from schemas.recipe import CheckSpec, FileSource
from schemas.records import Record
from warehouse.connect import connect
from warehouse.store import Appended, Warehouse

Cli = Callable[..., Any]
STORY = " ".join(f"word{i}" for i in range(60))
VERDICTS = (
    "SELECT trajectory_id, attempt, version, outcome, score, reason, details FROM verdicts "
    "WHERE \"check\" = 'duplicate' ORDER BY ALL"
)


@pytest.fixture
def taken(tmp_path: Path) -> Callable[..., Warehouse]:
    """A warehouse with these replies, each to a prompt of its own, added to what is there."""

    def take(texts: Sequence[str], name: str = "data", stage: str = "reasoning") -> Warehouse:
        file = tmp_path / "replies.jsonl"
        file.write_text("".join(json.dumps({"prompt": f"{stage} {t}?", "response": t}) + "\n" for t in texts))
        source = FileSource(source="file", path=str(file))
        import_file(tmp_path / name, source, "trajectories", stage=stage, policy="hand@1")
        return Warehouse.open(tmp_path / name)

    return take


def judge(warehouse: Warehouse, stage: str = "reasoning") -> dict[str, int]:
    with connect(warehouse.path) as connection:
        found = connection.execute(
            "SELECT DISTINCT trajectory_id FROM trajectories WHERE stage = ?", [stage]
        ).fetchall()
    done = run_checks(warehouse, "r", load_checks([CheckSpec(check="duplicate")]), [r[0] for r in found], "check")
    return done.added.get("duplicate", {})


@pytest.mark.slow
def test_later_replies_are_held_against_those_that_passed_and_change_no_verdict(
    taken: Callable[..., Warehouse], rows: Any
) -> None:
    warehouse = taken([STORY, f"{STORY} indeed", "something else"])
    assert judge(warehouse) == {"pass": 2, "fail": 1}
    before = rows(VERDICTS)
    taken([f"{STORY} indeed, and longer", "nothing like it"])
    assert judge(warehouse) == {"pass": 1, "fail": 1}
    assert set(before) < set(rows(VERDICTS))
    assert judge(warehouse) == {}
    clustered = rows("SELECT count(*), count(DISTINCT cluster_id) FROM clusters_current WHERE kind = 'response'")
    assert clustered == [(5, 3)]


@pytest.mark.slow
def test_the_same_reply_at_another_stage_is_no_duplicate(taken: Callable[..., Warehouse]) -> None:
    assert judge(taken([STORY])) == {"pass": 1}
    assert judge(taken([STORY], stage="cold_start"), "cold_start") == {"pass": 1}


@pytest.mark.slow
def test_a_check_that_was_cut_off_ends_in_the_verdicts_of_one_that_was_not(
    taken: Callable[..., Warehouse], monkeypatch: pytest.MonkeyPatch, rows: Any, tmp_path: Path
) -> None:
    texts = [f"{STORY} {' '.join(f'{kind}{i}' for i in range(n))}" for kind in "abc" for n in range(0, 60, 5)]
    judge(taken(texts, "undisturbed"))
    expected = rows(VERDICTS, tmp_path / "undisturbed")
    assert {"pass", "fail"} == {row[3] for row in expected}
    monkeypatch.setattr(checking, "_COMMIT", 3)
    append = Warehouse.append

    def dying(self: Warehouse, table: str, batch: Sequence[Record]) -> Appended:
        done = append(self, table, batch)
        if table == "verdicts":
            raise KeyboardInterrupt
        return done

    warehouse = taken(texts)
    for commits in range(1, 5):
        with monkeypatch.context() as killing, pytest.raises(KeyboardInterrupt):
            killing.setattr(Warehouse, "append", dying)
            judge(warehouse)
        assert len(rows(VERDICTS)) == 3 * commits
    judge(warehouse)
    assert rows(VERDICTS) == expected


@pytest.mark.slow
def test_a_recipes_replies_are_compared_when_all_are_there(cli: Cli, recipe: Any, scripted: Any, rows: Any) -> None:
    path = recipe(scripted, prompts=3, samples=4, checks=["exact", "duplicate"], snapshot={"sources": [
        {"stage": "reasoning", "require": ["exact"], "template": "think"}]})  # fmt: skip
    done = cli("run", path, "--warehouse", "data")
    assert done.code == 0, done
    texts = rows("SELECT count(DISTINCT text) FROM trajectories")[0][0]
    assert texts < 12
    told = dict(rows("SELECT outcome, count(*) FROM verdicts WHERE \"check\" = 'duplicate' GROUP BY 1"))
    assert sum(told.values()) == 12 and told["fail"] >= 12 - texts
    assert "duplicate" in done.out and "0 pending" in done.out
    before = rows(VERDICTS)
    assert "nothing to do" in cli("run", path, "--warehouse", "data").out
    more = recipe(scripted, prompts=3, samples=6, checks=["exact", "duplicate"], snapshot={"sources": [
        {"stage": "reasoning", "require": ["exact"], "template": "think"}]})  # fmt: skip
    assert cli("run", more, "--warehouse", "data").code == 0
    assert len(rows(VERDICTS)) == 18 and set(before) < set(rows(VERDICTS))


def test_a_file_is_judged_as_a_whole(cli: Cli, tmp_path: Path) -> None:
    texts = [f"reply number {i}" for i in range(1000)]
    rows = [*texts, f"{texts[3]}  ", 7, texts[999]]
    (tmp_path / "some.jsonl").write_text("".join(json.dumps({"response": t}) + "\n" for t in rows))
    done = cli("check", "some.jsonl", "--with", "length,duplicate", "--out", "out.jsonl")
    assert "1,003 rows = 1,000 pass + 2 fail + 0 undecided + 0 error + 1 unreadable" in done.out
    found = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [row["response"] for row in found] == rows
    failed = {i: row["verdicts"]["duplicate"]["details"] for i, row in enumerate(found)
              if row["verdicts"].get("duplicate", {}).get("outcome") == "fail"}  # fmt: skip
    assert failed == {1000: {"representative": "some.jsonl:4"}, 1002: {"representative": "some.jsonl:1000"}}
