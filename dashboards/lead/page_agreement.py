"""Agreement: of all people of a queue, of each two, with oneself, with known answers, and from week to week."""

from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime
from functools import cache
from typing import Any

import streamlit as st

from dashboards.lead import charts, shown
from dashboards.lead.agreeing import Share, Two, by_week, confusion, right, right_by_week, together, two_by_two
from dashboards.lead.agreeing import with_oneself as again_by_person
from dashboards.lead.context import Lead
from dashboards.lead.words import OF_ATTEMPTS, OF_PAIRS, Answered, Guideline, Word, at_gold, guidelines, twice, words

Said = Callable[[], list[Word]]
_WHY = {
    "percent": "the share of pairs of words on one item that are the same, as the mean over items",
    "fleiss": "Fleiss' kappa (1971): agreement beyond chance, of items that as many looked at as the queue asks for",
    "nominal": "Krippendorff's alpha: 1 - observed / expected disagreement; takes whatever number of words an item has",
    "ordinal": "Krippendorff's alpha on the scale a, tie, b: a tie is nearer to either than they are; without flags",
}


def page(lead: Lead) -> None:
    """The page."""
    st.header("Agreement")
    st.caption(
        "Words that stand, of people who did not see each other's: without adjudicators, repeats, and items with known "
        "answers. Intervals are of 2,000 resamples of items."
    )
    if not lead.queues:
        shown.nothing("There is no queue: write one into the warehouse's folder `queues`.")
        return
    queue = shown.pick_queue(lead, "queue", every=False)
    # Asked for when a figure is not known yet.
    said = cache(lambda: words(lead.rows, queue))
    pairs = lead.queues[queue].rows == "pairs"
    _together(lead, queue, said)
    _two_by_two(lead, queue, said, OF_PAIRS if pairs else OF_ATTEMPTS)
    _drift(lead, queue, said)
    left, right_ = st.columns(2)
    with left:
        _with_oneself(lead, queue)
    with right_:
        _gold(lead, queue)
    _gold_by_week(lead, queue)


def _together(lead: Lead, queue: str, said: Said) -> None:
    looks = lead.queues[queue].reviewers
    found = lead.kept("together", "reviews", lambda: together(said(), looks), queue, looks)
    given = {"percent": found.percent, "fleiss": found.fleiss, "nominal": found.nominal}
    titles = {"percent": "Same word", "fleiss": "Fleiss' kappa", "nominal": "Krippendorff's alpha"}
    if found.ordinal is not None:
        given, titles = given | {"ordinal": found.ordinal}, titles | {"ordinal": "alpha, ordinal"}
    for column, (name, figure) in zip(st.columns(len(given)), given.items(), strict=True):
        with column:
            shown.figure(titles[name], figure, why=_WHY[name])
    if looks < 2:
        st.caption("The queue has one person look at each item, so that two only meet where the queue asked for more.")


def _two_by_two(lead: Lead, queue: str, said: Said, labels: Sequence[str]) -> None:
    st.subheader("Each two people")
    found: list[Two] = lead.kept("two", "reviews", lambda: two_by_two(said()), queue)
    if not found:
        shown.nothing("No two people have looked at one item yet.")
        return
    met, cells = sorted({p for t in found for p in (t.a, t.b)}), []
    for two in found:
        kappa = two.kappa.value if two.kappa.items > 1 else None
        cell = {
            "n": two.kappa.items,
            "same": two.percent.value,
            "kappa": kappa,
            "label": "–" if kappa is None else f"{kappa:.2f}",
            "interval": shown.interval(two.kappa),
        }
        cells += [cell | {"a": two.a, "b": two.b}, cell | {"a": two.b, "b": two.a}]
    chosen = lead.view.chart(
        charts.matrix(cells, met), key="matrix", title="Cohen's kappa", n=sum(t.kappa.items for t in found),
        of="items of two people", note=f"–: no value, or one item; faint: under {charts.FEW}; click for the words",
        fields=("a", "b"), height=max(80, 28 * len(met)),
    )  # fmt: skip
    both = (chosen["a"], chosen["b"]) if chosen else None
    counted = lead.kept("words", "reviews", lambda: confusion(said(), both), queue, both)
    rows = [{"one": a, "other": b, "n": counted[a, b]} for a in labels for b in labels]
    if sum(counted.values()) >= 2:
        left, other = st.columns([3, 2])
        with left:
            titles = ("the other said", "one said")
            if both:
                # Names are data: they stand in the chart's axes, which show them as they are.
                titles = (f"{both[1]} said", f"{both[0]} said")
            lead.view.chart(
                charts.table(rows, x="other", y="one", columns=labels, lines=labels, titles=titles), key="confusion",
                title="Which words meet", n=sum(counted.values()), of="meetings of two words",
                note="of these two" if both else "each either way round", height=110,
            )  # fmt: skip
        with other:
            _differ(counted)
    else:
        shown.nothing("These two have judged one item together: which words meet shows from two on.")
    shown.table(
        [
            {
                "a": t.a, "b": t.b, "n": t.kappa.items, "same": shown.percent(t.percent.value), "kappa": t.kappa.value,
                "low": t.kappa.low, "high": t.kappa.high,
            }
            for t in sorted(found, key=_worst_first)
        ],
        {
            "a": shown.text("person"),
            "b": shown.text("and"),
            "n": shown.count("items", "that both judged"),
            "same": shown.share("same word"),
            "kappa": shown.ratio("kappa", "Cohen (1960); empty where both always said one and the same thing"),
            "low": shown.ratio("95 % from"),
            "high": shown.ratio("to"),
        },
        key="two",
    )  # fmt: skip


def _worst_first(two: Two) -> tuple[bool, float, str, str]:
    """Of those that say something the least kappa first."""
    return two.kappa.value is None or two.kappa.items < 2, two.kappa.value or 0.0, two.a, two.b


def _differ(counted: Any) -> None:
    """In what people differ most, in words."""
    pairs: dict[tuple[str, str], int] = {}
    for (a, b), n in counted.items():
        if a != b:
            pairs[min(a, b), max(a, b)] = pairs.get((min(a, b), max(a, b)), 0) + n
    total = sum(counted.values())
    rows = [
        {"one": a, "other": b, "share": shown.percent(n / total)}
        for (a, b), n in sorted(pairs.items(), key=lambda p: -p[1])
    ]
    if not rows:
        st.caption("They never said different things.")
        return
    shown.table(
        rows,
        {
            "one": shown.text("one says"),
            "other": shown.text("the other"),
            "share": shown.bar("of all meetings"),
        },
        key="differ",
    )


def _drift(lead: Lead, queue: str, said: Said) -> None:
    st.subheader("From week to week")
    weeks = lead.kept("weeks", "reviews", lambda: by_week(said()), queue)
    told = [w for w in weeks if w.figure.value is not None and w.figure.items > 1]
    if len(told) < 2:
        shown.nothing("Drift shows when items of two weeks or more were judged by two people each.")
        return
    used: list[Guideline] = lead.kept("guidelines", "reviews", lambda: guidelines(lead.rows, queue), queue)
    marks = [
        {"version": g.version, "label": f"guideline {g.version[:6]}", "since": _midnight(g.since.date())} for g in used
    ]
    rows = [_point(w.week, w.figure.value, w.figure.low, w.figure.high, w.figure.items) for w in told]
    lead.view.chart(
        charts.drift(rows, marks, "Krippendorff's alpha"), key="drift", title="Alpha by week of an item's last word",
        n=sum(w.figure.items for w in told), of="items", note="band: 95 % interval; dashed: a guideline's first use",
    )  # fmt: skip


def _with_oneself(lead: Lead, queue: str) -> None:
    st.subheader("With oneself")
    found: list[Share] = lead.kept("oneself", "reviews", lambda: again_by_person(twice(lead.rows, queue)), queue)
    _shares(
        lead, found, key="oneself", title="Same word when it came again", nothing="No item came again to anybody yet."
    )


def _gold(lead: Lead, queue: str) -> None:
    st.subheader("Known answers")
    found = lead.kept("gold", "reviews", lambda: right(at_gold(lead.rows, queue)), queue)
    _shares(
        lead, found, key="gold", title="Right on items with known answers",
        nothing="Nobody has judged an item with a known answer yet: `dataengine import gold.jsonl --as reviews`, "
        "reviewer gold, brings them in.",
    )  # fmt: skip


def _shares(lead: Lead, found: Sequence[Share], *, key: str, title: str, nothing: str) -> None:
    told = [s for s in found if s.n]
    if not told:
        shown.nothing(nothing)
        return
    rows = [
        {"name": s.reviewer, "value": s.share, "low": s.low, "high": s.high, "n": s.n}
        for s in sorted(told, key=lambda s: (s.share or 0, s.reviewer))
    ]
    lead.view.chart(
        charts.shares(rows, "share of items"), key=f"{key}-shares", title=title, n=sum(s.n for s in told), of="items",
        note="bars: 95 % interval (Wilson)", height=charts.height([s.reviewer for s in told]),
    )  # fmt: skip
    columns = {
        "reviewer": shown.text("person"),
        "share": shown.share("right" if key == "gold" else "same"),
        "n": shown.count("items"),
        "low": shown.share("95 % from"),
        "high": shown.share("to"),
    }
    if key == "gold":
        columns["left_out"] = shown.count("flagged", "neither right nor wrong")
    else:
        columns["kappa"] = shown.ratio("kappa", "Cohen's, of the first word and the later one")
    shown.table(
        [
            s._asdict()
            | {"share": shown.percent(s.share), "low": 100 * s.low, "high": 100 * s.high, "kappa": s.kappa.value}
            for s in told
        ],
        columns,
        key=f"{key}-table",
    )


def _gold_by_week(lead: Lead, queue: str) -> None:
    people = sorted(s.reviewer for s in lead.kept("gold", "reviews", lambda: right(at_gold(lead.rows, queue)), queue))
    if not people:
        return
    chosen = st.selectbox(
        "Known answers over time, of", [shown.ALL, *people], key="gold-person",
        format_func=lambda who: "all people together" if who == shown.ALL else who,
    )  # fmt: skip

    def answered() -> list[Answered]:
        found = at_gold(lead.rows, queue)
        return [a._replace(reviewer=shown.ALL) for a in found if chosen in (shown.ALL, a.reviewer)]

    weeks = lead.kept("gold weeks", "reviews", lambda: right_by_week(answered()), queue, chosen)
    if len(weeks) < 2:
        shown.nothing("A course over time shows when answers of two weeks or more are there.")
        return
    rows = [_point(week, s.share, s.low, s.high, s.n) for week, s in weeks]
    lead.view.chart(
        charts.drift(rows, [], "share right"), key="gold-weeks", title="Right on known answers, by week",
        n=sum(s.n for _, s in weeks), of="items", note="band: 95 % interval (Wilson)", height=180,
    )  # fmt: skip


def _point(week: date, value: float | None, low: float | None, high: float | None, n: int) -> dict[str, Any]:
    return {"week": _midnight(week), "value": value, "low": low, "high": high, "n": n}


def _midnight(day: date) -> datetime:
    return datetime.combine(day, datetime.min.time(), UTC)
