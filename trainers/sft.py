"""Supervised fine-tuning: the loop, top to bottom."""

import json
import math
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import cache, partial
from typing import Any

import pyarrow as pa
import torch
from torch import nn

from schemas.errors import ConfigError
from schemas.manifest import Manifest
from trainers.checkpoint import (
    SAMPLES,
    Plan,
    State,
    load_state,
    publish_checkpoint,
    publish_on_the_way,
    save_state,
)
from trainers.config import DistillConfig, SftConfig
from trainers.curriculum import Order, order_of, told
from trainers.data import Encoded, Example, MicroBatch, collate, encode, ids_of, micro_batches, read_rows
from trainers.model import TokenLogProbs, end_ids
from trainers.objective import weighted_nll
from trainers.origins import Origin, origins, teachers_of
from trainers.sample_log import SampleLog
from trainers.sharding import is_sharded, let_go, load_optimizer, whole_optimizer, whole_weights
from trainers.training import (
    Session,
    StepLog,
    code_versions,
    make_optimizer,
    open_accelerator,
    open_curves,
    open_log,
    open_model,
    open_session,
    refuse_infinite,
    set_rate,
    size_of,
    update,
)


def train(plan: Plan) -> dict[str, Any]:
    """Trains as planned, from the newest state if there is one, and returns the checkpoint's `training.json`.

    Started as one process or, by `accelerate launch` or `torchrun`, as several: each takes its share of every batch,
    and the first writes, prints and returns the policy too. Progress goes to stderr. Ctrl-C or SIGTERM finishes the
    step, keeps the state and raises KeyboardInterrupt. Raises UserError for what the user can mend.
    """
    config = _config(plan)
    accelerator, say = open_accelerator(config)
    began = time.perf_counter()

    # What is learnt from, and what learns. What can be refused is refused here, before anything is written; a row's
    # text only where it is first read, before anything is kept (see `Encoded`).
    curves = open_curves(config.warehouse.expanduser())
    rows = read_rows(config.warehouse, plan.manifest)
    if not rows["train"]:
        raise ConfigError(f"snapshot {plan.manifest.id} has no training rows; lower the mix's `validation`")
    state = load_state(plan, accelerator.device)
    model, tokenizer = open_model(config, state, accelerator.device)
    ends = end_ids(model, tokenizer)
    learnt = encode(tokenizer, rows["train"], ends, config.max_length, config.overlong)
    held_out = encode(tokenizer, rows["validation"], ends, config.max_length, config.overlong)
    if not learnt:
        raise ConfigError(f"every training row is longer than max_length {config.max_length}: raise it")
    order = order_of(config, plan.manifest, learnt)
    origin = origin_of(config, plan.manifest, learnt, order)
    if config.curriculum:
        say(f"easy rows first: {json.dumps(origin['curriculum'])}")

    told = {"rows": {"train": len(learnt), "validation": len(held_out)}, **origin}
    with open_session(plan, accelerator, tokenizer, state, say, began) as session:
        log, seconds = _loop(session, model, tokenizer, learnt, held_out, order, state, told)
        result, method, facts = _result(config, log, seconds, told)
        weights = whole_weights(accelerator, model)
        if accelerator.is_main_process:
            # Before the checkpoint gets its name, or a crash in between would lose the curves for good.
            if curves:
                curves.append("metrics", log.rows(plan.key))
            result = publish_checkpoint(plan, model, tokenizer, result, method, facts, weights)
            say(f"done: {plan.folder}")
        accelerator.wait_for_everyone()
        accelerator.end_training()
        return result


def origin_of(config: SftConfig, manifest: Manifest, learnt: Sequence[Example], order: Order) -> dict[str, Any]:
    """What `training.json` says of the rows: of distillation who wrote how many, of a curriculum what it is by.

    Raises ConfigError for a teacher that the configuration does not admit.
    """
    origin: dict[str, Any] = {}
    if config.curriculum:
        origin["curriculum"] = told(config, order)
    if isinstance(config, DistillConfig):
        rows = origins(config.warehouse, manifest)
        origin["teachers"] = teachers_of(config, manifest.id, (rows[row].policy for row in ids_of(learnt)))
    return origin


def _loop(
    session: Session,
    model: Any,
    tokenizer: Any,
    learnt: Encoded,
    held_out: Encoded,
    order: Order,
    state: State | None,
    told: dict[str, Any],
) -> tuple[StepLog, float]:
    """All steps that are left; returns what was measured at every step, and the seconds of all sessions together.

    `told` is what `training.json` says of the rows; it gets those that are too long.
    """
    plan, config, accelerator, say = session.plan, _config(session.plan), session.accelerator, session.say
    # Where it stands. The order of rows, the rate and the dropout are functions of the step, so a state is weights,
    # optimizer and step; nothing else has to be remembered.
    optimizer = make_optimizer(model, config)
    steps_per_epoch = order.steps_per_epoch
    total = config.epochs * steps_per_epoch
    first, seconds = 0, 0.0
    if state:
        first, seconds = state.progress["step"], state.progress["seconds"]
        say(f"resuming after step {first}/{total}")
    log = open_log(session, state)
    samples = SampleLog(plan.partial / SAMPLES if accelerator.is_main_process else None, sample_columns(), first)
    sources = origins(config.warehouse, plan.manifest) if accelerator.is_main_process else {}
    scorer, optimizer = accelerator.prepare(TokenLogProbs(model), optimizer)
    if state:
        load_optimizer(optimizer, state.tensors["optimizer"])
    say(
        f"{config.name}: {size_of(model)}, {len(learnt):,} training and "
        f"{len(held_out):,} validation rows of {plan.manifest.id}, {total:,} steps"
    )

    batches: Sequence[list[int]] = []
    # Nothing is kept of the training before every row was looked at, which the steps up to there do not wait for.
    look_at_all = cache(partial(_look_at_all, session, learnt, held_out))
    loop_began = time.perf_counter()
    for step in range(first, total):
        step_began = time.perf_counter()
        epoch, number = divmod(step, steps_per_epoch)
        if number == 0 or not batches:
            batches = order.batches(epoch)
        batch = [learnt[i] for i in batches[number]]
        rate = learning_rate_at(step, total, config)
        set_rate(optimizer, rate)
        session.seed(step)
        nll: list[torch.Tensor] = []
        loss, grad_norm, stopped = update(session, scorer, optimizer, _losses_of(session, scorer, batch, nll))
        refuse_infinite(loss, grad_norm, step + 1)
        row_losses = _row_losses(session, batch, nll)
        if step == first:
            learnt.read_ahead(batches[n] for n in range(number, steps_per_epoch))
        labelled, tokens = sum(e.labelled for e in batch), sum(len(e.ids) for e in batch)
        speed = tokens / (time.perf_counter() - step_began)
        line = {
            "step": step + 1,
            "epoch": epoch + 1,
            "train/loss": loss,
            "train/lr": rate,
            "train/grad_norm": grad_norm,
            "train/tokens_per_second": speed,
            "labelled_tokens": labelled,
            "weight": _weight(batch),
        }
        last_of_epoch = number + 1 == steps_per_epoch
        if (step + 1) % config.log_every == 0 or step + 1 == total:
            eta = (time.perf_counter() - loop_began) / (step + 1 - first) * (total - step - 1)
            say(
                f"step {step + 1}/{total}  loss {loss:.3f}  lr {rate:.1e}  {labelled:,} labelled tokens  "
                f"{speed:,.0f} tokens/s  eta {eta:,.0f} s"
            )
        if last_of_epoch and held_out:
            line["validation/loss"] = _validation_loss(session, scorer, held_out)
            say(f"epoch {epoch + 1}/{config.epochs}  validation loss {line['validation/loss']:.3f}")
        log.append(line)
        if accelerator.is_main_process:
            samples.append(_sample_rows(step + 1, batch, row_losses, plan.manifest.id, sources))
        if config.checkpoint_at(step + 1, last_of_epoch) and step + 1 < total:
            told["rows"]["overlong"] = look_at_all()
            weights = whole_weights(accelerator, model)
            if accelerator.is_main_process:
                samples.keep(step + 1)
                result = _result(config, log, seconds + time.perf_counter() - session.began, told)
                publish_on_the_way(plan, step + 1, model, tokenizer, *result, weights)
                say(f"checkpoint: {plan.folder_of(step + 1)}")
            accelerator.wait_for_everyone()
        if step + 1 < total and ((step + 1) % config.save_every == 0 or stopped):
            look_at_all()
            weights, tensors = whole_weights(accelerator, model), {"optimizer": whole_optimizer(optimizer)}
            if accelerator.is_main_process:
                progress = {"seconds": seconds + time.perf_counter() - session.began, "log": log.lines}
                samples.keep(step + 1)
                save_state(plan, step + 1, model, tokenizer, tensors, progress, weights)
            accelerator.wait_for_everyone()
        if stopped and step + 1 < total:
            say(f"stopped after step {step + 1}/{total}; the same command goes on from here")
            raise KeyboardInterrupt

    told["rows"]["overlong"] = look_at_all()
    samples.keep(total)
    return log, seconds + time.perf_counter() - session.began


def _look_at_all(session: Session, learnt: Encoded, held_out: Encoded) -> list[str]:
    """Encodes what is left of the rows, refuses what has to be, and tells of those that are too long."""
    config, overlong = _config(session.plan), learnt.overlong + held_out.overlong
    if overlong:
        did = "left out" if config.overlong == "drop" else "cut"
        session.say(f"{len(overlong):,} rows longer than {config.max_length} tokens {did}: {', '.join(overlong)}")
    return overlong


def _losses_of(session: Session, scorer: nn.Module, batch: Sequence[Example], nll: list[torch.Tensor]) -> list[Any]:
    """The parts of a global batch's loss, nats per labelled token, that this process has to work out.

    `nll` gets the negative log-likelihoods of their tokens, in the order of the rows.
    """
    denominator = _weight(batch)

    def part(group: MicroBatch, *, counts: bool) -> torch.Tensor:
        group = group.to(session.accelerator.device)
        logprobs = _logprobs(scorer, group)
        if counts:
            nll.append(-logprobs.detach())
        return weighted_nll(logprobs, group.weights) / denominator

    groups, empty = _groups(session, batch)
    return [
        *(partial(part, group, counts=True) for group in groups),
        *(partial(part, group, counts=False) for group in empty),
    ]


def _groups(session: Session, examples: Sequence[Example]) -> tuple[list[MicroBatch], list[MicroBatch]]:
    """This process's micro-batches, and some of weight 0 where others have more of them.

    Those are of sharded weights alone, which all processes gather together for every forward pass.
    """
    accelerator, size = session.accelerator, session.plan.config.micro_batch_tokens
    index, count = accelerator.process_index, accelerator.num_processes
    groups = list(micro_batches(_share(examples, index, count), size, session.pad_id))
    if not is_sharded(accelerator):
        return groups, []
    most = max(sum(1 for _ in micro_batches(_share(examples, i, count), size, session.pad_id)) for i in range(count))
    nothing = collate([replace(examples[-1], weight=0.0)], session.pad_id)
    return groups, [nothing] * (most - len(groups))


@torch.no_grad()
def _validation_loss(session: Session, scorer: nn.Module, examples: Sequence[Example]) -> float:
    """The weighted mean loss of held-out rows, nats per labelled token."""
    accelerator = session.accelerator
    scorer.eval()
    summed = torch.zeros((), device=accelerator.device)
    ordered = sorted(examples, key=lambda e: -len(e.ids))
    groups, empty = _groups(session, ordered)
    for group in (*groups, *empty):
        group = group.to(accelerator.device)
        summed += weighted_nll(_logprobs(scorer, group), group.weights)
    let_go(scorer)
    scorer.train()
    return float(accelerator.reduce(summed).item()) / _weight(examples)


def learning_rate_at(step: int, total: int, config: SftConfig) -> float:
    """The rate of a step (0 is the first of `total`): a linear warmup to the peak, then a cosine to the final rate."""
    warmup = math.ceil(config.warmup_ratio * total)
    if step < warmup:
        return config.learning_rate * (step + 1) / (warmup + 1)
    done = (step - warmup) / max(1, total - 1 - warmup)
    span = config.learning_rate - config.final_learning_rate
    return config.final_learning_rate + span * 0.5 * (1 + math.cos(math.pi * done))


def _config(plan: Plan) -> SftConfig:
    assert isinstance(plan.config, SftConfig)
    return plan.config


def _logprobs(scorer: nn.Module, group: MicroBatch) -> torch.Tensor:
    logprobs: torch.Tensor = scorer(group.input_ids, group.positions, group.targets)
    return logprobs


def _share(examples: Sequence[Example], index: int, count: int) -> Sequence[Example]:
    """A process's part of a batch; every process needs some row to take part in the exchange of gradients."""
    share = examples[index::count]
    return share or [replace(examples[-1], weight=0.0)]


def _row_losses(session: Session, batch: Sequence[Example], nll: list[torch.Tensor]) -> list[float]:
    """The mean loss of each row of a global batch, nats per labelled token, from those of this process's tokens."""
    accelerator = session.accelerator
    index, count = accelerator.process_index, accelerator.num_processes
    losses = torch.zeros(len(batch), device=accelerator.device)
    if share := batch[index::count]:
        labelled = torch.tensor([e.labelled for e in share], device=accelerator.device)
        rows = torch.repeat_interleave(labelled)
        losses[index::count] = (
            torch.zeros(len(share), device=rows.device).index_add_(0, rows, torch.cat(nll)) / labelled
        )
    return [float(loss) for loss in accelerator.reduce(losses).tolist()]


def sample_columns() -> pa.Schema:
    """The columns of `samples.parquet`; `loss` is that of the row before the step, mean nats per labelled token."""
    return pa.schema(
        [
            ("step", pa.int32()),
            ("trajectory_id", pa.string()),
            ("attempt", pa.int32()),
            ("snapshot", pa.string()),
            ("source", pa.string()),
            ("labelled_tokens", pa.int32()),
            ("weight", pa.float64()),
            ("loss", pa.float32()),
        ]
    )


def _sample_rows(
    step: int, batch: Sequence[Example], losses: Sequence[float], snapshot: str, sources: dict[str, Origin]
) -> Iterator[dict[str, Any]]:
    for example, loss in zip(batch, losses, strict=True):
        trajectory_id, _, attempt = example.id.rpartition("/")
        yield {
            "step": step,
            "trajectory_id": trajectory_id,
            "attempt": int(attempt),
            "snapshot": snapshot,
            "source": sources[example.id].source,
            "labelled_tokens": example.labelled,
            "weight": example.weight,
            "loss": loss,
        }


def _weight(examples: Iterable[Example]) -> float:
    """The loss's denominator: the weights of all labelled tokens, summed."""
    return math.fsum(e.weight * e.labelled for e in examples)


def _result(
    config: SftConfig, log: StepLog, seconds: float, told: dict[str, Any]
) -> tuple[dict[str, Any], str, dict[str, str]]:
    """What a checkpoint says of the steps so far: `training.json`, the card's first words, the rows of its table."""
    result = {
        **told,
        "steps": len(log.lines),
        "labelled_tokens": sum(line["labelled_tokens"] for line in log.lines),
        "losses": _losses(log.lines),
        "seconds": round(seconds, 3),
        "versions": code_versions(),
    }
    method = "Supervised fine-tuning"
    if "teachers" in told:
        names = ", ".join(f"`{policy}`" for policy in told["teachers"])
        method = f"Distillation of {names} by {method[0].lower()}{method[1:]}"
    return result, method, _facts(result, config)


def _losses(log: list[dict[str, Any]]) -> dict[str, float | None]:
    last_epoch = [line for line in log if line["epoch"] == log[-1]["epoch"]]
    validated = [line["validation/loss"] for line in log if "validation/loss" in line]
    return {
        "first": log[0]["train/loss"],
        "last": log[-1]["train/loss"],
        "last_epoch": math.fsum(line["train/loss"] * line["weight"] for line in last_epoch)
        / math.fsum(line["weight"] for line in last_epoch),
        "validation": validated[-1] if validated else None,
    }


def _facts(result: dict[str, Any], config: SftConfig) -> dict[str, str]:
    """What the model card tells of the training."""
    losses = result["losses"]
    validation = losses["validation"]
    held_out = "no held-out rows" if validation is None else f"{validation:.4f} on held-out rows"
    return {
        "rows": f"{result['rows']['train']:,}",
        **({"preset": f"`{config.preset}`"} if config.preset else {}),
        **{f"rows of `{policy}`": f"{rows:,}" for policy, rows in result.get("teachers", {}).items()},
        "optimizer steps": f"{result['steps']:,} of {config.batch_size} rows, {config.epochs} epochs",
        "labelled tokens seen": f"{result['labelled_tokens']:,}",
        "learning rate": f"{config.learning_rate:g}, cosine to {config.final_learning_rate:g}",
        "loss, nats per token": f"{losses['first']:.4f} at the first step, {losses['last_epoch']:.4f} over the last "
        f"epoch, {held_out}",
    }
