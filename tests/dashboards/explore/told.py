"""A small warehouse in which much happened: edits, rewrites, reviews, spans, several attempts, errors, snapshots."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from schemas.keys import canonical_json, key
from schemas.mix import MixFile
from schemas.records import Message, Pair, PairVerdict, Prompt, Review, Run, Trajectory, Verdict
from warehouse.snapshot import create_snapshot, open_snapshot
from warehouse.store import Warehouse
from warehouse.tagging import tag_snapshot

START = datetime(2026, 1, 1, tzinfo=UTC)
HOSTILE = "<script>alert(1)</script> ![x](http://evil/x.png) **b** $x$ :red[no] \x1b[31m \u202eabc 100% 'q' \"r\""
MIXED = "First I add 3 and 4. Das ist sieben. Wait, let me check: 3 + 4 = 7.\n\nSo it is 7."


def prompt(question: str, **columns: Any) -> Prompt:
    values: dict[str, Any] = {"domain": "math", "source": "sums", "reference": "7", "verifier": "math", **columns}
    made = Prompt.make([Message(role="user", content=question)], **values)
    return made.model_copy(update={"created_at": START})


def reply(of: Prompt, name: str, text: str, at: int = 0, **columns: Any) -> Trajectory:
    values: dict[str, Any] = {
        "trajectory_id": key(name),
        "prompt_id": of.prompt_id,
        "stage": "reasoning",
        "policy": "small@1",
        "engine": "endpoint",
        "sampling": canonical_json({"temperature": 0.8, "top_p": 0.95}),
        "sample_index": at,
        "rendered_key": "k",
        "text": text,
        "answer": "7",
        "finish_reason": "stop",
        "prompt_tokens": 12,
        "completion_tokens": 30 + at,
        "max_tokens": 64,
        "seconds": 1.5,
        "run_id": "run-1",
        "created_at": START + timedelta(minutes=at),
        **columns,
    }
    return Trajectory(**values)


def verdict(of: Trajectory, check: str, outcome: str, against: str = "", **columns: Any) -> Verdict:
    values: dict[str, Any] = {
        "trajectory_id": of.trajectory_id,
        "attempt": of.attempt,
        "check": check,
        "version": "1",
        "against": against,
        "kind": "verifier" if check == "math" else "filter",
        "outcome": outcome,
        "score": {"pass": 1.0, "fail": 0.0}.get(outcome),
        "run_id": "run-1",
        "created_at": of.created_at + timedelta(seconds=1),
        **columns,
    }
    return Verdict(**values)


class Told:
    """The warehouse, and what stands in it by name."""

    def __init__(self, path: Path) -> None:
        self.path = path
        opened = Warehouse.open(path, create=True)
        self.sum = prompt("What is 3 + 4? Think aloud.")
        self.odd = prompt(f"{HOSTILE} what is it?", source="odd", language="zh", reference=None, verifier=None)
        opened.append("prompts", [self.sum, self.odd])
        checks = [{"stage": "reasoning", "check": "math", "version": "1", "verifier": True}]
        opened.append(
            "runs",
            [
                Run(
                    run_id="run-1",
                    event="started",
                    recipe="sums",
                    config="{}",
                    checks=canonical_json(checks),
                    versions='{"dataengine": "1"}',
                    created_at=START,
                )
            ],
        )
        full = f"<think>\n{MIXED}\n</think>\nThe answer is \\boxed{{7}}."
        self.cut = reply(self.sum, "good", "<think>\nFirst I add", finish_reason="length", max_tokens=8)
        self.good = self.cut.model_copy(update={"attempt": 2, "text": full, "finish_reason": "stop", "max_tokens": 64})
        self.bad = reply(self.sum, "bad", f"<think>\n{HOSTILE}\n</think>\n8", 1, answer="8")
        self.failed = reply(self.sum, "failed", "", 2, answer=None, error="500: out of memory", finish_reason=None)
        self.strange = reply(self.odd, "strange", "long " * 40, 3, policy="large@2", finish_reason="length")
        self.rewrite = reply(
            self.sum,
            "rewrite",
            full.replace("Das ist sieben", "That is seven"),
            4,
            parent_id=self.good.trajectory_id,
            sampling=canonical_json({"rewrite": "english@abc"}),
        )
        self.edit = reply(
            self.sum,
            "edit",
            full.replace("So it is 7.", "So the sum is 7."),
            5,
            parent_id=self.good.trajectory_id,
            policy="ann",
            engine="review",
            sampling="{}",
        )
        opened.append("trajectories", [self.cut, self.bad, self.failed, self.strange])
        opened.append("trajectories", [self.good, self.rewrite, self.edit])
        self.span = full.index("Das ist sieben."), full.index("Das ist sieben.") + len("Das ist sieben.")
        mixed = canonical_json({"spans": [[*self.span, "de"]], "words": 20})
        right = self.sum.against
        opened.append(
            "verdicts",
            [
                verdict(self.cut, "math", "fail", right, reason="no answer"),
                verdict(self.good, "math", "pass", right),
                verdict(self.good, "language_mix", "fail", score=0.8, reason="language_mixed", details=mixed),
                verdict(self.bad, "math", "fail", right, reason="not_equal", details=canonical_json({"got": HOSTILE})),
                verdict(self.bad, "language_mix", "pass"),
                verdict(self.rewrite, "math", "pass", right),
                verdict(self.rewrite, "language_mix", "pass"),
                verdict(self.edit, "math", "pass", right),
            ],
        )
        pair = Pair(
            pair_id=key(self.good.trajectory_id, self.bad.trajectory_id),
            prompt_id=self.sum.prompt_id,
            a_id=self.good.trajectory_id,
            b_id=self.bad.trajectory_id,
            run_id="run-1",
            created_at=START,
        )
        self.pair = pair.pair_id
        opened.append("pairs", [pair])
        opened.append(
            "pair_verdicts",
            [
                PairVerdict(
                    pair_id=self.pair,
                    check="likes",
                    version="1",
                    draw=0,
                    draws=1,
                    a_first=True,
                    outcome="pass",
                    score=2.0,
                    run_id="run-1",
                    created_at=START,
                )
            ],
        )
        said = {"attempt": 2, "trajectory_id": self.good.trajectory_id, "created_at": START + timedelta(hours=1)}
        opened.append(
            "reviews",
            [
                Review(
                    review_id="a" * 32,
                    number=1,
                    reviewer="ann",
                    verdict="edit",
                    text=self.edit.text,
                    child_id=self.edit.trajectory_id,
                    note="shorter",
                    **said,
                ),
                Review(
                    review_id="b" * 32,
                    number=2,
                    reviewer="o'bob",
                    verdict="reject",
                    tags=["wrong_step"],
                    note=HOSTILE,
                    **said,
                ),
            ],
        )
        self._snapshot(["math"])
        self._snapshot(["math", "language_mix"])
        tag_snapshot(open_snapshot(path, "sums@1"), "release")

    def _snapshot(self, require: list[str]) -> None:
        source = {"stage": "reasoning", "require": require, "max_per_prompt": None}
        mix = MixFile.model_validate({"mix": "sums", "sources": [source]}).root
        create_snapshot(self.path, mix, {"plain": None, "think": "Think."})
