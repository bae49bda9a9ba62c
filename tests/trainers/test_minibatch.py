"""Batches of replies: what goes into a forward pass together, and that sharing prompts changes no number."""

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from trainers.data import Example
from trainers.minibatch import Batching, Trained, batches, can_share, with_logprobs
from trainers.model import TokenLogProbs, load_model

SHARED, PLAIN = (Batching(200, 0, "cpu", shared) for shared in (True, False))


@pytest.fixture
def scorer(tiny_model: Path) -> TokenLogProbs:
    return TokenLogProbs(load_model(tiny_model)[0])


def replies(prompts: list[int], most: int, each: int = 4, seed: int = 0) -> list[Trained]:
    """`each` replies of 1 to `most` tokens to a prompt of each of those lengths, in any order."""
    chance, made = random.Random(seed), []
    for number, length in enumerate(prompts):
        prompt = [chance.randrange(3, 300) for _ in range(length)]
        for sample in range(each):
            ids = np.array([*prompt, *(chance.randrange(3, 300) for _ in range(chance.randint(1, most)))], np.int32)
            made.append(Trained(Example(f"{number}/{sample}", ids, length, 1.0), chance.uniform(-1, 1)))
    chance.shuffle(made)
    return made


def told(scorer: TokenLogProbs, trained: list[Trained], how: Batching) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """The log-probabilities of each reply, and the gradient of what stands for a loss."""
    scorer.zero_grad()
    found: dict[str, torch.Tensor] = {}
    for batch in batches(trained, how):
        logprobs = scorer(batch.input_ids, batch.positions, batch.targets, batch.prefix)
        (logprobs * batch.advantages[batch.rows]).sum().backward()
        for one, part in zip(batch.trained, logprobs.split([t.example.labelled for t in batch.trained]), strict=True):
            assert one.example.id not in found
            found[one.example.id] = part.detach()
    return found, torch.cat([p.grad.flatten() for p in scorer.parameters() if p.grad is not None])


@pytest.mark.parametrize(
    ("prompts", "most"),
    [([20], 9), ([7, 7, 7], 9), ([30, 3, 11], 9), ([5, 40], 1), ([2] * 9, 30)],
    ids=["one prompt", "as long", "of any length", "a token each", "short prompts"],
)
def test_shared_prompts_change_neither_log_probabilities_nor_gradients(
    scorer: TokenLogProbs, prompts: list[int], most: int
) -> None:
    trained = replies(prompts, most)
    together, gradient = told(scorer, trained, SHARED)
    alone, expected = told(scorer, trained, PLAIN)
    assert together.keys() == alone.keys() == {t.example.id for t in trained}
    for name, logprobs in alone.items():
        torch.testing.assert_close(together[name], logprobs, rtol=0, atol=2e-5)
    torch.testing.assert_close(gradient, expected, rtol=1e-3, atol=1e-4)
    # What goes before an update is worked out in the same batches.
    for one in with_logprobs(scorer, trained, "old", SHARED):
        assert one.old is not None
        torch.testing.assert_close(one.old, together[one.example.id], rtol=0, atol=1e-6)


def slots(batch: Any) -> int:
    return batch.input_ids.numel() + (batch.prefix.input_ids.numel() if batch.prefix else 0)


@pytest.mark.parametrize("how", [SHARED, PLAIN], ids=["shared", "plain"])
@pytest.mark.parametrize("seed", range(5))
def test_no_batch_is_larger_than_asked_unless_it_is_one_reply(how: Batching, seed: int) -> None:
    chance = random.Random(seed)
    made = list(batches(replies([chance.randint(1, 90) for _ in range(12)], 150, seed=seed), how))
    assert all(slots(batch) <= how.max_tokens or len(batch.trained) == 1 for batch in made)
    assert sum(len(batch.trained) for batch in made) == 12 * 4


def test_long_prompts_are_run_once_and_long_replies_are_padded_little() -> None:
    long_prompts, long_replies = replies([100] * 4, 5), replies([2] * 4, 90)
    assert sum(map(slots, batches(long_prompts, SHARED))) < 0.4 * sum(map(slots, batches(long_prompts, PLAIN)))
    assert sum(map(slots, batches(long_replies, SHARED))) <= sum(map(slots, batches(long_replies, PLAIN)))


def test_a_model_that_keeps_something_else_shares_no_prompts(
    scorer: TokenLogProbs, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert can_share(scorer, 0, "cpu")
    monkeypatch.setattr(scorer, "_cache_keyword", "state")
    assert not can_share(scorer, 0, "cpu")
