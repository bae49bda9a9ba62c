"""The servers of one policy as one: who is asked, how often, and when to give up."""

import asyncio
import random
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from dataengine.engines.client import ChatClient, ChatReply, ChatRequest, Failure, TokensRequest
from dataengine.engines.limit import Limit
from schemas.errors import EngineError

# Seconds before a retry at most, whatever the exponent says.
_MOST_BACKOFF = 60.0
# Retries that a run has beside one for each request that was answered: a storm ends in rows, not in another storm.
_FREE_RETRIES = 200
# A wrong key or model name fails everybody: so many in a row are enough to know. Of a server that fails one request
# after the other for other reasons it takes as many as it gets at once, and this many at least.
_SURE, _BROKEN = 3, 16
# Seconds between two looks at a server that is gone: the first, and the longest.
_FIRST_LOOK, _LONGEST_LOOK = 0.2, 10.0


@dataclass
class _Server:
    client: ChatClient
    limit: Limit
    up: bool = True
    watch: "asyncio.Task[None] | None" = None


@dataclass
class Fleet:
    """Asks the servers of a policy; `complete` may be called from many tasks, and always gives a reply.

    A request goes to the least busy server that is up, one of the same group as the last to the same server, which has
    its prompt in the prefix cache. Each server has a Limit of its own. What may succeed is tried again, `retries` times
    a request, after exponential backoff with full jitter (from `backoff` seconds) and at least the Retry-After that
    came. A server that cannot be reached is out until it answers again; a request that finds none waits. `stopped` says
    why the run should end: none came back for `patience` seconds, or a fault that every request will meet.
    """

    clients: Sequence[ChatClient]
    most: int
    start: int
    retries: int = 4
    backoff: float = 0.5
    patience: float = 120.0
    stopped: str | None = None
    retried: int = 0
    answered: int = 0
    _servers: list[_Server] = field(init=False)
    _waiting: deque["asyncio.Future[None]"] = field(default_factory=deque)
    _last: tuple[str, _Server] | None = None
    _gone_since: float | None = None
    _failed_in_a_row: int = 0

    def __post_init__(self) -> None:
        self._servers = [_Server(c, Limit(self.most, self.start)) for c in self.clients]

    @property
    def limits(self) -> dict[str, int]:
        """How many requests each server gets at once, now."""
        return {s.client.url: s.limit.value for s in self._servers}

    async def check_reachable(self) -> None:
        """Takes out the servers that cannot be reached; raises EngineError, of the first, when that is all of them."""
        found = await asyncio.gather(*(s.client.check_reachable() for s in self._servers), return_exceptions=True)
        problems = [(s, e) for s, e in zip(self._servers, found, strict=True) if isinstance(e, BaseException)]
        if len(problems) == len(self._servers) or not all(isinstance(e, EngineError) for _, e in problems):
            raise problems[0][1]
        for server, problem in problems:
            self._out(server, str(problem))

    async def complete(self, request: ChatRequest | TokensRequest) -> ChatReply:
        """The reply to a request, or one that says in `error` why there is none."""
        started = time.monotonic()
        tries = 0
        while True:
            server = await self._choose(request)
            if server is None:
                return ChatReply(error=self.stopped, seconds=time.monotonic() - started)
            try:
                return await self._ask(server, request)
            except Failure as failure:
                if failure.unreachable:
                    # No try of this request's: it was never heard.
                    self._out(server, str(failure))
                    continue
                last = not failure.again or tries >= self.retries or self.retried >= _FREE_RETRIES + self.answered
                if last or self.stopped:
                    self._note(failure)
                    return ChatReply(error=str(failure), seconds=time.monotonic() - started)
                wait = random.uniform(0, min(_MOST_BACKOFF, self.backoff * 2**tries))
                tries += 1
                self.retried += 1
                await asyncio.sleep(max(wait, failure.after))

    async def close(self) -> None:
        """Ends the watching of servers that are gone."""
        for server in self._servers:
            if server.watch is not None:
                server.watch.cancel()

    async def _ask(self, server: _Server, request: ChatRequest | TokensRequest) -> ChatReply:
        ticket = server.limit.send()
        settled = False
        try:
            reply = await server.client.ask(request)
            settled = True
            server.limit.answered(ticket, reply.seconds, reply.completion_tokens or 0)
        except Failure as failure:
            settled = True
            if failure.pressure:
                server.limit.pressed(ticket)
            else:
                server.limit.lost()
            raise
        finally:
            if not settled:
                server.limit.lost()
            self._let_in(self._room())
        self.answered += 1
        self._failed_in_a_row = 0
        return reply

    def _note(self, failure: Failure) -> None:
        """Counts failures in a row that are not the request's own, and stops the run after enough."""
        if not (failure.again or failure.everybody):
            return
        self._failed_in_a_row += 1
        if self._failed_in_a_row >= (_SURE if failure.everybody else max(_BROKEN, self.most)):
            self._stop(str(failure))

    def _stop(self, reason: str) -> None:
        if self.stopped is None:
            self.stopped = reason
        while self._waiting:
            self._let_in(1)

    # -- who is asked

    async def _choose(self, request: ChatRequest | TokensRequest) -> _Server | None:
        """The server for a request, as soon as one has room; None when the run is stopped."""
        while self.stopped is None:
            if self._last is not None and request.group and self._last[0] == request.group:
                same = self._last[1]
                if same.up and same.limit.free:
                    return same
            ready = [s for s in self._servers if s.up and s.limit.free]
            if ready:
                chosen = min(ready, key=lambda s: s.limit.in_flight / s.limit.value)
                self._last = (request.group, chosen)
                return chosen
            place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append(place)
            await place
        return None

    def _let_in(self, count: int) -> None:
        """Wakes as many of those who wait for room, in the order they came."""
        while count > 0 and self._waiting:
            place = self._waiting.popleft()
            if not place.done():
                place.set_result(None)
                count -= 1

    def _room(self) -> int:
        return sum(max(0, s.limit.value - s.limit.in_flight) for s in self._servers if s.up)

    # -- servers that go and come

    def _out(self, server: _Server, reason: str) -> None:
        if not server.up:
            return
        server.up = False
        if self._gone_since is None and not any(s.up for s in self._servers):
            self._gone_since = time.monotonic()
        server.watch = asyncio.create_task(self._watch(server, reason))

    async def _watch(self, server: _Server, reason: str) -> None:
        """Looks after a server that is gone until it is back, or until the run has waited long enough for any."""
        look = _FIRST_LOOK
        while self.stopped is None:
            await asyncio.sleep(look)
            if await server.client.is_up():
                server.up, self._gone_since = True, None
                self._let_in(self._room())
                return
            look = min(2 * look, _LONGEST_LOOK)
            if self._gone_since is not None and time.monotonic() - self._gone_since >= self.patience:
                self._stop(f"{reason} (for {self.patience:g} s)")
