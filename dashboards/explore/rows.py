"""Trajectories by filters and words: a page of them at a time, each row a link to its own page."""

import html
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import streamlit as st

from dashboards.explore.filters import nothing
from dashboards.explore.finding import KEPT, OUTCOMES, PAGE, SORTS, TRUNCATED, Filters, Found, find, words_of
from dashboards.explore.narrowed import FACTS_TABLES, facts_connection
from dashboards.explore.sending import send_button
from dashboards.explore.texts import anchor
from dashboards.explore.view import Row, View, plain
from dataengine.screen import one_line, printable
from schemas.errors import QueryError
from warehouse.fetching import as_dicts

# Characters of a question and a reply in a cell, and around a match.
_SHOWN, _AROUND = 160, 90
# Characters of a passage: where a word stands often, its places run into one another.
_LONGEST = 400
_MOST_NAMES = 500
Versions = tuple[tuple[str, int], ...]
_NAMED = {"stage": "trajectories", "policy": "trajectories", "source": "prompts", "domain": "prompts",
          "language": "prompts", "check": "verdicts"}  # fmt: skip
# All menus by one question: each is a connection of its own.
_NAMES = " UNION ALL ".join(
    f"(SELECT '{name}' AS menu, \"{name}\" AS name, count(*) AS n FROM {table} GROUP BY ALL ORDER BY n DESC, name "
    f"LIMIT {_MOST_NAMES})"
    for name, table in _NAMED.items()
)
_REASONS = "SELECT reason FROM verdicts WHERE \"check\" = ? AND reason <> '' GROUP BY 1 ORDER BY count(*) DESC, 1"


def page(view: View) -> None:
    """Filters, how many there are, and one page of rows with what can be done with them."""
    st.header("Rows")
    menus: dict[str, list[str]] = {name: [] for name in _NAMED}
    for row in view.table(_NAMES).dicts():
        menus[row["menu"]].append(row["name"])
    if not menus["stage"]:
        nothing(view, "No trajectories yet: run a recipe.")
        return
    try:
        # What is no value at all is refused before any widget shows the first of its options in its place.
        Filters.read(st.query_params)
        after, skip = st.query_params.get("after"), _number(st.query_params.get("part", "0"))
        filters = Filters.read(_chosen(view, menus))
        found = _found(str(view.path), view.versions(FACTS_TABLES), filters, after, skip)
    except QueryError as e:
        st.error(plain(str(e)))
        view.lead("all rows", "rows")
        return
    _told(found, filters)
    if not found.ids:
        return
    rows = _rows(str(view.path), view.versions(FACTS_TABLES), tuple(found.ids))
    picked = _table(view, rows, words_of(filters.text))
    _actions(view, found, [rows[i] for i in picked if i < len(rows)])
    if filters.text:
        _passages(view, rows, words_of(filters.text))


def _number(text: str) -> int:
    if not re.fullmatch("[0-9]{1,6}", text):
        raise QueryError("`part` in the address is no number")
    return int(text)


def _chosen(view: View, menus: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """What stands in the widgets, which stand in the address."""
    chosen: dict[str, str | None] = {}
    search, kept, cut, order = st.columns([4, 2, 2, 2])
    chosen["text"] = search.text_input(
        "Words in question and reply", key="text", bind="query-params", max_chars=300, type="search",
        placeholder='wait "let me check"', on_change=_restart, help='All of them, in any case; "several words" as one.',
    )  # fmt: skip
    chosen["kept"] = kept.segmented_control(
        "Kept", KEPT, default="all", required=True, key="kept", bind="query-params", on_change=_restart,
        help="kept: the verifier passed and no check failed", width="stretch",
    )  # fmt: skip
    chosen["truncated"] = cut.segmented_control(
        "Truncated", TRUNCATED, default="all", required=True, key="truncated", bind="query-params", on_change=_restart,
        help="yes: cut at the most tokens that it may have", width="stretch",
    )  # fmt: skip
    chosen["sort"] = order.selectbox("Sort by", SORTS, key="sort", bind="query-params", on_change=_restart)
    first, second = st.columns(5), st.columns(5)
    for place, name in zip(first, ("stage", "policy", "source", "domain", "language"), strict=True):
        chosen[name] = _menu(place, name, menus[name])
    chosen["check"] = _menu(second[0], "check", menus["check"])
    chosen["outcome"] = second[1].selectbox(
        "Outcome", OUTCOMES, index=None, placeholder="any", key="outcome", bind="query-params", on_change=_restart
    )
    reasons = view.table(_REASONS, [chosen["check"]], most=_MOST_NAMES).dicts() if chosen["check"] else []
    chosen["reason"] = _menu(second[2], "reason", [row["reason"] for row in reasons])
    chosen["prompt"] = _field(second[3], "prompt", "Prompt", "id")
    run, step = second[4].columns(2)
    chosen["run"], chosen["step"] = _field(run, "run", "Run", "any"), _field(step, "step", "Step", "any")
    return {name: value or "" for name, value in chosen.items()}


def _menu(place: Any, name: str, options: Sequence[str]) -> str | None:
    """A menu of names; one that is not among them may be typed or stand in the address, and then has no rows."""
    value: str | None = place.selectbox(
        name.capitalize(), options, index=None, placeholder="any", key=name, bind="query-params",
        accept_new_options=True, on_change=_restart,
    )  # fmt: skip
    return value


def _field(place: Any, key: str, label: str, placeholder: str) -> str | None:
    value: str | None = place.text_input(
        label, key=key, bind="query-params", max_chars=300, placeholder=placeholder, on_change=_restart
    )
    return value


def _restart() -> None:
    """Other filters begin with their first page."""
    for name in ("after", "part"):
        st.query_params.pop(name, None)


@st.cache_data(max_entries=300, ttl=3600, show_spinner="looking for rows")
def _found(path: str, versions: Versions, filters: Filters, after: str | None, skip: int) -> Found:
    return find(Path(path), filters, after=after, versions=dict(versions), skip=skip)


@st.cache_data(max_entries=100, ttl=3600, show_spinner="reading rows")
def _rows(path: str, versions: Versions, ids: tuple[str, ...]) -> list[Row]:
    """Those trajectories with what was said of them, in the order of the ids."""
    with facts_connection(Path(path), ids, dict(versions)) as connection:
        facts = as_dicts(
            connection.execute(
                "SELECT trajectory_id, prompt_id, stage, policy, source, language, sample_index, step, finish_reason, "
                "completion_tokens, error, kept, not_passed, messages, text, created_at, "
                "parent_id IS NOT NULL AS made_from FROM trajectory_facts"
            )
        )
    by_id = {row["trajectory_id"]: row for row in facts}
    return [by_id[ident] for ident in ids if ident in by_id]


def _told(found: Found, filters: Filters) -> None:
    what = "trajectory" if found.count == 1 else "trajectories"
    what += f", {len(found.ids)} of them here" if found.count > PAGE else ""
    if not filters.text:
        st.caption(f"{found.count:,} {what} · {found.seconds:.2f} s")
        return
    looked = f"{found.looked:,} of {found.files:,} files of replies, the newest first"
    if not found.stopped:
        st.caption(f"{found.count:,} {what} with these words · {looked} · {found.seconds:.2f} s")
        return
    why = "these are many" if found.stopped == "matches" else f"it took {found.seconds:.1f} s"
    left, right = st.columns([4, 1], vertical_alignment="center")
    left.caption(f"{found.count:,} {what} with these words so far · stopped after {looked}, since {why}")
    if right.button("Look further", key="further", icon=":material/search:"):
        st.query_params["part"] = str(found.looked)
        st.query_params.pop("after", None)
        st.rerun()


def _table(view: View, rows: Sequence[Row], words: Sequence[str]) -> list[int]:
    """The rows; which of them are chosen."""
    shown = [
        {
            "trajectory": view.link("trajectory", id=row["trajectory_id"]),
            "kept": row["kept"],
            "against": _against(row),
            "question": _start(row["messages"][-1]["content"]),
            "reply": _passage(row["text"], words) if words else _start(row["text"]),
            "tokens": row["completion_tokens"],
            "stage": row["stage"],
            "policy": printable(row["policy"]),
            "source": printable(row["source"]),
            "language": row["language"],
            "step": row["step"],
            "made": row["created_at"],
        }
        for row in rows
    ]
    empty = [name for name in ("step", "tokens") if all(row[name] is None for row in shown)]
    column = st.column_config
    state = st.dataframe(
        shown, hide_index=True, on_select="rerun", selection_mode="multi-row", key="picked", row_height=38,
        column_order=[name for name in shown[0] if name not in empty], height="content",
        column_config={
            "trajectory": column.LinkColumn("trajectory", display_text=r"id=([0-9a-f]{10})", width=100, pinned=True),
            "kept": column.CheckboxColumn("kept", width=50),
            "against": column.TextColumn("against it", width=130, help="checks that did not pass, or the error"),
            "question": column.TextColumn("question", width=250),
            "reply": column.TextColumn("reply", width=380),
            "tokens": column.NumberColumn("tokens", format="localized", width=70),
            "made": column.DatetimeColumn("made, UTC", format="YYYY-MM-DD HH:mm", width=130),
        },
    )  # fmt: skip
    return list(state["selection"]["rows"])


def _against(row: Row) -> str:
    told = [row["error"]] if row["error"] else list(row["not_passed"] or [])
    return printable(one_line(", ".join([*told, *["truncated"] * (row["finish_reason"] == "length")])))[:_SHOWN]


def _start(text: str) -> str:
    return printable(one_line(text[: 2 * _SHOWN]).strip())[:_SHOWN] + ("…" if len(text) > _SHOWN else "")


def _actions(view: View, found: Found, picked: Sequence[Row]) -> None:
    """Sends what is chosen to review, opens it, and turns the page."""
    send, one, prompt, first, following = st.columns([2, 2, 2, 1, 1], vertical_alignment="center")
    with send:
        send_button(view, [row["trajectory_id"] for row in picked], key="send")
    if len(picked) == 1:
        ident, of = picked[0]["trajectory_id"], picked[0]["prompt_id"]
        one.html(anchor(view.link("trajectory", id=ident), f"open {ident[:10]}"))
        prompt.html(anchor(view.link("rows", prompt=of), "all of its prompt"))
    elif not picked:
        one.caption("choose rows at their left end")
    paged = "after" in st.query_params
    if first.button("First", key="first", icon=":material/first_page:", disabled=not paged, width="stretch"):
        _restart()
        st.rerun()
    if following.button("Next", key="next", icon=":material/chevron_right:", disabled=not found.after, width="stretch"):
        st.query_params["after"] = found.after or ""
        st.rerun()


# -- where the words stand


def _match(words: Sequence[str]) -> re.Pattern[str]:
    return re.compile("|".join(re.escape(word) for word in sorted(words, key=len, reverse=True)), re.IGNORECASE)


def _passage(text: str, words: Sequence[str]) -> str:
    """The first place of a word, `…before ⟦word⟧ after…`, on one line; the start of a text without any."""
    found = _match(words).search(text)
    if found is None:
        return _start(text)
    before, after = text[max(0, found.start() - _AROUND // 2) : found.start()], text[found.end() :][:_AROUND]
    return printable(one_line(f"…{before}⟦{found[0]}⟧{after}…"))


def marked(text: str, words: Sequence[str], most: int = 3) -> list[str]:
    """Passages of a text around the words, as HTML in which everything is escaped but the marks of ours."""
    passages: list[tuple[int, int]] = []
    pattern = _match(words)
    for found in pattern.finditer(text):
        start, end = max(0, found.start() - _AROUND), min(len(text), found.end() + _AROUND)
        if passages and found.start() < passages[-1][1]:
            passages[-1] = (passages[-1][0], max(passages[-1][1], min(end, passages[-1][0] + _LONGEST)))
        elif len(passages) == most:
            break
        else:
            passages.append((max(start, passages[-1][1] if passages else 0), end))
    return [_marked(text, pattern, start, end) for start, end in passages]


def _marked(text: str, pattern: re.Pattern[str], start: int, end: int) -> str:
    parts, at = ["…" if start else ""], start
    for found in pattern.finditer(text, start, end):
        parts += [html.escape(printable(text[at : found.start()])), f"<mark>{html.escape(printable(found[0]))}</mark>"]
        at = found.end()
    return "".join([*parts, html.escape(printable(text[at:end])), "…" if end < len(text) else ""])


_STYLE = """<style>
.passages article {border-left: 3px solid #4c8bf5; padding: .1rem .8rem; margin: 0 0 .9rem}
.passages pre {white-space: pre-wrap; overflow-wrap: anywhere; background: none; border: 0; padding: 0; margin: .2rem 0;
    font-size: .85rem; line-height: 1.45}
.passages mark {background: #ffd54f; color: #1b1b1b; border-radius: 2px; padding: 0 1px}
.passages a {font-family: monospace}
.passages small {opacity: .7; margin-left: .6rem}
</style>"""


def _passages(view: View, rows: Sequence[Row], words: Sequence[str]) -> None:
    st.subheader("Where the words stand")
    told = [_article(view.link("trajectory", id=row["trajectory_id"]), row, words) for row in rows]
    st.html(f'{_STYLE}<div class="passages">{"".join(told)}</div>')


def _article(link: str, row: Mapping[str, Any], words: Sequence[str]) -> str:
    about = " · ".join((row["stage"], row["source"], row["policy"], "kept" if row["kept"] else "not kept"))
    found = [("question", p) for p in marked(row["messages"][-1]["content"], words, 1)]
    found += [("reply", p) for p in marked(row["text"], words, 2)]
    passages = "".join(f"<pre>{passage}</pre>" for _, passage in found) or "<pre>in an earlier turn</pre>"
    return (
        f'<article><a href="{html.escape(link)}" target="_self">{row["trajectory_id"][:10]}</a>'
        f"<small>{html.escape(printable(about))}</small>{passages}</article>"
    )
