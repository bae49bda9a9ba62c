"""The real vLLM, in an environment of its own: `make test-vllm` installs it and runs these."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from dataengine.engines.client import ChatClient, ChatRequest, Failure
from dataengine.engines.vllm import vllm_server
from dataengine.engines.weights import find_model
from dataengine.shipped import load_recipe
from schemas.recipe import Guided, VllmEngine
from warehouse.connect import connect

PYTHON = os.environ.get("VLLM_PYTHON", "")
pytestmark = [
    pytest.mark.vllm,
    pytest.mark.timeout(900),
    pytest.mark.skipif(not PYTHON, reason="VLLM_PYTHON names no interpreter; `make test-vllm` does"),
]

ENGINE: dict[str, Any] = {
    "kind": "vllm",
    "model": "smollm2-135m-instruct",
    "python": PYTHON,
    "dtype": "bfloat16",
    "max_model_len": 1024,
    "send_seed": False,  # on CPU a seed ends vLLM's engine
    "arguments": ["--enforce-eager"],
    "env": {"VLLM_CPU_KVCACHE_SPACE": "2", "VLLM_LOGGING_LEVEL": "WARNING"},
    "ready_seconds": 400,
    "max_in_flight": 64,
}
HELLO = [{"role": "user", "content": "Is 3 + 4 equal to 7? Say yes or no."}]
SCHEMA = {
    "type": "object",
    "properties": {"analysis": {"type": "string", "maxLength": 40}, "verdict": {"enum": ["correct", "incorrect"]}},
    "required": ["analysis", "verdict"],
    "additionalProperties": False,
}


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    """The cold start of the shipped recipe `laptop`, sampled by vLLM."""
    value = load_recipe("laptop").model_dump(mode="json", exclude_none=True)
    value["engines"] = {"base": ENGINE}
    value["steps"] = {"cold_start": value["steps"]["cold_start"]}
    path = tmp_path / "vllm.yaml"
    path.write_text(json.dumps(value))
    return path


@pytest.fixture
def start(tmp_path: Path) -> Callable[..., "subprocess.Popen[str]"]:
    def run(*args: object) -> "subprocess.Popen[str]":
        words = [sys.executable, "-m", "dataengine.cli", "run", *map(str, args), "--warehouse", str(tmp_path / "data")]
        return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    return run


def rows(tmp_path: Path, sql: str) -> list[Any]:
    with connect(tmp_path / "data") as connection:
        return connection.execute(sql).fetchall()


def test_the_demos_cold_start_runs_through_it_and_survives_its_end(
    recipe: Path, start: Callable[..., Any], tmp_path: Path
) -> None:
    child = start(recipe, "--limit", "20", "steps.cold_start.samples=8")
    deadline = time.monotonic() + 600
    servers: list[psutil.Process] = []
    while time.monotonic() < deadline and not (servers and answered(tmp_path) >= 16):
        assert child.poll() is None, child.communicate()
        servers = [p for p in psutil.Process(child.pid).children() if "vllm.entrypoints" in " ".join(p.cmdline())]
        time.sleep(0.3)
    servers[0].send_signal(signal.SIGKILL)
    out, err = child.communicate()
    assert child.returncode == 2, (out, err)
    last = err.splitlines()[-1]
    assert last.startswith("EngineError: http://127.0.0.1:")
    assert last.endswith("mend the server and run the same command again")
    assert "Traceback" not in err
    kept = answered(tmp_path)
    assert 16 <= kept < 160

    again = start(recipe, "--limit", "20", "steps.cold_start.samples=8")
    out, err = again.communicate()
    assert again.returncode == 0, (out, err)
    assert f"{160 - kept} of 160 samples asked for" in out
    assert rows(tmp_path, "SELECT count(*), count(DISTINCT trajectory_id) FROM trajectories_current") == [(160, 160)]
    assert rows(tmp_path, "SELECT count(*) FROM trajectories WHERE error IS NULL") == [(160,)]
    # The prefilled <think> is gone on with, and the demonstrations are followed.
    ((in_form,),) = rows(tmp_path, "SELECT avg((\"format\" = 'pass')::INT) FROM trajectory_facts")
    assert in_form > 0.5
    assert not [p for p in psutil.process_iter(["cmdline"]) if "vllm.entrypoints" in " ".join(p.info["cmdline"] or [])]


def answered(tmp_path: Path) -> int:
    if not (tmp_path / "data" / "tables" / "trajectories" / "_delta_log").is_dir():
        return 0
    return int(rows(tmp_path, "SELECT count(*) FROM trajectories WHERE error IS NULL")[0][0])


def test_guided_decoding_long_prompts_and_several_samples(tmp_path: Path) -> None:
    model = find_model("smollm2-135m-instruct")
    engine = VllmEngine.model_validate(ENGINE)
    choice, schema = Guided(choice=["yes", "no"]), Guided(json_schema=SCHEMA)

    async def converse() -> None:
        async with (
            vllm_server(engine, str(model.folder), model.policy, log=tmp_path / "vllm.log") as url,
            ChatClient(url, model.policy, logprobs=True) as client,
        ):
            several = [ChatRequest(HELLO, 20, 1.0, 1.0, seed=None) for _ in range(8)]
            replies = await asyncio.gather(*map(client.ask, several))
            assert len({r.text for r in replies}) > 1
            assert all(r.logprob_sum is not None and r.logprob_sum < 0 for r in replies)
            for guiding in ("structured_outputs", "response_format"):
                async with ChatClient(url, model.policy, guiding=guiding) as guided:  # type: ignore[arg-type]
                    chosen = await guided.ask(ChatRequest(HELLO, 20, 1.0, 1.0, seed=None, guided=choice))
                    assert choice.value(chosen.text) in ("yes", "no")
                    verdict = await guided.ask(ChatRequest(HELLO, 200, 1.0, 1.0, seed=None, guided=schema))
                    assert set(json.loads(verdict.text)) == {"analysis", "verdict"}
            long = [{"role": "user", "content": "Count: " + " one" * 850}]
            reply = await client.ask(ChatRequest(long, 20, 1.0, 1.0, seed=None))
            assert (reply.prompt_tokens or 0) > 850
            with pytest.raises(Failure, match="HTTP 400: ") as refused:
                await client.ask(ChatRequest([{"role": "user", "content": " one" * 2000}], 20, 1.0, 1.0, seed=None))
            assert not refused.value.again

    asyncio.run(converse())
