"""The review app and the dashboard at size: people at work while a run writes, crashes, pages, and one long item.

    python benchmarks/dashboards.py load|crash|pages|item [--replies 100000] [--seconds 300] [--writing] [--folder F]

Makes a warehouse of so many replies, of which 4,000 are long ones that people are asked to look at, unless the folder
has it; each measurement starts from a copy. `load` and `crash` end with an error where an answered event is lost, is
there twice, or an item was looked at by more people than its queue asks for.
"""

import argparse
import asyncio
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from dashboards_data import made, write_on
from dashboards_load import App, Told, held_against, people, reviews_in

PEOPLE = 20
EVERY = 15.0
CRASHES = 20
EVERY_IN_CRASHES = 4.0


def fresh(folder: Path, name: str) -> Path:
    """A copy of a warehouse to write to; tables' files never change, so it shares them."""
    copy = folder.with_name(f"{folder.name}-{name}")
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(folder, copy, copy_function=os.link)
    return copy


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def writing(folder: Path) -> Iterator[list[int]]:
    """A run that writes to the warehouse; how many replies it has written stands in the list."""
    command = [sys.executable, __file__, "write-on", "--folder", str(folder)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    count = [0]

    def read() -> None:
        assert process.stdout is not None
        for line in process.stdout:
            count[0] = int(line)

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    try:
        yield count
    finally:
        process.kill()
        process.wait()
        thread.join()


def percentiles(title: str, seconds: Sequence[float]) -> str:
    """A line of a table, in milliseconds."""
    if not seconds:
        return f"| {title} | 0 | | | |"
    p50, p95 = np.percentile(seconds, [50, 95]) * 1000
    return f"| {title} | {len(seconds):,} | {p50:,.0f} | {p95:,.0f} | {max(seconds) * 1000:,.0f} |"


def load(folder: Path, replies: int, seconds: float, count: int, every: float, browser: bool) -> None:
    """People at work while a run writes, and the command itself settles what they say."""
    warehouse = fresh(made(folder / f"dashboards-{replies}", replies), "load")
    app = App(warehouse, free_port())
    started = app.start()
    before = reviews_in(warehouse)
    in_browser: list[float] = []

    async def both() -> Told:
        async def beside(until: float) -> None:
            if browser:
                from dashboards_browser import reviewer

                in_browser.extend(await reviewer(app, until, every))
            await asyncio.sleep(max(0.0, until - time.perf_counter()))

        return await people(app, count, every, seconds, beside)

    try:
        with writing(warehouse) as written:
            spent = app.processor()
            told = asyncio.run(both())
            spent = app.processor() - spent
        memory = app.memory()
    finally:
        app.stop()
    found = held_against(warehouse, [told], before)
    print(
        f"{count} people, one submit each per {every:g} s for {seconds:g} s, {replies:,} replies "
        f"and {written[0]:,} written meanwhile\n"
    )
    print("| | n | p50 ms | p95 ms | max ms |\n|---|---:|---:|---:|---:|")
    print(percentiles("submit, until the next task's data is there", told.nexts))
    for verdict in sorted(told.by_verdict):
        print(percentiles(f"of these {verdict}", told.by_verdict[verdict]))
    print(percentiles("draft, until the app says that it is kept", told.drafts))
    if browser:
        print(percentiles("in Chromium: from the key to the next task painted", in_browser))
    print()
    tell(found.counts | {f"refused: {why}": n for why, n in told.refused.items()})
    size = np.median(told.sizes) / 1000 if told.sizes else 0
    print(
        f"{size:,.0f} KB sent per submit; the command and the app took {spent:,.0f} s of processor; memory of the app "
        f"{memory:,.0f} MB; it answers after {started:.1f} s, all have their first task {told.arrived:.1f} s later; "
        f"connections lost: {told.reconnects}\n"
    )
    for error in told.errors[:5]:
        print(f"error: {error}")
    found.assert_sound()


def crash(folder: Path, replies: int, crashes: int, count: int, every: float) -> None:
    """kill -9 of the app with all its processes, at random moments, while people are at work."""
    warehouse = fresh(made(folder / f"dashboards-{replies}", replies), "crash")
    app = App(warehouse, free_port())
    app.start()
    before, back = reviews_in(warehouse), []

    async def beside(until: float) -> None:
        for _ in range(crashes):
            await asyncio.sleep(random.uniform(0, 5))
            await asyncio.to_thread(app.kill)
            print(f"killed {len(back) + 1} of {crashes}", file=sys.stderr, flush=True)
            back.append(await asyncio.to_thread(app.start))
            # Until people are at work again, there is little that could be lost.
            answered = len(reviews_in(warehouse))
            limit = time.perf_counter() + 60
            while len(reviews_in(warehouse)) < answered + count / 2 and time.perf_counter() < limit:
                await asyncio.sleep(0.1)
        await asyncio.sleep(3)

    try:
        with writing(warehouse) as written:
            told = asyncio.run(people(app, count, every, 3600, beside))
    finally:
        app.stop()
    found = held_against(warehouse, [told], before)
    print(
        f"{crashes} times kill -9, {count} people, one submit each per {every:g} s, {written[0]:,} replies written "
        "meanwhile\n"
    )
    tell(found.counts | {f"refused: {why}": n for why, n in told.refused.items()})
    print(f"it answers again after {np.median(back):.1f} s (median); connections lost: {told.reconnects}\n")
    for error in told.errors[:5]:
        print(f"error: {error}")
    found.assert_sound()


def tell(counts: dict[str, int]) -> None:
    """Counts as a table."""
    print("| | |\n|---|---:|")
    for what, n in counts.items():
        print(f"| {what} | {n:,} |")
    print(flush=True)


def main() -> None:
    # Whoever ends a benchmark ends the apps and the run that it started with it.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["load", "crash", "pages", "item", "write-on"])
    parser.add_argument("--replies", type=int, default=100_000)
    parser.add_argument("--seconds", type=float, default=300)
    parser.add_argument("--people", type=int, default=PEOPLE)
    parser.add_argument("--every", type=float, default=None, help="seconds between a person's submits")
    parser.add_argument("--crashes", type=int, default=CRASHES)
    parser.add_argument("--no-browser", action="store_true", help="load without the reviewer in Chromium")
    parser.add_argument("--visits", type=int, default=20, help="pages: visits of each page")
    parser.add_argument("--writing", action="store_true", help="pages: while a run writes to the warehouse")
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "dataengine-benchmark")
    asked = parser.parse_args()
    if asked.what == "write-on":
        write_on(asked.folder)
    elif asked.what == "load":
        load(asked.folder, asked.replies, asked.seconds, asked.people, asked.every or EVERY, not asked.no_browser)
    elif asked.what == "crash":
        crash(asked.folder, asked.replies, asked.crashes, asked.people, asked.every or EVERY_IN_CRASHES)
    elif asked.what == "pages":
        from dashboards_pages import pages

        warehouse = fresh(made(asked.folder / f"dashboards-{asked.replies}", asked.replies), "pages")
        if asked.writing:
            with writing(warehouse):
                pages(warehouse, free_port, asked.visits)
        else:
            pages(warehouse, free_port, asked.visits)
    else:
        from dashboards_browser import item

        item(fresh(made(asked.folder / f"dashboards-{asked.replies}", asked.replies), "item"), free_port())


if __name__ == "__main__":
    main()
