"""The pages of leads over real warehouses, driven in this process: what they show, refuse and do."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dashboards.lead.pages import PAGES, lead_pages
from dataengine.desk import Desk, Words
from dataengine.reviewing import settle
from schemas.access import Person
from tests.dashboards.lead.conftest import rows_of
from tests.dashboards.lead.made_up import QUEUES, queue, review, trajectories
from warehouse.store import Warehouse

# Pages are run many times: some minutes in all.
pytestmark = pytest.mark.slow

NAMES = [name for name, *_ in PAGES]
EVIL = 'O\'Hara "<img src=x onerror=alert(1)>" **bold** :red[x] $a$ [l](http://x.invalid)'
Desks = Callable[..., Desk]
Page = Callable[..., Any]


def shown(app: Any) -> list[str]:
    """Whatever Streamlit reads as Markdown, and so could be taken for more than text."""
    return [str(m.value) for kind in (app.markdown, app.caption, app.header, app.subheader, app.info) for m in kind]


@pytest.mark.parametrize("name", NAMES)
def test_an_empty_warehouse_says_in_words_that_there_is_nothing(
    name: str, page: Page, desks: Desks, warehouse: Warehouse
) -> None:
    app = page(name, desks(warehouse.path))
    assert not app.error
    if name != "bulk":
        assert app.info and not app.get("vega_lite_chart")


@pytest.mark.parametrize("name", NAMES)
def test_without_a_queue_every_page_still_stands(name: str, page: Page, desks: Desks, crowd: Path) -> None:
    assert not page(name, desks(crowd, {})).error


@pytest.mark.parametrize("name", NAMES)
def test_nobody_but_leads_sees_a_page(name: str, page: Page, desks: Desks, crowd: Path) -> None:
    app = page(name, desks(crowd), roles=("annotator", "adjudicator"))
    assert [e.value for e in app.error] == ["This page is for leads."]
    assert not app.header and not app.dataframe
    desk = desks(crowd)
    assert lead_pages(desk.warehouse.path, desk.queues, Person("ann", ("annotator",)), desk) == []


def test_progress_tells_of_queues_and_people(page: Page, desks: Desks, crowd: Path) -> None:
    app = page("progress", desks(crowd))
    queues, people = (d.value for d in app.dataframe[:2])
    assert list(queues["queue"]) == sorted(QUEUES)
    assert (queues["items"] == queues["done"] + queues["in_hands"] + queues["begun"] + queues["open"]).all()
    assert len(people) == 20 and people["in_all"].sum() > 500
    assert len(app.get("vega_lite_chart")) == 3
    app.selectbox(key="queue").set_value("audit").run()
    assert app.dataframe[1].value["in_all"].sum() < people["in_all"].sum()


def test_a_queue_whose_sql_fails_is_told_and_the_others_are_shown(page: Page, desks: Desks, crowd: Path) -> None:
    broken = queue("broken", sql="SELECT trajectory_id FROM nowhere")
    app = page("progress", desks(crowd, {**QUEUES, "broken": broken}))
    assert "nowhere" in app.code[0].value
    assert list(app.dataframe[0].value["queue"]) == sorted([*QUEUES, "broken"])


def test_agreement_of_a_queue(page: Page, desks: Desks, crowd: Path) -> None:
    app = page("agreement", desks(crowd), queue="second-look")
    assert [m.label for m in app.metric] == ["Same word", "Fleiss' kappa", "Krippendorff's alpha"]
    assert all(0 < float(m.value) < 1 for m in app.metric)
    tables = {tuple(d.value.columns): d.value for d in app.dataframe}
    two = tables["a", "b", "n", "same", "kappa", "low", "high"]
    assert (two["a"] < two["b"]).all()
    assert "gold" not in {*two["a"], *two["b"]}
    assert any("share" in columns and "left_out" in columns for columns in tables)
    # Matrix, which words meet, drift, oneself, gold, gold by week.
    assert len(app.get("vega_lite_chart")) == 6


def test_agreement_on_preferences_has_an_order_too(page: Page, desks: Desks, crowd: Path) -> None:
    app = page("agreement", desks(crowd), queue="preferences")
    assert "alpha, ordinal" in [m.label for m in app.metric]


def test_people_against_checks(page: Page, desks: Desks, crowd: Path) -> None:
    app = page("against", desks(crowd))
    checks = app.dataframe[0].value
    assert list(checks["check"])[:2] == ["math", "correctness"]
    differing = app.dataframe[1].value
    assert set(zip(differing["said"], differing["told"], strict=True)) <= {
        ("approve", "fail"), ("reject", "pass"), ("edit", "pass"),
    }  # fmt: skip
    app.selectbox(key="said").set_value("approve").run()
    app.selectbox(key="told-as").set_value("undecided").run()
    assert set(app.dataframe[1].value["told"]) == {"undecided"}


def test_where_the_dashboard_is_known_rows_lead_to_trajectories(page: Page, desks: Desks, crowd: Path) -> None:
    app = page("against", desks(crowd), link=lambda id: f"https://explore.example/trajectory?id={id}")
    differing = app.dataframe[1].value
    assert list(differing["open"]) == [f"https://explore.example/trajectory?id={id}" for id in differing["id"]]


def test_events_are_paged_and_filtered(page: Page, desks: Desks, crowd: Path) -> None:
    app = page("events", desks(crowd))
    first = app.dataframe[0].value
    assert len(first) == 50 and first["number"].is_monotonic_decreasing
    app.button(key="go-older").click().run()
    assert app.dataframe[0].value["number"].max() == first["number"].min() - 1
    app.button(key="go-newer").click().run()
    assert list(app.dataframe[0].value["number"]) == list(first["number"])
    app.button(key="go-older").click().run()
    app.selectbox(key="event-reviewer").set_value("ada").run()
    found = app.dataframe[0].value
    assert set(found["reviewer"]) == {"ada"} and app.button(key="go-newer").disabled


@pytest.mark.parametrize("older", ["x", "2026-01-01~1~y", "2026-01-01~1~' OR true --", "~~~"])
def test_a_tampered_address_shows_the_latest_events(older: str, page: Page, desks: Desks, crowd: Path) -> None:
    app = page("events", desks(crowd), older=older, **{"event-queue": "no such queue"})
    assert len(app.dataframe[0].value) == 50


@pytest.mark.parametrize("name", NAMES)
def test_names_and_notes_are_shown_as_text(name: str, page: Page, desks: Desks, warehouse: Warehouse) -> None:
    replies = trajectories(warehouse, 4)
    evil = Person(EVIL, ("annotator",))
    said = [
        review(r, who, "approve" if i else "reject", queue="second-look", note=EVIL, number=2 * i + n, seconds=5.0)
        for i, r in enumerate(replies)
        for n, who in enumerate((EVIL, "ann"))
    ]
    warehouse.append("reviews", said)
    desk = desks(warehouse.path)
    desk.take("audit", evil)
    app = page(name, desk, queue="second-look")
    if name == "bulk":
        act(app, "Withdraw reviews")
        app.button(key="bulk-show").click().run()
    assert not app.error and not app.exception
    # Tables, lists to choose from and code show text as it is; nothing of it stands in Markdown.
    assert not any("onerror" in text or "x.invalid" in text for text in shown(app))
    cells = {str(v) for d in app.dataframe for v in d.value.to_numpy().ravel()}
    options = {o for s in app.selectbox for o in s.options}
    assert name == "against" or EVIL in cells | options


# -- bulk


@pytest.fixture
def worked(warehouse: Warehouse, desks: Desks) -> Desk:
    """A desk at which ann approved two replies and has a third before her."""
    trajectories(warehouse, 6)
    desk = desks(warehouse.path)
    ann = Person("ann", ("annotator",))
    for nonce in "ab":
        task = desk.take("second-look", ann)
        assert task is not None
        desk.submit(task, ann, Words("approve", nonce))
    assert desk.take("second-look", ann) is not None
    settle(warehouse)
    return desk


def act(app: Any, action: str) -> Any:
    return app.button_group(key="bulk-action").set_value(action).run()


def confirm(app: Any, count: str) -> Any:
    app.text_input(key="bulk-count").set_value(count).run()
    return app.button(key="bulk-do")


def test_leases_are_released_after_the_count_was_typed(page: Page, worked: Desk) -> None:
    app = act(page("bulk", worked), "Release leases")
    app.button(key="bulk-show").click().run()
    assert list(app.dataframe[0].value["person"]) == ["ann"]
    assert confirm(app, "").disabled and confirm(app, "2").disabled
    confirm(app, "1").click().run()
    assert [s.value for s in app.success] == ["1 released in second\\-look"]
    assert worked.release("ann", "second-look") == 0
    assert "Nobody has anything before them now." in [i.value for i in app.info]


def test_a_person_s_words_are_withdrawn(page: Page, worked: Desk) -> None:
    app = act(page("bulk", worked), "Withdraw reviews")
    app.selectbox(key="bulk-where").set_value("second-look").run()
    app.button(key="bulk-show").click().run()
    assert app.subheader[0].value == "2 chosen"
    confirm(app, "2").click().run()
    assert [s.value for s in app.success] == ["2 withdrawn"]
    settle(worked.warehouse)
    rows = rows_of(worked.warehouse.path)
    assert rows("FROM reviews_current", []) == []
    assert [r["verdict"] for r in rows("FROM reviews ORDER BY number", [])] == ["approve"] * 2 + ["withdraw"] * 2


def test_what_sql_chose_is_sent_to_a_queue(page: Page, worked: Desk) -> None:
    app = page("bulk", worked)
    app.selectbox(key="bulk-to").set_value("audit").run()
    app.text_area[0].set_value("SELECT trajectory_id FROM trajectories ORDER BY sample_index LIMIT 3").run()
    app.button(key="bulk-show").click().run()
    chosen = list(app.dataframe[0].value["id"])
    confirm(app, "3").click().run()
    assert "3 of 3 sent to audit" in app.success[0].value
    with worked.journal.standing() as standing:
        assert [item.item_id for item in standing.sent["audit"]] == chosen


def test_a_selection_that_changed_meanwhile_is_not_acted_on(page: Page, worked: Desk) -> None:
    app = act(page("bulk", worked), "Release leases")
    app.button(key="bulk-show").click().run()
    app.text_input(key="bulk-count").set_value("1").run()
    ann = Person("ann", ("annotator",))
    task = worked.take("second-look", ann)
    assert task is not None
    worked.submit(task, ann, Words("approve", "c"))
    assert worked.take("second-look", ann) is not None
    app.button(key="bulk-do").click().run()
    assert "Nothing was done" in app.error[0].value
    assert worked.release("ann", "second-look") == 1


def test_a_changed_question_has_to_be_shown_anew(page: Page, worked: Desk) -> None:
    app = page("bulk", worked)
    app.text_area[0].set_value("SELECT trajectory_id FROM trajectories LIMIT 3").run()
    app.button(key="bulk-show").click().run()
    assert app.subheader[0].value == "3 chosen"
    app.text_area[0].set_value("SELECT trajectory_id FROM trajectories LIMIT 4").run()
    assert not app.subheader and "bulk-do" not in [b.key for b in app.button]


def test_sql_that_does_more_than_read_is_refused(page: Page, worked: Desk) -> None:
    app = page("bulk", worked)
    app.text_area[0].set_value("DROP TABLE reviews").run()
    app.button(key="bulk-show").click().run()
    assert "refused" in app.code[0].value and not app.dataframe
