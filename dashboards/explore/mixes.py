"""What a snapshot's mix is made of, by rows and by tokens."""

import altair as alt
import streamlit as st

from dashboards.explore import columns, filters
from dashboards.explore.querying import ask_files
from dashboards.explore.view import Row, View, chart_of
from warehouse.snapshot import Snapshot, list_snapshots

_DIMENSIONS = ("source", "domain", "language", "stage", "policy", "license", "label", "split")
_LARGEST = 20


def page(view: View) -> None:
    """Shares of one dimension, each row as often as its weight says, and what the mix's rules left out."""
    st.header("Mixes")
    snapshots = {s.manifest.id: s for s in reversed(list_snapshots(view.path))}
    if not snapshots:
        filters.nothing(view, "No snapshots yet.", f"dataengine snapshot create MIX {view.option}")
        return
    one, two, three, _ = st.columns(4)
    snapshot = snapshots[filters.one_of(one, "mixes_snapshot", "Snapshot", list(snapshots))]
    kept = set(_ask(view, snapshot, "SELECT * FROM rows LIMIT 0")[0])
    known = [name for name in _DIMENSIONS if name in kept]
    by = filters.one_of(two, "mixes_by", "By", known)
    splits = [row["split"] for row in _ask(view, snapshot, "SELECT DISTINCT split FROM rows ORDER BY 1")[1]]
    split = filters.any_of(three, "mixes_split", "Split", splits)
    _numbers(snapshot)
    _composition(view, snapshot, by, split, "completion_tokens" in kept)
    _left_out(view, snapshot)


def _ask(view: View, snapshot: Snapshot, sql: str) -> tuple[tuple[str, ...], list[Row]]:
    files = tuple(map(str, snapshot.data_files()))
    found = ask_files(str(view.path), files, snapshot.manifest.logical_hash, sql, 5000)
    return found.names, found.dicts()


def _numbers(snapshot: Snapshot) -> None:
    manifest = snapshot.manifest
    told = {"rows": manifest.rows, "prompts": manifest.prompts, **manifest.counts.get("split", {})}
    for place, (name, count) in zip(st.columns(6), list(told.items())[:6], strict=False):
        place.metric(name, f"{count:,}")


def _composition(view: View, snapshot: Snapshot, by: str, split: str | None, counted: bool) -> None:
    tokens = "sum(weight * completion_tokens)" if counted else "NULL"
    where = f"WHERE split = '{split}'" if split in ("train", "validation", "test") else ""
    found = _ask(
        view,
        snapshot,
        f"""SELECT coalesce({by}::VARCHAR, '(none)') AS "group", count(*) AS rows, count(DISTINCT prompt_id) AS prompts,
            sum(weight)::DOUBLE AS weighted, avg(weight)::DOUBLE AS epochs, {tokens}::DOUBLE AS tokens
        FROM rows {where} GROUP BY 1 ORDER BY weighted DESC, 1""",
    )[1]
    measures = {"rows": "rows", "rows times weight": "weighted", "tokens times weight": "tokens"}
    totals = {name: sum(row[column] or 0 for row in found) for name, column in measures.items()}
    order = [row["group"] for row in found[:_LARGEST]]
    bars = [
        {"group": row["group"], "measure": name, "share": row[column] / totals[name], "amount": row[column]}
        for row in found[:_LARGEST]
        for name, column in measures.items()
        if totals[name] and row[column] is not None
    ]
    chart = (
        chart_of(bars)
        .mark_bar()
        .encode(
            x=alt.X("share:Q", title="share of the mix", axis=alt.Axis(format=".0%")),
            y=alt.Y("group:N", sort=order, title=by, axis=alt.Axis(labelLimit=260, labelOverlap=False)),
            yOffset=alt.YOffset("measure:N", sort=list(measures)),
            color=alt.Color(
                "measure:N",
                title=None,
                sort=list(measures),
                legend=alt.Legend(orient="top"),
                scale=alt.Scale(domain=list(measures), range=["#8d99ae", "#4c8bf5", "#2a9d8f"]),
            ),
            tooltip=[
                "group:N",
                "measure:N",
                alt.Tooltip("share:Q", format=".1%"),
                alt.Tooltip("amount:Q", format=",.0f"),
            ],
        )
    )
    note = f"{totals['tokens times weight']:,.0f} tokens of replies with weights" if counted else "rows have no tokens"
    if len(found) > _LARGEST:
        note += f"; the {_LARGEST} largest of {len(found)}"
    picked = view.chart(
        chart,
        key="composition",
        title=f"{snapshot.manifest.id} by {by}",
        n=totals["rows"],
        of="rows",
        note=note,
        fields=("group",),
        height=44 * len(order),
    )
    leads = by in ("source", "domain", "language", "stage", "policy")
    if picked and leads and picked["group"] != "(none)":
        # The rows that the mix chose from: who was taken is told on each trajectory's page.
        view.lead(f"kept rows: {picked['group']}", "rows", **{by: picked["group"], "kept": "kept"})
    view.lead(
        f"{snapshot.manifest.id} and what changed since the one before", "snapshots", snapshot=snapshot.manifest.id
    )
    table = [
        {
            by: row["group"],
            **{k: row[k] for k in ("rows", "prompts", "epochs", "tokens")},
            "share of rows": row["weighted"] / (totals["rows times weight"] or 1),
            "share of tokens": (row["tokens"] or 0) / totals["tokens times weight"]
            if totals["tokens times weight"]
            else None,
            **(
                {"open": view.link("rows", **{by: row["group"], "kept": "kept"})}
                if leads and row["group"] != "(none)"
                else {}
            ),
        }
        for row in found
    ]
    config = {"open": columns.link(), "epochs": st.column_config.NumberColumn(format="%.2f")}
    config |= {"tokens": st.column_config.NumberColumn(format="%,.0f"), **columns.numbers("rows", "prompts")}
    st.dataframe(table, hide_index=True, column_config=config | columns.shares("share of rows", "share of tokens"))


def _left_out(view: View, snapshot: Snapshot) -> None:
    dropped = [{"rule": rule, "rows": n} for rule, n in snapshot.manifest.counts.get("dropped", {}).items() if n]
    if not dropped:
        return
    chart = (
        chart_of(dropped)
        .mark_bar()
        .encode(
            x=alt.X("rows:Q", title="rows"),
            y=alt.Y("rule:N", sort="-x", title=None, axis=alt.Axis(labelLimit=260, labelOverlap=False)),
            tooltip=["rule:N", alt.Tooltip("rows:Q", format=",")],
        )
    )
    view.chart(
        chart,
        key="dropped",
        title=f"What {snapshot.manifest.id} left out",
        n=sum(int(str(d["rows"])) for d in dropped),
        of="rows that met the conditions",
        height=28 * len(dropped),
    )
