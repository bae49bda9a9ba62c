"""The training loss, as a pure function of logits."""

import torch
from torch.nn import functional


def weighted_nll(logits: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """The weighted sum of the tokens' negative log-likelihoods, in nats.

        S = sum_t  w_t * -log softmax(logits_t)[target_t]

    The loss of an optimizer step is the sum of S over all its micro-batches and processes, divided by the sum of w_t
    over the same tokens: every labelled token counts as much as its row weighs, whichever micro-batch it came in.

    `logits` is (tokens, vocabulary), any float type, computed in fp32; `targets` (tokens,) int64; `weights` (tokens,).

    >>> even = torch.zeros(2, 4)  # four equally likely tokens: ln 4 = 1.386 nats each
    >>> round(weighted_nll(even, torch.tensor([0, 3]), torch.tensor([1.0, 0.5])).item(), 3)
    2.079
    """
    nll = functional.cross_entropy(logits.float(), targets, reduction="none")
    return (nll * weights).sum()
