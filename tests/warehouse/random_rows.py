"""Rows of every table that a mix reads, drawn by a seed, and one mix of each kind of rows that takes some of them."""

import itertools
import random
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from schemas.keys import canonical_json, key
from schemas.mix import AnyMix, MixFile
from schemas.records import (
    Calibration,
    Cluster,
    Message,
    Pair,
    PairVerdict,
    Prompt,
    Record,
    Trajectory,
    Verdict,
)
from warehouse.store import Warehouse

THEN = datetime(2026, 1, 1, tzinfo=UTC)
SYSTEMS = {"plain": None, "think": "Think."}
WORDS = [f"word{i}" for i in range(200)]


def random_rows(rng: random.Random, prompts: int = 60) -> dict[str, list[Record]]:
    """By table: prompts with up to six replies each, verdicts of three checks and a judge, pairs with four draws."""
    rows: dict[str, list[Record]] = {
        "calibrations": [
            Calibration(judge=judge, version="v", gold="g@1", kappa=0.8, low=0.7, high=0.9, n=90, created_at=THEN)
            for judge in ("likes", "judge")
        ]
    }
    for number in range(prompts):
        asked = Prompt.make(
            [Message(role="user", content=f"question {rng.random()}")],
            domain=rng.choice(["math", "logic"]),
            source=rng.choice(["one", "two"]),
            language=rng.choice(["en", "zh"]),
            reference=str(rng.randrange(100)),
            verifier="math",
            license=rng.choice(["MIT", None]),
            metadata={"n": number},
        )
        rows.setdefault("prompts", []).append(asked)
        replies = [_reply(rng, asked, sample) for sample in range(rng.randint(1, 6))]
        rows.setdefault("trajectories", []).extend(replies)
        rows.setdefault("verdicts", []).extend(v for reply in replies for v in _verdicts(rng, asked, reply))
        for a, b in itertools.pairwise(replies):
            pair = Pair(pair_id=key(a.trajectory_id, b.trajectory_id), prompt_id=asked.prompt_id, a_id=a.trajectory_id,
                        b_id=b.trajectory_id, run_id="r", created_at=THEN)  # fmt: skip
            rows.setdefault("pairs", []).append(pair)
            rows.setdefault("pair_verdicts", []).extend(_draws(rng, pair))
    return rows


def _reply(rng: random.Random, asked: Prompt, sample: int) -> Trajectory:
    thought = " ".join(rng.choices(WORDS, k=rng.randint(1, 30)))
    answer = " ".join(rng.choices(WORDS, k=rng.randint(1, 4)))
    return Trajectory(
        trajectory_id=key(asked.prompt_id, sample),
        prompt_id=asked.prompt_id,
        stage=rng.choice(["reasoning", "non_reasoning"]),
        policy="model@1",
        engine="embedded",
        sampling="{}",
        sample_index=sample,
        rendered_key="rendered",
        reasoning=thought,
        answer=answer,
        text=f"<think>\n{thought}\n</think>\n{answer}",
        finish_reason="stop",
        prompt_tokens=9,
        completion_tokens=rng.randint(5, 90),
        run_id="r",
        created_at=THEN,
    )


def _verdicts(rng: random.Random, asked: Prompt, reply: Trajectory) -> list[Verdict]:
    made = []
    for check, kind, against in (("math", "verifier", asked.against), ("format", "filter", ""), ("judge", "judge", "")):
        outcome = rng.choice(["pass", "pass", "fail", "undecided"])
        score = None if outcome == "undecided" else rng.random()
        made.append(
            Verdict.model_validate(
                {
                    "trajectory_id": reply.trajectory_id,
                    "attempt": 1,
                    "check": check,
                    "version": "v",
                    "against": against,
                    "kind": kind,
                    "outcome": outcome,
                    "score": score,
                    "details": canonical_json({"n": rng.random()}),
                    "run_id": "r",
                    "created_at": THEN,
                }
            )
        )
    return made


def _draws(rng: random.Random, pair: Pair) -> list[PairVerdict]:
    better = rng.choice([1, -1])
    return [
        PairVerdict(
            pair_id=pair.pair_id,
            check="likes",
            version="v",
            draw=draw,
            draws=4,
            a_first=draw % 2 == 0,
            outcome="pass" if better > 0 else "fail",
            score=better * (1 + rng.random()),
            run_id="r",
            created_at=THEN,
        )
        for draw in range(4)
    ]


def random_clusters(rng: random.Random, prompts: Iterable[str], version: str = "v") -> list[Cluster]:
    """Every prompt in a cluster: of one, of a few, or of a large one."""
    left = list(prompts)
    rng.shuffle(left)
    made = []
    while left:
        size = rng.choice([1, 1, 2, 3, 12])
        members, left = left[:size], left[size:]
        made += [cluster_of(ident, min(members), version) for ident in members]
    return made


def cluster_of(ident: str, cluster: str, version: str = "v") -> Cluster:
    return Cluster(kind="prompt", id=ident, cluster_id=cluster, version=version, created_at=THEN)


def write(folder: Path, rows: Mapping[str, Sequence[Record]], rng: random.Random, batch: int = 1000) -> Warehouse:
    """A warehouse of these rows, written in an order drawn by `rng`, in commits of `batch` rows."""
    warehouse = Warehouse.open(folder, create=True)
    for table in rng.sample(sorted(rows), len(rows)):
        given = rng.sample(list(rows[table]), len(rows[table]))
        for start in range(0, len(given), batch):
            warehouse.append(table, given[start : start + batch])
    return warehouse


def mix(rows: str, *sources: dict[str, Any], **settings: Any) -> AnyMix:
    return MixFile.model_validate({"mix": "demo", "rows": rows, "sources": list(sources), **settings}).root


#: Of each kind of rows the sources of a mix: with caps, policies, lotteries and, of samples, targets and weights.
SOURCES: dict[str, list[dict[str, Any]]] = {
    "samples": [
        {"stage": "reasoning", "require": ["format"], "choose": "diverse", "max_per_prompt": 2, "template": "think",
         "target": {"share_of_tokens": 0.5}, "max_epochs": 3},
        {"stage": "non_reasoning", "policy": "rule or judge", "judge": "judge", "choose": "shortest",
         "target": {"share_of_tokens": 0.5}, "max_epochs": 3},
    ],
    "pairs": [{"judge": "likes", "max_per_prompt": 2}, {"policy": "rule", "balanced": False, "max_rows": 20}],
    "labels": [{"stage": "reasoning", "judge": "judge", "max_rows": 50}, {"stage": "non_reasoning", "check": "format"}],
    "prompts": [{"domain": "math", "verifiers": ["math"], "stage": "reasoning", "solve_rate": {"at_most": 0.9}},
                {"domain": "logic", "max_rows": 15}],
}  # fmt: skip
