"""For walks through the apps: a small warehouse, the real commands, a proxy that signs people in, browser windows."""

import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from schemas.keys import canonical_json, key
from schemas.records import Message, Pair, Prompt, Record, Run, Trajectory, Verdict, now
from tests.dashboards.serving import ROOT, free_port
from warehouse.connect import connect
from warehouse.store import Warehouse

SECRET = "a secret of at least sixteen characters"
#: What nobody may learn before they have said their own.
POLICY, JUDGE, DOUBT = "unseen-policy@7", "unseen_judge", "the judge doubts line 3"
QUEUE = """\
queue: {name}
title: {title}
rows: {rows}
reviewers: {reviewers}
order: given
sql: {sql}
guideline: |
  ## What to decide
  Could you follow it? **Look at each step.**
reasons: {reasons}
"""
REASONS = '{wrong_step: "A step is wrong", gap: "A step is missing"}'
ACCESS = """\
identity: header
people:
  ann: [annotator]
  ben: [annotator]
  judy: [annotator, adjudicator]
  lea: [annotator, lead]
  zoe-the-first: [annotator]
default_roles: []
"""


# -- a small warehouse


def small(path: Path, prompts: int = 24) -> Warehouse:
    """Two dozen prompts, two replies each (the second one wrong for each third prompt), verdicts, pairs, and queues."""
    warehouse = Warehouse.open(path, create=True)
    chance = random.Random(7)
    rows: dict[str, list[Record]] = {"prompts": [], "trajectories": [], "verdicts": [], "pairs": []}
    for number in range(prompts):
        prompt = Prompt.make(
            [Message(role="user", content=f"Let \\(x = {number}\\). Compute $x^2 + {number + 1}$, in a box.")],
            domain="math", source="squares", reference=str(number * number + number + 1), verifier="math",
        )  # fmt: skip
        rows["prompts"].append(prompt)
        made = [_reply(prompt, number, sample, chance) for sample in range(2)]
        for trajectory, right in made:
            rows["trajectories"].append(trajectory)
            rows["verdicts"] += _verdicts(prompt, trajectory, right, mixed=number % 5 == 1)
        a, b = (trajectory.trajectory_id for trajectory, _ in made)
        rows["pairs"].append(
            Pair(pair_id=key(a, b), prompt_id=prompt.prompt_id, a_id=a, b_id=b, run_id="run", created_at=now())
        )
    checks = [
        {"stage": stage, "check": check, "version": None, "verifier": check == "math"}
        for stage in ("cold_start", "reasoning")
        for check in ("math", "format", "language_mix")
    ]
    started = Run(
        run_id="run", event="started", recipe="walk", config="{}", checks=canonical_json(checks), created_at=now()
    )
    warehouse.append("runs", [started, started.model_copy(update={"event": "finished"})])
    for table, records in rows.items():
        warehouse.append(table, records)
    write_queue(path, "one", 1)
    write_queue(path, "two", 2)
    write_queue(path, "sides", 1, rows="pairs", sql="SELECT pair_id FROM pairs ORDER BY pair_id", reasons="{}")
    (path / "access.yaml").write_text(ACCESS)
    return warehouse


def write_queue(path: Path, name: str, reviewers: int, **settings: str) -> None:
    """A queue of the warehouse's own, without known answers and repeats."""
    sql = "SELECT trajectory_id FROM trajectory_facts WHERE kept AND stage = 'cold_start' ORDER BY trajectory_id"
    given = {"title": f"Queue {name}", "rows": "attempts", "reasons": REASONS, "sql": sql, **settings}
    (path / "queues").mkdir(exist_ok=True)
    (path / "queues" / f"{name}.yaml").write_text(QUEUE.format(name=name, reviewers=reviewers, **given))


def _reply(prompt: Prompt, number: int, sample: int, chance: random.Random) -> tuple[Trajectory, bool]:
    right = sample == 0 or number % 3 != 0
    answer = number * number + number + 1 + (not right)
    steps = [
        f"Step {step}: with \\(x = {number}\\) I have $x^2 = {number * number}$. Wait, let me look at that again."
        + (" Das ist richtig." if step == 2 and number % 5 == 1 else "")
        for step in range(1, chance.randint(4, 12))
    ]
    summary = f"**Answer.** \\[ {number * number} + {number + 1} = \\boxed{{{answer}}} \\]\n\n```python\nprint(1)\n```"
    reasoning = "\n\n".join(steps)
    text = f"<think>\n{reasoning}\n</think>\n{summary}"
    trajectory = Trajectory(
        trajectory_id=key("walk", number, sample), prompt_id=prompt.prompt_id,
        stage="reasoning" if sample else "cold_start", policy=POLICY, engine="import",
        sampling='{"temperature":0.8}', sample_index=sample, rendered_key="k", reasoning=reasoning, answer=summary,
        text=text, finish_reason="stop", prompt_tokens=20, completion_tokens=len(text) // 4, max_tokens=2048,
        seconds=1.5, run_id="run", created_at=now(),
    )  # fmt: skip
    return trajectory, right


def _verdicts(prompt: Prompt, of: Trajectory, right: bool, mixed: bool) -> list[Record]:
    at = of.text.find("Das ist richtig.")
    spans = [[at, at + 16, "de"]] if mixed else []
    told: list[tuple[str, Any, bool, str, dict[str, Any]]] = [
        ("math", "verifier", right, "different", {}),
        ("format", "filter", True, "", {}),
        ("language_mix", "filter", not mixed, "mixed", {"spans": spans, "words": 40, "switches": len(spans)}),
        (JUDGE, "judge", right != mixed, DOUBT, {"votes": []}),
    ]
    return [
        Verdict(
            trajectory_id=of.trajectory_id, attempt=1, check=check, version="1",
            against=prompt.against if kind == "verifier" else "", kind=kind, outcome="pass" if good else "fail",
            score=0.4242 if kind == "judge" else float(good), reason="" if good else reason,
            details=canonical_json(details), run_id="run", created_at=now(),
        )
        for check, kind, good, reason, details in told
    ]  # fmt: skip


def rows_of(path: Path, sql: str, *parameters: object) -> list[Any]:
    """What the warehouse's tables say."""
    with connect(path) as connection:
        return connection.execute(sql, list(parameters)).fetchall()


# -- the commands


@dataclass
class Running:
    """A command that serves an app; `log` is what it says."""

    command: list[str]
    port: int
    log: Path
    environment: dict[str, str]
    process: "subprocess.Popen[bytes]" = field(init=False)

    @property
    def url(self) -> str:
        return f"http://localhost:{self.port}"

    def start(self) -> "Running":
        with self.log.open("ab") as out:
            self.process = subprocess.Popen(
                self.command, cwd=ROOT, env=self.environment, stdout=out, stderr=out, start_new_session=True
            )
        until = time.monotonic() + 180
        while time.monotonic() < until and self.process.poll() is None:
            with suppress(OSError), urllib.request.urlopen(f"{self.url}/_stcore/health", timeout=1):
                return self
            time.sleep(0.2)
        raise AssertionError(f"the app did not start: {self.log.read_text()[-3000:]}")

    def kill(self) -> None:
        """kill -9: the app ends with the command that serves it."""
        self.process.kill()
        self.process.wait()
        until = time.monotonic() + 30
        while time.monotonic() < until:
            try:
                urllib.request.urlopen(f"{self.url}/_stcore/health", timeout=1).close()
            except OSError:
                return
            time.sleep(0.05)
        raise AssertionError("the app outlives its command")

    def end(self) -> str:
        """Ctrl-C; what it said in all."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            self.process.wait(60)
        return self.log.read_text()


@contextmanager
def serving(command: str, warehouse: Path, *options: str, **environment: str) -> Iterator[Running]:
    """`dataengine review` or `dataengine dashboard` over a warehouse."""
    port = free_port()
    paths = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    running = Running(
        [sys.executable, "-m", "dataengine.cli", command, "--warehouse", str(warehouse), "--port", str(port), *options],
        port,
        warehouse.parent / f"{command}-{port}.log",
        {k: v for k, v in os.environ.items() if k not in ("DISPLAY", "WAYLAND_DISPLAY")}
        | {"PYTHONPATH": paths}
        | environment,
    )
    try:
        yield running.start()
    finally:
        running.process.kill()
        running.process.wait()


# -- a proxy that signs people in


@contextmanager
def signing_in(port: int, *, header: str = "X-Forwarded-User") -> Iterator[str]:
    """The address of a proxy before the app at `port`: `/sign-in?name=ann` makes the browser ann's.

    It leads to a page that takes no task.

    It does what docs/access.md asks of one: puts the name and the secret in, and what came under these names out.
    """
    with socket.create_server(("127.0.0.1", 0)) as listening:
        stopped = threading.Event()

        def accept() -> None:
            while not stopped.is_set():
                try:
                    client, _ = listening.accept()
                except OSError:
                    return
                threading.Thread(target=_pass_on, args=(client, port, header), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        yield f"http://localhost:{listening.getsockname()[1]}"
        stopped.set()
        with suppress(OSError):
            listening.shutdown(socket.SHUT_RDWR)


def _pass_on(client: socket.socket, port: int, header: str) -> None:
    with client, suppress(OSError):
        head = b""
        while b"\r\n\r\n" not in head:
            if not (part := client.recv(65536)):
                return
            head += part
        head, body = head.split(b"\r\n\r\n", 1)
        first, *lines = head.decode("latin-1").split("\r\n")
        target = urlsplit(first.split(" ")[1])
        if target.path == "/sign-in":
            name = parse_qs(target.query)["name"][0].encode().hex()
            client.sendall(
                f"HTTP/1.1 302 Found\r\nLocation: /guidelines\r\nSet-Cookie: who={name}; Path=/\r\n".encode()
            )
            client.sendall(b"Content-Length: 0\r\nConnection: close\r\n\r\n")
            return
        given = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        dropped = {header.lower(), "x-dataengine-secret"}
        # One request a connection: then the rest of it can be passed on as it is.
        upgrade = "upgrade" in given
        if not upgrade:
            dropped |= {"connection"}
        sent = [first, *(line for line in lines if line.partition(":")[0].lower() not in dropped)]
        sent += [] if upgrade else ["Connection: close"]
        who = dict(part.strip().split("=", 1) for part in given.get("cookie", "").split(";") if "=" in part).get("who")
        raw = "\r\n".join(sent).encode("latin-1")
        if who:
            raw += f"\r\n{header}: ".encode() + bytes.fromhex(who) + f"\r\nX-Dataengine-Secret: {SECRET}".encode()
        with socket.create_connection(("localhost", port)) as app:
            app.sendall(raw + b"\r\n\r\n" + body)
            back = threading.Thread(target=_pump, args=(app, client), daemon=True)
            back.start()
            _pump(client, app)
            back.join()


def _pump(one: socket.socket, other: socket.socket) -> None:
    with suppress(OSError):
        while part := one.recv(65536):
            other.sendall(part)
    for end in (other, one):
        with suppress(OSError):
            end.shutdown(socket.SHUT_WR)


# -- windows


class Window:
    """A person's browser window: what it asked for, what came to it, and what went wrong in it."""

    def __init__(self, page: Any) -> None:
        self.page = page
        self.asked: list[str] = []
        self.troubles: list[str] = []
        self.frames: list[bytes] = []
        page.set_default_timeout(60_000)
        page.on("request", lambda r: self.asked.append(r.url))
        page.on("pageerror", lambda e: self.troubles.append(str(e)))
        page.on("dialog", lambda d: (self.troubles.append(f"dialog: {d.message}"), d.dismiss()))
        page.on("websocket", self._listen)

    def _listen(self, socket_: Any) -> None:
        self.asked.append(socket_.url)
        keep = lambda payload: self.frames.append(payload if isinstance(payload, bytes) else payload.encode())  # noqa: E731
        socket_.on("framereceived", keep)

    def open(self, url: str) -> "Window":
        self.page.goto(url)
        return self

    def task(self) -> "Window":
        """Waits until a task is there."""
        self.page.locator(".screen .row").first.wait_for()
        return self

    def press(self, *keys: str) -> None:
        for name in keys:
            self.page.keyboard.press(name)

    def write(self, text: str) -> None:
        self.page.keyboard.type(text)

    def wait(self, true: Callable[[], Any], what: str, seconds: float = 60) -> None:
        until = time.monotonic() + seconds
        while not true():
            assert time.monotonic() < until, f"{what}\n{self.text()[-3000:]}"
            self.page.wait_for_timeout(50)

    def text(self) -> str:
        """All text of the page, that of the screen's own tree included."""
        return str(self.page.locator("body").inner_text()) + str(
            self.page.evaluate(
                "() => [...document.querySelectorAll('*')].filter(e => e.shadowRoot)"
                ".map(e => e.shadowRoot.textContent).join('\\n')"
            )
        )

    def says(self, text: str, seconds: float = 60) -> None:
        self.wait(lambda: text in self.text(), f"it does not say {text!r}", seconds)

    def done(self, number: int) -> None:
        self.page.locator(".screen .position", has_text=f"{number} done by you").wait_for()

    def editor(self) -> str:
        return str(self.page.locator(".screen .pen textarea").input_value())

    def note(self) -> str:
        return str(self.page.locator(".screen .notes textarea").input_value())

    def saved(self) -> None:
        self.page.locator(".screen .saved", has_text="Draft saved").wait_for()

    def problem(self) -> str:
        return str(self.page.locator(".screen .problem").inner_text())

    def outside(self) -> list[str]:
        """What was asked of others than this machine."""
        local = ("localhost", "127.0.0.1")
        return [url for url in self.asked if urlsplit(url).scheme not in ("data", "blob") and
                urlsplit(url).hostname not in local]  # fmt: skip

    def unharmed(self) -> None:
        assert not self.outside()
        assert not self.troubles


@contextmanager
def windows(browser: Any) -> Iterator[Callable[..., Window]]:
    """`window()` opens one in a browser profile of its own; `window(beside=another)` opens a second of the same."""
    contexts: list[Any] = []

    def opened(*, beside: Window | None = None, **settings: Any) -> Window:
        if beside is None:
            size: Mapping[str, int] = {"width": 1440, "height": 900}
            contexts.append(browser.new_context(**{"viewport": size, "accept_downloads": True, **settings}))
            return Window(contexts[-1].new_page())
        return Window(beside.page.context.new_page())

    yield opened
    for context in contexts:
        context.close()
