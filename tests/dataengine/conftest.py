"""A scripted chat-completions server, small recipes that ask it, and the command line in this process and in others."""

import asyncio
import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

import dataengine.cli
from schemas.keys import canonical_json
from warehouse.connect import connect
from warehouse.store import Warehouse
from warehouse.views import names_in

# A reply that the script cuts off is whole when it may be this long.
ENOUGH_TOKENS = 200


@dataclass
class Answered:
    """What one command did."""

    code: int
    out: str
    err: str


def scripted_reply(body: dict[str, Any]) -> tuple[str, str]:
    """Text and finish reason, from nothing but the messages and the seed: mostly right, some wrong, some cut off."""
    question = body["messages"][-1]["content"]
    chance = int(hashlib.sha256(canonical_json([body["messages"], body.get("seed")]).encode()).hexdigest(), 16) % 10
    found = re.search(r"-?\d+(?: [-+] \d+)+", question)
    result = sum(int(t.replace(" ", "")) for t in re.findall(r"[-+]? ?\d+", found.group())) if found else 0
    if chance == 7:
        result += 1
    if chance == 8 and body["max_tokens"] < ENOUGH_TOKENS:
        return "<think>\nFirst I look at", "length"
    return f"<think>\nI add them up and get {result}.\n</think>\nIt is {result}.\n<answer>{result}</answer>", "stop"


def scripted_judge(body: dict[str, Any]) -> tuple[str, str]:
    """Plays a strong judge of sums, from nothing but the messages: right is who ends in the reference."""
    asked = body["messages"][-1]["content"]
    shown = dict(re.findall(r"^<(\w+)-[0-9a-f]{12}>\n(.*?)\n</\1-[0-9a-f]{12}>$", asked, re.M | re.S))
    found = re.findall(r"<answer>(.*?)</answer>", shown["response"])
    verdict = "correct" if found and found[-1] == shown["reference"] else "incorrect"
    said = f"It ends in {found[-1] if found else 'nothing'}, the reference is {shown['reference']}."
    return json.dumps({"analysis": said, "verdict": verdict}), "stop"


def scripted_policy_and_judge(body: dict[str, Any]) -> tuple[str, str]:
    """One server for both, told apart by the form that a reply must have."""
    return scripted_judge(body) if "structured_outputs" in body else scripted_reply(body)


@dataclass
class ScriptedServer:
    """A real server on 127.0.0.1 in a thread of its own, whose replies follow a script.

    `fault` is asked for each request, with how often this very request came before, and names what goes wrong or not.
    """

    fault: Callable[[dict[str, Any], int], str | None] = lambda body, before: None
    reply: Callable[[dict[str, Any]], tuple[str, str]] = scripted_reply
    seconds: float = 0.0
    port: int = 0  # any that is free
    most: int | None = None  # more requests at once than this are refused
    asked: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._seen: dict[str, int] = {}
        self._running = 0
        self._dying = False
        self._loop = asyncio.new_event_loop()
        ready = threading.Event()
        self._thread = threading.Thread(target=self._serve, args=(ready,), name="scripted server")
        self._thread.start()
        assert ready.wait(10)
        self.url = f"http://127.0.0.1:{self.port}/v1"

    def _serve(self, ready: threading.Event) -> None:
        self._loop.run_until_complete(self._start())
        ready.set()
        self._loop.run_forever()
        self._loop.run_until_complete(self._runner.cleanup())
        self._loop.close()

    async def _start(self) -> None:
        app = web.Application(client_max_size=64 << 20)
        app.add_routes([web.get("/v1/models", self._models), web.post("/v1/chat/completions", self._complete)])
        self._runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port, reuse_address=True).start()
        self.port = self._runner.addresses[0][1]

    def stop(self) -> None:
        """Closes every connection and the port; may be called twice."""
        if self._thread.is_alive() and not self._dying:
            self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def die(self) -> None:
        """Stops from within a request, as a crash would."""
        if not self._dying:
            self._dying = True
            self._loop.call_soon(self._loop.stop)

    async def _models(self, request: web.Request) -> web.Response:
        return web.json_response({"object": "list", "data": [{"id": "scripted", "object": "model"}]})

    async def _complete(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        self.asked.append(body)
        name = canonical_json(body)
        before = self._seen.get(name, 0)
        self._seen[name] = before + 1
        if self.most is not None and self._running >= self.most:
            return FAULTS["429"]()
        self._running += 1
        try:
            await asyncio.sleep(self.seconds)
        finally:
            self._running -= 1
        fault = self.fault(body, before)
        if fault == "die":
            self.die()
            fault = "slow"  # never to be answered
        if fault == "reset":
            assert request.transport is not None
            request.transport.abort()
            return web.Response()
        if fault == "slow":
            await asyncio.sleep(60)
        if fault in ("cut", "trickle"):
            response = web.StreamResponse(headers={"Content-Length": "5000", "Content-Type": "application/json"})
            await response.prepare(request)
            await response.write(b'{"choices": [{"mess')
            assert request.transport is not None
            while fault == "trickle":
                await asyncio.sleep(0.02)
                await response.write(b" ")
            request.transport.abort()
            return response
        if fault in FAULTS:
            return FAULTS[fault]()
        text, reason = self.reply(body)
        message: dict[str, Any] = {"role": "assistant", "content": text}
        if fault == "split":
            thought, _, rest = text.removeprefix("<think>").partition("</think>")
            message = {"role": "assistant", "reasoning_content": thought, "content": rest}
        return _completion(message, reason, {"prompt_tokens": 10, "completion_tokens": len(text.split())})


def _completion(message: dict[str, Any], reason: Any = "stop", usage: Any = None) -> web.Response:
    choice = {"index": 0, "message": message, "finish_reason": reason}
    return web.json_response({"object": "chat.completion", "choices": [choice], "usage": usage})


def _says(**message: Any) -> Callable[[], web.Response]:
    return lambda: _completion({"role": "assistant", **message})


def _sends(text: str, kind: str = "application/json", status: int = 200, **headers: str) -> Callable[[], web.Response]:
    return lambda: web.Response(text=text, content_type=kind, status=status, headers=headers)


FAULTS: dict[str, Callable[[], web.Response]] = {
    "500": _sends('{"error": {"message": "out of memory"}}', status=500),
    "429": _sends("slow down", "text/plain", 429, **{"Retry-After": "0.01"}),
    "401": _sends('{"error": {"message": "no such key"}}', status=401),
    "404": _sends('{"error": {"message": "The model `x` does not exist."}}', status=404),
    "400": _sends('{"error": {"message": "the prompt is\\ntoo long"}}', status=400),
    "2 MB": lambda: _completion({"role": "assistant", "content": os.urandom(1 << 20).hex()}),
    "garbage": _sends('{"choices": [{"mess'),
    "html": _sends("<html><body>Bad gateway</body></html>", "text/html"),
    "empty": _sends(""),
    "nested": _sends("[" * 100_000),
    "no choices": _sends('{"choices": []}'),
    "a list": _sends("[1, 2]"),
    "content is a number": _says(content=7),
    "content is a list": _says(content=[]),
    "reasoning is a number": _says(content="x", reasoning_content=7),
    "surrogate": _says(content="lone \ud800 and NUL \x00 here"),
    "null content": _says(content=None),
    "odd reason": lambda: _completion({"content": "x"}, ["stop"], {"prompt_tokens": 10**30, "completion_tokens": -1}),
    "odd error": _sends('{"error": {"message": "bad \\ud800 sign"}}', status=400),
}


@pytest.fixture
def scripted_server() -> Iterator[Callable[..., ScriptedServer]]:
    """Starts further servers, at a port or any."""
    started: list[ScriptedServer] = []

    def start(port: int = 0) -> ScriptedServer:
        started.append(ScriptedServer(port=port))
        return started[-1]

    yield start
    for server in started:
        server.stop()


@pytest.fixture
def scripted(scripted_server: Callable[..., ScriptedServer]) -> ScriptedServer:
    return scripted_server()


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DATAENGINE_WAREHOUSE", "COLUMNS", "HTTP_PROXY", "http_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_COLOR", "1")


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Callable[..., Answered]:
    """Runs `dataengine` with these arguments in this process, in the test's folder."""

    def run(*args: object) -> Answered:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", ["dataengine", *map(str, args)])
        capsys.readouterr()
        # At its end the command stops listening to signals; this process goes on.
        before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            with pytest.raises(SystemExit) as ended:
                dataengine.cli.main()
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
        code = ended.value.code
        assert code is None or isinstance(code, int)
        told = capsys.readouterr()
        return Answered(code or 0, told.out, told.err)

    return run


@pytest.fixture
def refused(cli: Callable[..., Answered]) -> Callable[..., str]:
    """Runs a command that has to be refused as an error of the user; returns its one line."""

    def run(*args: object) -> str:
        done = cli(*args)
        assert done.code == 2, done
        lines = done.err.splitlines()
        assert len(lines) == 1, done.err
        assert done.out == ""
        assert "Traceback" not in done.err
        return lines[0]

    return run


class Killed(BaseException):
    """Ends a command as a kill would, where the test wants it."""


@pytest.fixture
def killed_at(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, int], AbstractContextManager[None]]:
    """Within the context a write to the table is the last that is tried, after so many that were made."""

    @contextmanager
    def killed(table: str, after: int) -> Iterator[None]:
        append, made = Warehouse.append, 0

        def killing(self: Warehouse, name: str, rows: Any) -> Any:
            nonlocal made
            if name == table:
                if made == after:
                    raise Killed
                made += 1
            return append(self, name, rows)

        with monkeypatch.context() as patched, pytest.raises(Killed):
            patched.setattr(Warehouse, "append", killing)
            yield

    return killed


@pytest.fixture
def process(tmp_path: Path) -> Iterator[Callable[..., "subprocess.Popen[str]"]]:
    """Starts `dataengine` with these arguments as a process of its own."""
    started: list[subprocess.Popen[str]] = []

    def start(*args: object) -> "subprocess.Popen[str]":
        child = subprocess.Popen(
            [sys.executable, "-m", "dataengine.cli", *map(str, args)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=tmp_path,
            env={**os.environ, "PYTHONWARNINGS": "error"} if "error" in sys.warnoptions else None,
        )
        started.append(child)
        return child

    yield start
    for child in started:
        if child.poll() is None:
            child.kill()
        child.communicate()


SUMS = [(a, b) for a in range(2, 30) for b in range(3, 9)]


@pytest.fixture
def recipe(tmp_path: Path) -> Callable[..., Path]:
    """Writes a recipe that puts `prompts` sums to a server; keyword arguments change its generate step.

    With a `judge`, even an empty one, what the rule has not settled is judged, by the same server.
    """

    def write(
        server: ScriptedServer,
        *,
        prompts: int = 6,
        name: str = "sums",
        engine: dict[str, Any] | None = None,
        references: dict[int, str] | None = None,
        sources: dict[str, Any] | None = None,
        snapshot: dict[str, Any] | None = None,
        judge: dict[str, Any] | None = None,
        judged: dict[str, Any] | None = None,
        **step: Any,
    ) -> Path:
        listed = [
            {
                "prompt": f"What is {a} + {b}?",
                "reference": (references or {}).get(i, str(a + b)),
                "verifier": "exact",
            }
            for i, (a, b) in enumerate(SUMS[:prompts])
        ]
        sampled = {"kind": "generate", "stage": "reasoning", "prompts": "sums", "engine": "scripted", "samples": 2}
        sampled |= {"max_tokens": 100, "template": "think", "checks": ["exact", "format", "length"], **step}
        mix = {
            "mix": f"{name}-kept",
            "sources": [{"stage": sampled["stage"], "require": ["exact", "format"], "template": "think"}],
        }
        value = {
            "recipe": name,
            "engines": {
                "scripted": {
                    "kind": "endpoint", "url": server.url, "model": "scripted", "revision": "1", "retries": 1,
                    "backoff": 0.01, "max_in_flight": 8, "timeout": 20, **(engine or {}),
                }
            },
            "prompts": {"sums": {"source": "inline", "name": "sums", "domain": "math", "prompts": listed},
                        **(sources or {})},
            "steps": {"sample": sampled, "keep": {"kind": "snapshot", "mix": mix | (snapshot or {})}},
        }  # fmt: skip
        if judge is not None:
            value["judges"] = {"judge": {"ask": "correctness", "engine": "scripted", **judge}}
            step_of_judge = {"kind": "judge", "judge": "judge", "of": "sample", **(judged or {})}
            value["steps"] = {"sample": sampled, "judged": step_of_judge, "keep": value["steps"]["keep"]}
        path = tmp_path / f"{name}.yaml"
        path.write_text(json.dumps(value, indent=1))  # JSON is YAML
        return path

    return write


@pytest.fixture
def rows(tmp_path: Path) -> Callable[..., list[tuple[Any, ...]]]:
    """Asks a warehouse (default: `data` in the test's folder) and returns the rows."""

    def ask(sql: str, warehouse: Path | None = None) -> list[tuple[Any, ...]]:
        with connect(warehouse or tmp_path / "data", only=names_in(sql)) as connection:
            return connection.execute(sql).fetchall()

    return ask
