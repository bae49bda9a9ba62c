"""Rollouts from the real vLLM, which `make test-vllm` installs: what the stand-in of `test_served.py` stands in for."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.trainers.test_grpo import SETTINGS, lines, rows
from trainers import grpo
from trainers.checkpoint import make_plan
from trainers.grpo_config import GrpoConfig

PYTHON = os.environ.get("VLLM_PYTHON", "")
pytestmark = [
    pytest.mark.vllm,
    pytest.mark.timeout(900),
    pytest.mark.skipif(not PYTHON, reason="VLLM_PYTHON names no interpreter; `make test-vllm` does"),
]

ENGINE: dict[str, Any] = {
    "kind": "vllm",
    "python": PYTHON,
    "dtype": "float32",
    "max_model_len": 512,
    "send_seed": False,  # on CPU a seed ends vLLM's engine
    "arguments": ["--enforce-eager"],
    "env": {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_LOGGING_LEVEL": "WARNING"},
    "ready_seconds": 600,
}


def test_it_is_handed_weights_samples_them_and_ends_with_the_training(
    write_prompts: Callable[..., Path], tiny_model: Path, tmp_path: Path
) -> None:
    given = {
        **SETTINGS,
        "warehouse": write_prompts(),
        "model": tiny_model,
        "output": tmp_path / "out",
        "engine": ENGINE,
        "steps": 6,
        "evaluation": {"every": 6, "samples": 1},
    }
    plan = make_plan(GrpoConfig.model_validate(given))
    training = grpo.train(plan)
    gaps = [line["rollout/logprob_gap"] for line in lines(plan) if "rollout/logprob_gap" in line]
    # The first with the weights that it was started with, the others with reloaded ones.
    assert len(gaps) == 3 and max(gaps) < 1e-3
    assert training["steps"] == 6
    assert rows(plan, "SELECT count(*) FROM rollouts") == [(3 * 64,)]
    # Token ids are those that were sampled, the end of a reply among them.
    counted = "count(*) FILTER (completion_tokens > 12 OR completion_tokens < 1), count(*) FILTER (engine <> 'vllm')"
    assert rows(plan, f"SELECT {counted} FROM trajectories") == [(0, 0)]
    assert not [p for p in psutil.process_iter(["cmdline"]) if "vllm.entrypoints" in " ".join(p.info["cmdline"] or [])]
