"""A policy: an engine with the weights that it samples, and the servers that answer for it."""

import contextlib
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from dataengine.engines.client import ChatClient
from dataengine.engines.embedded import embedded_server
from dataengine.engines.fleet import Fleet
from dataengine.engines.keeping import Keeper, Start
from dataengine.engines.vllm import vllm_server
from dataengine.engines.weights import SHIPPED, Model, find_model
from schemas.errors import EngineError
from schemas.recipe import EmbeddedEngine, EndpointEngine, Engine, VllmEngine


@dataclass(frozen=True)
class Policy:
    """An engine together with the weights it samples; `model` is None where the weights are not in a folder here."""

    name: str
    engine: Engine
    model: Model | None
    keeper: Keeper | None = field(default=None, compare=False, repr=False)
    """Keeps a server of ours up for who asks next; without one it is stopped after each use."""

    @classmethod
    def of(cls, engine: Engine, checkpoint: Path | None = None, keeper: Keeper | None = None) -> "Policy":
        """The policy of an engine; `checkpoint` is the folder for one that names a train step."""
        if isinstance(engine, EndpointEngine):
            return cls(f"{engine.model}@{engine.revision}", engine, None)
        named = str(checkpoint) if checkpoint else str(engine.model)
        if isinstance(engine, VllmEngine) and named not in SHIPPED and not Path(named).expanduser().exists():
            return cls(f"{named}@{engine.revision or 'main'}", engine, None, keeper)
        model = find_model(named)
        return cls(model.policy, engine, model, keeper)

    @property
    def servers(self) -> int:
        """How many servers share the work."""
        return len(self.engine.urls) if isinstance(self.engine, EndpointEngine) else 1

    @contextlib.asynccontextmanager
    async def fleet(self, log: Path) -> AsyncIterator[Fleet]:
        """The engine's servers; one of ours is started first, writes to `log`, and is stopped after, or kept.

        Raises EngineError when none of them can be reached.
        """
        async with contextlib.AsyncExitStack() as stack:
            fleet = await self._started(stack, log)
            for client in fleet.clients:
                await stack.enter_async_context(client)
            stack.push_async_callback(fleet.close)
            await fleet.check_reachable()
            yield fleet

    async def _started(self, stack: contextlib.AsyncExitStack, log: Path) -> Fleet:
        engine = self.engine
        if isinstance(engine, EndpointEngine):
            key = _api_key(engine)
            clients = [
                ChatClient(
                    url,
                    engine.model,
                    api_key=key,
                    timeout=engine.timeout,
                    logprobs=engine.logprobs,
                    guiding=engine.guiding,
                )
                for url in engine.urls
            ]
            return Fleet(
                clients,
                engine.max_in_flight,
                engine.start_in_flight,
                retries=engine.retries,
                backoff=engine.backoff,
                patience=engine.patience,
            )
        start: Start
        if isinstance(engine, EmbeddedEngine):
            assert self.model is not None
            start = partial(embedded_server, self.model, slots=engine.slots, log=log)
        else:
            weights = str(self.model.folder) if self.model else str(engine.model)
            start = partial(vllm_server, engine, weights, self.name, log=log)
        server = start() if self.keeper is None else self.keeper.server(f"{self.name} {engine!r}", start)
        url = await stack.enter_async_context(server)
        client = ChatClient(
            url,
            self.name,
            timeout=engine.timeout,
            logprobs=isinstance(engine, EmbeddedEngine) or engine.logprobs,
        )
        # A server of ours queues what it has no room for, so there is no limit to find; one that ended stays away.
        return Fleet([client], engine.max_in_flight, engine.max_in_flight, retries=1, patience=1.0)


def _api_key(engine: EndpointEngine) -> str | None:
    if engine.api_key_env is None:
        return None
    value = os.environ.get(engine.api_key_env)
    if not value:
        raise EngineError(f"{engine.urls[0]}: set the environment variable {engine.api_key_env} to the key")
    return value
