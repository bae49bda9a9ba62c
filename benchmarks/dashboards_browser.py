"""The review app in a real browser: what a reviewer waits for until the next task is painted, and how it scrolls."""

import asyncio
import random
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
from aiohttp import web
from dashboards_load import IN_BROWSER, QUEUE, App, as_person
from playwright.async_api import Page, async_playwright

CHROMIUM = "/usr/bin/chromium"
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
_HOP = {"connection", "upgrade", "transfer-encoding", "content-encoding", "content-length", "keep-alive"}
# Asked in every frame whether another task stands there; painted is what a frame after that has shown. The screen's own
# key handler runs between: the time of the key is that of the event, before any handler.
_WATCH = """() => {
  const screen = () => {
    const found = [...document.querySelectorAll("*")].map((e) => e.shadowRoot?.querySelector(".screen")).find(Boolean);
    return found ?? document.querySelector(".screen");
  };
  const body = screen().querySelector(".body");
  const now = () => body.innerText.slice(0, 300);
  const before = now();
  const watched = (window.watched = { key: null, painted: null, tasks: [] });
  new PerformanceObserver((list) => list.getEntries().forEach((e) => watched.tasks.push(e.duration)))
    .observe({ type: "longtask", buffered: false });
  document.addEventListener("keydown", (e) => (watched.key ??= e.timeStamp), { capture: true, once: true });
  const look = () => {
    if (watched.key !== null && body.isConnected && body.innerText.length > 300 && now() !== before)
      requestAnimationFrame(() => setTimeout(() => (watched.painted = performance.now()), 0));
    else requestAnimationFrame(look);
  };
  requestAnimationFrame(look);
}"""
# From top to bottom in steps of two thirds of a window, each in a frame of its own; the longest frame and longest task.
_SCROLL = """async () => {
  const screen = [...document.querySelectorAll("*")].map((e) => e.shadowRoot?.querySelector(".screen")).find(Boolean)
    ?? document.querySelector(".screen");
  const body = screen.querySelector(".body");
  const scrolls = (e) => e.scrollHeight > e.clientHeight + 200 && /auto|scroll/.test(getComputedStyle(e).overflowY);
  const scrolled = [body, ...body.querySelectorAll("*"), body.parentElement].find(scrolls) ?? body;
  const tasks = [];
  const watch = new PerformanceObserver((list) => list.getEntries().forEach((e) => tasks.push(e.duration)));
  watch.observe({ type: "longtask", buffered: false });
  const frame = () => new Promise((done) => requestAnimationFrame(done));
  let longest = 0, frames = 0, last = await frame();
  const from = last;
  while (scrolled.scrollTop + scrolled.clientHeight < scrolled.scrollHeight - 2 && frames < 2000) {
    scrolled.scrollTop += scrolled.clientHeight * 0.66;
    const at = await frame();
    longest = Math.max(longest, at - last);
    last = at;
    frames += 1;
  }
  await new Promise((done) => setTimeout(done, 300));
  watch.disconnect();
  return { longest, frames, seconds: (last - from) / 1000, tasks, height: scrolled.scrollHeight };
}"""


@asynccontextmanager
async def proxy(app: App, name: str) -> AsyncIterator[str]:
    """The proxy that says who somebody is, as it stands before the app; its address."""

    async def handle(request: web.Request) -> web.StreamResponse:
        headers = {
            k: v
            for k, v in request.headers.items()
            if k.lower() not in _HOP and not k.lower().startswith("sec-websocket")
        }
        headers |= as_person(name)
        if request.headers.get("Upgrade", "").lower() == "websocket":
            return await _websocket(http, app.url + request.path_qs, request, headers)
        async with http.request(
            request.method, app.url + request.path_qs, headers=headers, data=await request.read(), allow_redirects=False
        ) as got:
            return web.Response(
                status=got.status,
                body=await got.read(),
                headers={k: v for k, v in got.headers.items() if k.lower() not in _HOP},
            )

    async with aiohttp.ClientSession(auto_decompress=True) as http:
        server = web.Application(client_max_size=2**26)
        server.router.add_route("*", "/{path:.*}", handle)
        runner = web.AppRunner(server)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        try:
            yield f"http://127.0.0.1:{runner.addresses[0][1]}"
        finally:
            await runner.cleanup()


async def _websocket(
    http: aiohttp.ClientSession, url: str, request: web.Request, headers: dict[str, str]
) -> web.StreamResponse:
    protocols = [p.strip() for p in request.headers.get("Sec-WebSocket-Protocol", "").split(",") if p.strip()]
    async with http.ws_connect(
        url.replace("http", "ws", 1), protocols=protocols, headers=headers, max_msg_size=0
    ) as app_side:
        browser_side = web.WebSocketResponse(protocols=protocols[:1], max_msg_size=0)
        await browser_side.prepare(request)

        async def pump(source: Any, sink: Any) -> None:
            async for message in source:
                if message.type is aiohttp.WSMsgType.BINARY:
                    await sink.send_bytes(message.data)
            await sink.close()

        await asyncio.gather(pump(browser_side, app_side), pump(app_side, browser_side), return_exceptions=True)
        return browser_side


@asynccontextmanager
async def opened(app: App, name: str, *, path: str = f"/?queue={QUEUE}") -> AsyncIterator[Page]:
    """A page of a browser with a task in it."""
    async with proxy(app, name) as url, async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = await browser.new_page(viewport={"width": 1440, "height": 900})
        try:
            await page.goto(url + path)
            await page.locator(".screen .body").first.wait_for(timeout=120_000)
            yield page
        finally:
            await browser.close()


async def decided(page: Page, key: str) -> tuple[float, list[float]]:
    """Presses a key that decides; seconds until the next task was painted, and the page's long tasks until then."""
    await page.evaluate(_WATCH)
    await page.keyboard.press(key)
    await page.wait_for_function("() => window.watched.painted !== null", timeout=60_000, polling=50)
    seen = await page.evaluate("() => window.watched")
    return (seen["painted"] - seen["key"]) / 1000, [t / 1000 for t in seen["tasks"]]


async def reviewer(app: App, until: float, every: float) -> list[float]:
    """One person who approves in a browser while others work; seconds of each submit, as they saw it."""
    took: list[float] = []
    async with opened(app, IN_BROWSER) as page:
        while time.perf_counter() < until:
            await asyncio.sleep(random.uniform(0.5, 1.5) * every)
            seconds, _ = await decided(page, "y")
            took.append(seconds)
    return took


def item(folder: Path, port: int, count: int = 20) -> None:
    """A long item: from the key to its text painted, and scrolling through it."""
    app = App(folder, port)
    app.start()
    try:
        asyncio.run(_item(app, count))
    finally:
        app.stop()


async def _item(app: App, count: int) -> None:
    nexts: list[float] = []
    tasks: list[float] = []
    scrolls: list[dict[str, Any]] = []
    async with opened(app, IN_BROWSER) as page:
        await asyncio.sleep(2)
        for _ in range(count):
            seconds, long = await decided(page, "y")
            nexts.append(seconds)
            tasks += long
            # As a person who reads: what comes next is read ahead meanwhile.
            await asyncio.sleep(1)
            scrolls.append(await page.evaluate(_SCROLL))
    if not scrolls:
        sys.exit("no items")
    long_scroll = [t / 1000 for s in scrolls for t in s["tasks"]]
    print("| items of 20 KB in Chromium | n | p50 ms | p95 ms | max ms |\n|---|---:|---:|---:|---:|")
    for title, seconds in (
        ("from the key to the next item painted", nexts),
        ("long tasks (over 50 ms) of the page meanwhile", tasks),
        ("longest frame of scrolling through it", [s["longest"] / 1000 for s in scrolls]),
        ("long tasks while scrolling", long_scroll),
    ):
        if seconds:
            p50, p95 = np.percentile(seconds, [50, 95]) * 1000
            print(f"| {title} | {len(seconds)} | {p50:,.0f} | {p95:,.0f} | {max(seconds) * 1000:,.0f} |")
        else:
            print(f"| {title} | 0 | | | |")
    frames = sum(s["frames"] for s in scrolls)
    print(f"\n{frames:,} steps of scrolling, {scrolls[0]['height']:,} pixels the first item", flush=True)
