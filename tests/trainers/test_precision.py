"""Precision, device, attention and recomputed activations: what each changes, and what it does not."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import DistributedType
from safetensors.torch import load_file

from schemas.errors import ConfigError
from schemas.yaml_file import load_yaml
from trainers.checkpoint import Plan, make_plan
from trainers.config import SftConfig
from trainers.sft import train
from trainers.training import open_accelerator

Write = Callable[..., Path]


@pytest.fixture(autouse=True)
def other_precision() -> Iterator[None]:
    """A process has one precision, unless accelerate is made to forget it."""
    AcceleratorState._reset_state(reset_partial_state=True)
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


@pytest.fixture
def plan_of(write_snapshot: Write, write_config: Write, sums: Callable[..., Any], tmp_path: Path) -> Any:
    write_snapshot(sums(16), sums(6, first=60))

    def plan(**settings: Any) -> Plan:
        values = {"epochs": 1, "batch_size": 8, "output": str(tmp_path / f"{settings}")} | settings
        return make_plan(load_yaml(write_config(**values), SftConfig))

    return plan


def test_bf16_is_close_to_fp32_keeps_its_weights_and_is_another_training(plan_of: Any) -> None:
    fp32, bf16 = plan_of(), plan_of(precision="bf16")
    assert fp32.key != bf16.key
    exact = train(fp32)
    AcceleratorState._reset_state(reset_partial_state=True)
    rounded = train(bf16)
    assert rounded["losses"] == pytest.approx(exact["losses"], rel=0.01)
    assert rounded["losses"]["first"] != exact["losses"]["first"], "bf16 products are rounded"
    assert {t.dtype for t in load_file(bf16.folder / "model.safetensors").values()} == {torch.float32}


@pytest.mark.parametrize("lora", [None, {"r": 4}])
def test_recomputed_activations_give_the_same_weights(plan_of: Any, lora: Any) -> None:
    kept, recomputed = plan_of(lora=lora), plan_of(lora=lora, activation_checkpointing=True)
    assert kept.key == recomputed.key
    assert train(kept)["weights_sha256"] == train(recomputed)["weights_sha256"]


def test_attention_changes_rounding_only(plan_of: Any) -> None:
    sdpa, eager = plan_of(), plan_of(attention="eager")
    assert sdpa.key == eager.key
    assert train(eager)["losses"] == pytest.approx(train(sdpa)["losses"], rel=1e-5)


def test_spread_weights_that_do_not_work_are_one_line(plan_of: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Accelerator, "distributed_type", DistributedType.DEEPSPEED)
    with pytest.raises(ConfigError, match=r"^launched with DEEPSPEED, which is not supported: launch with `torchrun`"):
        open_accelerator(plan_of().config)
    monkeypatch.setattr(Accelerator, "distributed_type", DistributedType.FSDP)
    with pytest.raises(ConfigError, match=r"^launched with FSDP1: add --fsdp_version 2 to `accelerate launch`$"):
        open_accelerator(plan_of().config)
    monkeypatch.setattr(Accelerator, "is_fsdp2", True)
    with pytest.raises(ConfigError, match=r"^launched with FSDP: adapters are trained with the whole model"):
        open_accelerator(plan_of(lora={"r": 4}).config)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_one_line(plan_of: Any) -> None:
    with pytest.raises(ConfigError, match=r"^device: torch sees no CUDA device; set device to auto or cpu, or "):
        open_accelerator(plan_of(device="cuda").config)
    assert open_accelerator(plan_of(device="auto").config)[0].device.type == "cpu"
