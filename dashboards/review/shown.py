"""A task as the screen is given it: JSON of what one person may see of one item, and no more."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from dashboards.reading.page import Page, guideline_html, page
from dashboards.reading.render import rendered_html
from dashboards.review.keys import reason_keys
from dataengine.desk import Task
from dataengine.desk_reading import Contents, Reply
from dataengine.evidence import spans_of
from dataengine.prompting import take_apart
from dataengine.verify.exact import normalised
from dataengine.verify.extract import final_answer
from schemas.queue import Queue
from schemas.records import Review, Verdict
from warehouse.journal import Draft

_MOST_PROBLEM = 200_000


def shown(task: Task, *, position: str, told: Mapping[str, Any]) -> dict[str, Any]:
    """All that the screen needs of a task; `told` are its messages: message, warn, conflict, saved."""
    queue = task.queue
    sides = [_reply(reply) for reply in task.shown]
    replies = {"a": sides[0], "b": sides[1]} if task.contents.pair else {"reply": sides[0]}
    evidence = [
        _evidence(v, side) for side, reply in zip(_sides(task), task.shown, strict=True) for v in reply.verdicts
    ]
    prompt = task.contents.prompt
    return {
        "task": task.id,
        "kind": "pair" if task.contents.pair else ("adjudicate" if queue.kind == "adjudicate" else "attempt"),
        "title": queue.title,
        "position": position,
        "problem": [{"role": m.role, **_text(m.content)} for m in prompt.messages],
        "reference": prompt.reference,
        "reference_html": rendered_html(prompt.reference) if prompt.reference else None,
        "evidence": evidence,
        **replies,
        "said": [_said(review) for review in task.others],
        "guideline_html": guideline_html(queue.guideline),
        "guideline_version": queue.guideline_version,
        "reasons": reason_keys(queue.reasons),
        "can": _can(queue),
        "draft": shown_draft(task.draft) if task.draft else None,
        "lease_until": task.lease.until,
        "lease": queue.lease,
        "message": None,
        "warn": None,
        "conflict": None,
        "other": None,
        "saved": 0,
        **told,
    }


def prepare(contents: Contents) -> None:
    """Renders the replies of an item that will be shown soon; what comes of it is remembered."""
    for reply in contents.replies:
        _reply(reply)


def answer_change(task: Task, text: str) -> str | None:
    """In words, where an edited text has another final answer than the reply; None where it has the same."""
    before, after = (_final(t) for t in (task.contents.replies[0].trajectory.text, text))
    if before == after:
        return None
    if after is None:
        return f"The final answer is gone: it was {_short(before)}."
    return f"The final answer changes from {_short(before)} to {_short(after)}."


def _final(text: str) -> str | None:
    found = final_answer(take_apart(text).answer, text)
    return None if found is None else normalised(found.value)


def _short(text: str | None) -> str:
    return "none" if text is None else repr(text if len(text) <= 60 else f"{text[:57]}...")


def _sides(task: Task) -> Sequence[str]:
    return ("left", "right") if task.contents.pair else ("",)


def _reply(reply: Reply) -> Page:
    marks = [
        {"start": s.start, "end": s.end, "what": f"{v.check}: {s.label}" if s.label else v.check}
        for v in reply.verdicts
        for s in spans_of(json.loads(v.details))
        if s.of == "reply"
    ]
    return page(reply.trajectory.text, marks)


def _text(text: str) -> dict[str, Any]:
    found = page(text[:_MOST_PROBLEM])
    rendered = zip(found["html_blocks"], found["exact_blocks"], strict=True)
    return {"text": text, "html": "".join(html if html is not None else exact for html, exact in rendered)}


def _evidence(verdict: Verdict, side: str) -> dict[str, Any]:
    return {
        "check": verdict.check,
        "side": side,
        "kind": verdict.kind,
        "outcome": verdict.outcome,
        "score": verdict.score,
        "reason": verdict.reason,
    }


def _said(review: Review) -> dict[str, Any]:
    return {
        "reviewer": review.reviewer,
        "verdict": review.verdict,
        "reasons": review.tags,
        "note": review.note,
        "text": review.text,
    }


def _can(queue: Queue) -> dict[str, bool]:
    pairs = queue.rows == "pairs"
    return {
        "approve": not pairs,
        "reject": not pairs,
        "edit": queue.edit,
        "flag": True,
        "skip": True,
        "prefer": pairs,
        "adjudicate": queue.kind == "adjudicate",
    }


def shown_draft(draft: Draft) -> dict[str, Any]:
    """A draft as the screen is given it."""
    return {name: draft.body.get(name) for name in ("text", "note", "reasons", "verdict", "n", "window")} | {
        "at": draft.at
    }
