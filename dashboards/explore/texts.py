"""Texts of models and verdicts on them as HTML of ours: exact, escaped, with marks and folds, in light and dark."""

import html
import json
from collections.abc import Mapping, Sequence
from typing import Any

from dashboards.reading import Mark, diff_html, exact_html, page, visible
from dataengine.evidence import spans_of
from dataengine.explain_words import details_of
from dataengine.lineage import Row

# Characters of a text that are sent to the browser; of more there are both ends, and the whole as a file.
MOST_SHOWN = 300_000
_TAIL = 20_000
# A thought that is at most so long is not folded.
_SHORT = 2_000
_MOST_DETAILS = 4_000

STYLE = """<style>
.exact {font-family: "Source Code Pro", monospace; font-size: .86rem; line-height: 1.5; white-space: pre-wrap;
    overflow-wrap: anywhere; border: 1px solid rgba(128,128,128,.25); border-radius: .5rem; padding: .7rem .9rem;
    background: rgba(128,128,128,.06)}
.exact + .exact {margin-top: .5rem}
.exact .role {display: block; font-family: "Source Sans", sans-serif; font-size: .75rem; opacity: .65}
.exact mark {color: inherit; border-radius: 3px; padding: 0 1px; background: rgba(255,193,7,.38)}
.exact mark.m1 {background: rgba(244,81,30,.35)} .exact mark.m2 {background: rgba(3,155,229,.32)}
.exact mark.m3 {background: rgba(142,36,170,.30)} .exact mark.m4 {background: rgba(67,160,71,.32)}
.exact mark.m5 {background: rgba(233,30,99,.30)}
.exact .esc {border: 1px solid rgba(229,57,53,.7); border-radius: 3px; font-size: .75em; padding: 0 2px; color: #e53935}
.exact .at.box, .exact .at.wait {text-decoration: underline dotted}
.exact details > summary {cursor: pointer; opacity: .7; font-style: italic; list-style-position: inside}
.exact ins {background: rgba(67,160,71,.28); text-decoration: none; border-radius: 2px}
.exact del {background: rgba(229,57,53,.25); text-decoration: line-through; border-radius: 2px}
.exact .gap {display: block; opacity: .6; font-style: italic; margin: .3rem 0}
.legend {font-size: .8rem; margin: .3rem 0} .legend mark {color: inherit; padding: 0 .35rem; border-radius: 3px}
.verdict {border-left: 4px solid #8d99ae; padding: .15rem .7rem; margin-bottom: .5rem; font-size: .88rem}
.verdict.pass {border-color: #2a9d8f} .verdict.fail {border-color: #e76f51} .verdict.undecided {border-color: #e0a100}
.verdict.error {border-color: #9b5de5} .verdict.old {opacity: .5}
.verdict small {opacity: .65} .verdict pre {white-space: pre-wrap; overflow-wrap: anywhere; font-size: .78rem;
    background: rgba(128,128,128,.08); border: 0; padding: .4rem .6rem; margin: .2rem 0}
.facts, .facts dt {padding: 0; margin: 0}
.facts {display: grid; grid-template-columns: max-content 1fr; gap: .12rem .9rem; font-size: .84rem}
.facts dt {opacity: .65} .facts dd {margin: 0; overflow-wrap: anywhere; font-family: "Source Code Pro", monospace;
    font-size: .8rem}
.verdict summary {cursor: pointer; font-size: .78rem; opacity: .7}
</style>"""


def marks_of(verdicts: Sequence[Row], of: str) -> list[Mark]:
    """The spans that verdicts which count name in the `reply` or the `prompt`, with the check and what it says."""
    return [
        Mark(span.start, span.end, f"{verdict['check']} {span.label}".strip())
        for verdict in verdicts
        if verdict["counts"]
        for span in spans_of(details_of(verdict))
        if span.of == of
    ]


def text_html(text: str, marks: Sequence[Mark] = (), *, role: str = "", unfolded: bool = True) -> str:
    """A whole text, its spans marked; with `unfolded` false what comes before the answer is folded by paragraphs."""
    cut = len(text) > MOST_SHOWN
    end = text[-_TAIL:] if cut else ""
    found = page(text[: MOST_SHOWN - _TAIL] if cut else text, list(marks))
    blocks, answer = found["exact_blocks"], found["answer_block"] or 0
    head = blocks[:answer]
    if unfolded or sum(map(len, head)) <= _SHORT:
        body = "".join(blocks)
    else:
        body = "".join(_folds(head)) + "".join(blocks[answer:])
    if cut:
        left_out = len(text) - MOST_SHOWN
        body += f'<span class="gap">{left_out:,} characters are not shown: take the file</span>{exact_html(end)}'
    label = f'<span class="role">{html.escape(role)}</span>' if role else ""
    return f'<div class="exact">{label}{body}</div>{_legend(found["legend"])}'


def _folds(blocks: Sequence[str]) -> list[str]:
    """The blocks as they are where something is marked, else as one fold for each run of them."""
    out: list[str] = []
    run: list[str] = []

    def fold() -> None:
        if run:
            size = sum(map(len, run))
            many = f"{len(run):,} paragraphs" if len(run) > 1 else "1 paragraph"
            out.append(f"<details><summary>{many}, {size:,} characters</summary>{''.join(run)}</details>")
            run.clear()

    for block in blocks:
        if "<mark" in block:
            fold()
            out.append(block)
        else:
            run.append(block)
    fold()
    return out


def _legend(legend: Sequence[Mapping[str, Any]]) -> str:
    if not legend:
        return ""
    told = " ".join(
        f'<mark class="m{part["colour"]}">{html.escape(visible(part["what"])[:80])} × {part["n"]:,}</mark>'
        for part in legend[:20]
    )
    return f'<div class="legend exact" style="border:0;background:none;padding:0">{told}</div>'


def changed_html(before: str, after: str) -> str:
    """What was put in and taken out, word by word."""
    found = diff_html(before[:MOST_SHOWN], after[:MOST_SHOWN])
    return f'<div class="exact">{found or "no difference"}</div>'


def verdict_html(verdict: Row) -> str:
    """One verdict: outcome, check, score and reason, and its details in a fold."""
    score = "" if verdict["score"] is None else f" · score {verdict['score']:.4g}"
    reason = f" · {exact_html(verdict['reason'])}" if verdict["reason"] else ""
    about = f"version {verdict['version']} · {verdict['kind']} · attempt {verdict['attempt']}"
    about += f" · {str(verdict['created_at'])[:16].replace('T', ' ')}" + ("" if verdict["counts"] else " · superseded")
    details = details_of(verdict)
    fold = ""
    if details:
        told = json.dumps(details, indent=1, ensure_ascii=False)
        more = f"\n… {len(told) - _MOST_DETAILS:,} more characters" if len(told) > _MOST_DETAILS else ""
        fold = f"<details><summary>details</summary><pre>{exact_html(told[:_MOST_DETAILS])}{more}</pre></details>"
    outcome = verdict["outcome"] if verdict["outcome"] in ("pass", "fail", "undecided", "error") else ""
    return (
        f'<div class="verdict {outcome}{"" if verdict["counts"] else " old"}"><b>{exact_html(verdict["check"])}</b> '
        f"{exact_html(verdict['outcome'])}{score}{reason}<br><small>{exact_html(about)}</small>{fold}</div>"
    )


def facts_html(values: Mapping[str, str]) -> str:
    """Names and values, a line each."""
    told = "".join(f"<dt>{exact_html(name)}</dt><dd>{exact_html(value)}</dd>" for name, value in values.items())
    return f'<dl class="facts">{told}</dl>'


def anchor(link: str, label: str) -> str:
    """A link to a page in a state, which is loaded anew.

    Streamlit's own are faster, but leave an address to go back to that lacks the state of the page that is left, and
    one to the same page in another state does not change the address at all.
    """
    # The browser's own blue cannot be read on dark ground.
    style = "display: inline-block; margin-right: 1rem; font-size: .92rem; color: inherit"
    return f'<a class="lead" style="{style}" href="{html.escape(link)}" target="_self">→ {exact_html(label)}</a>'
