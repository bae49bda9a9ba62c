"""Sampling: the attempts that a step wants and that the warehouse does not hold yet."""

import asyncio
import gc
import random
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import duckdb

from dataengine.engines.client import ChatReply, ChatRequest
from dataengine.engines.fleet import Fleet
from dataengine.progress import Progress
from dataengine.prompting import Parts, assemble, render, system_prompt, take_apart
from dataengine.rewrites.rewriting import Parent, Rewriting
from schemas.errors import EngineError
from schemas.keys import canonical_json, key
from schemas.recipe import Demonstration, Guided, Sampling
from schemas.records import Prompt, Stage, Trajectory, now
from warehouse.connect import connect
from warehouse.store import Warehouse

# Replies are committed in batches of this many, or what there is after this many seconds: what a kill can cost. From a
# fast server a batch is larger, up to the second figure, so that writing takes no more than a tenth of the time.
_BATCH, _MOST_BATCH = 128, 4096
_BATCH_SECONDS = 3.0
_WRITING = 0.1


@dataclass(frozen=True)
class Asking:
    """How a step puts prompts to a policy. Everything here that changes an answer is part of a trajectory's key."""

    stage: Stage
    policy: str
    engine: str
    samples: int
    sampling: Sampling
    max_tokens: int
    template: str
    demonstrations: dict[str, list[Demonstration]] = field(default_factory=dict)
    """The worked examples that go before a question, by the prompt's source."""
    prefill: str = ""
    guided: Guided | None = None
    send_seed: bool = True
    rewriting: Rewriting | None = None
    """How replies are rewritten, where that is what is asked for: then every sample has a parent, and no template."""

    def render(self, prompt: Prompt, parent: Parent | None = None) -> list[dict[str, str]]:
        """The conversation as it is sent."""
        if self.rewriting is None:
            return render(prompt.messages, self.template, self.demonstrations.get(prompt.source, []), self.prefill)
        assert parent is not None
        started = [{"role": "assistant", "content": self.prefill}] if self.prefill else []
        return self.rewriting.messages(prompt.messages, prompt.language, parent) + started

    @cached_property
    def system(self) -> str | None:
        """The system prompt."""
        return system_prompt(self.template) if self.rewriting is None else self.rewriting.system

    def reply(self, reply: ChatReply, parent: Parent | None) -> tuple[str, Parts]:
        """A reply's text with its parts."""
        said = self.prefill + (self.guided.value(reply.text) if self.guided else reply.text)
        if self.rewriting is not None:
            assert parent is not None
            return self.rewriting.child(parent, said)
        if reply.reasoning is not None:
            # The server split it off; put it back, so that every reply has one form.
            said = assemble(reply.reasoning, reply.text)
        return said, take_apart(said)

    @cached_property
    def _drawn(self) -> list[dict[str, Any]]:
        more: dict[str, Any] = {} if self.guided is None else {"guided": self.guided.model_dump(exclude_none=True)}
        if self.rewriting is not None:
            more["rewrite"] = self.rewriting.version
        return [self.sampling.of(index) | more for index in range(self.samples)]

    @cached_property
    def _drawn_as_json(self) -> list[str]:
        # A file's name changes no answer, so it is in the row and not in the key.
        named = {} if self.rewriting is None else {"rewrite": self.rewriting.named}
        return [canonical_json(drawn | named) for drawn in self._drawn]

    def drawn(self, index: int) -> dict[str, Any]:
        """The sampling parameters of a prompt's sample number `index`, as its key holds them."""
        return self._drawn[index]

    def drawn_as_json(self, index: int) -> str:
        """The same, as its row holds them."""
        return self._drawn_as_json[index]


@dataclass(frozen=True, slots=True)
class Wanted:
    """One sample of one prompt. What is sent is rendered when it is: a run may want millions.

    A sample that rewrites another has its id in `parent_id`; `parent` itself is there when it is about to be asked for.
    """

    trajectory_id: str
    prompt: Prompt
    sample_index: int
    rendered_key: str
    parent_id: str | None = None
    parent: Parent | None = None


def plan(prompts: Iterable[Prompt], asking: Asking) -> list[Wanted]:
    """Every sample that the step wants, once, those of a prompt together, prompts with the same examples together."""
    wanted: dict[str, Wanted] = {}
    for prompt in prompts:
        for one in _samples(prompt, asking):
            # Two sources may hold the same prompt.
            wanted.setdefault(one.trajectory_id, one)
    return list(wanted.values())


def plan_rewrites(parents: Iterable[Parent], prompts: Mapping[str, Prompt], asking: Asking) -> list[Wanted]:
    """Every rewrite that the step wants, those of a prompt together; `prompts` by id. The parents are not held."""
    wanted = [one for parent in parents for one in _samples(prompts[parent.prompt_id], asking, parent)]
    return sorted(wanted, key=lambda w: (w.prompt.prompt_id, w.parent_id, w.sample_index))


def _samples(prompt: Prompt, asking: Asking, parent: Parent | None = None) -> Iterator[Wanted]:
    rendered_key = key(asking.render(prompt, parent))
    parent_id = None if parent is None else parent.trajectory_id
    for index in range(asking.samples):
        drawn = asking.drawn(index)
        trajectory_id = key(prompt.prompt_id, asking.stage, rendered_key, asking.policy, drawn, index, parent_id)
        if asking.stage == "eval":
            # An evaluation with another budget is another evaluation: yesterday's score must not change.
            trajectory_id = key(trajectory_id, asking.max_tokens)
        yield Wanted(trajectory_id, prompt, index, rendered_key, parent_id)


def missing(path: Path, wanted: Sequence[Wanted], max_tokens: int) -> list[Wanted]:
    """Those of `wanted` that have no reply yet, failed, or were cut by a smaller budget than `max_tokens`."""
    with connect(path, tables=("trajectories",)) as connection:
        connection.execute("CREATE TABLE wanted (trajectory_id VARCHAR)")
        insert_ids(connection, [w.trajectory_id for w in wanted])
        done = {
            row[0]
            for row in connection.execute(
                "SELECT trajectory_id FROM trajectories SEMI JOIN wanted USING (trajectory_id) "
                "WHERE error IS NULL AND (finish_reason IS DISTINCT FROM 'length' OR max_tokens >= ?)",
                [max_tokens],
            ).fetchall()
        }
    return [w for w in wanted if w.trajectory_id not in done]


def insert_ids(connection: duckdb.DuckDBPyConnection, ids: Sequence[str]) -> None:
    """Fills the temporary table `wanted` of a DuckDB connection."""
    connection.execute("INSERT INTO wanted SELECT unnest(?::VARCHAR[])", [list(ids)])


class Sampler:
    """Asks for what is missing and writes each reply, or its failure, as a row; `written` hears of those committed."""

    def __init__(
        self,
        warehouse: Warehouse,
        fleet: Fleet,
        asking: Asking,
        run_id: str,
        written: Callable[[list[Trajectory]], None] = lambda rows: None,
    ) -> None:
        self._warehouse = warehouse
        self._written = written
        self._fleet = fleet
        self._asking = asking
        self._run_id = run_id
        self.errors: dict[str, int] = {}

    async def run(self, windows: AsyncIterator[Sequence[Wanted]], count: int, progress: Progress) -> None:
        """Samples what `windows` hand out, `count` in all; the next window is made ready while one is asked for.

        Raises EngineError when the server cannot be reached any more; what came before is kept.
        """
        finished: asyncio.Queue[Trajectory | None] = asyncio.Queue()
        writer = asyncio.create_task(self._write(finished))
        feed = _Feed(windows)
        most = self._fleet.most * len(self._fleet.clients)
        workers = [asyncio.create_task(self._work(feed, finished, progress)) for _ in range(min(most, count))]
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
        if self._fleet.stopped:
            raise EngineError(
                f"{', '.join(c.url for c in self._fleet.clients)}: {self._fleet.stopped}; what was asked is recorded: "
                "mend the server and run the same command again"
            )

    async def _work(self, feed: "_Feed", finished: "asyncio.Queue[Trajectory | None]", progress: Progress) -> None:
        async for wanted in feed:
            if self._fleet.stopped:
                return
            progress.started()
            reply = await self._fleet.complete(self._request(wanted))
            self._note(reply)
            progress.finished(reply.completion_tokens or 0, reply.error)
            finished.put_nowait(self._row(wanted, reply))

    def _note(self, reply: ChatReply) -> None:
        if reply.error is not None:
            kind = reply.error.split(":")[0]
            self.errors[kind] = self.errors.get(kind, 0) + 1

    def _request(self, wanted: Wanted) -> ChatRequest:
        asking = self._asking
        drawn = asking.drawn(wanted.sample_index)
        return ChatRequest(
            messages=asking.render(wanted.prompt, wanted.parent),
            max_tokens=asking.max_tokens,
            temperature=drawn["temperature"],
            top_p=drawn["top_p"],
            # From the trajectory's key: every sample its own, the same in every run.
            seed=int(wanted.trajectory_id[:8], 16) & 0x7FFFFFFF if asking.send_seed else None,
            prefilled=bool(asking.prefill),
            guided=asking.guided,
            group=wanted.rendered_key,
        )

    def _row(self, wanted: Wanted, reply: ChatReply) -> Trajectory:
        asking = self._asking
        text, parts = "", Parts(None, None)
        if reply.error is None:
            text, parts = asking.reply(reply, wanted.parent)
        return Trajectory(
            trajectory_id=wanted.trajectory_id,
            prompt_id=wanted.prompt.prompt_id,
            stage=asking.stage,
            policy=asking.policy,
            engine=asking.engine,
            sampling=asking.drawn_as_json(wanted.sample_index),
            sample_index=wanted.sample_index,
            rendered_key=wanted.rendered_key,
            parent_id=wanted.parent_id,
            system_prompt=asking.system,
            reasoning=parts.reasoning,
            answer=parts.answer,
            text=text,
            finish_reason=reply.finish_reason,  # type: ignore[arg-type]  # checked by the record
            prompt_tokens=reply.prompt_tokens,
            completion_tokens=reply.completion_tokens,
            max_tokens=asking.max_tokens,
            logprob_sum=reply.logprob_sum,
            seconds=round(reply.seconds, 4),
            error=reply.error,
            run_id=self._run_id,
            created_at=now(),
        )

    async def _write(self, finished: "asyncio.Queue[Trajectory | None]") -> None:
        async for batch in _batches(finished):
            done = await asyncio.to_thread(self._warehouse.append, "trajectories", batch)
            self._written([row for row in done.added if isinstance(row, Trajectory)])


class _Feed:
    """Hands out the samples of one window after the other to whoever asks next."""

    def __init__(self, windows: AsyncIterator[Sequence[Wanted]]) -> None:
        self._windows = windows
        self._ready: deque[Wanted] = deque()
        self._next: asyncio.Task[Sequence[Wanted] | None] | None = self._fetch()

    def _fetch(self) -> "asyncio.Task[Sequence[Wanted] | None]":
        async def fetch() -> Sequence[Wanted] | None:
            return await anext(self._windows, None)

        return asyncio.create_task(fetch())

    def __aiter__(self) -> "_Feed":
        return self

    async def __anext__(self) -> Wanted:
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


async def _batches(queue: "asyncio.Queue[Trajectory | None]") -> AsyncIterator[list[Trajectory]]:
    """Rows to commit together; the caller writes a batch before it takes the next."""
    ended = False
    loop = asyncio.get_running_loop()
    rest = 0.0  # when writing again keeps to its share of the time
    while not ended:
        batch: list[Trajectory] = []
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


def run_id() -> str:
    """A name for a run: its start and a random part. It is never part of a key."""
    return f"{now():%Y%m%d-%H%M%S}-{random.randrange(16**6):06x}"
