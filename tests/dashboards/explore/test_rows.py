"""The rows page: filters, words, pages of rows, and addresses that nobody should send."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from dashboards.explore.finding import Filters, find, words_of
from dashboards.explore.rows import marked
from schemas.errors import QueryError
from schemas.keys import key
from tests.dashboards.explore.conftest import Open
from tests.dashboards.explore.told import HOSTILE, Told, prompt, reply
from warehouse.store import Warehouse

# Pages are run many times: some minutes in all.
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Told:
    return Told(tmp_path_factory.mktemp("rows") / "told")


def names(told: Told, ids: list[str]) -> list[str]:
    by_id = {key(n): n for n in ("good", "bad", "failed", "strange", "rewrite", "edit")}
    return [by_id[i] for i in ids]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, ["edit", "rewrite", "good", "strange", "failed", "bad"]),
        ({"sort": "oldest"}, ["bad", "failed", "strange", "good", "rewrite", "edit"]),
        ({"kept": "kept"}, ["edit", "rewrite"]),
        ({"kept": "not"}, ["good", "strange", "failed", "bad"]),
        ({"truncated": "yes"}, ["strange"]),
        ({"source": "odd"}, ["strange"]),
        ({"language": "zh", "stage": "reasoning"}, ["strange"]),
        ({"policy": "ann"}, ["edit"]),
        ({"check": "math", "outcome": "fail"}, ["bad"]),
        ({"check": "math", "outcome": "pending"}, ["strange", "failed"]),
        ({"check": "language_mix", "sort": "lowest score"}, ["good", "bad", "rewrite"]),
        ({"outcome": "fail", "reason": "not_equal"}, ["bad"]),
        ({"reason": "no answer"}, []),  # of an attempt that another took the place of
        ({"stage": "no such stage"}, []),
        ({"run": "run-1", "sort": "longest"}, ["edit", "rewrite", "strange", "failed", "bad", "good"]),
        ({"step": "3"}, []),
    ],
)
def test_filters_narrow_the_rows(told: Told, given: Mapping[str, str], expected: list[str]) -> None:
    found = find(told.path, Filters.read(given))
    assert names(told, found.ids) == expected
    assert found.count == len(expected)
    assert found.after is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("SIEBEN", ["edit", "good"]),
        ("first wait", ["edit", "good", "rewrite"]),
        ('"let me check"', ["edit", "good", "rewrite"]),
        ('"check let"', []),
        ("aloud 8", ["bad"]),  # the one in the question, the other in the reply
        ("<script> odd", []),
        ("<SCRIPT>", ["bad", "strange"]),
        ("100%", ["bad", "strange"]),
        ("_____", []),
        ("First I add three", []),
    ],
)
def test_a_search_wants_all_words_in_question_and_reply(told: Told, text: str, expected: list[str]) -> None:
    found = find(told.path, Filters.read({"text": text}))
    assert sorted(names(told, found.ids)) == expected
    assert (found.looked, found.stopped) == (found.files, "")


def test_a_search_finds_only_the_attempt_that_counts(told: Told) -> None:
    assert "<think>\nFirst I add" in told.good.text
    assert find(told.path, Filters.read({"text": "aloud", "truncated": "yes", "source": "sums"})).ids == []


def test_pages_by_key_hold_every_row_once_though_many_keys_are_equal(tmp_path: Path) -> None:
    warehouse, asked = Warehouse.open(tmp_path / "w", create=True), prompt("same?")
    warehouse.append("prompts", [asked])
    warehouse.append("trajectories", [reply(asked, f"r{i}", "same words", i % 2) for i in range(23)])
    for given in ({}, {"text": "words"}, {"sort": "longest"}, {"sort": "id"}):
        seen: list[str] = []
        after = None
        while True:
            found = find(tmp_path / "w", Filters.read(given), after=after, page=5)
            assert found.count == 23
            seen += found.ids
            after = found.after
            if after is None:
                break
        assert len(seen) == 23
        assert set(seen) == {key(f"r{i}") for i in range(23)}


def test_a_search_that_takes_too_long_stops_and_goes_on_where_it_stopped(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr("dashboards.explore.finding._BATCH_BYTES", 1)
    warehouse, asked = Warehouse.open(tmp_path / "w", create=True), prompt("same?")
    warehouse.append("prompts", [asked])
    for i in range(3):
        warehouse.append("trajectories", [reply(asked, f"r{i}", "same words")])
    seen, skip = [], 0
    while True:
        found = find(tmp_path / "w", Filters.read({"text": "words"}), seconds=0, skip=skip)
        seen += found.ids
        assert (found.files, found.looked) == (3, skip + 1)
        skip = found.looked
        if not found.stopped:
            break
    assert sorted(seen) == sorted(key(f"r{i}") for i in range(3))


@pytest.mark.parametrize(
    "given",
    [
        {"stage": "x" * 10_000},
        {"text": "a\x00b"},
        {"kept": "' OR 1=1"},
        {"outcome": "<b>"},
        {"sort": "random()"},
        {"prompt": "%27"},
        {"step": "1; DROP"},
        {"sort": "lowest score"},
        {"outcome": "pending"},
        {"text": "a b c d e f g h i"},
    ],
)
def test_what_is_no_filter_is_refused_on_one_line(given: Mapping[str, str]) -> None:
    with pytest.raises(QueryError) as refused:
        Filters.read(given)
    assert len(str(refused.value)) < 200
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("hostile", ["' OR '1'='1", '"; DROP TABLE x; --', "<b>x</b>", "%", "_", "\\", "$stage", "{}"])
def test_values_are_compared_and_never_part_of_the_query(told: Told, hostile: str) -> None:
    for name in ("stage", "policy", "source", "domain", "language", "check", "reason", "run"):
        assert find(told.path, Filters.read({name: hostile})).ids == []


def test_passages_hold_everything_escaped_but_our_marks() -> None:
    (passage,) = marked(f"before {HOSTILE} after", ["alert(1)", "no"])
    assert "&lt;script&gt;<mark>alert(1)</mark>&lt;/script&gt;" in passage
    assert ":red[<mark>no</mark>]" in passage
    assert "\x1b" not in passage
    assert "\u202e" not in passage
    assert passage.replace("<mark>", "").replace("</mark>", "").count("<") == 0


def test_passages_of_a_word_that_is_everywhere_are_bounded() -> None:
    passages = [p.replace("<mark>", "").replace("</mark>", "") for p in marked("wait " * 99_999, ["wait"])]
    assert [len(passage) < 600 for passage in passages] == [True] * 3


def test_words_in_quotes_are_one() -> None:
    assert words_of('a "b c" a  "" d') == ["a", "b c", "d"]


# -- the page


def test_the_page_shows_rows_with_links_and_what_is_against_them(told: Told, open_page: Open) -> None:
    app = open_page(told.path, "rows", check="math", outcome="fail")
    (table,) = [d.value for d in app.dataframe]
    assert list(table["trajectory"]) == [f"trajectory?id={told.bad.trajectory_id}"]
    assert list(table["against"]) == ["math"]
    assert "1 trajectory" in app.caption[0].value


def test_hostile_replies_are_plain_cells_with_what_acts_on_a_screen_written_out(told: Told, open_page: Open) -> None:
    app = open_page(told.path, "rows", text="alert")
    told_of = {row["trajectory"]: row for _, row in app.dataframe[0].value.iterrows()}
    cell = told_of[f"trajectory?id={told.bad.trajectory_id}"]["reply"]
    assert "<script>⟦alert⟧(1)</script>" in cell
    assert "\x1b" not in cell
    assert all("<script>" not in m.value for m in app.markdown)


def test_a_filter_is_in_the_address_and_begins_with_the_first_page(told: Told, open_page: Open) -> None:
    app = open_page(told.path, "rows", kept="kept", after=told.rewrite.trajectory_id, sort="oldest")
    assert list(app.dataframe[0].value["trajectory"]) == [f"trajectory?id={told.edit.trajectory_id}"]
    app.selectbox(key="sort").set_value("newest").run()
    assert len(app.dataframe[0].value) == 2


@pytest.mark.parametrize(
    "given",
    [
        {"after": "'; DROP"},
        {"after": "0" * 64},
        {"part": "-1"},
        {"prompt": "<img src=x>"},
        {"stage": "a" * 10_000},
        {"kept": "%"},
        {"text": "x" * 10_000},
    ],
)
def test_hostile_addresses_get_one_line_and_no_rows(told: Told, open_page: Open, given: dict[str, str]) -> None:
    app = open_page(told.path, "rows", **given)
    assert [len(e.value) < 250 and "\n" not in e.value for e in app.error] == [True]
    assert not app.dataframe


def test_an_empty_warehouse_says_what_to_do(tmp_path: Path, open_page: Open) -> None:
    Warehouse.open(tmp_path / "w", create=True)
    app = open_page(tmp_path / "w", "rows")
    assert "No trajectories yet" in app.info[0].value
    assert find(tmp_path / "w", Filters.read({"text": "x"})).ids == []
    assert find(tmp_path / "w", Filters.read({"kept": "kept", "source": "x"})).ids == []
