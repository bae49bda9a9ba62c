"""The explore app: the warehouse in charts, rows and SQL. Started by `dataengine dashboard`.

Model text is shown exactly as it is, never as Markdown: Markdown would change what was written.
"""

import sys
from collections.abc import Callable
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import streamlit as st

from dashboards.explore.view import HOME, View
from dashboards.identity import needs, person
from schemas.errors import UserError

# Address, title, icon and section of each page; `dashboards.explore.<address>.page` draws it.
_PAGES = (
    ("overview", "Overview", "filter_alt", "Data"),
    ("yields", "Yield", "grid_on", "Data"),
    ("passes", "pass@k", "show_chart", "Data"),
    ("lengths", "Length", "straighten", "Data"),
    ("languages", "Languages", "translate", "Data"),
    ("judges", "Judges", "gavel", "Data"),
    ("cost", "Cost", "payments", "Data"),
    ("rows", "Rows", "table_rows", "Rows"),
    ("trajectory", "Trajectory", "article", "Rows"),
    ("sql", "SQL", "database", "Rows"),
    ("mixes", "Mixes", "pie_chart", "Training"),
    ("snapshots", "Snapshots", "inventory_2", "Training"),
    ("curves", "Curves", "timeline", "Training"),
)


def main(path: Path) -> None:
    """The page that the address names, over the newest version of the warehouse."""
    st.set_page_config(page_title="dataengine", layout="wide")
    # Everything is in view here, also what people who review are not to know.
    needs(person(), "lead")
    pages: dict[str, st.Page] = {}
    sections: dict[str, list[st.Page]] = {}
    try:
        view = View(path, pages)
        for name, title, icon, section in _PAGES:
            if find_spec(f"dashboards.explore.{name}") is not None:
                draw: Callable[[View], None] = import_module(f"dashboards.explore.{name}").page
                pages[name] = st.Page(
                    partial(_shown, draw, view), title=title, icon=f":material/{icon}:", url_path=name,
                    default=name == HOME,
                )  # fmt: skip
                sections.setdefault(section, []).append(pages[name])
        chosen = st.navigation(sections)
        st.sidebar.caption(path.name, help=str(path))
        chosen.run()
    except UserError as e:
        st.error(f"{type(e).__name__}")
        st.code(str(e), language=None, wrap_lines=True)


def _shown(draw: Callable[[View], None], view: View) -> None:
    draw(view)


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "warehouse-data"))
