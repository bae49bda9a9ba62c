"""Real browsers on real apps: `browser`, and `app(script, args)`, which serves a script of Streamlit on a free port.

Whoever looks is a named user of this machine, with all roles.
"""

import os
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dataengine.app_identity import identity_settings
from tests.dashboards.serving import ROOT, free_port
from tests.dashboards.walking import SECRET, Running, Window, serving, signing_in, windows

CHROMIUM = Path("/usr/bin/chromium")
Windows = Callable[..., Window]


@pytest.fixture(autouse=True, scope="session")
def local_user() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as environment:
        for name, value in identity_settings(user="ann").environment.items():
            environment.setitem(os.environ, name, value)
        yield


@pytest.fixture(autouse=True)
def newest(monkeypatch: pytest.MonkeyPatch) -> None:
    """In tests every look is at the newest versions; the apps hold on to one for some seconds."""
    querying = pytest.importorskip("dashboards.explore.querying")
    monkeypatch.setattr("dashboards.explore.view.look_at", querying.look_at.__wrapped__)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A headless Chromium, one for the tests of a file; ask it for a new context or page.

    No longer: as long as it is there, a loop of asyncio runs in this thread, and nothing else can start one.
    """
    playwright = pytest.importorskip("playwright.sync_api")
    if not CHROMIUM.exists():
        pytest.skip("no chromium")
    with playwright.sync_playwright() as started:
        flags = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
        opened = started.chromium.launch(executable_path=str(CHROMIUM), args=flags)
        yield opened
        opened.close()


@pytest.fixture
def app(tmp_path: Path) -> Iterator[Callable[..., str]]:
    """`app(script, args)` gives the URL of a running app; it is ended with the test."""
    running: list[subprocess.Popen[bytes]] = []

    def start(script: Path | str, args: tuple[str, ...] = (), env: dict[str, str] | None = None) -> str:
        port = free_port()
        log = tmp_path / f"app-{port}.log"
        command = [
            *(sys.executable, "-m", "streamlit", "run", str(script), "--server.port", str(port)),
            *("--server.address", "127.0.0.1", "--server.headless", "true", "--browser.gatherUsageStats", "false"),
            *("--server.fileWatcherType", "none", "--", *args),
        ]
        paths = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
        with log.open("wb") as out:
            environment = {**os.environ, "PYTHONPATH": paths, **(env or {})}
            process = subprocess.Popen(command, env=environment, stdout=out, stderr=out)
        running.append(process)
        url = f"http://127.0.0.1:{port}"
        for _ in range(600):
            if process.poll() is not None:
                break
            try:
                with urllib.request.urlopen(f"{url}/_stcore/health", timeout=1):
                    return url
            except OSError:
                time.sleep(0.1)
        raise AssertionError(f"the app did not start: {log.read_text()[-2000:]}")

    yield start
    for process in running:
        process.kill()
        process.wait()


# -- walks, over a warehouse that each file makes: `made`


@pytest.fixture
def warehouse(made: Path, tmp_path: Path) -> Path:
    """A copy of its own, to be worked in."""
    return Path(shutil.copytree(made, tmp_path / "w"))


@pytest.fixture
def window(browser: Any) -> Iterator[Windows]:
    with windows(browser) as opened:
        yield opened


@pytest.fixture
def explore(warehouse: Path) -> Iterator[Running]:
    """`dataengine dashboard`, on one's own machine."""
    with serving("dashboard", warehouse, "--user", "ann") as running:
        yield running


@pytest.fixture
def team(warehouse: Path) -> Iterator[str]:
    """The address of a proxy with sign-in before `dataengine review`."""
    access = str(warehouse / "access.yaml")
    served = serving("review", warehouse, "--access", access, DATAENGINE_PROXY_SECRET=SECRET)
    with served as running, signing_in(running.port) as url:
        yield url
