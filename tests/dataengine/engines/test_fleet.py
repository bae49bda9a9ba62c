"""Several servers as one: who is asked, what is tried again, and when a run is told to stop."""

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any

import pytest

from dataengine.engines.client import ChatClient, ChatReply, ChatRequest
from dataengine.engines.fleet import Fleet
from schemas.errors import EngineError


@pytest.fixture
def servers(scripted_server: Callable[[], Any]) -> Iterator[list[Any]]:
    yield [scripted_server(), scripted_server()]


def conversations(count: int) -> list[ChatRequest]:
    return [
        ChatRequest([{"role": "user", "content": f"What is {i} + 3?"}], 300, 1.0, 1.0, seed=i) for i in range(count)
    ]


def ask_all(
    urls: list[str], requests: list[ChatRequest], during: Callable[[Fleet], Any] | None = None, **settings: Any
) -> tuple[list[ChatReply], Fleet]:
    async def run() -> tuple[list[ChatReply], Fleet]:
        async with AsyncExitStack() as stack:
            clients = [await stack.enter_async_context(ChatClient(u, "scripted", timeout=10)) for u in urls]
            fleet = Fleet(clients, **{"most": 16, "start": 16, "backoff": 0.01, "patience": 0.5, **settings})
            stack.push_async_callback(fleet.close)
            watched = asyncio.create_task(during(fleet)) if during else None
            replies = await asyncio.gather(*map(fleet.complete, requests))
            if watched:
                await watched
            return list(replies), fleet

    return asyncio.run(run())


def test_the_work_is_shared_and_samples_of_a_prompt_stay_together(servers: list[Any]) -> None:
    for server in servers:
        server.seconds = 0.02
    prompts = conversations(12)
    samples = [replace(p, seed=s, group=str(n)) for n, p in enumerate(prompts) for s in range(4)]
    replies, _ = ask_all([s.url for s in servers], samples, most=64, start=64)
    assert all(r.error is None for r in replies)
    asked = [{body["messages"][0]["content"] for body in s.asked} for s in servers]
    assert [len(part) for part in asked] == [6, 6]
    assert not asked[0] & asked[1]


def test_a_server_that_dies_is_taken_out_and_its_requests_go_elsewhere(servers: list[Any]) -> None:
    first, second = servers
    first.seconds = second.seconds = 0.01
    first.fault = lambda body, before: "die" if len(first.asked) >= 10 else None
    replies, fleet = ask_all([s.url for s in servers], conversations(120), retries=2)
    assert [r.error for r in replies] == [None] * 120
    assert len(second.asked) > 100
    assert fleet.stopped is None


def test_a_server_that_comes_back_is_asked_again(scripted_server: Callable[..., Any]) -> None:
    server = scripted_server()
    server.fault = lambda body, before: "die" if len(server.asked) >= 5 else None
    later: list[Any] = []

    async def restart(fleet: Fleet) -> None:
        while not server._dying:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.5)
        later.append(await asyncio.to_thread(scripted_server, server.port))

    replies, fleet = ask_all([server.url], conversations(40), restart, patience=20)
    assert [r.error for r in replies] == [None] * 40
    assert len(later[0].asked) >= 35
    assert fleet.stopped is None


def test_when_all_are_gone_for_long_enough_the_run_is_told_to_stop(scripted_server: Callable[..., Any]) -> None:
    server = scripted_server()
    server.stop()
    began = time.monotonic()
    replies, fleet = ask_all([server.url], conversations(30), patience=0.4)
    assert time.monotonic() - began >= 0.4
    assert fleet.stopped is not None
    assert fleet.stopped.startswith("cannot connect: ")
    assert fleet.stopped.endswith("(for 0.4 s)")
    assert {r.error for r in replies} == {fleet.stopped}


@pytest.mark.parametrize(("fault", "asked"), [("401", 3), ("404", 3), ("500", 150)])
def test_what_every_request_will_meet_stops_the_run(scripted: Any, fault: str, asked: int) -> None:
    scripted.fault = lambda body, before: fault
    replies, fleet = ask_all([scripted.url], conversations(200), retries=1, most=1, start=1)
    assert fleet.stopped is not None
    assert fleet.stopped.startswith(f"HTTP {fault}: ")
    assert all(r.error for r in replies)
    assert len(scripted.asked) <= asked


def test_requests_that_are_wrong_themselves_stop_nothing(scripted: Any) -> None:
    scripted.fault = lambda body, before: "400"
    replies, fleet = ask_all([scripted.url], conversations(60), retries=3)
    assert fleet.stopped is None
    assert len(scripted.asked) == 60
    assert {r.error for r in replies} == {"HTTP 400: the prompt is too long"}


def test_a_storm_of_refusals_lowers_the_limit_and_loses_nothing(scripted: Any) -> None:
    scripted.seconds = 0.02
    scripted.most = 6
    replies, fleet = ask_all([scripted.url], conversations(300), retries=12, most=64, start=64)
    assert [r.error for r in replies] == [None] * 300
    assert fleet.limits[scripted.url] <= 16
    assert fleet.retried < 200


def test_one_server_that_answers_is_enough_to_begin(scripted: Any, scripted_server: Callable[..., Any]) -> None:
    gone = scripted_server()
    gone.stop()

    async def check(urls: list[str]) -> Fleet:
        async with AsyncExitStack() as stack:
            clients = [await stack.enter_async_context(ChatClient(u, "scripted")) for u in urls]
            fleet = Fleet(clients, 4, 4)
            stack.push_async_callback(fleet.close)
            await fleet.check_reachable()
            assert (await fleet.complete(conversations(1)[0])).error is None
            return fleet

    asyncio.run(check([gone.url, scripted.url]))
    with pytest.raises(EngineError, match=r"is the server running there\?"):
        asyncio.run(check([gone.url]))
