"""The page of one's own work: what is unfinished, and what was said, to be taken back if need be."""

from datetime import UTC, datetime

import streamlit as st

from dataengine.desk import Desk, Refused
from schemas.access import Person
from schemas.errors import UserError
from schemas.records import OF_PAIRS

_MOST = 50


def mine_page(desk: Desk, person: Person) -> None:
    """Drafts and the latest words of the person, in all queues."""
    st.title("My work")
    allowed = {queue.queue: queue.title for queue in desk.allowed(person)}
    drafts = desk.journal.drafts(person.name)
    st.subheader(f"Drafts · {len(drafts)}")
    if not drafts:
        st.caption("None: what you write is kept here until you submit or skip.")
    for draft in drafts:
        left, middle, right = st.columns([3, 1, 1], vertical_alignment="center")
        left.text(f"{allowed.get(draft.queue, draft.queue)} · {draft.item.item_id[:12]} · {_when(draft.at)}")
        if draft.queue in allowed:
            middle.link_button("Open its queue", f"?queue={draft.queue}", key=f"open-{draft.number}")
        if right.button("Throw away", key=f"drop-{draft.number}"):
            desk.journal.drop_draft(draft.queue, draft.item, person.name)
            st.rerun()
        with st.expander("What it says"):
            st.code(
                str(draft.body.get("text") or draft.body.get("note") or "nothing yet"), language=None, wrap_lines=True
            )
    said = sorted((word for name in allowed for word in desk.said(name, person)), key=lambda w: -w.number)
    st.subheader(f"Said · {len(said):,}")
    if not said:
        st.caption("Nothing yet.")
    for word in said[:_MOST]:
        review = desk.journal.review(word.review_id)
        if review is None:
            continue
        left, right = st.columns([5, 1], vertical_alignment="center")
        told = _side(review.verdict, review.a_first) if review.verdict in OF_PAIRS else review.verdict
        again = " · asked again" if review.repeat else ""
        reasons = f" · {', '.join(review.tags)}" if review.tags else ""
        took = f" · {review.seconds:,.0f} s" if review.seconds is not None else ""
        left.text(f"{allowed[word.queue]} · {told}{reasons}{again}{took} · {_when(review.created_at.timestamp())}")
        if right.button("Take back", key=f"undo-{word.number}"):
            _take_back(desk, person, word.queue, word.review_id)
        if review.note or review.text:
            with st.expander("What you wrote"):
                st.code(review.note or review.text or "", language=None, wrap_lines=True)
    if len(said) > _MOST:
        st.caption(f"The last {_MOST} of {len(said):,}.")


def _take_back(desk: Desk, person: Person, queue: str, review_id: str) -> None:
    try:
        given = desk.undo(queue, person, review_id)
    except (Refused, UserError) as e:
        st.warning(f"Not taken back: {e}.")
        return
    # The window's task of that queue is another now.
    st.session_state.pop("table", None)
    if given is None:
        st.info("Taken back; others have its place now.")
        return
    st.query_params["queue"] = queue
    st.session_state["queue-chosen"] = queue
    st.switch_page(st.session_state["review-page"])


def _side(verdict: str, a_first: bool | None) -> str:
    if verdict == "tie":
        return "tie"
    return "left" if (verdict == "prefer_a") == bool(a_first) else "right"


def _when(at: float) -> str:
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M} UTC"
