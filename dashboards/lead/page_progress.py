"""Progress: how far each queue is, what each person did, how long an item takes."""

from datetime import UTC, datetime
from functools import cache

import streamlit as st

from dashboards.lead import charts, shown
from dashboards.lead.context import Lead
from dashboards.lead.progress import (
    IDLE_SECONDS,
    PersonProgress,
    QueueProgress,
    by_day,
    looks,
    person_progress,
    queue_progress,
    with_hands,
    work,
)


def page(lead: Lead) -> None:
    """The page."""
    st.header("Progress")
    st.caption(
        "Days are in UTC. What was said a moment ago is counted when the next look at the warehouse takes it in."
    )
    if not lead.queues:
        shown.nothing("There is no queue: write one into the warehouse's folder `queues`.")
        return
    held, skipped = lead.held(), lead.skipped()
    looked, queues = looks(lead.rows), []
    for name, of in sorted(lead.queues.items()):
        listed = lead.items(name)
        if listed.problem:
            st.warning("A queue cannot be filled:")
            st.code(listed.problem, language=None, wrap_lines=True)
        items = [item.item_id for item in listed.items]
        queues.append(queue_progress(name, of.reviewers, items, looked.get(name, ()), held))
    done = cache(lambda: work(lead.rows))
    today = datetime.combine(lead.clock().astimezone(UTC).date(), datetime.min.time(), UTC)

    def people_of(queue: str | None) -> list[PersonProgress]:
        did = lead.kept("people", "reviews", lambda: person_progress(done(), today, queue), queue, today)
        return with_hands(did, held, skipped, queue)

    everybody = people_of(None)
    _sums(queues, everybody)
    _queues(lead, queues)
    st.subheader("People")
    queue = shown.pick_queue(lead, "queue", every=True, of=sorted(looked))
    people = people_of(queue) if queue else everybody
    if not people:
        shown.nothing("Nobody has said anything here yet.")
        return
    _people(people)
    _times(lead, people)
    days = lead.kept("days", "reviews", lambda: by_day(done(), queue or None), queue)
    if len({d["day"] for d in days}) > 1:
        lead.view.chart(
            charts.per_day([d | {"day": datetime.combine(d["day"], datetime.min.time())} for d in days]),
            key="per-day", title="Items per day", n=sum(d["items"] for d in days), of="items",
        )  # fmt: skip


def _sums(queues: list[QueueProgress], people: list[PersonProgress]) -> None:
    items, done = sum(q.items for q in queues), sum(q.done for q in queues)
    for column, (label, value, why) in zip(
        st.columns(4),
        (
            ("Items done", f"{done:,} of {items:,}", "in all queues; an item in two queues counts in both"),
            ("In hands now", f"{sum(q.in_hands for q in queues):,}", "leases that have not ended"),
            ("Done today", f"{sum(p.today for p in people):,}", "looks, of all people"),
            ("People today", f"{sum(p.today > 0 for p in people):,} of {len(people):,}", "who said something today"),
        ),
        strict=True,
    ):
        column.metric(label, value, help=why, border=True)


def _queues(lead: Lead, queues: list[QueueProgress]) -> None:
    rows = [
        {
            "queue": q.queue,
            "title": lead.queues[q.queue].title,
            "reviewers": lead.queues[q.queue].reviewers,
            "items": q.items,
            "done": q.done,
            "share": shown.percent(q.done / q.items if q.items else None),
            "in_hands": q.in_hands,
            "begun": q.begun,
            "open": q.open,
        }
        for q in queues
    ]
    shown.table(
        rows,
        {
            "queue": shown.text("queue"),
            "title": shown.text("title"),
            "share": shown.bar("done"),
            "items": shown.count("items"),
            "done": shown.count("done", "looked at by all that the queue asks for, or edited by one"),
            "in_hands": shown.count("in hands", "before somebody now"),
            "begun": shown.count("begun", "looked at, but not by all that the queue asks for"),
            "open": shown.count("open", "nobody has looked at it"),
            "reviewers": shown.count("people each", "how many look at each item"),
        },
        key="queues",
    )
    states = [
        {"queue": q.queue, "state": state, "items": n}
        for q in queues
        for state, n in (("done", q.done), ("in hands", q.in_hands), ("begun", q.begun), ("open", q.open))
        if n
    ]
    if states:
        lead.view.chart(
            charts.queue_bars(states), key="states", title="Items by queue", n=sum(q.items for q in queues), of="items",
            height=charts.height([r["queue"] for r in states], row=36),
        )  # fmt: skip
    else:
        shown.nothing("The queues are empty: their SQL gives nothing in this warehouse yet.")


def _people(people: list[PersonProgress]) -> None:
    shown.table(
        [p.__dict__ for p in people],
        {
            "person": shown.text("person"),
            "today": shown.count("today", "since midnight UTC"),
            "in_all": shown.count("in all", "items they looked at, repeats included, withdrawn ones not"),
            "edited": shown.count("edited"),
            "flagged": shown.count("flagged"),
            "skipped": shown.count("skipped", "passed over for somebody else"),
            "in_hands": shown.count("in hands", "before them now"),
            "seconds": st.column_config.NumberColumn(
                "median s", format="%.0f", help=f"seconds per item; above {IDLE_SECONDS // 60} minutes they were away"
            ),
            "idle": shown.count("away", f"items that took above {IDLE_SECONDS // 60} minutes; not in the median"),
            "last": shown.moment("last (UTC)"),
        },
        key="people",
    )


def _times(lead: Lead, people: list[PersonProgress]) -> None:
    timed = [p for p in people if p.timed > 1]
    if not timed:
        shown.nothing("Times are shown of who has looked at two items or more, in the review app.")
        return
    rows = [{"person": p.person, "seconds": p.seconds, "lower": p.lower, "upper": p.upper, "n": p.timed} for p in timed]
    lead.view.chart(
        charts.times(rows), key="times", title="Time per item: median and middle half", n=sum(p.timed for p in timed),
        of="items", note=f"without those above {IDLE_SECONDS // 60} minutes",
        height=charts.height([p.person for p in timed]),
    )  # fmt: skip
