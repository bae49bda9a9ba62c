"""A judge step beside the simplest client of the same server, which sends the same requests and keeps nothing.

    python benchmarks/judging.py [--quick] [--rounds 3] [--only embedded]

On the embedded engine with the small model, in tokens out per second, and on a local server that answers after 20 ms,
in verdicts per second, where the client is all there is to be measured; judges of single responses and of pairs. The
step reads the trajectories from the warehouse, renders, reads the replies strictly and commits every verdict. Both in
turn, on one running server.
"""

import argparse
import asyncio
import contextlib
import json
import multiprocessing
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from dataengine.engines.client import ChatRequest
from dataengine.judge.judge import Case, Judge
from dataengine.judge.pair_step import judge_pairs
from dataengine.judge.preference import PairCase, PairJudge
from dataengine.judge.prompt_file import load_prompt
from dataengine.judge.step import judge_trajectories
from dataengine.policy import Policy
from dataengine.runlog import RunLog
from schemas.keys import key
from schemas.recipe import EmbeddedEngine, EndpointEngine, JudgeSpec
from schemas.records import Message, Pair, Prompt, Trajectory, now
from warehouse.connect import connect
from warehouse.store import Warehouse

MODEL = "smollm2-135m-instruct"
LATENCY = 0.02
IN_FLIGHT = 192
SAMPLES = 4
ANALYSIS = {"analysis": "The response ends in what the reference says. " * 4}
SAID = {
    "correctness": json.dumps(ANALYSIS | {"verdict": "correct"}),
    "preference": json.dumps({"own_answer": "It is so much."} | ANALYSIS | {"verdict": "a_better"}),
}


def cases(prompts: int) -> Iterator[tuple[Prompt, list[str]]]:
    """Sums, each with responses of some lines."""
    for i in range(prompts):
        a, b = 17 + i, 5 + i % 90
        asked = [Message(role="user", content=f"What is {a} + {b}?")]
        prompt = Prompt.make(asked, domain="math", source="sums", reference=str(a + b), verifier="exact")
        thoughts = [f"I add {a} and {b}. " * (2 + s) for s in range(SAMPLES)]
        yield prompt, [f"<think>\n{t}\n</think>\nIt is <answer>{a + b}</answer>." for t in thoughts]


def answer(text: str) -> str:
    return text.partition("</think>\n")[2]


def filled(folder: Path, prompts: int) -> tuple[Warehouse, list[str], list[str]]:
    """A warehouse that holds them as trajectories and pairs, and the ids of both."""
    warehouse = Warehouse.open(folder, create=True)
    rows, pairs = [], []
    for prompt, texts in cases(prompts):
        ids = [key(prompt.prompt_id, number) for number in range(len(texts))]
        for number, text in enumerate(texts):
            rows.append(
                Trajectory(
                    trajectory_id=ids[number], prompt_id=prompt.prompt_id, stage="reasoning", policy="bench@1",
                    engine="import", sampling="{}", sample_index=number, rendered_key="", text=text,
                    answer=answer(text), finish_reason="stop", run_id="bench", created_at=now(),
                )
            )  # fmt: skip
        pair_id = key(ids[0], ids[1])
        pairs.append(
            Pair(
                pair_id=pair_id, prompt_id=prompt.prompt_id, a_id=ids[0], b_id=ids[1], run_id="bench", created_at=now()
            )
        )
    warehouse.append("prompts", [prompt for prompt, _ in cases(prompts)])
    warehouse.append("trajectories", rows)
    warehouse.append("pairs", pairs)
    return warehouse, [row.trajectory_id for row in rows], [pair.pair_id for pair in pairs]


def requests_of(judge: Judge | PairJudge, prompts: int) -> list[ChatRequest]:
    """What the step sends."""
    found = []
    for p, texts in cases(prompts):
        question = p.messages[0].content
        if isinstance(judge, PairJudge):
            ids = [key(p.prompt_id, number) for number in range(2)]
            case = PairCase(key(*ids), question, answer(texts[0]), answer(texts[1]), p.prompt_id)
            found += [judge.request_of(case, draw) for draw in range(judge.asked)]
        else:
            found += [judge.requests(Case(question, t, answer(t), p.reference, p.prompt_id))[0][1] for t in texts]
    return found


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


def judge_of(spec: JudgeSpec, url: str, model: str) -> Judge | PairJudge:
    engine = EndpointEngine(
        kind="endpoint", url=url, model=model, max_in_flight=IN_FLIGHT, start_in_flight=IN_FLIGHT, timeout=3600
    )
    kind = PairJudge if spec.ask == "preference" else Judge
    return kind("judge", spec, load_prompt(spec.ask), [Policy.of(engine)])


def step(judge: Judge | PairJudge, folder: Path, prompts: int) -> tuple[int, int, float]:
    """The judge step over all of them: verdicts, tokens received, seconds."""
    warehouse, ids, pairs = filled(folder, prompts)
    log = RunLog(warehouse, "bench", "bench", {}, [])
    started = time.perf_counter()
    if isinstance(judge, PairJudge):
        done, table = judge_pairs(warehouse, log, "judge", judge, pairs), "pair_verdicts"
    else:
        done, table = judge_trajectories(warehouse, log, "judge", judge, ids, "all"), "verdicts"
    seconds = time.perf_counter() - started
    with connect(warehouse.path) as connection:
        votes = f"SELECT count(*), sum((details ->> '$.votes[0].completion_tokens')::INT) FROM {table}"
        ((verdicts, tokens),) = connection.execute(votes).fetchall()
    assert done.checked.total == verdicts and not done.missing
    return verdicts, int(tokens), seconds


async def compare(title: str, url: str, model: str, spec: JudgeSpec, prompts: int, unit: str, rounds: int) -> None:
    judge = judge_of(spec, url, model)
    requests = requests_of(judge, prompts)
    await simplest(url, model, requests)  # the first requests pay for memory and caches
    ratios = []
    for number in range(1, rounds + 1):
        started = time.perf_counter()
        plain = await simplest(url, model, requests)
        alone = time.perf_counter() - started
        with tempfile.TemporaryDirectory() as folder:
            verdicts, ours, seconds = await asyncio.to_thread(step, judge, Path(folder) / "warehouse", prompts)
        assert verdicts == len(requests)
        plain, ours = (plain, ours) if unit == "tokens" else (verdicts, verdicts)
        ratios.append(ours / seconds / (plain / alone))
        print(
            f"| {title}, {spec.ask} | {number} | {plain / alone:,.0f} {unit}/s | {ours / seconds:,.0f} {unit}/s "
            f"| {ratios[-1]:.3f} |",
            flush=True,
        )
    print(f"| {title}, {spec.ask} | mean | | | {statistics.mean(ratios):.3f} |", flush=True)


def serve(port: Any) -> None:
    """Answers every request after 20 ms."""
    usage = {"prompt_tokens": 500, "completion_tokens": 60}
    bodies = {}
    for ask, said in SAID.items():
        message = {"role": "assistant", "content": said}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        bodies[ask] = json.dumps({"choices": [choice], "usage": usage}).encode()

    async def complete(request: web.Request) -> web.Response:
        asked = await request.read()
        await asyncio.sleep(LATENCY)
        ask = "preference" if b"own_answer" in asked else "correctness"
        return web.Response(body=bodies[ask], content_type="application/json")

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


async def measure(quick: bool, rounds: int, only: str | None) -> None:
    print("| server, judge | round | simplest client | judge step | ratio |\n|---|---|---:|---:|---:|", flush=True)
    policy = Policy.of(EmbeddedEngine(kind="embedded", model=MODEL))
    if only != "local":
        with tempfile.TemporaryDirectory() as folder:
            async with policy.fleet(Path(folder) / "engine.log") as fleet:
                for ask in SAID:
                    spec = JudgeSpec(ask=ask, engine="embedded", max_tokens=40)
                    prompts = 2 if quick else 8
                    await compare(MODEL, fleet.clients[0].url, policy.name, spec, prompts, "tokens", rounds)
    if only != "embedded":
        async with local_server() as url:
            for ask in SAID:
                spec = JudgeSpec(ask=ask, engine="local")
                await compare("local server", url, "any", spec, 250 if quick else 2500, "verdicts", rounds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few cases")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", choices=["embedded", "local"])
    given = parser.parse_args()
    asyncio.run(measure(given.quick, given.rounds, given.only))


if __name__ == "__main__":
    main()
