"""A made-up warehouse with something for every page: several stages, sources, languages, checks, a judge, trainings."""

import random
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

from schemas.keys import canonical_json, key
from schemas.mix import MixFile
from schemas.records import Message, Metric, Prompt, Record, Rollout, Run, Trajectory, Verdict
from warehouse.snapshot import create_snapshot
from warehouse.store import Warehouse

THEN = datetime(2026, 1, 1, tzinfo=UTC)
#: A source's name is whatever a file was called.
HOSTILE = "<img src=x onerror=alert(1)> **b** :red[x] $y$ [z](http://e.x) it's"
# Source, domain, language, verifier, and how likely a reply is right.
SOURCES = (
    ("sums", "math", "en", "math", 0.8),
    ("geometry", "math", "zh", "math", 0.5),
    ("knots", "logic", "en", "logic", 0.35),
    ("calcul", "math", "fr", "math", 0.6),
    (HOSTILE, "math", "en", "math", 0.2),
)
STEPS = (0, 100, 200, 300, 400)
Stage = Literal["reasoning", "non_reasoning", "rl_rollout", "eval"]


class _Making:
    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.rows: dict[str, list[Record]] = {}

    def add(self, row: Record) -> None:
        self.rows.setdefault(row.TABLE, []).append(row)

    def prompts(self, n: int) -> Iterator[tuple[Prompt, float]]:
        for number in range(n):
            source, domain, language, verifier, ease = SOURCES[number % len(SOURCES)]
            prompt = Prompt.make(
                [Message(role="user", content=f"Question {number}: how many are left?")],
                domain=domain, source=source, language=language, reference=str(number), verifier=verifier,
            )  # fmt: skip
            self.add(prompt)
            yield prompt, min(0.98, max(0.02, self.random.gauss(ease, 0.25)))

    def reply(
        self, prompt: Prompt, stage: Stage, policy: str, sample: int, ease: float, run: str, step: int | None = None
    ) -> Trajectory:
        right = self.random.random() < ease
        most = 1024
        tokens = int(self.random.lognormvariate(5.8 if right else 6.2, 0.6))
        failed = self.random.random() < 0.01
        said = "Let me count. Wait, once more. " * self.random.randint(1, 9)
        answer = str(prompt.reference if right else self.random.randint(0, 99))
        trajectory = Trajectory(
            trajectory_id=key(prompt.prompt_id, stage, policy, sample, step), prompt_id=prompt.prompt_id, stage=stage,
            policy=policy, engine="endpoint", sampling=canonical_json({"temperature": 0.6, "top_p": 0.95}),
            sample_index=sample, rendered_key="k", reasoning=None if failed else said,
            answer=None if failed else answer,
            text="" if failed else f"<think>\n{said}\n</think>\n{answer}",
            finish_reason=None if failed else "length" if tokens >= most else "stop",
            prompt_tokens=40, completion_tokens=None if failed else min(tokens, most), max_tokens=most,
            seconds=None if failed else tokens / 60, error="timed out" if failed else None, run_id=run, step=step,
            created_at=THEN + timedelta(seconds=len(self.rows.get("trajectories", ()))),
        )  # fmt: skip
        self.add(trajectory)
        if not failed:
            self.verdicts(prompt, trajectory, right, run)
        return trajectory

    def verdicts(self, prompt: Prompt, t: Trajectory, right: bool, run: str) -> None:
        draw = self.random.random
        cut = t.finish_reason == "length"
        told = "undecided" if cut or draw() < 0.03 else "pass" if right else "fail"
        reason = {"undecided": "no_answer", "pass": "", "fail": "wrong"}[told]
        self.verdict(t, prompt.verifier or "", "verifier", told, float(right), reason, run, against=prompt.against)
        in_form = draw() < 0.95 and not cut
        self.verdict(t, "format", "filter", "pass" if in_form else "fail", None, "" if in_form else "no_end", run)
        share = 1.0 if prompt.language == "en" else min(1.0, 0.75 + draw() * 0.3)
        off = [] if share > 0.95 else [[0, 4, "en"], [8, 14, self.random.choice(["en", "en", "ru"])]]
        details: dict[str, Any] = {"words": 60, "segments_off": len(off), "switches": len(off), "spans": off}
        mixed = share < 0.85
        self.verdict(t, "language_mix", "filter", "fail" if mixed else "pass", share, "mixed" if mixed else "", run,
                     details)  # fmt: skip
        counted = {"words": 60, "reflections": round(draw() * 4, 2)}
        self.verdict(t, "features", "filter", "pass", 3.0, "", run, counted)
        if t.stage == "eval":
            self.verdict(t, "vote", "filter", "pass", None, "", run, {"answer": t.answer})
        if t.stage == "reasoning" and draw() < 0.6:
            agrees = draw() < 0.85
            votes = {"votes": [{"policy": "judge@1", "prompt_tokens": 400, "completion_tokens": 60, "seconds": 1.5}]}
            judged = "undecided" if draw() < 0.05 else "pass" if right == agrees else "fail"
            self.verdict(t, "strict_judge", "judge", judged, draw(), "" if judged == "pass" else "doubts", run, votes)

    def verdict(
        self, t: Trajectory, check: str, kind: Any, outcome: Any, score: float | None, reason: str, run: str,
        details: dict[str, Any] | None = None, against: str = "",
    ) -> None:  # fmt: skip
        self.add(
            Verdict(
                trajectory_id=t.trajectory_id, attempt=1, check=check, version="1", against=against, kind=kind,
                outcome=outcome, score=score, reason=reason, details=canonical_json(details or {}), run_id=run,
                created_at=t.created_at,
            )
        )  # fmt: skip

    def run(self, run_id: str, recipe: str, checks: Sequence[str] = (), config: dict[str, Any] | None = None) -> None:
        wanted = [
            {"stage": "reasoning", "check": c, "version": None, "verifier": c in ("math", "logic")} for c in checks
        ]
        for event in ("started", "finished"):
            self.add(
                Run(
                    run_id=run_id, event=event, recipe=recipe, config=canonical_json(config or {}),
                    checks=canonical_json(wanted), created_at=THEN,
                )
            )  # fmt: skip

    def training(self, run: str, prompts: Sequence[tuple[Prompt, float]], gain: float) -> None:
        self.run(run, f"train-{run}")
        for step in STEPS:
            better = gain * step / STEPS[-1]
            for prompt, ease in prompts[: max(4, len(prompts) // 8)]:
                for sample in range(4):
                    t = self.reply(prompt, "rl_rollout", f"{run}-{step}@1", sample, ease * 0.6 + better, run, step)
                    if t.error is None:
                        accuracy, form = float(self.random.random() < ease * 0.6 + better), self.random.random()
                        for part, score in (("accuracy", accuracy), ("format", form)):
                            self.verdict(t, f"reward_{part}", "reward", "pass" if score else "fail", score, "", run)
                        self.add(
                            Rollout(
                                trajectory_id=t.trajectory_id, attempt=1, step=step, reward=accuracy + form,
                                advantage=0.0, clipped=t.finish_reason == "length", run_id=run, created_at=THEN,
                            )
                        )  # fmt: skip
            self.evaluate(f"{run}-{step}@1", f"eval-{run}-{step}", prompts, better, {"key": run, "step": step})
        for step in range(0, STEPS[-1] + 1, 10):
            loss = 2.0 / (1 + gain * step / 100) + self.random.random() * 0.1
            self.add(Metric(run_id=run, step=step, name="train/loss", value=loss, created_at=THEN))

    def evaluate(
        self, policy: str, run: str, prompts: Sequence[tuple[Prompt, float]], better: float, training: Any
    ) -> None:
        self.run(run, "evaluate", config={"training": training})
        for prompt, ease in prompts[-max(5, len(prompts) // 10) :]:
            for sample in range(4):
                self.reply(prompt, "eval", policy, sample, ease * 0.6 + better, run)


def make(folder: Path, prompts: int = 20, samples: int = 4, seed: int = 1, trainings: int = 2) -> Path:
    """Makes the warehouse in a new folder; with a snapshot `demo@1`."""
    making = _Making(seed)
    making.run("run-1", "laptop", ("math", "logic", "format", "language_mix", "strict_judge"))
    asked = list(making.prompts(prompts))
    for prompt, ease in asked:
        for policy, more in (("base@1", 0.0), ("tuned@2", 0.15)):
            for sample in range(samples):
                making.reply(prompt, "reasoning", policy, sample, ease + more, "run-1")
        making.reply(prompt, "non_reasoning", "base@1", 0, ease, "run-1")
    for number in range(trainings):
        making.training(f"{number}{'abcdef' * 4}"[:24], asked, 0.25 + 0.2 * number)
    warehouse = Warehouse.open(folder, create=True)
    for table, rows in making.rows.items():
        warehouse.append(table, rows)
    sources = [
        {"stage": "reasoning", "policy": "rule", "require": ["format"], "max_per_prompt": 2,
         "target": {"share_of_tokens": 0.6}, "max_epochs": 3},
        {"stage": "non_reasoning", "policy": "rule", "target": {"share_of_tokens": 0.4}, "max_epochs": 4},
    ]  # fmt: skip
    mix = MixFile.model_validate({"mix": "demo", "validation": 0.1, "sources": sources})
    create_snapshot(folder, mix.root, {"plain": None})
    return folder


if __name__ == "__main__":
    make(Path(sys.argv[1]), prompts=int(sys.argv[2]))
