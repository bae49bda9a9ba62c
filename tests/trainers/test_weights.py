"""The weights of a mix's rows: a row's labelled tokens count in the loss as often as it weighs."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

Write = Callable[..., Path]
Run = Callable[..., Any]


@pytest.fixture
def trained(trainers: Run, write_snapshot: Write, write_config: Write, tmp_path: Path) -> Callable[..., Any]:
    """Two steps on rows, all of them in one batch: the losses, and the weights after."""
    made: list[int] = []

    def train(rows: list[dict[str, Any]], held_out: list[dict[str, Any]]) -> tuple[float, float, Any]:
        from safetensors.torch import load_file

        made.append(1)
        write_snapshot(rows, held_out, version=len(made))
        snapshot = f"snapshot=sums@{len(made)}"
        done = trainers("sft", write_config(batch_size=99, epochs=2, warmup_ratio=0), snapshot).summary
        return done["train_loss"], done["validation_loss"], load_file(Path(done["checkpoint"]) / "model.safetensors")

    return train


def test_a_row_of_weight_two_counts_as_two_rows(trained: Run, sums: Any) -> None:
    rows = sums(6)
    heavy = [{**row, "weight": 2.0 if i in (1, 4) else 1.0} for i, row in enumerate(rows)]
    twice = [row for i, row in enumerate(rows) for _ in range(2 if i in (1, 4) else 1)]
    plain, by_weight, by_copies = trained(rows, rows), trained(heavy, heavy), trained(twice, twice)
    assert by_weight[:2] == pytest.approx(by_copies[:2], rel=1e-5)
    assert by_weight[0] != pytest.approx(plain[0], rel=1e-4)
    for name, tensor in by_copies[2].items():
        torch.testing.assert_close(by_weight[2][name], tensor, rtol=0, atol=1e-5)


def test_only_the_ratios_of_weights_count(trained: Run, sums: Any) -> None:
    rows = sums(6)
    once, thrice = (trained([{**row, "weight": w} for row in rows], sums(2)) for w in (1.0, 3.0))
    assert thrice[:2] == pytest.approx(once[:2], rel=1e-5)
    for name, tensor in once[2].items():
        torch.testing.assert_close(thrice[2][name], tensor, rtol=0, atol=1e-5)
