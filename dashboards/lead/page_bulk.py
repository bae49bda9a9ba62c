"""Bulk: something is done to many at once, after its count and a sample were seen and the count was typed."""

from collections.abc import Callable
from typing import Any

import streamlit as st

from dashboards.explore.view import plain
from dashboards.lead import shown
from dashboards.lead.context import Lead
from dashboards.lead.selecting import Selection, asked_for, reviews, to_release, to_send, to_withdraw
from schemas.errors import UserError
from schemas.records import OF_EITHER, OF_PAIRS

_SHOWN, _SAID = "bulk-shown", "bulk-said"
_VERDICTS = ("approve", "reject", "edit", *OF_PAIRS, *(w for w in OF_EITHER if w != "withdraw"))
# What is chosen, by what it is for: what the lead asked for, and the selection that it gave.
Choice = tuple[str, tuple[Any, ...]]


def page(lead: Lead) -> None:
    """The page."""
    st.header("Bulk")
    st.caption("Nothing is done before you have seen how many it is, and typed that number.")
    if said := st.session_state.pop(_SAID, None):
        st.success(plain(said), icon=":material/check:")
    action = st.segmented_control(
        "What is to be done",
        ["Send to a queue", "Release leases", "Withdraw reviews"],
        default="Send to a queue",
        required=True,
        key="bulk-action",
    )
    {"Send to a queue": _send, "Release leases": _release, "Withdraw reviews": _withdraw}[action](lead)


def _send(lead: Lead) -> None:
    st.write("Puts what a query gives into a queue, beside what its own SQL gives.")
    names = sorted(n for n, q in lead.queues.items() if q.kind == "review")
    if not names:
        shown.nothing("There is no queue to send to.")
        return
    queue = st.selectbox("To queue", names, index=names.index("sent") if "sent" in names else 0, key="bulk-to")
    column = lead.queues[queue].id_column
    sql = _sql(f"SELECT {column} FROM {'pairs' if column == 'pair_id' else 'trajectory_facts'} WHERE ...", column)
    _confirmed(
        ("send", (queue, sql)),
        lambda: to_send(lead.rows, asked_for(lead.view.path, sql, column), lead.queues[queue].rows),
        lambda chosen: (
            f"{lead.desk.send(chosen.ids, lead.person, queue):,} of {chosen.count:,} sent to {queue}; "
            "the rest was there before"
        ),
        verb="Send",
        ready=bool(sql),
        unknown="that are not there, or have no reply",
    )


def _release(lead: Lead) -> None:
    st.write("Ends what a person has before them, so that others are given it. Their drafts stay.")
    held = lead.held()
    people = sorted({h.person for h in held})
    if not people:
        shown.nothing("Nobody has anything before them now.")
        return
    person = st.selectbox("Of person", people, key="bulk-of")
    queue = st.selectbox("In queue", sorted({h.queue for h in held if h.person == person}), key="bulk-in")
    _confirmed(
        ("release", (person, queue)),
        lambda: to_release(lead.held(), queue, person),
        lambda _: f"{lead.desk.release(person, queue):,} released in {queue}",
        verb="Release",
    )


def _withdraw(lead: Lead) -> None:
    st.write("Takes back words that stand, by a further event each; the items are then looked at anew.")
    by = st.segmented_control(
        "Choose by", ["Person and queue", "SQL"], default="Person and queue", required=True, key="by"
    )
    if by == "SQL":
        sql = _sql("SELECT review_id FROM reviews_current WHERE ...", "review_id")
        of: tuple[Any, ...] = (sql,)
        ready = bool(sql)
    else:
        there = lead.rows("SELECT DISTINCT reviewer, queue FROM reviews_current WHERE NOT by_editing ORDER BY 1, 2")
        people = sorted({r["reviewer"] for r in there})
        if not people:
            shown.nothing("Nobody has said anything that stands.")
            return
        columns = st.columns(3)
        person = columns[0].selectbox("Of person", people, key="bulk-whose")
        queues = [r["queue"] for r in there if r["reviewer"] == person and r["queue"]]
        queue = columns[1].selectbox("In queue", [shown.ALL, *queues], key="bulk-where")
        verdict = columns[2].selectbox("Verdict", [shown.ALL, *_VERDICTS], key="bulk-what")
        of, ready = tuple("" if v == shown.ALL else v for v in (person, queue, verdict)), True

    def choose() -> Selection:
        if by == "SQL":
            return to_withdraw(lead.rows, ids=asked_for(lead.view.path, of[0], "review_id"))
        return to_withdraw(lead.rows, reviewer=of[0], queue=of[1], verdict=of[2])

    _confirmed(
        ("withdraw", of),
        choose,
        lambda chosen: f"{lead.desk.withdraw(reviews(lead.rows, chosen.ids), lead.person):,} withdrawn",
        verb="Withdraw",
        ready=ready,
        unknown="that do not stand (withdrawn, said anew, or not there)",
    )


def _sql(example: str, column: str) -> str:
    sql = st.text_area(
        "SQL over the warehouse", key=f"bulk-sql-{column}", height=120, placeholder=example,
        help=f"one SELECT with a column {column}; it can only read",
    )  # fmt: skip
    return (sql or "").strip()


def _confirmed(
    choice: Choice,
    choose: Callable[[], Selection],
    act: Callable[[Selection], str],
    *,
    verb: str,
    ready: bool = True,
    unknown: str = "",
) -> None:
    """Shows what was chosen, and acts when its count was typed, if it is the same still."""
    if st.button("Show what that is", key="bulk-show", disabled=not ready, icon=":material/visibility:"):
        st.session_state.pop(_SHOWN, None)
        st.session_state.pop("bulk-count", None)
        try:
            st.session_state[_SHOWN] = (choice, choose())
        except UserError as e:
            st.error("That cannot be asked for.")
            st.code(str(e), language=None, wrap_lines=True)
    before, chosen = st.session_state.get(_SHOWN, (None, None))
    if chosen is None or before != choice:
        return
    if chosen.unknown:
        st.warning(f"{chosen.unknown:,} left out {unknown}")
    if chosen.count == 0:
        shown.nothing("Nothing is chosen by that.")
        return
    st.subheader(f"{chosen.count:,} chosen")
    st.dataframe(list(chosen.sample), hide_index=True, key="bulk-sample")
    if chosen.count > len(chosen.sample):
        st.caption(f"the first {len(chosen.sample)} of {chosen.count:,}")
    left, right = st.columns([1, 3], vertical_alignment="bottom")
    typed = left.text_input(f"Type {chosen.count} to confirm", key="bulk-count")
    sure = (typed or "").strip().replace(",", "") == str(chosen.count)
    if right.button(f"{verb} {chosen.count:,}", key="bulk-do", type="primary", disabled=not sure):
        _act(choose, act, chosen)


def _act(choose: Callable[[], Selection], act: Callable[[Selection], str], chosen: Selection) -> None:
    st.session_state.pop(_SHOWN, None)
    now = choose()
    if now.ids != chosen.ids:
        st.error(f"Nothing was done: it is {now.count:,} by now, of others than were shown. Look at them again.")
        return
    st.session_state[_SAID] = act(chosen)
    st.rerun()
