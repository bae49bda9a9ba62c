"""Distillation: SFT that names its teachers and keeps to them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import pytest

from schemas.recipe import TrainStep

Write = Callable[..., Path]
Run = Callable[..., Any]


def of_teachers(sums: Any, **rows: int) -> list[dict[str, Any]]:
    """Rows of which each policy wrote so many."""
    policies = [f"{policy}@1" for policy, count in rows.items() for _ in range(count)]
    return [{**row, "policy": policy} for row, policy in zip(sums(len(policies)), policies, strict=True)]


def refusal(done: Any) -> str:
    assert (done.code, done.stdout) == (2, ""), done.stderr
    line: str = done.stderr.splitlines()[-1]
    return line


def test_the_teacher_stands_in_the_card_and_in_training_json(
    trainers: Run, write_snapshot: Write, write_config: Write, sums: Any
) -> None:
    write_snapshot(of_teachers(sums, r1=8))
    settings = {"preset": "r1-distill-qwen2.5-14b", "epochs": 1, "batch_size": 4, "max_length": 256}
    done = trainers("distill", write_config(**settings)).summary
    folder = Path(done["checkpoint"])
    training = json.loads((folder / "training.json").read_bytes())
    assert (training["trainer"], training["teachers"]) == ("distill", {"r1@1": 8})
    assert training["config"]["preset"] == "r1-distill-qwen2.5-14b"
    assert training["config"]["learning_rate"] == 7e-5
    card = (folder / "README.md").read_text()
    assert "Distillation of `r1@1` by supervised fine-tuning of all weights of `" in card
    assert "| rows of `r1@1` | 8 |\n" in card
    assert "| preset | `r1-distill-qwen2.5-14b` |\n" in card
    assert "\n- distill\n" in card.partition("\n# ")[0]


def test_it_trains_the_weights_that_sft_does(
    trainers: Run, write_snapshot: Write, write_config: Write, sums: Any
) -> None:
    write_snapshot(of_teachers(sums, r1=8))
    config = write_config(epochs=1, batch_size=4)
    distilled, tuned = (trainers(command, config).summary for command in ("distill", "sft"))
    assert distilled["checkpoint"] != tuned["checkpoint"]
    assert distilled["policy"] == tuned["policy"]
    assert distilled["train_loss"] == tuned["train_loss"]


def test_several_teachers_have_to_be_named(
    trainers: Run, write_snapshot: Write, write_config: Write, sums: Any, tmp_path: Path
) -> None:
    write_snapshot(of_teachers(sums, v3=2, r1=5))
    assert refusal(trainers("distill", write_config())) == (
        "ConfigError: sums@1 has replies of 2 policies (r1@1 5, v3@1 2): list those that are to teach as `teachers`, "
        "or leave the others out by the mix's `where`"
    )
    line = refusal(trainers("distill", write_config(teachers=["r1@1"])))
    assert "has replies of v3@1, not listed as `teachers` (rows by policy: r1@1 5, v3@1 2)" in line
    assert not (tmp_path / "checkpoints").exists()
    done = trainers("distill", write_config(teachers=["r1@1", "v3@1"], epochs=1)).summary
    training = json.loads((Path(done["checkpoint"]) / "training.json").read_bytes())
    assert list(training["teachers"].items()) == [("r1@1", 5), ("v3@1", 2)]


def test_rows_that_are_not_learnt_have_no_teacher(
    trainers: Run, write_snapshot: Write, write_config: Write, sums: Any
) -> None:
    rows = of_teachers(sums, r1=5)
    rows.append({"question": "Go on.", "reply": "and on " * 90, "policy": "v3@1"})
    write_snapshot(rows, of_teachers(sums, held_out=2))
    done = trainers("distill", write_config(max_length=128, overlong="drop", epochs=1)).summary
    training = json.loads((Path(done["checkpoint"]) / "training.json").read_bytes())
    assert training["teachers"] == {"r1@1": 5}


def test_a_recipe_may_distil() -> None:
    from trainers.cli import app
    from trainers.config import DistillConfig, SftConfig

    known = get_args(TrainStep.model_fields["trainer"].annotation)
    assert {SftConfig.trainer(), DistillConfig.trainer()} <= set(known)
    assert set(known) <= {command.callback.__name__ for command in app.registered_commands if command.callback}
    step = {"kind": "train", "trainer": "distill", "snapshot": "kept", "engine": "student", "name": "x"}
    assert TrainStep.model_validate(step).trainer == "distill"
    with pytest.raises(ValueError, match="trainer"):
        TrainStep.model_validate(step | {"trainer": "dpo"})
