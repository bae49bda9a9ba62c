"""Events: the audit log of what people said, filtered, by pages, and as a file."""

from functools import partial
from typing import Any

import streamlit as st

from dashboards.explore.texts import anchor
from dashboards.lead import shown
from dashboards.lead.context import Lead
from dashboards.lead.events import FORMS, Filter, Key, all_events, choices, count
from dashboards.lead.events import page as page_of

_PLACES = ("older", "newer")


def page(lead: Lead) -> None:
    """The page."""
    st.header("Events")
    st.caption("Every review, edit, preference, flag and withdrawal, the latest first. Events are only ever added.")
    wanted = _filter(lead)
    number = count(lead.rows, wanted)
    if number == 0:
        shown.nothing("There is no such event. Choose less, or wait until somebody has said something.")
        return
    found = page_of(
        lead.rows, wanted, older=Key.read(st.query_params.get("older")), newer=Key.read(st.query_params.get("newer"))
    )
    if not found.rows:
        # An address from elsewhere, or one that was tampered with.
        found = page_of(lead.rows, wanted)
    _pages(number, found.newer, found.older)
    chosen = shown.table(
        [r | {"tags": list(r["tags"] or [])} for r in found.rows],
        {
            "created_at": shown.moment("when (UTC)"),
            "queue": shown.text("queue"),
            "reviewer": shown.text("person"),
            "verdict": shown.text("verdict"),
            "tags": st.column_config.ListColumn("reasons", width="small"),
            "note": shown.text("note", width="medium"),
            "seconds": st.column_config.NumberColumn("seconds", format="%.0f"),
            "id": shown.text("trajectory or pair", width="small"),
            "role": shown.text("role"),
            "repeat": shown.count("repeat", "1: the same item again, unknowingly"),
            "guideline": shown.text("guideline"),
            "number": shown.count("number", "its place in the journal"),
            "review_id": shown.text("review", width="small"),
        },
        key="events", on_select="rerun", selection_mode="single-row",
    )  # fmt: skip
    rows = chosen["selection"]["rows"] if chosen else []
    if rows and rows[0] < len(found.rows):
        _one(lead, found.rows[rows[0]])
    _files(lead, wanted, number)


def _filter(lead: Lead) -> Filter:
    there = choices(lead.rows)
    columns = st.columns(6)
    picked = {
        name: columns[i].selectbox(
            label, [shown.ALL, *there[name]], key=f"event-{name}", bind="query-params", on_change=_from_the_top
        )
        for i, (name, label) in enumerate((("queue", "Queue"), ("reviewer", "Person"), ("verdict", "Verdict")))
    }
    since = columns[3].date_input("From (UTC)", None, key="since", bind="query-params", on_change=_from_the_top)
    until = columns[4].date_input("To (UTC)", None, key="until", bind="query-params", on_change=_from_the_top)
    text = columns[5].text_input(
        "Note or id", key="text", bind="query-params", on_change=_from_the_top,
        help="stands in the note, or starts the id of a trajectory, a pair or a review",
    )  # fmt: skip
    return Filter(
        **{name: "" if value in (None, shown.ALL) else value for name, value in picked.items()},
        since=since,
        until=until,
        text=text or "",
    )


def _from_the_top() -> None:
    for name in _PLACES:
        st.query_params.pop(name, None)


def _go(name: str, key: Key) -> None:
    _from_the_top()
    st.query_params[name] = str(key)


def _pages(number: int, newer: Key | None, older: Key | None) -> None:
    words, back, on = st.columns([6, 1, 1], vertical_alignment="center")
    words.caption(f"{number:,} events")
    back.button(
        "Newer", key="go-newer", icon=":material/chevron_left:", disabled=newer is None, on_click=_go,
        args=("newer", newer), width="stretch",
    )  # fmt: skip
    on.button(
        "Older", key="go-older", icon=":material/chevron_right:", disabled=older is None, on_click=_go,
        args=("older", older), width="stretch",
    )  # fmt: skip


def _one(lead: Lead, event: dict[str, Any]) -> None:
    """All of one event, the text of an edit included, as it is."""
    (whole,) = lead.rows("SELECT * FROM reviews WHERE review_id = $1", [event["review_id"]]) or [{}]
    with st.container(border=True):
        st.caption("the chosen event")
        told = {k: v for k, v in whole.items() if k not in ("text", "note") and v not in (None, "", [])}
        st.code("\n".join(f"{name}: {value}" for name, value in told.items()), language=None, wrap_lines=True)
        if lead.link is not None and "trajectory_id" in told:
            st.html(anchor(lead.link(told["trajectory_id"]), "its trajectory"))
        for name in ("note", "text"):
            if whole.get(name):
                st.caption(name)
                st.code(whole[name], language=None, wrap_lines=True)


def _files(lead: Lead, wanted: Filter, number: int) -> None:
    st.subheader("As a file")
    st.caption(
        f"All {number:,} events that were asked for, with every column. CSV is for spreadsheets: what one would take "
        "for a formula has an apostrophe before it. JSONL and Parquet hold what was written."
    )
    for column, (ending, (write, kind)) in zip(st.columns(6), FORMS.items(), strict=False):
        column.download_button(
            ending.upper() if ending != "parquet" else "Parquet",
            partial(_written, lead, wanted, write),
            file_name=f"reviews.{ending}",
            mime=kind,
            key=f"as-{ending}",
            on_click="ignore",
            icon=":material/download:",
            width="stretch",
        )


def _written(lead: Lead, wanted: Filter, write: Any) -> bytes:
    written: bytes = write(all_events(lead.rows, wanted))
    return written
