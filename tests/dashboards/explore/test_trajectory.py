"""The page of one trajectory: what is known of it, and nothing that a model wrote acts on the page."""

from html import unescape
from pathlib import Path
from typing import Any

import pytest

from dashboards.explore.record import record_of
from dashboards.explore.texts import MOST_SHOWN, text_html
from dashboards.reading import Mark
from dataengine.explain import explained
from tests.dashboards.explore.conftest import Open
from tests.dashboards.explore.told import HOSTILE, Told
from warehouse.store import Warehouse

# Pages are run many times: some minutes in all.
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Told:
    return Told(tmp_path_factory.mktemp("trajectory") / "told")


def htmls(app: Any) -> str:
    """All HTML of ours on the page."""
    return "\n".join(e.proto.body for e in app.get("html"))


def table(app: Any, column: str) -> Any:
    """The table that has a column of that name."""
    return next(d.value for d in app.dataframe if column in d.value)


def pinned(told: Told) -> tuple[tuple[str, int], ...]:
    return tuple(Warehouse.open(told.path).versions().items())


@pytest.mark.parametrize("name", ["good", "bad", "failed", "strange", "rewrite", "edit"])
def test_the_record_is_what_explain_knows(told: Told, name: str) -> None:
    """Read from the rows of its family alone, it is the same as over the whole warehouse."""
    ident = getattr(told, name).trajectory_id
    known = explained(told.path, ident)
    known.pop("snapshots")
    record = record_of(str(told.path), pinned(told), ident[:12])
    assert {k: v for k, v in record.items() if k not in ("texts", "parent")} == known


def test_the_record_of_a_pair_is_what_explain_knows(told: Told) -> None:
    known = explained(told.path, told.pair)
    known.pop("snapshots")
    assert record_of(str(told.path), pinned(told), told.pair) == known


def test_reply_and_its_spans_are_shown_with_every_verdict(told: Told, open_page: Open) -> None:
    app = open_page(told.path, "trajectory", id=told.good.trajectory_id[:10])
    shown = htmls(app)
    assert ">Das ist sieben.</mark>" in shown
    assert "language_mix de" in shown
    assert shown.count('class="verdict') == 3
    assert shown.count('class="verdict fail old"') == 1  # of the attempt before
    assert "temperature" in shown
    assert app.get("download_button")


def test_attempts_people_family_pairs_and_snapshots_are_told(told: Told, open_page: Open) -> None:
    app = open_page(told.path, "trajectory", id=told.good.trajectory_id)
    assert list(table(app, "finish reason")["finish reason"]) == ["length", "stop"]
    assert sorted(table(app, "reviewer")["reviewer"]) == ["ann", "o'bob"]
    assert list(table(app, "did")["did"]) == ["sample", "rewrite english", "edit"]
    assert list(table(app, "pair")["pair"]) == [f"trajectory?id={told.pair}"]
    assert list(table(app, "snapshot")["snapshot"]) == ["snapshots?snapshot=sums%401"]
    assert len(table(app, "sample")) == 4  # the others of its prompt
    assert "First I add" in htmls(app)


def test_an_edit_shows_its_changes_to_the_parent_and_links_to_it(told: Told, open_page: Open) -> None:
    app = open_page(told.path, "trajectory", id=told.edit.trajectory_id)
    assert "<del>it</del>" in htmls(app)
    assert "<ins>the sum</ins>" in htmls(app)
    assert f"trajectory?id={told.good.trajectory_id}" in list(table(app, "did")["trajectory"])


def test_hostile_text_is_exact_and_escaped_everywhere(told: Told, open_page: Open) -> None:
    for ident in (told.bad.trajectory_id, told.strange.trajectory_id, told.good.trajectory_id):
        app = open_page(told.path, "trajectory", id=ident)
        shown = htmls(app)
        assert "<script" not in shown
        assert "<img" not in shown
        assert "\x1b" not in shown
        assert "\u202e" not in shown
        assert not any("alert(1)" in m.value for m in [*app.markdown, *app.caption])
    app = open_page(told.path, "trajectory", id=told.bad.trajectory_id)
    assert HOSTILE.split("\x1b")[0] in unescape(htmls(app))


def test_a_failed_request_says_so_in_place_of_a_reply(told: Told, open_page: Open) -> None:
    app = open_page(told.path, "trajectory", id=told.failed.trajectory_id)
    assert "500: out of memory" in htmls(app)
    assert "no verdict yet" in htmls(app)


def test_a_pair_shows_both_replies_and_a_prompt_where_its_rows_are(told: Told, open_page: Open) -> None:
    app = open_page(told.path, "trajectory", id=told.pair[:16])
    assert "Das ist sieben." in htmls(app)
    assert list(table(app, "draw")["outcome"]) == ["pass"]
    app = open_page(told.path, "trajectory", id=told.sum.prompt_id[:16])
    assert "is a prompt" in app.info[0].value


@pytest.mark.parametrize(
    "ident", ["' OR 1=1 --", "<script>", "%27", "zz", "ab", "x" * 10_000, "a" * 10_000, "../../etc/passwd", "0" * 64]
)
def test_what_is_no_id_is_refused_on_one_line(told: Told, open_page: Open, ident: str) -> None:
    app = open_page(told.path, "trajectory", id=ident)
    assert [len(e.value) < 250 and "\n" not in e.value for e in app.error] == [True]
    assert not app.dataframe


def test_without_an_id_and_without_a_warehouse_of_rows_it_asks_for_one(tmp_path: Path, open_page: Open) -> None:
    Warehouse.open(tmp_path / "w", create=True)
    assert "give its id" in open_page(tmp_path / "w", "trajectory").caption[0].value
    app = open_page(tmp_path / "w", "trajectory", id="abcd")
    assert "no prompt" in app.error[0].value


def test_long_texts_are_bounded_and_say_what_is_not_shown() -> None:
    told = text_html("a" * (MOST_SHOWN + 1_000))
    assert len(told) < 2 * MOST_SHOWN
    assert "1,000 characters are not shown" in told


def test_reasoning_without_marks_is_folded_and_what_is_marked_is_not() -> None:
    text = "<think>\n" + "\n\n".join(f"paragraph {i} " + "word " * 60 for i in range(20)) + "\n</think>\nanswer"
    at = text.index("paragraph 7 ")
    told = text_html(text, [Mark(at, at + 11, "odd")], unfolded=False)
    assert told.count("<details>") == 2
    assert ">paragraph 7</mark>" in told
    outside = told[told.rindex("</details>") :]
    assert "answer" in outside
    assert "<details>" not in text_html(text, unfolded=True)
