"""The explore app in a real browser: from a part of a chart to its rows, with a state in the address that stays."""

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit
from urllib.request import urlopen

import pytest

import dashboards.app
from tests.dashboards.explore.made_up import HOSTILE

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def address(made_up: Path) -> Iterator[str]:
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    assert dashboards.app.__file__
    command = [sys.executable, "-m", "streamlit", "run", dashboards.app.__file__, "--server.port", str(port)]
    command += ["--server.address", "localhost", "--server.headless", "true", "--browser.gatherUsageStats", "false"]
    app = subprocess.Popen([*command, "--", str(made_up)])
    try:
        for _ in range(240):
            try:
                with urlopen(f"http://localhost:{port}/_stcore/health"):
                    break
            except OSError:
                time.sleep(0.25)
        yield f"http://localhost:{port}"
    finally:
        app.kill()
        app.wait()


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    opened = browser.new_page(viewport={"width": 1400, "height": 1600})
    opened.set_default_timeout(60_000)
    yield opened
    opened.close()


def settle(page: Any) -> None:
    """Waits until the page has come to rest: what is chosen while it is being drawn may be drawn over."""
    page.wait_for_timeout(500)
    page.get_by_test_id("stStatusWidget").wait_for(state="detached")
    page.wait_for_timeout(500)


def choose(page: Any, mark: str) -> Any:
    """Clicks the part of a chart whose description holds the words; the link that comes of it."""
    part = page.locator(f"[aria-label*='{mark}']").first
    part.wait_for()
    settle(page)
    part.click(force=True)
    link = page.locator("[data-testid=stMain] a.lead").first
    link.wait_for()
    return link


def test_a_part_of_a_chart_leads_to_its_rows(page: Any, address: str) -> None:
    page.goto(address)
    choose(page, "check: math; outcome: fail").click()
    page.wait_for_url("**/rows?**")
    page.get_by_text("trajectories,").wait_for()
    query = parse_qs(urlsplit(page.url).query)
    assert (query["check"], query["outcome"]) == (["math"], ["fail"])
    assert "stage" in query


def test_a_choice_stands_in_the_address_and_survives_a_reload(page: Any, address: str) -> None:
    page.goto(f"{address}/yields")
    page.get_by_text("Yield of").first.wait_for()
    settle(page)
    page.locator("[data-testid=stSelectbox]").nth(1).click()
    page.get_by_role("option", name="non_reasoning", exact=True).click()
    page.wait_for_url("**yields_stage=non_reasoning**")
    page.get_by_text("Yield of non_reasoning by source").wait_for()
    page.reload()
    page.get_by_text("Yield of non_reasoning by source").wait_for()
    assert "yields_stage=non_reasoning" in page.url


def test_a_hostile_source_is_text_and_leads_to_its_own_rows(page: Any, address: str) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("dialog", lambda dialog: pytest.fail(dialog.message))
    page.goto(f"{address}/yields?yields_stage=reasoning")
    link = choose(page, "group: <img")
    assert HOSTILE in link.inner_text()
    assert not page.locator("[data-testid=stMain] img").count()
    link.click()
    page.wait_for_url("**/rows?**")
    assert parse_qs(urlsplit(page.url).query)["source"] == [HOSTILE]
    # And back to the page as it was.
    page.go_back()
    page.get_by_text("Yield of reasoning by source").wait_for()
    assert "yields_stage=reasoning" in page.url
    places = [urlsplit(url) for url in asked]
    assert not [place for place in places if place.hostname == "e.x" or place.path.endswith("/x")]
