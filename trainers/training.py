"""What all trainers do alike: processes, signals, the update of the weights, what is written down of every step."""

import json
import math
import os
import platform
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedType
from torch import nn

from schemas.errors import ConfigError, UserError
from schemas.records import Metric, now
from trainers.checkpoint import Plan, State, sole_trainer
from trainers.config import TrainingConfig
from trainers.lora import add_adapters, load_adapters
from trainers.model import load_model
from trainers.sharding import is_sharded, whole
from trainers.trackers import Trackers, open_trackers, refuse_missing

# Every process holds the whole model.
_REPLICATED = {DistributedType.NO, DistributedType.MULTI_CPU, DistributedType.MULTI_GPU}
_LAUNCH = "launch with `torchrun`, or `accelerate launch --multi_gpu`, so that every process holds the whole model"


@dataclass(frozen=True)
class Session:
    """One process's part in a training: `stop` fills when a signal asks to end, `say` prints in one process only."""

    plan: Plan
    accelerator: Any
    pad_id: int
    stop: list[int]
    say: Callable[[str], None]
    began: float
    trackers: Trackers | None = None

    def seed(self, step: int) -> None:
        """Seeds torch for a step; with it dropout is a function of seed, step and process, and needs no state."""
        count, index = self.accelerator.num_processes, self.accelerator.process_index
        torch.manual_seed(self.plan.config.seed + step * count + index)


@dataclass
class StepLog:
    """What was measured at every step: in memory, as lines of `metrics.jsonl`, at the end as rows of `metrics`."""

    path: Path | None
    trackers: Trackers | None = None
    lines: list[dict[str, Any]] = field(default_factory=list)

    def begin(self, lines: list[dict[str, Any]]) -> None:
        """Starts the file with the lines of earlier sessions."""
        self.lines = lines
        if self.path is not None:
            self.path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")

    def append(self, line: dict[str, Any]) -> None:
        """One more step."""
        self.lines.append(line)
        if self.path is not None:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
        if self.trackers is not None:
            self.trackers.log(line)

    def rows(self, run_id: str, since: int = 0) -> list[Metric]:
        """What has a slash in its name, as rows; of the lines from number `since` on."""
        created_at = now()
        return [
            Metric(run_id=run_id, step=line["step"], name=name, value=value, created_at=created_at)
            for line in self.lines[since:]
            for name, value in line.items()
            if "/" in name
        ]


@contextmanager
def open_session(
    plan: Plan, accelerator: Any, tokenizer: Any, state: State | None, tell: Callable[[str], None], began: float
) -> Iterator[Session]:
    """A session of a training: in the first process the only one at it, with trackers; signals stop it after a step."""
    with ExitStack() as stack:
        trackers = None
        if accelerator.is_main_process:
            stack.enter_context(sole_trainer(plan))
            first = state.progress["step"] if state else 0
            trackers = stack.enter_context(open_trackers(plan, first, tell))
        stop = stack.enter_context(stop_after_step())
        yield Session(plan, accelerator, tokenizer.pad_token_id or 0, stop, tell, began, trackers)


def open_log(session: Session, state: State | None) -> StepLog:
    """The log of a session, which goes on where `state` stands."""
    main = session.accelerator.is_main_process
    log = StepLog(session.plan.partial / "metrics.jsonl" if main else None, session.trackers)
    log.begin(state.progress["log"] if state else [])
    return log


def open_accelerator(config: TrainingConfig) -> tuple[Any, Callable[[str], None]]:
    """The process's accelerator, and what prints in the first process and is silent in the others.

    Raises ConfigError for a device or a tracker that is not there, and for weights sharded in a way that does not work.
    """
    if config.threads:
        torch.set_num_threads(config.threads)
    refuse_missing(config.trackers)
    if config.device == "cuda" and not torch.cuda.is_available():
        raise ConfigError("device: torch sees no CUDA device; set device to auto or cpu, or install torch for CUDA")
    on_cpu = config.device == "cpu" or not torch.cuda.is_available()
    accelerator = Accelerator(cpu=on_cpu, mixed_precision={"fp32": "no", "bf16": "bf16"}[config.precision])
    tell = say if accelerator.is_main_process else _say_nothing
    if on_cpu and os.environ.get("ACCELERATE_USE_FSDP", "false").lower() == "true":
        tell("accelerate does not shard on CPU: every process holds the whole model")
    if is_sharded(accelerator):
        _look_over_sharding(accelerator, config)
    elif accelerator.distributed_type not in _REPLICATED:
        raise ConfigError(f"launched with {accelerator.distributed_type.value}, which is not supported: {_LAUNCH}")
    return accelerator, tell


def _look_over_sharding(accelerator: Any, config: TrainingConfig) -> None:
    """Sharded weights are prepared for what is done with them here. Raises ConfigError for what does not work."""
    if not accelerator.is_fsdp2:
        raise ConfigError("launched with FSDP1: add --fsdp_version 2 to `accelerate launch`")
    if not config.SHARDS:
        raise ConfigError(f"launched with FSDP: rollouts are sampled from whole weights: {_LAUNCH}")
    if config.lora:
        raise ConfigError(f"launched with FSDP: adapters are trained with the whole model in each process: {_LAUNCH}")
    # Every process reads the weights itself: read by the first alone, tied ones come apart.
    accelerator.state.fsdp_plugin.cpu_ram_efficient_loading = False


def open_model(config: TrainingConfig, state: State | None, device: Any) -> tuple[Any, Any]:
    """The model as it is trained, with adapters if there are to be any, and its tokenizer, where `state` stands.

    Raises ConfigError for what cannot be trained.
    """
    weights = state.folder if state and not config.lora else None
    model, tokenizer = load_model(config.model.expanduser(), weights, device=device, attention=config.attention)
    if config.lora:
        add_adapters(model, config.lora, config.seed)
        if state:
            load_adapters(model, state.folder)
    if config.activation_checkpointing:
        model.activation_checkpointing_enable({"use_reentrant": False})
    return model, tokenizer


def open_curves(warehouse: Path) -> Any:
    """The warehouse that curves and rollouts go to, or None when the snapshot lies in no whole warehouse."""
    if not (warehouse / "tables").is_dir():
        return None
    from warehouse.store import Warehouse

    return Warehouse.open(warehouse)


def size_of(model: Any) -> str:
    """How large the model is, and how much of it is trained, for the first line of progress."""
    every = sum(p.numel() for p in model.parameters())
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    return f"{every / 1e6:,.1f}M parameters" + (f", {trained / 1e6:,.2f}M of them trained" if trained < every else "")


def make_optimizer(model: Any, config: TrainingConfig) -> Any:
    """AdamW over what is trained, with weight decay on matrices only."""
    trained = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim >= 2], "weight_decay": config.weight_decay},
        {"params": [p for p in trained if p.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=config.learning_rate, betas=config.betas, fused=True)


def set_rate(optimizer: Any, rate: float) -> None:
    """Sets the learning rate of the next update."""
    for group in optimizer.param_groups:
        group["lr"] = rate


def update(
    session: Session, module: nn.Module, optimizer: Any, losses: Sequence[Callable[[], torch.Tensor]]
) -> tuple[float, float, bool]:
    """One update of the weights: the global batch's loss, the gradient's norm before clipping, whether to stop after.

    `losses` are this process's micro-batches, at least one, as functions whose scalars sum, over all processes, to the
    loss of the step. A loss or gradient that is no finite number changes nothing; `refuse_infinite` tells the user.
    """
    accelerator = session.accelerator
    summed = torch.zeros((), device=accelerator.device)
    for i, forward in enumerate(losses):
        # Gradients travel between processes once per step, with the last micro-batch.
        with nullcontext() if i == len(losses) - 1 else accelerator.no_sync(module):
            loss = forward()
            # Data-parallel wrappers average over processes, the objective is a sum.
            accelerator.backward(loss * accelerator.num_processes)
        summed += loss.detach()
    grad_norm = whole(accelerator.clip_grad_norm_(module.parameters(), session.plan.config.max_grad_norm))
    # All processes have to stop after the same step, whichever got the signal.
    summed, stops = accelerator.reduce(torch.stack([summed, torch.tensor(float(len(session.stop))).to(summed.device)]))
    if torch.isfinite(summed) and torch.isfinite(grad_norm):
        optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return summed.item(), grad_norm.item(), stops.item() > 0


def refuse_infinite(loss: float, grad_norm: float, step: int) -> None:
    """Raises UserError when the step's loss or gradient is no finite number."""
    if not math.isfinite(loss) or not math.isfinite(grad_norm):
        raise UserError(
            f"the loss is {loss} and the gradient's norm {grad_norm} at step {step}: lower learning_rate, "
            "or look for broken weights in the start model"
        )


def code_versions() -> dict[str, str]:
    """What the weights depend on beside settings and rows."""
    packages = ["accelerate", "dataengine", "tokenizers", "torch", "transformers"]
    if "peft" in sys.modules:
        packages.append("peft")
    return {"python": platform.python_version(), **{p: version(p) for p in packages}}


@contextmanager
def stop_after_step() -> Iterator[list[int]]:
    """Collects SIGINT and SIGTERM instead of dying of them; a second Ctrl-C interrupts at once.

    A second SIGTERM does not: on Ctrl-C in a terminal, the program that started this one sends it on top.
    """
    received: list[int] = []

    def receive(number: int, _frame: Any) -> None:
        if number == signal.SIGINT and number in received:
            raise KeyboardInterrupt
        if not received:
            say("stopping after this step; Ctrl-C again stops at once")
        received.append(number)

    before = {number: signal.signal(number, receive) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def say(text: str) -> None:
    """Progress and notes go to stderr."""
    print(text, file=sys.stderr, flush=True)


def _say_nothing(text: str) -> None:
    """What every process but the first has to say."""
