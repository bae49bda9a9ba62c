"""Trainings over their optimizer steps, several laid over each other."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import altair as alt
import streamlit as st

from dashboards.explore import columns, filters
from dashboards.explore.view import Row, View, selection, specified
from warehouse.membership import trainings

# Numbers that are drawn where nobody has chosen any; the first trainings of as many as there are; points of a line.
_SHOWN = ("eval/pass@1", "eval/cons@", "rollout/length", "rollout/reflections", "rollout/reward", "train/loss")
_TRAININGS, _CHARTS, _POINTS = 4, 12, 300
# What a chosen point is told by.
_PICKED = ("run_id", "step")
# As the format `~s` writes it, but for an axis of one step alone, on which that is not a number.
_STEPS = "format(datum.value, '~s')"
# What was logged needs no view: `curves` works out numbers from every rollout and every evaluated reply.
_LOGGED = (
    "(SELECT run_id, name, step, value, NULL::BIGINT AS n, NULL::VARCHAR AS source, 'metrics' AS origin FROM metrics)"
)
_SAMPLED = """SELECT (SELECT count(*) FROM rollouts) + (SELECT count(*) FROM trajectories WHERE stage = 'eval')"""
_KNOWN = """
SELECT run_id, name, origin, count(*) AS points, min(step) AS first, max(step) AS last
FROM {of} GROUP BY ALL ORDER BY ALL
"""
# Of several sources and settings the mean, weighted by prompts. Steps that are too many for a line are put together.
_LINES = """
WITH told AS MATERIALIZED (
    SELECT run_id, name, step, {part} AS part,
        sum(value * coalesce(n, 1)) / sum(coalesce(n, 1)) AS value, sum(n)::BIGINT AS n
    FROM {of} WHERE list_contains($1, run_id) AND list_contains($2, name) GROUP BY run_id, name, step, {part}
), spans AS (
    SELECT run_id, name, part, min(step) AS low,
        CASE WHEN count(*) > $3 THEN ceil((max(step) - min(step) + 1) / $3) ELSE 1 END::BIGINT AS width
    FROM told GROUP BY ALL
)
SELECT run_id, name, part, min(step) AS step, avg(value)::DOUBLE AS value, min(value)::DOUBLE AS low_value,
    max(value)::DOUBLE AS high_value, sum(n)::BIGINT AS n, any_value(width) AS width
FROM told JOIN spans USING (run_id, name, part)
GROUP BY run_id, name, part, (step - low) // width
ORDER BY run_id, name, part, step
"""


def page(view: View) -> None:
    """A chart for each number that is chosen, with a line for each training."""
    st.header("Training curves")
    known = view.rows(_KNOWN.format(of="curves" if view.scalar(_SAMPLED) else _LOGGED))
    if not known:
        filters.nothing(view, "Nothing was trained or evaluated yet.", "trainers sft --help")
        return
    recipes = {
        r["run_id"]: r["recipe"] for r in view.rows("SELECT run_id, recipe FROM runs_current ORDER BY started_at")
    }
    # The longest trainings first: an evaluation of weights whose training nobody knows is a point of its own.
    spans: dict[str, int] = {}
    for row in known:
        spans[row["run_id"]] = max(spans.get(row["run_id"], 0), row["last"] - row["first"])
    runs = sorted(spans, key=lambda run: (-spans[run], run))
    names = list(dict.fromkeys(row["name"] for row in sorted(known, key=_place)))
    left, right, switch = st.columns([3, 4, 1], vertical_alignment="bottom")
    trained = {t["key"]: t["name"] for t in trainings(view.path) if isinstance(t.get("name"), str) and "key" in t}
    label = _labels(runs, recipes | trained)
    chosen = left.multiselect(
        "Trainings",
        runs,
        default=runs[:_TRAININGS],
        key="curves_run",
        bind="query-params",
        format_func=lambda r: label.get(r, r),
    )
    numbers = right.multiselect("Numbers", names, default=_first(names), key="curves_name", bind="query-params")
    parts = switch.toggle("by source", key="curves_by_source", bind="query-params")
    if not chosen or not numbers:
        st.info("Choose a training and a number.")
        return
    worked_out = {row["name"] for row in known if row["origin"] == "rows"}
    part = "coalesce(source, '')" if parts else "''"
    found: list[Row] = []
    for of, of_these in (("curves", worked_out), (_LOGGED, set(names) - worked_out)):
        if wanted := [name for name in numbers[:_CHARTS] if name in of_these]:
            found += view.rows(_LINES.format(of=of, part=part), [chosen, wanted, _POINTS], most=20_000)
    if len(numbers) > _CHARTS:
        st.caption(f"the first {_CHARTS} of {len(numbers)} numbers")
    places = st.columns(2)
    for at, name in enumerate(numbers[:_CHARTS]):
        with places[at % 2]:
            _chart(view, name, [row | {"training": label[row["run_id"]]} for row in found if row["name"] == name])
    with st.expander("as a table"):
        config = columns.numbers("n")
        st.dataframe(
            [{k: v for k, v in row.items() if k != "width"} for row in found], hide_index=True, column_config=config
        )


def _place(row: Row) -> tuple[int, str]:
    name = row["name"]
    return next((at for at, start in enumerate(_SHOWN) if name.startswith(start)), len(_SHOWN)), name


def _first(names: Sequence[str]) -> list[str]:
    """The numbers that most want to see; where there is none of them, the first few."""
    return [name for name in names if name.startswith(_SHOWN)][:8] or list(names[:4])


def _labels(runs: Sequence[str], names: dict[str, str]) -> dict[str, str]:
    """By name where it is known: of a recipe, or of a checkpoint in the warehouse."""
    return {run: f"{names[run]} {run[:12]}" if run in names else run[:40] for run in runs}


def _chart(view: View, name: str, points: list[Row]) -> None:
    if not points:
        st.caption(f"none of these trainings has {name}".replace("_", r"\_"))
        return
    share = all(0 <= row["value"] <= 1 for row in points) and not name.startswith("train/")
    values = [
        {k: row[k] for k in ("training", "run_id", "part", "step", "value", "low_value", "high_value", "n")}
        for row in points
    ]
    width = max(row["width"] for row in points)
    total = sum(row["n"] or 0 for row in points)
    n = f"{total:,} {_counted(name)}" if total else f"{len(points):,} points, as logged"
    if width > 1:
        n += f" · means and ranges of up to {width:,} steps"
    spec = _spec(_unit(name), share, len(values) > 100, width > 1)
    picked = view.draw(spec, values, key=f"curve {name}", title=name, n=n, fields=_PICKED)
    if picked:
        # An evaluation has a run of its own; what a training sampled has the training's.
        stage = "eval" if name.startswith("eval/") else "rl_rollout"
        for policy in _policies(view, stage, picked["run_id"], picked["step"]):
            view.lead(f"rows: {policy}", "rows", stage=stage, policy=policy)


@lru_cache(maxsize=100)
def _spec(unit: str, share: bool, dense: bool, band: bool) -> dict[str, Any]:
    """Lines with points over steps: of shares or other numbers, of many points or few, with ranges or without."""
    base = alt.Chart(alt.NamedData("rows")).encode(
        x=alt.X("step:Q", title="optimizer step", axis=alt.Axis(tickMinStep=1, labelExpr=_STEPS)),
        color=alt.Color(
            "training:N", title=None, legend=alt.Legend(orient="bottom", labelLimit=400, columns=1, symbolOpacity=1)
        ),
        detail="part:N",
    )
    y = alt.Y("value:Q", title=unit, scale=alt.Scale(zero=False), axis=alt.Axis(format=".3~%" if share else ".3~r"))
    tips = [
        "training:N",
        alt.Tooltip("part:N", title="source"),
        "step:Q",
        alt.Tooltip("value:Q", format=".4~r"),
        alt.Tooltip("n:Q", format=","),
    ]
    chart: Any = alt.layer(
        base.mark_line(strokeWidth=1.5 if dense else 2.5).encode(y=y),
        base.mark_point(filled=True, size=18 if dense else 60, opacity=0.4 if dense else 1).encode(y=y, tooltip=tips),
    )
    if band:
        ranges = base.mark_area(opacity=0.2).encode(y=alt.Y("low_value:Q", title=unit), y2="high_value:Q")
        chart = alt.layer(ranges, chart)
    return specified(chart.add_params(selection(_PICKED)), height=200)


def _policies(view: View, stage: str, run: str, step: int) -> list[str]:
    """The policies whose replies a point is made of; of a logged number those of the training's step, if it sampled."""
    if stage == "rl_rollout":
        sql = """SELECT DISTINCT policy FROM trajectories JOIN (
            SELECT trajectory_id, attempt FROM rollouts WHERE run_id = ? AND step = ?
        ) USING (trajectory_id, attempt) ORDER BY 1 LIMIT 5"""
    else:
        sql = """SELECT DISTINCT t.policy FROM (SELECT DISTINCT policy, run_id FROM trajectories WHERE stage = 'eval') t
            LEFT JOIN runs_current r USING (run_id)
            WHERE (r.config ->> '$.training.key' = ? AND TRY_CAST(r.config ->> '$.training.step' AS BIGINT) = ?)
                OR t.policy = ? ORDER BY 1 LIMIT 5"""
    return [row["policy"] for row in view.rows(sql, [run, step] if stage == "rl_rollout" else [run, step, run])]


def _unit(name: str) -> str:
    last = name.rpartition("/")[2]
    if name in ("rollout/length", "eval/length"):
        return "tokens"
    return "reflective words" if last == "reflections" else last


def _counted(name: str) -> str:
    if name.startswith("eval/"):
        return "prompts, over all points"
    return "groups" if name.endswith("without_spread") else "replies"
