"""One trajectory: question, reply, and all that is known of where it is from, what was said of it, where it went."""

import re
from collections.abc import Sequence
from typing import Any

import streamlit as st

from dashboards.explore.narrowed import LINEAGE_TABLES
from dashboards.explore.record import record_of, snapshots_of
from dashboards.explore.sending import send_button
from dashboards.explore.texts import STYLE, anchor, changed_html, facts_html, marks_of, text_html, verdict_html
from dashboards.explore.view import Row, View, plain
from dataengine.screen import printable
from schemas.errors import InputError
from schemas.keys import canonical_json

_FACTS = ("stage", "policy", "engine", "sample_index", "step", "finish_reason", "prompt_tokens", "completion_tokens",
          "max_tokens", "seconds", "logprob_sum", "request_seed", "run_id", "created_at")  # fmt: skip
_OF_PROMPT = ("domain", "language", "source", "source_ref", "license", "verifier")
_SAMPLES = (
    "SELECT trajectory_id, sample_index, stage, policy, kept, not_passed, finish_reason, completion_tokens, error "
    "FROM trajectory_facts WHERE prompt_id = ? ORDER BY created_at, sample_index, trajectory_id"
)


def page(view: View) -> None:
    """The trajectory whose id, or the start of it, stands in the address."""
    given = st.query_params.get("id", "").strip().lower()
    if given and not re.fullmatch("[0-9a-f]{4,64}", given):
        st.error("`id` in the address is no id: give 4 to 64 hexadecimal characters of one")
        view.lead("all rows", "rows")
        return
    ident = st.text_input(
        "Id of a trajectory, or its first characters", key="id", bind="query-params", max_chars=64,
        placeholder="as in a row, or in a line of an export", width=620,
    )  # fmt: skip
    ident = (ident or "").strip().lower()
    if not ident:
        st.caption("Choose one among the rows, or give its id.")
        view.lead("all rows", "rows")
        return
    try:
        record = record_of(str(view.path), view.versions(LINEAGE_TABLES), ident)
    except InputError as e:
        st.error(plain(str(e)))
        return
    {"trajectory": _trajectory, "pair": _pair, "prompt": _prompt}[record["kind"]](view, record)


def _trajectory(view: View, record: Row) -> None:
    of = record["trajectory"]
    _heading(view, record)
    left, right = st.columns([5, 3], gap="large")
    with left:
        _texts(record)
    with right:
        st.subheader("Verdicts", help="by checks, judges and people; those that no longer count are pale")
        order = sorted(record["verdicts"], key=lambda v: (not v["counts"], v["outcome"] == "pass", v["check"]))
        st.html(STYLE + ("".join(map(verdict_html, order)) or "no verdict yet"))
        st.subheader("How it was made")
        made = {name: of.get(name) for name in _FACTS} | {"sampling": canonical_json(of["sampling"])}
        st.html(facts_html(_told(made | {name: record["prompt"][name] for name in _OF_PROMPT})))
    _family(view, record)
    _attempts(record)
    _people(view, record)
    _places(view, record)
    _samples(view, record)
    _runs(record)
    st.code(f"dataengine explain {record['id'][:16]} {view.option}", language="bash")


def _heading(view: View, record: Row) -> None:
    of = record["trajectory"]
    st.header(f"Trajectory {record['id'][:10]}")
    against = [v["check"] for v in record["verdicts"] if v["counts"] and v["outcome"] != "pass"]
    state = ("kept", "green") if of["kept"] else ("not kept", "orange")
    badges, actions = st.columns([5, 3], vertical_alignment="center")
    with badges.container(horizontal=True, gap="small"):
        st.badge(state[0], color=state[1])  # type: ignore[arg-type]
        if of["error"] is not None:
            st.badge("request failed", color="red")
        if of["finish_reason"] == "length":
            st.badge("truncated", color="orange")
        if of["parent_id"]:
            st.badge("edit" if of["engine"] == "review" else "rewrite", color="blue")
        for check in against[:8]:
            st.badge(plain(printable(check)), color="gray")
    with actions.container(horizontal=True, gap="small"):
        send_button(view, [record["id"]], key="send")
        view.lead("all of its prompt", "rows", prompt=record["prompt"]["prompt_id"])


def _texts(record: Row) -> None:
    prompt, of, verdicts = record["prompt"], record["trajectory"], record["verdicts"]
    st.subheader("Question")
    last = len(prompt["messages"]) - 1
    said = [
        text_html(m["content"], marks_of(verdicts, "prompt") if i == last else (), role=m["role"])
        for i, m in enumerate(prompt["messages"])
    ]
    if of["system_prompt"]:
        said.insert(0, text_html(of["system_prompt"], role="system, as sent"))
    reference = prompt["reference"]
    said.append(text_html("none" if reference is None else reference, role="reference answer"))
    st.html(STYLE + "".join(said))
    if prompt["conflict"]:
        st.warning("Sources give different references, so it is verified against none.")
    title, fold, file = st.columns([3, 2, 2], vertical_alignment="bottom")
    title.subheader("Reply")
    unfolded = fold.toggle(
        "Whole reasoning", key="whole", bind="query-params", help="else folded where nothing is marked"
    )
    file.download_button(
        "Exact text", of["text"].encode("utf-8", "replace"), f"{record['id'][:16]}.txt", "text/plain",
        icon=":material/download:", key="file", on_click="ignore",
    )  # fmt: skip
    if of["error"] is not None:
        st.html(STYLE + text_html(of["error"], role="the request failed; it is asked again by the next run"))
    else:
        st.html(STYLE + text_html(of["text"], marks_of(verdicts, "reply"), unfolded=unfolded))


def _family(view: View, record: Row) -> None:
    if not record["family"]:
        return
    st.subheader("Made from, and made of it")
    rows = [
        {
            "step": f["step"],
            "trajectory": view.link("trajectory", id=f["trajectory_id"]),
            "is": "this one" if f["trajectory_id"] == record["id"] else "",
            "did": printable(f["did"]),
            "kept": f["kept"],
            "against it": printable(f["error"] or ", ".join(f["not_passed"] or [])),
            "stage": f["stage"],
            "policy": printable(f["policy"]),
        }
        for f in record["family"]
    ]
    _table(rows, links=("trajectory",), key="family")
    near: list[str] = []
    for f in record["family"]:
        link, short = view.link("trajectory", id=f["trajectory_id"]), f["trajectory_id"][:10]
        if f["trajectory_id"] == record["trajectory"]["parent_id"]:
            near.append(anchor(link, f"parent {short}"))
        elif f["parent_id"] == record["id"]:
            near.append(anchor(link, f"{f['did']} {short}"))
    st.html("".join(near))
    if record["parent"]:
        st.markdown("**Changes to the parent**, word by word")
        st.html(STYLE + changed_html(record["parent"]["text"], record["trajectory"]["text"]))


def _attempts(record: Row) -> None:
    st.subheader("Attempts" if len(record["attempts"]) > 1 else "Attempt")
    names = ("attempt", "finish_reason", "prompt_tokens", "completion_tokens", "max_tokens", "seconds", "logprob_sum",
             "error", "run_id", "created_at")  # fmt: skip
    _table([{name: row[name] for name in names} for row in record["attempts"]], key="attempts")
    for row in record["attempts"]:
        if row["attempt"] != record["trajectory"]["attempt"]:
            with st.expander(f"reply of attempt {row['attempt']}, which another took the place of"):
                text = record["texts"].get(row["attempt"]) or row["error"] or ""
                st.html(STYLE + text_html(text, role="error" if row["error"] else ""))
    if record["rollouts"]:
        st.subheader("Reinforcement learning", help="without an advantage it is left out of the loss")
        _table(record["rollouts"], key="rollouts")


def _people(view: View, record: Row) -> None:
    if not record["reviews"]:
        return
    st.subheader("People")
    rows = [
        {
            "when": row["created_at"],
            "reviewer": row["reviewer"],
            "said": row["verdict"],
            "counts": row["counts"],
            "reasons": ", ".join(row["tags"] or []),
            "note": row["note"],
            "attempt": row["attempt"],
            "of": view.link("trajectory", id=row["trajectory_id"]),
            "made": view.link("trajectory", id=row["child_id"]) if row["child_id"] else None,
            "seconds": row["seconds"],
        }
        for row in record["reviews"]
    ]
    _table(rows, links=("of", "made"), key="people")


def _places(view: View, record: Row) -> None:
    pairs = list(record.get("pairs") or [])
    ids = [record["id"]] if record["kind"] == "trajectory" else [record["pair"]["a_id"], record["pair"]["b_id"]]
    if pairs:
        st.subheader("Pairs")
        _table([{"pair": view.link("trajectory", id=pair)} for pair in pairs], links=("pair",), key="pairs")
    if record["kind"] == "pair":
        pairs.append(record["id"])
    places, problem = snapshots_of(str(view.path), tuple(ids), tuple(pairs))
    st.subheader("Snapshots")
    if problem:
        st.warning(plain(problem))
    elif not places:
        st.caption("in none")
    else:
        rows = [
            {
                "snapshot": view.link("snapshots", snapshot=row["snapshot"]),
                "split": row["split"],
                "weight": row["weight"],
                "file": row["file"],
                "row": row["row"],
                "trained on it": ", ".join(row["trained"]),
            }
            for row in places
        ]
        _table(rows, links=("snapshot",), key="snapshots", shown=r"snapshot=(.+)$")


def _samples(view: View, record: Row) -> None:
    found = view.table(_SAMPLES, [record["prompt"]["prompt_id"]], most=64)
    others = [row for row in found.dicts() if row["trajectory_id"] != record["id"]]
    if not others:
        return
    st.subheader("Other samples of its prompt")
    rows = [
        {
            "trajectory": view.link("trajectory", id=row["trajectory_id"]),
            "sample": row["sample_index"],
            "kept": row["kept"],
            "against it": row["error"] or ", ".join(row["not_passed"] or []),
            "tokens": row["completion_tokens"],
            "finish": row["finish_reason"],
            "stage": row["stage"],
            "policy": row["policy"],
        }
        for row in others
    ]
    _table(rows, links=("trajectory",), key="samples")
    if found.cut:
        st.caption("the first 64 only")


def _runs(record: Row) -> None:
    if record["runs"]:
        st.subheader("Runs")
        rows = [
            {**{k: run[k] for k in ("run_id", "recipe", "state", "started_at", "ended_at")}}
            | {"code": ", ".join(f"{name} {version}" for name, version in run["versions"].items())}
            for run in record["runs"]
        ]
        _table(rows, key="runs")


def _pair(view: View, record: Row) -> None:
    st.header(f"Pair {record['id'][:10]}")
    sides = {side: record["pair"][f"{side}_id"] for side in ("a", "b")}
    near = (anchor(view.link("trajectory", id=i), f"reply {side}, {i[:10]}") for side, i in sides.items())
    st.html("".join(near))
    left, right = st.columns(2)
    for place, side in ((left, "a"), (right, "b")):
        reply = record["replies"][side]
        with place:
            st.subheader(f"Reply {side}")
            told = reply and text_html(
                reply["trajectory"]["text"], marks_of(reply["verdicts"], "reply"), unfolded=False
            )
            st.html(STYLE + (told or "it is not in the warehouse"))
    for title, part in (("Which is better", "preferences"), ("Draws", "draws"), ("Steps", "steps")):
        if record[part]:
            st.subheader(title)
            dropped = ("details", "balanced", "messages")
            _table([{k: v for k, v in row.items() if k not in dropped} for row in record[part]], key=part)
    _places(view, record)
    _runs(record)


def _prompt(view: View, record: Row) -> None:
    st.info(f"{record['id'][:12]} is a prompt: its trajectories are rows of their own.")
    view.lead("trajectories of this prompt", "rows", prompt=record["id"])


# -- tables


def _table(rows: Sequence[Row], *, key: str, links: Sequence[str] = (), shown: str = r"id=([0-9a-f]{10})") -> None:
    """Rows as they are, what acts on a screen written out; columns that say nothing are left out."""
    told = [{k.replace("_", " "): v if k in links else _cell(v) for k, v in row.items()} for row in rows]
    columns = [name for name in told[0] if any(row[name] not in (None, "") for row in told)]
    st.dataframe(
        told, hide_index=True, column_order=columns, key=f"table_{key}", height="content", placeholder="",
        column_config={name: st.column_config.LinkColumn(name, display_text=shown) for name in links},
    )  # fmt: skip


def _cell(value: Any) -> Any:
    """A moment to the minute, a text with what acts on a screen written out, anything else as it is."""
    if not isinstance(value, str):
        return value
    return f"{value[:10]} {value[11:16]}" if _MOMENT.match(value) else printable(value)


_MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d")


def _told(values: Row) -> dict[str, str]:
    return {
        name.replace("_", " "): str(_cell(value) if isinstance(value, str) else value)
        for name, value in values.items()
        if value not in (None, "")
    }
