"""Starts and stops the embedded engine's server."""

import asyncio
import contextlib
import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path

from dataengine.engines.weights import Model
from dataengine.processes import polite_threads
from schemas.errors import EngineError

_READY_SECONDS = 180


@contextlib.asynccontextmanager
async def embedded_server(model: Model, *, slots: int, log: Path) -> AsyncIterator[str]:
    """The base URL of a server of this model, for as long as the context lasts; its log goes to the file `log`.

    Raises EngineError with the last line of the log when it does not come up.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as stderr:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "dataengine.engines.server",
            "--model", str(model.folder), "--name", model.policy, "--slots", str(slots),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=stderr,
            # Ctrl-C is for the run, which then closes the server; a signal to both would leave half a log.
            start_new_session=True,
            env={**polite_threads(), "TOKENIZERS_PARALLELISM": "false"},
        )  # fmt: skip
    try:
        yield await _ready(process, log)
    finally:
        assert process.stdin is not None
        process.stdin.close()
        try:
            await asyncio.wait_for(process.wait(), 5)
        except TimeoutError:
            process.kill()
            await process.wait()


async def _ready(process: asyncio.subprocess.Process, log: Path) -> str:
    assert process.stdout is not None
    try:
        line = await asyncio.wait_for(process.stdout.readline(), _READY_SECONDS)
    except TimeoutError:
        raise EngineError(f"the embedded engine did not start within {_READY_SECONDS} s; see {log}") from None
    if not line:
        lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        reason = lines[-1] if lines else "no message"
        hint = ": pip install 'dataengine[train]'" if "No module named" in reason else f"; see {log}"
        raise EngineError(f"the embedded engine did not start: {reason}{hint}")
    return str(json.loads(line)["url"])
