"""How columns of tables are shown."""

from typing import Any

import streamlit as st


def link(text: str = "open") -> Any:
    """A column of addresses, always in sight: it is what the table is there for."""
    return st.column_config.LinkColumn(display_text=text, width="small", pinned=True)


def numbers(*names: str) -> dict[str, Any]:
    """Columns of numbers, with separators."""
    return {name: st.column_config.NumberColumn(format="localized") for name in names}


def share(label: str | None = None) -> Any:
    """A column of shares from 0 to 1, drawn as bars."""
    return st.column_config.ProgressColumn(label, format="percent", min_value=0, max_value=1, color="blue")


def shares(*names: str) -> dict[str, Any]:
    """Columns of shares."""
    return {name: share() for name in names}


def time() -> Any:
    """A column of times, in UTC as the warehouse has them."""
    return st.column_config.DatetimeColumn(format="YYYY-MM-DD HH:mm", timezone="UTC")
