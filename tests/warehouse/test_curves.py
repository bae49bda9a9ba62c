"""The view `curves` against numbers worked out by hand."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest

from schemas.keys import canonical_json
from schemas.records import Metric, Prompt, Rollout, Run, Trajectory, Verdict
from tests.warehouse.conftest import MakePrompt, MakeTrajectory, MakeVerdict, Rows
from warehouse.sql import named_query, query
from warehouse.store import Warehouse

# Two prompts, of each two replies, at step 0: (accuracy, language, verifier's word, tokens, cut, reflections).
STEP_0 = [
    [(1.0, 0.5, "pass", 10, False, 2), (0.0, 1.0, "fail", 20, False, 0)],
    [(None, 1.0, "error", 30, True, 1), (0.0, 1.0, "fail", 40, True, 1)],
]
STEP_1 = [
    [(1.0, 1.0, "pass", 10, False, 0), (1.0, 1.0, "pass", 10, False, 0)],
    [(None, None, "error", 10, False, 0), (None, None, "error", 10, False, 0)],
]


@pytest.fixture
def sampled(
    warehouse: Warehouse,
    make_prompt: MakePrompt,
    make_trajectory: MakeTrajectory,
    make_verdict: MakeVerdict,
    clock: Callable[[], datetime],
) -> list[Prompt]:
    """A training's rollouts of two steps, with what it said of them."""
    prompts = [make_prompt(f"{n}?", verifier="math") for n in range(2)]
    trajectories: list[Trajectory] = []
    verdicts: list[Verdict] = []
    rollouts: list[Rollout] = []
    for step, groups in enumerate((STEP_0, STEP_1)):
        for prompt, group in zip(prompts, groups, strict=True):
            for i, (accuracy, language, word, tokens, cut, reflections) in enumerate(group):
                shared = {"run_id": "train-1"}
                t = make_trajectory(
                    prompt, i, stage="rl_rollout", policy=f"p-{step}", step=step, completion_tokens=tokens, **shared
                )
                trajectories.append(t)
                for part, value in (("accuracy", accuracy), ("language", language)):
                    said = "undecided" if value is None else "pass" if value == 1 else "fail"
                    verdicts.append(make_verdict(t, said, check=f"reward_{part}", kind="reward", score=value, **shared))
                verdicts.append(make_verdict(t, word, check="math", against=prompt.against, **shared))
                counts = canonical_json({"reflections": reflections})
                verdicts.append(make_verdict(t, check="features", details=counts, **shared))
                reward = None if accuracy is None or language is None else accuracy + language
                rollouts.append(
                    Rollout(
                        trajectory_id=t.trajectory_id,
                        attempt=1,
                        step=step,
                        reward=reward,
                        advantage=None,
                        clipped=cut,
                        run_id="train-1",
                        created_at=clock(),
                    )
                )
    # Said by others since, or of other replies: none of the training's business.
    other = make_trajectory(prompts[0], stage="reasoning", completion_tokens=9999)
    verdicts += [make_verdict(other, check="math", against=prompts[0].against)]
    verdicts += [make_verdict(trajectories[1], check="math", version="2", against=prompts[0].against)]
    warehouse.append("prompts", prompts)
    warehouse.append("trajectories", [*trajectories, other])
    warehouse.append("verdicts", verdicts)
    warehouse.append("rollouts", rollouts)
    return prompts


@pytest.mark.usefixtures("sampled")
def test_curves_of_rollouts_are_means_of_their_rows(rows: Rows) -> None:
    found = rows("SELECT name, step, value, n FROM curves WHERE run_id = 'train-1' AND origin = 'rows'")
    assert {(r["name"], r["step"]): (r["value"], r["n"]) for r in found} == {
        ("rollout/reward", 0): (pytest.approx((1.5 + 1.0 + 1.0) / 3), 3),
        ("rollout/reward", 1): (2.0, 2),
        ("rollout/rewards/accuracy", 0): (pytest.approx(1 / 3), 3),
        ("rollout/rewards/accuracy", 1): (1.0, 2),
        ("rollout/rewards/language", 0): (0.875, 4),
        ("rollout/rewards/language", 1): (1.0, 2),
        ("rollout/pass/math", 0): (pytest.approx(1 / 3), 3),
        ("rollout/pass/math", 1): (1.0, 2),
        ("rollout/length", 0): (25.0, 4),
        ("rollout/length", 1): (10.0, 4),
        ("rollout/clipped", 0): (0.5, 4),
        ("rollout/clipped", 1): (0.0, 4),
        # At step 0 the first group has 1.5 and 1.0, the second 1.0 alone; at step 1 the second has nothing.
        ("rollout/groups_without_spread", 0): (0.5, 2),
        ("rollout/groups_without_spread", 1): (1.0, 2),
        ("rollout/reflections", 0): (1.0, 4),
        ("rollout/reflections", 1): (0.0, 4),
    }


def test_what_was_logged_stands_beside_it(warehouse: Warehouse, rows: Rows, clock: Callable[[], datetime]) -> None:
    row = Metric(run_id="train-1", step=3, name="train/loss", value=0.25, created_at=clock())
    warehouse.append("metrics", [row])
    assert rows("FROM curves") == [
        {
            "run_id": "train-1",
            "name": "train/loss",
            "step": 3,
            "value": 0.25,
            "n": None,
            "source": None,
            "setting": None,
            "origin": "metrics",
        }
    ]


@pytest.fixture
def evaluated(
    warehouse: Warehouse,
    make_prompt: MakePrompt,
    make_trajectory: MakeTrajectory,
    make_verdict: MakeVerdict,
    clock: Callable[[], datetime],
) -> None:
    """Evaluations of three policies: after 10 steps of a training, written by that training at 20, and of nobody's."""
    prompts = [make_prompt(f"{n}?", verifier="math") for n in range(2)]
    warehouse.append("prompts", prompts)
    sampling = canonical_json({"shots": 0, "template": "think", "temperature": 0.6, "top_p": 0.95, "seed": 0})
    for policy, run_id, step, right in (
        ("after-10@1", "eval-1", None, [(1, 1, 0), (0, 0, 0)]),
        ("after-20@1", "train-1", 20, [(1, 1, 1), (0, 1, 0)]),
        ("other@1", "eval-2", None, [(0, 0, 0), (0, 0, 0)]),
    ):
        for prompt, outcomes in zip(prompts, right, strict=True):
            for i, passed in enumerate(outcomes):
                t = make_trajectory(
                    prompt, i, stage="eval", policy=policy, step=step, sampling=sampling, run_id=run_id,
                    completion_tokens=10 + i,
                )  # fmt: skip
                said = make_verdict(t, "pass" if passed else "fail", check="math", against=prompt.against)
                vote = make_verdict(t, check="vote", details=canonical_json({"answer": str(passed or i)}))
                mixed = make_verdict(t, check="language_mix", score=0.5)
                counts = make_verdict(t, check="features", details=canonical_json({"reflections": i}))
                warehouse.append("trajectories", [t])
                warehouse.append("verdicts", [said, vote, mixed, counts])
    configs: dict[str, Any] = {"eval-1": {"training": {"key": "train-1", "step": 10}}, "eval-2": {}, "train-1": {}}
    warehouse.append(
        "runs",
        [
            Run(run_id=i, event="started", recipe=i, config=canonical_json(c), created_at=clock())
            for i, c in configs.items()
        ],
    )


@pytest.mark.usefixtures("evaluated")
def test_curves_of_evaluations_stand_at_the_step_of_the_weights(rows: Rows) -> None:
    found = rows(
        "SELECT run_id, step, name, value, n, source FROM curves WHERE name LIKE 'eval/%' AND setting IS NOT NULL"
    )
    told = {(r["run_id"], r["step"], r["name"]): r["value"] for r in found}
    assert {r["source"] for r in found} == {"sums"} and {r["n"] for r in found} == {2}
    assert {place[:2] for place in told} == {("train-1", 10), ("train-1", 20), ("other@1", 0)}
    assert told["train-1", 10, "eval/pass@1"] == pytest.approx((2 / 3 + 0) / 2, abs=1e-4)
    assert told["train-1", 10, "eval/pass@3"] == 0.5
    # Of three different wrong answers none is right; two right ones of three are the most.
    assert told["train-1", 10, "eval/cons@3"] == 0.5
    assert told["train-1", 20, "eval/pass@1"] == pytest.approx((1 + 1 / 3) / 2, abs=1e-4)
    assert told["train-1", 20, "eval/pass@3"] == 1.0
    assert told["other@1", 0, "eval/pass@1"] == 0.0
    assert told["train-1", 10, "eval/length"] == 11.0
    assert told["train-1", 10, "eval/reflections"] == 1.0
    assert told["train-1", 10, "eval/language_consistency"] == 0.5


@pytest.mark.usefixtures("sampled", "evaluated")
def test_the_shipped_question_gives_them_all(warehouse: Warehouse) -> None:
    found = query(warehouse.path, named_query("curves")).fetchall()
    names = {row[1] for row in found}
    assert {"rollout/reward", "rollout/rewards/language", "eval/pass@1", "eval/cons@3"} <= names
