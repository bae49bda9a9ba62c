"""The screen of one task: one component in the browser that shows, folds, edits, keeps drafts and takes keys."""

import json
import re
import time
from collections.abc import Callable, Mapping
from functools import lru_cache
from importlib.resources import files
from typing import Any, Final, NamedTuple, TypeGuard

import streamlit as st

from dashboards.review.keys import KEYS

# In order: each stands on those before it, and all become one module.
_SCRIPTS: Final = ("words.js", "parts.js", "drafts.js", "reading.js", "writing.js", "deciding.js", "screen.js")
_DO: Final = (
    *("approve", "reject", "edit", "flag", "skip", "left", "right", "tie"),
    *("undo", "next", "renew", "discard_draft"),
)
_MOST_TEXT: Final = 20_000_000
_MOST_NOTE: Final = 20_000
_NONCE: Final = re.compile(r"[0-9a-f-]{8,64}")


class Screen(NamedTuple):
    """What the browser has sent: the latest draft, and the act when one was just made."""

    draft: dict[str, Any] | None
    act: dict[str, Any] | None


def screen(shown: Mapping[str, Any], *, key: str) -> None:
    """Shows one task; `said` gives what comes of it from the browser.

    Use one `key` for all tasks: a new one replaces the old. The draft's `n` grows with each key pressed; give it back
    as `shown["saved"]` once that draft is stored.

    `shown` is JSON: task, kind, title, position, problem, reference, evidence, reply or a and b (`reading.page`), said,
    guideline_html, reasons, can, draft, saved, lease_until (seconds since 1970), lease (seconds), conflict, message,
    warn. Every string in it is shown as text, but for what `reading` made: `exact_blocks`, `html_blocks`, `html`,
    `reference_html`, `guideline_html`.
    """
    data = dict(shown)
    data["keys"] = data.get("keys") or [k._asdict() for k in KEYS]
    data["answered"] = st.session_state.get(_answered(key))
    if data.get("lease_until"):
        data["lease_left"] = round(float(data["lease_until"]) - time.time(), 1)
    _component()(key=key, data=data, on_draft_change=_nothing, on_act_change=_nothing)


def said(key: str) -> Screen:
    """What the browser has sent, to be asked before `screen` is called: so the next task is shown in the same run."""
    state = st.session_state.get(key)
    if state is None:
        return Screen(None, None)
    act = _act(state.get("act"))
    if act is not None:
        st.session_state[_answered(key)] = act["nonce"]
    return Screen(_draft(state.get("draft")), act)


def _answered(key: str) -> str:
    return f"{key}-answered"


def _nothing() -> None:
    pass


@lru_cache(maxsize=1)
def _component() -> Callable[..., Any]:
    assets = files("dashboards.review") / "assets"
    script = "\n".join((assets / name).read_text(encoding="utf-8") for name in _SCRIPTS)
    css = (assets / "screen.css").read_text(encoding="utf-8")
    return st.components.v2.component("dataengine_review_screen", js=script, css=css)


def _draft(raw: object) -> dict[str, Any] | None:
    """A draft as agreed, or None: what a browser sends may be anything."""
    raw = _plain(raw)
    if not isinstance(raw, dict) or not isinstance(raw.get("task"), str) or not _counts(raw.get("n")):
        return None
    verdict, seen, window = raw.get("verdict"), raw.get("seen"), raw.get("window")
    return {
        "task": raw["task"],
        "n": int(raw["n"]),
        "seen": int(seen) if _counts(seen) else 0,
        "window": window[:64] if isinstance(window, str) else "",
        **_written(raw),
        "verdict": verdict if isinstance(verdict, str) and verdict in _DO else None,
    }


def _act(raw: object) -> dict[str, Any] | None:
    raw = _plain(raw)
    if not isinstance(raw, dict) or raw.get("do") not in _DO or not isinstance(raw.get("task"), str):
        return None
    if not isinstance(raw.get("nonce"), str) or not _NONCE.fullmatch(raw["nonce"]):
        return None
    return {"task": raw["task"], "nonce": raw["nonce"], "do": raw["do"], **_written(raw)}


def _written(raw: Mapping[str, Any]) -> dict[str, Any]:
    text, note, reasons = raw.get("text"), raw.get("note"), raw.get("reasons")
    codes = reasons if isinstance(reasons, list) else []
    return {
        "text": text if isinstance(text, str) and len(text) <= _MOST_TEXT else None,
        "note": note[:_MOST_NOTE] if isinstance(note, str) else "",
        "reasons": list(dict.fromkeys(code for code in codes if isinstance(code, str)))[:50],
    }


def _counts(raw: object) -> TypeGuard[int | float]:
    return isinstance(raw, int | float) and 0 <= raw < 1e15


def _plain(raw: object) -> object:
    """Streamlit's own dictionaries as plain ones."""
    return json.loads(json.dumps(raw)) if isinstance(raw, Mapping) else raw
