"""The loss, against numbers worked out by hand and against transformers' own."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from schemas.yaml_file import load_yaml
from trainers import model as model_module
from trainers.config import SftConfig
from trainers.data import Example, MicroBatch, micro_batches
from trainers.model import TokenLogProbs, load_model, token_logprobs
from trainers.objective import weighted_nll
from trainers.sft import learning_rate_at


def unembedding(vocabulary: int) -> nn.Linear:
    """An output layer whose logits are what it reads."""
    layer = nn.Linear(vocabulary, vocabulary, bias=False)
    nn.init.eye_(layer.weight)
    return layer


def nll(scorer: TokenLogProbs, group: MicroBatch) -> torch.Tensor:
    return weighted_nll(scorer(group.input_ids, group.positions, group.targets), group.weights)


def test_loss_equals_hand_worked_numbers() -> None:
    # softmax of (ln 1, ln 3) is (1/4, 3/4); of (0, 0) it is (1/2, 1/2).
    logits = torch.tensor([[0.0, math.log(3)], [0.0, math.log(3)], [0.0, 0.0]])
    logprobs = token_logprobs(logits, unembedding(2), torch.tensor([0, 1, 1]))
    assert logprobs.tolist() == pytest.approx([-math.log(4), -math.log(4 / 3), -math.log(2)])
    loss = weighted_nll(logprobs, torch.tensor([1.0, 1.0, 0.5]))
    assert loss.item() == pytest.approx(math.log(4) + math.log(4 / 3) + 0.5 * math.log(2))


def test_loss_of_half_precision_logits_is_computed_in_fp32() -> None:
    logits = torch.randn(50, 300, generator=torch.Generator().manual_seed(0)).to(torch.bfloat16)
    logprobs = token_logprobs(logits, unembedding(300).bfloat16(), torch.arange(50))
    assert logprobs.dtype == torch.float32
    assert torch.equal(logprobs, token_logprobs(logits.float(), unembedding(300), torch.arange(50)))


def test_temperature_divides_the_logits() -> None:
    # softmax of (0, 2 ln 3) at temperature 2 is (1/4, 3/4)
    logprobs = token_logprobs(torch.tensor([[0.0, 2 * math.log(3)]]), unembedding(2), torch.tensor([1]), 2.0)
    assert logprobs.item() == pytest.approx(math.log(3 / 4))


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_log_probabilities_in_pieces_are_those_of_the_whole(
    temperature: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    generator = torch.Generator().manual_seed(2)
    layer = nn.Linear(16, 97, dtype=torch.float64)
    targets = torch.randint(97, (45,), generator=generator)
    upstream = torch.randn(45, generator=generator, dtype=torch.float64)
    start = torch.randn(45, 16, generator=generator, dtype=torch.float64)

    def whole(hidden: torch.Tensor) -> torch.Tensor:
        return torch.log_softmax(layer(hidden) / temperature, dim=1).gather(1, targets[:, None])[:, 0]

    def in_pieces(hidden: torch.Tensor) -> torch.Tensor:
        return token_logprobs(hidden, layer, targets, temperature)

    results = []
    for rows, function in ((45, whole), (45, in_pieces), (44, in_pieces), (7, in_pieces), (0, in_pieces)):
        monkeypatch.setattr(model_module, "_LOGITS_AT_ONCE", 97 * rows)
        layer.zero_grad()
        hidden = start.clone().requires_grad_()
        logprobs = function(hidden)
        (logprobs * upstream).sum().backward()
        results.append((logprobs.detach(), hidden.grad, layer.weight.grad, layer.bias.grad))
    for result in results[1:]:
        for got, expected in zip(result, results[0], strict=True):
            torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-13)


@pytest.fixture(scope="module")
def model(tiny_model: Path) -> Any:
    return load_model(tiny_model)[0].eval()


@pytest.fixture(scope="module")
def examples() -> list[Example]:
    rng = np.random.default_rng(3)
    shapes = [(40, 12), (33, 5), (21, 20), (9, 1)]
    return [Example(f"{i}/1", rng.integers(3, 300, n).astype(np.int32), p, 1.0) for i, (n, p) in enumerate(shapes)]


def test_loss_and_gradient_equal_those_of_transformers_whatever_the_micro_batches(
    model: Any, examples: list[Example]
) -> None:
    length = max(len(e.ids) for e in examples)
    ids = torch.full((len(examples), length), 2)
    labels = torch.full_like(ids, -100)
    mask = torch.zeros_like(ids)
    for row, e in enumerate(examples):
        ids[row, : len(e.ids)] = torch.from_numpy(e.ids)
        labels[row, e.prompt : len(e.ids)] = torch.from_numpy(e.ids[e.prompt :]).long()
        mask[row, : len(e.ids)] = 1
    model.zero_grad()
    theirs = model(input_ids=ids, attention_mask=mask, labels=labels, use_cache=False).loss
    theirs.backward()
    their_gradient = [p.grad.clone() for p in model.parameters()]

    scorer, tokens = TokenLogProbs(model), sum(e.labelled for e in examples)
    for bound in (10_000, 60, 1):
        model.zero_grad()
        ours = 0.0
        for group in micro_batches(examples, bound, pad_id=2):
            loss = nll(scorer, group) / tokens
            loss.backward()
            ours += loss.item()
        assert ours == pytest.approx(theirs.item(), rel=1e-5)
        for p, expected in zip(model.parameters(), their_gradient, strict=True):
            torch.testing.assert_close(p.grad, expected, rtol=1e-3, atol=1e-6)


def test_logits_of_chosen_positions_equal_those_of_the_whole_pass(model: Any) -> None:
    ids = torch.randint(3, 300, (3, 17), generator=torch.Generator().manual_seed(1))
    positions = torch.tensor([0, 4, 16, 17, 50])
    with torch.no_grad():
        whole = model(input_ids=ids).logits.flatten(0, 1)
        selected = model.get_output_embeddings()(TokenLogProbs(model).hidden(ids, positions))
        torch.testing.assert_close(selected, whole[positions], rtol=1e-4, atol=1e-5)


def test_rate_warms_up_and_falls_as_a_cosine_to_the_final_rate(write_config: Callable[..., Path]) -> None:
    config: SftConfig = load_yaml(
        write_config(learning_rate=1e-4, final_learning_rate=1e-5, warmup_ratio=0.1), SftConfig
    )
    rates = [learning_rate_at(step, 21, config) for step in range(21)]
    assert rates[:4] == pytest.approx([1e-4 / 4, 2e-4 / 4, 3e-4 / 4, 1e-4])
    assert rates[12] == pytest.approx(1e-5 + 9e-5 * 0.5 * (1 + math.cos(math.pi * 9 / 17)))
    assert rates[-1] == pytest.approx(1e-5)
    assert learning_rate_at(0, 1, config) > 0


def test_in_pieces_under_autocast_the_numbers_are_those_of_autocast(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(4)
    layer, targets = nn.Linear(32, 64, bias=False), torch.randint(64, (40,), generator=generator)
    start = torch.randn(40, 32, generator=generator)
    results = []
    for at_once in (1 << 26, 64 * 9):
        monkeypatch.setattr(model_module, "_LOGITS_AT_ONCE", at_once)
        layer.zero_grad()
        hidden = start.clone().requires_grad_()
        with torch.autocast("cpu", torch.bfloat16):
            logprobs = token_logprobs(hidden, layer, targets)
        logprobs.sum().backward()
        results.append((logprobs.detach(), hidden.grad, layer.weight.grad))
    assert [t.dtype for t in results[1]] == [torch.float32] * 3
    torch.testing.assert_close(results[1][0], results[0][0], rtol=1e-5, atol=1e-5)
    for got, expected in zip(results[1][1:], results[0][1:], strict=True):
        torch.testing.assert_close(got, expected, rtol=0.02, atol=0.05)
