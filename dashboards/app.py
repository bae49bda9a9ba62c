"""The explore app: the warehouse in charts, rows and SQL. Started by `dataengine dashboard`.

Model text is shown exactly as it is, never as Markdown: Markdown would change what was written.
"""

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import streamlit as st

from dashboards import ICON
from dashboards.explore import (
    cost,
    curves,
    judges,
    languages,
    lengths,
    mixes,
    overview,
    passes,
    rows,
    snapshots,
    sql,
    trajectory,
    yields,
)
from dashboards.explore.view import HOME, View, plain
from dashboards.identity import needs, person
from schemas.errors import UserError

# Section, address and title of each page, and what draws it.
_PAGES: tuple[tuple[str, str, str, Callable[[View], None]], ...] = (
    ("Data", "overview", "Overview", overview.page),
    ("Data", "yields", "Yield", yields.page),
    ("Data", "passes", "pass@k", passes.page),
    ("Data", "lengths", "Length", lengths.page),
    ("Data", "languages", "Languages", languages.page),
    ("Data", "judges", "Judges", judges.page),
    ("Data", "cost", "Cost", cost.page),
    ("Rows", "rows", "Rows", rows.page),
    ("Rows", "trajectory", "Trajectory", trajectory.page),
    ("Rows", "sql", "SQL", sql.page),
    ("Training", "mixes", "Mixes", mixes.page),
    ("Training", "snapshots", "Snapshots", snapshots.page),
    ("Training", "curves", "Curves", curves.page),
)


def main(path: Path) -> None:
    """The page that the address names, over the newest version of the warehouse."""
    st.set_page_config(page_title="dataengine", page_icon=ICON, layout="wide")
    # Everything is in view here, also what people who review are not to know.
    needs(person(), "lead")
    sections: dict[str, list[st.Page]] = {}
    try:
        view = View(path)
        for section, name, title, draw in _PAGES:
            page = st.Page(partial(draw, view), title=title, url_path=name, default=name == HOME)
            sections.setdefault(section, []).append(page)
        chosen = st.navigation(sections, expanded=True)
        st.sidebar.caption(f"{plain(path.name)} as of {view.at:%H:%M:%S} UTC", help=plain(str(path)))
        chosen.run()
    except UserError as e:
        st.error(f"{type(e).__name__}")
        st.code(str(e), language=None, wrap_lines=True)


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "warehouse-data"))
