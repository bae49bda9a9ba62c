"""Embedded sampling side by side: our decoder, the same without shared prefixes, transformers `generate`, llama.cpp.

    python benchmarks/engines.py [--quick]

Then the whole product path (prompts rendered, replies parsed, every attempt persisted) beside the simplest client of
the same server. Every row is tokens out per second of the same prompts, budgets and sampling. Run it on a quiet
machine. llama.cpp takes part when `xllamacpp` is installed (its weights are the 4-bit ones, ours are fp32), the server
of transformers when `fastapi` and `uvicorn` are (an eighth of the prompts, zero-shot: it cannot go on with a started
reply).
"""

import argparse
import asyncio
import importlib.util
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from dataengine.engines.decoder import Decoder, Request, load_for_decoding
from dataengine.engines.weights import SHIPPED, find_model
from dataengine.generate import Asking
from dataengine.policy import Policy
from dataengine.prompting import render
from dataengine.runlog import RunLog
from dataengine.sampling import sample_and_check
from dataengine.shipped import load_recipe
from dataengine.sources.build import build
from schemas.recipe import EmbeddedEngine, EndpointEngine, Sampling
from warehouse.store import Warehouse

SAMPLING = Sampling(temperature=0.8, top_p=0.95)
MAX_TOKENS = 80
STOP = {0, 2}


class Unshared(Decoder):
    """Our decoder as it would be if every sample ran its own copy of its prompt."""

    def _known(self, prompt: tuple[int, ...]) -> int:
        return 0

    def _prefill(self, batch: list[Request]) -> None:
        for request in batch:
            super()._prefill([request])


def workload(few_shot: bool, prompts: int) -> list[list[dict[str, str]]]:
    """Rendered conversations of the recipe `laptop`, with its four demonstrations or with none."""
    made = build("ladder", load_recipe("laptop").prompts).limited(prompts)
    return [
        render(p.messages, "think", made.demonstrations[p.source] if few_shot else (), "<think>" if few_shot else "")
        for p in made.prompts
    ]


def token_ids(tokenizer: Any, messages: list[dict[str, str]]) -> list[int]:
    going_on = messages[-1]["role"] == "assistant"
    return list(
        tokenizer.apply_chat_template(
            messages, continue_final_message=going_on, add_generation_prompt=not going_on, return_dict=False
        )
    )


def ours(kind: type[Decoder], folder: Path) -> Callable[[list[list[int]], int], tuple[int, float]]:
    decoder = kind(load_for_decoding(folder), slots=96, stop=STOP)

    def run(prompts: list[list[int]], samples: int) -> tuple[int, float]:
        before = decoder.generated_tokens
        for prompt in prompts:
            for sample in range(samples):
                decoder.submit(Request(prompt, MAX_TOKENS, SAMPLING.temperature, SAMPLING.top_p, seed=sample))
        started = time.perf_counter()
        while decoder.busy:
            decoder.step()
        return decoder.generated_tokens - before, time.perf_counter() - started

    return run


def generate(folder: Path, dtype: torch.dtype) -> Callable[[list[list[int]], int], tuple[int, float]]:
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype)

    def run(prompts: list[list[int]], samples: int) -> tuple[int, float]:
        rows = [p for p in prompts for _ in range(samples)]
        rows.sort(key=len)
        tokens, started = 0, time.perf_counter()
        for start in range(0, len(rows), 64):
            batch = rows[start : start + 64]
            longest = max(map(len, batch))
            ids = torch.tensor([[2] * (longest - len(p)) + p for p in batch])
            mask = torch.tensor([[0] * (longest - len(p)) + [1] * len(p) for p in batch])
            out = model.generate(
                ids, attention_mask=mask, max_new_tokens=MAX_TOKENS, do_sample=True, pad_token_id=2,
                temperature=SAMPLING.temperature, top_p=SAMPLING.top_p, eos_token_id=sorted(STOP),
            )  # fmt: skip
            for row in out[:, longest:].tolist():
                ends = [i for i, t in enumerate(row) if t in STOP]
                tokens += ends[0] + 1 if ends else len(row)
        return tokens, time.perf_counter() - started

    return run


def llama_cpp() -> Callable[[list[list[dict[str, str]]], int], tuple[int, float]] | None:
    if importlib.util.find_spec("xllamacpp") is None:
        return None
    spec = importlib.util.find_spec(SHIPPED["smollm2-135m-instruct"][0])
    assert spec is not None and spec.submodule_search_locations is not None
    weights = next(Path(next(iter(spec.submodule_search_locations))).rglob("*.gguf"))

    def run(conversations: list[list[dict[str, str]]], samples: int) -> tuple[int, float]:
        import xllamacpp

        params = xllamacpp.CommonParams()
        params.model.path, params.verbosity = str(weights), 0
        params.n_parallel, params.n_ctx, params.cont_batching = 16, 16 * 1024, True
        params.cpuparams.n_threads = 2
        params.prefill_assistant = True
        # Started here: its idle threads would take part of the machine from the others.
        server = xllamacpp.Server(params)
        return asyncio.run(ask_all(f"{server.listening_address}/v1", conversations, samples))

    return run


def transformers_serve(folder: Path) -> Callable[[list[list[dict[str, str]]], int], tuple[int, float]] | None:
    if not all(importlib.util.find_spec(m) for m in ("fastapi", "uvicorn")):
        return None

    def run(conversations: list[list[dict[str, str]]], samples: int) -> tuple[int, float]:
        port = socket.create_server(("127.0.0.1", 0)).getsockname()[1]
        command = [str(Path(sys.executable).parent / "transformers"), "serve", str(folder), "--device", "cpu"]
        command += ["--port", str(port), "--continuous-batching"]
        server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            url = f"http://127.0.0.1:{port}"
            asyncio.run(ready(url))
            asyncio.run(ask_all(f"{url}/v1", conversations[:1], 1, model=str(folder)))
            return asyncio.run(ask_all(f"{url}/v1", conversations, samples, model=str(folder)))
        finally:
            server.kill()
            server.wait()

    return run


async def ready(url: str) -> None:
    async with aiohttp.ClientSession() as session:
        for _ in range(120):
            try:
                async with session.get(f"{url}/health") as response:
                    if response.status == 200:
                        return
            except aiohttp.ClientError:
                pass
            await asyncio.sleep(1)
    raise TimeoutError(f"{url} does not come up")


async def ask_all(
    url: str, conversations: list[list[dict[str, str]]], samples: int, model: str = ""
) -> tuple[int, float]:
    """The simplest client there is: every request at once, replies counted and thrown away."""

    async def ask(session: aiohttp.ClientSession, messages: list[dict[str, str]], seed: int) -> int:
        body: dict[str, Any] = {
            "model": model, "messages": messages, "max_tokens": MAX_TOKENS, "temperature": SAMPLING.temperature,
            "top_p": SAMPLING.top_p, "seed": seed,
        }  # fmt: skip
        if messages[-1]["role"] == "assistant":
            body |= {"continue_final_message": True, "add_generation_prompt": False}
        async with session.post(f"{url}/chat/completions", json=body) as response:
            return int((await response.json())["usage"]["completion_tokens"])

    timeout = aiohttp.ClientTimeout(total=3600)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), timeout=timeout) as session:
        started = time.perf_counter()
        counts = await asyncio.gather(*(ask(session, m, s) for m in conversations for s in range(samples)))
        return sum(counts), time.perf_counter() - started


async def product_path(prompts: int, samples: int, rounds: int) -> list[tuple[float, float]]:
    """Tokens per second of the simplest client and of the product on one server, in turn."""
    policy = Policy.of(EmbeddedEngine(kind="embedded", model="smollm2-135m-instruct"))
    made = build("ladder", load_recipe("laptop").prompts).limited(prompts)
    conversations = [render(p.messages, "think") for p in made.prompts]
    found = []
    with tempfile.TemporaryDirectory() as folder:
        async with policy.fleet(Path(folder) / "engine.log") as fleet:
            url = fleet.clients[0].url
            await ask_all(url, conversations[:8], 2)  # the first requests pay for memory and caches
            for number in range(rounds):
                tokens, seconds = await ask_all(url, conversations, samples)
                plain = tokens / seconds
                warehouse = Warehouse.open(Path(folder) / f"warehouse-{number}", create=True)
                asking = Asking(
                    stage="reasoning", policy=policy.name, engine="embedded", samples=samples,
                    sampling=SAMPLING.model_copy(update={"seed": number + 1}), max_tokens=MAX_TOKENS, template="think",
                )  # fmt: skip
                served = EndpointEngine(
                    kind="endpoint", url=url, model=policy.name, max_in_flight=192, start_in_flight=192
                )
                run = RunLog(warehouse, "bench", "bench", {}, [])
                started = time.perf_counter()
                await asyncio.to_thread(
                    sample_and_check, warehouse, run, "product", made, Policy.of(served), asking, []
                )
                seconds = time.perf_counter() - started
                import polars as pl

                tokens = pl.read_delta(str(warehouse.table_path("trajectories")))["completion_tokens"].sum()
                found.append((plain, tokens / seconds))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a third of the prompts")
    quick = parser.parse_args().quick
    torch.set_num_threads(2)
    folder = find_model("smollm2-135m-instruct").folder
    tokenizer = AutoTokenizer.from_pretrained(folder)
    count = 16 if quick else 48
    print(f"{count} prompts, 4 samples each few-shot and 8 zero-shot, at most {MAX_TOKENS} tokens, {SAMPLING}")
    for few_shot, samples in ((True, 4), (False, 8)):
        conversations = workload(few_shot, count)
        ids = [token_ids(tokenizer, m) for m in conversations]
        name = "few-shot" if few_shot else "zero-shot"
        print(f"\n{name}: prompts of {min(map(len, ids))} to {max(map(len, ids))} tokens")
        rows: list[tuple[str, Callable[[], tuple[int, float]]]] = [
            ("decoder, prefixes shared", lambda: ours(Decoder, folder)(ids, samples)),  # noqa: B023
            ("decoder, nothing shared", lambda: ours(Unshared, folder)(ids, samples)),  # noqa: B023
            ("transformers generate fp32", lambda: generate(folder, torch.float32)(ids, samples)),  # noqa: B023
            ("transformers generate bf16", lambda: generate(folder, torch.bfloat16)(ids, samples)),  # noqa: B023
        ]
        peer = llama_cpp()
        if peer is not None:
            rows.append(("llama.cpp Q4_1, 16 slots", lambda: peer(conversations, samples)))  # noqa: B023
        served = None if few_shot else transformers_serve(folder)
        if served is not None:
            rows.append(("transformers serve", lambda: served(conversations[: count // 8], samples)))  # noqa: B023
        for label, run in rows:
            tokens, seconds = run()
            print(
                f"  {label:<28} {tokens:>7,} tokens  {seconds:>6.1f} s  {tokens / seconds:>6.0f} tokens/s", flush=True
            )
    print("\nproduct beside the simplest client of the same server (zero-shot):")
    for plain, product in asyncio.run(product_path(count, 8, 3)):
        print(
            f"  simplest {plain:6.0f} tokens/s   product {product:6.0f} tokens/s   ratio {product / plain:.3f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
