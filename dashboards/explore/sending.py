"""Sends trajectories to the review app, as whoever looks at the page."""

from collections.abc import Sequence
from importlib.util import find_spec

import streamlit as st

from dashboards.explore.view import View, plain
from schemas.errors import UserError
from warehouse.store import Warehouse

# The queue of what was sent by hand.
_QUEUE = "sent"


def send_button(view: View, ids: Sequence[str], key: str) -> None:
    """A button that puts the trajectories into the queue of what was sent; says how many were, or why none."""
    there = find_spec("dataengine.desk") is not None and find_spec("dashboards.identity") is not None
    label = "Send to review" if len(ids) < 2 else f"Send {len(ids):,} to review"
    pressed = st.button(
        label, key=key, icon=":material/rate_review:", disabled=not ids or not there,
        help=f"into the queue `{_QUEUE}` of `dataengine review`" if there else "this version has no review app",
    )  # fmt: skip
    if pressed:
        _send(view, ids)


def _send(view: View, ids: Sequence[str]) -> None:
    from dashboards.identity import known_person  # type: ignore[import-not-found,import-untyped,unused-ignore]
    from dataengine.desk import send  # type: ignore[import-not-found,import-untyped,unused-ignore]

    try:
        send(Warehouse.open(view.path), list(ids), known_person(), _QUEUE)
    except UserError as e:
        st.error(plain(str(e)))
    else:
        st.success(f"{len(ids):,} sent to the queue {_QUEUE}")
