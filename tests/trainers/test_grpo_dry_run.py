"""Dry runs of GRPO: what is counted is what the training does, and nothing is written."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.trainers.test_grpo import SETTINGS
from warehouse.connect import connect

Run = Callable[..., Any]
TryOut = Callable[..., tuple[int, dict[str, Any], str]]


@pytest.fixture
def write_grpo(write_prompts: Callable[..., Path], tiny_model: Path, tmp_path: Path) -> Callable[..., Path]:
    """Writes a training file; the warehouse is made with the first."""

    def write(**settings: Any) -> Path:
        if not (tmp_path / "warehouse").exists():
            write_prompts()
        given = {**SETTINGS, "warehouse": str(tmp_path / "warehouse"), "model": str(tiny_model), **settings}
        path = tmp_path / "grpo.yaml"
        path.write_text(yaml.safe_dump({**given, "output": str(tmp_path / "out")}))
        return path

    return write


@pytest.fixture
def try_out(trainers: Run, tmp_path: Path) -> TryOut:
    def try_out(*arguments: Any) -> tuple[int, dict[str, Any], str]:
        before = sorted(tmp_path.rglob("*"))
        done = trainers("grpo", *arguments, "--dry-run")
        assert sorted(tmp_path.rglob("*")) == before
        return done.code, json.loads(done.stdout) if done.stdout else {}, done.stderr

    return try_out


def test_replies_and_rollouts_are_those_of_the_training(
    trainers: Run, try_out: TryOut, write_grpo: Callable[..., Path], tmp_path: Path
) -> None:
    config = write_grpo(steps=5, evaluation={"every": 2, "samples": 2, "prompts": 3})
    code, told, text = try_out(config)
    assert (code, told["refused"], told["done_before"]) == (0, None, False)
    assert told["verifiers"] == {"math": told["prompts"]["train"]} and told["without_reference"] == 0
    done = trainers("grpo", config).summary
    assert told["checkpoint"] == done["checkpoint"] and told["steps"] == done["steps"] == 5
    with connect(tmp_path / "warehouse") as connection:
        stages = dict(connection.execute("SELECT stage, count(*) FROM trajectories GROUP BY 1").fetchall())
        (most,) = connection.execute("SELECT sum(completion_tokens) FROM trajectories WHERE stage <> 'eval'").fetchone()
        rollouts = connection.execute("SELECT count(DISTINCT step) FROM rollouts").fetchone()
    assert stages == {"rl_rollout": told["replies"], "eval": told["evaluated_replies"]}
    assert rollouts == (told["rollouts"],)
    assert 0 < most <= told["tokens_at_most"]
    assert told["sample"]["text"].startswith(
        "<|im_start|>system\nYou are helpful<|im_end|>\n<|im_start|>user\nWhat is "
    )
    assert told["sample"]["text"] in text and f"{told['rollouts']} rollouts" in text
    assert try_out(config)[1]["done_before"]


def test_what_does_not_fit_the_model_is_refused_with_the_way_out(
    try_out: TryOut, write_grpo: Callable[..., Path]
) -> None:
    code, told, text = try_out(write_grpo(later_max_tokens={4: 100_000}))
    assert code == 2 and "lower max_tokens" in told["refused"]
    assert text.splitlines()[-1] == f"ConfigError: {told['refused']}"


def test_a_reference_and_what_is_sampled_at_once_take_memory(try_out: TryOut, write_grpo: Callable[..., Path]) -> None:
    with_reference = try_out(write_grpo())[1]["memory"]
    without = try_out(write_grpo(kl_coefficient=0.0, slots=1))[1]["memory"]
    assert with_reference["reference"] == with_reference["weights"] and "reference" not in without
    assert without["sampling"] < with_reference["sampling"]
    assert without["total"] < with_reference["total"]


def test_what_the_training_refuses_is_refused(try_out: TryOut, write_grpo: Callable[..., Path]) -> None:
    code, told, text = try_out(write_grpo(rewards=["nowhere:nothing"]))
    assert (code, told) == (2, {}) and len(text.splitlines()) == 1 and "nowhere" in text
