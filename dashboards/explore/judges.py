"""Judges beside the prompts' rules: who passed what, Cohen's kappa, and the replies on which they disagree."""

from functools import lru_cache
from typing import Any

import altair as alt
import streamlit as st

from dashboards.explore import columns, filters
from dashboards.explore.view import Row, View, plain, selection, specified

_SHOWN = 100
_PICKED = ("cell",)
_DISAGREE = """
SELECT j.trajectory_id, p.source, t.policy, j.outcome AS judge_says, r.outcome AS rule_says, j.score, j.reason,
    left(p.messages[-1].content, 200) AS question
FROM verdicts_current j
JOIN verdicts_current r ON r.trajectory_id = j.trajectory_id AND r.kind = 'verifier'
JOIN trajectories_current t ON t.trajectory_id = j.trajectory_id
JOIN prompts_current p ON p.prompt_id = t.prompt_id
WHERE j."check" = ? AND j.version = ? AND t.stage = ? AND j.kind = 'judge' AND j.outcome = ? AND r.outcome = ?
ORDER BY j.trajectory_id LIMIT ?
"""
# Judge and rule, by the columns of judge_agreement.
_CELLS = {
    "both_pass": ("pass", "pass"),
    "judge_only": ("pass", "fail"),
    "rule_only": ("fail", "pass"),
    "both_fail": ("fail", "fail"),
}


def page(view: View) -> None:
    """Kappa of every judge, and of the chosen one what it and the rule say of the same replies."""
    st.header("Judge against rule")
    found = view.rows("SELECT * FROM judge_agreement")
    if not found:
        filters.nothing(view, "No judge has said anything yet: name one under `judge` in a recipe.")
        return
    _kappas(view, found)
    named = {f"{row['judge']} · {row['version']} · {row['stage']}": row for row in found}
    judge = filters.one_of(st.columns(2)[0], "judges_judge", "Judge · version · stage", list(named))
    _confusion(view, named[judge])


def _kappas(view: View, found: list[Row]) -> None:
    gold = view.rows("SELECT judge, version, gold, kappa, low, high, n FROM calibrations ORDER BY judge, version, gold")
    points = [
        {"judge": f"{row['judge']} · {row['stage']}", "kappa": row["kappa"], "beside": "rule", "n": row["n"]}
        for row in found
    ] + [
        {
            "judge": f"{row['judge']} · {row['gold']}",
            "beside": "gold",
            **{k: row[k] for k in ("kappa", "low", "high", "n")},
        }
        for row in gold
    ]
    if shown := [point for point in points if point["kappa"] is not None]:
        n = sum(row["n"] for row in found)
        view.draw(
            _points(34 * len(shown)),
            [{"low": None, "high": None, **point} for point in shown],
            key="kappas",
            title="Agreement of judges",
            n=f"{n:,} replies that a judge and a rule decided · lines: 95 % interval of the calibration",
        )
    table = [row | {"rows": view.link("rows", stage=row["stage"], check=row["judge"])} for row in found]
    config = {"rows": columns.link(), "kappa": st.column_config.NumberColumn(format="%.3f")}
    counts = columns.numbers("judged", "undecided", "n", *_CELLS)
    st.dataframe(table, hide_index=True, column_config=config | counts | columns.shares("agreement"))


@lru_cache(maxsize=50)
def _points(height: int) -> dict[str, Any]:
    """A kappa for each judge, with its interval where it has one."""
    base = alt.Chart(alt.NamedData("rows")).encode(
        y=alt.Y("judge:N", title=None, axis=alt.Axis(labelLimit=300, labelOverlap=False)),
        color=alt.Color(
            "beside:N",
            title="beside",
            legend=alt.Legend(orient="top"),
            scale=alt.Scale(domain=["rule", "gold"], range=["#4c8bf5", "#e0a100"]),
        ),
        tooltip=[
            "judge:N",
            "beside:N",
            alt.Tooltip("kappa:Q", format=".3f"),
            alt.Tooltip("low:Q", format=".3f"),
            alt.Tooltip("high:Q", format=".3f"),
            alt.Tooltip("n:Q", format=","),
        ],
    )
    # From zero, or from below where a judge is worse than chance.
    kappa = alt.X("kappa:Q", title="Cohen's kappa", scale=alt.Scale(zero=True, domainMax=1))
    bands = base.mark_rule(strokeWidth=2).encode(x=alt.X("low:Q"), x2="high:Q").transform_filter("isValid(datum.low)")
    return specified(bands + base.mark_point(filled=True, size=110).encode(x=kappa), height)


@lru_cache(maxsize=1)
def _parts() -> dict[str, Any]:
    """What judge and rule say of the same replies, as four parts with their numbers."""
    base = alt.Chart(alt.NamedData("rows")).encode(
        x=alt.X("rule:N", sort=["rule: pass", "rule: fail"], title=None, axis=alt.Axis(labelAngle=0, orient="top")),
        y=alt.Y("judge:N", sort=["judge: pass", "judge: fail"], title=None),
        tooltip=["judge:N", "rule:N", alt.Tooltip("n:Q", format=","), alt.Tooltip("share:Q", format=".1%")],
    )
    boxes = base.mark_rect(cornerRadius=4, stroke="white", strokeWidth=2).encode(
        color=alt.Color("agree:N", legend=None, scale=alt.Scale(domain=[True, False], range=["#2a9d8f", "#e76f51"])),
        opacity=alt.Opacity("share:Q", legend=None, scale=alt.Scale(domain=[0, 1], range=[0.8, 1])),
    )
    words = base.mark_text(fontSize=17, fontWeight="bold", color="white", dy=-8).encode(
        text=alt.Text("n:Q", format=",")
    )
    shares = base.mark_text(fontSize=12, color="white", dy=12).encode(text=alt.Text("share:Q", format=".1%"))
    return specified((boxes + words + shares).add_params(selection(_PICKED)), 240)


def _confusion(view: View, row: Row) -> None:
    if not row["n"]:
        st.info("This judge and a rule have decided no reply both.")
        return
    cells = [
        {
            "cell": cell,
            "judge": f"judge: {judge}",
            "rule": f"rule: {rule}",
            "n": row[cell],
            "share": row[cell] / row["n"],
            "agree": judge == rule,
        }
        for cell, (judge, rule) in _CELLS.items()
    ]
    left, right = st.columns([3, 2], vertical_alignment="center")
    kappa = "none" if row["kappa"] is None else f"{row['kappa']:.3f}"
    with left:
        picked = view.draw(
            _parts(),
            cells,
            key="confusion",
            title=f"{row['judge']} and the rules on {row['stage']}",
            n=f"{row['n']:,} replies that both decided · kappa {kappa}; choose a part",
            fields=_PICKED,
        )
    with right:
        st.metric("Cohen's kappa", kappa)
        st.metric("agreement", f"{row['agreement']:.1%}")
        st.metric("the judge could not decide", f"{row['undecided']:,} of {row['judged']:,}")
    _replies(view, row, picked["cell"] if picked else "judge_only")


def _replies(view: View, row: Row, cell: str) -> None:
    judge, rule = _CELLS[cell]
    asked = [row["judge"], row["version"], row["stage"], judge, rule, _SHOWN]
    found = view.rows(_DISAGREE, asked)
    st.caption(f"judge: {judge}, rule: {rule}: {len(found):,} of {row[cell]:,} replies")
    view.lead(f"rows: {row['judge']} says {judge}", "rows", stage=row["stage"], check=row["judge"], outcome=judge)
    if not found:
        return
    table = [
        {
            "trajectory": view.link("trajectory", id=each["trajectory_id"]),
            **{k: each[k] for k in ("question", "source", "policy", "score", "reason")},
        }
        for each in found
    ]
    st.dataframe(table, hide_index=True, column_config={"trajectory": columns.link()})
    st.caption(
        plain("a judge that passes what a rule fails may have met an answer in a form that the rule cannot read")
    )
