"""Starts and stops vLLM's OpenAI-compatible server."""

import asyncio
import contextlib
import os
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp

from dataengine.processes import die_with_parent
from schemas.errors import EngineError
from schemas.recipe import VllmEngine

# Seconds for vLLM to end its workers by itself.
_GRACE = 30


@contextlib.asynccontextmanager
async def vllm_server(engine: VllmEngine, model: str, name: str, *, log: Path) -> AsyncIterator[str]:
    """The base URL of a vLLM server of `model` (a folder or a hub id) under `name`, for as long as the context lasts.

    Its output is appended to the file `log`. Raises EngineError, with the last line of it, when it does not come up.
    """
    port = _free_port()
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        try:
            process = await asyncio.create_subprocess_exec(
                *command(engine, model, name, port),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                # vLLM starts processes of its own: all of them are one group, and Ctrl-C is for the run alone.
                start_new_session=True,
                preexec_fn=die_with_parent,
                env={**os.environ, **engine.env},
            )
        except OSError as e:
            raise EngineError(f"vllm: {engine.python}: {(e.strerror or str(e)).lower()}; name vLLM's Python") from None
    try:
        await _ready(process, f"http://127.0.0.1:{port}/health", engine.ready_seconds, log)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        await _end(process)


def command(engine: VllmEngine, model: str, name: str, port: int) -> list[str]:
    """The command line of the server."""
    words = [engine.python or sys.executable, "-m", "vllm.entrypoints.openai.api_server"]
    words += ["--model", model, "--served-model-name", name, "--host", "127.0.0.1", "--port", str(port)]
    words += ["--tensor-parallel-size", str(engine.tensor_parallel_size)]
    words += ["--data-parallel-size", str(engine.data_parallel_size)]
    words += ["--enable-prefix-caching"]
    for option, value in (
        ("--revision", engine.revision),
        ("--dtype", engine.dtype),
        ("--max-model-len", engine.max_model_len),
    ):
        if value is not None:
            words += [option, str(value)]
    return words + engine.arguments


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


async def _ready(process: asyncio.subprocess.Process, url: str, seconds: float, log: Path) -> None:
    deadline = time.monotonic() + seconds
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5)) as session:
        while time.monotonic() < deadline:
            if process.returncode is not None:
                raise EngineError(f"vllm did not start: {_reason(log)}; see {log}")
            with contextlib.suppress(aiohttp.ClientError, TimeoutError):
                async with session.get(url) as response:
                    if response.status == 200:
                        return
            await asyncio.sleep(0.5)
    raise EngineError(f"vllm did not start within {seconds:g} s (`ready_seconds`); see {log}")


def _reason(log: Path) -> str:
    lines = [line for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    if not lines:
        return "no message"
    if "No module named" in lines[-1]:
        return f"{lines[-1]}: give `python`, the interpreter of an environment that has vLLM"
    errors = [line for line in lines if "Error" in line]
    return (errors or lines)[-1].strip()[:300]


async def _end(process: asyncio.subprocess.Process) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), _GRACE)
    # The group may outlive its first process.
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
