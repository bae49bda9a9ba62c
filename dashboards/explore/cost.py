"""What replies cost in tokens, time and money, and what a kept one does."""

from typing import Any

import altair as alt
import streamlit as st

from dashboards.explore import columns, filters
from dashboards.explore.view import Row, View, chart_of
from schemas.recipe import Price

# Every attempt is paid for, the failed and the truncated ones too, but not what was imported.
_SPENT = """
SELECT stage, policy, count(*) AS requests, count(*) FILTER (WHERE error IS NOT NULL) AS failed,
    coalesce(sum(prompt_tokens), 0)::BIGINT AS prompt_tokens,
    coalesce(sum(completion_tokens), 0)::BIGINT AS reply_tokens,
    coalesce(sum(seconds), 0)::DOUBLE AS seconds,
    (epoch(max(created_at) - min(created_at)) + coalesce(max(seconds), 0))::DOUBLE AS span
FROM trajectories WHERE engine <> 'import' AND engine <> 'review' GROUP BY ALL ORDER BY min(created_at), 1, 2
"""
_KEPT = """
SELECT stage, policy, count(*) AS kept, coalesce(sum(completion_tokens), 0)::BIGINT AS kept_tokens
FROM trajectory_facts WHERE kept AND engine <> 'import' AND engine <> 'review' GROUP BY ALL
"""
# What judges said stands in their verdicts; a request that failed left none.
_JUDGED = """
SELECT "check" AS judge, vote.policy AS policy, count(*) AS requests,
    coalesce(sum(vote.prompt_tokens), 0)::BIGINT AS prompt_tokens,
    coalesce(sum(vote.completion_tokens), 0)::BIGINT AS reply_tokens
FROM (
    SELECT "check", unnest(from_json(details -> 'votes',
        '[{"policy": "VARCHAR", "prompt_tokens": "BIGINT", "completion_tokens": "BIGINT"}]')) AS vote
    FROM (
        SELECT "check", details FROM verdicts WHERE kind = 'judge'
        UNION ALL
        SELECT "check", details FROM pair_verdicts
    )
) GROUP BY ALL ORDER BY ALL
"""
_BARS = 30
_PARTS = ("kept replies", "other replies", "prompts")


def page(view: View) -> None:
    """Tokens of each stage and policy, those of judges, and by the prices given what a kept reply costs."""
    st.header("Cost")
    stages = filters.stages(view)
    if not stages:
        return
    price = _price()
    stage = filters.any_of(st.columns(4)[0], "cost_stage", "Stage", stages)
    spent = [row for row in view.rows(_SPENT) if stage in (None, row["stage"])]
    if not spent:
        st.info("Nothing of this was sampled by a run: what is imported costs nothing.")
        return
    kept = {(row["stage"], row["policy"]): row for row in view.rows(_KEPT)}
    lines = [row | _of_kept(row, kept.get((row["stage"], row["policy"])), price) for row in spent]
    _tokens(view, lines)
    _per_kept(view, lines)
    _table(view, lines, price)
    _judges(view, price)


def _price() -> Price:
    one, two, _ = st.columns([1, 1, 2])
    given, said = (
        place.number_input(
            f"USD for a million {what} tokens",
            min_value=0.0,
            value=0.0,
            key=key,
            bind="query-params",
            help="a price that you put in stays in the address",
        )
        for place, what, key in ((one, "prompt", "cost_usd_in"), (two, "reply", "cost_usd_out"))
    )
    return Price(input=given, output=said)


def _of_kept(row: Row, kept: Row | None, price: Price) -> Row:
    n = kept["kept"] if kept else 0
    usd = price.of(row["prompt_tokens"], row["reply_tokens"], 0.0)
    tokens = row["prompt_tokens"] + row["reply_tokens"]
    return {
        "what": f"{row['stage']} · {row['policy']}",
        "kept": n,
        "kept_tokens": kept["kept_tokens"] if kept else 0,
        "tokens_per_kept": tokens / n if n else None,
        "usd": usd,
        "usd_per_kept": usd / n if n else None,
    }


def _tokens(view: View, lines: list[Row]) -> None:
    largest = sorted(lines, key=lambda row: -row["reply_tokens"])[:_BARS]
    bars = [
        {
            "what": row["what"],
            "stage": row["stage"],
            "policy": row["policy"],
            "part": part,
            "tokens": tokens,
            "order": place,
        }
        for row in largest
        for place, (part, tokens) in enumerate(
            zip(
                _PARTS,
                (row["kept_tokens"], row["reply_tokens"] - row["kept_tokens"], row["prompt_tokens"]),
                strict=True,
            )
        )
    ]
    chart = (
        chart_of(bars)
        .mark_bar()
        .encode(
            x=alt.X("tokens:Q", title="tokens", axis=alt.Axis(format="~s")),
            y=alt.Y(
                "what:N",
                sort=[row["what"] for row in largest],
                title=None,
                axis=alt.Axis(labelLimit=300, labelOverlap=False),
            ),
            color=alt.Color(
                "part:N",
                title=None,
                legend=alt.Legend(orient="top"),
                scale=alt.Scale(domain=list(_PARTS), range=["#2a9d8f", "#e76f51", "#8d99ae"]),
            ),
            order="order:Q",
            tooltip=["stage:N", "policy:N", "part:N", alt.Tooltip("tokens:Q", format=",")],
        )
    )
    note = "all attempts, the failed and truncated ones too"
    if len(lines) > _BARS:
        note += f"; the {_BARS} largest of {len(lines)}"
    picked = view.chart(
        chart,
        key="tokens",
        title="Tokens by stage and policy",
        n=sum(r["requests"] for r in lines),
        of="requests",
        note=note,
        fields=("stage", "policy", "part"),
        height=26 * len(largest),
    )
    if picked:
        kept = {"kept replies": "kept", "other replies": "not"}.get(picked["part"])
        view.lead(
            f"rows: {picked['stage']}, {picked['policy']}",
            "rows",
            stage=picked["stage"],
            policy=picked["policy"],
            kept=kept,
        )


def _per_kept(view: View, lines: list[Row]) -> None:
    bars = sorted((row for row in lines if row["kept"]), key=lambda row: -row["tokens_per_kept"])[:_BARS]
    shown = [
        {k: row[k] for k in ("what", "stage", "policy", "tokens_per_kept", "kept", "usd_per_kept")} for row in bars
    ]
    if not shown:
        return
    chart = (
        chart_of(shown)
        .mark_bar()
        .encode(
            x=alt.X(
                "tokens_per_kept:Q",
                title="tokens, of prompts and replies, for each kept reply",
                axis=alt.Axis(format="~s"),
            ),
            y=alt.Y("what:N", sort="-x", title=None, axis=alt.Axis(labelLimit=300, labelOverlap=False)),
            tooltip=[
                "stage:N",
                "policy:N",
                alt.Tooltip("tokens_per_kept:Q", format=",.0f"),
                alt.Tooltip("kept:Q", format=","),
                alt.Tooltip("usd_per_kept:Q", format="$.6f"),
            ],
        )
    )
    picked = view.chart(
        chart,
        key="per_kept",
        title="Cost of a kept reply",
        n=sum(r["kept"] for r in lines),
        of="kept replies",
        fields=("stage", "policy"),
        height=24 * len(shown),
    )
    if picked:
        view.lead(f"rows: {picked['stage']}, {picked['policy']}, kept", "rows", **picked, kept="kept")


def _table(view: View, lines: list[Row], price: Price) -> None:
    money = ("usd", "usd_per_kept") if price.input or price.output else ()
    names = ("requests", "failed", "prompt_tokens", "reply_tokens", "kept", "tokens_per_kept")
    table = [
        {k: row[k] for k in ("stage", "policy", *names, *money)}
        | {"tokens_a_second": row["reply_tokens"] / row["span"] if row["span"] else None}
        | {"rows": view.link("rows", stage=row["stage"], policy=row["policy"])}
        for row in lines
    ]
    config: dict[str, Any] = {"rows": columns.link(), **columns.numbers(*names)}
    config |= {name: st.column_config.NumberColumn(format="%,.0f") for name in ("tokens_per_kept", "tokens_a_second")}
    config |= {
        "usd": st.column_config.NumberColumn(format="$%,.4f"),
        "usd_per_kept": st.column_config.NumberColumn(format="$%.6f"),
    }
    st.dataframe(table, hide_index=True, column_config=config)


def _judges(view: View, price: Price) -> None:
    judged = view.rows(_JUDGED)
    if not judged:
        return
    st.subheader("Judges")
    money = bool(price.input or price.output)
    table = [
        row
        | ({"usd": price.of(row["prompt_tokens"], row["reply_tokens"], 0.0)} if money else {})
        | {"rows": view.link("rows", check=row["judge"])}
        for row in judged
    ]
    config = {"rows": columns.link(), "usd": st.column_config.NumberColumn(format="$%,.4f")}
    st.dataframe(
        table, hide_index=True, column_config=config | columns.numbers("requests", "prompt_tokens", "reply_tokens")
    )
