"""The warehouse at 100,000 trajectories: how long commands take that people wait for.

    python benchmarks/commands.py [--rows 100000]

Each command is a whole process, started five times; the median counts.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from schemas.keys import key
from schemas.records import Message, Prompt, Run, Trajectory, Verdict, now
from warehouse.connect import connect
from warehouse.store import Warehouse

REPLY = "<think>\n" + "I add the two numbers one after the other. " * 20 + "\n</think>\n7\n<answer>7</answer>"


# Every reply meets its condition, so that its caps are worked out over all of them.
MIX = {"mix": "all", "sources": [{"stage": "reasoning", "require": ["format"], "max_per_prompt": 2, "max_rows": 1000}]}


def fill(path: Path, rows: int) -> float:
    """Writes `rows` trajectories of rows / 8 prompts with three verdicts each; seconds it took."""
    warehouse = Warehouse.open(path, create=True)
    started = time.perf_counter()
    checks = '[{"stage":"reasoning","check":"math","version":"1","verifier":true},'
    checks += '{"stage":"reasoning","check":"format","version":"1","verifier":false},'
    checks += '{"stage":"reasoning","check":"language_mix","version":"1","verifier":false}]'
    warehouse.append(
        "runs", [Run(run_id="r", event="started", recipe="bench", config="{}", checks=checks, created_at=now())]
    )
    prompts = [
        Prompt.make(
            [Message(role="user", content=f"What is {i} + 7?")], domain="math", source="bench", reference=str(i + 7),
            verifier="math",
        )
        for i in range(rows // 8)
    ]  # fmt: skip
    warehouse.append("prompts", prompts)
    for start in range(0, rows, 5000):
        batch = [_trajectory(prompts[i // 8], i % 8) for i in range(start, min(start + 5000, rows))]
        warehouse.append("trajectories", batch)
        verdicts = []
        for number, t in enumerate(batch):
            against = prompts[(start + number) // 8].against
            outcome = "pass" if number % 3 else "fail"
            verdicts.append(_verdict(t, "math", against, outcome, "verifier"))
            verdicts.append(_verdict(t, "format", "", "pass", "filter"))
            share = 1 - (start + number) % 97 / 970
            told = {"words": 180, "spans": [[10, 40, "de"]], "segments_off": 1, "switches": 0}
            details = json.dumps(told if share < 1 else {**told, "spans": [], "segments_off": 0})
            mixed = _verdict(t, "language_mix", "", "pass" if share >= 0.95 else "fail", "filter")
            verdicts.append(mixed.model_copy(update={"score": share, "details": details}))
        warehouse.append("verdicts", verdicts)
    return time.perf_counter() - started


def _trajectory(prompt: Prompt, index: int) -> Trajectory:
    return Trajectory(
        trajectory_id=key(prompt.prompt_id, index), prompt_id=prompt.prompt_id, stage="reasoning", policy="bench@1",
        engine="endpoint", sampling="{}", sample_index=index, rendered_key=prompt.prompt_id, reasoning=REPLY[8:-40],
        answer="7", text=REPLY, finish_reason="stop", prompt_tokens=30, completion_tokens=200, max_tokens=1024,
        run_id="r", created_at=now(),
    )  # fmt: skip


def _verdict(t: Trajectory, check: str, against: str, outcome: str, kind: str) -> Verdict:
    return Verdict(
        trajectory_id=t.trajectory_id, attempt=1, check=check, version="1", against=against, kind=kind,
        outcome=outcome, run_id="r", created_at=now(),
    )  # type: ignore[arg-type]  # fmt: skip


def command(*words: str) -> float:
    """Median wall seconds of five whole processes."""
    times = []
    for _ in range(5):
        started = time.perf_counter()
        subprocess.run([sys.executable, "-m", "dataengine.cli", *words], check=True, stdout=subprocess.DEVNULL)
        times.append(time.perf_counter() - started)
    return statistics.median(times)


class Server(ThreadingHTTPServer):
    def handle_error(self, *args: object) -> None:
        """The runs are killed after their first request: broken connections are no news."""


class FirstRequest(BaseHTTPRequestHandler):
    """A server that answers everything and remembers when it was first asked for a completion."""

    at = 0.0

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()

    def do_POST(self) -> None:
        FirstRequest.at = FirstRequest.at or time.perf_counter()
        self.rfile.read(int(self.headers["Content-Length"]))
        message = {"role": "assistant", "content": REPLY}
        body = json.dumps({"choices": [{"message": message, "finish_reason": "stop"}]}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        pass


def first_request(path: Path, rows: int) -> float:
    """Median seconds from starting `dataengine run` to its first request; its 12,500 prompts are all new work."""
    server = Server(("127.0.0.1", 0), FirstRequest)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    file = path.parent / "prompts.jsonl"
    lines = (json.dumps({"prompt": f"What is {i} + 7?", "reference": str(i + 7)}) for i in range(rows // 8))
    file.write_text("\n".join(lines) + "\n")
    recipe = {
        "recipe": "first",
        "engines": {"e": {"kind": "endpoint", "url": f"http://127.0.0.1:{server.server_port}/v1", "model": "m"}},
        "prompts": {"p": {"source": "file", "path": str(file), "domain": "math"}},
        "steps": {"s": {"kind": "generate", "stage": "reasoning", "prompts": "p", "engine": "e", "checks": ["format"]}},
    }
    (path.parent / "first.yaml").write_text(json.dumps(recipe))
    times = []
    for number in range(5):
        FirstRequest.at, started = 0.0, time.perf_counter()
        words = ["run", str(path.parent / "first.yaml"), "--warehouse", str(path), f"engines.e.revision='{number}'"]
        running = subprocess.Popen(
            [sys.executable, "-m", "dataengine.cli", *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        while not FirstRequest.at:
            time.sleep(0.005)
        times.append(FirstRequest.at - started)
        running.kill()
        running.wait()
    server.shutdown()
    return statistics.median(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000)
    rows = parser.parse_args().rows
    print(f"dataengine --help                    {command('--help'):6.2f} s")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "warehouse"
        seconds = fill(path, rows)
        print(f"written: {rows:,} trajectories, {3 * rows:,} verdicts {seconds:6.1f} s")
        at = ("--warehouse", str(path))
        with connect(path) as connection:
            ident = connection.sql("SELECT max(trajectory_id) FROM trajectories").fetchall()[0][0]
        print(f"dataengine status                    {command('status', *at):6.2f} s")
        print(f"dataengine sql --name funnel         {command('sql', '--name', 'funnel', *at):6.2f} s")
        print(f"dataengine sql --name pass_at_k      {command('sql', '--name', 'pass_at_k', *at):6.2f} s")
        for question in ("language_mix", "thresholds", "balance", "diversity"):
            print(f"dataengine sql --name {question:<14} {command('sql', '--name', question, *at):6.2f} s")
        at_least = "FROM funnel_at('language_mix', at_least := 0.93)"
        print(f'dataengine sql "FROM funnel_at ..."  {command("sql", at_least, *at):6.2f} s')
        print(f"dataengine explain ID                {command('explain', ident, *at):6.2f} s")
        (path.parent / "mix.yaml").write_text(json.dumps(MIX))
        mix = ("--mix", str(path.parent / "mix.yaml"))
        print(f"dataengine explain ID --mix          {command('explain', ident, *mix, *at):6.2f} s")
        print(f"first request of dataengine run      {first_request(path, rows):6.2f} s")
        print(f"dataengine compact                   {command('compact', *at):6.2f} s")
        print(f"dataengine status, compacted         {command('status', *at):6.2f} s")


if __name__ == "__main__":
    main()
