"""A small app for the tests: shows tasks from a JSON file one after the other, writes drafts and acts to another."""

import json
import sys
from pathlib import Path
from typing import Any

import streamlit as st

from dashboards.reading import exact_html, page, rendered_html
from dashboards.review.keys import check_keys, reason_keys
from dashboards.review.screen import said, screen

TASKS, LOG = Path(sys.argv[1]), Path(sys.argv[2])
REASONS = {"wrong_step": "A step is wrong", "wrong_answer": "The answer is wrong", "language": "Other languages"}
CAN = {"approve": True, "reject": True, "edit": True, "flag": True, "skip": True, "prefer": True}


def log() -> list[dict[str, Any]]:
    return [json.loads(line) for line in LOG.read_text().splitlines()] if LOG.exists() else []


def write(**event: Any) -> None:
    with LOG.open("a") as out:
        out.write(json.dumps(event) + "\n")


def main() -> None:
    check_keys()
    st.set_page_config(layout="wide")
    tasks = json.loads(TASKS.read_text())
    message = None
    sent = said("screen")
    if sent.draft:
        draft = sent.draft
        stored = [e["draft"] for e in log() if "draft" in e and e["draft"]["task"] == sent.draft["task"]][-1:]
        newer = not stored or sent.draft["n"] > stored[0]["n"]
        unseen = stored and stored[0]["window"] != draft["window"] and stored[0]["n"] > draft["seen"]
        if newer and not unseen:
            write(draft=sent.draft)
    if sent.act and sent.act["nonce"] not in {e["act"]["nonce"] for e in log() if "act" in e}:
        write(act=sent.act)
        if sent.act["do"] == "edit":
            message = "Saved as a new trajectory. The answer changed."
        if sent.act["do"] == "undo":
            message = "Undone."
    acts = [e["act"] for e in log() if "act" in e]
    done = sum(a["do"] not in ("renew", "undo", "discard_draft", "next") for a in acts)
    at = done - sum(a["do"] == "undo" for a in acts)
    if at >= len(tasks):
        screen({"task": None, "title": "All done.", "position": f"{at} done", "message": message}, key="screen")
        return
    task = tasks[at]
    shown: dict[str, Any] = {
        "task": f"test/{task['id']}", "kind": "attempt", "title": "Second look at rewrites",
        "position": f"{at} done · {len(tasks) - at} left", "reference": task.get("reference", "7"),
        "reference_html": rendered_html(task.get("reference", "7")), "evidence": task.get("evidence", []),
        "guideline_html": rendered_html("# What to look for\n\nRead **every** step.\n\n- sums\n- units"),
        "guideline_version": "0123456789ab", "reasons": reason_keys(REASONS), "can": CAN, "message": message,
        "problem": [
            {"role": "user", "text": task["problem"], "html": rendered_html(task["problem"]),
             "exact_html": exact_html(task["problem"])}
        ],
        "lease_until": task.get("lease_until"), "lease": 900, "said": task.get("said", []), "warn": task.get("warn"),
        "conflict": task.get("conflict"),
    }  # fmt: skip
    if "b" in task:
        shown |= {"a": page(task["text"]), "b": page(task["b"]), "kind": "pair"}
    else:
        shown["reply"] = page(task["text"], task.get("marks", ()))
    drafts = [e["draft"] for e in log() if "draft" in e and e["draft"]["task"] == shown["task"]]
    discarded = any(a["do"] == "discard_draft" for a in acts)
    if drafts and not discarded:
        shown["draft"] = {**drafts[-1], "at": drafts[-1]["n"]}
        shown["saved"] = drafts[-1]["n"]
    screen(shown, key="screen")


main()
