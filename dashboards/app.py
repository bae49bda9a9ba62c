"""The dashboard: funnel, trajectories with their verdicts, training curves. Started by `dataengine dashboard`.

Model text is shown exactly as it is (`st.code`), never as Markdown: Markdown would change what was written.
"""

import sys
from pathlib import Path
from typing import Any

import duckdb
import streamlit as st

from schemas.errors import UserError
from warehouse.connect import connect
from warehouse.fetching import as_dicts

_PAGE = 20


def rows(connection: duckdb.DuckDBPyConnection, sql: str, parameters: list[Any] | None = None) -> list[dict[str, Any]]:
    """A query's rows as dicts."""
    return as_dicts(connection.execute(sql, parameters or []))


def funnel_page(connection: duckdb.DuckDBPyConnection) -> None:
    """How far trajectories get, and where they stop."""
    st.header("Funnel")
    st.dataframe(rows(connection, "SELECT * FROM funnel"), hide_index=True)
    st.subheader("Why not kept")
    st.dataframe(
        rows(
            connection,
            'SELECT t.stage, v."check", v.reason, count(*) AS trajectories FROM verdicts_current v '
            "JOIN trajectories_current t USING (trajectory_id) WHERE v.outcome <> 'pass' "
            "GROUP BY ALL ORDER BY trajectories DESC LIMIT 50",
        ),
        hide_index=True,
    )


def trajectories_page(connection: duckdb.DuckDBPyConnection) -> None:
    """One trajectory after the other, with prompt, reply and verdicts."""
    st.header("Trajectories")
    stages = [r["stage"] for r in rows(connection, "SELECT DISTINCT stage FROM trajectories ORDER BY 1")]
    if not stages:
        st.info("No trajectories yet: run a recipe.")
        return
    left, middle, right = st.columns(3)
    stage = left.selectbox("Stage", stages, bind="query-params", key="stage")
    show = middle.selectbox("Show", ["all", "kept", "not kept"], bind="query-params", key="show")
    text = right.text_input("Text contains", bind="query-params", key="text")
    condition = {"all": "true", "kept": "kept", "not kept": "NOT kept"}[show or "all"]
    found = rows(
        connection,
        f"SELECT trajectory_id, source, policy, messages[-1].content AS question, reference, text, not_passed, error "
        f"FROM trajectory_facts WHERE stage = ? AND {condition} AND (? = '' OR contains(text, ?)) "
        f"ORDER BY trajectory_id LIMIT {_PAGE}",
        [stage, text or "", text or ""],
    )
    st.caption(f"the first {len(found)}, by id")
    for row in found:
        verdict = "kept" if not row["not_passed"] else ", ".join(row["not_passed"]) + " did not pass"
        with st.expander(f"{row['source']} · {row['trajectory_id'][:12]} · {row['error'] or verdict}"):
            st.code(row["question"], language=None, wrap_lines=True)
            st.code(row["text"], language=None, wrap_lines=True)
            st.caption(f"reference {row['reference']} · {row['policy']} · explain {row['trajectory_id'][:12]}")
            st.dataframe(
                rows(
                    connection,
                    'SELECT "check", version, outcome, score, reason FROM verdicts_current WHERE trajectory_id = ?',
                    [row["trajectory_id"]],
                ),
                hide_index=True,
            )


def curves_page(connection: duckdb.DuckDBPyConnection) -> None:
    """Held-out scores, and training metrics over steps."""
    st.header("Scores and curves")
    st.dataframe(rows(connection, "SELECT * FROM evaluation"), hide_index=True)
    names = [r["name"] for r in rows(connection, "SELECT DISTINCT name FROM metrics ORDER BY 1")]
    if names:
        name = st.selectbox("Metric", names, bind="query-params", key="metric")
        points = rows(
            connection, "SELECT left(run_id, 12) AS run, step, value FROM metrics WHERE name = ? ORDER BY 1, 2", [name]
        )
        st.line_chart(points, x="step", y="value", color="run")


def main(path: Path) -> None:
    """The page that is chosen at the left, over the newest version of the warehouse."""
    st.set_page_config(page_title="dataengine", layout="wide")
    pages = {"Funnel": funnel_page, "Trajectories": trajectories_page, "Scores and curves": curves_page}
    chosen = st.sidebar.radio("Page", list(pages), bind="query-params", key="page")
    st.sidebar.caption(str(path))
    try:
        with connect(path) as connection:
            pages[chosen or "Funnel"](connection)
    except UserError as e:
        st.error(f"{type(e).__name__}: {e}")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "warehouse-data"))
