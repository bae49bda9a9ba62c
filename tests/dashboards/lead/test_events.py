"""The audit log by pages and as files, and what leads choose to do something to."""

import csv
import io
import json
from datetime import UTC, date, datetime, timedelta

import pyarrow.parquet as pq
import pytest

from dashboards.lead.context import Held, Rows
from dashboards.lead.events import Filter, Key, all_events, as_csv, as_jsonl, as_parquet, choices, count, page
from dashboards.lead.selecting import asked_for, reviews, to_release, to_send, to_withdraw
from schemas.errors import QueryError
from schemas.records import Review
from tests.dashboards.lead.made_up import pairs, review, trajectories
from warehouse.store import Warehouse

pytestmark = pytest.mark.slow

START = datetime(2026, 11, 2, 9, tzinfo=UTC)
EVIL = '=HYPERLINK("http://x.invalid") <img src=x> "quoted", O\'Hara\nnext line'


@pytest.fixture
def log(warehouse: Warehouse) -> list[Review]:
    """23 events; some at the same moment, so that only the whole key tells them apart."""
    replies = trajectories(warehouse, 23)
    said = [
        review(
            reply, "ann" if i % 2 else "ben", "approve" if i % 3 else "reject", number=i + 1,
            queue="q" if i % 4 else "r", at=START + timedelta(days=i // 4),
            tags=["gap"] if i % 3 == 0 else [], note=EVIL if i == 6 else "",
        )
        for i, reply in enumerate(replies)
    ]  # fmt: skip
    warehouse.append("reviews", said[:20])
    # `created_at` grows with each commit, so these come later.
    warehouse.append("reviews", said[20:])
    return said


def test_pages_follow_each_other_without_a_gap_either_way(log: list[Review], rows: Rows) -> None:
    seen, place, back = [], None, []
    while True:
        found = page(rows, Filter(), older=place, size=5)
        seen += [r["number"] for r in found.rows]
        if found.older is None:
            break
        place = found.older
    assert seen == list(range(23, 0, -1))
    while found.newer is not None:
        found = page(rows, Filter(), newer=found.newer, size=5)
        back = [r["number"] for r in found.rows] + back
    assert back == list(range(23, 3, -1))
    assert found.older is not None and found.newer is None


def test_a_page_stays_as_it_is_while_events_come_in(log: list[Review], rows: Rows, warehouse: Warehouse) -> None:
    first = page(rows, Filter(), size=5)
    assert first.older is not None and first.newer is None
    before = page(rows, Filter(), older=first.older, size=5).rows
    new = log[0].model_copy(update={"review_id": "f" * 32, "number": 99})
    warehouse.append("reviews", [new])
    assert page(rows, Filter(), older=first.older, size=5).rows == before


def test_filters(log: list[Review], rows: Rows) -> None:
    assert count(rows, Filter()) == 23
    assert count(rows, Filter(queue="r", reviewer="ben")) == sum(i % 4 == 0 for i in range(23))
    assert count(rows, Filter(verdict="reject", reviewer="ann")) == 4
    assert count(rows, Filter(since=date(2026, 11, 3), until=date(2026, 11, 3))) == 4
    assert count(rows, Filter(until=date.max)) == 23
    assert count(rows, Filter(text="hyperlink")) == 1
    assert count(rows, Filter(text=log[3].trajectory_id[:20])) == 1
    assert count(rows, Filter(text="%")) == 0
    assert count(rows, Filter(reviewer="x' OR 'a'='a")) == 0
    assert page(rows, Filter(reviewer="nobody")).rows == []
    assert choices(rows) == {"queue": ["q", "r"], "reviewer": ["ann", "ben"], "verdict": ["approve", "reject"]}


@pytest.mark.parametrize(
    "text", [None, "", "x", "~~", "2026-11-02~x~y", "2026-11-02~1", "0~1~2~3", "2026-11-02T00:00~9" + "9" * 5000 + "~y"]
)
def test_a_key_that_was_tampered_with_is_none(text: str | None) -> None:
    assert Key.read(text) is None


def test_a_key_is_read_as_it_was_written() -> None:
    key = Key(START, 7, "a" * 32)
    assert Key.read(str(key)) == key


def test_files_hold_what_was_said(log: list[Review], rows: Rows) -> None:
    events = all_events(rows, Filter(text="hyperlink"))
    assert [json.loads(line)["note"] for line in as_jsonl(events).decode().splitlines()] == [EVIL]
    (row,) = csv.DictReader(io.StringIO(as_csv(events).decode(), newline=""))
    # A spreadsheet would take it for a formula.
    assert row["note"] == "'" + EVIL and row["tags"] == '["gap"]'
    every = all_events(rows, Filter())
    assert [e["number"] for e in every] == list(range(1, 24))
    table = pq.read_table(io.BytesIO(as_parquet(every)))
    assert table.column_names == list(Review.model_fields)
    assert [Review(**r) for r in table.to_pylist()] == [Review(**e) for e in every]
    assert len(list(csv.DictReader(io.StringIO(as_csv(every).decode(), newline="")))) == 23
    assert [len(written([]).splitlines()) for written in (as_csv, as_jsonl)] == [1, 0]


# -- selections


def test_ids_of_a_query_come_once_and_in_its_order(log: list[Review], warehouse: Warehouse) -> None:
    sql = (
        "SELECT trajectory_id, number FROM reviews UNION ALL SELECT trajectory_id, 0 FROM reviews ORDER BY number DESC"
    )
    found = asked_for(warehouse.path, sql, "trajectory_id")
    assert found == [r.trajectory_id for r in reversed(log)]


@pytest.mark.parametrize(
    ("sql", "says"),
    [
        ("SELECT 1 AS one, 2 AS two", "gives no column trajectory_id, but one, two"),
        ("DELETE FROM reviews", "refused"),
        ("SELECT nothing FROM reviews", "nothing"),
        ("SELECT error('boom') AS trajectory_id", "boom"),
        ("SELECT range::VARCHAR AS trajectory_id FROM range(100001)", "more than 100,000 rows"),
        ("SELECT content AS trajectory_id FROM read_text('/etc/hostname')", "disabled"),
    ],
)
def test_a_query_that_cannot_be_used_is_refused_in_one_line(warehouse: Warehouse, sql: str, says: str) -> None:
    with pytest.raises(QueryError, match=says) as refused:
        asked_for(warehouse.path, sql, "trajectory_id")
    assert "\n" not in str(refused.value)


def test_what_can_be_sent_is_what_is_there(rows: Rows, warehouse: Warehouse) -> None:
    import random

    replies = trajectories(warehouse, 12)
    ids = [replies[3].trajectory_id, "unknown", replies[1].trajectory_id]
    found = to_send(rows, ids, "attempts")
    assert (found.ids, found.unknown, found.count) == ((ids[0], ids[2]), 1, 2)
    assert [r["id"] for r in found.sample] == [ids[0], ids[2]]
    assert len(to_send(rows, [t.trajectory_id for t in replies], "attempts").sample) == 10
    (one, *_) = pairs(warehouse, replies, random.Random(1))
    assert to_send(rows, [one.pair_id, ids[0]], "pairs").ids == (one.pair_id,)
    assert to_send(rows, [], "attempts").count == 0


def test_what_can_be_withdrawn_is_what_stands(rows: Rows, warehouse: Warehouse) -> None:
    a, b, c = trajectories(warehouse, 3)
    said = [
        review(a, "ann", "approve", queue="q", number=1, at=START),
        review(a, "ann", "reject", queue="q", number=2, at=START),
        review(b, "ann", "approve", queue="q", number=3, at=START),
        review(b, "ann", "withdraw", queue="q", number=4, at=START),
        review(c, "ann", "edit", queue="r", number=5, at=START),
        review(c, "gold", "approve", number=6, at=START),
        review(c, "ben", "approve", queue="q", number=7, at=START),
    ]
    warehouse.append("reviews", said)
    assert to_withdraw(rows, reviewer="ann").ids == (said[1].review_id, said[4].review_id)
    assert to_withdraw(rows, reviewer="ann", queue="q").ids == (said[1].review_id,)
    assert to_withdraw(rows, queue="q", verdict="approve").ids == (said[6].review_id,)
    by_id = to_withdraw(rows, ids=[r.review_id for r in said])
    assert by_id.ids == tuple(said[i].review_id for i in (1, 4, 6)) and by_id.unknown == 4
    (back,) = reviews(rows, [said[4].review_id])
    assert back.model_dump(exclude={"created_at"}) == said[4].model_dump(exclude={"created_at"})


def test_what_a_person_has_before_them_is_released_by_queue() -> None:
    held = [Held("q", "x", "ann", START), Held("q", "y", "ann", START), Held("r", "z", "ann", START)]
    assert to_release(held, "q", "ann").ids == ("x", "y")
    assert to_release(held, "q", "ben").count == 0


def test_an_empty_log_has_no_page(rows: Rows) -> None:
    assert count(rows, Filter()) == 0 and page(rows, Filter()) == ([], None, None)
