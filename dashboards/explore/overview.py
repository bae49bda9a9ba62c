"""How far trajectories get: the funnel, the conservation line, and why what is not kept is not."""

import streamlit as st

from dashboards.explore.view import View


def page(view: View) -> None:
    """Counts at once, the funnel in its place when it is there."""
    st.header("Overview")
    st.dataframe(view.rows("SELECT * FROM funnel"))
