"""What a GRPO training would sample and take, worked out from its prompts and the model's configuration."""

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import torch

from dataengine.generate import Asking
from schemas.recipe import Sampling
from trainers.checkpoint import Plan
from trainers.dry_run import memory_line, open_outline, shortened
from trainers.grpo import Inputs, read_inputs
from trainers.grpo_config import GrpoConfig
from trainers.lora import add_adapters
from trainers.memory import Shape, memory_of
from trainers.prompts import prompt_order
from trainers.rollout import prompt_ids
from trainers.training import open_accelerator

_STORE = 2 << 30  # bytes of keys and values that the decoder holds at most


def dry_run(plan: Plan) -> dict[str, Any]:
    """Tells on stderr what the training would sample, learn from and take, and returns the same as plain values.

    `refused` says why the training would not start, or is None. Nothing is sampled or written, and the weights are not
    read. Raises ConfigError, SnapshotError or RewardError for what the training would raise before its first rollout.
    """
    config = plan.config
    assert isinstance(config, GrpoConfig)
    _, say = open_accelerator(config)
    tokenizer, model = open_outline(config.model.expanduser())
    if config.lora:
        with torch.device("meta"):
            add_adapters(model, config.lora, config.seed)
    inputs = read_inputs(plan)
    inputs.rewards.close()
    asking = _asking(config)
    learnt = inputs.prompts["train"]
    ids = {p.prompt_id: prompt_ids(tokenizer, asking.render(p), bool(config.prefill)) for p in learnt}
    (first,) = prompt_order(len(learnt), 0, 1, seed=config.seed, snapshot=plan.manifest.logical_hash)
    lengths = [len(tokens) for tokens in ids.values()]
    result: dict[str, Any] = {
        "dry_run": True,
        "checkpoint": str(plan.folder),
        "done_before": plan.folder.is_dir(),
        "refused": _refusal(config, model.config.max_position_embeddings, ids),
        "prompts": {split: len(prompts) for split, prompts in inputs.prompts.items()},
        "verifiers": dict(Counter(p.verifier for p in learnt).most_common()),
        "without_reference": sum(p.reference is None for p in learnt),
        "prompt_tokens": {"p50": math.ceil(np.percentile(lengths, 50)), "max": max(lengths)},
        "rewards": {part.name: part.weight for part in inputs.rewards.parts},
        **_work(config, inputs),
        **_memory(config, Shape.of(model), max(lengths)),
        "sample": {
            "prompt_id": learnt[first].prompt_id,
            "text": shortened(tokenizer.decode(ids[learnt[first].prompt_id])),
            "reference": learnt[first].reference,
        },
    }
    for line in _lines(config, plan, result):
        say(line)
    return result


def _asking(config: GrpoConfig) -> Asking:
    return Asking(
        stage="rl_rollout", policy="", engine="trainer", samples=config.group_size,
        sampling=Sampling(temperature=config.temperature, top_p=1.0, seed=config.seed), max_tokens=config.max_tokens,
        template=config.template, prefill=config.prefill,
    )  # fmt: skip


def _refusal(config: GrpoConfig, window: int, ids: Mapping[str, Sequence[int]]) -> str | None:
    budget = max([config.max_tokens, *config.later_max_tokens.values()])
    long = [prompt for prompt, tokens in ids.items() if len(tokens) + budget > window]
    if not long:
        return None
    longest = max(len(ids[prompt]) for prompt in long)
    return (
        f"{len(long):,} prompts, e.g. {long[0]}, have up to {longest:,} tokens, and with a budget of {budget:,} exceed "
        f"the model's {window:,}; lower max_tokens"
    )


def _work(config: GrpoConfig, inputs: Inputs) -> dict[str, Any]:
    """Rollouts, replies, and tokens of replies at most."""
    rollouts = math.ceil(config.steps / config.steps_per_rollout)
    replies = config.prompts_per_step * config.group_size
    evaluated = 0
    if config.evaluation:
        held_out = len(inputs.prompts["validation"][: config.evaluation.prompts])
        times = 1 + len({*range(config.evaluation.every, config.steps + 1, config.evaluation.every), config.steps})
        evaluated = times * held_out * config.evaluation.samples
    sampled = rollouts * config.steps_per_rollout
    return {
        "steps": config.steps,
        "rollouts": rollouts,
        "replies_per_step": replies,
        "replies": sampled * replies,
        "evaluated_replies": evaluated,
        "tokens_at_most": replies * sum(config.budget(step) for step in _starts(config)) * config.steps_per_rollout,
        "epochs": round(sampled * config.prompts_per_step / len(inputs.prompts["train"]), 2),
    }


def _starts(config: GrpoConfig) -> Iterator[int]:
    yield from range(0, config.steps, config.steps_per_rollout)


def _memory(config: GrpoConfig, shape: Shape, longest: int) -> dict[str, Any]:
    """Bytes at the peak, of one process: that of an update, or of sampling, where that takes more."""
    budget = max([config.max_tokens, *config.later_max_tokens.values()])
    row = longest + budget
    rows = max(1, config.micro_batch_tokens // row)
    how: dict[str, Any] = {"precision": config.precision, "checkpointing": config.activation_checkpointing}
    parts = asdict(memory_of(shape, rows * row, rows * budget, **how))
    if config.kl_coefficient:
        parts["reference"] = 4 * shape.parameters
    update = parts["gradients"] + parts["activations"] + parts["logits"]
    # Keys and values in fp32 of all replies that are sampled at once, with a quarter more columns than they need.
    store = 0 if config.engine else min(_STORE, config.slots * row * 5 // 4 * shape.layers * shape.key_value * 2 * 4)
    return {
        "parameters": shape.parameters,
        "trained_parameters": shape.trained,
        "memory": {**parts, "sampling": store, "total": sum(parts.values()) - update + max(update, store)},
    }


def _lines(config: GrpoConfig, plan: Plan, result: dict[str, Any]) -> Iterator[str]:
    """The result in words."""
    prompts, tokens = result["prompts"], result["prompt_tokens"]
    yield (
        f"{config.name}: {prompts['train']:,} training and {prompts['validation']:,} held-out prompts of "
        f"{plan.manifest.id}; half have {tokens['p50']:,} tokens at most, the longest {tokens['max']:,}"
    )
    by = ", ".join(f"{name} {count:,}" for name, count in result["verifiers"].items())
    yield f"verified by: {by}; {result['without_reference']:,} without a reference, whose accuracy may be unknown"
    yield "rewards: " + " + ".join(f"{weight:g} {name}" for name, weight in result["rewards"].items())
    yield (
        f"steps: {config.steps:,} of {config.prompts_per_step:,} x {config.group_size:,} replies, from "
        f"{result['rollouts']:,} rollouts; each prompt is taken {result['epochs']:,} times; at most "
        f"{result['tokens_at_most']:,} tokens are sampled, and {result['evaluated_replies']:,} replies of evaluations"
    )
    yield memory_line(result)
    sample = result["sample"]
    yield f"prompt {sample['prompt_id']}, reference {sample['reference']!r}, as the model reads it:\n{sample['text']}"
