"""What is minimised, as pure functions of tensors: each formula stands in its docstring."""

from dataclasses import dataclass
from typing import Literal

import torch

Form = Literal["sequence", "token"]


def weighted_nll(logprobs: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """The weighted sum of the tokens' negative log-likelihoods, in nats.

        S = sum_t  w_t * -log softmax(logits_t)[target_t]

    The loss of an optimizer step is the sum of S over all its micro-batches and processes, divided by the sum of w_t
    over the same tokens: every labelled token counts as much as its row weighs, whichever micro-batch it came in.

    `logprobs` (tokens,) are those of the targets, from `token_logprobs`; `weights` (tokens,).

    >>> weighted_nll(torch.tensor([-1.0, -3.0]), torch.tensor([1.0, 0.5]))
    tensor(2.5000)
    """
    return -(logprobs * weights).sum()


def group_advantages(rewards: torch.Tensor) -> torch.Tensor:
    """Advantages (groups, G) of rewards (groups, G); NaN marks a sample that is left out, in both.

        A_i = (r_i - mean(r_1..r_G)) / std(r_1..r_G)        (R1 report, section 2.2)

    Mean and std are over the samples of the group that are not left out. The std is that of the population, divided by
    G: the report does not say, and TRL divides by G - 1 and adds 1e-4, which makes advantages 3 % smaller at G = 16.
    A group whose rewards are all the same tells nothing: its advantages are 0.

    >>> group_advantages(torch.tensor([[1.0, 0.0, 0.0, 1.0], [2.0, 2.0, 2.0, torch.nan]]))
    tensor([[ 1., -1., -1.,  1.],
            [ 0.,  0.,  0., nan]])
    """
    mean = rewards.nanmean(dim=1, keepdim=True)
    centred = rewards - mean
    std = centred.square().nanmean(dim=1, keepdim=True).sqrt()
    # Rewards are sums of floats: what differs by rounding only is the same.
    flat = std <= 1e-6 * mean.abs().clamp(min=1.0)
    return torch.where(flat, centred * 0.0, centred / std)


def clipped_surrogate(
    ratios: torch.Tensor, advantages: torch.Tensor, clip_low: float, clip_high: float
) -> torch.Tensor:
    """What a sample, or a token, adds to the objective; all tensors have one shape.

        min( rho * A,  clip(rho, 1 - clip_low, 1 + clip_high) * A )

    >>> ratios, advantages = torch.tensor([2.0, 2.0, 0.5, 0.5]), torch.tensor([1.0, -1.0, 1.0, -1.0])
    >>> clipped_surrogate(ratios, advantages, 0.2, 0.2)
    tensor([ 1.2000, -2.0000,  0.5000, -0.8000])
    """
    return torch.minimum(ratios * advantages, ratios.clamp(1 - clip_low, 1 + clip_high) * advantages)


def k3_kl(logprobs: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
    """An estimate, never below 0, of the divergence from the reference, from one sample's log-probabilities.

        KL = pi_ref / pi - log(pi_ref / pi) - 1             (R1 report, section 2.2; Schulman's k3)

    Nats. With gradients through `logprobs` its gradient is that of this expression, as printed.

    >>> k3_kl(torch.tensor([0.0, -1.0]), torch.tensor([0.0, -2.0]))
    tensor([0.0000, 0.3679])
    """
    difference = reference - logprobs
    return torch.expm1(difference) - difference


@dataclass(frozen=True)
class GrpoTerms:
    """Per sample, (samples,): the loss that is minimised, the KL, and the share of the sample that clipping held."""

    loss: torch.Tensor
    kl: torch.Tensor
    clipped: torch.Tensor


def grpo_terms(
    logprobs: torch.Tensor,
    old: torch.Tensor | None,
    reference: torch.Tensor | None,
    advantages: torch.Tensor,
    rows: torch.Tensor,
    *,
    form: Form,
    clip_low: float,
    clip_high: float,
    kl_coefficient: float,
) -> GrpoTerms:
    """The terms of the GRPO objective, negated, one per sample; the loss of a step is their mean over its samples.

    `sequence` is the objective as the R1 report prints it: ratio and KL of a whole output,

        L_i = -( min(rho_i A_i, clip(rho_i, 1 - eps, 1 + eps) A_i) - beta KL_i ),   rho_i = pi(o_i|q) / pi_old(o_i|q)

    `token` is that of DeepSeekMath (arXiv 2402.03300, eq. 3): the same per token, the mean over an output's tokens,

        L_i = -1/|o_i| sum_t ( min(rho_it A_i, clip(rho_it, 1 - eps, 1 + eps) A_i) - beta KL_it )

    `logprobs`, `old` and `reference` (tokens,) are log-probabilities of sampled tokens under the weights in training,
    those that sampled, and the reference; `rows` (tokens,) int64 says which sample a token is of, `advantages`
    (samples,). Without `old` the weights are those that sampled; without `reference` there is no KL. Ratios are worked
    out as differences of log-probabilities.
    """
    old = logprobs.detach() if old is None else old
    samples = advantages.shape[0]

    def summed(values: torch.Tensor) -> torch.Tensor:
        return torch.zeros(samples, dtype=values.dtype, device=values.device).index_add(0, rows, values)

    if form == "sequence":
        ratios = (summed(logprobs) - summed(old)).exp()
        surrogate = clipped_surrogate(ratios, advantages, clip_low, clip_high)
        held = surrogate < ratios * advantages
        kl = torch.zeros_like(surrogate) if reference is None else k3_kl(summed(logprobs), summed(reference))
        return GrpoTerms(kl_coefficient * kl - surrogate, kl.detach(), held.to(kl.dtype))

    lengths = summed(torch.ones_like(logprobs))
    ratios, spread = (logprobs - old).exp(), advantages[rows]
    surrogate = clipped_surrogate(ratios, spread, clip_low, clip_high)
    held = surrogate < ratios * spread
    kl = torch.zeros_like(surrogate) if reference is None else k3_kl(logprobs, reference)
    loss, kl_mean, held_share = (
        summed(values) / lengths for values in (kl_coefficient * kl - surrogate, kl.detach(), held.to(kl.dtype))
    )
    return GrpoTerms(loss, kl_mean, held_share)
