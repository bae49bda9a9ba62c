"""Supervised fine-tuning of all weights: the loop, top to bottom."""

import json
import math
import platform
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import nn

from schemas.errors import ConfigError, UserError
from schemas.records import Metric, now
from trainers.checkpoint import Plan, load_state, publish_checkpoint, save_state, sole_trainer
from trainers.config import SftConfig
from trainers.data import Example, MicroBatch, encode, epoch_batches, micro_batches, read_rows
from trainers.model import CompletionLoss, end_ids, load_model


@dataclass(frozen=True)
class _Session:
    """One process's part in a training: `stop` fills when a signal asks to end, `say` prints in one process only."""

    plan: Plan
    accelerator: Any
    pad_id: int
    stop: list[int]
    say: Callable[[str], None]
    began: float

    @property
    def config(self) -> SftConfig:
        return self.plan.config


def train(plan: Plan) -> dict[str, Any]:
    """Trains as planned, from the newest state if there is one, and returns the checkpoint's `training.json`.

    Started as one process or, by `accelerate launch` or `torchrun`, as several: each takes its share of every batch,
    and the first writes, prints and returns the policy too. Progress goes to stderr. Ctrl-C or SIGTERM finishes the
    step, keeps the state and raises KeyboardInterrupt. Raises UserError for what the user can mend.
    """
    config = plan.config
    if config.threads:
        torch.set_num_threads(config.threads)
    accelerator = Accelerator(cpu=not torch.cuda.is_available(), mixed_precision="no")
    say = _say if accelerator.is_main_process else _say_nothing
    began = time.perf_counter()

    # What is learnt from, and what learns. All that can be refused is refused here, before anything is written.
    curves = _open_curves(config.warehouse.expanduser())
    rows = read_rows(config.warehouse, plan.manifest)
    if not rows["train"]:
        raise ConfigError(f"snapshot {plan.manifest.id} has no training rows; lower the mix's `validation`")
    model, tokenizer = load_model(config.model.expanduser())
    ends = end_ids(model, tokenizer)
    learnt = encode(tokenizer, rows["train"], ends, config.max_length, config.overlong)
    held_out = encode(tokenizer, rows["validation"], ends, config.max_length, config.overlong)
    overlong = learnt.overlong + held_out.overlong
    if overlong:
        did = "left out" if config.overlong == "drop" else "cut"
        say(f"{len(overlong):,} rows longer than {config.max_length} tokens {did}: {', '.join(overlong)}")
    if not learnt.examples:
        raise ConfigError(f"every training row is longer than max_length {config.max_length}: raise it")

    with ExitStack() as stack:
        if accelerator.is_main_process:
            stack.enter_context(sole_trainer(plan))
        stop = stack.enter_context(_stop_after_step())
        model.to(accelerator.device)
        session = _Session(plan, accelerator, tokenizer.pad_token_id or 0, stop, say, began)
        log, seconds = _loop(session, model, learnt.examples, held_out.examples)
        result: dict[str, Any] = {
            "rows": {"train": len(learnt.examples), "validation": len(held_out.examples), "overlong": overlong},
            "steps": len(log),
            "labelled_tokens": sum(line["labelled_tokens"] for line in log),
            "losses": _losses(log, config.epochs),
            "seconds": round(seconds, 3),
            "versions": _versions(),
        }
        if accelerator.is_main_process:
            # Before the checkpoint gets its name, or a crash in between would lose the curves for good.
            if curves:
                curves.append("metrics", _metrics(plan.key, log))
            result = publish_checkpoint(plan, model, tokenizer, result)
            say(f"done: {plan.folder}")
        accelerator.wait_for_everyone()
        accelerator.end_training()
        return result


def _loop(
    session: _Session, model: Any, learnt: list[Example], held_out: list[Example]
) -> tuple[list[dict[str, Any]], float]:
    """All steps that are left; returns what was measured at every step, and the seconds of all sessions together."""
    plan, config, accelerator, say = session.plan, session.config, session.accelerator, session.say
    # Where it stands. The order of rows, the rate and the dropout are functions of the step, so a state is weights,
    # optimizer and step; nothing else has to be remembered.
    optimizer = _optimizer(model, config)
    lengths = [len(e.ids) for e in learnt]
    steps_per_epoch = math.ceil(len(lengths) / config.batch_size)
    total = config.epochs * steps_per_epoch
    first, seconds, log = 0, 0.0, []
    if state := load_state(plan, accelerator.device):
        tensors, progress = state
        model.load_state_dict(tensors["model"])
        optimizer.load_state_dict(tensors["optimizer"])
        first, seconds, log = progress["step"], progress["seconds"], progress["log"]
        say(f"resuming after step {first}/{total}")
        del state, tensors
    scorer, optimizer = accelerator.prepare(CompletionLoss(model), optimizer)
    metrics = plan.partial / "metrics.jsonl"
    if accelerator.is_main_process:
        metrics.write_text("".join(json.dumps(line) + "\n" for line in log), encoding="utf-8")
    parameters = sum(p.numel() for p in model.parameters())
    say(
        f"{config.name}: {parameters / 1e6:,.1f}M parameters, {len(learnt):,} training and "
        f"{len(held_out):,} validation rows of {plan.manifest.id}, {total:,} steps"
    )

    batches: list[list[int]] = []
    loop_began = time.perf_counter()
    for step in range(first, total):
        step_began = time.perf_counter()
        epoch, number = divmod(step, steps_per_epoch)
        if number == 0 or not batches:
            batches = epoch_batches(
                lengths, config.batch_size, seed=config.seed, epoch=epoch, snapshot=plan.manifest.logical_hash
            )
        batch = [learnt[i] for i in batches[number]]
        rate = learning_rate_at(step, total, config)
        for group in optimizer.param_groups:
            group["lr"] = rate
        torch.manual_seed(config.seed + step * accelerator.num_processes + accelerator.process_index)
        loss, grad_norm, stopped = _optimizer_step(session, scorer, optimizer, batch)
        if not math.isfinite(loss) or not math.isfinite(grad_norm):
            raise UserError(
                f"the loss is {loss} and the gradient's norm {grad_norm} at step {step + 1}: lower learning_rate, "
                "or look for broken weights in the start model"
            )
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
            with metrics.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
        if step + 1 < total and ((step + 1) % config.save_every == 0 or stopped):
            if accelerator.is_main_process:
                tensors = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
                spent = seconds + time.perf_counter() - session.began
                save_state(plan, step + 1, tensors, {"seconds": spent, "log": log})
            accelerator.wait_for_everyone()
        if stopped and step + 1 < total:
            say(f"stopped after step {step + 1}/{total}; the same command goes on from here")
            raise KeyboardInterrupt

    return log, seconds + time.perf_counter() - session.began


def _optimizer_step(
    session: _Session, scorer: nn.Module, optimizer: Any, batch: Sequence[Example]
) -> tuple[float, float, bool]:
    """One update from one global batch: its loss in nats per token, the gradient's norm, and whether to stop after."""
    accelerator, config = session.accelerator, session.config
    denominator = _weight(batch)
    groups = list(micro_batches(_share(accelerator, batch), config.micro_batch_tokens, session.pad_id))
    summed = torch.zeros((), device=accelerator.device)
    for i, group in enumerate(groups):
        # Gradients travel between processes once per step, with the last micro-batch.
        with nullcontext() if i == len(groups) - 1 else accelerator.no_sync(scorer):
            loss = _forward(scorer, group.to(accelerator.device)) / denominator
            # Data-parallel wrappers average over processes, the objective is a sum.
            accelerator.backward(loss * accelerator.num_processes)
        summed += loss.detach()
    grad_norm = accelerator.clip_grad_norm_(scorer.parameters(), config.max_grad_norm)
    # All processes have to stop after the same step, whichever got the signal.
    summed, stops = accelerator.reduce(torch.stack([summed, torch.tensor(float(len(session.stop))).to(summed.device)]))
    if torch.isfinite(summed) and torch.isfinite(grad_norm):
        optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return summed.item(), grad_norm.item(), stops.item() > 0


@torch.no_grad()
def _validation_loss(session: _Session, scorer: nn.Module, examples: Sequence[Example]) -> float:
    """The weighted mean loss of held-out rows, nats per labelled token."""
    accelerator = session.accelerator
    scorer.eval()
    summed = torch.zeros((), device=accelerator.device)
    ordered = sorted(examples, key=lambda e: -len(e.ids))
    for group in micro_batches(_share(accelerator, ordered), session.config.micro_batch_tokens, session.pad_id):
        summed += _forward(scorer, group.to(accelerator.device))
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


def _forward(scorer: nn.Module, group: MicroBatch) -> torch.Tensor:
    loss: torch.Tensor = scorer(group.input_ids, group.positions, group.targets, group.weights)
    return loss


def _share(accelerator: Any, examples: Sequence[Example]) -> Sequence[Example]:
    """This process's part of a batch; every process needs some row to take part in the exchange of gradients."""
    share = examples[accelerator.process_index :: accelerator.num_processes]
    return share or [replace(examples[-1], weight=0.0)]


def _weight(examples: Iterable[Example]) -> float:
    """The loss's denominator: the weights of all labelled tokens, summed."""
    return math.fsum(e.weight * e.labelled for e in examples)


def _optimizer(model: Any, config: SftConfig) -> Any:
    groups = [
        {"params": [p for p in model.parameters() if p.ndim >= 2], "weight_decay": config.weight_decay},
        {"params": [p for p in model.parameters() if p.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=config.learning_rate, betas=config.betas, fused=True)


def _losses(log: list[dict[str, Any]], epochs: int) -> dict[str, float | None]:
    last_epoch = [line for line in log if line["epoch"] == epochs]
    validated = [line["validation/loss"] for line in log if "validation/loss" in line]
    return {
        "first": log[0]["train/loss"],
        "last": log[-1]["train/loss"],
        "last_epoch": math.fsum(line["train/loss"] * line["weight"] for line in last_epoch)
        / math.fsum(line["weight"] for line in last_epoch),
        "validation": validated[-1] if validated else None,
    }


def _open_curves(warehouse: Path) -> Any:
    """The warehouse that the curves go to, or None when the snapshot lies in no whole warehouse."""
    if not (warehouse / "tables").is_dir():
        return None
    from warehouse.store import Warehouse

    return Warehouse.open(warehouse)


def _metrics(run_id: str, log: list[dict[str, Any]]) -> list[Metric]:
    created_at = now()
    return [
        Metric(run_id=run_id, step=line["step"], name=name, value=value, created_at=created_at)
        for line in log
        for name, value in line.items()
        if "/" in name
    ]


def _versions() -> dict[str, str]:
    packages = ("accelerate", "dataengine", "tokenizers", "torch", "transformers")
    return {"python": platform.python_version(), **{p: version(p) for p in packages}}


@contextmanager
def _stop_after_step() -> Iterator[list[int]]:
    """Collects SIGINT and SIGTERM instead of dying of them; a second Ctrl-C interrupts at once.

    A second SIGTERM does not: on Ctrl-C in a terminal, the program that started this one sends it on top.
    """
    received: list[int] = []

    def receive(number: int, _frame: Any) -> None:
        if number == signal.SIGINT and number in received:
            raise KeyboardInterrupt
        if not received:
            _say("stopping after this step; Ctrl-C again stops at once")
        received.append(number)

    before = {number: signal.signal(number, receive) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _say_nothing(text: str) -> None:
    """What every process but the first has to say."""
