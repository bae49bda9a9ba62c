"""Choices at the top of a page; each is in the address, so that a view can be sent and survives a reload.

A key begins with its page: a link from one page to another that has the same key loses it, since Streamlit takes the
parameters of the page that is left out of the address of the one that is opened.
"""

from collections.abc import Sequence

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from dashboards.explore.view import View, plain

# What a menu of names offers at most: nobody reads more, and every one of them is sent to the browser.
_MOST = 500


def one_of(place: DeltaGenerator, key: str, label: str, options: Sequence[str], default: str | None = None) -> str:
    """Exactly one of the options, the first (or `default`) where the address says nothing or what is none of them."""
    index = options.index(default) if default in options else 0
    chosen = place.selectbox(label, options, index=index, key=key, bind="query-params")
    return chosen if chosen in options else options[index]


def any_of(place: DeltaGenerator, key: str, label: str, options: Sequence[str]) -> str | None:
    """One of the options or, as it is at first, none: then all count."""
    chosen = place.selectbox(label, options, index=None, placeholder="all", key=key, bind="query-params")
    return chosen if chosen in options else None


def stages(view: View) -> list[str]:
    """The stages that there are trajectories of, the one with the most first; without any it says what to run."""
    found = view.rows("SELECT stage, count(*) AS n FROM trajectories GROUP BY stage ORDER BY n DESC, stage")
    if not found:
        nothing(view, "No trajectories yet.")
    return [row["stage"] for row in found]


def sources(view: View) -> list[str]:
    """Names of sources, the most frequent first."""
    return _names(view, "SELECT source FROM prompts GROUP BY source ORDER BY count(*) DESC, source LIMIT ?")


def policies(view: View, stage: str) -> list[str]:
    """The policies of a stage, the latest first."""
    sql = (
        "SELECT policy FROM trajectories WHERE stage = ? GROUP BY policy ORDER BY max(created_at) DESC, policy LIMIT ?"
    )
    return _names(view, sql, stage)


def _names(view: View, sql: str, *parameters: str) -> list[str]:
    return [next(iter(row.values())) for row in view.rows(sql, [*parameters, _MOST])]


def nothing(view: View, what: str, how: str = "") -> None:
    """Says what is missing, and which command makes it: a recipe's run, unless it is another."""
    st.info(plain(what))
    st.code(how or f"dataengine run RECIPE {view.option}", language="bash")
