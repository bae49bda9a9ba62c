"""Hostile reply texts, made into what the browser shows: exact, rendered, compared. Pure Python."""

from dashboards.reading.diff import Change, changes, diff_html, sizes
from dashboards.reading.exact import exact_html, visible
from dashboards.reading.page import Mark, Page, guideline_html, page
from dashboards.reading.render import rendered_html

__all__ = [
    "Change",
    "Mark",
    "Page",
    "changes",
    "diff_html",
    "exact_html",
    "guideline_html",
    "page",
    "rendered_html",
    "sizes",
    "visible",
]
