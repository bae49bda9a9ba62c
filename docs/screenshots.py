"""Takes the pictures of the guides: `python docs/screenshots.py --warehouse DIR` writes docs/images/*.png.

Works on a copy of the warehouse, in which made-up people have reviewed and a made-up judge has judged (what they say
says nothing of the replies), with one made-up long reply, which the pictures of a task show.
Needs Chromium and the package playwright.
"""

import argparse
import io
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlencode

ROOT = Path(__file__).resolve().parent.parent
SIZE = {"width": 1440, "height": 900}
PEOPLE = ("ada", "ben", "cem", "dot")
# Of the second look: replies that two people look at each, the first of them with known answers; and pairs.
REPLIES, GOLD, PAIRS = 60, 6, 20
COLOURS = 128


class Shot(NamedTuple):
    """One picture: of which app, at which address, what is done there first, and on which ground."""

    name: str
    app: str
    address: str
    steps: Callable[[Any], None] | None = None
    dark: bool = False


# -- people who are not there


def made_up_reviews(path: Path) -> None:
    """Has made-up people review in a warehouse, each as careful as is set here, at the same desk as anybody."""
    from dataengine.desk import Desk, Words
    from dataengine.review_queues import load_queues
    from dataengine.review_settling import Settler
    from dataengine.reviewing import review_of
    from schemas.access import Person
    from warehouse.store import Warehouse

    warehouse, chance = Warehouse.open(path), random.Random(5)
    queues = load_queues(path, [])
    _made_up_judge(warehouse, chance)
    _made_up_reply(warehouse)
    _made_up_pairs(warehouse, queues["preferences"].sql)
    # The journal goes on from its last event: only where there is none yet can this have been weeks ago.
    clock = _Clock(time.time() - 20 * 86_400)
    desk = Desk(warehouse, queues, clock=clock)
    careful = dict(zip(PEOPLE, (0.95, 0.9, 0.85, 0.75), strict=True))

    def good(item: str) -> bool:
        return random.Random(item).random() < 0.7

    def say(queue: str, name: str) -> bool:
        person = Person(name, ("annotator",))
        task = desk.take(queue, person)
        if task is None:
            return False
        right = chance.random() < careful[name]
        clock.now += 60 * chance.lognormvariate(0, 0.6)
        words: dict[str, Any] = {"nonce": str(chance.random())}
        if task.contents.pair is not None:
            better = "left" if good(task.item.item_id) == bool(task.a_first) else "right"
            other = chance.choice(("left", "right", "tie"))
            desk.submit(task, person, Words(task.preference(better if right else other), **words))
        elif chance.random() < 0.03:
            desk.submit(task, person, Words("flag", note="Is the reference right?", **words))
        elif good(task.item.item_id) == right:
            desk.submit(task, person, Words("approve", **words))
        elif chance.random() < 0.15 and task.queue.edit:
            text = task.contents.replies[0].trajectory.text
            edited = text.replace("<think>", "<think>Let me see. ", 1) if "<think>" in text else f"Let me see. {text}"
            desk.submit(task, person, Words("edit", text=edited, **words))
        else:
            reasons = chance.sample(list(task.queue.reasons)[:4], chance.choice((1, 1, 2)))
            note = chance.choice(("", "", "The second step does not follow."))
            desk.submit(task, person, Words("reject", reasons=reasons, note=note, **words))
        return True

    listed = desk.lists.of("second-look").items
    for item in listed[-GOLD:]:
        reply = desk.reader.read(item).replies[0].trajectory
        known = ("approve", [], "") if good(item.item_id) else ("reject", [], "not good enough")
        desk.journal.submit([review_of(reply, "gold", known[0], tags=known[1], note=known[2])])
    Settler(warehouse).finish()
    desk.lists.forget("second-look")
    for number in range(REPLIES // 2):
        for name in chance.sample(PEOPLE, len(PEOPLE)):
            say("second-look", name)
        for name in PEOPLE[:3] if number < PAIRS else ():
            say("preferences", name)
        if number % 3 == 0:
            say("audit", PEOPLE[0])
        clock.now += 20 * 86_400 / (REPLIES // 2) - 600
    desk.close()
    settler = Settler(warehouse)
    settler.finish()
    settler.close()


class _Clock:
    """Time that goes on when it is told to."""

    def __init__(self, now: float) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def _made_up_pairs(warehouse: Any, waiting: str) -> None:
    """Where few pairs wait for people, some of two replies to one prompt that the rule finds equally good."""
    from schemas.keys import key
    from schemas.records import Pair, now
    from warehouse.connect import connect

    with connect(warehouse.path) as connection:
        if len(connection.execute(waiting).fetchall()) > PAIRS:
            return
        found = connection.execute(
            "SELECT prompt_id, min_by(trajectory_id, answer), max_by(trajectory_id, answer) FROM trajectory_facts "
            "WHERE error IS NULL AND stage NOT IN ('eval', 'rl_rollout') AND answer IS NOT NULL "
            "GROUP BY prompt_id, correct HAVING min(answer) <> max(answer) "
            "ORDER BY correct DESC, prompt_id LIMIT ?",
            [2 * PAIRS],
        ).fetchall()
    warehouse.append(
        "pairs",
        [
            Pair(pair_id=key(a, b), prompt_id=p, a_id=a, b_id=b, run_id="pictures", created_at=now())
            for p, a, b in found
        ],
    )


def _made_up_judge(warehouse: Any, chance: random.Random) -> None:
    """Where no judge has said anything, one that is right four times of five."""
    from schemas.records import Verdict, now
    from warehouse.connect import connect

    with connect(warehouse.path) as connection:
        if connection.execute("SELECT count(*) FROM verdicts WHERE kind = 'judge'").fetchall() != [(0,)]:
            return
        found = connection.execute(
            "SELECT r.trajectory_id, t.attempt, r.outcome = 'pass' FROM ruled r JOIN trajectories_current t "
            "USING (trajectory_id) WHERE r.outcome IN ('pass', 'fail') AND t.stage NOT IN ('eval', 'rl_rollout')"
        ).fetchall()
    told = [(ident, attempt, right == (chance.random() < 0.8)) for ident, attempt, right in found]
    warehouse.append(
        "verdicts",
        [
            Verdict(
                trajectory_id=ident, attempt=attempt, check="made_up_judge", version="1", kind="judge",
                outcome="pass" if good else "fail", score=chance.betavariate(*((5, 2) if good else (2, 5))),
                reason="" if good else "doubts", run_id="pictures", created_at=now(),
            )
            for ident, attempt, good in told
        ],
    )  # fmt: skip


GERMAN = "Das ist die Summe der ersten Hälfte."
REPLY = f"""<think>
I want the sum of the first hundred even numbers, \\(2 + 4 + \\dots + 200\\).

Each of them is twice a number from $1$ to $100$, so the sum is twice
\\[ \\sum_{{k=1}}^{{100}} k = \\frac{{100 \\cdot 101}}{{2}}. \\]

Wait, is that formula right? For $n = 3$ it gives $\\frac{{3 \\cdot 4}}{{2}} = 6$, and $1 + 2 + 3 = 6$. Good. {GERMAN}

So the inner sum is $5050$. Let me check with a few lines:

```python
total = sum(2 * k for k in range(1, 101))
print(total)
```

By pairs: $2 + 200 = 202$, $4 + 198 = 202$, and so on. There are $50$ pairs, and $50 \\cdot 202 = 10100$.

Hmm, both ways give the same, $2 \\cdot 5050 = 10100$.
</think>
The even numbers up to $200$ are twice the numbers up to $100$:

$$2 \\cdot \\frac{{100 \\cdot 101}}{{2}} = \\boxed{{10100}}$$

| pairs | each | sum |
|---|---|---|
| 50 | 202 | **10100** |
"""


def _made_up_reply(warehouse: Any) -> None:
    """A long reply with formulas, code and a stretch in another language, in a queue of its own."""
    from schemas.keys import canonical_json, key
    from schemas.records import Message, Prompt, Trajectory, Verdict, now

    question = "What is the sum of the first \\(100\\) positive even numbers? Put the answer in a box."
    prompt = Prompt.make(
        [Message(role="user", content=question)], domain="math", source="made_up", reference="10100", verifier="math"
    )
    reasoning, answer = REPLY.removeprefix("<think>").split("</think>")
    reply = Trajectory(
        trajectory_id=key("pictures"), prompt_id=prompt.prompt_id, stage="cold_start", policy="made-up@1",
        engine="import", sampling="{}", sample_index=0, rendered_key="k", reasoning=reasoning.strip(),
        answer=answer.strip(), text=REPLY, finish_reason="stop", prompt_tokens=24, completion_tokens=420,
        run_id="pictures", created_at=now(),
    )  # fmt: skip
    at = REPLY.index(GERMAN)
    spans = canonical_json({"spans": [[at, at + len(GERMAN), "de"]]})
    told = (("math", "verifier", "pass", 1.0, "", "{}"), ("language_mix", "filter", "fail", 0.93, "mixed", spans))
    warehouse.append("prompts", [prompt])
    warehouse.append("trajectories", [reply])
    warehouse.append(
        "verdicts",
        [
            Verdict(
                trajectory_id=reply.trajectory_id, attempt=1, check=check, version="pictures", kind=kind,  # type: ignore
                against=prompt.against if kind == "verifier" else "", outcome=outcome, score=score, reason=reason,
                details=details, run_id="pictures", created_at=now(),
            )
            for check, kind, outcome, score, reason, details in told
        ],
    )  # fmt: skip
    (warehouse.path / "queues").mkdir(exist_ok=True)
    shipped = (ROOT / "dataengine" / "queues" / "second-look.yaml").read_text(encoding="utf-8")
    head, rest = shipped[: shipped.index("sql: |")], shipped[shipped.index("reviewers:") :]
    sql = f"sql: SELECT '{reply.trajectory_id}' AS trajectory_id\n"
    example = head.replace("queue: second-look", "queue: example") + sql + rest.replace("gold: 0.05", "gold: 0")
    (warehouse.path / "queues" / "example.yaml").write_text(example.replace("repeats: 0.05", "repeats: 0"))


# -- the apps


@contextmanager
def served(command: str, warehouse: Path, folder: Path) -> Iterator[str]:
    """The address of an app that runs as a command."""
    with socket.create_server(("localhost", 0)) as probe:
        port = probe.getsockname()[1]
    arguments = [command, "--warehouse", warehouse.name, "--port", str(port), "--user", PEOPLE[0]]
    with (folder / f"{command}.log").open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "dataengine.cli", *arguments], cwd=folder, stdout=out, stderr=out
        )
    url = f"http://localhost:{port}"
    try:
        for _ in range(600):
            with suppress(OSError), urllib.request.urlopen(f"{url}/_stcore/health", timeout=1):
                break
            time.sleep(0.2)
        else:
            raise SystemExit((folder / f"{command}.log").read_text())
        yield url
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(60)


def _settled(page: Any) -> None:
    """Waits until the page has its last run behind it and its charts are drawn."""
    page.locator("[data-testid=stApp][data-test-script-state=notRunning]").wait_for(timeout=120_000)
    # Parts of pages are loaded when they are first needed.
    page.wait_for_load_state("networkidle")
    page.wait_for_timeout(2500)
    page.locator("[data-testid=stApp][data-test-script-state=notRunning]").wait_for(timeout=120_000)
    page.wait_for_timeout(500)


def _task(page: Any) -> None:
    page.locator(".screen .row, .screen .pen textarea").first.wait_for(timeout=60_000)


def _press(page: Any, *keys: str) -> None:
    for key in keys:
        page.keyboard.press(key)


def _look(page: Any) -> None:
    _task(page)
    _press(page, "g")


def _edit(page: Any) -> None:
    _task(page)
    _press(page, "g", "e")
    pen = page.locator(".screen .pen textarea")
    at = REPLY.index(GERMAN)
    pen.evaluate("(field, [from, to]) => field.setSelectionRange(from, to)", [at, at + len(GERMAN)])
    page.keyboard.type("That is the sum of all of them.")
    at = REPLY.index("\n\nEach of them")
    pen.evaluate("(field, [from, to]) => field.setSelectionRange(from, to)", [at, at])
    page.keyboard.type(" I look for a pattern.")
    pen.evaluate("field => field.scrollTo(0, 0)")
    page.locator(".screen .saved", has_text="Draft saved").wait_for()


def _keys(page: Any) -> None:
    _task(page)
    _press(page, "Escape", "?")


def _guideline(page: Any) -> None:
    page.locator("[data-testid=stExpander] summary", has_text="Second look").click()


def _bulk(page: Any) -> None:
    sql = page.get_by_role("textbox", name="SQL over the warehouse")
    sql.fill("SELECT trajectory_id FROM trajectory_facts\nWHERE kept ORDER BY completion_tokens DESC LIMIT 12")
    sql.press("Control+Enter")
    page.get_by_role("button", name="Show what that is").click()
    page.get_by_text("12 chosen").wait_for()


def shots(warehouse: Path) -> list[Shot]:
    """All pictures, in an order in which none spoils another."""
    question = (
        'SELECT source, avg(kept::INT) AS "share that is kept"\nFROM trajectory_facts\n'
        "WHERE stage NOT IN ('eval', 'rl_rollout')\nGROUP BY source ORDER BY 2 DESC"
    )
    sql = {"q": question, "kind": "bar", "x": "source", "y": "share that is kept"}
    return [
        Shot("review-task", "review", "?queue=example", _look),
        Shot("review-edit", "review", "?queue=example", _edit),
        Shot("review-keys", "review", "?queue=example", _keys),
        Shot("review-pair", "review", "?queue=preferences", _task, dark=True),
        Shot("my-work", "review", "mine"),
        Shot("guidelines", "review", "guidelines", _guideline),
        Shot("lead-progress", "review", "progress"),
        Shot("lead-agreement", "review", "agreement?queue=second-look"),
        Shot("lead-against", "review", "against"),
        Shot("lead-events", "review", "events"),
        Shot("lead-bulk", "review", "bulk", _bulk),
        Shot("explore-overview", "dashboard", ""),
        Shot("explore-yields", "dashboard", "yields"),
        Shot("explore-passes", "dashboard", "passes", dark=True),
        Shot("explore-lengths", "dashboard", "lengths?lengths_against=made_up_judge"),
        Shot("explore-languages", "dashboard", "languages"),
        Shot("explore-judges", "dashboard", "judges"),
        Shot("explore-cost", "dashboard", "cost"),
        Shot("explore-rows", "dashboard", "rows?kept=kept"),
        Shot("explore-trajectory", "dashboard", f"trajectory?id={_looked_at(warehouse)}"),
        Shot("explore-sql", "dashboard", f"sql?{urlencode(sql)}"),
        Shot("explore-mixes", "dashboard", "mixes"),
        Shot("explore-snapshots", "dashboard", f"snapshots?{urlencode(_snapshot(warehouse))}"),
        Shot("explore-curves", "dashboard", "curves"),
    ]


def _snapshot(path: Path) -> dict[str, str]:
    """The latest snapshot, where there is one."""
    from warehouse.snapshot import every_snapshot, list_snapshot_rows

    names = [str(row["snapshot"]) for row in list_snapshot_rows(every_snapshot(path))]
    return {"snapshot": names[0]} if names else {}


def _looked_at(path: Path) -> str:
    """A trajectory with much to be seen: one that was edited into being, or that checks found something in."""
    from warehouse.connect import connect

    with connect(path) as connection:
        found = connection.execute(
            "SELECT trajectory_id FROM trajectory_facts WHERE error IS NULL "
            "ORDER BY (engine = 'review') DESC, len(not_passed) DESC, trajectory_id LIMIT 1"
        ).fetchall()
    return str(found[0][0]) if found else ""


def take(page: Any, shot: Shot, url: str, out: Path) -> int:
    """Takes one picture; its size in bytes."""
    from PIL import Image

    page.goto(f"{url}/{shot.address}")
    _settled(page)
    if shot.steps is not None:
        shot.steps(page)
        _settled(page)
    picture = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    file = out / f"{shot.name}.png"
    picture.quantize(COLOURS, dither=Image.Dither.NONE).save(file, optimize=True)
    return file.stat().st_size


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--warehouse", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "images")
    parser.add_argument("--only", nargs="*", default=[], help="names of pictures, or how they start")
    parser.add_argument("--chromium", default="/usr/bin/chromium")
    given = parser.parse_args()
    from playwright.sync_api import sync_playwright

    given.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="dataengine-") as folder, sync_playwright() as playwright:
        copy = Path(shutil.copytree(given.warehouse, Path(folder) / given.warehouse.resolve().name))
        print(f"made-up people review in a copy: {copy}", flush=True)
        made_up_reviews(copy)
        wanted = [s for s in shots(copy) if not given.only or s.name.startswith(tuple(given.only))]
        flags = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
        browser = playwright.chromium.launch(executable_path=given.chromium, args=flags)
        total = 0
        for app in ("review", "dashboard"):
            with served(app, copy, Path(folder)) as url:
                context = browser.new_context(viewport=SIZE)
                page = context.new_page()
                for shot in (s for s in wanted if s.app == app):
                    page.emulate_media(color_scheme="dark" if shot.dark else "light")
                    try:
                        size = take(page, shot, url, given.out)
                    except Exception as e:  # noqa: BLE001 # the others are taken all the same
                        print(f"{shot.name}: not taken: {e}", flush=True)
                        continue
                    total += size
                    print(f"{shot.name}: {size:,} bytes", flush=True)
                context.close()
        browser.close()
    print(f"{total:,} bytes in {given.out}")


if __name__ == "__main__":
    main()
