"""Charts of the pages of leads: readable in light and dark, with titles of axes and units."""

from collections.abc import Iterable, Sequence
from datetime import date
from typing import Any

import altair as alt

# Colours of marks that carry their own text, or that mean something; all others are the theme's.
_PALE, _DEEP, _NONE, _DARK = "#dbe9f6", "#0b5394", "#8a9099", "#202020"
_STATES = {"done": "#2a9d6f", "in hands": "#e9a23b", "begun": "#6fa8dc", "open": "#9aa0a6"}
_RULE = "#d1495b"
#: A kappa of fewer items is drawn faintly.
FEW = 5
# Pixels of a line.
_ROW = 20


def queue_bars(rows: Sequence[dict[str, Any]]) -> alt.Chart:
    """Of each queue how many items are in which state; rows: queue, state, items."""
    order = list(_STATES)
    bars: alt.Chart = (
        _chart([r | {"place": order.index(r["state"])} for r in rows])
        .mark_bar(size=16)
        .encode(
            x=alt.X("items:Q", title="items", axis=alt.Axis(tickMinStep=1)),
            y=_names("queue", None),
            color=alt.Color(
                "state:N", title=None, scale=alt.Scale(domain=order, range=list(_STATES.values())),
                legend=alt.Legend(orient="bottom"),
            ),
            order=alt.Order("place:Q"),
            tooltip=["queue:N", "state:N", "items:Q"],
        )
    )  # fmt: skip
    return bars


def times(rows: Sequence[dict[str, Any]]) -> alt.LayerChart:
    """The median time of an item of each person, and the middle half; rows: person, seconds, lower, upper, n."""
    base = _chart(rows).encode(y=_names("person", None))
    tooltip = [
        "person:N",
        alt.Tooltip("seconds:Q", title="median, seconds", format=".0f"),
        alt.Tooltip("lower:Q", title="a quarter below", format=".0f"),
        alt.Tooltip("upper:Q", title="a quarter above", format=".0f"),
        alt.Tooltip("n:Q", title="items"),
    ]
    half = base.mark_rule(strokeWidth=4, opacity=0.6, color=_NONE).encode(
        x=alt.X("lower:Q", title="seconds per item"), x2="upper:Q", tooltip=tooltip
    )
    return _layered(
        half, base.mark_point(filled=True, size=80, opacity=1).encode(x=alt.X("seconds:Q"), tooltip=tooltip)
    )


def per_day(rows: Sequence[dict[str, Any]]) -> alt.Chart:
    """Items worked on by day and queue; rows: day (ISO), queue, items."""
    bars: alt.Chart = (
        _chart(rows)
        .mark_bar()
        .encode(
            x=alt.X(
                "day:O", timeUnit="utcyearmonthdate", title="day (UTC)", axis=alt.Axis(format="%d %b", labelAngle=0)
            ),
            y=alt.Y("items:Q", title="items", axis=alt.Axis(tickMinStep=1)),
            color=alt.Color("queue:N", title=None, legend=alt.Legend(orient="bottom", columns=4)),
            tooltip=[alt.Tooltip("day:T", title="day", format="%Y-%m-%d"), "queue:N", "items:Q"],
        )
    )
    return bars


def matrix(rows: Sequence[dict[str, Any]], people: Sequence[str]) -> alt.LayerChart:
    """Kappa of each two people; rows: a, b (either way round), kappa (or none), said, n."""
    tooltip = [
        alt.Tooltip("a:N", title="person"),
        alt.Tooltip("b:N", title="and"),
        alt.Tooltip("n:Q", title="items both judged"),
        alt.Tooltip("same:Q", title="said the same", format=".0%"),
        alt.Tooltip("kappa:Q", title="Cohen's kappa", format=".2f"),
        alt.Tooltip("interval:N", title="95 % interval"),
    ]
    many = len(people) > 8
    base = _chart(rows).encode(
        x=alt.X("a:N", title=None, sort=list(people), axis=alt.Axis(labelAngle=-40 if many else 0)),
        y=_names("b", list(people)),
        tooltip=tooltip,
    )
    cells = base.mark_rect(stroke="transparent", strokeWidth=2)
    text = base.mark_text(fontSize=9 if many else 12).encode(text="label:N")
    known = cells.transform_filter("isValid(datum.kappa)").encode(
        color=alt.Color(
            "kappa:Q", title="kappa", scale=alt.Scale(domain=[0, 1], range=[_PALE, _DEEP], clamp=True),
            legend=alt.Legend(orient="right", gradientLength=120),
        ),
        opacity=alt.condition(f"datum.n < {FEW}", alt.value(0.6), alt.value(1)),
    )  # fmt: skip
    return _layered(
        # Without a kappa a cell is only an outline; it can be chosen all the same.
        cells.transform_filter("!isValid(datum.kappa)").encode(color=alt.value(_NONE), opacity=alt.value(0.25)),
        known,
        text.encode(
            color=alt.condition(
                "!isValid(datum.kappa)",
                alt.value(_NONE),
                alt.value(_DARK),
            )
        ).transform_filter("!(datum.kappa > 0.5)"),
        text.encode(color=alt.value("white")).transform_filter("datum.kappa > 0.5"),
    )


def table(
    rows: Sequence[dict[str, Any]],
    *,
    x: str,
    y: str,
    columns: Sequence[str],
    lines: Sequence[str],
    titles: Sequence[str],
) -> alt.LayerChart:
    """A table of counts as a heat map, shaded by the share of its row; rows have x, y, n."""
    sums: dict[str, int] = {}
    for r in rows:
        sums[r[y]] = sums.get(r[y], 0) + r["n"]
    shaded = [r | {"share": r["n"] / sums[r[y]] if sums[r[y]] else 0} for r in rows]
    base = _chart(shaded).encode(
        x=alt.X(f"{x}:N", title=titles[0], sort=list(columns), axis=alt.Axis(labelAngle=0, orient="top")),
        y=alt.Y(f"{y}:N", title=titles[1], sort=list(lines)),
        tooltip=[
            alt.Tooltip(f"{y}:N", title=titles[1]),
            alt.Tooltip(f"{x}:N", title=titles[0]),
            "n:Q",
            alt.Tooltip("share:Q", title="of its row", format=".0%"),
        ],
    )
    cells = base.mark_rect(stroke="transparent", strokeWidth=2).encode(
        color=alt.Color("share:Q", scale=alt.Scale(domain=[0, 1], range=[_PALE, _DEEP]), legend=None)
    )
    return _layered(
        cells,
        base.mark_text(fontSize=13).encode(
            text=alt.Text("n:Q", format=","),
            color=alt.condition("datum.share > 0.5", alt.value("white"), alt.value(_DARK)),
        ),
    )


def drift(
    rows: Sequence[dict[str, Any]], marks: Sequence[dict[str, Any]], title: str, *, least: float = 0
) -> alt.LayerChart:
    """A figure by week with its interval, and a line where a guideline began; rows: week, value, low, high, n."""
    tooltip = [
        alt.Tooltip("week:T", title="week of", format="%Y-%m-%d"),
        alt.Tooltip("value:Q", title=title, format=".2f"),
        alt.Tooltip("low:Q", title="95 % from", format=".2f"),
        alt.Tooltip("high:Q", title="to", format=".2f"),
        alt.Tooltip("n:Q", title="items"),
    ]
    base = _chart(rows).encode(
        x=alt.X(
            "week:T",
            timeUnit="utcyearmonthdate",
            title="week, by its Monday (UTC)",
            axis=_weeks([r["week"] for r in rows]),
        )
    )
    scale = alt.Scale(domain=[min([least, *(r["low"] for r in rows if r["low"] is not None)]), 1])
    band = base.mark_area(opacity=0.2).encode(y=alt.Y("low:Q", title=title, scale=scale), y2="high:Q")
    line = base.mark_line(point=alt.OverlayMarkDef(filled=True, size=60)).encode(y="value:Q", tooltip=tooltip)
    layers = [band, line]
    if marks:
        told = _chart(marks).encode(x=alt.X("since:T", timeUnit="utcyearmonthdate"))
        layers += [
            told.mark_rule(color=_RULE, strokeDash=[5, 4]).encode(
                tooltip=[
                    alt.Tooltip("version:N", title="guideline"),
                    alt.Tooltip("since:T", title="first used", format="%Y-%m-%d"),
                ]
            ),
            told.mark_text(color=_RULE, align="left", dx=4, dy=-4, baseline="top", fontSize=11).encode(
                y=alt.value(8), text="label:N"
            ),
        ]
    return _layered(*layers)


def shares(rows: Sequence[dict[str, Any]], title: str, *, percent: bool = True) -> alt.LayerChart:
    """A figure with its interval for each name; rows: name, value, low, high, n."""
    form = ".0%" if percent else ".2f"
    tooltip = [
        "name:N",
        alt.Tooltip("value:Q", title=title, format=form),
        alt.Tooltip("low:Q", title="95 % from", format=form),
        alt.Tooltip("high:Q", title="to", format=form),
        alt.Tooltip("n:Q", title="items"),
    ]
    low = min([0.0, *(r["low"] for r in rows if r["low"] is not None)])
    base = _chart(rows).encode(y=_names("name", None))
    bar = base.mark_rule(strokeWidth=3, opacity=0.6, color=_NONE).encode(
        x=alt.X("low:Q", title=title, scale=alt.Scale(domain=[low, 1]), axis=alt.Axis(format=form)),
        x2="high:Q",
        tooltip=tooltip,
    )
    return _layered(bar, base.mark_point(filled=True, size=80, opacity=1).encode(x="value:Q", tooltip=tooltip))


def _chart(rows: Sequence[dict[str, Any]]) -> alt.Chart:
    # As JSON: what is drawn is small, and times are told by their ISO form.
    told = [{k: v.isoformat() if isinstance(v, date) else v for k, v in r.items()} for r in rows]
    return alt.Chart(alt.InlineData(values=told))


def _weeks(weeks: Sequence[date]) -> alt.Axis:
    shown = sorted(set(weeks))
    # A label for each while they have room, then for every second, third, ...
    marks = [alt.DateTime(year=w.year, month=w.month, date=w.day, utc=True) for w in shown[:: len(shown) // 14 + 1]]
    return alt.Axis(format="%d %b %Y" if len(shown) > 40 else "%d %b", values=marks)


def _names(column: str, order: list[str] | None) -> alt.Y:
    """An axis of names: each is told, and a long one is cut."""
    return alt.Y(f"{column}:N", title=None, sort=order, axis=alt.Axis(labelOverlap=False, labelLimit=140))


def _layered(*layers: alt.Chart) -> alt.LayerChart:
    return alt.LayerChart(layer=list(layers))


def height(names: Iterable[Any], *, row: int = _ROW) -> int:
    """The height of a chart's marks with a line of `row` pixels for each name."""
    return max(40, row * len(set(names)))
