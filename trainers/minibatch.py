"""Replies that are learnt from: as micro-batches, with the log-probabilities that the objective is made of."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

import numpy as np
import torch
from torch import nn

from trainers.data import Example, collate
from trainers.model import Prefix, TokenLogProbs


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
    """What one forward pass takes: see MicroBatch; `rows` (tokens,) says which of `trained` a token is of.

    With `prefix` the prompts stand there, each once, and `input_ids` are the replies.
    """

    trained: list[Trained]
    input_ids: torch.Tensor
    positions: torch.Tensor
    targets: torch.Tensor
    prefix: Prefix | None
    rows: torch.Tensor
    advantages: torch.Tensor
    weights: torch.Tensor
    old: torch.Tensor | None
    reference: torch.Tensor | None


@dataclass(frozen=True)
class Batching:
    """How replies are put into forward passes: at most `max_tokens` padded tokens each, prompts shared or not."""

    max_tokens: int
    pad_id: int
    device: Any
    shared: bool = False


def batches(trained: Sequence[Trained], how: Batching) -> Iterator[Batch]:
    """Replies in groups, the longest first; one that is longer than the bound makes a group alone.

    Where prompts are shared, replies to the same ones stand together if that makes fewer tokens in all: what it saves
    in prompts it may cost in padding.
    """
    by_length = sorted(trained, key=lambda t: -len(t.example.ids))
    orders = [by_length]
    if how.shared:
        longest: dict[bytes, int] = {}
        for one in by_length:
            longest.setdefault(_prompt(one), len(one.example.ids))
        # A sort keeps the order of equals, so replies to a prompt stay the longest first.
        orders.append(sorted(by_length, key=lambda t: (-longest[_prompt(t)], _prompt(t))))
    groups, _ = min((_cut(order, how) for order in orders), key=lambda cut: cut[1])
    for group in groups:
        yield _batch(group, how)


def _prompt(one: Trained) -> bytes:
    return one.example.ids[: one.example.prompt].tobytes()


def _cut(order: Sequence[Trained], how: Batching) -> tuple[list[list[Trained]], int]:
    """The replies in groups, and how many tokens all have with their padding."""
    groups: list[list[Trained]] = []
    total = tokens = 0
    prompts: set[bytes] = set()
    longest_prompt = longest_rest = 0
    for one in order:
        # What goes through the model for a reply: a prompt stands in its row, or beside the rows, once.
        prompt, rest = (_prompt(one), one.example.labelled - 1) if how.shared else (b"", len(one.example.ids) - 1)
        length = one.example.prompt if how.shared else 0
        more = len(prompts | {prompt}) * max(longest_prompt, length)
        more += (len(groups[-1]) + 1 if groups else 1) * max(longest_rest, rest)
        if not groups or more > how.max_tokens:
            groups.append([])
            total += tokens
            prompts, longest_prompt, longest_rest = set(), 0, 0
            more = length + rest
        groups[-1].append(one)
        prompts.add(prompt)
        longest_prompt, longest_rest = max(longest_prompt, length), max(longest_rest, rest)
        tokens = more
    return groups, total + tokens


def _batch(group: list[Trained], how: Batching) -> Batch:
    lengths = torch.tensor([t.example.labelled for t in group])

    def joined(parts: list[torch.Tensor | None]) -> torch.Tensor | None:
        return None if parts[0] is None else torch.cat([p for p in parts if p is not None]).to(how.device)

    if how.shared:
        prefix, input_ids, positions = _after_prompts(group, lengths, how)
        targets = torch.cat([_tensor(t.example.ids[t.example.prompt :]) for t in group]).to(how.device)
    else:
        padded = collate([t.example for t in group], how.pad_id).to(how.device)
        prefix, input_ids, positions, targets = None, padded.input_ids, padded.positions, padded.targets
    return Batch(
        trained=group,
        input_ids=input_ids,
        positions=positions,
        targets=targets,
        prefix=prefix,
        rows=torch.arange(len(group)).repeat_interleave(lengths).to(how.device),
        advantages=torch.tensor([t.advantage for t in group], device=how.device),
        weights=torch.tensor([t.example.weight for t in group], device=how.device),
        old=joined([t.old for t in group]),
        reference=joined([t.reference for t in group]),
    )


def _after_prompts(
    group: Sequence[Trained], lengths: torch.Tensor, how: Batching
) -> tuple[Prefix, torch.Tensor, torch.Tensor]:
    """The prompts, the replies but for their last tokens, and where the tokens of each are told: see TokenLogProbs."""
    numbers = {prompt: number for number, prompt in enumerate(dict.fromkeys(_prompt(t) for t in group))}
    prompts = {numbers[_prompt(t)]: _tensor(t.example.ids[: t.example.prompt]) for t in group}
    replies = [_tensor(t.example.ids[t.example.prompt : -1]) for t in group]
    pad = partial(nn.utils.rnn.pad_sequence, batch_first=True, padding_value=how.pad_id)
    width = 1 + max(len(reply) for reply in replies)
    prefix = Prefix(
        pad([prompts[number] for number in range(len(prompts))]).to(how.device),
        torch.tensor([len(prompts[number]) for number in range(len(prompts))], device=how.device),
        torch.tensor([numbers[_prompt(t)] for t in group], device=how.device),
    )
    positions = [width * row + torch.arange(length) for row, length in enumerate(lengths.tolist())]
    return prefix, pad(replies).to(how.device), torch.cat(positions).to(how.device)


def _tensor(ids: Any) -> torch.Tensor:
    return torch.from_numpy(ids.astype("int64"))


@torch.no_grad()
def with_logprobs(
    module: nn.Module, trained: Sequence[Trained], name: Literal["old", "reference"], how: Batching
) -> list[Trained]:
    """The same replies with `name` (`old` or `reference`): log-probabilities of their tokens by the module as it is."""
    training = module.training
    module.eval()
    found: dict[str, torch.Tensor] = {}
    for batch in batches(trained, how):
        logprobs = module(batch.input_ids, batch.positions, batch.targets, batch.prefix).cpu()
        lengths = [t.example.labelled for t in batch.trained]
        for one, part in zip(batch.trained, logprobs.split(lengths), strict=True):
            found[one.example.id] = part.clone()
    module.train(training)
    if name == "old":
        return [replace(t, old=found[t.example.id]) for t in trained]
    return [replace(t, reference=found[t.example.id]) for t in trained]


def can_share(scorer: TokenLogProbs, pad_id: int, device: Any) -> bool:
    """Whether replies that go on from shared prompts get the log-probabilities that they get alone, to rounding.

    Models whose layers keep something else than keys and values of all tokens do not.
    """
    tokens = scorer.model.get_input_embeddings().num_embeddings
    made = []
    for number, (prompt, reply) in enumerate([(5, 4), (3, 2), (3, 4)]):
        ids = np.arange(prompt + reply) + (100 * number + 7) * (np.arange(prompt + reply) >= prompt)
        made.append(Trained(Example(str(number), (ids % tokens).astype(np.int32), prompt, 1.0), 0.0))
    alone, together = (Batching(most, pad_id, device, most > 1) for most in (1, 1000))
    try:
        pairs = zip(*(with_logprobs(scorer, made, "old", how) for how in (alone, together)), strict=True)
        return all(torch.allclose(one.old, other.old, rtol=1e-3, atol=1e-3) for one, other in pairs)
    except (AttributeError, TypeError, KeyError, ValueError, RuntimeError):
        return False


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
