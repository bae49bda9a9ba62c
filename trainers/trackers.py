"""Trackers: what is measured at every step, sent to TensorBoard, W&B or trackio beside metrics.jsonl."""

import importlib
import importlib.util
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from schemas.errors import ConfigError
from trainers.checkpoint import Plan

Say = Callable[[str], None]


@dataclass
class Trackers:
    """Those of one training. One that fails is told of once and left alone: no training stops for its tracker."""

    open: dict[str, Any]
    say: Say

    def begin(self, name: str, plan: Plan, first: int) -> None:
        """Opens the tracker of that name."""

        def opened() -> None:
            self.open[name] = _KINDS[name](plan, first)

        self._tried(name, opened)

    def log(self, line: dict[str, Any]) -> None:
        """Sends a line of metrics.jsonl: its numbers, under their names, at its step."""
        numbers = {n: v for n, v in line.items() if n != "step" and isinstance(v, (int, float))}
        for name, tracker in list(self.open.items()):
            if not self._tried(name, partial(tracker.log, numbers, line["step"])):
                del self.open[name]

    def close(self) -> None:
        """Ends them; what was sent is kept."""
        for name, tracker in self.open.items():
            self._tried(name, tracker.close)

    def _tried(self, name: str, action: Callable[[], Any]) -> bool:
        try:
            action()
        except Exception as e:  # noqa: BLE001  # whatever a network or another's package may raise
            self.say(
                f"note: the tracker {name} failed and gets no more ({type(e).__name__}: {' '.join(str(e).split())})"
            )
            return False
        return True


def refuse_missing(names: Sequence[str]) -> None:
    """Raises ConfigError, with the command that helps, for a tracker whose package is not installed."""
    for name in names:
        if importlib.util.find_spec(name) is None:
            raise ConfigError(f"trackers: {name} is not installed: pip install {name}")


@contextmanager
def open_trackers(plan: Plan, first: int, say: Say) -> Iterator[Trackers]:
    """The trackers that the plan's settings name, until the training ends; `first` is the step before the next one.

    A run has the checkpoint's name and the training key as its id, so that a resumed training goes on in it.
    """
    trackers = Trackers({}, say)
    for name in plan.config.trackers:
        trackers.begin(name, plan, first)
    try:
        yield trackers
    finally:
        trackers.close()


class _TensorBoard:
    def __init__(self, plan: Plan, first: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        folder = plan.config.output.expanduser() / "tensorboard" / plan.folder.name
        self._writer: Any = SummaryWriter(str(folder), purge_step=first + 1)

    def log(self, numbers: dict[str, float], step: int) -> None:
        for name, value in numbers.items():
            self._writer.add_scalar(name, value, step)
        self._writer.flush()

    def close(self) -> None:
        self._writer.close()


class _Wandb:
    """W&B, and trackio, which has the same calls."""

    package = "wandb"

    def __init__(self, plan: Plan, first: int) -> None:
        module = importlib.import_module(self.package)
        settings = plan.config.model_dump(mode="json")
        self._run = module.init(project=plan.config.name, name=plan.folder.name, config=settings, **self._again(plan))
        self._module = module

    def _again(self, plan: Plan) -> dict[str, str]:
        return {"id": plan.key[:32], "resume": "allow"}

    def log(self, numbers: dict[str, float], step: int) -> None:
        self._module.log(numbers, step=step)

    def close(self) -> None:
        self._module.finish()


class _Trackio(_Wandb):
    package = "trackio"

    def _again(self, plan: Plan) -> dict[str, str]:
        return {"resume": "allow"}  # a run is known by its name


_KINDS = {"tensorboard": _TensorBoard, "wandb": _Wandb, "trackio": _Trackio}
