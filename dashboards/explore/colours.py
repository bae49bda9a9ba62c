"""Colours that mean the same on every page, readable on a light and on a dark ground."""

import altair as alt

OUTCOMES = ("pass", "fail", "undecided", "error", "pending")
_OUTCOME_COLOURS = ("#2a9d8f", "#e76f51", "#e0a100", "#9b5de5", "#8d99ae")
#: What the verifier said of a reply; one that was cut has no answer to be marked.
TOLD = ("right", "wrong", "not told", "truncated")
_TOLD_COLOURS = ("#2a9d8f", "#e76f51", "#8d99ae", "#e0a100")
PLAIN = "#4c8bf5"


def by_outcome(field: str = "outcome") -> alt.Color:
    """Colour by a check's outcome."""
    return _scale(field, OUTCOMES, _OUTCOME_COLOURS)


def by_told(field: str = "told") -> alt.Color:
    """Colour by what the verifier said, see `TOLD`."""
    return _scale(field, TOLD, _TOLD_COLOURS)


def _scale(field: str, names: tuple[str, ...], colours: tuple[str, ...]) -> alt.Color:
    scale = alt.Scale(domain=list(names), range=list(colours))
    return alt.Color(f"{field}:N", title=None, scale=scale, legend=alt.Legend(orient="top"))
