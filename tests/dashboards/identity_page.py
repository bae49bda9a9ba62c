"""A page that says who is looking at it, for the tests of identity; run by Streamlit."""

import streamlit as st

from dashboards.identity import needs, person

found = person()
st.text(f"page of <{found.name}>: {', '.join(found.roles)}")
st.text(f"drafts: {st.session_state.setdefault('drafts', found.name)}")
needs(found, "lead")
st.text("for leads only")
