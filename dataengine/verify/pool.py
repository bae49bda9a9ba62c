"""A pool of processes that can be killed: one item that hangs, eats memory or crashes costs only its own answer.

The pool wraps `pebble.ProcessPool` over a fork server, which has imported the named modules once, so that a worker that
was killed is replaced in milliseconds and holds nothing of the calling process (no torch, no open files, no locks).
"""

import contextlib
import importlib
import logging
import math
import os
import pickle
import resource
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError, TimeoutError
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import forkserver, resource_tracker, spawn
from multiprocessing.context import ForkServerContext, ForkServerProcess
from typing import Any, Generic, Literal, TypeVar

from pebble import ProcessExpired, ProcessPool

In = TypeVar("In")
Out = TypeVar("Out")

#: Seconds an item may take before its worker is killed.
DEADLINE = 5.0
#: Bytes of address space of one worker.
MEMORY = 2 << 30
#: Tasks handed to pebble at once: enough to keep the workers busy, few enough to lose little when the pool breaks.
IN_FLIGHT = 256

Failure = Literal["timeout", "crash", "raised"]

# What no comparison of two answers has to do, by the name of CPython's audit event. Some scorers call `eval` on what a
# model wrote; this is a second wall behind the allow-list in front of them, and no sandbox.
_FORBIDDEN = (
    "os.",
    "socket.",
    "subprocess.",
    "shutil.",
    "ctypes.",
    "pty.",
    "ftplib.",
    "http.",
    "urllib.",
    "webbrowser.",
)
_READING = {"os.listdir", "os.scandir", "os.walk", "os.fwalk"}


@dataclass(frozen=True, slots=True)
class Answer(Generic[Out]):
    """What came of one item: a value, or the way it failed. `seconds` is the time inside the worker."""

    value: Out | None = None
    failure: Failure | None = None
    message: str = ""
    seconds: float | None = None


_WORKER = "verifier"
_prepare = spawn.get_preparation_data


def _without_main(name: str) -> dict[str, Any]:
    """What a new process is told of this one; workers hear nothing of the program that was started.

    By default a new process runs that program's file again, up to its `if __name__ == "__main__"`. A script, notebook
    or Streamlit page has none, and would do its whole work again in every worker, or fail there and never be ready.
    """
    return {k: v for k, v in _prepare(name).items() if name != _WORKER or not k.startswith("init_main")}


spawn.get_preparation_data = _without_main


class _Worker(ForkServerProcess):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{**kwargs, "name": _WORKER})


class _Workers(ForkServerContext):
    Process = _Worker


class Pool:
    """Runs a function over items in `workers` processes, each item for `deadline` seconds at most.

    `preload` names modules that workers need; they are imported before the clock of an item starts. Processes start
    with the first call, `close` gives them back, and a later call starts them anew. Safe to call from several threads.
    """

    def __init__(
        self,
        preload: Sequence[str] = (),
        *,
        workers: int | None = None,
        deadline: float = DEADLINE,
        memory: int = MEMORY,
    ) -> None:
        if workers is not None and workers < 1:
            raise ValueError(f"workers is {workers}; it must be at least 1")
        if not (deadline > 0 and math.isfinite(deadline)):
            raise ValueError(f"deadline is {deadline}; it must be above 0 seconds")
        self.preload = tuple(preload)
        self.workers = workers or os.cpu_count() or 1
        self.deadline = deadline
        self.memory = memory
        self._pool: ProcessPool | None = None
        self._lock = threading.Lock()

    def map(self, function: Callable[[In], Out], items: Sequence[In]) -> list[Answer[Out]]:
        """One answer per item, in order. `function` must be importable by name, items and values picklable.

        A worker that was killed from outside, or a pool that broke, costs the item one repetition; then it is a crash.
        """
        answers: dict[int, Answer[Out]] = {}
        tries = dict.fromkeys(range(len(items)), 0)
        waiting = list(tries)
        while waiting:
            batch, waiting = waiting[:IN_FLIGHT], waiting[IN_FLIGHT:]
            again = []
            for i, answer in self._round(function, items, batch):
                tries[i] += 1
                if answer.failure == "crash" and tries[i] < 2:
                    again.append(i)
                else:
                    answers[i] = answer
            waiting = again + waiting
        return [answers[i] for i in range(len(items))]

    def close(self) -> None:
        """Ends the workers, at once."""
        with self._lock:
            pool, self._pool = self._pool, None
        if pool is not None:
            pool.stop()
            pool.join()

    def __enter__(self) -> "Pool":
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _round(
        self, function: Callable[[In], Out], items: Sequence[In], batch: Sequence[int]
    ) -> Iterator[tuple[int, Answer[Out]]]:
        futures: list[tuple[int, Any]] = []
        pool = self._running()
        try:
            for i in batch:
                task = (function, items[i], self.deadline)
                futures.append((i, pool.schedule(_timed, args=task, timeout=self.deadline)))
        except (RuntimeError, BrokenProcessPool):
            self._discard(pool)
        for i in batch[len(futures) :]:
            yield i, Answer(failure="crash", message="the pool of workers broke")
        try:
            for i, future in futures:
                yield i, self._outcome(pool, future)
        except BaseException:
            # Interrupted: nobody will read the rest, and a busy worker would go on until its deadline.
            for _, future in futures:
                future.cancel()
            raise

    def _outcome(self, pool: ProcessPool, future: Any) -> Answer[Out]:
        try:
            value, message, seconds = future.result()
        except TimeoutError:
            return Answer(failure="timeout", message=f"more than {self.deadline:g} s", seconds=self.deadline)
        except ProcessExpired as e:
            return Answer(failure="crash", message=f"the worker ended with exit code {e.exitcode}")
        except (BrokenProcessPool, CancelledError):
            self._discard(pool)
            return Answer(failure="crash", message="the pool of workers broke")
        except (pickle.PicklingError, TypeError, AttributeError) as e:
            return Answer(failure="raised", message=f"{type(e).__name__}: {e}"[:300])
        if message:
            return Answer(failure="raised", message=message, seconds=seconds)
        return Answer(value=value, seconds=seconds)

    def _running(self) -> ProcessPool:
        with self._lock:
            # An idle worker that is killed from outside breaks pebble's pool: start another one then.
            if self._pool is not None and not self._pool.active:
                broken, self._pool = self._pool, None
                _end(broken)
            if self._pool is None:
                context = _Workers()
                # One fork server serves the whole process: the first pool's modules are the ones it holds ready.
                context.set_forkserver_preload([*self.preload, __name__])
                resource_tracker.ensure_running()  # it would unblock the signal below
                with _uninterrupted():
                    forkserver.ensure_running()
                    self._pool = ProcessPool(
                        max_workers=self.workers,
                        initializer=_start_worker,
                        initargs=(self.preload, self.memory),
                        context=context,
                    )
            return self._pool

    def _discard(self, pool: ProcessPool) -> None:
        with self._lock:
            if self._pool is pool:
                self._pool = None
            else:
                return
        _end(pool)


def _end(pool: ProcessPool) -> None:
    with contextlib.suppress(RuntimeError, BrokenProcessPool):
        pool.stop()
        pool.join()


@contextlib.contextmanager
def _uninterrupted() -> Iterator[None]:
    """Processes started in here, and theirs, never see Ctrl-C, which belongs to the program that waits for them."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _start_worker(preload: Sequence[str], memory: int) -> None:
    # pebble asks with SIGTERM first and waits 3 s: a Python handler would not run inside one long C call.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    # What parsers grumble about one answer is no news for the terminal.
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    for name in preload:
        importlib.import_module(name)
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    memory = memory if hard == resource.RLIM_INFINITY else min(memory, hard)
    resource.setrlimit(resource.RLIMIT_AS, (memory, hard))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    sys.dont_write_bytecode = True
    sys.addaudithook(_audit)


def _audit(event: str, args: tuple[Any, ...]) -> None:
    if event == "open":
        mode = args[1]
        flags = args[2] if isinstance(args[2], int) else 0
        if (isinstance(mode, str) and set(mode) & set("wax+")) or flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            raise PermissionError("a worker may not write files")
    elif event.startswith(_FORBIDDEN) and event not in _READING:
        raise PermissionError(f"a worker may not do {event}")


def _timed(function: Callable[[In], Out], item: In, deadline: float) -> tuple[Out | None, str, float]:
    # Backstop for the case that the calling process was killed, and nobody is left to keep the deadline.
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, 2 * deadline + 5)
    start = time.perf_counter()
    try:
        return function(item), "", time.perf_counter() - start
    except BaseException as e:  # noqa: BLE001  (whatever a scorer raises on model text is this item's outcome)
        return None, f"{type(e).__name__}: {e}"[:300], time.perf_counter() - start
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
