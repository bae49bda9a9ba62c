"""Questions in SQL, shipped ones and one's own: answers as a table, a chart or a file, beside the tables' columns."""

import html
import io
import json
import re
import shlex
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import altair as alt
import duckdb
import streamlit as st

from dashboards.explore.view import View, chart_of, plain
from dataengine.screen import printable
from schemas.errors import QueryError
from schemas.records import RECORDS
from warehouse.connect import connect
from warehouse.sql import answer, named_queries

# Rows that a screen takes, seconds that a question may take, and characters of SQL.
MOST_ROWS = 5_000
SECONDS = 30.0
_LONGEST = 20_000
_SHOWN = 2_000
_KINDS = ("table", "bar", "line", "points", "area")
_OWN = "my own SQL"
_START = "SELECT stage, policy, count(*) AS n\nFROM trajectories_current\nGROUP BY ALL ORDER BY n DESC"


def page(view: View) -> None:
    """A question, its answer, and what can be asked about."""
    st.header("SQL")
    left, right = st.columns([5, 2], gap="large")
    with right:
        _browser(view)
    with left:
        sql = _question(view)
        if sql is None:
            return
        st.code(_command(view, sql), language="bash", wrap_lines=True)
        began = time.monotonic()
        try:
            found, more = _answer(str(view.path), view.versions(" ".join(RECORDS)), sql)
        except QueryError as e:
            st.error(plain(str(e)))
            return
        told = f"{found.num_rows:,} row{'' if found.num_rows == 1 else 's'} · {time.monotonic() - began:.2f} s"
        st.caption(f"the first {told} · there are more" if more else told)
        _shown(view, found)
        _files(found, more)


def _question(view: View) -> str | None:
    """The SQL that the address or the page asks for; None without any, or when it cannot be one."""
    queries = named_queries()
    given = st.query_params.get("name", "")
    if given and given not in queries:
        st.error(f"`name` in the address is no shipped question; there are {plain(', '.join(queries))}")
        return None
    if len(st.query_params.get("q", "")) > _LONGEST:
        st.error(f"`q` in the address is longer than {_LONGEST:,} characters")
        return None
    name = st.selectbox(
        "Question", list(queries), index=None, placeholder=_OWN, key="name", bind="query-params",
        on_change=_other,
    )  # fmt: skip
    if name:
        sql = queries[name][1]
        st.caption(plain(queries[name][0]))
        st.code(sql, language="sql", wrap_lines=True)
        view.lead("change it", "sql", q=sql)
        return sql
    own = st.text_area(
        "SELECT", key="q", bind="query-params", height=180, max_chars=_LONGEST, placeholder=_START,
        help="DuckDB's SQL, reading only. Ctrl+Enter asks. check is a word of SQL: write it in double quotes.",
    )  # fmt: skip
    if not (own or "").strip():
        view.lead("begin with an example", "sql", q=_START)
        return None
    return own


def _command(view: View, sql: str) -> str:
    names = [name for name, (_, text) in named_queries().items() if text == sql]
    # A long one is given on standard input.
    asked = f"--name {names[0]}" if names else shlex.quote(sql) if len(sql) < 2000 else "-"
    return f"dataengine sql {asked} {view.option}"


def _other() -> None:
    """Another question has other columns."""
    for name in ("kind", "x", "y", "colour"):
        if name in st.session_state:
            del st.session_state[name]


@st.cache_data(max_entries=40, ttl=600, show_spinner="asking the warehouse")
def _answer(path: str, versions: tuple[tuple[str, int], ...], sql: str) -> tuple[Any, bool]:
    """The rows as an Arrow table, and whether there are more; `versions` only tell when to ask anew."""
    found = answer(path, sql, most=MOST_ROWS, seconds=SECONDS)
    return found.rows, found.more


# -- the answer


def _shown(view: View, found: Any) -> None:
    names = list(found.column_names)
    plottable = [name for name in names if _measured(found, name) or _named(found, name)]
    numbers = [name for name in names if _measured(found, name)]
    kind, x, y, colour = st.columns(4)
    chosen = kind.selectbox("Show as", _KINDS, key="kind", bind="query-params")
    if chosen == "table" or not numbers or not found.num_rows:
        if chosen != "table":
            st.caption("A chart wants a column of numbers.")
        _table(view, found)
        return
    across = x.selectbox("x", plottable, key="x", bind="query-params")
    others = [name for name in numbers if name != across] or numbers
    up = y.selectbox("y", others, key="y", bind="query-params")
    split = colour.selectbox("colour", plottable, index=None, placeholder="none", key="colour", bind="query-params")
    _chart(view, found, str(chosen), str(across), str(up), split)


def _measured(found: Any, name: str) -> bool:
    import pyarrow.types as is_a

    kind = found.schema.field(name).type
    return bool(is_a.is_integer(kind) or is_a.is_floating(kind) or is_a.is_decimal(kind))


def _named(found: Any, name: str) -> bool:
    import pyarrow.types as is_a

    kind = found.schema.field(name).type
    return bool(is_a.is_string(kind) or is_a.is_boolean(kind) or is_a.is_temporal(kind))


def _chart(view: View, found: Any, kind: str, x: str, y: str, colour: str | None) -> None:
    """The columns go by names of ours: those of a query may hold what a chart takes for a path or a type."""
    columns = {"x": x, "y": y} | ({"colour": colour} if colour else {})
    values = [
        {as_: _plotted(row[name]) for as_, name in columns.items()}
        for row in found.select(list(dict.fromkeys(columns.values()))).slice(0, _SHOWN).to_pylist()
    ]
    encodings: dict[str, Any] = {"x": _axis(alt.X, found, "x", x), "y": _axis(alt.Y, found, "y", y)}
    if colour:
        encodings["color"] = _axis(alt.Color, found, "colour", colour)
    encodings["tooltip"] = [alt.Tooltip(field=as_, title=_title(name)) for as_, name in columns.items()]
    drawn = _drawn(chart_of(values), kind)
    note = f"the first {_SHOWN:,}" if found.num_rows > _SHOWN else ""
    title = f"{_title(y)} by {_title(x)}"
    view.chart(drawn.encode(**encodings), key="sql", title=title, n=len(values), of="rows", note=note, height=380)


def _drawn(chart: alt.Chart, kind: str) -> alt.Chart:
    marks: dict[str, dict[str, Any]] = {
        "bar": {},
        "line": {"point": True},
        "points": {"size": 60},
        "area": {"opacity": 0.7},
    }
    drawn: alt.Chart = getattr(chart, "mark_circle" if kind == "points" else f"mark_{kind}")(**marks[kind])
    return drawn


def _axis(channel: Any, found: Any, as_: str, name: str) -> Any:
    import pyarrow.types as is_a

    kind = "quantitative" if _measured(found, name) else "nominal"
    kind = "temporal" if is_a.is_timestamp(found.schema.field(name).type) else kind
    return channel(field=as_, type=kind, title=_title(name), **({"sort": None} if kind == "nominal" else {}))


def _title(name: str) -> str:
    return printable(name)[:80]


def _plotted(value: Any) -> Any:
    if value is None or isinstance(value, bool | int | str):
        return printable(value)[:200] if isinstance(value, str) else value
    return value.isoformat() if hasattr(value, "isoformat") else float(value)


def _table(view: View, found: Any) -> None:
    """The rows as they are; ids of trajectories are links, what acts on a screen is written out."""
    names = list(found.column_names)
    rows = [{name: _cell(value) for name, value in row.items()} for row in found.to_pylist()]
    links = [name for name in names if name in ("trajectory_id", "parent_id") and _named(found, name)]
    for row in rows:
        row.update({name: view.link("trajectory", id=row[name]) for name in links if row[name]})
    if not rows:
        st.dataframe({name: [] for name in names}, hide_index=True, key="rows")
        return
    st.dataframe(
        rows, hide_index=True, key="rows", placeholder="", column_order=names,
        column_config={
            name: st.column_config.LinkColumn(name, display_text=r"id=([0-9a-f]{10})") for name in links
        },
    )  # fmt: skip


def _cell(value: Any) -> Any:
    if value is None or isinstance(value, bool | float):
        return value
    if isinstance(value, int):
        return value if abs(value) < 1 << 53 else str(value)  # a browser's numbers end there
    if isinstance(value, str):
        return printable(value if len(value) <= _SHOWN else f"{value[:_SHOWN]}…")
    if hasattr(value, "isoformat"):
        return value.isoformat(sep=" ", timespec="seconds") if hasattr(value, "hour") else value.isoformat()
    told = json.dumps(value, ensure_ascii=False, default=str) if isinstance(value, list | dict) else str(value)
    return printable(told if len(told) <= _SHOWN else f"{told[:_SHOWN]}…")


# -- files


def _files(found: Any, more: bool) -> None:
    if not found.num_columns:
        return
    forms: Sequence[tuple[str, str, Callable[[Any], bytes]]] = (
        ("CSV", "text/csv", _as_csv),
        ("Parquet", "application/vnd.apache.parquet", _as_parquet),
        ("JSONL", "application/jsonl", _as_jsonl),
    )
    with st.container(horizontal=True, vertical_alignment="center"):
        for label, kind, write in forms:
            st.download_button(
                label, partial(write, found), f"rows.{label.lower()}", kind,
                icon=":material/download:", on_click="ignore", key=f"as_{label}",
            )  # fmt: skip
        if more:
            st.caption(f"the first {found.num_rows:,} rows; `dataengine sql` writes all")


def _as_csv(found: Any) -> bytes:
    import csv

    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(found.column_names)
    writer.writerows(row.values() for row in found.to_pylist())
    return out.getvalue().encode("utf-8", "replace")


def _as_parquet(found: Any) -> bytes:
    # By DuckDB, which knows what to make of all of its types.
    with tempfile.TemporaryDirectory() as folder, duckdb.connect(":memory:") as connection:
        file = Path(folder) / "rows.parquet"
        connection.from_arrow(found).write_parquet(str(file))
        return file.read_bytes()


def _as_jsonl(found: Any) -> bytes:
    lines = (json.dumps(row, ensure_ascii=False, default=_json) for row in found.to_pylist())
    return "".join(f"{line}\n" for line in lines).encode("utf-8", "replace")


def _json(value: Any) -> Any:
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


# -- what there is


_BROWSER = """<style>
.schema {max-height: 34rem; overflow-y: auto; font-size: .84rem; border: 1px solid rgba(128,128,128,.25);
    border-radius: .5rem; padding: .5rem .8rem}
.schema summary {cursor: pointer; font-family: monospace; padding: .1rem 0}
.schema h6 {margin: .5rem 0 .2rem; opacity: .65; font-size: .75rem}
.schema div {display: flex; justify-content: space-between; gap: .6rem; padding-left: 1rem; font-family: monospace;
    font-size: .78rem}
.schema div i {opacity: .55; font-style: normal; max-width: 50%; overflow: hidden; text-overflow: ellipsis;
    white-space: nowrap}
</style>"""


def _browser(view: View) -> None:
    """Tables and views with their columns."""
    sought = st.text_input("Tables and columns", key="columns", placeholder="find a name", type="search", max_chars=60)
    columns = _columns(str(view.path), view.versions(" ".join(RECORDS)))
    word = (sought or "").strip().lower()
    parts = []
    for title, tables in (("tables", True), ("views", False)):
        listed = [_listed(name, cols, word) for name, cols in columns.items() if (name in RECORDS) == tables]
        if any(listed):
            parts.append(f"<h6>{title}</h6>{''.join(listed)}")
    st.html(f'{_BROWSER}<div class="schema">{"".join(parts) or "no such name"}</div>')


def _listed(name: str, columns: Sequence[tuple[str, str]], word: str) -> str:
    inside = [c for c in columns if word in c[0].lower()]
    if word and word not in name and not inside:
        return ""
    shown = inside if word and word not in name else columns
    told = "".join(
        f"<div><span>{html.escape(printable(column))}</span><i>{html.escape(_type(kind))}</i></div>"
        for column, kind in shown
    )
    return f"<details{' open' if word else ''}><summary>{html.escape(name)}</summary>{told}</details>"


def _type(kind: str) -> str:
    return re.sub(r"\s+", " ", kind).lower()


@st.cache_data(max_entries=20, ttl=3600, show_spinner=False)
def _columns(path: str, versions: tuple[tuple[str, int], ...]) -> dict[str, list[tuple[str, str]]]:
    """By table or view its columns and their types, in their order."""
    found: dict[str, list[tuple[str, str]]] = {}
    with connect(path, versions=dict(versions)) as connection:
        rows = connection.execute(
            "SELECT table_name, column_name, data_type FROM duckdb_columns() WHERE NOT internal "
            "ORDER BY table_name, column_index"
        ).fetchall()
    for table, column, kind in rows:
        found.setdefault(table, []).append((column, kind))
    return found
