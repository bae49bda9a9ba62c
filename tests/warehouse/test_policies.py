"""Whose word a mix takes, and that a judge has to be proven before it counts."""

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from schemas.errors import JudgeNotCalibrated, SnapshotError
from schemas.mix import Mix
from schemas.records import Calibration
from tests.warehouse.conftest import MakeMix, MakePrompt, MakeTrajectory, MakeVerdict, Rows
from warehouse.connect import connect
from warehouse.mixing import unmet
from warehouse.snapshot import create_snapshot
from warehouse.sql import named_query
from warehouse.store import Warehouse

RULES = ("pass", "fail", "undecided", None)
JUDGES = ("pass", "fail", "undecided", None)
TAKEN: dict[str, Callable[[Any, Any], bool]] = {
    "rule": lambda rule, judge: rule == "pass",
    "judge": lambda rule, judge: judge == "pass",
    "rule or judge": lambda rule, judge: "pass" in (rule, judge),
    "rule and judge": lambda rule, judge: rule == judge == "pass",
}


@pytest.fixture
def judged(
    warehouse: Warehouse, make_prompt: MakePrompt, make_trajectory: MakeTrajectory, make_verdict: MakeVerdict
) -> dict[str, tuple[Any, Any]]:
    """A reply for every word of the rule and of the judge; by its id what they said."""
    prompts = [make_prompt(f"{i}?") for i in range(len(RULES) * len(JUDGES))]
    replies = [make_trajectory(p) for p in prompts]
    said = [(rule, judge) for rule in RULES for judge in JUDGES]
    verdicts = [make_verdict(t) for t in replies]
    for prompt, reply, (rule, judge) in zip(prompts, replies, said, strict=True):
        if rule is not None:
            verdicts.append(make_verdict(reply, rule, check="exact", against=prompt.against))
        if judge is not None:
            verdicts.append(
                make_verdict(reply, judge, check="judge", kind="judge", version="abc", against=prompt.against)
            )
    warehouse.append("prompts", prompts)
    warehouse.append("trajectories", replies)
    warehouse.append("verdicts", verdicts)
    return dict(zip([t.trajectory_id for t in replies], said, strict=True))


@pytest.fixture
def proven(warehouse: Warehouse, clock: Callable[[], datetime]) -> Callable[..., None]:
    def prove(low: float | None = 0.7, version: str = "abc", gold: str = "gold@1") -> None:
        kappa, high = (None, None) if low is None else (low + 0.1, low + 0.2)
        row = Calibration(
            judge="judge", version=version, gold=gold, kappa=kappa, low=low, high=high, n=90, created_at=clock()
        )
        warehouse.append("calibrations", [row])

    return prove


def ids(folder: Path, mix: Mix) -> set[str]:
    snapshot, _ = create_snapshot(folder, mix, {"plain": None})
    return {row["trajectory_id"] for file in snapshot.data_files() for row in pq.read_table(file).to_pylist()}


@pytest.mark.parametrize("policy", TAKEN)
def test_a_policy_takes_what_those_it_asks_passed(
    folder: Path, judged: Any, proven: Any, make_mix: MakeMix, policy: str
) -> None:
    proven()
    judge = {"judge": "judge"} if "judge" in policy else {}
    wanted = {ident for ident, said in judged.items() if TAKEN[policy](*said)}
    assert ids(folder, make_mix(policy=policy, **judge)) == wanted
    assert ids(folder, make_mix("alone", require=[], policy=policy, **judge)) == wanted


def test_what_people_passed(
    folder: Path, warehouse: Warehouse, judged: Any, make_mix: MakeMix, make_verdict: Any
) -> None:
    with pytest.raises(SnapshotError, match="nobody has reviewed anything here"):
        ids(folder, make_mix(policy="human"))
    first = sorted(judged)[0]
    seen = SimpleNamespace(trajectory_id=first, attempt=1)
    warehouse.append("verdicts", [make_verdict(seen, check="human", kind="person")])
    assert ids(folder, make_mix(policy="human")) == {first}


@pytest.mark.parametrize("asked", [{"policy": "rule or judge", "judge": "judge"}, {"require": ["format", "judge"]}])
def test_a_judge_that_is_not_proven_is_refused_with_the_figures(
    folder: Path, judged: Any, proven: Any, make_mix: MakeMix, asked: dict[str, Any]
) -> None:
    def refusal(mix: Mix) -> str:
        with pytest.raises(SnapshotError) as error:
            ids(folder, mix)
        return str(error.value)

    mix = make_mix(**asked)
    start = "mix demo: the judge 'judge' (version abc) "
    assert refusal(mix).startswith(
        f"{start}is not calibrated: `dataengine judge calibrate judge --recipe RECIPE --on FILE`"
    )
    proven(version="other")
    assert refusal(mix).startswith(f"{start}is not calibrated")
    proven(low=None, gold="gold@0")
    assert refusal(mix) == f"{start}has no kappa on gold@0: one side said one thing only"
    proven(low=0.4, gold="gold@1")
    assert refusal(mix) == (
        f"{start}is too weak: kappa 0.50 (0.40 to 0.60) on 90 cases of gold@1, and the low end has to be 0.6 or more "
        "(`min_kappa`)"
    )
    assert ids(folder, make_mix(**asked, min_kappa=0.35))
    proven(low=0.62, gold="gold@2")
    assert ids(folder, mix)


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ({"require": []}, "nothing decides what is taken"),
        ({"policy": "judge"}, "name the `judge` that the policy asks"),
        ({"policy": "rule", "judge": "judge"}, "`judge` is for a policy that asks one"),
        ({"judge": "judge"}, "`judge` is for a policy that asks one"),
    ],
)
def test_policies_that_mean_nothing_are_refused(make_mix: MakeMix, source: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        make_mix(**source)


def test_the_table_of_yields_and_the_agreement(folder: Path, judged: Any, rows: Rows) -> None:
    for told, pool in zip(rows(named_query("yield_policies")), ("all", "judged"), strict=True):
        of = [said for said in judged.values() if pool == "all" or said[1] is not None]
        count = {name: sum(take(*said) for said in of) for name, take in TAKEN.items()}
        assert told == {
            "stage": "reasoning",
            "judge": "judge",
            "pool": pool,
            "replies": len(of),
            "judge_alone": count["judge"],
            "rule": count["rule"],
            "rule_reparsed": count["rule"],
            "rule_or_judge": count["rule or judge"],
            "rule_and_judge": count["rule and judge"],
        }
    (agreed,) = rows(named_query("judge_agreement"))
    assert {
        k: agreed[k] for k in ("judge", "version", "stage", "judged", "undecided", "n", "both_pass", "judge_only")
    } == {
        "judge": "judge",
        "version": "abc",
        "stage": "reasoning",
        "judged": 12,
        "undecided": 4,
        "n": 4,
        "both_pass": 1,
        "judge_only": 1,
    }
    assert (agreed["agreement"], agreed["kappa"]) == (0.5, 0.0)


def test_the_yield_of_the_rule_without_a_judge_and_in_another_form(
    warehouse: Warehouse,
    make_prompt: MakePrompt,
    make_trajectory: MakeTrajectory,
    make_verdict: MakeVerdict,
    rows: Rows,
) -> None:
    assert rows(named_query("yield_policies")) == []
    prompt = make_prompt()
    replies = [make_trajectory(prompt, i) for i in range(3)]
    said = [("pass", "pass"), ("pass", "fail"), ("fail", "pass")]
    verdicts = [
        make_verdict(reply, outcome, check=check, against=prompt.against if check == "exact" else "")
        for reply, outcomes in zip(replies, said, strict=True)
        for check, outcome in zip(("exact", "format"), outcomes, strict=True)
    ]
    lost = make_trajectory(prompt, 9, error="lost", finish_reason=None, text="", reasoning=None, answer=None)
    warehouse.append("prompts", [prompt])
    warehouse.append("trajectories", [*replies, lost])
    warehouse.append("verdicts", verdicts)
    (told,) = rows(named_query("yield_policies"))
    assert told == {"stage": "reasoning", "judge": None, "pool": "all", "replies": 3, "judge_alone": None, "rule": 1,
                    "rule_reparsed": 2, "rule_or_judge": None, "rule_and_judge": None}  # fmt: skip


def test_each_version_whose_verdicts_are_taken_has_to_be_proven(
    folder: Path, judged: Any, proven: Any, make_mix: MakeMix, warehouse: Warehouse, make_prompt: MakePrompt,
    make_trajectory: MakeTrajectory, make_verdict: MakeVerdict,
) -> None:  # fmt: skip
    proven()
    mix = make_mix(policy="judge", judge="judge")
    assert ids(folder, mix)
    prompt = make_prompt("another?")
    elsewhere, here = make_trajectory(prompt, 0, stage="cold_start"), make_trajectory(prompt, 1)
    warehouse.append("prompts", [prompt])
    for row in (elsewhere, here):
        warehouse.append("trajectories", [row])
        warehouse.append("verdicts", [make_verdict(row, check="judge", kind="judge", version="def")])
        if row is elsewhere:
            assert ids(folder, mix)
    with pytest.raises(JudgeNotCalibrated, match=r"the judge 'judge' \(version def\) is not calibrated"):
        ids(folder, mix)


def test_what_is_no_judge_is_not_gone_by_as_one(folder: Path, judged: Any, make_mix: MakeMix) -> None:
    with pytest.raises(JudgeNotCalibrated, match="its policy asks 'exact', which is no judge"):
        ids(folder, make_mix(policy="judge", judge="exact"))


@pytest.mark.parametrize("policy", ["judge", "rule or judge", "rule and judge", "human"])
def test_the_policy_of_somebody_who_said_nothing_is_not_met(
    folder: Path, warehouse: Warehouse, make_mix: MakeMix, make_prompt: MakePrompt, make_trajectory: MakeTrajectory,
    policy: str,
) -> None:  # fmt: skip
    prompt = make_prompt()
    reply = make_trajectory(prompt)
    warehouse.append("prompts", [prompt])
    warehouse.append("trajectories", [reply])
    judge = {"judge": "judge"} if "judge" in policy else {}
    mix = make_mix(require=[], policy=policy, **judge)
    with connect(folder) as connection:
        missed = unmet(connection, mix, mix.sources[0], [reply.trajectory_id])
    name = f"policy: {policy}" + (" (judge)" if judge else "")
    assert [c.text for c in missed[reply.trajectory_id]] == [name]
