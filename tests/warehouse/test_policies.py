"""Whose word makes a mix: the rule's, a judge's, people's; and which of a prompt's replies are least alike."""

import itertools
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from schemas.errors import JudgeNotCalibrated, SnapshotError
from schemas.mix import Mix
from schemas.records import Calibration, Trajectory
from tests.warehouse.conftest import MakeMix, MakePrompt, MakeTrajectory, MakeVerdict, Rows
from warehouse.mixing import conditions
from warehouse.snapshot import create_snapshot
from warehouse.sql import named_query
from warehouse.store import Warehouse

SYSTEMS = {"plain": None}
SAID = ("pass", "fail", "undecided", None)
Said = tuple[str | None, ...]


Calibrate = Callable[..., None]


@pytest.fixture
def calibrate(warehouse: Warehouse, clock: Callable[[], datetime]) -> Calibrate:
    """Stores a calibration of a judge."""

    def add(low: float = 0.7, *, judge: str = "judge", version: str = "1", gold: str = "gold@1", n: int = 50) -> None:
        row = Calibration(
            judge=judge, version=version, gold=gold, kappa=low + 0.1, low=low, high=low + 0.2, n=n, created_at=clock()
        )
        warehouse.append("calibrations", [row])

    return add


def taken(folder: Path, mix: Mix) -> set[str]:
    snapshot, _ = create_snapshot(folder, mix, SYSTEMS)
    return {i for file in snapshot.data_files() for i in pq.read_table(file)["trajectory_id"].to_pylist()}


@pytest.fixture
def said(
    warehouse: Warehouse, make_prompt: MakePrompt, make_trajectory: MakeTrajectory, make_verdict: MakeVerdict
) -> dict[str, Said]:
    """Replies with every combination of what the rule, the judge and people said; id -> those three."""
    prompt = make_prompt()
    combinations = list(itertools.product(SAID, repeat=3))
    made = [make_trajectory(prompt, i) for i in range(len(combinations))]
    kinds = {"exact": "verifier", "judge": "judge", "human": "person"}
    verdicts = [
        make_verdict(t, outcome, check=check, kind=kinds[check], against=prompt.against if check == "exact" else "")
        for t, combination in zip(made, combinations, strict=True)
        for check, outcome in zip(kinds, combination, strict=True)
        if outcome is not None
    ]
    warehouse.append("prompts", [prompt])
    warehouse.append("trajectories", made)
    warehouse.append("verdicts", verdicts)
    return {t.trajectory_id: c for t, c in zip(made, combinations, strict=True)}


PASSES: dict[str, Callable[[Said], bool]] = {
    "rule": lambda said: said[0] == "pass",
    "judge": lambda said: said[1] == "pass",
    "rule or judge": lambda said: "pass" in said[:2],
    "rule and judge": lambda said: said[:2] == ("pass", "pass"),
    "human": lambda said: said[2] == "pass",
}


@pytest.mark.parametrize("policy", PASSES)
def test_a_policy_takes_what_those_it_names_passed(
    folder: Path, said: dict[str, Said], make_mix: MakeMix, calibrate: Calibrate, policy: str
) -> None:
    calibrate()
    judge = {"judge": "judge"} if "judge" in policy else {}
    found = taken(folder, make_mix(require=[], policy=policy, **judge))
    assert found == {i for i, combination in said.items() if PASSES[policy](combination)}


def test_other_checks_stay_beside_a_policy(
    folder: Path, said: dict[str, Said], make_mix: MakeMix, calibrate: Calibrate
) -> None:
    calibrate()
    found = taken(folder, make_mix(require=["human"], not_failed=["judge"], policy="rule"))
    assert found == {i for i, s in said.items() if s[0] == s[2] == "pass" and s[1] in ("pass", "undecided")}


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ({"require": []}, "nothing decides what it takes: name checks in require, or a policy"),
        ({"policy": "judge"}, "policy judge needs to know which: name the judge"),
        ({"policy": "rule and judge"}, "policy rule and judge needs to know which: name the judge"),
        ({"policy": "rule", "judge": "judge"}, "judge names one, but the policy asks no judge"),
        ({"judge": "judge"}, "judge names one, but the policy asks no judge"),
        ({"policy": "anybody"}, "Input should be 'rule', 'judge', 'rule or judge', 'rule and judge' or 'human'"),
        ({"policy": "human", "min_kappa": 1.5}, "less than or equal to 1"),
    ],
)
def test_sources_in_which_nobody_decides(make_mix: MakeMix, source: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValidationError, match=reason):
        make_mix(**source)


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ({"policy": "human"},
         "policy human, but nobody has looked at a trajectory here: `dataengine import FILE --as reviews`"),
        ({"policy": "judge", "judge": "judge"},
         "the judge 'judge' has no verdict here; add a judge step to the recipe and run it again"),
        ({"require": ["human"]}, "requires the check 'human', which has no verdict here; add it to the `checks`"),
    ],
)  # fmt: skip
def test_a_policy_of_somebody_who_has_said_nothing(
    folder: Path, warehouse: Warehouse, make_mix: MakeMix, source: dict[str, Any], reason: str
) -> None:
    with pytest.raises(SnapshotError) as error:
        create_snapshot(folder, make_mix(**{"require": [], **source}), SYSTEMS)
    assert str(error.value).startswith(f"mix demo: {reason}")


def test_a_policy_is_a_condition_that_can_be_read(make_mix: MakeMix) -> None:
    mix = make_mix(require=[], policy="rule or judge", judge="judge")
    assert [c.text for c in conditions(mix.sources[0])] == [
        "stage: reasoning", "has a reply", "policy: rule or judge (judge)"
    ]  # fmt: skip


# -- the gate


@pytest.mark.parametrize(
    "source",
    [
        {"require": [], "policy": "judge", "judge": "judge"},
        {"require": [], "policy": "rule or judge", "judge": "judge"},
        {"require": ["judge"]},
        {"require": ["exact"], "not_failed": ["judge"]},
    ],
)
def test_a_judge_that_was_never_calibrated_makes_no_mix(
    folder: Path, said: dict[str, Said], make_mix: MakeMix, calibrate: Calibrate, source: dict[str, Any]
) -> None:
    calibrate(version="2")
    calibrate(judge="other")
    with pytest.raises(JudgeNotCalibrated) as error:
        taken(folder, make_mix(**source))
    assert str(error.value) == (
        "mix demo: judge judge@1 was never held against known verdicts, the mix asks for kappa 0.60: "
        "`dataengine judge calibrate judge --on FILE`"
    )
    assert not list((folder / "snapshots" / "demo").iterdir())


def test_a_weak_judge_is_refused_with_its_figures_until_the_mix_asks_for_less(
    folder: Path, said: dict[str, Said], make_mix: MakeMix, calibrate: Calibrate
) -> None:
    calibrate(0.02)
    source = {"require": [], "policy": "judge", "judge": "judge"}
    with pytest.raises(JudgeNotCalibrated) as error:
        taken(folder, make_mix(**source))
    assert str(error.value) == (
        "mix demo: judge judge@1 agrees with gold@1 at kappa 0.12 (95% CI 0.02 to 0.22, n 50), the mix asks for kappa "
        "0.60 at the low end: calibrate another, or use policy: rule"
    )
    assert taken(folder, make_mix(min_kappa=0.02, **source))


def test_the_latest_calibration_on_a_set_counts_and_one_good_set_will_do(
    folder: Path, said: dict[str, Said], make_mix: MakeMix, calibrate: Calibrate
) -> None:
    source = {"require": [], "policy": "judge", "judge": "judge"}
    calibrate(0.7)
    calibrate(0.1, n=500)
    with pytest.raises(JudgeNotCalibrated, match=r"kappa 0\.20"):
        taken(folder, make_mix(**source))
    calibrate(0.6, gold="other@1")
    assert taken(folder, make_mix(**source))


def test_an_interval_that_is_no_number_opens_nothing(
    folder: Path, said: dict[str, Said], make_mix: MakeMix, calibrate: Calibrate
) -> None:
    source = {"require": [], "policy": "judge", "judge": "judge", "min_kappa": -1.0}
    calibrate(float("nan"))
    with pytest.raises(JudgeNotCalibrated):
        taken(folder, make_mix(**source))
    calibrate(0.1, gold="other@1")
    assert taken(folder, make_mix(**source))


def test_agreement_with_the_rule_opens_nothing(
    folder: Path, said: dict[str, Said], make_mix: MakeMix, calibrate: Calibrate
) -> None:
    calibrate(gold="rule")
    with pytest.raises(JudgeNotCalibrated, match="was never held against known verdicts"):
        taken(folder, make_mix(require=[], policy="judge", judge="judge"))


def test_each_version_whose_verdicts_are_taken_has_to_be_calibrated(
    folder: Path, said: dict[str, Said], make_mix: MakeMix, calibrate: Calibrate, warehouse: Warehouse,
    make_prompt: MakePrompt, make_trajectory: MakeTrajectory, make_verdict: MakeVerdict,
) -> None:  # fmt: skip
    calibrate()
    source = {"require": [], "policy": "judge", "judge": "judge"}
    assert taken(folder, make_mix(**source))
    prompt = make_prompt("another?")
    elsewhere, here = make_trajectory(prompt, 0, stage="cold_start"), make_trajectory(prompt, 1)
    warehouse.append("prompts", [prompt])
    for row in (elsewhere, here):
        warehouse.append("trajectories", [row])
        warehouse.append("verdicts", [make_verdict(row, check="judge", kind="judge", version="2")])
        if row is elsewhere:
            assert taken(folder, make_mix(**source))
    with pytest.raises(JudgeNotCalibrated, match="judge@2 was never held against known verdicts"):
        taken(folder, make_mix(**source))


def test_what_is_no_judge_is_not_gone_by_as_one(
    folder: Path, said: dict[str, Said], make_mix: MakeMix, calibrate: Calibrate
) -> None:
    calibrate(judge="exact")
    with pytest.raises(JudgeNotCalibrated, match="exact has judged nothing of reasoning: add a judge step for it"):
        taken(folder, make_mix(require=[], policy="judge", judge="exact"))


# -- yield and agreement


@pytest.fixture
def pool(
    warehouse: Warehouse, make_prompt: MakePrompt, make_trajectory: MakeTrajectory, make_verdict: MakeVerdict
) -> None:
    """Ten replies: the rule passes 1 to 5, in form all but 5; the judge passes 4 to 8 and has not seen 10."""
    prompt = make_prompt()
    made = [make_trajectory(prompt, i) for i in range(1, 11)]
    verdicts = []
    for number, row in enumerate(made, start=1):
        rule = "pass" if number <= 5 else "fail"
        verdicts.append(make_verdict(row, rule, check="exact", against=prompt.against))
        verdicts.append(make_verdict(row, "fail" if number == 5 else "pass", check="format"))
        if number < 10:
            judge = "pass" if 4 <= number <= 8 else "undecided" if number == 9 else "fail"
            verdicts.append(make_verdict(row, judge, check="judge", kind="judge", version="a"))
    verdicts.append(make_verdict(made[0], "pass", check="human", kind="person"))
    verdicts.append(make_verdict(made[3], "pass", check="human", kind="person"))
    failed = make_trajectory(prompt, 99, error="lost", finish_reason=None, text="", reasoning=None, answer=None)
    other = make_trajectory(prompt, 0, stage="cold_start")
    warehouse.append("prompts", [prompt])
    warehouse.append("trajectories", [*made, failed, other])
    warehouse.append("verdicts", [*verdicts, make_verdict(other, check="exact", against=prompt.against)])


def test_the_yield_of_each_policy(pool: None, rows: Rows) -> None:
    columns = ("stage", "judge", "pool", "replies", "by_judge", "by_rule", "by_rule_reparsed", "by_rule_or_judge",
               "by_rule_and_judge")  # fmt: skip
    assert [tuple(r[c] for c in columns) for r in rows(named_query("yield_policies"))] == [
        ("cold_start", None, "all", 1, None, 1, 1, None, None),
        ("reasoning", "judge", "all", 10, 5, 4, 5, 8, 2),
        ("reasoning", "judge", "judged", 9, 5, 4, 5, 8, 2),
    ]


def test_the_agreement_of_a_judge(pool: None, rows: Rows) -> None:
    human, rule = rows(named_query("judge_agreement"))
    assert (rule["stage"], rule["judge"], rule["version"], rule["beside"]) == ("reasoning", "judge", "a", "rule")
    # Both pass 4 and 5, the judge alone 6 to 8, the rule alone 1 to 3; 9 is undecided, so both fail none.
    assert [rule[c] for c in ("n", "both_pass", "judge_alone", "other_alone", "both_fail", "judge_undecided")] == [
        8, 2, 3, 3, 0, 1
    ]  # fmt: skip
    # By chance 5/8 * 5/8 + 3/8 * 3/8 = 34/64; (16/64 - 34/64) / (30/64) = -0.6
    assert (rule["agreement"], rule["kappa"]) == (0.25, -0.6)
    assert (human["beside"], human["n"], human["agreement"], human["kappa"]) == ("human", 2, 0.5, 0.0)


def test_yield_of_a_warehouse_without_judges_or_rows(warehouse: Warehouse, rows: Rows) -> None:
    assert rows(named_query("yield_policies")) == []
    assert rows(named_query("judge_agreement")) == []


# -- diverse


def reply(*words: str) -> dict[str, Any]:
    return {"text": " ".join(words), "reasoning": None, "answer": " ".join(words)}


def words(start: int, stop: int) -> list[str]:
    return [f"w{i}" for i in range(start, stop)]


@pytest.fixture
def varied(
    warehouse: Warehouse, make_prompt: MakePrompt, make_trajectory: MakeTrajectory, make_verdict: MakeVerdict
) -> dict[str, str]:
    """To each of six prompts five replies much like each other, and one each of two other kinds; id -> kind."""
    prompts = [make_prompt(f"{i}?") for i in range(6)]
    kinds: dict[str, str] = {}
    made: list[Trajectory] = []
    for prompt in prompts:
        texts = [("a", reply(*words(0, 100 + i))) for i in range(5)]
        texts += [("b", reply(*words(1000, 1100))), ("c", reply(*words(1050, 1150)))]
        for number, (kind, columns) in enumerate(texts):
            made.append(make_trajectory(prompt, number, **columns))
            kinds[made[-1].trajectory_id] = kind
    warehouse.append("prompts", prompts)
    warehouse.append("trajectories", made)
    warehouse.append("verdicts", [make_verdict(t) for t in made])
    return kinds


@pytest.mark.parametrize("seed", range(3))
def test_the_replies_least_alike_are_chosen(
    folder: Path, varied: dict[str, str], make_mix: MakeMix, rows: Rows, seed: int
) -> None:
    prompt_of = {r["trajectory_id"]: r["prompt_id"] for r in rows("SELECT trajectory_id, prompt_id FROM trajectories")}

    def chosen(most: int, choose: str) -> dict[str, str]:
        found = taken(folder, make_mix(f"{choose}-{most}", max_per_prompt=most, choose=choose, seed=seed))
        by_prompt: dict[str, list[str]] = {}
        for ident in found:
            by_prompt.setdefault(prompt_of[ident], []).append(varied[ident])
        return {prompt: "".join(sorted(kinds)) for prompt, kinds in by_prompt.items()}

    assert set(chosen(3, "diverse").values()) == {"abc"}
    # b and c share a third of their words, with a they share none.
    assert set(chosen(2, "diverse").values()) <= {"ab", "ac"}
    assert set(chosen(3, "hash").values()) != {"abc"}
    assert set(chosen(7, "diverse").values()) == {"aaaaabc"}
    assert len(set(chosen(1, "diverse").values())) >= 1


def test_equal_replies_and_those_of_another_source_take_no_place_of_the_diverse(
    folder: Path, varied: dict[str, str], make_mix: MakeMix, warehouse: Warehouse, rows: Rows
) -> None:
    source = {"stage": "reasoning", "require": ["format"]}
    first = {**source, "where": "sample_index = 5"}  # the kind b
    diverse = {**source, "max_per_prompt": 2, "choose": "diverse"}
    found = taken(folder, make_mix(sources=[first, diverse]))
    kinds = sorted(varied[i] for i in found)
    assert kinds == ["a"] * 6 + ["b"] * 6 + ["c"] * 6


def test_any_text_can_be_told_from_another(
    folder: Path, warehouse: Warehouse, make_prompt: MakePrompt, make_trajectory: MakeTrajectory,
    make_verdict: MakeVerdict, make_mix: MakeMix,
) -> None:  # fmt: skip
    texts = ["", "\n" * 200_000, "😀", "\0", "a" * 2_000_000, "a b " * 100_000]
    chinese = ["中文字" * 1000, "中文字" * 999 + "別", "漢語" * 1000]
    prompts = [make_prompt("1?"), make_prompt("2?")]
    made = [
        [make_trajectory(prompt, i, text=text, answer=text, reasoning=None) for i, text in enumerate(part)]
        for prompt, part in zip(prompts, (texts, chinese), strict=True)
    ]
    warehouse.append("prompts", prompts)
    warehouse.append("trajectories", [row for rows in made for row in rows])
    warehouse.append("verdicts", [make_verdict(row) for rows in made for row in rows])
    most = {n: taken(folder, make_mix(f"most-{n}", max_per_prompt=n, choose="diverse")) for n in (2, 5)}
    assert len(most[5] & {row.trajectory_id for row in made[0]}) == 5
    assert len(most[5] & {made[0][0].trajectory_id, made[0][1].trajectory_id}) == 1, "the two that are alike"
    assert made[1][2].trajectory_id in most[2], "the one that is not like the two others"
