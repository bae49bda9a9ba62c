"""The pages of leads for `st.navigation` of the review app; nobody else is given any."""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import streamlit as st

from dashboards.explore.view import View
from dashboards.lead import page_against, page_agreement, page_bulk, page_events, page_progress
from dashboards.lead.context import Lead
from dataengine.desk import Desk
from schemas.access import Person
from schemas.errors import UserError
from schemas.queue import Queue

# Address, title and what draws the page.
PAGES: tuple[tuple[str, str, Callable[[Lead], None]], ...] = (
    ("progress", "Progress", page_progress.page),
    ("agreement", "Agreement", page_agreement.page),
    ("against", "Against judges and rules", page_against.page),
    ("events", "Events", page_events.page),
    ("bulk", "Bulk", page_bulk.page),
)


def lead_pages(
    path: Path,
    queues: Mapping[str, Queue],
    person: Person,
    desk: Desk,
    *,
    link: Callable[[str], str] | None = None,
) -> list[st.Page]:
    """The pages, in their order; none for who is no lead.

    `link` gives the address of a trajectory's page in the explore app, where one is known.
    """
    if "lead" not in person.roles:
        return []
    return [
        st.Page(
            partial(shown, draw, path, queues, person, desk, link=link),
            title=title,
            url_path=name,
        )
        for name, title, draw in PAGES
    ]


def shown(
    draw: Callable[[Lead], None],
    path: Path,
    queues: Mapping[str, Queue],
    person: Person,
    desk: Desk,
    *,
    link: Callable[[str], str] | None = None,
) -> None:
    """Draws one page for a lead; for others it says that they are none. What can be mended is said in one line."""
    if "lead" not in person.roles:
        st.error("This page is for leads.")
        return
    try:
        draw(Lead(View(path), queues, person, desk, link))
    except UserError as e:
        st.error(type(e).__name__)
        st.code(str(e), language=None, wrap_lines=True)
