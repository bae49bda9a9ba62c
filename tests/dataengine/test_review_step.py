"""A recipe's step of kind `review` says how far people have looked, and checks what they edited."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Run = Callable[..., Any]


@pytest.fixture
def run(cli: Callable[..., Any], recipe: Callable[..., Path], scripted: Any, tmp_path: Path) -> Run:
    """Runs a recipe of six replies that are to be looked at."""

    def call(**step: Any) -> Any:
        path = recipe(scripted, prompts=3)
        value = json.loads(path.read_text())
        kept = value["steps"].pop("keep")
        value["steps"] |= {"looked": {"kind": "review", "of": "sample", **step}, "keep": kept}
        path.write_text(json.dumps(value))
        return cli("run", path, "--warehouse", "data")

    return call


def line(out: str) -> str:
    return next(line for line in out.splitlines() if line.startswith("[2/3] looked: ")).rpartition(" (")[0]


def review(cli: Any, folder: Path, *rows: dict[str, Any]) -> None:
    (folder / "said.jsonl").write_text("".join(json.dumps({"reviewer": "ann"} | row) + "\n" for row in rows))
    assert cli("import", "said.jsonl", "--as", "reviews", "--warehouse", "data").code == 0


@pytest.mark.slow
def test_it_says_who_waits_and_what_was_said(run: Run, cli: Any, rows: Any, tmp_path: Path) -> None:
    told = "[2/3] looked: {} looked at ({}){}"
    wait = "; {} wait: `dataengine import FILE --as reviews`"
    assert line(run().out) == told.format("0 of 6", "nothing yet", wait.format(6))
    ids = [i for (i,) in rows("SELECT trajectory_id FROM trajectories ORDER BY 1")]
    review(
        cli, tmp_path, {"trajectory_id": ids[0], "verdict": "approve"}, {"trajectory_id": ids[1], "verdict": "reject"}
    )
    assert line(run().out) == told.format("2 of 6", "1 approved, 1 rejected", wait.format(4))
    rest = [{"trajectory_id": i, "verdict": "approve"} for i in ids[2:]]
    review(cli, tmp_path, *rest)
    assert line(run().out) == told.format("6 of 6", "5 approved, 1 rejected", "")
    assert line(run(looks=2).out).startswith("[2/3] looked: 0 of 6 looked at")


@pytest.mark.slow
def test_edited_text_is_checked_as_the_reply_was(run: Run, cli: Any, rows: Any, tmp_path: Path) -> None:
    run()
    ((ident, question),) = rows(
        "SELECT trajectory_id, messages[1].content FROM trajectory_facts ORDER BY trajectory_id LIMIT 1"
    )
    a, b = (int(word.strip("?")) for word in question.split()[2::2])
    right = f"<think>\nI add {a} and {b}.\n</think>\nIt is {a + b}.\n<answer>{a + b}</answer>"
    review(cli, tmp_path, {"trajectory_id": ident, "verdict": "edit", "text": right})
    assert line(run().out).startswith("[2/3] looked: 2 of 7 looked at (1 approved, 1 edited); 5 wait")
    edit = 'SELECT "check", outcome FROM verdicts JOIN trajectories USING (trajectory_id) WHERE parent_id IS NOT NULL'
    assert sorted(rows(edit)) == [("exact", "pass"), ("format", "pass"), ("human", "pass"), ("length", "pass")]
    assert "nothing to do" in run().out.splitlines()[-1]


def test_a_look_can_be_waived_with_the_reason(run: Run) -> None:
    assert line(run(waive="nobody reads sums").out) == "[2/3] looked: waived: nobody reads sums"


def test_it_looks_at_what_earlier_steps_made(recipe: Any, scripted: Any, refused: Any) -> None:
    path = recipe(scripted)
    value = json.loads(path.read_text())
    value["steps"]["looked"] = {"kind": "review", "of": "keep"}
    path.write_text(json.dumps(value))
    assert refused("run", path).endswith("steps.looked.of: 'keep' is no earlier step that makes trajectories")
