"""The product beside vLLM's own benchmark client, on one running vLLM server, and vLLM offline.

    make test-vllm        # installs vLLM for CPU into .venv-vllm
    python benchmarks/serving.py [--curator PYTHON] [--distilabel PYTHON]

48 prompts, 4 samples each, at most 64 tokens: output tokens per second. Ours renders prompts, parses replies and
commits every attempt to the warehouse. The two clients take turns, after one round that warms the prefix cache.
"""

import argparse
import asyncio
import json
import os
import re
import subprocess
import tempfile
import time
import urllib.request
from pathlib import Path

from dataengine.engines.vllm import vllm_server
from dataengine.generate import Asking
from dataengine.policy import Policy
from dataengine.runlog import RunLog
from dataengine.sampling import sample_and_check
from dataengine.shipped import load_recipe
from dataengine.sources.build import PromptSet, build
from schemas.recipe import EndpointEngine, Sampling, VllmEngine
from schemas.records import Prompt
from warehouse.connect import connect
from warehouse.store import Warehouse

SAMPLES, MAX_TOKENS, MAX_LENGTH = 4, 64, 1024
SAMPLING = Sampling(temperature=0.8, top_p=0.95)
SERVE = """
import argparse
import vllm.benchmarks.serve as serve
parser = argparse.ArgumentParser()
serve.add_cli_args(parser)
serve.main(parser.parse_args())
"""
OFFLINE = """
import json, sys, time
from vllm import LLM, SamplingParams
model, file, samples, tokens, length = sys.argv[1], sys.argv[2], *map(int, sys.argv[3:6])
llm = LLM(model=model, dtype="bfloat16", enforce_eager=True, max_model_len=length)
rows = [json.loads(line)["prompt"] for line in open(file)][::samples]
asked = [[{"role": "user", "content": text}] for text in rows]
params = SamplingParams(n=samples, temperature=0.8, top_p=0.95, max_tokens=tokens)
llm.chat(asked[:8], params, use_tqdm=False)
started = time.perf_counter()
found = llm.chat(asked, params, use_tqdm=False)
print("rate", sum(len(o.token_ids) for r in found for o in r.outputs) / (time.perf_counter() - started))
"""


def their_client(python: str, url: str, name: str, folder: Path, file: Path, count: int) -> float:
    words = [python, "-c", SERVE, "--backend", "openai-chat", "--base-url", url.removesuffix("/v1")]
    words += ["--endpoint", "/v1/chat/completions", "--model", str(folder), "--served-model-name", name]
    words += ["--dataset-name", "custom", "--dataset-path", str(file), "--skip-chat-template", "--disable-shuffle"]
    words += ["--num-prompts", str(count), "--custom-output-len", str(MAX_TOKENS), "--num-warmups", "0"]
    words += ["--temperature", str(SAMPLING.temperature), "--top-p", str(SAMPLING.top_p), "--disable-tqdm"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    told = re.search(r"Output token throughput \(tok/s\):\s+([\d.]+)", done.stdout)
    if told is None:
        raise SystemExit(f"vLLM's client failed:\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}")
    return float(told[1])


def ours(url: str, name: str, prompts: list[Prompt], number: int, folder: Path) -> float:
    engine = EndpointEngine(
        kind="endpoint", url=url, model=name, send_seed=False, max_in_flight=512, start_in_flight=512, timeout=3600
    )
    warehouse = Warehouse.open(folder / f"warehouse-{number}", create=True)
    asking = Asking(
        stage="reasoning", policy=name, engine="vllm", samples=SAMPLES, max_tokens=MAX_TOKENS, template="plain",
        sampling=SAMPLING.model_copy(update={"seed": number}), send_seed=False,
    )  # fmt: skip
    run = RunLog(warehouse, "bench", "bench", {}, [])
    started = time.perf_counter()
    done = sample_and_check(warehouse, run, "ours", PromptSet(prompts), Policy.of(engine), asking, [])
    seconds = time.perf_counter() - started
    with connect(warehouse.path) as connection:
        row = connection.execute("SELECT count(*), count(error), sum(completion_tokens) FROM trajectories").fetchone()
    assert row is not None and row[:2] == (done.asked, 0), row
    return float(row[2]) / seconds


def peer(script: str, python: str, url: str, name: str, file: Path) -> float:
    """Tokens per second of another package. The server counts the tokens, since not all packages do."""
    before = generated(url)
    words = [python, str(Path(__file__).parent / "peers" / script), url, name, str(file), str(SAMPLES), str(MAX_TOKENS)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{script} failed:\n{done.stderr[-3000:]}")
    return (generated(url) - before) / float(done.stdout.strip().splitlines()[-1])


def generated(url: str) -> float:
    """How many tokens the server has generated so far."""
    with urllib.request.urlopen(url.removesuffix("/v1") + "/metrics") as reply:
        lines = reply.read().decode().splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith("vllm:generation_tokens_total"))


async def compare(
    python: str, peers: dict[str, str], prompts: list[Prompt], rounds: int, folder: Path, file: Path
) -> None:
    spec = VllmEngine(
        kind="vllm", model="smollm2-135m-instruct", python=python, dtype="bfloat16", max_model_len=MAX_LENGTH,
        arguments=["--enforce-eager"], env={"VLLM_CPU_KVCACHE_SPACE": "2"},
    )  # fmt: skip
    policy = Policy.of(spec)
    assert policy.model is not None
    weights, count = policy.model.folder, SAMPLES * len(prompts)
    async with vllm_server(spec, str(weights), policy.name, log=folder / "vllm.log") as url:
        for number in range(rounds + 1):
            theirs = await asyncio.to_thread(their_client, python, url, policy.name, weights, file, count)
            mine = await asyncio.to_thread(ours, url, policy.name, prompts, number, folder)
            told = [f"vllm bench serve {theirs:6.1f}", f"ours {mine:6.1f}", f"ratio {mine / theirs:.3f}"]
            for peer_name, its_python in peers.items():
                rate = await asyncio.to_thread(
                    peer, f"{peer_name}_client.py", its_python, url, policy.name, folder / "once.jsonl"
                )
                told.append(f"{peer_name} {rate:6.1f}")
            print(f"{f'round {number}' if number else 'warm-up':<8}", "   ".join(told), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--python", default=".venv-vllm/bin/python")
    parser.add_argument("--prompts", type=int, default=48)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--curator", metavar="PYTHON", help="of an environment with bespokelabs-curator")
    parser.add_argument("--distilabel", metavar="PYTHON", help="of an environment with distilabel")
    args = parser.parse_args()
    python = str(Path(args.python).absolute())
    prompts = build("ladder", load_recipe("laptop").prompts).limited(args.prompts).prompts
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        file = folder / "prompts.jsonl"
        lines = [json.dumps({"prompt": p.messages[-1].content}) for p in prompts for _ in range(SAMPLES)]
        file.write_text("\n".join(lines) + "\n")
        (folder / "once.jsonl").write_text("\n".join(lines[::SAMPLES]) + "\n")
        peers = {name: p for name in ("distilabel", "curator") if (p := getattr(args, name))}
        asyncio.run(compare(python, peers, prompts, args.rounds, folder, file))
        weights = Policy.of(VllmEngine(kind="vllm", model="smollm2-135m-instruct")).model
        assert weights is not None
        done = subprocess.run(
            [python, "-c", OFFLINE, str(weights.folder), str(file), *map(str, (SAMPLES, MAX_TOKENS, MAX_LENGTH))],
            capture_output=True, text=True, check=True, env={**os.environ, "VLLM_CPU_KVCACHE_SPACE": "2"},
        )  # fmt: skip
        rate = re.search(r"^rate ([\d.]+)$", done.stdout, re.MULTILINE)
        assert rate is not None, done.stdout
        print(f"offline LLM.chat, n = {SAMPLES}: {float(rate[1]):.1f}")


if __name__ == "__main__":
    main()
