"""Takes the pictures of the guides: `python docs/screenshots.py --warehouse DIR` writes docs/images/*.png.

Works on a copy of the warehouse, in which made-up people have reviewed and a made-up judge has judged (what they say
says nothing of the replies), with one made-up long reply, which the pictures of a task show.
Needs Chromium and the package playwright.
"""

import argparse
import io
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

from made_up import GERMAN, PEOPLE, REPLY, made_up_reviews

ROOT = Path(__file__).resolve().parent.parent
SIZE = {"width": 1440, "height": 900}
COLOURS = 128


class Shot(NamedTuple):
    """One picture: of which app, at which address, what is done there first, and on which ground."""

    name: str
    app: str
    address: str
    steps: Callable[[Any], None] | None = None
    dark: bool = False


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
    page.locator("[data-testid=stExpander] summary", has_text="Second look").last.click()


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
    from dataengine.output import list_snapshot_rows
    from warehouse.snapshot import every_snapshot

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
