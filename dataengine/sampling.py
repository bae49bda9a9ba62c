"""One sampling step: prompts into the warehouse, missing attempts asked for, missing verdicts given."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, replace

from dataengine.checking import (
    Checked,
    current_prompts,
    give_verdicts,
    load_checks,
    pending,
    run_checks,
    sample_of,
)
from dataengine.checks import Check, SetCheck
from dataengine.generate import Asking, Sampler, Wanted, missing, plan
from dataengine.policy import Policy
from dataengine.progress import Progress
from dataengine.rewrites.examples import rewriting_of
from dataengine.rewrites.parents import read_parents
from dataengine.rewrites.rewriting import Parent
from dataengine.runlog import RunLog
from dataengine.sources.build import PromptSet
from schemas.errors import ConfigError
from schemas.recipe import CheckSpec, EmbeddedEngine, EndpointEngine, EvaluateStep, GenerateStep, RewriteStep
from schemas.records import Prompt, Stage, Trajectory
from warehouse.store import Warehouse

# Samples whose prompts are written together: all prompts at once would be in memory twice, as rows of Arrow too.
_WINDOW = 8192
# The same where each sample comes with the reply that it rewrites.
_REWRITES = 1024
# Batches of replies that may wait for their checks.
_BEHIND = 64


def asking_of(step: GenerateStep | EvaluateStep, policy: Policy, prompts: PromptSet) -> Asking:
    """How a recipe's step asks. Raises ConfigError when it wants what its prompts or its engine do not have."""
    count = step.demonstrations if isinstance(step, GenerateStep) else 0
    prefill = step.prefill if isinstance(step, GenerateStep) else ""
    guided = step.guided if isinstance(step, GenerateStep) else None
    shown = {}
    if count:
        for source in {p.source for p in prompts.prompts}:
            examples = prompts.demonstrations.get(source, [])
            if len(examples) < count:
                raise ConfigError(f"{source}: {len(examples)} demonstrations, the step wants {count}; write more")
            shown[source] = examples[:count]
    _refuse_prefill(prefill, policy)
    stage: Stage = step.stage if isinstance(step, GenerateStep) else "eval"
    return Asking(
        stage=stage,
        policy=policy.name,
        engine=policy.engine.kind,
        samples=step.samples,
        sampling=step.sampling,
        max_tokens=step.max_tokens,
        template=step.template,
        demonstrations=shown,
        prefill=prefill,
        guided=guided,
        send_seed=_sends_seed(policy),
    )


def asking_of_rewrite(step: RewriteStep, policy: Policy) -> Asking:
    """How a rewrite step asks. Raises ConfigError as `asking_of`, and for a prompt file or examples that are none."""
    _refuse_prefill(step.prefill, policy)
    return Asking(
        stage=step.stage,
        policy=policy.name,
        engine=policy.engine.kind,
        samples=step.samples,
        sampling=step.sampling,
        max_tokens=step.max_tokens,
        template="plain",
        prefill=step.prefill,
        send_seed=_sends_seed(policy),
        rewriting=rewriting_of(step),
    )


def _refuse_prefill(prefill: str, policy: Policy) -> None:
    if prefill and isinstance(policy.engine, EndpointEngine) and not policy.engine.prefill:
        raise ConfigError(f"{policy.engine.urls[0]}: cannot continue a started reply; leave `prefill` out")


def _sends_seed(policy: Policy) -> bool:
    return isinstance(policy.engine, EmbeddedEngine) or policy.engine.send_seed


@dataclass
class Sampled:
    """What a sampling step did."""

    wanted: list[Wanted]
    asked: int
    failed: int
    checked: Checked


def sample_and_check(
    warehouse: Warehouse,
    run: RunLog,
    label: str,
    prompts: PromptSet,
    policy: Policy,
    asking: Asking,
    specs: list[CheckSpec],
    wanted: list[Wanted] | None = None,
) -> Sampled:
    """Does what is left of a step: rows that are there already cost a look, no request and no check.

    The step wants every sample of its prompts, or the rewrites in `wanted`.
    """
    wanted = plan(prompts.prompts, asking) if wanted is None else wanted
    todo = missing(warehouse.path, wanted, asking.max_tokens)
    ids = [w.trajectory_id for w in wanted]
    errors: dict[str, int] = {}
    checked = Checked()
    checks = load_checks(specs)
    try:
        if todo:
            # What compares the replies with each other waits until all are there.
            beside = [c for c in checks if not isinstance(c, SetCheck)]
            step = _Step(warehouse, run, label, prompts, asking, beside)
            errors = asyncio.run(step.sample(policy, todo))
            checked = step.checked
        elif warehouse.append("prompts", prompts.prompts).added:
            run.begin()
        # Whatever was not checked beside the sampling: replies of earlier runs, a new check, a corrected reference.
        if pending(warehouse, checks, ids):
            run.begin()
            checked.merge(run_checks(warehouse, run.run_id, checks, ids, label))
    finally:
        for check in checks:
            check.close()
    return Sampled(wanted, len(todo), sum(errors.values()), checked)


class _Step:
    """Samples and, beside that, checks what came back, so that the yield is known while a run goes on."""

    def __init__(
        self,
        warehouse: Warehouse,
        run: RunLog,
        label: str,
        prompts: PromptSet,
        asking: Asking,
        checks: Sequence[Check],
    ) -> None:
        self._warehouse = warehouse
        self._run = run
        self._label = label
        self._prompts = prompts
        self._asking = asking
        self._checks = checks
        self._parents: dict[str, Parent] = {}
        self.checked = Checked()

    async def sample(self, policy: Policy, todo: list[Wanted]) -> dict[str, int]:
        """Asks for `todo`; how many requests failed, by kind."""
        warehouse, run = self._warehouse, self._run
        log = warehouse.path / "logs" / f"{run.run_id}-{self._asking.stage}.log"
        async with policy.fleet(log) as fleet:
            # Nothing is written before there is somebody to ask.
            run.begin()
            asked_for = {(w.prompt.prompt_id, w.prompt.source) for w in todo}
            others = (p for p in self._prompts.prompts if (p.prompt_id, p.source) not in asked_for)
            warehouse.append("prompts", others)
            current: dict[str, Prompt] = {}
            written: asyncio.Queue[list[Trajectory] | None] = asyncio.Queue(_BEHIND)
            sampler = Sampler(
                warehouse, fleet, self._asking, run.run_id, lambda rows: _offer(written, rows) if self._checks else None
            )
            with Progress(self._label, len(todo)) as progress:
                checking = asyncio.create_task(self._check(written, current, progress))
                try:
                    await sampler.run(self._windows(todo, current), len(todo), progress)
                except BaseException:
                    while not written.empty():  # the next run checks them
                        written.get_nowait()
                    raise
                finally:
                    await written.put(None)
                    await checking
        return sampler.errors

    async def _windows(self, todo: Sequence[Wanted], current: dict[str, Prompt]) -> AsyncIterator[Sequence[Wanted]]:
        """`todo` in parts whose prompts are in the warehouse, and for the checks in `current`, as they stand there."""
        size = _WINDOW if self._asking.rewriting is None else _REWRITES
        before: dict[str, Parent] = {}
        for start in range(0, len(todo), size):
            window = todo[start : start + size]
            prompts = {w.prompt.prompt_id: w.prompt for w in window}
            await asyncio.to_thread(self._warehouse.append, "prompts", prompts.values())
            if self._checks:
                current |= await asyncio.to_thread(current_prompts, self._warehouse, prompts.values())
            if self._asking.rewriting is not None:
                parents = await asyncio.to_thread(self._read_parents, window)
                # Those of the window before are still being rewritten.
                self._parents, before = before | parents, parents
                window = [replace(w, parent=parents[str(w.parent_id)]) for w in window]
            yield window

    def _read_parents(self, window: Sequence[Wanted]) -> dict[str, Parent]:
        ids = {str(w.parent_id) for w in window}
        return {p.trajectory_id: p for p in read_parents(self._warehouse.path, list(ids))}

    async def _check(
        self, written: "asyncio.Queue[list[Trajectory] | None]", current: Mapping[str, Prompt], progress: Progress
    ) -> None:
        while (rows := await written.get()) is not None:
            # A reply whose parent is held no more is checked after the sampling.
            known = (r for r in rows if r.error is None and (r.parent_id is None or r.parent_id in self._parents))
            samples = [sample_of(r, current[r.prompt_id], self._parents.get(r.parent_id or "")) for r in known]
            kept = dict.fromkeys((s.trajectory_id for s in samples), True)
            for check in self._checks:
                concerned = [s for s in samples if check.applies(s)]
                verdicts = await asyncio.to_thread(
                    give_verdicts, self._warehouse, self._run.run_id, check, concerned, self.checked
                )
                for verdict in verdicts:
                    told = verdict.outcome == "pass" or (check.kind != "verifier" and verdict.outcome == "undecided")
                    kept[verdict.trajectory_id] &= told
            for s in samples:
                progress.judged(s.domain, kept[s.trajectory_id])


def _offer(queue: "asyncio.Queue[list[Trajectory] | None]", rows: list[Trajectory]) -> None:
    # Checks that cannot keep up leave the rest for after the sampling, rather than rows in memory.
    with contextlib.suppress(asyncio.QueueFull):
        queue.put_nowait(rows)
