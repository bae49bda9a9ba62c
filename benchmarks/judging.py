"""A judge step beside the simplest client of the same server, which sends the same requests and keeps nothing.

    python benchmarks/judging.py [--quick]

First on a local server that answers after 20 ms, in verdicts per second, where what is measured is the client alone;
then on the embedded engine with the real small model, in tokens out per second. The step reads the trajectories from
the warehouse, renders, reads the replies strictly and commits every verdict. Both in turn, on one running server.
"""

import argparse
import asyncio
import contextlib
import json
import multiprocessing
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from dataengine.engines.client import ChatRequest
from dataengine.judge.judge import Case, Judge
from dataengine.judge.prompt_file import load_prompt
from dataengine.judge.step import judge_trajectories
from dataengine.policy import Policy
from dataengine.runlog import RunLog
from schemas.keys import key
from schemas.recipe import EmbeddedEngine, EndpointEngine, JudgeSpec
from schemas.records import Message, Prompt, Trajectory, now
from warehouse.connect import connect
from warehouse.store import Warehouse

LATENCY = 0.02
IN_FLIGHT = 192
SAMPLES = 4
SAID = json.dumps({"analysis": "The response ends in what the reference says. " * 4, "verdict": "correct"})


def cases(prompts: int) -> Iterator[tuple[Prompt, list[str]]]:
    """Sums, each with responses of some lines."""
    for i in range(prompts):
        a, b = 17 + i, 5 + i % 90
        asked = [Message(role="user", content=f"What is {a} + {b}?")]
        prompt = Prompt.make(asked, domain="math", source="sums", reference=str(a + b), verifier="exact")
        thoughts = [f"I add {a} and {b}. " * (2 + s) for s in range(SAMPLES)]
        yield prompt, [f"<think>\n{t}\n</think>\nIt is <answer>{a + b}</answer>." for t in thoughts]


def filled(folder: Path, prompts: int) -> tuple[Warehouse, list[str]]:
    """A warehouse that holds them as trajectories, and their ids."""
    warehouse = Warehouse.open(folder, create=True)
    rows = []
    for prompt, texts in cases(prompts):
        for number, text in enumerate(texts):
            rows.append(
                Trajectory(
                    trajectory_id=key(prompt.prompt_id, number), prompt_id=prompt.prompt_id, stage="reasoning",
                    policy="bench@1", engine="import", sampling="{}", sample_index=number, rendered_key="", text=text,
                    finish_reason="stop", run_id="bench", created_at=now(),
                )
            )  # fmt: skip
    warehouse.append("prompts", [prompt for prompt, _ in cases(prompts)])
    warehouse.append("trajectories", rows)
    return warehouse, [row.trajectory_id for row in rows]


async def simplest(url: str, model: str, requests: Sequence[ChatRequest]) -> int:
    """Sends the requests, so many at once, and throws the replies away; tokens received."""
    waiting, tokens = iter(requests), 0

    async def work(session: aiohttp.ClientSession) -> None:
        nonlocal tokens
        for asked in waiting:
            body: dict[str, Any] = {
                "model": model, "messages": asked.messages, "max_tokens": asked.max_tokens,
                "temperature": asked.temperature, "top_p": asked.top_p, "seed": asked.seed,
            }  # fmt: skip
            if asked.guided is not None:
                body["structured_outputs"] = {"json": asked.guided.json_schema}
            async with session.post(f"{url}/chat/completions", json=body) as response:
                tokens += int((await response.json())["usage"]["completion_tokens"])

    timeout = aiohttp.ClientTimeout(total=3600)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), timeout=timeout) as session:
        await asyncio.gather(*(work(session) for _ in range(IN_FLIGHT)))
    return tokens


def step(url: str, model: str, spec: JudgeSpec, folder: Path, prompts: int) -> tuple[int, float]:
    """The judge step over all of them: tokens received, seconds."""
    warehouse, ids = filled(folder, prompts)
    engine = EndpointEngine(
        kind="endpoint", url=url, model=model, max_in_flight=IN_FLIGHT, start_in_flight=IN_FLIGHT, timeout=3600
    )
    judge = Judge("judge", spec, load_prompt(spec.ask), [Policy.of(engine)])
    started = time.perf_counter()
    done = judge_trajectories(warehouse, RunLog(warehouse, "bench", "bench", {}, []), "judge", judge, ids, "all")
    seconds = time.perf_counter() - started
    assert done.checked.total == len(ids) and not done.missing
    with connect(warehouse.path) as connection:
        votes = "SELECT sum((details ->> '$.votes[0].completion_tokens')::INT) FROM verdicts"
        (row,) = connection.execute(votes).fetchall()
    return int(row[0]), seconds


async def compare(title: str, url: str, model: str, spec: JudgeSpec, prompts: int, unit: str) -> None:
    judge = Judge("judge", spec, load_prompt(spec.ask), [Policy.of(EmbeddedEngine(kind="embedded", model=MODEL))])
    requests = [
        judge.requests(Case(p.messages[0].content, text, None, p.reference, p.prompt_id))[0][1]
        for p, texts in cases(prompts)
        for text in texts
    ]
    await simplest(url, model, requests[:64])  # the first requests pay for memory and caches
    for number in range(3):
        started = time.perf_counter()
        plain = await simplest(url, model, requests)
        alone = time.perf_counter() - started
        with tempfile.TemporaryDirectory() as folder:
            ours, seconds = await asyncio.to_thread(step, url, model, spec, Path(folder) / "warehouse", prompts)
        plain, ours = (plain, ours) if unit == "tokens" else (len(requests), len(requests))
        print(
            f"{title}, round {number + 1}: simplest {plain / alone:,.0f} {unit}/s, judge step {ours / seconds:,.0f} "
            f"{unit}/s, ratio {ours / seconds / (plain / alone):.2f}",
            flush=True,
        )


MODEL = "smollm2-135m-instruct"


def serve(port: Any) -> None:
    """Answers every request after 20 ms."""
    message = {"role": "assistant", "content": SAID}
    usage = {"prompt_tokens": 500, "completion_tokens": 60}
    body = json.dumps({"choices": [{"index": 0, "message": message, "finish_reason": "stop"}], "usage": usage}).encode()

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


@contextlib.asynccontextmanager
async def local_server() -> AsyncIterator[str]:
    context = multiprocessing.get_context("spawn")
    port = context.Queue()
    server = context.Process(target=serve, args=(port,), daemon=True)
    server.start()
    try:
        yield f"http://127.0.0.1:{await asyncio.to_thread(port.get)}/v1"
    finally:
        server.terminate()


async def measure(quick: bool) -> None:
    policy = Policy.of(EmbeddedEngine(kind="embedded", model=MODEL))
    async with local_server() as url:
        spec = JudgeSpec(ask="correctness", engine="local")
        await compare("local server", url, "any", spec, 500 if quick else 5000, "verdicts")
    with tempfile.TemporaryDirectory() as folder:
        async with policy.fleet(Path(folder) / "engine.log") as fleet:
            spec = JudgeSpec(ask="correctness", engine="embedded", max_tokens=40)
            await compare(MODEL, fleet.clients[0].url, policy.name, spec, 16 if quick else 48, "tokens")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a quarter of the cases")
    asyncio.run(measure(parser.parse_args().quick))


if __name__ == "__main__":
    main()
