"""pass@k over k, and how the solve rates of prompts are spread."""

import altair as alt
import streamlit as st

from dashboards.explore import columns, filters
from dashboards.explore.view import View, chart_of, plain

# Lines that can be told apart, prompts that a table can hold.
_LINES, _PROMPTS = 12, 200
_BINS = ("0", *(f"to {i / 10:g}" for i in range(1, 10)), "below 1", "1")
# The bin of a solve rate: no and all right are of their own, since they teach nothing.
_BIN = """CASE WHEN rate = 0 THEN '0' WHEN rate = 1 THEN '1' WHEN rate > 0.9 THEN 'below 1'
    ELSE 'to ' || (ceil(rate * 10 - 1e-9) / 10)::DECIMAL(2, 1)::VARCHAR END"""
_RATES = """
SELECT prompt_id, any_value(source) AS source, sum(correct)::BIGINT AS correct, sum(replies)::BIGINT AS replies,
    sum(correct) / sum(replies) AS rate
FROM yield_by_prompt WHERE stage = ? AND coalesce(policy = ?, true) AND coalesce(source = ?, true)
GROUP BY prompt_id HAVING sum(replies) > 0
"""


def page(view: View) -> None:
    """The curves of the stage's policies, the histogram, and the prompts of the bin that is chosen."""
    st.header("pass@k and solve rates")
    stages = filters.stages(view)
    if not stages:
        return
    one, two, three, _ = st.columns(4)
    stage = filters.one_of(one, "passes_stage", "Stage", stages)
    source = filters.any_of(two, "passes_source", "Source", filters.sources(view))
    policy = filters.any_of(three, "passes_policy", "Policy", filters.policies(view, stage))
    _curves(view, stage, source, policy)
    _histogram(view, stage, source, policy)


def _curves(view: View, stage: str, source: str | None, policy: str | None) -> None:
    found = view.rows(
        """SELECT policy, coalesce(setting, '') AS setting, coalesce(shots, 0) AS shots, k,
            sum(prompts)::BIGINT AS prompts, sum(prompts * pass_at_k) / sum(prompts) AS pass_at_k
        FROM pass_at_k WHERE stage = ? AND coalesce(source = ?, true) AND coalesce(policy = ?, true)
        GROUP BY ALL ORDER BY ALL""",
        [stage, source, policy],
    )
    if not found:
        st.info("No replies of this stage, source and policy.")
        return
    lines = list(dict.fromkeys(r["policy"] for r in found))
    shown = [r for r in found if r["policy"] in lines[-_LINES:]]
    base = chart_of(shown).encode(
        x=alt.X(
            "k:Q", title="k (samples)", scale=alt.Scale(type="log", base=2), axis=alt.Axis(tickCount=8, format="d")
        ),
        y=alt.Y("pass_at_k:Q", title="pass@k", axis=alt.Axis(format=".0%"), scale=alt.Scale(domain=[0, 1])),
        color=alt.Color("policy:N", legend=alt.Legend(orient="right", labelLimit=240)),
        detail=["setting:N", "shots:Q"],
        tooltip=[
            "policy:N",
            "setting:N",
            "shots:Q",
            "k:Q",
            alt.Tooltip("pass_at_k:Q", format=".2%"),
            alt.Tooltip("prompts:Q", format=","),
        ],
    )
    chart = base.mark_line() + base.mark_point(filled=True, size=70)
    most = max(r["prompts"] for r in shown)
    note = "unbiased, mean over prompts with at least k replies"
    if len(lines) > _LINES:
        note += f"; {_LINES} of {len(lines)} policies"
    picked = view.chart(
        chart, key="passes", title=f"pass@k of {stage}", n=most, of="prompts", note=note, fields=("policy", "k")
    )
    if picked:
        view.lead(f"rows: {picked['policy']}", "rows", stage=stage, policy=picked["policy"], source=source)


def _histogram(view: View, stage: str, source: str | None, policy: str | None) -> None:
    asked = [stage, policy, source]
    found = view.rows(
        f"SELECT {_BIN} AS bin, source, count(*) AS prompts FROM ({_RATES}) GROUP BY ALL ORDER BY prompts DESC", asked
    )
    if not found:
        return
    large = list(dict.fromkeys(row["source"] for row in found))[:9]
    bars = [row if row["source"] in large else row | {"source": "(others)"} for row in found]
    chart = (
        chart_of(bars)
        .mark_bar()
        .encode(
            x=alt.X(
                "bin:N",
                sort=list(_BINS),
                title="share of a prompt's replies that are right",
                axis=alt.Axis(labelAngle=0),
                scale=alt.Scale(domain=list(_BINS)),
            ),
            y=alt.Y("sum(prompts):Q", title="prompts"),
            color=alt.Color("source:N", legend=alt.Legend(orient="right", labelLimit=240)),
            tooltip=["bin:N", "source:N", alt.Tooltip("sum(prompts):Q", title="prompts", format=",")],
        )
    )
    picked = view.chart(
        chart,
        key="rates",
        title=f"Solve rates of {stage}",
        n=sum(r["prompts"] for r in found),
        of="prompts",
        fields=("bin", "source"),
        note="over all policies" if policy is None else policy,
    )
    if picked:
        _prompts(view, stage, policy, source, picked["bin"], picked["source"])


def _prompts(view: View, stage: str, policy: str | None, source: str | None, chosen: str, of: str) -> None:
    known = None if of == "(others)" else of
    rows = view.rows(
        f"SELECT * FROM ({_RATES}) WHERE {_BIN} = ? AND coalesce(source = ?, true) ORDER BY prompt_id LIMIT {_PROMPTS}",
        [stage, policy, source, chosen, known],
    )
    st.caption(f"{len(rows):,} prompts with solve rate {chosen} of {plain(of)}, at most {_PROMPTS}")
    table = [
        {
            "prompt": row["prompt_id"][:12],
            "source": row["source"],
            "right": row["correct"],
            "replies": row["replies"],
            "rows": view.link("rows", stage=stage, policy=policy, prompt=row["prompt_id"]),
        }
        for row in rows
    ]
    st.dataframe(table, hide_index=True, column_config={"rows": columns.link()})
