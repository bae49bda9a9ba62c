"""What the client adds: 5,000 chat completions at 256 in flight against a local server that answers after 20 ms.

    python benchmarks/client.py
    python benchmarks/client.py --only-ours --rounds 1 --samples 8 --requests 200000      # for its memory

Ours is the whole step: prompts written and rendered, replies parsed, every attempt a row in the warehouse. Beside it
clients that keep nothing: aiohttp alone, and, where they are installed, the packages `openai` and `httpx`; and
bespokelabs-curator and distilabel with the interpreters of environments that have them (`--curator PYTHON`,
`--distilabel PYTHON`). The server runs in a process of its own on the same machine. Time counts from when the questions
are in memory and the warehouse, still empty, is there.
"""

import argparse
import asyncio
import importlib.util
import json
import multiprocessing
import resource
import subprocess
import tempfile
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from dataengine.generate import Asking
from dataengine.policy import Policy
from dataengine.runlog import RunLog
from dataengine.sampling import sample_and_check
from dataengine.sources.build import PromptSet
from schemas.recipe import EndpointEngine, Sampling
from schemas.records import Message, Prompt
from warehouse.connect import connect
from warehouse.store import Warehouse

LATENCY = 0.02
IN_FLIGHT = 256
REPLY = "<think>\n" + "I add the two numbers one after the other. " * 8 + "\n</think>\nIt is 7.\n<answer>7</answer>"


def serve(port: Any) -> None:
    body = json.dumps(
        {
            "object": "chat.completion",
            "choices": [{"index": 0, "message": {"role": "assistant", "content": REPLY}, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 40, "completion_tokens": 90, "total_tokens": 130},
        }
    ).encode()

    async def complete(request: web.Request) -> web.Response:
        await request.read()
        await asyncio.sleep(LATENCY)
        return web.Response(body=body, content_type="application/json")

    async def models(request: web.Request) -> web.Response:
        return web.json_response({"object": "list", "data": []})

    async def run() -> None:
        app = web.Application()
        app.add_routes([web.post("/v1/chat/completions", complete), web.get("/v1/models", models)])
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0, backlog=1024)
        await site.start()
        port.put(runner.addresses[0][1])
        await asyncio.sleep(3600)

    asyncio.run(run())


def messages(number: int) -> list[dict[str, str]]:
    return [{"role": "user", "content": f"What is {number} + 7?"}]


async def in_parallel(ask: Callable[[int], Awaitable[Any]], requests: int) -> float:
    """Seconds that `requests` calls take, 256 at once."""
    numbers = iter(range(requests))

    async def work() -> None:
        for number in numbers:
            await ask(number)

    started = time.perf_counter()
    await asyncio.gather(*(work() for _ in range(IN_FLIGHT)))
    return time.perf_counter() - started


async def bare_aiohttp(url: str, requests: int) -> float:
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def ask(number: int) -> None:
            async with session.post(f"{url}/chat/completions", json={"messages": messages(number)}) as response:
                await response.json()

        return await in_parallel(ask, requests)


async def openai_package(url: str, requests: int) -> float:
    import openai

    async with openai.AsyncOpenAI(base_url=url, api_key="none", max_retries=0) as client:

        async def ask(number: int) -> None:
            await client.chat.completions.create(model="m", messages=messages(number))  # type: ignore[arg-type]

        return await in_parallel(ask, requests)


async def httpx_package(url: str, requests: int) -> float:
    import httpx

    limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
    async with httpx.AsyncClient(limits=limits, timeout=60) as client:

        async def ask(number: int) -> None:
            (await client.post(f"{url}/chat/completions", json={"messages": messages(number)})).json()

        return await in_parallel(ask, requests)


async def peer(url: str, requests: int, script: str, python: str) -> float:
    with tempfile.NamedTemporaryFile("w", suffix=".jsonl") as file:
        file.writelines(json.dumps({"prompt": messages(i)[0]["content"]}) + "\n" for i in range(requests))
        file.flush()
        words = [python, str(Path(__file__).parent / "peers" / script), url, "m", file.name, "1", "1024"]
        done = await asyncio.to_thread(subprocess.run, words, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{script} failed:\n{done.stderr[-3000:]}")
    return float(done.stdout.strip().splitlines()[-1])


async def ours(url: str, requests: int, samples: int = 1) -> float:
    return await asyncio.to_thread(sampling_step, url, requests, samples)


def sampling_step(url: str, requests: int, samples: int) -> float:
    engine = EndpointEngine(kind="endpoint", url=url, model="m", max_in_flight=IN_FLIGHT, start_in_flight=IN_FLIGHT)
    policy = Policy.of(engine)
    with tempfile.TemporaryDirectory() as folder:
        prompts = [
            Prompt.make([Message(role="user", content=f"What is {i} + 7?")], domain="math", source="bench")
            for i in range(requests // samples)
        ]
        warehouse = Warehouse.open(Path(folder) / "warehouse", create=True)
        started = time.perf_counter()
        asking = Asking(
            stage="reasoning", policy=policy.name, engine="endpoint", samples=samples, sampling=Sampling(),
            max_tokens=1024, template="think",
        )  # fmt: skip
        run = RunLog(warehouse, "bench", "bench", {}, [])
        sample_and_check(warehouse, run, "bench", PromptSet(prompts), policy, asking, [])
        seconds = time.perf_counter() - started
        with connect(warehouse.path) as connection:
            stored = connection.execute("SELECT count(*), count(error) FROM trajectories").fetchone()
        assert stored == (requests, 0)
        return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=5000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--samples", type=int, default=1, help="of a prompt, for ours")
    parser.add_argument("--only-ours", action="store_true")
    parser.add_argument("--curator", metavar="PYTHON", help="of an environment with bespokelabs-curator")
    parser.add_argument("--distilabel", metavar="PYTHON", help="of an environment with distilabel")
    args = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    port = context.Queue()
    server = context.Process(target=serve, args=(port,), daemon=True)
    server.start()
    url = f"http://127.0.0.1:{port.get()}/v1"
    rows: list[tuple[str, Callable[[str, int], Awaitable[float]]]] = [
        ("ours, every attempt a row", partial(ours, samples=args.samples))
    ]
    if not args.only_ours:
        rows.append(("aiohttp alone", bare_aiohttp))
        rows += [("openai package", openai_package)] if importlib.util.find_spec("openai") else []
        rows += [("httpx", httpx_package)] if importlib.util.find_spec("httpx") else []
        for name, python in (("curator", args.curator), ("distilabel", args.distilabel)):
            rows += [(name, partial(peer, script=f"{name}_client.py", python=python))] if python else []
    for number in range(args.rounds):
        for name, run in rows:
            seconds = asyncio.run(run(url, args.requests))  # type: ignore[arg-type]
            print(f"round {number + 1}  {name:<28} {args.requests / seconds:>8,.0f} requests/s", flush=True)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(f"largest memory of this process {peak:.2f} GB")
    server.terminate()


if __name__ == "__main__":
    main()
