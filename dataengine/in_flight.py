"""Many requests at once, their rows committed in batches as they come: what sampling and judging have in common."""

import asyncio
import gc
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from dataengine.engines.fleet import Fleet
from schemas.errors import EngineError

# Rows are committed in batches of this many, or what there is after this many seconds: what a kill can cost. From a
# fast server a batch is larger, up to the second figure, so that writing takes no more than a tenth of the time.
_BATCH, _MOST_BATCH = 128, 4096
_BATCH_SECONDS = 3.0
_WRITING = 0.1

T = TypeVar("T")
R = TypeVar("R")


async def ask_all(
    windows: AsyncIterator[Sequence[T]],
    count: int,
    fleets: Sequence[Fleet],
    ask: Callable[[T], Awaitable[R | None]],
    write: Callable[[list[R]], Awaitable[None]],
) -> None:
    """Asks for what `windows` hand out, `count` in all; the next window is made ready while one is asked for.

    `ask` makes the row of one item, or None for one that is not to be written; as many run at once as the largest of
    the `fleets` takes requests. `write` commits a batch of rows. Raises EngineError when a fleet's servers cannot be
    reached any more; what came before is kept.
    """
    finished: asyncio.Queue[R | None] = asyncio.Queue()
    writer = asyncio.create_task(_write(finished, write))
    feed = _Feed(windows)
    most = max(fleet.most * len(fleet.clients) for fleet in fleets)
    workers = [asyncio.create_task(_work(feed, fleets, ask, finished)) for _ in range(min(most, count))]
    # What is here now stays until the end: looked through again and again it would cost a tenth of the speed.
    gc.freeze()
    try:
        await _all_or_first_failure([*workers, writer], len(workers))
    finally:
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, feed.close(), return_exceptions=True)
        # Also after Ctrl-C: what was answered is written before the run ends.
        finished.put_nowait(None)
        gc.unfreeze()
        await writer
    for fleet in fleets:
        if fleet.stopped:
            raise EngineError(
                f"{', '.join(c.url for c in fleet.clients)}: {fleet.stopped}; what was asked is recorded: "
                "mend the server and run the same command again"
            )


async def _work(
    feed: "_Feed[T]",
    fleets: Sequence[Fleet],
    ask: Callable[[T], Awaitable[R | None]],
    finished: "asyncio.Queue[R | None]",
) -> None:
    async for item in feed:
        if any(fleet.stopped for fleet in fleets):
            return
        if (row := await ask(item)) is not None:
            finished.put_nowait(row)


async def _write(finished: "asyncio.Queue[R | None]", write: Callable[[list[R]], Awaitable[None]]) -> None:
    async for batch in _batches(finished):
        await write(batch)


class _Feed(Generic[T]):
    """Hands out the items of one window after the other to whoever asks next."""

    def __init__(self, windows: AsyncIterator[Sequence[T]]) -> None:
        self._windows = windows
        self._ready: deque[T] = deque()
        self._next: asyncio.Task[Sequence[T] | None] | None = self._fetch()

    def _fetch(self) -> "asyncio.Task[Sequence[T] | None]":
        async def fetch() -> Sequence[T] | None:
            return await anext(self._windows, None)

        return asyncio.create_task(fetch())

    def __aiter__(self) -> "_Feed[T]":
        return self

    async def __anext__(self) -> T:
        while not self._ready:
            task = self._next
            if task is None:
                raise StopAsyncIteration
            # Shielded: a worker that is cancelled must not cancel what the others wait for.
            window = await asyncio.shield(task)
            if self._next is task:  # the first of those who waited
                self._ready.extend(window or ())
                self._next = None if window is None else self._fetch()
        return self._ready.popleft()

    async def close(self) -> None:
        """Ends the fetching, whatever it is at."""
        if self._next is not None:
            self._next.cancel()
            await asyncio.gather(self._next, return_exceptions=True)


async def _all_or_first_failure(tasks: list["asyncio.Task[None]"], workers: int) -> None:
    """Waits until the first `workers` tasks are done, or any task failed."""
    pending = set(tasks[:workers])
    watched = set(tasks)
    while pending:
        done, watched = await asyncio.wait(watched, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
        pending -= done


async def _batches(queue: "asyncio.Queue[R | None]") -> AsyncIterator[list[R]]:
    """Rows to commit together; the caller writes a batch before it takes the next."""
    ended = False
    loop = asyncio.get_running_loop()
    rest = 0.0  # when writing again keeps to its share of the time
    while not ended:
        batch: list[R] = []
        deadline = None
        while not ended and len(batch) < _MOST_BATCH:
            if queue.empty():
                time = loop.time()
                if deadline is not None and time >= (rest if len(batch) >= _BATCH else deadline):
                    break
                until: float | None = min(deadline, rest) if deadline and len(batch) >= _BATCH else deadline
                try:
                    item = await asyncio.wait_for(queue.get(), until and max(0.01, until - time))
                except TimeoutError:
                    continue
            else:
                item = queue.get_nowait()
            if item is None:
                ended = True
            else:
                batch.append(item)
                deadline = deadline or loop.time() + _BATCH_SECONDS
        if batch:
            began = loop.time()
            yield batch
            took = loop.time() - began
            rest = loop.time() + took * (1 / _WRITING - 1)
