"""Starting and stopping vLLM, with a stub in its place that does no more than come up; the real one is in test-vllm."""

import asyncio
import os
import signal
import sys
import textwrap
from pathlib import Path
from typing import Any

import psutil
import pytest

from dataengine.engines.vllm import command, vllm_server
from schemas.errors import EngineError
from schemas.recipe import VllmEngine

STUB = """
import argparse, json, os, subprocess, sys, time
from http.server import BaseHTTPRequestHandler, HTTPServer

print("starting", sys.argv[1:], flush=True)
if os.environ.get("STUB") == "fail":
    raise ValueError("no such model: " + sys.argv[2])
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
parser = argparse.ArgumentParser()
parser.add_argument("--port", type=int)
args, _ = parser.parse_known_args()
if os.environ.get("STUB") == "hang":
    time.sleep(600)

class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"{}")
    def log_message(self, *_):
        pass

HTTPServer(("127.0.0.1", args.port), Handler).serve_forever()
"""


@pytest.fixture
def engine(tmp_path: Path) -> Any:
    """An engine whose environment finds the stub as `vllm.entrypoints.openai.api_server`."""
    package = tmp_path / "stub" / "vllm" / "entrypoints" / "openai"
    package.mkdir(parents=True)
    for folder in (package, package.parent, package.parent.parent):
        (folder / "__init__.py").touch()
    (package / "api_server.py").write_text(textwrap.dedent(STUB))

    def make(**settings: Any) -> VllmEngine:
        env = {"PYTHONPATH": str(tmp_path / "stub"), "STUB": settings.pop("stub", "")}
        return VllmEngine.model_validate({"kind": "vllm", "model": "m", "env": env, **settings})

    return make


def family(pid: int) -> list[psutil.Process]:
    return psutil.Process(pid).children(recursive=True)


def test_it_comes_up_and_goes_with_all_its_processes(engine: Any, tmp_path: Path) -> None:
    log = tmp_path / "logs" / "vllm.log"
    before = set(family(os.getpid()))  # workers that other tests left

    async def run() -> list[psutil.Process]:
        async with vllm_server(engine(), "some/model", "m@1", log=log) as url:
            assert url.startswith("http://127.0.0.1:")
            return [p for p in family(os.getpid()) if p not in before]

    started = asyncio.run(run())
    assert len([p for p in started if "api_server" in " ".join(_words(p))]) <= 1
    _, alive = psutil.wait_procs(started, timeout=30)
    assert not alive
    assert "starting" in log.read_text()


def _words(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def test_settings_become_arguments(engine: Any) -> None:
    made = engine(
        revision="abc", tensor_parallel_size=4, data_parallel_size=2, dtype="bfloat16", max_model_len=32768,
        arguments=["--enforce-eager"], python="/opt/vllm/bin/python",
    )  # fmt: skip
    words = " ".join(command(made, "some/model", "some/model@abc", 8123))
    assert words.startswith("/opt/vllm/bin/python -m vllm.entrypoints.openai.api_server --model some/model ")
    for part in (
        "--served-model-name some/model@abc",
        "--port 8123",
        "--tensor-parallel-size 4 --data-parallel-size 2",
        "--enable-prefix-caching",
        "--revision abc --dtype bfloat16 --max-model-len 32768 --enforce-eager",
    ):
        assert part in words
    assert "--revision" not in command(engine(), "m", "m@1", 1)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"stub": "fail"}, r"vllm did not start: ValueError: no such model: some/model; see .*vllm\.log"),
        ({"stub": "hang", "ready_seconds": 1}, r"vllm did not start within 1 s \(`ready_seconds`\); see .*vllm\.log"),
        ({"python": "/no/such/python"}, "vllm: /no/such/python: no such file or directory; name vLLM's Python"),
        ({"env": {}}, "No module named 'vllm'.*: give `python`, the interpreter of an environment that has vLLM"),
    ],
)
def test_one_that_does_not_come_up_is_one_line(
    engine: Any, tmp_path: Path, settings: dict[str, Any], message: str
) -> None:
    async def run() -> None:
        async with vllm_server(engine(**settings), "some/model", "m@1", log=tmp_path / "vllm.log"):
            raise AssertionError("it came up")

    with pytest.raises(EngineError, match=message) as error:
        asyncio.run(run())
    assert "\n" not in str(error.value)


@pytest.mark.slow
def test_it_goes_with_a_run_that_is_killed(engine: Any, tmp_path: Path) -> None:
    spec = engine().model_dump_json()
    program = textwrap.dedent(f"""
        import asyncio
        from pathlib import Path
        from dataengine.engines.vllm import vllm_server
        from schemas.recipe import VllmEngine
        async def run():
            async with vllm_server(VllmEngine.model_validate_json({spec!r}), "m", "m@1", log=Path("vllm.log")):
                print("up", flush=True)
                await asyncio.sleep(600)
        asyncio.run(run())
    """)

    async def run() -> list[psutil.Process]:
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-c", program, stdout=asyncio.subprocess.PIPE, cwd=tmp_path
        )
        assert child.stdout is not None
        assert await child.stdout.readline() == b"up\n"
        servers = [p for p in family(child.pid) if "api_server" in " ".join(_words(p))]
        assert len(servers) == 1
        child.send_signal(signal.SIGKILL)
        await child.wait()
        return servers

    _, alive = psutil.wait_procs(asyncio.run(run()), timeout=30)
    assert not alive
