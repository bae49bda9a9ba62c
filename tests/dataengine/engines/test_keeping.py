"""Servers that stay up between steps."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field

import pytest

from dataengine.engines.keeping import Keeper
from schemas.errors import EngineError


@dataclass
class Servers:
    """Starts real servers and remembers what became of them."""

    events: list[str] = field(default_factory=list)
    running: dict[str, asyncio.Server] = field(default_factory=dict)

    def start(self, name: str) -> Callable[[], AbstractAsyncContextManager[str]]:
        @contextlib.asynccontextmanager
        async def serve() -> AsyncIterator[str]:
            if name == "broken":
                raise EngineError("it did not start")
            server = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", 0)
            self.events.append(f"{name} up")
            self.running[name] = server
            try:
                yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
            finally:
                server.close()
                self.events.append(f"{name} down")

        return serve


@pytest.fixture
def servers() -> Servers:
    return Servers()


@pytest.fixture
def keeper() -> Iterator[Keeper]:
    kept = Keeper()
    yield kept
    kept.close()


def ask(keeper: Keeper, servers: Servers, *names: str) -> list[str]:
    """A step that uses these servers at once, in a loop of its own."""

    async def step() -> list[str]:
        async with contextlib.AsyncExitStack() as stack:
            return [await stack.enter_async_context(keeper.server(n, servers.start(n))) for n in names]

    return asyncio.run(step())


def test_a_server_is_there_for_the_next_step(keeper: Keeper, servers: Servers) -> None:
    assert ask(keeper, servers, "a") == ask(keeper, servers, "a")
    assert servers.events == ["a up"]
    keeper.close()
    assert servers.events == ["a up", "a down"]
    ask(keeper, servers, "a")
    assert servers.events[2:] == ["a up"]


def test_it_makes_room_for_another_unless_it_is_in_use(keeper: Keeper, servers: Servers) -> None:
    ask(keeper, servers, "a")
    ask(keeper, servers, "b", "c")
    assert servers.events == ["a up", "a down", "b up", "c up"]


def test_one_that_is_gone_is_started_anew(keeper: Keeper, servers: Servers) -> None:
    ask(keeper, servers, "a")
    servers.running["a"].get_loop().call_soon_threadsafe(servers.running["a"].close)
    ask(keeper, servers, "a")
    assert servers.events == ["a up", "a down", "a up"]


def test_one_that_does_not_start_says_so_and_leaves_nothing(keeper: Keeper, servers: Servers) -> None:
    for _ in range(2):
        with pytest.raises(EngineError, match="it did not start"):
            ask(keeper, servers, "broken")
    ask(keeper, servers, "a")
    assert servers.events == ["a up"]
