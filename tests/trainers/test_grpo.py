"""`trainers grpo`: what it learns, what it leaves in the warehouse, how it goes on after a stop, what it refuses."""

import hashlib
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from schemas.errors import ConfigError, RewardError, SnapshotError, UserError
from trainers import grpo
from trainers.checkpoint import Plan, make_plan
from trainers.grpo_config import GrpoConfig
from warehouse.connect import connect
from warehouse.views import names_in

pytestmark = pytest.mark.slow

Make = Callable[..., Plan]
HERE = "tests.trainers.rewarding"
# Few and short, so that a test takes seconds; minibatches, a reference that is replaced, and prompts that come twice.
SETTINGS: dict[str, Any] = {
    "name": "rl",
    "snapshot": "asked@1",
    "steps": 12,
    "prompts_per_step": 4,
    "group_size": 8,
    "steps_per_rollout": 2,
    "reference_every": 4,
    "kl_coefficient": 0.01,
    "learning_rate": 1e-3,
    "max_tokens": 12,
    "template": "plain",
    "threads": 1,
    "save_every": 5,
    "rewards": [f"{HERE}:ones"],
}


@pytest.fixture
def planned(write_prompts: Callable[..., Path], tiny_model: Path, tmp_path: Path) -> Make:
    """A training's plan; the warehouse is made with the first."""
    made: list[Path] = []

    def make(output: str = "out", **settings: Any) -> Plan:
        warehouse = tmp_path / "warehouse"
        if not made:
            made.append(write_prompts())
        given = {**SETTINGS, "warehouse": warehouse, "model": tiny_model, "output": tmp_path / output, **settings}
        return make_plan(GrpoConfig.model_validate(given))

    return make


def rows(plan: Plan, sql: str) -> list[tuple[Any, ...]]:
    with connect(plan.config.warehouse, only=names_in(sql)) as connection:
        return connection.execute(sql).fetchall()


def lines(plan: Plan) -> list[dict[str, Any]]:
    text = (plan.folder / "metrics.jsonl").read_text()
    return [
        {name: value for name, value in json.loads(line).items() if not name.startswith("seconds/")}
        for line in text.splitlines()
    ]


def risen(plan: Plan) -> float:
    """By how much the mean reward of the last three rollouts is above that of the first; of one, chance is 0.06."""
    means = [line["rewards/sum/mean"] for line in lines(plan) if "rewards/sum/mean" in line]
    return float(sum(means[-3:]) / 3 - means[0])


def weights(plan: Plan) -> str:
    return hashlib.sha256((plan.folder / "model.safetensors").read_bytes()).hexdigest()


def test_the_reward_rises_and_all_that_was_sampled_is_in_the_warehouse(
    planned: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = planned(evaluation={"every": 6, "samples": 2}, steps=16)
    training = grpo.train(plan)
    assert risen(plan) > 0.2
    assert sorted(map(int, training["evaluations"])) == [0, 6, 12, 16]
    assert training["trainer"] == "grpo"
    assert all("eval/cons@2" in line for line in lines(plan) if "eval/pass@1" in line)
    told = lines(plan)
    assert [line["step"] for line in told] == list(range(17))
    assert ("step 16/16  loss " in capsys.readouterr().err) and (plan.folder / "README.md").is_file()

    sampled = 16 * 4 * 8
    per_policy = "SELECT count(*), count(DISTINCT policy), count(DISTINCT step) FROM trajectories WHERE stage = "
    assert rows(plan, f"{per_policy} 'rl_rollout'") == [(sampled, 8, 8)]
    ((evaluated, policies, steps),) = rows(plan, f"{per_policy} 'eval'")
    assert (policies, steps) == (4, 4) and evaluated % (4 * 2) == 0
    assert rows(plan, "SELECT count(*), count(DISTINCT trajectory_id) FROM rollouts") == [(sampled, sampled)]
    # Within a group advantages sum to 0, and clipped says what the reply says.
    per_group = "SELECT prompt_id, r.step, floor(sample_index / 8) AS g, sum(advantage) AS total, max(abs(advantage)) m"
    joined = "FROM rollouts r JOIN trajectories USING (trajectory_id, attempt)"
    groups = rows(plan, f"{per_group} {joined} GROUP BY ALL HAVING abs(total) > 1e-6")
    assert groups == []
    assert rows(plan, f"SELECT bool_and(clipped = (finish_reason = 'length')) {joined}") == [(True,)]
    # What the log says is what SQL works out from the rows.
    by_step = dict(rows(plan, "SELECT step, avg(reward) FROM rollouts GROUP BY step"))
    for line in told:
        if "rewards/sum/mean" in line:
            assert by_step[line["step"] - 1] == pytest.approx(line["rewards/sum/mean"])
    states = rows(plan, "SELECT state, recipe FROM runs_current")
    assert states == [("finished", "grpo-rl")]
    assert rows(plan, "SELECT DISTINCT run_id FROM trajectories UNION SELECT run_id FROM metrics") == [(plan.key,)]
    assert rows(plan, "SELECT sum(pending) FROM funnel WHERE stage = 'rl_rollout' AND \"check\" <> '(kept)'") == [(0,)]


class Stopped(Exception):
    """In the place of a crash."""


def stopped_at(step: int, monkeypatch: pytest.MonkeyPatch) -> Any:
    learn = grpo._Loop._learn

    def stop(self: Any, at: int, *rest: Any) -> bool:
        if at == step:
            raise Stopped
        return learn(self, at, *rest)

    monkeypatch.setattr(grpo._Loop, "_learn", stop)
    return learn


@pytest.mark.parametrize("settings", [{}, {"lora": {"r": 4, "alpha": 8}, "learning_rate": 1e-2}], ids=["all", "lora"])
def test_stopped_within_a_rollout_it_ends_in_the_same_weights(
    planned: Make, monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any]
) -> None:
    undisturbed = planned("one", **settings)
    grpo.train(undisturbed)
    disturbed = planned("two", checkpoint_every=3, **settings)
    # A state is kept after step 5, one minibatch into a rollout and after the reference was replaced once.
    learn = stopped_at(7, monkeypatch)
    with pytest.raises(Stopped):
        grpo.train(disturbed)
    (state,) = disturbed.partial.glob("state-*")
    assert state.name == "state-00000005"
    monkeypatch.setattr(grpo._Loop, "_learn", learn)
    grpo.train(disturbed)
    assert weights(disturbed) == weights(undisturbed)
    assert lines(disturbed) == lines(undisturbed)
    assert rows(disturbed, "SELECT count(*), count(DISTINCT trajectory_id) FROM trajectories") == [(384, 384)]
    assert rows(disturbed, "SELECT count(*) FROM rollouts") == [(384,)]

    samples = [(plan.folder / "samples.parquet").read_bytes() for plan in (undisturbed, disturbed)]
    assert samples[0] == samples[1]
    differing = (
        f"SELECT count(*), count(r.trajectory_id) FROM '{disturbed.folder}/samples.parquet' s LEFT JOIN rollouts r ON "
        "s.trajectory_id = r.trajectory_id AND s.reward IS NOT DISTINCT FROM r.reward "
        "AND s.advantage IS NOT DISTINCT FROM r.advantage AND s.clipped = r.clipped AND s.step > r.step"
    )
    assert rows(disturbed, differing) == [(384, 384)]
    on_the_way = disturbed.folder_of(3)
    told = json.loads((on_the_way / "training.json").read_bytes())
    assert (told["steps"], told["key"]) == (3, disturbed.key) and (on_the_way / "model.safetensors").is_file()


def test_a_state_is_a_model_that_can_be_used(planned: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    plan = planned()
    stopped_at(7, monkeypatch)
    with pytest.raises(Stopped):
        grpo.train(plan)
    (state,) = plan.partial.glob("state-*")
    assert AutoModelForCausalLM.from_pretrained(state) and AutoTokenizer.from_pretrained(state)


def test_what_nobody_can_tell_is_in_no_mean_and_no_loss(planned: Make) -> None:
    plan = planned(rewards=[f"{HERE}:some"], steps=4, learning_rate=1e-4)
    grpo.train(plan)
    counts = "SELECT step, count(*) FILTER (reward IS NULL), count(*) FILTER (advantage IS NULL), avg(reward), count(*)"
    told = {line["step"] - 1: line for line in lines(plan) if "rewards/left_out" in line}
    found = rows(plan, f"{counts} FROM rollouts GROUP BY step ORDER BY step")
    assert [row[0] for row in found] == [0, 2]
    for step, without_reward, without_advantage, mean, count in found:
        assert 0 < without_reward == without_advantage < count
        assert told[step]["rewards/left_out"] == pytest.approx(without_reward / count)
        assert told[step]["rewards/sum/mean"] == pytest.approx(mean)


def test_where_nobody_can_tell_anything_nothing_changes(planned: Make, tiny_model: Path) -> None:
    from safetensors.torch import load_file

    plan = planned(rewards=[f"{HERE}:never"], steps=2, kl_coefficient=0.0)
    grpo.train(plan)
    assert [line["train/loss"] for line in lines(plan)] == [0.0, 0.0]
    after, before = load_file(plan.folder / "model.safetensors"), load_file(tiny_model / "model.safetensors")
    assert all(after[name].equal(before[name]) for name in before)


def test_groups_without_spread_ring_an_alarm_and_may_stop_the_training(
    planned: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    settings: dict[str, Any] = {"rewards": [f"{HERE}:same"], "steps_per_rollout": 1, "steps": 5}
    alarms = {"rollouts": 2, "truncated": 1.0, "shrunk": 0.0}
    grpo.train(planned("a", **settings, alarms=alarms | {"truncated": 1.0}))
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("alarm: no group")]
    assert said[0] == "alarm: no group's rewards differ, so nothing is learnt (2 rollouts in a row)"
    assert len(said) == 4
    plan = planned("b", **settings, alarms=alarms | {"stop": True})
    with pytest.raises(UserError, match=r"stopped after step 2: no group's rewards differ.*; its state is kept"):
        grpo.train(plan)
    assert [state.name for state in plan.partial.glob("state-*")] == ["state-00000002"]


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"rewards": [f"{HERE}:broken"]}, RewardError, "reward broken: raised for sample 1 of 64"),
        ({"rewards": ["acuracy"]}, ConfigError, "there is no 'acuracy'"),
        ({"max_tokens": 2000}, ConfigError, "exceed the model's 1024; lower max_tokens"),
    ],
)
def test_what_cannot_be_done_is_refused_in_one_line(
    planned: Make, settings: dict[str, Any], error: type[UserError], message: str
) -> None:
    plan = planned(**settings)
    with pytest.raises(error) as refused:
        grpo.train(plan)
    assert message in str(refused.value) and "\n" not in str(refused.value)
    assert not plan.folder.exists()


def test_a_reference_that_changes_within_a_rollout_is_refused(planned: Make) -> None:
    with pytest.raises(ValueError, match="reference_every 5 is no multiple of steps_per_rollout 2"):
        planned(reference_every=5)
    planned(reference_every=5, kl_coefficient=0.0)


def test_a_damaged_snapshot_and_one_without_what_is_asked_for_are_refused(
    planned: Make, write_prompts: Callable[..., Path]
) -> None:
    plan = planned()
    file = next((plan.config.warehouse / "snapshots" / "asked" / "v1").glob("train-*.parquet"))
    whole = file.read_bytes()
    file.write_bytes(whole[:100] + bytes([whole[100] ^ 1]) + whole[101:])
    with pytest.raises(SnapshotError, match="damaged"):
        grpo.train(plan)
    write_prompts({"What is 1 + 1?": "2", "What is 1 + 2?": "3"}, validation=0.0)
    with pytest.raises(ConfigError, match="asked@2 holds no prompts out: give its mix a `validation`"):
        grpo.train(planned(snapshot="asked@2", evaluation={"every": 2}))


@pytest.fixture
def config_file(planned: Make, tmp_path: Path) -> Path:
    plan = planned()
    path = tmp_path / "grpo.yaml"
    path.write_text(plan.config.model_dump_json())  # JSON is YAML too
    return path


@pytest.fixture
def command(config_file: Path) -> Iterator[Callable[..., "subprocess.Popen[str]"]]:
    started: list[subprocess.Popen[str]] = []

    def start(*arguments: str, launch: tuple[str, ...] = ()) -> "subprocess.Popen[str]":
        words = [sys.executable, *launch, "-m", "trainers.cli", "grpo", str(config_file), *arguments]
        child = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        started.append(child)
        return child

    yield start
    for child in started:
        child.kill()
        child.communicate()


def test_killed_and_stopped_as_a_process_it_ends_in_the_same_weights(
    command: Callable[..., "subprocess.Popen[str]"], planned: Make, tmp_path: Path
) -> None:
    plan = planned()
    out, err = command("save_every=1").communicate(timeout=120)
    expected = json.loads(out.splitlines()[-1])
    assert (expected["steps"], expected["done_before"]) == (12, False), err
    other = f"output={tmp_path / 'other'}"

    def newest() -> str:
        return max((state.name for state in (tmp_path / "other").glob("*.partial/state-*")), default="")

    for sent in (signal.SIGKILL, signal.SIGINT, signal.SIGKILL, signal.SIGTERM):
        before, child, deadline = newest(), command("save_every=1", other), time.monotonic() + 60
        # It has taken a step of its own.
        while child.poll() is None and newest() <= before and time.monotonic() < deadline:
            time.sleep(0.02)
        child.send_signal(sent)
        child.communicate(timeout=60)
        assert child.returncode in (-signal.SIGKILL, 130, 0)
    out, err = command("save_every=1", other).communicate(timeout=120)
    summary = json.loads(out.splitlines()[-1])
    assert summary["policy"] == expected["policy"], err
    assert rows(plan, "SELECT count(*), count(DISTINCT trajectory_id) FROM trajectories") == [(384, 384)]


def test_two_processes_learn_what_one_does_but_for_rounding(
    command: Callable[..., "subprocess.Popen[str]"], planned: Make, tmp_path: Path
) -> None:
    one, two = planned(), tmp_path / "two"
    # A first update that is large would send sampling elsewhere: what is compared is the arithmetic.
    same = ("learning_rate=1e-5", "steps=4")
    out, err = command(*same).communicate(timeout=120)
    assert out, err
    launch = ("-m", "torch.distributed.run", "--nproc_per_node", "2")
    child = command(*same, f"output={two}", launch=launch)
    out, err = child.communicate(timeout=240)
    assert child.returncode == 0, err
    (first,) = Path(json.loads(out.splitlines()[-1])["checkpoint"]).parent.glob("rl-*")
    (other,) = one.config.output.glob("rl-*")
    for mine, theirs in zip(
        (first / "metrics.jsonl").read_text().splitlines(),
        (other / "metrics.jsonl").read_text().splitlines(),
        strict=True,
    ):
        a, b = json.loads(mine), json.loads(theirs)
        assert a.keys() == b.keys()
        for name in a:
            if not name.startswith("seconds/"):
                assert a[name] == pytest.approx(b[name], rel=1e-3, abs=1e-5), name
