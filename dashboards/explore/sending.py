"""Sends trajectories to the review app, as whoever looks at the page."""

from collections.abc import Sequence

import streamlit as st

from dashboards.explore.view import View, plain
from dashboards.identity import known_person
from dataengine.desk import send
from schemas.errors import UserError
from warehouse.store import Warehouse

# The queue of what was sent by hand.
_QUEUE = "sent"


def send_button(view: View, ids: Sequence[str], key: str) -> None:
    """A button that puts the trajectories into the queue of what was sent; says how many were, or why none."""
    label = "Send to review" if len(ids) < 2 else f"Send {len(ids):,} to review"
    pressed = st.button(
        label,
        key=key,
        icon=":material/rate_review:",
        disabled=not ids,
        help=f"into the queue `{_QUEUE}` of `dataengine review`",
    )
    if pressed:
        _send(view, ids)


def _send(view: View, ids: Sequence[str]) -> None:
    try:
        new = send(Warehouse.open(view.path), list(ids), known_person(), _QUEUE)
    except UserError as e:
        st.error(plain(str(e)))
    else:
        there = len(ids) - new
        st.success(f"{new:,} sent to the queue {_QUEUE}" + (f"; {there:,} were there already" if there else ""))
