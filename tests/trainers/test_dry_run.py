"""Dry runs: what is counted, what is shown, and that nothing is written."""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch

import trainers.memory
import trainers.model
from trainers.memory import Shape, memory_of, seconds_at_least

Write = Callable[..., Path]
Run = Callable[..., Any]


@pytest.fixture
def try_out(trainers: Run, tmp_path: Path) -> Callable[..., tuple[int, dict[str, Any], str]]:
    """The command with --dry-run: its exit code, what it counted, and stderr. Nothing may be written."""

    def try_out(command: str, *arguments: Any) -> tuple[int, dict[str, Any], str]:
        before = sorted(tmp_path.rglob("*"))
        done = trainers(command, *arguments, "--dry-run")
        assert sorted(tmp_path.rglob("*")) == before
        return done.code, json.loads(done.stdout), done.stderr

    return try_out


def test_tokens_steps_and_slots_are_those_of_the_training(
    trainers: Run, try_out: Run, write_snapshot: Write, write_config: Write, sums: Any
) -> None:
    write_snapshot(sums(21), sums(5))
    config = write_config(batch_size=4, micro_batch_tokens=200)
    code, told, text = try_out("sft", config)
    assert (code, told["refused"], told["rows"]) == (0, None, {"train": 21, "validation": 5})
    done = trainers("sft", config).summary
    training = json.loads((Path(done["checkpoint"]) / "training.json").read_bytes())
    assert told["checkpoint"] == done["checkpoint"]
    assert told["steps"] == training["steps"] == 12
    assert 2 * told["tokens"]["train"]["labelled"] == training["labelled_tokens"]
    counts = told["tokens"]["train"]
    assert counts["total"] == counts["prompt"] + counts["labelled"]
    assert counts["p50"] <= counts["p90"] <= counts["p99"] <= counts["max"]
    assert told["useful_share"] == pytest.approx((counts["total"] - 21) / told["slots"], abs=1e-4)
    assert f"train: {counts['total']:,} tokens" in text
    assert try_out("sft", config)[1]["done_before"]


def test_the_sample_shows_what_is_learnt(try_out: Run, write_snapshot: Write, write_config: Write) -> None:
    write_snapshot([{"question": "What is 1 + 1?", "reply": "<think>one more</think>\nIt is 2."}])
    _, told, text = try_out("sft", write_config())
    assert told["sample"]["text"] == (
        "<|im_start|>system\nYou are helpful<|im_end|>\n<|im_start|>user\nWhat is 1 + 1?<|im_end|>\n"
        "<|im_start|>assistant\n⟦<think>one more</think>\nIt is 2.<|im_end|>⟧"
    )
    assert "⟦<think>one more</think>\nIt is 2.<|im_end|>⟧\n" in text
    assert "\x1b" not in text


def test_a_long_sample_is_shown_from_both_ends(
    try_out: Run, write_snapshot: Write, write_config: Write, sums: Any
) -> None:
    write_snapshot([{"question": "Count.", "reply": "begin " + "1 2 3 4 " * 400 + "end"}])
    _, told, _ = try_out("sft", write_config(max_length=8000))
    shown = told["sample"]["text"]
    assert "⟦begin 1 2" in shown and "3 4 end<|im_end|>⟧" in shown and "characters ...]" in shown
    assert len(shown) < 2500


@pytest.mark.parametrize(
    ("overlong", "rows", "did"), [("error", 3, "refused"), ("drop", 3, "left out"), ("truncate", 4, "cut")]
)
def test_overlong_rows_are_counted_by_source(
    try_out: Run, write_snapshot: Write, write_config: Write, sums: Any, overlong: str, rows: int, did: str
) -> None:
    write_snapshot([*sums(3), {"question": "Go on.", "reply": "and on " * 90}])
    code, told, text = try_out("sft", write_config(max_length=128, overlong=overlong))
    longest = told["overlong"]["longest"]
    assert told["overlong"] == {"rows": 1, "longest": longest, "sources": {"sums": 1}, "ids": ["train0003/1"]}
    assert told["rows"]["train"] == rows
    assert f"rows longer than max_length 128: 1 (sums 1), {did}: train0003/1\n" in text
    assert (code, told["refused"] is None) == ((2, False) if overlong == "error" else (0, True))
    if overlong == "error":
        assert text.splitlines()[-1] == f"ConfigError: {told['refused']}"
        assert f"raise it (to {longest} for all rows)" in told["refused"]
    if overlong == "truncate":
        assert told["tokens"]["train"]["max"] == 128


def test_rows_cut_before_their_reply_are_refused(
    try_out: Run, write_snapshot: Write, write_config: Write, sums: Any
) -> None:
    write_snapshot([*sums(3), {"question": "Go on " * 90, "reply": "No."}])
    code, told, _ = try_out("sft", write_config(max_length=128, overlong="truncate"))
    assert code == 2 and "1 row (train0003/1) without a token to learn" in told["refused"]
    code, told, _ = try_out("sft", write_config(max_length=8, overlong="drop"))
    assert code == 2 and "there is no training row" in told["refused"] and "steps" not in told


def test_what_the_training_would_refuse_is_refused(
    trainers: Run, write_snapshot: Write, write_config: Write, sums: Any
) -> None:
    file = (
        write_snapshot([*sums(3), {"question": "Say nothing.", "reply": ""}]) / "snapshots/sums/v1/train-00000.parquet"
    )
    done = trainers("sft", write_config(), "--dry-run")
    assert (done.code, done.stdout) == (2, "")
    assert "1 row (train0003/1) without a token to learn" in done.stderr
    file.write_bytes(file.read_bytes()[:-9] + b"different")
    assert f"{file}: damaged" in trainers("sft", write_config(), "--dry-run").stderr


def test_distillation_and_curriculum_are_told(
    try_out: Run, write_snapshot: Write, write_config: Write, sums: Any
) -> None:
    write_snapshot(sums(8))
    config = write_config(batch_size=2, curriculum={"by": "length", "stages": 2})
    _, told, text = try_out("distill", config)
    assert told["teachers"] == {"hand@1": 8}
    assert 'teachers: {"hand@1": 8}\n' in text
    easy, hard = told["curriculum"]["stages"]
    assert easy < hard


SMALL = Shape(parameters=1000, trained=900, layers=3, hidden=8, key_value=4, intermediate=16, vocabulary=50, tied=True)


def test_memory_is_worked_out_as_the_formula_says() -> None:
    memory = memory_of(SMALL, slots=10, labelled=4)
    assert (memory.weights, memory.gradients, memory.optimizer) == (4000, 3600, 7200)
    # Five layers of ten slots, in each 64 + 8 + 64 values; and three rows of 50 for each of four tokens.
    assert memory.activations == 4 * 5 * 10 * 136
    assert memory.logits == 4 * 3 * 4 * 50
    assert memory.total == 14_800 + 27_200 + 2_400
    half = memory_of(SMALL, slots=10, labelled=4, precision="bf16")
    # 48 values of 4 bytes and 32 + 8 + 64 of 2
    assert (half.weights, half.activations, half.logits) == (6000, 5 * 10 * (192 + 208), memory.logits)
    # Three inputs of 8 values, and three layers whole
    assert memory_of(SMALL, 10, 4, checkpointing=True).activations == 4 * 10 * (3 * 8 + 3 * 136)
    # However many tokens are learnt, no more logits than that are worked out at once.
    assert memory_of(SMALL, 10, 10**9).logits == 3 * 4 * trainers.model._LOGITS_AT_ONCE


def test_adapters_take_no_optimizer_for_the_rest(
    try_out: Run, write_snapshot: Write, write_config: Write, sums: Any
) -> None:
    pytest.importorskip("peft")
    write_snapshot(sums(4))
    every, adapters = (try_out("sft", write_config(lora=lora))[1] for lora in (None, {"r": 4}))
    assert every["trained_parameters"] == every["parameters"]
    # A and B of rank 4 at q, k, v, o, gate, up and down of four layers
    ends = (128 + 128) + 2 * (128 + 64) + (128 + 128) + 3 * (128 + 384)
    assert adapters["trained_parameters"] == 4 * 4 * ends
    assert adapters["memory"]["optimizer"] == 8 * adapters["trained_parameters"]
    assert adapters["parameters"] == every["parameters"] + adapters["trained_parameters"]


def test_time_is_that_of_the_matrix_products(monkeypatch: pytest.MonkeyPatch) -> None:
    # At a thousand operations a second: 6 for each of 600 weights of the layers and each slot, and for each of 50 x 8
    # weights of the output layer and each learnt token.
    monkeypatch.setattr(trainers.memory, "_rate", lambda shape, device: 1000.0)
    assert seconds_at_least(SMALL, 10, 4, torch.device("cpu")) == 6 * (600 * 10 + 400 * 4) / 1000
    untied = Shape(**{**asdict(SMALL), "tied": False})
    assert seconds_at_least(untied, 10, 4, torch.device("cpu")) == 6 * (200 * 10 + 400 * 4) / 1000


def test_the_rate_is_measured() -> None:
    assert seconds_at_least(SMALL, 10, 4, torch.device("cpu")) > 0


def test_the_shape_is_that_of_the_model(tiny_model: Path) -> None:
    from transformers import AutoModelForCausalLM

    from trainers.dry_run import open_outline

    whole = AutoModelForCausalLM.from_pretrained(tiny_model)
    _, outline = open_outline(tiny_model)
    assert Shape.of(outline) == Shape.of(whole)
    assert Shape.of(whole).parameters == sum(p.numel() for p in whole.parameters())
    assert (Shape.of(whole).hidden, Shape.of(whole).key_value, Shape.of(whole).layers) == (128, 64, 4)
    assert outline.generation_config.eos_token_id == whole.generation_config.eos_token_id


@pytest.mark.slow
def test_the_estimate_is_near_the_real_peak(
    try_out: Run, write_snapshot: Write, write_config: Write, sums: Any
) -> None:
    write_snapshot(sums(200))
    config = write_config(batch_size=200, micro_batch_tokens=20_000, epochs=2)
    _, told, _ = try_out("sft", config)
    # The program is what it takes for a training of next to nothing.
    small, real = (peak(config, f"name=of-{tokens}", f"micro_batch_tokens={tokens}") for tokens in (200, 20_000))
    assert told["memory"]["activations"] > 3e8
    assert real - small == pytest.approx(told["memory"]["activations"] + told["memory"]["logits"], rel=0.3)


# A process's peak begins with that of the one that started it, and a test's own may be large: a small one in between.
_LAUNCHER = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""


def peak(config: Path, *overrides: str) -> int:
    """The most memory, in bytes, that a training held at a time."""
    training = [sys.executable, "-m", "trainers.cli", "sft", str(config), *overrides]
    told = subprocess.run([sys.executable, "-c", _LAUNCHER, *training], check=True, capture_output=True, text=True)
    return int(told.stdout) * 1024
