"""GRPO's objective, against numbers worked out by hand, finite differences, and TRL where TRL has the same form."""

import math
from collections import defaultdict
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from trainers.objective import clipped_surrogate, group_advantages, grpo_terms, k3_kl

ROWS = torch.tensor([0, 0, 0, 1, 2, 2])
LENGTHS = torch.tensor([3.0, 1.0, 2.0], dtype=torch.float64)
ADVANTAGES = torch.tensor([1.0, -0.5, 0.25], dtype=torch.float64)
SETTINGS: dict[str, Any] = {"clip_low": 0.2, "clip_high": 0.3, "kl_coefficient": 0.1}


def drawn(noise: float, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Log-probabilities in training, of what sampled, and of a reference, for the tokens of ROWS."""
    g = torch.Generator().manual_seed(seed)
    now, old, reference = (torch.randn(len(ROWS), generator=g, dtype=torch.float64) for _ in range(3))
    base = now - 2.0
    return base, base + noise * old, base + noise * reference


def test_advantages_equal_hand_worked_numbers() -> None:
    nan = math.nan
    rewards = torch.tensor([[1.0, 0.0, 0.0, 0.0], [0.0, nan, 3.0, nan], [0.1 + 0.2, 0.3, 0.3, 0.3], [nan] * 4])
    advantages = group_advantages(rewards.double())
    # mean 1/4 and std sqrt(3)/4; mean 3/2 and std 3/2; equal but for rounding; nobody's.
    one, two = math.sqrt(3), -1 / math.sqrt(3)
    assert advantages[0].tolist() == pytest.approx([one, two, two, two])
    assert advantages[1].tolist() == pytest.approx([-1, nan, 1, nan], nan_ok=True)
    assert advantages[2].tolist() == [0.0] * 4
    assert torch.isnan(advantages[3]).all()


def test_a_single_sample_of_a_group_tells_nothing() -> None:
    assert group_advantages(torch.tensor([[math.nan, 5.0]])).nan_to_num(7.0).tolist() == [[7.0, 0.0]]


def test_the_surrogate_takes_the_worse_of_both() -> None:
    ratios = torch.tensor([0.5, 0.5, 1.1, 20.0, 20.0])
    advantages = torch.tensor([2.0, -2.0, 3.0, 1.0, -1.0])
    assert clipped_surrogate(ratios, advantages, 0.2, 10.0).tolist() == pytest.approx([1.0, -1.6, 3.3, 11.0, -20.0])


def test_the_divergence_is_zero_at_the_reference_and_positive_elsewhere() -> None:
    at = torch.linspace(-3, 3, 61, dtype=torch.float64)
    values = k3_kl(at, torch.zeros(61, dtype=torch.float64))
    assert values[30] == 0 and (values[torch.arange(61) != 30] > 0).all()
    assert values[40].item() == pytest.approx(math.exp(-1) + 1 - 1)


def test_both_forms_equal_hand_worked_numbers() -> None:
    # Two samples of two and one tokens; ratios of tokens 2, 1/2 and 3, so of outputs 1 and 3.
    old = torch.log(torch.tensor([0.1, 0.4, 0.2], dtype=torch.float64))
    now = torch.log(torch.tensor([0.2, 0.2, 0.6], dtype=torch.float64))
    reference = now + torch.tensor([1.0, 0.0, 0.0])
    rows, advantages = torch.tensor([0, 0, 1]), torch.tensor([1.0, 2.0], dtype=torch.float64)
    beta_kl = 0.1 * (math.e - 1 - 1)
    whole = grpo_terms(now, old, reference, advantages, rows, form="sequence", **SETTINGS)
    assert whole.loss.tolist() == pytest.approx([-1.0 + beta_kl, -1.3 * 2])
    assert whole.clipped.tolist() == [0.0, 1.0]
    token = grpo_terms(now, old, reference, advantages, rows, form="token", **SETTINGS)
    assert token.loss.tolist() == pytest.approx([(-1.3 - 0.5 + beta_kl) / 2, -1.3 * 2])
    assert token.clipped.tolist() == [0.5, 1.0]
    assert whole.kl.tolist() == pytest.approx([math.e - 2, 0.0])
    assert token.kl.tolist() == pytest.approx([(math.e - 2) / 2, 0.0])


@pytest.mark.parametrize("form", ["sequence", "token"])
def test_gradients_equal_finite_differences(form: Any) -> None:
    for seed in range(5):
        now, old, reference = drawn(0.4, seed)
        now.requires_grad_()

        def loss(x: torch.Tensor, old: torch.Tensor = old, reference: torch.Tensor = reference) -> torch.Tensor:
            return grpo_terms(x, old, reference, ADVANTAGES, ROWS, form=form, **SETTINGS).loss

        assert torch.autograd.gradcheck(loss, (now,))


@pytest.mark.parametrize("form", ["sequence", "token"])
def test_without_old_the_gradient_is_that_of_the_policy_gradient(form: Any) -> None:
    now, _, _ = drawn(0.0)
    now.requires_grad_()
    grpo_terms(now, None, None, ADVANTAGES, ROWS, form=form, **SETTINGS).loss.sum().backward()
    share = torch.ones(6, dtype=torch.float64) if form == "sequence" else 1 / LENGTHS[ROWS]
    assert now.grad is not None
    assert torch.allclose(now.grad, -ADVANTAGES[ROWS] * share)


class Trl:
    """TRL's loss on log-probabilities that are given: its trainer's own function, on a stand-in for the trainer."""

    def __init__(self, loss_type: str) -> None:
        alone = SimpleNamespace(gather=lambda x: x, reduce=lambda x, reduction: x)
        plain = {"delta": None, "use_bias_correction_kl": False}
        self.trainer = SimpleNamespace(
            aux_loss_enabled=False, top_entropy_quantile=1.0, off_policy_mask_threshold=None, use_vllm=False,
            importance_sampling_level="token", beta=SETTINGS["kl_coefficient"], loss_type=loss_type,
            epsilon_low=SETTINGS["clip_low"], epsilon_high=SETTINGS["clip_high"], args=SimpleNamespace(**plain),
            model=SimpleNamespace(training=False), _entropy_bonus_enabled=False, use_adaptive_entropy=False,
            accelerator=alone, _metrics=defaultdict(lambda: defaultdict(list)),
        )  # fmt: skip

    def loss(self, now: torch.Tensor, old: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
        from trl import GRPOTrainer

        width = int(LENGTHS.max())
        mask = torch.arange(width)[None, :] < LENGTHS[:, None]

        def padded(flat: torch.Tensor) -> torch.Tensor:
            return torch.zeros(3, width, dtype=flat.dtype).masked_scatter(mask, flat)

        self.trainer._get_per_token_logps_and_entropies = lambda *args, **kwargs: (padded(now), padded(now), None)
        ids = torch.zeros(3, width, dtype=torch.long)
        found: torch.Tensor = GRPOTrainer._compute_loss(
            self.trainer,
            None,
            {
                "prompt_ids": ids, "prompt_mask": ids, "completion_ids": ids, "completion_mask": mask.long(),
                "advantages": ADVANTAGES, "old_per_token_logps": padded(old), "ref_per_token_logps": padded(reference),
            },
        )  # fmt: skip
        return found


def test_the_form_per_token_equals_trl_loss_and_gradient() -> None:
    for seed in range(5):
        now, old, reference = drawn(0.4, seed)
        (mine := now.clone()).requires_grad_()
        (theirs := now.clone()).requires_grad_()
        loss = grpo_terms(mine, old, reference, ADVANTAGES, ROWS, form="token", **SETTINGS).loss.mean()
        their_loss = Trl("grpo").loss(theirs, old, reference)
        assert loss.item() == pytest.approx(their_loss.item(), rel=1e-12)
        loss.backward()
        their_loss.backward()
        assert mine.grad is not None and theirs.grad is not None
        assert torch.allclose(mine.grad, theirs.grad, rtol=1e-9, atol=1e-12)


def test_the_printed_form_has_the_gradient_of_trl_nearest_form_where_nothing_was_updated_yet() -> None:
    # TRL has no ratio of whole outputs; its sum over tokens has the same gradient as long as all ratios are 1.
    now, _, _ = drawn(0.0)
    (mine := now.clone()).requires_grad_()
    (theirs := now.clone()).requires_grad_()
    grpo_terms(mine, now, now, ADVANTAGES, ROWS, form="sequence", **SETTINGS).loss.mean().backward()
    Trl("luspo").loss(theirs, now, now).backward()
    assert mine.grad is not None and theirs.grad is not None
    assert torch.allclose(mine.grad, theirs.grad)
