"""Progress is plain lines: what is done, what is on its way, how fast, how long still."""

import io

import pytest

from dataengine.progress import Progress


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr("dataengine.progress.time.monotonic", made)
    return made


def test_a_line_every_few_seconds_and_one_at_the_end(clock: Clock) -> None:
    out = io.StringIO()
    with Progress("sample", 1000, every=10, out=out) as progress:
        for _ in range(3):
            progress.started()
        progress.finished(tokens=50)
        clock.now = 9.0
        progress.finished(tokens=50, error="HTTP 500")
        assert out.getvalue() == ""
        clock.now = 10.0
        progress.finished(tokens=900)
        clock.now = 20.0
    assert out.getvalue().splitlines() == [
        "sample         3/1,000  100 tokens/s  failed 1 HTTP 500  eta 55 min",
        "sample         3/1,000  50 tokens/s  failed 1 HTTP 500  eta 1.8 h",
    ]


def test_the_yield_of_each_domain_is_shown_as_it_is_known(clock: Clock) -> None:
    out = io.StringIO()
    with Progress("sample", 4, out=out) as progress:
        for domain, kept in (("math", True), ("math", False), ("code", True), ("math", True)):
            progress.started()
            progress.finished()
            progress.judged(domain, kept)
        clock.now = 2.0
    assert out.getvalue() == "sample         4/4  kept code 100% of 1, math 67% of 3  2 s\n"


def test_a_terminal_gets_one_line_that_changes(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.StringIO()
    monkeypatch.setattr(out, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "30")
    with Progress("sample", 2, out=out) as progress:
        progress.started()
        clock.now = 0.6
        progress.finished(error="a long story: of what went wrong")
        progress.started()
        progress.finished()
    first, last = out.getvalue().removeprefix("\r").split("\r")
    assert first == "\x1b[Ksample         1/2  failed 1 "
    assert last == "\x1b[Ksample         2/2  failed 1 \n"


def test_requests_on_their_way_are_shown(clock: Clock) -> None:
    out = io.StringIO()
    with Progress("sample", 2, out=out) as progress:
        progress.started()
        progress.started()
        progress.finished()
    assert out.getvalue() == "sample         1/2  1 in flight  eta 0 s\n"


def test_a_count_that_is_not_known_is_not_made_up(clock: Clock) -> None:
    out = io.StringIO()
    with Progress("check", None, out=out) as progress:
        clock.now = 10.0
        progress.advance(512)
    assert out.getvalue().splitlines() == ["check          512  10 s"] * 2


def test_nothing_is_said_of_work_that_failed_before_it_began() -> None:
    out = io.StringIO()
    with pytest.raises(ValueError, match="refused"), Progress("check", 3, out=out):
        raise ValueError("refused")
    assert out.getvalue() == ""
