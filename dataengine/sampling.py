"""One sampling step: prompts into the warehouse, missing attempts asked for, missing verdicts given."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

from dataengine.checking import Checked, pending, run_checks
from dataengine.engines.client import ChatClient
from dataengine.engines.embedded import embedded_server
from dataengine.engines.weights import Model, find_model
from dataengine.generate import Asking, Sampler, Wanted, missing, plan
from dataengine.progress import Progress
from dataengine.runlog import RunLog
from dataengine.sources.build import PromptSet
from schemas.errors import ConfigError, EngineError
from schemas.recipe import CheckSpec, EmbeddedEngine, EndpointEngine, EvaluateStep, GenerateStep
from schemas.records import Stage
from warehouse.store import Warehouse


@dataclass(frozen=True)
class Policy:
    """An engine together with the weights it samples."""

    name: str
    engine: EmbeddedEngine | EndpointEngine
    model: Model | None

    @classmethod
    def of(cls, engine: EmbeddedEngine | EndpointEngine, checkpoint: Path | None = None) -> "Policy":
        """The policy of an engine; `checkpoint` is the folder for one that names a train step."""
        if isinstance(engine, EndpointEngine):
            return cls(f"{engine.model}@{engine.revision}", engine, None)
        model = find_model(str(checkpoint) if checkpoint else str(engine.model))
        return cls(model.policy, engine, model)

    @contextlib.asynccontextmanager
    async def client(self, log: Path) -> AsyncIterator[ChatClient]:
        """A client of the engine, which is started first and stopped after if it is ours."""
        engine = self.engine
        if isinstance(engine, EndpointEngine):
            async with ChatClient(
                engine.url,
                engine.model,
                api_key=_api_key(engine),
                timeout=engine.timeout,
                retries=engine.retries,
                backoff=engine.backoff,
                logprobs=engine.logprobs,
            ) as client:
                yield client
            return
        assert self.model is not None
        async with (
            embedded_server(self.model, slots=engine.slots, log=log) as url,
            ChatClient(url, self.name, timeout=engine.timeout, retries=1, logprobs=True) as client,
        ):
            yield client


def _api_key(engine: EndpointEngine) -> str | None:
    if engine.api_key_env is None:
        return None
    value = os.environ.get(engine.api_key_env)
    if not value:
        raise EngineError(f"{engine.url}: set the environment variable {engine.api_key_env} to the key")
    return value


def asking_of(step: GenerateStep | EvaluateStep, policy: Policy, prompts: PromptSet) -> Asking:
    """How a recipe's step asks. Raises ConfigError when it wants what its prompts or its engine do not have."""
    count = step.demonstrations if isinstance(step, GenerateStep) else 0
    prefill = step.prefill if isinstance(step, GenerateStep) else ""
    shown = {}
    if count:
        for source in {p.source for p in prompts.prompts}:
            examples = prompts.demonstrations.get(source, [])
            if len(examples) < count:
                raise ConfigError(f"{source}: {len(examples)} demonstrations, the step wants {count}; write more")
            shown[source] = examples[:count]
    if prefill and isinstance(policy.engine, EndpointEngine) and not policy.engine.prefill:
        raise ConfigError(f"{policy.engine.url}: cannot continue a started reply; leave `prefill` out")
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
        send_seed=not isinstance(policy.engine, EndpointEngine) or policy.engine.send_seed,
    )


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
) -> Sampled:
    """Does what is left of a step: rows that are there already cost a look, no request and no check."""
    wanted = plan(prompts.prompts, asking)
    todo = missing(warehouse.path, wanted, asking.max_tokens)
    errors: dict[str, int] = {}

    def begin() -> None:
        run.begin()
        warehouse.append("prompts", prompts.prompts)

    if todo:
        errors = asyncio.run(_sample(warehouse, run, label, todo, policy, asking, begin))
    elif warehouse.append("prompts", prompts.prompts).added:
        run.begin()
    ids = [w.trajectory_id for w in wanted]
    checked = Checked()
    if pending(warehouse, specs, ids):
        run.begin()
        checked = run_checks(warehouse, run.run_id, specs, ids, label)
    return Sampled(wanted, len(todo), sum(errors.values()), checked)


async def _sample(
    warehouse: Warehouse,
    run: RunLog,
    label: str,
    todo: list[Wanted],
    policy: Policy,
    asking: Asking,
    begin: Callable[[], None],
) -> dict[str, int]:
    log = warehouse.path / "logs" / f"{run.run_id}-{asking.stage}.log"
    async with policy.client(log) as client:
        # Nothing is written before there is somebody to ask.
        await client.check_reachable()
        begin()
        sampler = Sampler(warehouse, client, asking, run.run_id, policy.engine.max_in_flight)
        with Progress(label, len(todo)) as progress:
            await sampler.run(todo, progress)
    return sampler.errors
