"""What the pages of leads show in the same way: figures, columns of tables, and that there is nothing yet."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import streamlit as st

from dashboards.explore.view import plain
from dashboards.lead.context import Lead
from dataengine.agreement import Figure

#: Stands for all queues, people, ... in a list to choose from.
ALL = "all"
Width = Literal["small", "medium", "large"]
_NUMBER = st.column_config.NumberColumn


def figure(title: str, found: Figure, *, why: str, what: str = "items") -> None:
    """A figure with its interval and n, or in words why there is none."""
    with st.container(border=True):
        if found.value is None:
            st.metric(title, "–", help=why)
            st.caption("nothing that two judged yet" if found.items == 0 else "no value: only one thing was ever said")
            return
        st.metric(title, f"{found.value:.2f}", help=why)
        dropped = f", {found.dropped:,} left out" if found.dropped else ""
        st.caption(f"95 % {found.low:.2f} to {found.high:.2f} · n = {found.items:,} {what}{dropped}")


def interval(found: Figure) -> str:
    """The interval in words."""
    return "" if found.low is None or found.high is None else f"{found.low:.2f} to {found.high:.2f}"


def nothing(words: str) -> None:
    """Says in words why there is no chart."""
    st.info(words, icon=":material/hourglass_empty:")


def table(rows: Sequence[Mapping[str, Any]], columns: Mapping[str, Any], *, key: str, **more: Any) -> Any:
    """A table with these columns in this order; what is in its cells is shown as it is."""
    # As many rows as there are, and a bar to scroll where they are many.
    height = 35 * (min(len(rows), 15) + 1) + 3
    return st.dataframe(
        [{c: row.get(c) for c in columns} for row in rows],
        column_config=dict(columns),
        hide_index=True,
        key=key,
        height=height,
        placeholder="–",
        **more,
    )


def count(label: str, help: str | None = None) -> Any:
    """A column of whole numbers."""
    return _NUMBER(label, format="localized", help=help)


def ratio(label: str, help: str | None = None) -> Any:
    """A column of figures with two digits."""
    return _NUMBER(label, format="%.2f", help=help)


def share(label: str, help: str | None = None) -> Any:
    """A column of `percent`."""
    return _NUMBER(label, format="%.0f %%", help=help)


def bar(label: str, help: str | None = None) -> Any:
    """A column of `percent`, as bars."""
    return st.column_config.ProgressColumn(label, format="%.0f %%", min_value=0, max_value=100, help=help)


def percent(share: float | None) -> float | None:
    """A share of one as per cent."""
    return None if share is None else 100 * share


def text(label: str, help: str | None = None, *, width: Width | None = None) -> Any:
    """A column of texts."""
    return st.column_config.TextColumn(label, help=help, width=width)


def moment(label: str, help: str | None = None) -> Any:
    """A column of times, in UTC."""
    return st.column_config.DatetimeColumn(label, format="YYYY-MM-DD HH:mm:ss", timezone="UTC", help=help)


def pick_queue(lead: Lead, key: str, *, every: bool, of: Sequence[str] = ()) -> str:
    """Asks for a queue: its name, or '' for all where `every`. `of` are further names, of queues that are gone."""
    names = list(dict.fromkeys([*sorted(lead.queues), *of]))
    # The address holds what the list shows, so that is the name, and the title stands below.
    chosen = st.selectbox("Queue", [ALL, *names] if every else names, bind="query-params", key=key)
    if chosen in lead.queues:
        st.caption(plain(lead.queues[chosen].title))
    return "" if chosen is None or (every and chosen == ALL) else chosen
