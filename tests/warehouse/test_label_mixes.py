"""Mixes of labels: single replies with somebody's yes or no, and nobody's doubt taken for either."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from schemas.errors import JudgeNotCalibrated, SnapshotError
from schemas.records import Trajectory
from tests.warehouse.conftest import MakePrompt, MakeTrajectory, MakeVerdict, Prove, Take, mix_of
from warehouse.snapshot import create_snapshot
from warehouse.store import Warehouse

SAFETY = {"stage": "reasoning", "judge": "safety"}
Say = Callable[..., list[Trajectory]]


@pytest.fixture
def say(
    warehouse: Warehouse, make_prompt: MakePrompt, make_trajectory: MakeTrajectory, make_verdict: MakeVerdict
) -> Say:
    """Adds a prompt with a reply for each of a check's outcomes; None is a reply that it said nothing of."""

    def add(question: str, *outcomes: str | None, check: str = "safety", kind: str = "judge", **columns: Any) -> Any:
        prompt = make_prompt(question)
        made = [make_trajectory(prompt, i, **columns) for i in range(len(outcomes))]
        warehouse.append("prompts", [prompt])
        warehouse.append("trajectories", made)
        said = zip(made, outcomes, strict=True)
        warehouse.append("verdicts", [make_verdict(t, o, check=check, kind=kind, version="abc") for t, o in said if o])
        return made

    return add


def dropped(folder: Path, *sources: dict[str, Any]) -> dict[str, int]:
    """The rules that left something out, with how much, and `rows`."""
    manifest = create_snapshot(folder, mix_of("labels", *sources), {"plain": None})[0].manifest
    return {rule: n for rule, n in manifest.counts["dropped"].items() if n} | {"rows": manifest.rows}


def test_pass_is_true_fail_is_false_and_the_whole_reply_is_shown(
    folder: Path, say: Say, prove: Prove, take: Take
) -> None:
    prove("safety")
    safe, unsafe, *_ = say("1?", "pass", "fail", "undecided", "error", None)
    rows = {row["trajectory_id"]: row for row in take("labels", SAFETY)}
    assert {ident: row["label"] for ident, row in rows.items()} == {
        safe.trajectory_id: True, unsafe.trajectory_id: False,
    }  # fmt: skip
    row = rows[unsafe.trajectory_id]
    assert row["prompt"] == [{"role": "user", "content": "1?"}]
    assert row["completion"] == [{"role": "assistant", "content": "<think>\nthought 1\n</think>\nanswer 1"}]
    assert (row["score"], row["labelled_by"], row["attempt"]) == (0.0, "safety", 1)
    assert dropped(folder, SAFETY) == {"undecided": 2, "rows": 2}
    (manifest,) = [create_snapshot(folder, mix_of("labels", SAFETY), {"plain": None})[0].manifest]
    assert manifest.counts["label"] == {"false": 1, "true": 1}
    assert manifest.checks == {"safety": ["abc"]}
    shown = take("labels", {**SAFETY, "show": "answer"}, name="short")
    assert {r["completion"][0]["content"] for r in shown} == {"answer 0", "answer 1"}


@pytest.mark.parametrize("asked", [SAFETY, {"stage": "reasoning", "check": "safety"}])
def test_a_judge_has_to_be_proven_by_whichever_name_it_is_asked(
    folder: Path, say: Say, prove: Prove, asked: dict[str, Any]
) -> None:
    say("1?", "pass", "fail")
    mix = mix_of("labels", asked)
    with pytest.raises(JudgeNotCalibrated, match=r"the judge 'safety' \(version abc\) is not calibrated"):
        create_snapshot(folder, mix, {"plain": None})
    prove("safety", low=0.3)
    with pytest.raises(JudgeNotCalibrated, match=r"is too weak: kappa 0.40 \(0.30 to 0.50\)"):
        create_snapshot(folder, mix, {"plain": None})
    prove("safety", low=0.8, gold="gold@2")
    assert dropped(folder, asked) == {"rows": 2}


def test_any_check_and_people_may_label(folder: Path, say: Say, take: Take) -> None:
    say("1?", "pass", "fail", "fail", check="refusal", kind="filter")
    assert sorted(r["label"] for r in take("labels", {"stage": "reasoning", "check": "refusal"})) == [
        False,
        False,
        True,
    ]
    with pytest.raises(SnapshotError, match="nobody has reviewed anything here"):
        take("labels", {"stage": "reasoning", "policy": "human"})
    say("2?", "pass", check="human", kind="person")
    assert [r["label"] for r in take("labels", {"stage": "reasoning", "policy": "human"})] == [True]
    with pytest.raises(JudgeNotCalibrated, match="its judge asks 'refusal', which is no judge; `check` is for other"):
        take("labels", {"stage": "reasoning", "judge": "refusal"})
    with pytest.raises(SnapshotError, match="asks the judge 'nosuch', which has no verdict here"):
        take("labels", {"stage": "reasoning", "judge": "nosuch"})


def test_a_threshold_turns_the_label(warehouse: Warehouse, say: Say, make_verdict: MakeVerdict, take: Take) -> None:
    replies = say("1?", None, None, None)
    scores = (0.2, 0.5, None)
    warehouse.append("verdicts", [
        make_verdict(t, "fail", check="toxic", score=score) for t, score in zip(replies, scores, strict=True)
    ])  # fmt: skip
    source = {"stage": "reasoning", "check": "toxic", "thresholds": {"toxic": {"at_most": 0.3}}}
    labels = {r["trajectory_id"]: r["label"] for r in take("labels", source)}
    assert labels == dict(zip([t.trajectory_id for t in replies], (True, False, False), strict=True))


def test_conditions_copies_and_caps_are_those_of_any_mix(
    folder: Path, warehouse: Warehouse, say: Say, prove: Prove, make_verdict: MakeVerdict
) -> None:
    prove("safety")
    many = say("1?", *["pass"] * 5)
    say("2?", "fail", "pass", reasoning=None, answer="the same", text="the same")
    say("3?", "pass", reasoning=None, answer=None, text="")
    say("4?", "pass", stage="eval")
    warehouse.append("verdicts", [make_verdict(t) for t in many[:2]])
    assert dropped(folder, SAFETY) == {"no_answer": 1, "duplicate_reply": 1, "rows": 6}
    capped = {**SAFETY, "max_per_prompt": 3, "max_rows": 2}
    assert dropped(folder, capped) == {
        "no_answer": 1, "duplicate_reply": 1, "over_max_per_prompt": 2, "over_max_rows": 2, "rows": 2,
    }  # fmt: skip
    assert dropped(folder, {**SAFETY, "require": ["format"]}) == {"rows": 2}
    assert dropped(folder, {**SAFETY, "where": "sample_index = 4"}) == {"rows": 1}
    assert dropped(folder, {**SAFETY, "where": "sample_index > 1"}, SAFETY)["in_another_source"] == 3


def test_undecided_alone_make_no_snapshot(folder: Path, say: Say, prove: Prove) -> None:
    prove("safety")
    say("1?", "undecided", "error")
    with pytest.raises(SnapshotError) as error:
        create_snapshot(folder, mix_of("labels", SAFETY), {"plain": None})
    assert str(error.value) == "mix demo: takes no labels: left out are undecided 2"


def test_the_hash_tells_labels_apart_and_the_types_are_plain(folder: Path, say: Say, prove: Prove) -> None:
    prove("safety")
    say("1?", "pass", "fail")
    mix = mix_of("labels", SAFETY)
    first, _ = create_snapshot(folder, mix, {"plain": None})
    assert not create_snapshot(folder, mix, {"plain": None})[1]
    turned = {**SAFETY, "thresholds": {"safety": {"at_most": 0.5}}}
    second, new = create_snapshot(folder, mix_of("labels", turned), {"plain": None})
    assert (second.manifest.id, new) == ("demo@2", True)
    schema = pq.read_schema(first.data_files()[0])
    assert schema.field("label").type == pa.bool_()
    turn = pa.struct([("role", pa.string()), ("content", pa.string())])
    assert [schema.field(c).type.value_type for c in ("prompt", "completion")] == [turn, turn]
