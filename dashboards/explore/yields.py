"""What comes of what is asked: right and kept replies by source, domain, language, policy or prompt."""

from typing import Literal

import altair as alt
import streamlit as st

from dashboards.explore import columns, filters
from dashboards.explore.view import Row, View, chart_of

_GROUPS = ("source", "domain", "language", "policy", "prompt")
# Bars that one chart can hold, prompts that a table can.
_BARS, _PROMPTS = 40, 200
_ORDERS = {
    "fewest kept": "kept / samples, samples DESC",
    "most kept": "kept / samples DESC, samples DESC",
    "fewest right": "correct / greatest(replies, 1), samples DESC",
    "most samples": "samples DESC",
}


def page(view: View) -> None:
    """Bars for each group, or a table of prompts."""
    st.header("Yield")
    stages = filters.stages(view)
    if not stages:
        return
    one, two, three, four = st.columns(4)
    by = filters.one_of(one, "yields_by", "By", _GROUPS)
    stage = filters.one_of(two, "yields_stage", "Stage", stages)
    policy = filters.any_of(three, "yields_policy", "Policy", filters.policies(view, stage))
    source = filters.any_of(four, "yields_source", "Source", filters.sources(view))
    if by == "prompt":
        _prompts(view, stage, policy, source)
    else:
        _groups(view, by, stage, policy, source)


def _groups(view: View, by: str, stage: str, policy: str | None, source: str | None) -> None:
    found = view.rows(
        f"""SELECT coalesce({by}, '(none)') AS "group", count(DISTINCT prompt_id) AS prompts, count(*) AS requests,
            count(*) FILTER (WHERE error IS NULL) AS replies, count(*) FILTER (WHERE correct) AS right_ones,
            count(*) FILTER (WHERE kept) AS kept
        FROM trajectory_facts
        WHERE stage = ? AND coalesce(policy = ?, true) AND coalesce(source = ?, true)
        GROUP BY 1 ORDER BY requests DESC, 1""",
        [stage, policy, source],
    )
    if not found:
        st.info("Nothing of this stage, policy and source.")
        return
    bars = [
        {
            "group": row["group"],
            "what": what,
            "share": row[column] / row["requests"],
            "n": row[column],
            "of": row["requests"],
        }
        for row in found[:_BARS]
        for what, column in (("right", "right_ones"), ("kept", "kept"))
    ]
    order = [row["group"] for row in found[:_BARS]]
    chart = (
        chart_of(bars)
        .mark_bar()
        .encode(
            x=alt.X("share:Q", title="share of requests", axis=alt.Axis(format=".0%"), scale=alt.Scale(domain=[0, 1])),
            y=alt.Y("group:N", sort=order, title=by, axis=alt.Axis(labelLimit=260, labelOverlap=False)),
            yOffset=alt.YOffset("what:N", sort=["right", "kept"]),
            color=alt.Color(
                "what:N",
                title=None,
                legend=alt.Legend(orient="top"),
                scale=alt.Scale(domain=["right", "kept"], range=["#4c8bf5", "#2a9d8f"]),
            ),
            tooltip=[
                "group:N",
                "what:N",
                alt.Tooltip("share:Q", format=".1%"),
                alt.Tooltip("n:Q", format=","),
                alt.Tooltip("of:Q", format=",", title="requests"),
            ],
        )
    )
    left_out = (
        f"the {_BARS} largest of {len(found)}" if len(found) > _BARS else "right: the verifier passed it in any form"
    )
    picked = view.chart(
        chart,
        key="yields",
        title=f"Yield of {stage} by {by}",
        n=sum(r["requests"] for r in found),
        of="requests",
        note=left_out,
        fields=("group", "what"),
        height=38 * len(order),
    )
    if picked:
        kept = "kept" if picked["what"] == "kept" else None
        query = {"stage": stage, "policy": policy, "source": source, by: picked["group"], "kept": kept}
        view.lead(f"rows: {picked['group']}" + (", kept" if kept else ""), "rows", **query)
    table = [
        {
            by: row["group"],
            **{k: row[k] for k in ("prompts", "requests", "replies")},
            "right": row["right_ones"],
            "kept": row["kept"],
            "share right": row["right_ones"] / row["requests"],
            "share kept": row["kept"] / row["requests"],
            "rows": view.link("rows", **{"stage": stage, "policy": policy, "source": source, by: row["group"]}),
        }
        for row in found
    ]
    _table(table)


def _prompts(view: View, stage: str, policy: str | None, source: str | None) -> None:
    order = filters.one_of(st.columns(4)[0], "yields_order", "Prompts with", list(_ORDERS))
    found = view.rows(
        f"""WITH asked AS MATERIALIZED (
            SELECT prompt_id, any_value(source) AS source, any_value(domain) AS domain, count(*) AS samples,
                count(*) FILTER (WHERE error IS NULL) AS replies, count(*) FILTER (WHERE correct) AS correct,
                count(*) FILTER (WHERE kept) AS kept
            FROM trajectory_facts
            WHERE stage = ? AND coalesce(policy = ?, true) AND coalesce(source = ?, true)
            GROUP BY prompt_id
        )
        SELECT *, (SELECT count(*) FROM asked) AS prompts, (SELECT sum(samples) FROM asked)::BIGINT AS requests
        FROM asked ORDER BY {_ORDERS[order]}, prompt_id LIMIT {_PROMPTS}""",
        [stage, policy, source],
    )
    if not found:
        st.info("Nothing of this stage, policy and source.")
        return
    ids = [row["prompt_id"] for row in found]
    asked = view.rows(
        f"SELECT prompt_id, left(messages[-1].content, 300) AS question FROM prompts_current "
        f"WHERE prompt_id IN ({', '.join('?' * len(ids))})",
        ids,
    )
    questions = {row["prompt_id"]: row["question"] for row in asked}
    st.caption(
        f"{len(found):,} of {found[0]['prompts']:,} prompts, n = {found[0]['requests']:,} requests of {stage}".replace(
            "_", r"\_"
        )
    )
    table = [
        {
            "question": questions.get(row["prompt_id"]),
            "source": row["source"],
            "domain": row["domain"],
            "requests": row["samples"],
            "right": row["correct"],
            "kept": row["kept"],
            "share right": row["correct"] / row["samples"],
            "share kept": row["kept"] / row["samples"],
            "rows": view.link("rows", stage=stage, policy=policy, prompt=row["prompt_id"]),
        }
        for row in found
    ]
    _table(table, height=700)


def _table(table: list[Row], height: int | Literal["auto"] = "auto") -> None:
    config = {"rows": columns.link(), **columns.numbers("prompts", "requests", "replies", "right", "kept")}
    st.dataframe(
        table, hide_index=True, column_config=config | columns.shares("share right", "share kept"), height=height
    )
