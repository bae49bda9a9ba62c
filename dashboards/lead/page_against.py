"""People against judges and rules: what both said of the same attempts and pairs, and the rows in which they differ."""

from typing import Any

import streamlit as st

from dashboards.lead import charts, shown
from dashboards.lead.against import OUTCOMES, PREFERS, SAYS, SIDES, Beside, beside, counts, differing
from dashboards.lead.context import Lead

_MOST = 200
_TABLES = "reviews_current verdicts_current preferences"


def page(lead: Lead) -> None:
    """The page."""
    st.header("People against judges and rules")
    st.caption(
        "Each person's word that stands, beside the verdict of each check on the same attempt. Approved is held "
        "against pass, edited and rejected against fail; kappa leaves out flags and what a check could not decide."
    )
    queue = shown.pick_queue(lead, "queue", every=True)
    found: list[Beside] = lead.kept("beside", _TABLES, lambda: beside(lead.rows, queue), queue)
    if not found:
        shown.nothing("Nobody has judged anything here that a judge or a rule has judged, too.")
        return
    _all(found)
    of = {_name(one): one for one in found}
    name = st.selectbox("Check", list(of), bind="query-params", key="check")
    if name in of:
        _one(lead, of[name], queue)


def _name(one: Beside) -> str:
    return f"{one.check} · {_kind(one)}{' of pairs' if one.rows == 'pairs' else ''} · version {one.version}"


def _kind(one: Beside) -> str:
    return "rule" if one.kind == "verifier" else one.kind


def _all(found: list[Beside]) -> None:
    shown.table(
        [
            {
                "check": b.check, "kind": _kind(b), "rows": b.rows, "version": b.version, "n": b.n,
                "counted": b.kappa.items, "agreement": shown.percent(b.agreement), "kappa": b.kappa.value,
                "low": b.kappa.low,
                "high": b.kappa.high, "people": len(b.by_person),
            }
            for b in found
        ],
        {
            "check": shown.text("check"),
            "kind": shown.text("kind"),
            "rows": shown.text("of"),
            "people": shown.count("people"),
            "n": shown.count("words", "of people, beside a verdict of the check"),
            "counted": shown.count("both decided"),
            "agreement": shown.share("the same"),
            "kappa": shown.ratio("kappa", "Cohen (1960); empty where one of them said one thing only"),
            "low": shown.ratio("95 % from"),
            "high": shown.ratio("to"),
            "version": shown.text("version"),
        },
        key="checks",
    )  # fmt: skip


def _one(lead: Lead, one: Beside, queue: str) -> None:
    words = (*(SAYS if one.rows == "attempts" else PREFERS), "flag")
    sides = OUTCOMES if one.rows == "attempts" else SIDES
    left, right = st.columns(2)
    with left:
        if one.n < 2:
            shown.nothing("One word only: a table shows from two on.")
        else:
            lead.view.chart(
                charts.table(
                    list(counts(one)), x="told", y="said", columns=sides, lines=words,
                    titles=(f"the {_kind(one)} says", "people say"),
                ),
                key="told", title="What people and the check say", n=one.n, of="words", note="shade: share of its row",
                height=170,
            )  # fmt: skip
    with right:
        _by_person(lead, one)
    st.subheader("Where they differ")
    first, second = st.columns(2)
    said = first.selectbox("People say", [shown.ALL, *words], key="said", bind="query-params")
    told = second.selectbox(f"The {_kind(one)} says", [shown.ALL, *sides], key="told-as", bind="query-params")
    rows = differing(
        lead.rows, one, queue=queue, most=_MOST,
        said=None if said in (None, shown.ALL) else said, told=None if told in (None, shown.ALL) else told,
    )  # fmt: skip
    _rows(lead, one, rows)


def _by_person(lead: Lead, one: Beside) -> None:
    told = [(who, f) for who, f in one.by_person.items() if f.value is not None and f.items > 1]
    if not told:
        shown.nothing("No person has a kappa yet: it takes two items, and both words from either side.")
        return
    rows = [
        {"name": who, "value": f.value, "low": f.low, "high": f.high, "n": f.items}
        for who, f in sorted(told, key=lambda t: (t[1].value or 0, t[0]))
    ]
    lead.view.chart(
        charts.shares(rows, "Cohen's kappa", percent=False), key="by-person", title="Kappa of each person",
        n=sum(f.items for _, f in told), of="words", note="bars: 95 % interval",
        height=charts.height([who for who, _ in told]),
    )  # fmt: skip


def _rows(lead: Lead, one: Beside, rows: list[dict[str, Any]]) -> None:
    if not rows:
        shown.nothing("There are none.")
        return
    columns = {
        "id": shown.text("pair" if one.rows == "pairs" else "trajectory", width="medium"),
        "reviewer": shown.text("person"),
        "said": shown.text("says"),
        "told": shown.text(f"the {_kind(one)}"),
        "score": shown.ratio("score"),
        "queue": shown.text("queue"),
    }
    if lead.link is not None and one.rows == "attempts":
        rows = [r | {"open": lead.link(r["id"])} for r in rows]
        columns = {"open": st.column_config.LinkColumn("", display_text="open"), **columns}
    shown.table(rows, columns, key="differing")
    cut = f"the first {_MOST} by id; " if len(rows) == _MOST else ""
    st.caption(f"{len(rows):,} rows; {cut}`dataengine explain ID` tells all about one")
