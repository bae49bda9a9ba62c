"""Scores of an evaluation from the warehouse: pass@1, majority vote, their intervals."""

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from warehouse.connect import connect

_RESAMPLES = 2000


@dataclass(frozen=True)
class Attempt:
    """One evaluated sample. `correct` is right in any form, `strict` right and in the required form."""

    prompt_id: str
    source: str
    strict: bool
    correct: bool
    in_form: bool
    told: bool
    answer: str | None
    tokens: int


@dataclass(frozen=True)
class Interval:
    """A share with its 95 % bootstrap interval over prompts."""

    value: float
    low: float
    high: float

    @property
    def text(self) -> str:
        """In per cent, for people."""
        return f"{self.value:.0%} ({self.low:.0%}-{self.high:.0%})"


@dataclass(frozen=True)
class Scores:
    """Scores of one policy on some prompts, k samples of each."""

    prompts: int
    samples: int
    strict: Interval
    lenient: Interval
    form: Interval
    cons: Interval
    not_told: int
    mean_tokens: float


def read_attempts(path: Path, policy: str, trajectory_ids: Sequence[str] | None = None) -> list[Attempt]:
    """The evaluated samples of a policy, of all its evaluations or of the named trajectories only."""
    with connect(path) as connection:
        condition, parameters = "", [policy]
        if trajectory_ids is not None:
            connection.execute("CREATE TABLE wanted AS SELECT unnest(?::VARCHAR[]) AS id", [list(trajectory_ids)])
            condition = "AND f.trajectory_id IN (SELECT id FROM wanted)"
        rows = connection.execute(
            "SELECT f.prompt_id, f.source, f.kept, coalesce(f.correct, false), "
            "NOT list_contains(f.not_passed, 'format'), f.verifier_outcome IN ('pass', 'fail'), v.details, "
            "coalesce(f.completion_tokens, 0) FROM trajectory_facts f "
            "LEFT JOIN verdicts_current v ON v.trajectory_id = f.trajectory_id AND v.kind = 'verifier' "
            f"WHERE f.stage = 'eval' AND f.policy = ? AND f.error IS NULL {condition} ORDER BY f.trajectory_id",
            parameters,
        ).fetchall()
    return [
        Attempt(prompt_id, source, bool(kept), bool(correct), bool(in_form), bool(told), _extracted(details), tokens)
        for prompt_id, source, kept, correct, in_form, told, details, tokens in rows
    ]


def _extracted(details: str | None) -> str | None:
    value = json.loads(details).get("extracted") if details else None
    return " ".join(str(value).split()).casefold() if value is not None else None


def score(attempts: Sequence[Attempt], seed: int = 0) -> Scores:
    """pass@1 as the mean over prompts of the mean over samples (R1 report, evaluation), and cons@k.

    cons@k takes the most frequent answer of a prompt as its answer; of equally frequent ones each counts its share.
    Answers are one when their text is the same but for case and spaces. Intervals are percentile bootstraps over
    prompts, whose samples stay together.
    """
    by_prompt: dict[str, list[Attempt]] = {}
    for attempt in attempts:
        by_prompt.setdefault(attempt.prompt_id, []).append(attempt)
    groups = list(by_prompt.values())
    return Scores(
        prompts=len(groups),
        samples=len(attempts),
        strict=_interval([_mean([a.strict for a in g]) for g in groups], seed),
        lenient=_interval([_mean([a.correct for a in g]) for g in groups], seed),
        form=_interval([_mean([a.in_form for a in g]) for g in groups], seed),
        cons=_interval([consensus(g) for g in groups], seed),
        not_told=sum(not a.told for a in attempts),
        mean_tokens=_mean([a.tokens for a in attempts]),
    )


def consensus(group: Sequence[Attempt]) -> float:
    """Share of a prompt's most frequent answers that are right: 1.0 or 0.0 unless several are equally frequent."""
    votes: dict[str, list[bool]] = {}
    for attempt in group:
        if attempt.answer is not None:
            votes.setdefault(attempt.answer, []).append(attempt.correct)
    if not votes:
        return 0.0
    most = max(len(v) for v in votes.values())
    return _mean([any(v) for v in votes.values() if len(v) == most])


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0


def _interval(values: Sequence[float], seed: int) -> Interval:
    if not values:
        return Interval(0.0, 0.0, 0.0)
    rng = random.Random(seed)
    means = sorted(_mean(rng.choices(values, k=len(values))) for _ in range(_RESAMPLES))
    return Interval(_mean(values), means[int(0.025 * _RESAMPLES)], means[int(0.975 * _RESAMPLES) - 1])
