"""How long replies are, in tokens: right, wrong and truncated ones, and what was given for them."""

import altair as alt
import streamlit as st

from dashboards.explore import filters
from dashboards.explore.colours import by_told
from dashboards.explore.view import View, chart_of

_BINS, _POINTS = 40, 2000
_TOLD = """CASE WHEN finish_reason = 'length' THEN 'truncated' WHEN correct THEN 'right' WHEN NOT correct THEN 'wrong'
    ELSE 'not told' END"""
_WHERE = """stage = ? AND error IS NULL AND completion_tokens IS NOT NULL
    AND coalesce(policy = ?, true) AND coalesce(source = ?, true)"""


def page(view: View) -> None:
    """Counts of all replies by length; what they earned against length, of as many as can be drawn."""
    st.header("Length")
    stages = filters.stages(view)
    if not stages:
        return
    one, two, three, four = st.columns(4)
    stage = filters.one_of(one, "lengths_stage", "Stage", stages)
    policy = filters.any_of(two, "lengths_policy", "Policy", filters.policies(view, stage))
    source = filters.any_of(three, "lengths_source", "Source", filters.sources(view))
    asked = [stage, policy, source]
    n = _histogram(view, asked)
    if not n:
        st.info("No replies of this stage, policy and source have a length in tokens.")
        return
    scores = ["reward", *_scored(view, stage)]
    against = filters.one_of(
        four, "lengths_against", "Against", scores, "reward" if stage == "rl_rollout" else scores[-1]
    )
    _points(view, asked, against, n)


def _scored(view: View, stage: str) -> list[str]:
    """Checks that gave replies of the stage a score, found in a sample: to read every verdict for a menu takes long."""
    sql = """SELECT DISTINCT "check" FROM verdicts WHERE score IS NOT NULL AND trajectory_id IN (
        SELECT trajectory_id FROM trajectories WHERE stage = ? AND error IS NULL ORDER BY trajectory_id LIMIT 200)
        ORDER BY 1"""
    return [row["check"] for row in view.rows(sql, [stage])]


def _histogram(view: View, asked: list[str | None]) -> int:
    # Bins of equal width on a logarithmic scale: lengths differ by factors.
    found = view.rows(
        f"""WITH replies AS (
            SELECT completion_tokens AS tokens, {_TOLD} AS told FROM trajectory_facts WHERE {_WHERE}
        ), ends AS (SELECT ln(greatest(min(tokens), 1)) AS low, ln(max(tokens) + 1) AS high FROM replies)
        SELECT least(floor((ln(greatest(tokens, 1)) - low) / greatest(high - low, 1e-9) * {_BINS}), {_BINS} - 1) AS bin,
            any_value(exp(low + bin * (high - low) / {_BINS})) AS "from",
            any_value(exp(low + (bin + 1) * (high - low) / {_BINS})) AS "to", told, count(*) AS replies
        FROM replies, ends GROUP BY bin, told ORDER BY bin, told""",
        asked,
    )
    n: int = sum(row["replies"] for row in found)
    if not n:
        return 0
    cut = sum(row["replies"] for row in found if row["told"] == "truncated")
    chart = (
        chart_of(found)
        .mark_bar()
        .encode(
            x=alt.X(
                "from:Q",
                bin="binned",
                title="length of the reply (tokens, logarithmic)",
                scale=alt.Scale(type="log", nice=False),
                axis=alt.Axis(format="~s", tickCount=10),
            ),
            x2="to:Q",
            y=alt.Y("replies:Q", title="replies"),
            color=by_told(),
            tooltip=[
                alt.Tooltip("from:Q", format=",.0f"),
                alt.Tooltip("to:Q", format=",.0f"),
                "told:N",
                alt.Tooltip("replies:Q", format=","),
            ],
        )
    )
    picked = view.chart(
        chart,
        key="lengths",
        title=f"Length of replies of {asked[0]}",
        n=n,
        of="replies",
        note=f"{cut:,} truncated ({cut / n:.1%})",
        fields=("told",),
    )
    if picked:
        _lead(view, asked, picked["told"])
    return n


def _points(view: View, asked: list[str | None], against: str, n: int) -> None:
    # Ids are hashes: the first by id are a sample drawn at random, and the same one each time.
    if against == "reward":
        score, joined, parameters = "r.reward", "JOIN rollouts r USING (trajectory_id, attempt)", [*asked]
    else:
        score = "v.score"
        joined = 'JOIN verdicts_current v ON v.trajectory_id = f.trajectory_id AND v."check" = ?'
        parameters = [against, *asked]
    sampled = f"""SELECT f.trajectory_id AS id, f.completion_tokens AS tokens, {score} AS score, {_TOLD} AS told,
            f.source
        FROM trajectory_facts f {joined} WHERE {_WHERE.replace("policy", "f.policy")} AND {score} IS NOT NULL
        ORDER BY f.trajectory_id LIMIT {_POINTS}"""
    found = view.rows(sampled, parameters)
    if not found:
        st.info(f"No reply of this stage, policy and source has a {against}.".replace("_", r"\_"))
        return
    named = against if against == "reward" else f"score of {against}"
    chart = (
        chart_of(found)
        .mark_point(filled=True, opacity=0.55, size=45)
        .encode(
            x=alt.X(
                "tokens:Q",
                title="length of the reply (tokens, logarithmic)",
                scale=alt.Scale(type="log", nice=False, padding=12),
                axis=alt.Axis(format="~s", tickCount=10),
            ),
            y=alt.Y("score:Q", title=named),
            color=by_told(),
            shape=alt.Shape(
                "told:N",
                legend=None,
                scale=alt.Scale(
                    domain=["right", "wrong", "not told", "truncated"], range=["circle", "circle", "square", "cross"]
                ),
            ),
            tooltip=[
                "id:N",
                "source:N",
                "told:N",
                alt.Tooltip("tokens:Q", format=","),
                alt.Tooltip("score:Q", format=".3f"),
            ],
        )
    )
    whole = "all that have one" if len(found) < _POINTS else f"a random {_POINTS:,} of {n:,} replies"
    picked = view.chart(
        chart,
        key="scores",
        title=f"{named.capitalize()} against length, {asked[0]}",
        n=len(found),
        of="replies shown",
        note=f"{whole}; crosses are truncated",
        fields=("id",),
        height=360,
    )
    if picked:
        view.lead(f"trajectory {picked['id'][:12]}", "trajectory", id=picked["id"])


def _lead(view: View, asked: list[str | None], told: str) -> None:
    """To the replies of a colour; right and wrong is what each of the verifiers says."""
    query = dict(zip(("stage", "policy", "source"), asked, strict=True))
    outcome = {"right": "pass", "wrong": "fail"}.get(told)
    if outcome is None:
        view.lead(f"rows: {asked[0]}, {told}", "rows", **query, truncated="yes" if told == "truncated" else "no")
        return
    sql = """SELECT DISTINCT "check" FROM verdicts WHERE kind = 'verifier' ORDER BY 1 LIMIT 8"""
    for row in view.rows(sql):
        view.lead(f"rows: {asked[0]}, {row['check']} says {told}", "rows", **query, check=row["check"], outcome=outcome)
