"""Walks through the apps as people take them: the real commands, a real browser, a small warehouse."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("streamlit")

from tests.dashboards.walking import (
    DOUBT,
    JUDGE,
    POLICY,
    SECRET,
    Running,
    Window,
    rows_of,
    serving,
    signing_in,
    small,
    windows,
)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
Windows = Callable[..., Window]


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small(tmp_path_factory.mktemp("walks") / "w").path


@pytest.fixture
def warehouse(made: Path, tmp_path: Path) -> Path:
    """A copy of its own, to be worked in."""
    return Path(shutil.copytree(made, tmp_path / "w"))


@pytest.fixture
def window(browser: Any) -> Iterator[Windows]:
    with windows(browser) as opened:
        yield opened


@pytest.fixture
def alone(warehouse: Path) -> Iterator[Running]:
    """`dataengine review`, on one's own machine."""
    with serving("review", warehouse, "--user", "ann") as running:
        yield running


@pytest.fixture
def team(warehouse: Path) -> Iterator[str]:
    """The address of a proxy with sign-in before `dataengine review`."""
    access = str(warehouse / "access.yaml")
    with serving("review", warehouse, "--access", access, DATAENGINE_PROXY_SECRET=SECRET) as running:
        with signing_in(running.port) as url:
            yield url


@pytest.fixture
def person(team: str, window: Windows) -> Callable[..., Window]:
    """A window of somebody who has signed in, at a queue."""

    def signed_in(name: str, queue: str = "") -> Window:
        made = window().open(f"{team}/sign-in?name={name}")
        made.says(name)
        return made.open(f"{team}/?queue={queue}").task() if queue else made

    return signed_in


# -- A: one person, from the first look to the undo


def test_signing_in(team: str, person: Callable[..., Window], window: Windows) -> None:
    nobody = window().open(team)
    nobody.says("You came past the proxy")
    assert not nobody.page.locator(".screen").count()
    stranger = window().open(f"{team}/sign-in?name=mallory")
    stranger.says("no role here")
    assert not stranger.page.locator(".screen").count()
    ann, ben = person("ann", "one"), person("ben", "one")
    assert "annotator" in ann.text() and ann.problem() != ben.problem()
    assert "Agreement" not in ann.page.locator("[data-testid=stSidebarNav]").inner_text()


def test_a_task_by_the_keyboard_alone(alone: Running, warehouse: Path, window: Windows) -> None:
    ann = window().open(f"{alone.url}/?queue=one").task()
    ann.says("Nobody signed in")
    first, problem = ann.page.locator(".screen .body").inner_text(), ann.problem()
    # Reading: jumps, folding, the views.
    for key, hit in (("b", "box"), ("w", "Wait"), ("a", "")):
        ann.press(key)
        ann.page.locator(".screen .row.here").wait_for()
        if hit:
            ann.page.locator(".screen .hit").wait_for()
    ann.press("Shift+o")
    rows = ann.page.locator(".screen .row").count()
    assert ann.page.locator(".screen .row.folded").count() == rows > 4
    ann.press("Shift+o")
    assert ann.page.locator(".screen .row.folded").count() == 0
    assert ann.page.locator(".screen .row .ex").first.is_visible()
    assert ann.page.locator(".screen math").first.is_visible()
    ann.press("v")
    assert not ann.page.locator(".screen .row .re").first.is_visible()
    ann.press("v")
    assert not ann.page.locator(".screen .row:not(.raw) .ex").first.is_visible()
    ann.press("v", "?")
    ann.says("Undo the last decision")
    ann.press("Escape")
    # Writing, with a reload in the middle.
    ann.press("e", "Control+Home")
    ann.write("I begin. ")
    ann.press("Escape", "n")
    ann.write("a better start")
    ann.saved()
    ann.page.reload()
    ann.page.locator(".screen .pen textarea").wait_for()
    assert ann.problem() == problem
    text = ann.editor()
    assert text.startswith("I begin. <think>") and ann.note() == "a better start"
    assert ann.page.locator(".screen .changes ins").first.inner_text().strip() == "I begin."
    ann.press("Control+Enter")
    ann.done(1)
    assert ann.page.locator(".screen .body").inner_text() != first
    ann.says("Your edit:", seconds=240)
    ann.says("checks pass", seconds=10)
    # One more, and it is taken back.
    second = ann.problem()
    ann.press("y")
    ann.done(2)
    ann.press("u")
    ann.done(1)
    assert ann.problem() == second
    ann.unharmed()
    alone.end()
    said = rows_of(warehouse, "SELECT reviewer, verdict, text, note FROM reviews ORDER BY number")
    assert said[0] == ("ann", "edit", text, "a better start")
    assert [row[1] for row in said] == ["edit", "approve", "withdraw"]
    (edit,) = rows_of(warehouse, "SELECT text, policy, kept FROM trajectory_facts WHERE engine = 'review'")
    assert edit[0] == text and edit[1].startswith("human:ann")
    assert len(rows_of(warehouse, "FROM reviews_current WHERE NOT by_editing")) == 1


def test_an_answer_that_an_edit_changes_is_told_before(alone: Running, window: Windows) -> None:
    ann = window().open(f"{alone.url}/?queue=one").task()
    ann.press("e", "Control+End")
    ann.write("\\boxed{12345}")
    ann.says("final answer changes")
    ann.says("12345")
