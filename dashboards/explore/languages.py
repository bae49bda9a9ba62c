"""In which languages replies are written, by the language of the prompt."""

import altair as alt
import streamlit as st

from dashboards.explore import columns, filters
from dashboards.explore.colours import by_outcome
from dashboards.explore.view import View, chart_of, plain

_CHECK = "language_mix"
_BY_LANGUAGE = """
SELECT language, outcome, count(*) AS replies, avg(share) AS share
FROM language_mix WHERE stage = ? AND coalesce(policy = ?, true) GROUP BY ALL ORDER BY ALL
"""
_SHARES = """
SELECT language, least(floor(share * 20), 19) / 20 AS "from", count(*) AS replies
FROM language_mix WHERE stage = ? AND coalesce(policy = ?, true) AND share IS NOT NULL GROUP BY ALL ORDER BY ALL
"""
# Which stage is shown at first: some of the verdicts tell, and all of a million take half a second.
_MOST_CHECKED = """
SELECT stage FROM (SELECT trajectory_id, attempt FROM verdicts WHERE "check" = ? LIMIT 10000)
JOIN trajectories USING (trajectory_id, attempt) GROUP BY stage ORDER BY count(*) DESC, stage LIMIT 1
"""
# Replies that have words in another language, not words: one long quotation is one reply.
_OFF = """
SELECT language AS prompted, written, count(*) AS replies, sum(stretches)::BIGINT AS stretches
FROM (
    SELECT language, trajectory_id, s."language" AS written, count(*) AS stretches
    FROM (
        SELECT language, trajectory_id, unnest(spans) AS s FROM language_mix
        WHERE stage = ? AND coalesce(policy = ?, true) AND segments_off > 0
    ) GROUP BY ALL
) GROUP BY ALL ORDER BY ALL
"""


def page(view: View) -> None:
    """Outcomes by language, the languages that slip in, and how much of a reply they are."""
    st.header("Language mix")
    stages = filters.stages(view)
    if not stages:
        return
    one, two, _, _ = st.columns(4)
    most = view.scalar(_MOST_CHECKED, [_CHECK])
    stage = filters.one_of(one, "languages_stage", "Stage", stages, default=most)
    policy = filters.any_of(two, "languages_policy", "Policy", filters.policies(view, stage))
    found = view.rows(_BY_LANGUAGE, [stage, policy])
    if not found:
        st.info(plain(f"The check {_CHECK} has no verdicts on {stage}: name it under `checks` in the recipe."))
        return
    _outcomes(view, stage, policy, found)
    _written(view, stage, policy, found)
    _shares(view, stage, policy)


def _outcomes(view: View, stage: str, policy: str | None, found: list[dict[str, object]]) -> None:
    chart = (
        chart_of(found)
        .mark_bar()
        .encode(
            x=alt.X("replies:Q", title="replies"),
            y=alt.Y("language:N", title="prompt in", sort="-x", axis=alt.Axis(labelOverlap=False)),
            color=by_outcome(),
            tooltip=[
                "language:N",
                "outcome:N",
                alt.Tooltip("replies:Q", format=","),
                alt.Tooltip("share:Q", format=".1%", title="mean share in the prompt's language"),
            ],
        )
    )
    languages = len({row["language"] for row in found})
    picked = view.chart(
        chart,
        key="languages",
        title=f"Replies of {stage} that keep to the prompt's language",
        n=sum(int(str(row["replies"])) for row in found),
        of="replies",
        fields=("language", "outcome"),
        height=32 * languages,
    )
    if picked:
        view.lead(
            f"rows: {picked['language']}, {picked['outcome']}",
            "rows",
            stage=stage,
            policy=policy,
            check=_CHECK,
            **picked,
        )


def _written(view: View, stage: str, policy: str | None, found: list[dict[str, object]]) -> None:
    off = view.rows(_OFF, [stage, policy])
    if not off:
        st.caption("No reply has a stretch in another language.")
        return
    of: dict[object, int] = {}
    for row in found:
        of[row["language"]] = of.get(row["language"], 0) + int(str(row["replies"]))
    cells = [row | {"share": row["replies"] / of[row["prompted"]]} for row in off]
    base = chart_of(cells).encode(
        x=alt.X("written:N", title="language of the stretch", axis=alt.Axis(labelAngle=0)),
        y=alt.Y("prompted:N", title="prompt in"),
        tooltip=[
            "prompted:N",
            "written:N",
            alt.Tooltip("replies:Q", format=","),
            alt.Tooltip("share:Q", format=".1%"),
            alt.Tooltip("stretches:Q", format=","),
        ],
    )
    boxes = base.mark_rect().encode(
        color=alt.Color(
            "share:Q",
            title="share of replies",
            scale=alt.Scale(scheme="blues", domainMin=0),
            legend=alt.Legend(format=".0%"),
        )
    )
    dark = alt.datum.share > max(cell["share"] for cell in cells) / 2
    words = base.mark_text().encode(
        text=alt.Text("share:Q", format=".1%"), color=alt.condition(dark, alt.value("white"), alt.value("#123"))
    )
    picked = view.chart(
        boxes + words,
        key="written",
        title="Replies with a stretch in another language",
        n=sum(of.values()),
        of="replies",
        fields=("prompted", "written"),
        note="share of the replies to prompts of a language",
        height=50 * len({cell["prompted"] for cell in cells}),
    )
    if picked:
        view.lead(
            f"rows: prompts in {picked['prompted']} that failed {_CHECK}",
            "rows",
            stage=stage,
            policy=policy,
            check=_CHECK,
            outcome="fail",
            language=picked["prompted"],
        )


def _shares(view: View, stage: str, policy: str | None) -> None:
    found = view.rows(_SHARES, [stage, policy])
    bars = [row | {"to": row["from"] + 0.05} for row in found]
    chart = (
        chart_of(bars)
        .mark_bar()
        .encode(
            x=alt.X(
                "from:Q", bin="binned", title="share of words in the prompt's language", axis=alt.Axis(format=".0%")
            ),
            x2="to:Q",
            y=alt.Y("replies:Q", title="replies"),
            color=alt.Color("language:N", title="prompt in", legend=alt.Legend(orient="top")),
            tooltip=[
                "language:N",
                alt.Tooltip("from:Q", format=".0%"),
                alt.Tooltip("to:Q", format=".0%"),
                alt.Tooltip("replies:Q", format=","),
            ],
        )
    )
    picked = view.chart(
        chart,
        key="shares",
        title=f"How much of a reply is in the prompt's language, {stage}",
        n=sum(row["replies"] for row in found),
        of="replies",
        fields=("language",),
        height=240,
    )
    if picked:
        view.lead(f"rows: prompts in {picked['language']}", "rows", stage=stage, policy=policy, **picked)
    with st.expander("as a table"):
        st.dataframe(bars, hide_index=True, column_config=columns.numbers("replies"))
