"""What a supervised training would do, worked out from its rows and the model's configuration; nothing is written."""

import json
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from schemas.errors import ConfigError
from trainers.checkpoint import Plan
from trainers.config import SftConfig
from trainers.curriculum import Order, order_of
from trainers.data import Example, encode, micro_batches, name_rows, read_rows
from trainers.lora import add_adapters
from trainers.memory import Shape, memory_of, seconds_at_least
from trainers.model import end_ids
from trainers.origins import origins
from trainers.sft import origin_of
from trainers.training import open_accelerator

_SHOWN = 1_200  # characters of each part of the sample
_SHOWN_IDS = 20


def dry_run(plan: Plan) -> dict[str, Any]:
    """Tells on stderr what the training would learn and take, and returns the same as plain values.

    `refused` says why the training would not start, or is None. The weights are not read; rows are, and all errors that
    they would give. Raises ConfigError or SnapshotError for those.
    """
    config = plan.config
    assert isinstance(config, SftConfig)
    accelerator, say = open_accelerator(config)
    tokenizer, model = open_outline(config.model.expanduser())
    if config.lora:
        with torch.device("meta"):
            add_adapters(model, config.lora, config.seed)
    ends, rows = end_ids(model, tokenizer), read_rows(config.warehouse, plan.manifest)
    whole = {split: list(encode(tokenizer, rows[split], ends, 2**31, "error")) for split in rows}
    overlong = [e for examples in whole.values() for e in examples if len(e.ids) > config.max_length]
    fitting = {split: _fitting(examples, config) for split, examples in whole.items()}
    result: dict[str, Any] = {
        "dry_run": True,
        "checkpoint": str(plan.folder),
        "done_before": plan.folder.is_dir(),
        "refused": _refusal(config, overlong, fitting["train"]),
        "rows": {split: len(examples) for split, examples in fitting.items()},
        "tokens": {split: _tokens(examples) for split, examples in fitting.items() if examples},
        "overlong": _overlong(plan, overlong),
    }
    if learnt := fitting["train"]:
        order = order_of(config, plan.manifest, learnt)
        result |= origin_of(config, plan.manifest, learnt, order)
        result |= _work(config, order, learnt, Shape.of(model), accelerator.device)
        result["sample"] = {"id": learnt[0].id, "text": masked(tokenizer, learnt[0])}
    for line in _lines(plan, result):
        say(line)
    return result


def _work(
    config: SftConfig, order: Order, learnt: Sequence[Example], shape: Shape, device: torch.device
) -> dict[str, Any]:
    """Steps, slots, memory and time: of one process, by the micro-batches of the first epoch."""
    groups = [
        (group.input_ids.numel(), len(group.targets))
        for batch in order.batches(0)
        for group in micro_batches([learnt[i] for i in batch], config.micro_batch_tokens, pad_id=0)
    ]
    slots, labelled = (sum(part) for part in zip(*groups, strict=True))
    how: dict[str, Any] = {"precision": config.precision, "checkpointing": config.activation_checkpointing}
    memory = max((memory_of(shape, *group, **how) for group in groups), key=lambda m: m.total)
    seconds = config.epochs * seconds_at_least(shape, slots, labelled, device)
    return {
        "steps": config.epochs * order.steps_per_epoch,
        "slots": slots,
        "useful_share": round(sum(len(e.ids) - 1 for e in learnt) / slots, 4),
        "parameters": shape.parameters,
        "trained_parameters": shape.trained,
        "memory": {**asdict(memory), "total": memory.total},
        "seconds_at_least": round(seconds, 1),
    }


def _lines(plan: Plan, result: dict[str, Any]) -> Iterator[str]:
    """The result in words."""
    config, rows, long = plan.config, result["rows"], result["overlong"]
    assert isinstance(config, SftConfig)
    yield f"{config.name}: {rows['train']:,} training and {rows['validation']:,} validation rows of {plan.manifest.id}"
    for split, n in result["tokens"].items():
        yield f"{split}: {n['total']:,} tokens, {n['prompt']:,} read and {n['labelled']:,} learnt"
        yield (
            f"    a row has {n['mean']:,} in the mean; half have {n['p50']:,} at most, 90 % {n['p90']:,}, 99 % "
            f"{n['p99']:,}, the longest {n['max']:,}"
        )
    if long["rows"]:
        did = {"error": "refused", "drop": "left out", "truncate": "cut"}[config.overlong]
        by = ", ".join(f"{source} {count:,}" for source, count in long["sources"].items())
        ids = ", ".join(long["ids"]) + (", ..." if long["rows"] > len(long["ids"]) else "")
        yield f"rows longer than max_length {config.max_length:,}: {long['rows']:,} ({by}), {did}: {ids}"
    for name in ("teachers", "curriculum"):
        if name in result:
            yield f"{name}: {json.dumps(result[name])}"
    if "sample" not in result:
        return
    yield (
        f"steps: {result['steps']:,} in {config.epochs} epochs; {result['slots']:,} slots an epoch in micro-batches of "
        f"{config.micro_batch_tokens:,} tokens, {result['useful_share']:.1%} of them no padding"
    )
    yield memory_line(result)
    yield (
        f"time: {result['seconds_at_least']:,} s at least, for the matrix products alone, at the rate of this machine "
        "just now"
    )
    yield f"row {result['sample']['id']}, what is learnt in ⟦ ⟧:\n{result['sample']['text']}"


def memory_line(result: dict[str, Any]) -> str:
    """What `memory`, `parameters` and `trained_parameters` of a dry run say, in words."""
    memory = result["memory"]
    parts = ", ".join(f"{name} {_size(value)}" for name, value in memory.items() if name != "total")
    return (
        f"memory: about {_size(memory['total'])}, and the program itself; for {result['parameters']:,} parameters, "
        f"{result['trained_parameters']:,} of them trained: {parts}"
    )


def open_outline(folder: Path) -> tuple[Any, Any]:
    """The tokenizer in a folder, and the model without its weights. Raises ConfigError for what cannot be trained."""
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, GenerationConfig
    from transformers.utils import logging

    logging.set_verbosity_error()
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(folder, local_files_only=True))
        if (folder / "generation_config.json").is_file():
            model.generation_config = GenerationConfig.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, KeyError, RuntimeError) as e:
        raise ConfigError(f"model: {folder} cannot be loaded: {' '.join(str(e).split())}") from None
    if tokenizer.chat_template is None:
        raise ConfigError(f"model: {folder} has no chat template; put a chat_template.jinja there")
    return tokenizer, model


def masked(tokenizer: Any, example: Example) -> str:
    """A row as the model reads it, special tokens and all, with the tokens that are learnt in ⟦ ⟧."""
    read, learnt = (tokenizer.decode(ids) for ids in np.split(example.ids, [example.prompt]))
    return f"{shortened(read)}⟦{shortened(learnt)}⟧"


def shortened(text: str) -> str:
    """A text from both ends, when it is long."""
    left_out = len(text) - _SHOWN
    half = _SHOWN // 2
    return text if left_out <= 0 else f"{text[:half]}\n[... {left_out:,} characters ...]\n{text[-half:]}"


def _fitting(examples: Sequence[Example], config: SftConfig) -> list[Example]:
    """The rows as they would be learnt: those too long are cut, or missing."""
    if config.overlong != "truncate":
        return [e for e in examples if len(e.ids) <= config.max_length]
    return [replace(e, ids=e.ids[: config.max_length]) for e in examples if e.prompt < config.max_length]


def _refusal(config: SftConfig, overlong: Sequence[Example], learnt: Sequence[Example]) -> str | None:
    if overlong and config.overlong == "error":
        longest = max(len(e.ids) for e in overlong)
        return (
            f"{name_rows([e.id for e in overlong])} longer than max_length {config.max_length}: raise it (to {longest} "
            "for all rows), or set overlong to drop or truncate"
        )
    cut_off = [e.id for e in overlong if e.prompt >= config.max_length]
    if cut_off and config.overlong == "truncate":
        return f"{name_rows(cut_off)} without a token to learn: max_length {config.max_length} cuts the reply off"
    return None if learnt else "there is no training row: lower the mix's `validation`, or raise max_length"


def _overlong(plan: Plan, overlong: Sequence[Example]) -> dict[str, Any]:
    told = origins(plan.config.warehouse, plan.manifest) if overlong else {}
    sources = Counter(told[e.id].source for e in overlong)
    return {
        "rows": len(overlong),
        "longest": max((len(e.ids) for e in overlong), default=0),
        "sources": dict(sources.most_common()),
        "ids": [e.id for e in overlong[:_SHOWN_IDS]],
    }


def _tokens(examples: Sequence[Example]) -> dict[str, int | float]:
    """Counts over rows: of all tokens, of those that are learnt, and how long a row is."""
    lengths = np.array([len(e.ids) for e in examples])
    labelled = sum(e.labelled for e in examples)
    p50, p90, p99 = (math.ceil(np.percentile(lengths, p)) for p in (50, 90, 99))
    total, longest = int(lengths.sum()), int(lengths.max())
    return {
        "total": total,
        "prompt": total - labelled,
        "labelled": labelled,
        "mean": round(total / len(examples), 1),
        "p50": p50,
        "p90": p90,
        "p99": p99,
        "max": longest,
    }


def _size(count: int) -> str:
    return f"{count / 1e9:,.2f} GB" if count >= 1e9 else f"{count / 1e6:,.0f} MB"
