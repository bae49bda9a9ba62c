"""The page of one task after the other: takes it, shows it, keeps what is written, and writes what is said."""

import re
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import streamlit as st

from dashboards.review.screen import said, screen
from dashboards.review.shown import answer_change, shown, shown_draft
from dataengine.desk import Conflict, Desk, Refused, Task, Words
from schemas.access import Person
from schemas.errors import UserError
from schemas.queue import Queue
from schemas.records import Review

SCREEN = "task-screen"
# Seconds for which what an edit is found to be is waited for.
_PENDING = 60.0


class _Table:
    """What one browser window has on the table: its task of each queue, and what it was told of it."""

    def __init__(self) -> None:
        self.tasks: dict[str, Task] = {}
        self.told: dict[str, Any] = {}
        self.seen: dict[str, int] = {}
        self.base: dict[str, str] = {}
        self.nonces: set[str] = set()
        self.taken = self.saved = 0
        self.changes: str | None = None
        self.pending: dict[str, float] = {}

    def turn_to(self, name: str, desk: Desk) -> None:
        """Gives back what lies on the table of another queue, unless something was written there."""
        for other in [queue for queue in self.tasks if queue != name]:
            task = self.tasks.pop(other)
            if desk.journal.draft(other, task.item, task.lease.reviewer) is None:
                desk.journal.release(other, task.item, task.lease.reviewer)

    def put(self, name: str, task: Task | None) -> None:
        if task is None:
            self.tasks.pop(name, None)
        else:
            self.tasks[name] = task
            self.seen[task.id] = task.draft.number if task.draft else 0


def review_page(desk: Desk, person: Person) -> None:
    """The queue that the address names, and its next task."""
    queue = _chosen(desk, person)
    if queue is None:
        st.info("There is no queue for you: a lead gives you a role in the access file.")
        return
    table: _Table = st.session_state.setdefault("table", _Table())
    try:
        table.turn_to(queue.queue, desk)
        if queue.queue not in table.tasks:
            # Before what was sent is taken in: after a restart of the app the browser sends what it has again.
            with _waiting(desk, queue):
                table.put(queue.queue, desk.take(queue.queue, person))
        _receive(desk, person, queue, table)
        task = table.tasks.get(queue.queue)
        if task is None or task.lease.until < time.time():
            task = desk.take(queue.queue, person)
            table.put(queue.queue, task)
    except UserError as e:
        st.error(f"{type(e).__name__}: {e}")
        return
    if task is None:
        _nothing_left(desk, person, queue, table)
    else:
        screen(shown(task, position=_position(desk, person, queue), told=table.told), key=SCREEN)
    # Not before it was shown: a run that is overtaken by the next one leaves it to that.
    table.told = {}
    _edits(desk, table)


def _waiting(desk: Desk, queue: Queue) -> AbstractContextManager[object]:
    """Says what is waited for where the queue's list has to be made first: some seconds of a large warehouse."""
    known = desk.lists.known(queue.queue) is not None
    return nullcontext() if known else st.spinner("Making the list of this queue")


def _chosen(desk: Desk, person: Person) -> Queue | None:
    allowed = {queue.queue: queue for queue in desk.allowed(person)}
    if not allowed:
        return None
    asked = st.query_params.get("queue")
    name = st.sidebar.selectbox(
        "Queue",
        list(allowed),
        index=list(allowed).index(asked) if asked in allowed else _first_open(desk, list(allowed)),
        format_func=lambda name: f"{allowed[name].title}{_count(desk, name)}",
        key="queue-chosen",
    )
    if asked is not None and asked not in allowed and asked != st.session_state.get("refused-queue"):
        st.session_state["refused-queue"] = asked
        st.warning("The queue of this address is not one of yours.")
    st.query_params["queue"] = name
    return allowed[name]


def _first_open(desk: Desk, names: list[str]) -> int:
    """The first queue that is known to have something in it."""
    for place, name in enumerate(names):
        listed = desk.lists.known(name)
        if listed is not None and listed.items:
            return place
    return 0


def _count(desk: Desk, name: str) -> str:
    listed = desk.lists.known(name)
    return f" · {len(listed.items):,}" if listed else ""


def _position(desk: Desk, person: Person, queue: Queue) -> str:
    listed = desk.lists.known(queue.queue)
    done = f"{len(desk.said(queue.queue, person)):,} done by you"
    return f"{done} · {len(listed.items):,} open" if listed else done


def _receive(desk: Desk, person: Person, queue: Queue, table: _Table) -> None:
    """Takes in what the screen sent since the last run: first what was written, then what was said."""
    found = said(SCREEN)
    task = table.tasks.get(queue.queue)
    if task is None:
        return
    try:
        if found.draft is not None:
            _keep(desk, task, found.draft, table)
        if found.act is not None:
            _do(desk, person, queue, task, found.act, table)
    except Refused as e:
        if found.act is not None and found.act["do"] != "undo":
            written = {name: found.act[name] for name in ("text", "note", "reasons")}
            desk.journal.save_draft(queue.queue, task.item, person.name, {**written, "window": ""})
        table.told["warn"] = f"Not taken: {e}."
        table.put(queue.queue, None)
    except (ValueError, UserError) as e:
        table.told["warn"] = f"Not taken: {e}."


def _keep(desk: Desk, task: Task, draft: Mapping[str, Any], table: _Table) -> None:
    # The component goes on holding what it sent last: it is taken in once, and not when its task has gone.
    if draft["task"] != task.id or draft["n"] <= table.taken:
        if draft["task"] == task.id:
            table.told |= {"saved": table.saved, "warn": table.changes}
        return
    table.taken = draft["n"]
    body = {name: value for name, value in draft.items() if name not in ("task", "seen")}
    body["base"] = table.base.get(task.id) or task.base
    try:
        table.seen[task.id] = desk.save_draft(task, body, seen=table.seen.get(task.id, 0))
    except Conflict as e:
        # The screen shows both; what is kept of it is said there, and takes the other's place.
        assert e.draft is not None
        table.seen[task.id] = e.draft.number
        table.told["draft"] = shown_draft(e.draft)
        return
    table.told["saved"] = table.saved = draft["n"]
    table.changes = None if draft["text"] is None else answer_change(task, draft["text"])
    table.told["warn"] = table.changes


def _do(desk: Desk, person: Person, queue: Queue, task: Task, act: Mapping[str, Any], table: _Table) -> None:
    if act["nonce"] in table.nonces:
        return
    table.nonces.add(act["nonce"])
    if act["do"] == "undo":
        given = desk.undo(queue.queue, person)
        table.put(queue.queue, given)
        table.told["message"] = "Taken back. Here it is again." if given else "Taken back; others have its place now."
        return
    if act["task"] != task.id:
        return  # pressed twice: the task that it was said of has gone
    if act["do"] == "renew":
        if not desk.renew(task):
            raise Refused("your lease ended and others have looked at this; what you wrote is kept as a draft")
        table.put(queue.queue, desk.open(queue.queue, task.item, person))
    elif act["do"] == "discard_draft":
        desk.journal.drop_draft(queue.queue, task.item, person.name)
        table.put(queue.queue, desk.open(queue.queue, task.item, person))
    elif act["do"] == "skip":
        desk.skip(task)
        table.put(queue.queue, None)
        table.told["message"] = "Skipped: you will not be given it again."
    elif act["do"] != "next":
        _submit(desk, person, queue, task, act, table)


def _submit(desk: Desk, person: Person, queue: Queue, task: Task, act: Mapping[str, Any], table: _Table) -> None:
    verdict = task.preference(act["do"]) if act["do"] in ("left", "right", "tie") else act["do"]
    words = Words(verdict, act["nonce"], act["text"], act["note"], act["reasons"], table.base.get(task.id))
    try:
        review = desk.submit(task, person, words)
    except Conflict as e:
        assert e.child_id is not None
        other = desk.edit_of(e.child_id)
        table.base[task.id] = e.child_id
        table.told["conflict"] = (
            "Somebody else edited this reply while you did. Submit again to keep yours beside theirs, or skip."
        )
        table.told["other"] = other.text if other else None
        return
    table.put(queue.queue, None)
    if review is not None:
        table.told["message"] = _done(review)
        if review.child_id is not None and not review.repeat:
            table.pending[review.child_id] = time.time()


def _done(review: Review) -> str:
    words: Mapping[str, str] = {
        "approve": "Approved.",
        "reject": "Rejected.",
        "edit": "Edit kept." if review.repeat else "Edit kept; it is being verified.",
        "flag": "Flagged.",
        "tie": "Tie.",
    }
    return words.get(review.verdict, "Preference kept.")


def _nothing_left(desk: Desk, person: Person, queue: Queue, table: _Table) -> None:
    for kind, tell in (("message", st.success), ("warn", st.warning)):
        if table.told.get(kind):
            tell(table.told[kind])
    done = len(desk.said(queue.queue, person))
    st.subheader("Nothing waits for you in this queue")
    st.text(f"{done:,} done by you. Others may still have items before them; new ones come as runs make them.")
    again, undo, _ = st.columns([1, 1, 4])
    again.button("Look again", shortcut="N", key="look-again", on_click=desk.lists.forget, args=(queue.queue,))
    if done and undo.button("Undo the last", shortcut="U", key="undo-last"):
        try:
            table.put(queue.queue, desk.undo(queue.queue, person))
        except (Refused, UserError) as e:
            st.warning(f"Not taken: {e}.")
        else:
            st.rerun()


def _edits(desk: Desk, table: _Table) -> None:
    """Says what the person's edits were found to be, as soon as that is known."""
    table.pending = {child: at for child, at in table.pending.items() if time.time() - at < _PENDING}
    if not table.pending:
        return

    @st.fragment(run_every=2.0)
    def look() -> None:
        for child in list(table.pending):
            if verdicts := desk.verdicts_on(child):
                bad = [
                    f"{v.check} {v.outcome}{f' ({v.reason})' if v.reason else ''}"
                    for v in verdicts
                    if v.outcome != "pass"
                ]
                good = sum(v.outcome == "pass" for v in verdicts)
                icon = ":material/warning:" if bad else ":material/check:"
                text = f"Your edit: {good} checks pass" + (f", not: {', '.join(bad)}" if bad else "")
                st.toast(_plain(text), icon=icon, duration="long")
                del table.pending[child]

    look()


def _plain(text: str) -> str:
    """A text that Markdown leaves as it is."""
    return re.sub(r"[^\w\s.,:()-]", " ", text).replace("_", "\\_")
