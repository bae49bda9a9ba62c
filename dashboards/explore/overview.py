"""How far trajectories get: what there is, the funnel with its conservation line, and why what is not kept is not."""

from typing import Any

import altair as alt
import streamlit as st

from dashboards.explore import columns, filters
from dashboards.explore.colours import OUTCOMES, by_outcome
from dashboards.explore.view import Row, View, chart_of, plain
from warehouse.snapshot import every_snapshot

_COUNTED = ("prompts", "trajectories", "verdicts", "reviews", "runs")
_STAGES = """
SELECT stage, count(*) AS requests, count(*) FILTER (WHERE error IS NULL) AS replies,
    count(*) FILTER (WHERE error IS NOT NULL) AS failed, count(*) FILTER (WHERE finish_reason = 'length') AS truncated,
    count(DISTINCT policy) AS policies, sum(completion_tokens)::BIGINT AS reply_tokens, max(created_at) AS latest
FROM trajectories GROUP BY stage ORDER BY requests DESC, stage
"""
_REASONS = """
SELECT v."check", v.outcome, v.reason, count(*) AS trajectories
FROM verdicts_current v JOIN trajectories_current t USING (trajectory_id)
WHERE v.outcome <> 'pass' AND t.stage = ?
GROUP BY ALL ORDER BY trajectories DESC, 1, 2, 3 LIMIT 25
"""


def page(view: View) -> None:
    """What is cheap at once; the funnel, which reads every verdict, in its place when it is there."""
    st.header("Overview")
    *places, last = st.columns(len(_COUNTED) + 1)
    for place, table in zip(places, _COUNTED, strict=True):
        place.metric(table, f"{view.scalar(f'SELECT count(*) FROM {table}'):,}")
    last.metric("snapshots", f"{len(every_snapshot(view.path)):,}")
    stages = view.rows(_STAGES)
    if not stages:
        filters.nothing(view, "No trajectories yet.")
        return
    st.dataframe(
        [row | {"rows": view.link("rows", stage=row["stage"])} for row in stages],
        hide_index=True,
        column_config={
            "rows": columns.link(),
            "latest": columns.time(),
            **columns.numbers("requests", "replies", "failed", "truncated", "reply_tokens"),
        },
    )
    names = [row["stage"] for row in stages]
    stage = filters.one_of(st.columns(3)[0], "overview_stage", "Stage", names)
    _funnel(view, stage)
    _reasons(view, stage)


def _funnel(view: View, stage: str) -> None:
    every = view.rows("SELECT * FROM funnel")
    lines = [row for row in every if row["stage"] == stage]
    _conservation(every)
    bars = [
        {"check": line["check"], "outcome": o, "n": line[o], "share": line[o] / line["applicable"], "order": place}
        for line in lines
        for place, o in enumerate(OUTCOMES)
        if line[o]
    ]
    order = [line["check"] for line in lines]
    chart = (
        chart_of(bars)
        .mark_bar()
        .encode(
            x=alt.X("n:Q", title="replies", stack="zero"),
            y=alt.Y("check:N", sort=order, title=None, axis=alt.Axis(labelLimit=220, labelOverlap=False)),
            color=by_outcome(),
            order=alt.Order("order:Q"),
            tooltip=["check:N", "outcome:N", alt.Tooltip("n:Q", format=","), alt.Tooltip("share:Q", format=".1%")],
        )
    )
    requests = next((line["applicable"] for line in lines if line["check"] == "(replied)"), 0)
    picked = view.chart(
        chart,
        key="funnel",
        title=f"Funnel of {stage}",
        n=requests,
        of="requests",
        fields=("check", "outcome"),
        note="a bar is what a check applies to; choose a part for its rows",
        height=26 * len(order),
    )
    if picked:
        view.lead(f"rows: {stage}, {picked['check']}, {picked['outcome']}", "rows", **_place(stage, picked))
    table = [_line(view, line) for line in lines]
    st.dataframe(
        table,
        hide_index=True,
        column_config={
            "rows": columns.link(),
            "share that passes": columns.share(),
            **columns.numbers("applicable", *OUTCOMES),
        },
    )


def _place(stage: str, picked: Row) -> dict[str, Any]:
    """The rows of a part of a bar; (replied) and (kept) are no checks."""
    check, outcome = picked["check"], picked["outcome"]
    if check == "(kept)":
        return {"stage": stage, "kept": "kept" if outcome == "pass" else "not"}
    return {"stage": stage} if check == "(replied)" else {"stage": stage, "check": check, "outcome": outcome}


def _line(view: View, line: Row) -> Row:
    check = {} if line["check"].startswith("(") else {"check": line["check"]}
    counts = {o: line[o] for o in OUTCOMES}
    adds_up = line["applicable"] == sum(counts.values())
    return {
        "check": line["check"],
        "applicable": line["applicable"],
        **counts,
        "adds up": adds_up,
        "share that passes": line["pass_share"],
        "rows": view.link("rows", stage=line["stage"], **check, kept="kept" if line["check"] == "(kept)" else None),
    }


def _conservation(lines: list[Row]) -> None:
    wrong = [line for line in lines if line["applicable"] != sum(line[o] for o in OUTCOMES)]
    said = "applicable = " + " + ".join(OUTCOMES)
    if wrong:
        named = ", ".join(plain(f"{line['stage']} {line['check']}") for line in wrong)
        st.error(f"{said} does **not** hold for {named}")
    else:
        st.caption(f":material/check: {said}: holds for all {len(lines)} lines of every stage")


def _reasons(view: View, stage: str) -> None:
    found = view.rows(_REASONS, [stage])
    if not found:
        return
    bars = [row | {"why": " · ".join(filter(None, (row["check"], row["outcome"], row["reason"])))} for row in found]
    chart = (
        chart_of(bars)
        .mark_bar()
        .encode(
            x=alt.X("trajectories:Q", title="replies"),
            y=alt.Y("why:N", sort="-x", title=None, axis=alt.Axis(labelLimit=280, labelOverlap=False)),
            color=by_outcome().legend(None),
            tooltip=["check:N", "outcome:N", "reason:N", alt.Tooltip("trajectories:Q", format=",")],
        )
    )
    picked = view.chart(
        chart,
        key="reasons",
        title=f"Why replies of {stage} did not pass",
        n=sum(r["trajectories"] for r in found),
        of="verdicts",
        fields=("check", "outcome", "reason"),
        note="the most frequent reasons",
        height=22 * len(found),
    )
    if picked:
        view.lead(f"rows: {picked['check']}, {picked['reason'] or picked['outcome']}", "rows", stage=stage, **picked)
