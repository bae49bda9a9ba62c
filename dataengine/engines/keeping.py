"""Servers of ours that stay up from one step to the next: a model of some size takes minutes to load."""

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from urllib.parse import urlsplit

Start = Callable[[], AbstractAsyncContextManager[str]]


@dataclass
class _Kept:
    url: str
    stack: contextlib.AsyncExitStack
    uses: int = 0


@dataclass
class Keeper:
    """Starts servers in an event loop of its own, so that they outlive the loops of the steps that ask them.

    A server that nobody uses is stopped when another is to start: two may not fit beside each other.
    """

    _kept: dict[str, _Kept] = field(default_factory=dict)
    _loop: asyncio.AbstractEventLoop | None = None
    _thread: threading.Thread | None = None

    @contextlib.asynccontextmanager
    async def server(self, name: str, start: Start) -> AsyncIterator[str]:
        """The base URL of the server of that name, started unless it is there, which is not stopped at the end.

        Raises what `start` raises.
        """
        kept = await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(self._lease(name, start), self._running()))
        try:
            yield kept.url
        finally:
            kept.uses -= 1

    def close(self) -> None:
        """Stops all servers. The next one that is asked for starts anew."""
        if self._loop is None or self._thread is None:
            return
        asyncio.run_coroutine_threadsafe(self._stop(list(self._kept)), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self._loop = self._thread = None

    def _running(self) -> asyncio.AbstractEventLoop:
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            self._thread = threading.Thread(target=self._loop.run_forever, name="servers", daemon=True)
            self._thread.start()
        return self._loop

    async def _lease(self, name: str, start: Start) -> _Kept:
        if name in self._kept and not await _answers(self._kept[name].url):
            await self._stop([name])
        if name not in self._kept:
            await self._stop([other for other, kept in self._kept.items() if not kept.uses])
            stack = contextlib.AsyncExitStack()
            self._kept[name] = _Kept(await stack.enter_async_context(start()), stack)
        self._kept[name].uses += 1
        return self._kept[name]

    async def _stop(self, names: list[str]) -> None:
        for name in names:
            await self._kept.pop(name).stack.aclose()


async def _answers(url: str) -> bool:
    address = urlsplit(url)
    try:
        _, writer = await asyncio.open_connection(address.hostname, address.port)
    except OSError:
        return False
    writer.close()
    return True
