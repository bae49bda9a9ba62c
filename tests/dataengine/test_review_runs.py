"""Runs with a review step: what people said goes on to later steps and mixes, and never stops a run."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dataengine.checks import Sample
from dataengine.filters.duplicate import DuplicateCheck

HOW = "wait: `dataengine import FILE --as reviews`"
Change = Callable[..., Path]


@pytest.fixture
def reviewed(recipe: Any, scripted: Any) -> Change:
    """A recipe of six sums, one sample each, that are looked at before the snapshot is made."""

    def write(
        require: tuple[str, ...] = ("human",), checks: tuple[str, ...] = ("exact", "format"), **step: Any
    ) -> Path:
        path: Path = recipe(scripted, samples=1, checks=list(checks))
        value = json.loads(path.read_text())
        sample, keep = value["steps"]["sample"], value["steps"]["keep"]
        keep["mix"]["sources"][0]["require"] = list(require)
        looked = {"kind": "review", "of": "sample", **step}
        value["steps"] = {"sample": sample, "looked": looked, "keep": keep}
        path.write_text(json.dumps(value))
        return path

    return write


@pytest.fixture
def say(cli: Any, tmp_path: Path, rows: Any) -> Callable[..., None]:
    """Imports reviews, given as (number of the reply by id, reviewer, verdict, text or nothing)."""

    def say(*said: tuple[int, str, str, str]) -> None:
        ids = [r[0] for r in rows("SELECT trajectory_id FROM trajectories WHERE parent_id IS NULL ORDER BY 1")]
        lines = [{"trajectory_id": ids[n], "reviewer": who, "verdict": v, "text": text} for n, who, v, text in said]
        (tmp_path / "said.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        assert cli("import", "said.jsonl", "--as", "reviews", "--warehouse", "data").code == 0

    return say


def told(cli: Any, path: Path, code: int = 0) -> str:
    """What a run says of its review step."""
    done = cli("run", path, "--warehouse", "data")
    assert done.code == code, done.err
    (line,) = [line for line in done.out.splitlines() if line.startswith("[2/")]
    return str(line).removeprefix("[2/3] looked: ").rpartition(" (")[0]


@pytest.mark.slow
def test_a_run_says_what_waits_and_goes_on(cli: Any, reviewed: Change, say: Any, rows: Any) -> None:
    path = reviewed(require=("format",))
    assert told(cli, path) == f"0 of 6 looked at (nothing yet); 6 {HOW}"
    say((0, "ann", "approve", ""), (1, "ann", "reject", ""), (2, "ann", "approve", ""), (2, "bob", "reject", ""))
    assert told(cli, path) == f"3 of 6 looked at (1 approved, 1 rejected, 1 undecided); 3 {HOW}"
    say(*((n, "cem", "approve", "") for n in range(3, 6)))
    assert told(cli, path) == "6 of 6 looked at (4 approved, 1 rejected, 1 undecided)"
    again = cli("run", path, "--warehouse", "data")
    assert "nothing to do: " in again.out


@pytest.mark.slow
def test_nothing_that_waits_is_in_a_mix_of_what_people_approved(cli: Any, reviewed: Change, say: Any) -> None:
    path = reviewed(require=("human",))
    done = cli("run", path, "--warehouse", "data")
    assert done.code == 2
    assert "requires the check 'human', which has no verdict here" in done.err
    say((0, "ann", "approve", ""), (1, "ann", "reject", ""))
    assert told(cli, path) == f"2 of 6 looked at (1 approved, 1 rejected); 4 {HOW}"
    assert "1 rows of 1 prompts" in cli("run", path, "--warehouse", "data").out


@pytest.mark.slow
def test_an_edited_text_is_checked_as_its_original_was_and_takes_its_place(
    cli: Any, reviewed: Change, say: Any, rows: Any
) -> None:
    path = reviewed(require=("human", "format", "duplicate"), checks=("exact", "format", "duplicate"))
    cli("run", path, "--warehouse", "data")
    replies = rows("SELECT trajectory_id, text, format FROM trajectory_facts ORDER BY 1")
    number = next(n for n, (_, _, form) in enumerate(replies) if form == "pass")
    original, text, _ = replies[number]
    better = text.replace("I add them up", "I add  them up")
    alike = DuplicateCheck()([Sample(text=t, trajectory_id=t) for t in (text, better)])
    assert "fail" in {opinion.outcome for opinion in alike}, "near duplicates, as an edit and its original are"
    say((number, "ann", "edit", better), (number - 1, "ann", "edit", "no form"))
    assert told(cli, path) == f"4 of 8 looked at (2 approved, 2 edited); 4 {HOW}"
    made = "SELECT parent_id, format, duplicate FROM trajectory_facts WHERE engine = 'review' ORDER BY format"
    assert rows(made) == [(replies[number - 1][0], "fail", "pass"), (original, "pass", "pass")]
    assert rows("SELECT count(*) FROM funnel WHERE applicable <> pass + fail + undecided + error + pending") == [(0,)]
    assert "nothing to do: " in cli("run", path, "--warehouse", "data").out
    taken = rows(
        "SELECT parent_id FROM trajectory_facts WHERE human = 'pass' AND format = 'pass' AND duplicate = 'pass'"
    )
    assert taken == [(original,)]


@pytest.mark.slow
def test_what_failed_a_required_check_waits_for_nobody(cli: Any, reviewed: Change, rows: Any) -> None:
    path = reviewed(require=("format",))
    value = json.loads(path.read_text())
    value["steps"]["looked"]["require"] = ["exact"]
    path.write_text(json.dumps(value))
    line = told(cli, path)
    ((right,),) = rows("SELECT count(*) FROM trajectory_facts WHERE correct")
    assert 0 < right < 6
    assert line == f"0 of {right} looked at (nothing yet); {right} {HOW}"


@pytest.mark.slow
def test_two_looks(cli: Any, reviewed: Change, say: Any) -> None:
    path = reviewed(require=("format",), looks=2)
    cli("run", path, "--warehouse", "data")
    say((0, "ann", "approve", ""), (0, "bob", "approve", ""), (1, "ann", "approve", ""), (2, "ann", "edit", "better"))
    assert told(cli, path) == f"2 of 7 looked at (1 approved, 1 edited); 5 {HOW}"


@pytest.mark.slow
def test_a_waived_look_says_why(cli: Any, reviewed: Change, say: Any) -> None:
    path = reviewed(require=("format",), waive="nobody looks on a laptop")
    assert told(cli, path) == "waived: nobody looks on a laptop"
    say((0, "ann", "reject", ""))
    assert told(cli, path) == "waived: nobody looks on a laptop (1 rejected)"


@pytest.mark.parametrize(
    ("step", "reason"),
    [
        ({"of": "keep"}, "steps.looked.of: 'keep' is no earlier step that makes trajectories"),
        ({"of": "looked"}, "steps.looked.of: 'looked' is no earlier step that makes trajectories"),
        ({"looks": 0}, "steps.looked.looks is 0: input should be greater than or equal to 1"),
        ({"waive": ""}, "steps.looked.waive is ''"),
        (
            {"require": ["gone"]},
            "ConfigError: steps.looked: asks for the check 'gone', which is none of the checks of sample",
        ),
    ],
)
def test_a_review_step_that_cannot_be(refused: Any, tmp_path: Path, reviewed: Change, step: Any, reason: str) -> None:
    path = reviewed()
    value = json.loads(path.read_text())
    value["steps"]["looked"] |= step
    path.write_text(json.dumps(value))
    assert reason in refused("run", path, "--warehouse", "data")
    assert not (tmp_path / "data").exists()
