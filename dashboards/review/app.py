"""The review app. Started by `dataengine review`, which gives it the warehouse and files of queues."""

import sys
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import streamlit as st

from dashboards import ICON
from dashboards.identity import dashboard_address
from dashboards.identity import person as signed_in
from dashboards.lead.pages import lead_pages
from dashboards.reading.page import guideline_html
from dashboards.review.keys import check_keys
from dashboards.review.mine import mine_page
from dashboards.review.shown import prepare
from dashboards.review.work import review_page
from dataengine.desk import Desk
from dataengine.review_queues import load_queues
from schemas.access import Person
from schemas.errors import UserError
from warehouse.store import Warehouse


@st.cache_resource(show_spinner="Opening the warehouse")
def desk_at(path: str, files: tuple[str, ...]) -> Desk:
    """The desks of all people of this process."""
    warehouse = Warehouse.open(path)
    queues = load_queues(warehouse.path, map(Path, files))
    check_keys()
    desk = Desk(warehouse, queues)
    desk.reader.prepare = prepare
    desk.lists.start()
    return desk


def guidelines_page(desk: Desk, person: Person) -> None:
    """The guideline of each queue that a person may work in."""
    st.title("Guidelines")
    for queue in desk.allowed(person):
        with st.expander(f"{queue.title} · version {queue.guideline_version}"):
            st.html(guideline_html(queue.guideline))
            st.dataframe(
                [{"reason": code, "means": says} for code, says in queue.reasons.items()],
                hide_index=True,
                key=f"reasons-{queue.queue}",
            )


def _link() -> Callable[[str], str] | None:
    """Gives the address of a trajectory's page, where it is known where the dashboard is."""
    address = dashboard_address()
    return None if address is None else lambda id: f"{address.rstrip('/')}/trajectory?id={quote(id)}"


def main(path: str, files: tuple[str, ...] = ()) -> None:
    """The pages that the person's roles allow."""
    st.set_page_config(page_title="dataengine review", page_icon=ICON, layout="wide")
    who = signed_in()
    try:
        desk = desk_at(path, files)
    except UserError as e:
        st.error(f"{type(e).__name__}: {e}")
        return

    def review() -> None:
        review_page(desk, who)

    def mine() -> None:
        mine_page(desk, who)

    def guidelines() -> None:
        guidelines_page(desk, who)

    work = st.Page(review, title="Review", url_path="review", default=True)
    st.session_state["review-page"] = work
    pages = [
        work,
        st.Page(mine, title="My work", url_path="mine"),
        st.Page(guidelines, title="Guidelines", url_path="guidelines"),
    ]
    if "lead" in who.roles:
        pages += lead_pages(desk.warehouse.path, desk.queues, who, desk, link=_link())
    st.navigation(pages).run()


if __name__ == "__main__":
    main(sys.argv[1], tuple(sys.argv[2:]))
