"""Sampling: the attempts that a step wants and that the warehouse does not hold yet."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import duckdb

from dataengine.engines.client import ChatReply, ChatRequest
from dataengine.engines.fleet import Fleet
from dataengine.in_flight import ask_all
from dataengine.progress import Progress
from dataengine.prompting import Parts, assemble, render, system_prompt, take_apart
from dataengine.rewrites.rewriting import Parent, Rewriting
from schemas.keys import canonical_json, key, seed_of, trajectory_key
from schemas.recipe import Demonstration, Guided, Sampling
from schemas.records import Prompt, Stage, Trajectory, now
from warehouse.connect import connect
from warehouse.store import Warehouse


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
        # In the row, not in the key: a file's name changes no answer, and the key holds what is rendered as it is sent.
        named: dict[str, Any] = {} if self.rewriting is None else {"rewrite": self.rewriting.named}
        if self.stage == "eval":
            named |= {"template": self.template, **self._shown}
        return [canonical_json(drawn | named) for drawn in self._drawn]

    @property
    def _shown(self) -> dict[str, Any]:
        """How many worked examples go before each question, and which, so that SQL can tell evaluations apart."""
        shots = max(map(len, self.demonstrations.values()), default=0)
        if not shots:
            return {"shots": 0}
        shown = {source: [d.model_dump() for d in examples] for source, examples in self.demonstrations.items()}
        return {"shots": shots, "examples": key(shown)[:8]}

    def drawn(self, index: int) -> dict[str, Any]:
        """The sampling parameters of a prompt's sample number `index`, as its key holds them."""
        return self._drawn[index]

    def columns(self, wanted: "Wanted") -> dict[str, Any]:
        """What the row of a sample holds before there is a reply."""
        return {
            "trajectory_id": wanted.trajectory_id,
            "prompt_id": wanted.prompt.prompt_id,
            "stage": self.stage,
            "policy": self.policy,
            "engine": self.engine,
            "sampling": self.drawn_as_json(wanted.sample_index),
            "sample_index": wanted.sample_index,
            "rendered_key": wanted.rendered_key,
            "parent_id": wanted.parent_id,
            "system_prompt": self.system,
            "max_tokens": self.max_tokens,
        }

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
        trajectory_id = trajectory_key(
            prompt.prompt_id,
            asking.stage,
            rendered_key,
            asking.policy,
            drawn,
            index,
            parent_id,
            max_tokens=asking.max_tokens,
        )
        yield Wanted(trajectory_id, prompt, index, rendered_key, parent_id)


def missing(path: Path, wanted: Sequence[Wanted], max_tokens: int) -> list[Wanted]:
    """Those of `wanted` that have no reply yet, failed, or were cut by a smaller budget than `max_tokens`."""
    with connect(path, only=("trajectories",)) as connection:
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
        """Samples what `windows` hand out, `count` in all; see `ask_all`."""
        await ask_all(windows, count, [self._fleet], partial(self._ask, progress), self._write)

    async def _ask(self, progress: Progress, wanted: Wanted) -> Trajectory:
        progress.started()
        reply = await self._fleet.complete(self._request(wanted))
        self._note(reply)
        progress.finished(reply.completion_tokens or 0, reply.error)
        return self._row(wanted, reply)

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
            seed=seed_of(wanted.trajectory_id) if asking.send_seed else None,
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
            **asking.columns(wanted),
            reasoning=parts.reasoning,
            answer=parts.answer,
            text=text,
            finish_reason=reply.finish_reason,  # type: ignore[arg-type]  # checked by the record
            prompt_tokens=reply.prompt_tokens,
            completion_tokens=reply.completion_tokens,
            logprob_sum=reply.logprob_sum,
            seconds=round(reply.seconds, 4),
            error=reply.error,
            run_id=self._run_id,
            created_at=now(),
        )

    async def _write(self, batch: list[Trajectory]) -> None:
        done = await asyncio.to_thread(self._warehouse.append, "trajectories", batch)
        self._written([row for row in done.added if isinstance(row, Trajectory)])


def run_id() -> str:
    """A name for a run: its start and a random part. It is never part of a key."""
    return f"{now():%Y%m%d-%H%M%S}-{random.randrange(16**6):06x}"
