"""How long each page of the two apps takes: until something stands there, and until all does."""

import asyncio
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
from dashboards_load import QUEUE, App, as_person
from streamlit_client import Gone, Session

from warehouse.connect import connect

AT_ONCE = 5
EXPLORE = (
    "", "yields", "passes", "lengths", "languages", "judges", "cost", "rows", "trajectory", "sql", "mixes", "snapshots",
    "curves",
)  # fmt: skip
REVIEW = ("", "mine", "guidelines", "progress", "agreement", "against", "events", "bulk")


def pages(folder: Path, port: Callable[[], int], visits: int, writing: Any = None) -> None:
    """Visits every page of both apps, as a lead: first each alone, then several windows at once."""
    with connect(folder, only=("trajectories",)) as connection:
        (some,) = connection.execute(
            "SELECT trajectory_id FROM trajectories WHERE stage = 'cold_start' LIMIT 1"
        ).fetchall()[0]
    queries = {"trajectory": {"id": some}, "review": {"queue": QUEUE}}
    for command, paths in (("dashboard", EXPLORE), ("review", REVIEW)):
        app = App(folder, port(), command)
        started = app.start()
        try:
            print(f"`dataengine {command}`: answers after {started:.1f} s\n")
            print(
                "| page | first visit: paint | complete | p50 paint | p95 paint | p50 complete | p95 complete "
                "| processor ms | KB | |"
            )
            print("|---|---:|---:|---:|---:|---:|---:|---:|---:|---|")
            for path in paths:
                asyncio.run(_page(app, path, queries.get(path or command, {}), visits))
            print(f"\nMemory after: {app.memory():,.0f} MB\n", flush=True)
        finally:
            app.stop()


async def _page(app: App, path: str, query: dict[str, str], visits: int) -> None:
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http:
        try:
            cold = await _visit(http, app, path, query)
            each, before = max(1, visits // AT_ONCE), app.processor()
            warm = [
                v
                for many in await asyncio.gather(*(_several(http, app, path, query, each) for _ in range(AT_ONCE)))
                for v in many
            ]
            spent = (app.processor() - before) / len(warm)
        except (Gone, TimeoutError) as e:
            print(f"| {path or 'first'} | | | | | | | | | {type(e).__name__}: {e} |", flush=True)
            return
    paints, completes = [v[0] for v in warm], [v[1] for v in warm]
    shown = " | ".join(
        f"{ms:,.0f}"
        for ms in (cold[0] * 1000, cold[1] * 1000, *_both(paints), *_both(completes), spent * 1000, cold[2] / 1000)
    )
    print(f"| {path or 'first'} | {shown} | {cold[3]} |", flush=True)


def _both(seconds: Sequence[float]) -> list[float]:
    return [float(p) * 1000 for p in np.percentile(seconds, [50, 95])]


async def _several(
    http: aiohttp.ClientSession, app: App, path: str, query: dict[str, str], count: int
) -> list[tuple[float, float, int, str]]:
    return [await _visit(http, app, path, query) for _ in range(count)]


async def _visit(
    http: aiohttp.ClientSession, app: App, path: str, query: dict[str, str]
) -> tuple[float, float, int, str]:
    """Seconds to the first element and to the last, the bytes that came, and the first error of the page."""
    async with Session(http, app.url, page=path, query=query, headers=as_person("lead")) as session:
        run = await session.settled(180)
        finished = run.finished or run.sent
        error = run.errors[0][:80].replace("|", "/") if run.errors else ""
        if error:
            print(f"{path}: {run.errors[0]}", file=sys.stderr)
        return (run.first or finished) - run.sent, finished - run.sent, run.size, error
