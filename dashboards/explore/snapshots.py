"""Snapshots: which there are, what each holds and relied on, are its files whole, and what differs between two."""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import altair as alt
import streamlit as st

from dashboards.explore import columns, filters
from dashboards.explore.view import View, chart_of, plain
from dataengine.diff_report import describe_diff
from dataengine.output import list_snapshot_rows
from dataengine.screen import printable
from schemas.errors import SnapshotError
from schemas.manifest import Manifest
from warehouse.connect import opened
from warehouse.diff import SnapshotDiff, diff_snapshots
from warehouse.fetching import as_dicts
from warehouse.quoting import parquet
from warehouse.snapshot import Damaged, Snapshot, every_snapshot, open_snapshot
from warehouse.verifying import snapshot_targets, verify

_REF = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}(@[A-Za-z0-9][A-Za-z0-9._-]{0,99})?")
_MOST_VALUES, _SAMPLE = 30, 25


def page(view: View) -> None:
    """All snapshots, and below one of them or the difference of two."""
    st.header("Snapshots")
    for name in ("snapshot", "before", "after"):
        given = st.query_params.get(name, "")
        if given and not _REF.fullmatch(given):
            st.error(f"`{name}` in the address is no snapshot: it is called name@version or name@tag")
            view.lead("all snapshots", "snapshots")
            return
    found = every_snapshot(view.path)
    if not found:
        filters.nothing(view, "No snapshots yet.", f"dataengine snapshot create MIX {view.option}")
        return
    rows = [{**row, "snapshot": view.link("snapshots", snapshot=row["snapshot"])} for row in list_snapshot_rows(found)]
    st.dataframe(
        rows, hide_index=True, key="list", placeholder="",
        column_config={"snapshot": st.column_config.LinkColumn("snapshot", display_text=r"snapshot=(.+)$")},
    )  # fmt: skip
    for damaged in (s for s in found if isinstance(s, Damaged)):
        st.warning(plain(f"{damaged.id}: {damaged.problem}"))
    ids = [s.id for s in found if isinstance(s, Snapshot)]
    one, first, second = st.columns(3)
    shown = _pick(one, "snapshot", "Show", ids)
    before, after = _pick(first, "before", "Compare", ids), _pick(second, "after", "with", ids)
    try:
        if before and after:
            _difference(view, open_snapshot(view.path, before), open_snapshot(view.path, after))
        if shown:
            _show(view, open_snapshot(view.path, shown))
    except SnapshotError as e:
        st.error(plain(str(e)))


def _pick(place: Any, key: str, label: str, ids: Sequence[str]) -> str | None:
    """One of the snapshots, or name@tag as it may stand in the address."""
    value: str | None = place.selectbox(
        label,
        list(reversed(ids)),
        index=None,
        placeholder="none",
        key=key,
        bind="query-params",
        accept_new_options=True,
    )
    if value and not _REF.fullmatch(value):
        raise SnapshotError("a snapshot is called name@version or name@tag")
    return value


# -- one


def _show(view: View, snapshot: Snapshot) -> None:
    m = snapshot.manifest
    st.subheader(m.id, anchor=False)
    st.caption(plain(f"{printable(m.about)} Made {m.created_at:%Y-%m-%d %H:%M} UTC."))
    totals = _totals(str(snapshot.path), tuple(map(str, snapshot.data_files())))
    tokens = [row["tokens"] for row in totals if row["tokens"] is not None]
    numbers = st.columns(4)
    numbers[0].metric("rows", f"{m.rows:,}", help=f"rows are {m.rows_of}")
    numbers[1].metric("prompts", f"{m.prompts:,}")
    numbers[2].metric("tokens of replies", f"{sum(tokens):,}" if tokens else "unknown")
    numbers[3].metric("files", f"{len(m.files):,}", help=f"{sum(f.bytes for f in m.files):,} bytes")
    st.caption("logical hash, the same for the same content on any machine")
    st.code(m.logical_hash, language=None)
    left, right = st.columns(2, gap="large")
    with left:
        _counts(m)
    with right:
        _relied_on(m, totals)
    _verify(view, m)
    _rows(view, snapshot)
    _again(view, m)


@st.cache_data(max_entries=100, ttl=3600, show_spinner="counting tokens")
def _totals(path: str, files: tuple[str, ...]) -> list[dict[str, Any]]:
    """Rows, tokens and tokens to learn by split and source; a snapshot never changes, so this is kept by its path."""
    if not files:
        return []
    with opened(Path(path).parent.parent.parent / ".tmp") as connection:
        there = {row[0] for row in connection.execute(f"DESCRIBE FROM {parquet(files)}").fetchall()}
        source = "source" if "source" in there else "NULL"
        tokens = "sum(completion_tokens)::BIGINT" if "completion_tokens" in there else "NULL"
        learnt = "sum(completion_tokens * weight)" if {"completion_tokens", "weight"} <= there else "NULL"
        return as_dicts(
            connection.execute(
                f"SELECT split, {source} AS source, count(*) AS rows, {tokens} AS tokens, "
                f"round({learnt})::BIGINT AS learnt FROM {parquet(files)} "
                "GROUP BY ALL ORDER BY rows DESC, split, source"
            )
        )


def _counts(m: Manifest) -> None:
    st.markdown("**What it holds**")
    alike: list[str] = []
    for column, counts in m.counts.items():
        if column in ("dropped", "near_duplicates") or not counts:
            continue
        if len(counts) == 1:
            alike.append(f"{column}: {printable(next(iter(counts)))}")
            continue
        total = sum(counts.values())
        rows = [
            {column: printable(value), "rows": n, "share": n / total if total else 0.0}
            for value, n in list(counts.items())[:_MOST_VALUES]
        ]
        st.dataframe(
            rows, hide_index=True, key=f"counts_{column}", height="content",
            column_config={"share": columns.share("share of rows")},
        )  # fmt: skip
    if alike:
        st.caption(plain(f"all rows alike: {' · '.join(alike)}"))


def _relied_on(m: Manifest, totals: Sequence[Mapping[str, Any]]) -> None:
    st.markdown("**Tokens by split and source**")
    rows = [{**row, "source": printable(row["source"] or "")} for row in totals[:_MOST_VALUES]]
    st.dataframe(rows, hide_index=True, key="totals", placeholder="unknown", height="content",
                 column_config={"learnt": st.column_config.NumberColumn("tokens x weight", format="localized"),
                                "tokens": st.column_config.NumberColumn("tokens", format="localized")})  # fmt: skip
    st.markdown("**Checks that it relied on**")
    checks = [{"check": printable(name), "versions": ", ".join(versions)} for name, versions in m.checks.items()]
    st.dataframe(checks, hide_index=True, key="checks", height="content")
    if dropped := {name: n for name, n in m.counts.get("dropped", {}).items() if n}:
        st.markdown("**Left out, by rule**")
        left = [{"rule": printable(name), "candidates": n} for name, n in dropped.items()]
        st.dataframe(left, hide_index=True, key="dropped", height="content")
    for name, held in m.decontamination.items():
        st.caption(plain(f"held against {name}: {held.checked:,} checked, {held.contaminated:,} left out"))
    if m.chat_template:
        st.caption(plain(printable(f"{m.chat_template.tokenizer}: {m.chat_template.text}")))
    told = {"tables": m.tables, "code": m.code, "mix": m.mix, "files": [f.model_dump() for f in m.files]}
    with st.expander("Manifest"):
        st.code(printable(json.dumps(told, indent=2, ensure_ascii=False)), language="json", wrap_lines=True)


def _verify(view: View, m: Manifest) -> None:
    button, content, _ = st.columns([1, 2, 3], vertical_alignment="center")
    rows = content.checkbox("its rows' logical hash, too", key="content", help="reads every row: slower")
    if button.button("Verify", icon=":material/verified:", key="verify", help="reads every file again"):
        with st.spinner("reading every file"):
            (found,) = verify(snapshot_targets(view.path, [m.id]), content=rows)
        if found.good:
            st.success(f"whole: {found.files:,} files" + (", and the hash of its rows" if rows else ""))
        else:
            st.error(f"{len(found.faults):,} faults: restore from a copy what is named here")
            st.code(printable(found.text), language=None, wrap_lines=True)


def _rows(view: View, snapshot: Snapshot) -> None:
    found = _first(str(snapshot.path), tuple(map(str, snapshot.data_files())))
    if not found:
        return
    st.markdown(f"**The first {len(found)} rows**")
    ids = [name for name in ("trajectory_id", "chosen_id", "rejected_id") if name in found[0]]
    rows = [{**row, **{name: view.link("trajectory", id=row[name]) for name in ids}} for row in found]
    told = [{k: printable(v) if isinstance(v, str) and k not in ids else v for k, v in row.items()} for row in rows]
    st.dataframe(
        told, hide_index=True, key="first", placeholder="",
        column_config={n: st.column_config.LinkColumn(n, display_text=r"id=([0-9a-f]{10})") for n in ids},
    )  # fmt: skip


@st.cache_data(max_entries=100, ttl=3600, show_spinner=False)
def _first(path: str, files: tuple[str, ...]) -> list[dict[str, Any]]:
    """What tells the first rows: ids, split, source, and what else is short."""
    if not files:
        return []
    wanted = ("trajectory_id", "pair_id", "chosen_id", "rejected_id", "split", "weight", "label", "score",
              "stage", "domain", "source", "language", "policy", "completion_tokens")  # fmt: skip
    with opened(Path(path).parent.parent.parent / ".tmp") as connection:
        there = [row[0] for row in connection.execute(f"DESCRIBE FROM {parquet(files)}").fetchall()]
        shown = ", ".join(name for name in wanted if name in there)
        return as_dicts(connection.execute(f"SELECT {shown} FROM {parquet(files)} LIMIT {_SAMPLE}"))


def _again(view: View, m: Manifest) -> None:
    """The commands that make, check and read it; a mix is YAML, and JSON is."""
    st.markdown("**The same by commands**")
    where = view.option
    lines = [
        f"dataengine snapshot show {m.id} {where}",
        f"dataengine snapshot verify {m.id} --content {where}",
        f"dataengine snapshot create {m.name}.yaml {where}   # of the mix below: the next version, if anything changed",
        f"dataengine snapshot export {m.id} --out {m.name}-{m.version} {where}",
        f'dataengine sql "SELECT * FROM trajectory_facts LIMIT 5" --at {m.id} {where}',
    ]
    st.code("\n".join(lines), language="bash", wrap_lines=True)
    st.download_button(
        f"{m.name}.yaml", json.dumps(m.mix, indent=2, ensure_ascii=False), f"{m.name}.yaml", "application/yaml",
        icon=":material/download:", on_click="ignore", key="mix",
    )  # fmt: skip


# -- two


def _difference(view: View, before: Snapshot, after: Snapshot) -> None:
    st.subheader(f"{before.id} → {after.id}", anchor=False)
    found = _diff(str(view.path), before.id, after.id, before.manifest.logical_hash, after.manifest.logical_hash)
    rows = found.rows
    numbers = st.columns(6)
    for place, (name, n) in zip(
        numbers,
        (("before", rows.before), ("removed", rows.removed), ("added", rows.added), ("changed", rows.changed),
         ("the same", rows.same), ("after", rows.after)),
        strict=True,
    ):  # fmt: skip
        place.metric(name, f"{n:,}")
    if found.tokens:
        _shares(view, found)
    st.code(printable(describe_diff(found)), language=None, wrap_lines=False)
    command = f"dataengine snapshot diff {before.id} {after.id} --rows rows.parquet {view.option}"
    st.code(command, language="bash")
    st.download_button(
        "JSON", json.dumps(found.as_json(), indent=2, ensure_ascii=False, default=str), "diff.json", "application/json",
        icon=":material/download:", on_click="ignore", key="diff",
    )  # fmt: skip


@st.cache_data(max_entries=50, ttl=3600, show_spinner="comparing rows")
def _diff(path: str, before: str, after: str, *hashes: str) -> SnapshotDiff:
    """The difference of two snapshots; neither ever changes, and the hashes tell when one was made anew by its name."""
    return diff_snapshots(open_snapshot(Path(path), before), open_snapshot(Path(path), after))


def _shares(view: View, found: SnapshotDiff) -> None:
    values = [
        {"source": printable(share.source or "none")[:60], "when": when, "order": i, "share": part, "tokens": tokens}
        for share in found.tokens[:_MOST_VALUES]
        for i, (when, part, tokens) in enumerate(
            ((found.before, share.share_before, share.before), (found.after, share.share_after, share.after))
        )
    ]
    chart = (
        chart_of(values)
        .mark_bar()
        .encode(
            alt.Y("source:N", title=None, sort=None),
            alt.X("share:Q", title="share of tokens to learn", axis=alt.Axis(format="%")),
            alt.YOffset("order:O"),
            alt.Color("when:N", title=None, sort=None, legend=alt.Legend(orient="top")),
            tooltip=["source:N", "when:N", alt.Tooltip("share:Q", format=".1%"), alt.Tooltip("tokens:Q", format=",")],
        )
    )
    n = round(sum(share.after for share in found.tokens))
    height = min(600, 60 + 44 * min(len(found.tokens), _MOST_VALUES))
    view.chart(chart, key="shares", title="Tokens by source", n=n, of="tokens after", height=height)
