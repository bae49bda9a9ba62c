"""People at work in the review app, as its websocket sees them, and whether all that was answered is there after."""

import asyncio
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import psutil
from streamlit_client import Component, Gone, Session

from dataengine.review_queues import load_queues
from dataengine.reviewing import settle
from schemas.keys import key
from warehouse.connect import connect
from warehouse.journal_file import FILE
from warehouse.store import Warehouse

SECRET = "made-up-secret-of-the-proxy"
HEADER, SECRET_HEADER = "X-Forwarded-User", "X-Dataengine-Secret"
QUEUE = "second-look"
IN_BROWSER = "browser"
MIX = (("approve", 0.6), ("reject", 0.2), ("edit", 0.15), ("flag", 0.05))
ACCESS = "identity: header\npeople:\n  lead: [annotator, adjudicator, lead]\n"
_ANSWERED = {
    "approve": "Approved.",
    "reject": "Rejected.",
    "edit": "Edit kept; it is being verified.",
    "flag": "Flagged.",
}
_NOTHING = "Nothing waits for you"


def as_person(name: str) -> dict[str, str]:
    """What the proxy adds to a person's requests."""
    return {HEADER: name, SECRET_HEADER: SECRET}


class App:
    """The command `dataengine review` (or `dashboard`) as a process of its own."""

    def __init__(self, folder: Path, port: int, command: str = "review", *options: str) -> None:
        self.folder, self.port, self._command, self._options = folder, port, command, options
        self.url = f"http://127.0.0.1:{port}"
        self._process: subprocess.Popen[bytes] | None = None
        self._access = folder.parent / "access.yaml"
        self._access.write_text(ACCESS, encoding="utf-8")
        self.log = folder.parent / f"{command}-{port}.log"

    def start(self, seconds: float = 120.0) -> float:
        """Starts it; seconds until it answered."""
        started = time.perf_counter()
        options = ["--warehouse", str(self.folder), "--port", str(self.port), "--access", str(self._access)]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "dataengine.cli", self._command, *options, *self._options],
                stdout=log,
                stderr=log,
                env=os.environ | {"DATAENGINE_PROXY_SECRET": SECRET, "STREAMLIT_BROWSER_GATHER_USAGE_STATS": "false"},
                start_new_session=True,
                # Started in the background of a shell it would ignore Ctrl-C, and `stop` with it.
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
            )
        while time.perf_counter() - started < seconds:
            if self._process.poll() is not None:
                sys.exit(f"{self._command} ended with {self._process.returncode}: {self.log}")
            with suppress(urllib.error.URLError, OSError):
                if urllib.request.urlopen(f"{self.url}/_stcore/health", timeout=1).status == 200:
                    return time.perf_counter() - started
            time.sleep(0.05)
        sys.exit(f"{self._command} does not answer: {self.log}")

    def processes(self) -> list[psutil.Process]:
        """The command and all that it has started."""
        assert self._process is not None
        with suppress(psutil.NoSuchProcess):
            command = psutil.Process(self._process.pid)
            return [command, *command.children(recursive=True)]
        return []

    def memory(self) -> float:
        """Resident memory of the server, in MB."""
        return max((p.memory_info().rss for p in self.processes()), default=0) / 1e6

    def processor(self) -> float:
        """Seconds of processor that the command and the server have taken so far."""
        return sum(sum(p.cpu_times()[:2]) for p in self.processes())

    def kill(self) -> None:
        """kill -9 of all its processes at once."""
        assert self._process is not None
        found = self.processes()
        for process in found:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(found, 10)
        self._process.wait()

    def stop(self) -> None:
        """Ends it as Ctrl-C does, by which it settles what was said."""
        assert self._process is not None
        self._process.send_signal(signal.SIGINT)
        try:
            self._process.wait(60)
        except subprocess.TimeoutExpired:
            self.kill()


@dataclass
class Told:
    """What the people of one load saw, in seconds, and what they were answered."""

    nexts: list[float] = field(default_factory=list)
    drafts: list[float] = field(default_factory=list)
    by_verdict: dict[str, list[float]] = field(default_factory=dict)
    answered: dict[str, str] = field(default_factory=dict)
    """Ids of reviews that the app has said are kept, and their verdicts."""
    unanswered: dict[str, str] = field(default_factory=dict)
    """What was sent and not answered before the app was gone."""
    drafts_kept: dict[str, tuple[str, dict[str, Any]]] = field(default_factory=dict)
    """By task and person: the last draft that was answered, if nothing was submitted after."""
    refused: Counter[str] = field(default_factory=Counter)
    sizes: list[int] = field(default_factory=list)
    arrived: float = 0.0
    """Seconds until all had their first task, of an app that has just been started."""
    reconnects: int = 0
    errors: list[str] = field(default_factory=list)
    idle: int = 0


class Reviewer:
    """One made-up person who reads, writes and submits until the end."""

    def __init__(self, name: str, app: App, told: Told, every: float, seed: int) -> None:
        self.name, self._app, self._told, self._every = name, app, told, every
        self._random = random.Random(seed)
        self._drafts = 0

    async def work(
        self, http: aiohttp.ClientSession, ready: asyncio.Event, began: "asyncio.Semaphore", until: list[float]
    ) -> None:
        """Comes in, says so by `began`, waits for `ready`, and works until the time `until[0]`."""
        first = True
        while first or time.perf_counter() < until[0]:
            try:
                query = {"queue": QUEUE}
                async with Session(http, self._app.url, query=query, headers=as_person(self.name)) as session:
                    await self._arrive(session)
                    if first:
                        began.release()
                        await ready.wait()
                        await asyncio.sleep(self._random.uniform(0, self._every))
                        first = False
                    while time.perf_counter() < until[0]:
                        await self._one(session)
                    await session.settled(20)
            except (Gone, TimeoutError) as e:
                if isinstance(e, TimeoutError):
                    self._told.errors.append(f"{self.name}: nothing came for {time.perf_counter():.0f}")
                self._told.reconnects += 1
                await asyncio.sleep(self._random.uniform(0.2, 0.6))

    async def _arrive(self, session: Session) -> None:
        await session.until(lambda: bool(session.components) or _nothing_left(session) or bool(session.run.errors), 180)
        if session.run.errors:
            self._told.errors.append(session.run.errors[0])
            raise Gone(session.run.errors[0])

    async def _one(self, session: Session) -> None:
        pause = self._random.uniform(0.5, 1.5) * self._every / 3
        if not session.components:
            self._told.idle += 1
            await asyncio.sleep(pause)
            await session.rerun()
            await session.settled()
            return
        component = await session.component()
        data = component.data
        said = self._random.choices([v for v, _ in MIX], [w for _, w in MIX])[0]
        if said == "edit" and not data["can"]["edit"]:
            said = "approve"
        text = f"{data['reply']['text']}\n\nOne more remark of {self.name}." if said == "edit" else None
        words = {"text": text, "note": "", "reasons": []}
        if said == "reject":
            words["reasons"] = [data["reasons"][0]["code"]]
        for _ in range(2):
            await asyncio.sleep(pause)
            words["note"] = f"I have looked at this for a while ({self._random.random():.9f})."
            await self._draft(session, component, words)
        await asyncio.sleep(pause)
        await self._submit(session, component, said, words)

    async def _draft(self, session: Session, component: Component, words: dict[str, Any]) -> None:
        self._drafts += 1
        number, task = self._drafts, component.data["task"]
        body = {"task": task, "n": number, "seen": 0, "verdict": None, "window": f"tab-{self.name}", **words}
        sent = await session.set_state(component, draft=body)

        def answered(c: Component) -> bool:
            return c.at > sent and (c.data["saved"] == number or c.data["task"] != task)

        found = await session.component(answered, 60)
        if found.data["task"] == task:
            self._told.drafts.append(found.at - sent)
            self._told.drafts_kept[f"{self.name} {task}"] = (self.name, body)

    async def _submit(self, session: Session, component: Component, said: str, words: dict[str, Any]) -> None:
        task, nonce = component.data["task"], os.urandom(12).hex()
        ident = key("review", task, self.name, nonce)
        self._told.unanswered[ident] = said
        sent = await session.trigger(component, act={"task": task, "nonce": nonce, "do": said, **words})

        def answered() -> bool:
            shown = [c.data for c in session.components.values() if c.at > sent]
            return any(d["task"] != task or d["warn"] or d["conflict"] for d in shown) or _nothing_left(session)

        await session.until(answered, 60)
        took = time.perf_counter() - sent
        data = next((c.data for c in session.components.values() if c.at > sent), None)
        message = data["message"] if data else next((t for t in session.texts() if _ANSWERED[said] in t), None)
        if message is not None and _ANSWERED[said] in message:
            del self._told.unanswered[ident]
            self._told.answered[ident] = said
            self._told.drafts_kept.pop(f"{self.name} {task}", None)
            took = (next(iter(session.components.values())).at - sent) if session.components else took
            self._told.nexts.append(took)
            self._told.by_verdict.setdefault(said, []).append(took)
            self._told.sizes.append(session.run.size)
        elif data is not None and data["conflict"]:
            del self._told.unanswered[ident]
            self._told.refused["conflict"] += 1
            # As a person does who sees that somebody else has edited it.
            await self._submit(session, component, "approve", {"text": None, "note": words["note"], "reasons": []})
        else:
            self._told.refused[str(data["warn"] if data else session.texts())[:90]] += 1


def _nothing_left(session: Session) -> bool:
    return any(_NOTHING in text for text in session.texts())


async def people(app: App, count: int, every: float, seconds: float, beside: Any = None) -> Told:
    """People at work, one submit each per `every` seconds, for `seconds` from when all have their first task."""
    started, told, ready, began, until = (
        time.perf_counter(),
        Told(),
        asyncio.Event(),
        asyncio.Semaphore(0),
        [time.perf_counter() + 3600],
    )
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector) as http:
        working = [
            asyncio.create_task(Reviewer(f"u{i:02}", app, told, every, i).work(http, ready, began, until))
            for i in range(1, count + 1)
        ]
        for _ in working:
            await began.acquire()
        told.arrived = time.perf_counter() - started
        print(f"all {count} have their first task after {told.arrived:.1f} s", file=sys.stderr, flush=True)
        until[0] = time.perf_counter() + seconds
        ready.set()
        if beside is not None:
            await beside(until[0])
            until[0] = time.perf_counter()
        await asyncio.gather(*working)
    return told


# -- what is there after


@dataclass
class Found:
    """What the journal and the table hold after a load; all counts of what must not be are 0."""

    counts: dict[str, int]

    def assert_sound(self) -> None:
        """Ends the benchmark where something is lost, doubled or over-assigned."""
        wrong = {what: n for what, n in self.counts.items() if what.startswith("not ") and n}
        if wrong:
            sys.exit(f"wrong: {wrong}")


def held_against(folder: Path, told: Sequence[Told], before: frozenset[str]) -> Found:
    """What people were answered, held against the journal and, settled, the table; `before` are reviews of earlier."""
    warehouse = Warehouse.open(folder)
    settled = settle(warehouse)
    answered = {ident: said for each in told for ident, said in each.answered.items()}
    unanswered = {ident for each in told for ident in each.unanswered}
    with sqlite3.connect(f"file:{folder / FILE}?mode=ro", uri=True) as journal:
        rows = journal.execute(
            "SELECT review_id, queue, item_id, attempt, reviewer, repeat, verdict FROM events WHERE kind = 'review'"
        ).fetchall()
        drafts = journal.execute(
            "SELECT queue, item_id, attempt, reviewer, body FROM events WHERE kind = 'draft'"
        ).fetchall()
    ids = Counter(row[0] for row in rows)
    # The one in the browser does not know what they have been answered.
    new = [row for row in rows if row[0] not in before and row[4] != IN_BROWSER]
    with connect(folder, only=("reviews", "verdicts")) as connection:
        in_table = Counter(r[0] for r in connection.execute("SELECT review_id FROM reviews").fetchall())
        sql = "SELECT details ->> 'review_id' FROM verdicts WHERE \"check\" = 'human'"
        verdicts = {row[0] for row in connection.execute(sql).fetchall()}
        edited = connection.execute(
            "SELECT count(*), count(*) FILTER (WHERE child_id NOT IN (SELECT trajectory_id FROM verdicts)) "
            "FROM reviews WHERE verdict = 'edit' AND repeat = 0"
        ).fetchall()[0]
    looks = Counter((row[1], row[2], row[3]) for row in rows if not row[5])
    persons = Counter((row[1], row[2], row[3], row[4]) for row in rows if not row[5])
    most = load_queues(folder, [])[QUEUE].reviewers
    kept = {(f"{queue}/{item}/{attempt}", who): json.loads(body) for queue, item, attempt, who, body in drafts}
    lost = [
        body
        for each in told
        for who, body in each.drafts_kept.values()
        if kept.get((body["task"].rpartition("/")[0], who), {}).get("note") != body["note"]
        # Said without an answer: then the draft went with it.
        and not any(row[4] == who and body["task"].startswith(f"{row[1]}/{row[2]}/{row[3]}/") for row in new)
    ]
    return Found(
        {
            "answered": len(answered),
            "sent, and the app was gone before it answered": len(unanswered),
            "of these written": len(unanswered & set(ids)),
            "new events in the journal": len(new),
            "and by the one in the browser": sum(row[4] == IN_BROWSER for row in rows),
            "asked a second time, blind": sum(row[5] > 0 for row in rows),
            "events in the table": sum(in_table.values()),
            "settled only after the command had ended": settled.reviews,
            "edits": edited[0],
            "of these without a verdict yet": edited[1],
            "not in the journal though answered": len(set(answered) - set(ids)),
            "not once in the journal": sum(n > 1 for n in ids.values()),
            "not in the table though in the journal": len(set(ids) - set(in_table)),
            "not once in the table": sum(n > 1 for n in in_table.values()),
            "not said by anybody who was asked": len({row[0] for row in new} - set(answered) - unanswered),
            "not allowed: items with more looks than people": sum(n > most for n in looks.values()),
            "not allowed: the same item twice for one person": sum(n > 1 for n in persons.values()),
            "not with their own verdict of the check human": len({row[0] for row in rows if not row[5]} - verdicts),
            "not kept of the drafts that were answered": len(lost),
        }
    )


def reviews_in(folder: Path) -> frozenset[str]:
    """The ids of the reviews in the journal."""
    if not (folder / FILE).exists():
        return frozenset()
    with sqlite3.connect(f"file:{folder / FILE}?mode=ro", uri=True) as journal:
        return frozenset(row[0] for row in journal.execute("SELECT review_id FROM events WHERE kind = 'review'"))
