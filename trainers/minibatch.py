"""Replies that are learnt from: as micro-batches, with the log-probabilities that the objective is made of."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import nn

from trainers.data import Example, collate


@dataclass(frozen=True)
class Trained:
    """A reply that is learnt from: `old` and `reference` (tokens,) are log-probabilities of its tokens, in nats.

    A weight of 0 takes it out of the loss.
    """

    example: Example
    advantage: float
    old: torch.Tensor | None = None
    reference: torch.Tensor | None = None


@dataclass(frozen=True)
class Batch:
    """What one forward pass takes: see MicroBatch; `rows` (tokens,) says which of `trained` a token is of."""

    trained: list[Trained]
    input_ids: torch.Tensor
    positions: torch.Tensor
    targets: torch.Tensor
    rows: torch.Tensor
    advantages: torch.Tensor
    weights: torch.Tensor
    old: torch.Tensor | None
    reference: torch.Tensor | None


def batches(trained: Sequence[Trained], max_tokens: int, pad_id: int, device: Any) -> Iterator[Batch]:
    """Replies in groups of at most `max_tokens` padded tokens, the longest first; a longer one makes a group alone."""
    group: list[Trained] = []
    for one in sorted(trained, key=lambda t: -len(t.example.ids)):
        if group and (len(group) + 1) * (len(group[0].example.ids) - 1) > max_tokens:
            yield _batch(group, pad_id, device)
            group = []
        group.append(one)
    if group:
        yield _batch(group, pad_id, device)


def _batch(group: list[Trained], pad_id: int, device: Any) -> Batch:
    padded = collate([t.example for t in group], pad_id).to(device)
    lengths = torch.tensor([t.example.labelled for t in group])

    def joined(parts: list[torch.Tensor | None]) -> torch.Tensor | None:
        return None if parts[0] is None else torch.cat([p for p in parts if p is not None]).to(device)

    return Batch(
        trained=group,
        input_ids=padded.input_ids,
        positions=padded.positions,
        targets=padded.targets,
        rows=torch.arange(len(group)).repeat_interleave(lengths).to(device),
        advantages=torch.tensor([t.advantage for t in group], device=device),
        weights=torch.tensor([t.example.weight for t in group], device=device),
        old=joined([t.old for t in group]),
        reference=joined([t.reference for t in group]),
    )


@torch.no_grad()
def with_logprobs(
    module: nn.Module,
    trained: Sequence[Trained],
    name: Literal["old", "reference"],
    max_tokens: int,
    pad_id: int,
    device: Any,
) -> list[Trained]:
    """The same replies with `name` (`old` or `reference`): log-probabilities of their tokens by the module as it is."""
    training = module.training
    module.eval()
    found: dict[str, torch.Tensor] = {}
    for batch in batches(trained, max_tokens, pad_id, device):
        logprobs = module(batch.input_ids, batch.positions, batch.targets).cpu()
        lengths = [t.example.labelled for t in batch.trained]
        for one, part in zip(batch.trained, logprobs.split(lengths), strict=True):
            found[one.example.id] = part.clone()
    module.train(training)
    if name == "old":
        return [replace(t, old=found[t.example.id]) for t in trained]
    return [replace(t, reference=found[t.example.id]) for t in trained]


def pack(minibatches: Sequence[Sequence[Trained]]) -> list[list[dict[str, Any]]]:
    """What is left of a rollout as tensors and plain values, for a state."""
    return [
        [
            {
                "id": t.example.id,
                "ids": torch.from_numpy(t.example.ids),
                "prompt": t.example.prompt,
                "weight": t.example.weight,
                "advantage": t.advantage,
                "old": t.old,
                "reference": t.reference,
            }
            for t in minibatch
        ]
        for minibatch in minibatches
    ]


def unpack(packed: list[list[dict[str, Any]]]) -> list[list[Trained]]:
    """What `pack` has packed."""
    return [
        [
            Trained(
                Example(t["id"], t["ids"].cpu().numpy(), t["prompt"], t["weight"]),
                t["advantage"],
                None if t["old"] is None else t["old"].cpu(),
                None if t["reference"] is None else t["reference"].cpu(),
            )
            for t in minibatch
        ]
        for minibatch in packed
    ]
