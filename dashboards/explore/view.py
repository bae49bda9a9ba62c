"""What every page of the explore app needs: queries that are kept, charts with title and n, links with their state."""

import shlex
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import altair as alt
import pyarrow as pa
import streamlit as st

from dashboards.explore.querying import Table, ask, look_at
from dashboards.explore.texts import anchor
from warehouse.views import made_of, names_in

Row = dict[str, Any]
HOME = "overview"
# The theme knows no colour of subtitles: this one can be read on either ground.
_HEADING: dict[str, Any] = {"anchor": "start", "offset": 10, "subtitlePadding": 4, "subtitleColor": "#85888f"}
# Pixels of a chart's height that its title, legend and axis take.
_AROUND = 170


class View:
    """One look at a warehouse: all that a page shows in one run is of the same version of each table."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._look = look_at(str(path))

    @property
    def option(self) -> str:
        """The option by which commands are told of this warehouse, as one would type it where the app was started."""
        here = Path.cwd()
        path = self.path.relative_to(here) if here in self.path.parents else self.path
        return f"--warehouse {shlex.quote(str(path))}"

    def versions(self, sql: str) -> tuple[tuple[str, int], ...]:
        """The tables that a query reads, through whatever views, with the version of each that this look is at."""
        tables = made_of(names_in(sql))
        return tuple((table, version) for table, version in self._look.versions.items() if table in tables)

    @property
    def at(self) -> datetime:
        """When the versions were looked up that this look is at."""
        return self._look.at

    def rows(self, sql: str, parameters: Sequence[Any] = (), *, most: int = 5000) -> list[Row]:
        """A query's rows, at most `most` of them; what is left out is said on the page.

        The answer is kept for all who ask the same of the same versions. It is for SQL of ours, which may not be made
        of what a user wrote: that goes into `parameters`. SQL of users is for `warehouse.sql.query`.
        """
        found = self.table(sql, parameters, most=most)
        if found.cut:
            st.caption(f"the first {most:,} rows only")
        return found.dicts()

    def table(self, sql: str, parameters: Sequence[Any] = (), *, most: int = 5000) -> Table:
        """As `rows`, with the names of the columns, and `cut` where there was more."""
        return ask(str(self.path), self.versions(sql), sql, tuple(parameters), most)

    def scalar(self, sql: str, parameters: Sequence[Any] = ()) -> Any:
        """The first column of the first row, None without rows."""
        rows = self.table(sql, parameters, most=1).rows
        return rows[0][0] if rows else None

    def link(self, page: str, **query: Any) -> str:
        """The address of a page in a state, for table cells; relative, so that it holds behind a proxy's path, too."""
        given = urlencode({k: v for k, v in query.items() if v not in (None, "")})
        # The page that comes first has the app's own address.
        address = "./" if page == HOME else page
        return f"{address}?{given}" if given else address

    def lead(self, label: str, page: str, **query: Any) -> None:
        """A link to a page in a state, in words; the label may hold any text, it is shown as it is."""
        st.html(anchor(self.link(page, **query), label))

    def chart(
        self,
        chart: Any,
        *,
        key: str,
        title: str,
        n: int,
        of: str = "trajectories",
        note: str = "",
        fields: Sequence[str] = (),
        height: int = 320,
    ) -> Row | None:
        """Draws a chart with its title, n and a note; with `fields`, those fields' values of the mark that was chosen.

        `height` is that of the marks. Colours are left to the theme, so that charts are readable in light and dark.
        """
        subtitle = f"n = {n:,} {of}" + (f" · {note}" if note else "")
        drawn = chart.properties(title=alt.TitleParams(title, subtitle=subtitle, **_HEADING), height=height + _AROUND)
        if not fields:
            st.altair_chart(drawn, key=key, alt=f"{title}, {subtitle}")
            return None
        drawn = drawn.add_params(selection(fields))
        return _picked(st.altair_chart(drawn, key=key, on_select="rerun", alt=f"{title}, {subtitle}"), fields)

    def draw(
        self, spec: Mapping[str, Any], rows: Sequence[Row], *, key: str, title: str, n: str, fields: Sequence[str] = ()
    ) -> Row | None:
        """As `chart`, of a specification that was made before (`specified`): Altair takes long to make one."""
        drawn = {**spec, "title": {"text": title, "subtitle": f"n = {n}", **_HEADING}}
        alternative = f"{title}, n = {n}"
        if not fields:
            st.vega_lite_chart(table_of(rows), drawn, key=key, alt=alternative)
            return None
        state = st.vega_lite_chart(table_of(rows), drawn, key=key, on_select="rerun", alt=alternative)
        return _picked(state, fields)


def selection(fields: Sequence[str]) -> alt.Parameter:
    """What lets a mark be chosen, by these of its fields."""
    return alt.selection_point(name="picked", fields=list(fields))


def specified(chart: Any, height: int) -> dict[str, Any]:
    """A chart's specification without its data, to be kept; `height` is that of the marks."""
    spec: dict[str, Any] = chart.properties(height=height + _AROUND).to_dict(validate=False)
    return {name: value for name, value in spec.items() if name not in ("data", "datasets")}


def _picked(state: Any, fields: Sequence[str]) -> Row | None:
    picked = state["selection"].get("picked") if state else None
    return {f: picked[0].get(f) for f in fields} if picked else None


def chart_of(rows: Sequence[Mapping[str, Any]]) -> alt.Chart:
    """A chart of those rows, as an Arrow table: of dicts Altair copies and looks over every value many times."""
    return alt.Chart(table_of(rows))


def table_of(rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    """The rows; a column that holds nothing is one of text."""
    table = pa.Table.from_pylist([dict(row) for row in rows])
    for place, field in enumerate(table.schema):
        if pa.types.is_null(field.type):
            table = table.set_column(place, field.name, table[field.name].cast(pa.string()))
    return table


def plain(text: str) -> str:
    """The text, written so that Streamlit's Markdown shows it as it is: labels and captions read Markdown."""
    return "".join(f"\\{c}" if c in _MARKUP else c for c in " ".join(text.split()))


_MARKUP = frozenset("\\`*_{}[]()<>#+-.!|~$:&^=\"'")
