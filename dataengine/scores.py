"""Scores of an evaluation from the warehouse: pass@1, unbiased pass@k, majority vote, and their intervals."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from warehouse.connect import connect
from warehouse.fetching import as_dicts

_RESAMPLES = 2000
# Prompts drawn at a time, so that memory is bounded: 8 MB of places.
_DRAWN = 1 << 20


@dataclass(frozen=True)
class Attempt:
    """One evaluated sample. `correct` is right in any form, `strict` right with no check against it."""

    prompt_id: str
    source: str
    strict: bool
    correct: bool
    in_form: bool
    told: bool
    """Whether the verifier could tell."""
    votes: bool
    """Whether answers to the prompt can be equal at all: programs are not compared."""
    vote: str | None
    """The class of equal answers that it counts for in cons@k; None without an answer."""
    tokens: int | None
    truncated: bool = False
    reflections: float | None = None
    """Reflective words in the reply, where the check `features` was asked."""
    consistency: float | None = None
    """Share of words in the prompt's language, where `language_mix` was asked and could tell."""
    shots: int = 0
    setting: str = ""


@dataclass(frozen=True)
class Interval:
    """A mean over prompts with its 95 % bootstrap interval."""

    value: float
    low: float
    high: float

    @property
    def text(self) -> str:
        """In per cent, for people."""
        return f"{self.value:.0%} ({self.low:.0%}-{self.high:.0%})"


@dataclass(frozen=True)
class Scores:
    """Scores of one policy on some prompts, k samples of each. What could not be told of any prompt is None."""

    prompts: int
    samples: int
    k: int
    """Samples of a prompt, of the one with the most."""
    strict: Interval
    lenient: Interval
    form: Interval
    pass_at: dict[int, Interval]
    """Unbiased pass@k in any form, by k: powers of two and the most samples of a prompt."""
    cons: Interval | None
    not_told: int
    mean_tokens: float
    truncated: float
    reflections: float | None
    consistency: float | None


def read_attempts(path: Path, policy: str, trajectory_ids: Sequence[str] | None = None) -> list[Attempt]:
    """The evaluated samples of a policy, of all its evaluations or of the named trajectories only."""
    columns = ", ".join(Attempt.__dataclass_fields__)
    with connect(path, only=("evaluated",)) as connection:
        condition, parameters = "", [policy]
        if trajectory_ids is not None:
            connection.execute("CREATE TABLE wanted AS SELECT unnest(?::VARCHAR[]) AS id", [list(trajectory_ids)])
            condition = "AND trajectory_id IN (SELECT id FROM wanted)"
        rows = connection.execute(
            f"SELECT {columns} FROM evaluated WHERE policy = ? {condition} ORDER BY trajectory_id", parameters
        )
        return [Attempt(**row) for row in as_dicts(rows)]


def score(attempts: Sequence[Attempt], seed: int = 0) -> Scores:
    """Scores of one evaluation: means over prompts of what is said of a prompt's samples (R1 report, evaluation).

    Intervals are percentile bootstraps over prompts, whose samples stay together, the same prompts for every score.
    """
    by_prompt: dict[str, list[Attempt]] = {}
    for attempt in attempts:
        by_prompt.setdefault(attempt.prompt_id, []).append(attempt)
    groups = list(by_prompt.values())
    k = max(map(len, groups), default=0)
    right = [(len(g), sum(a.correct for a in g)) for g in groups]

    def interval(values: Sequence[float]) -> Interval:
        return _interval(values, seed)

    def share(told: Callable[[Attempt], float]) -> list[float]:
        return [_mean([told(a) for a in g]) for g in groups]

    return Scores(
        prompts=len(groups),
        samples=len(attempts),
        k=k,
        strict=interval(share(lambda a: a.strict)),
        lenient=interval(share(lambda a: a.correct)),
        form=interval(share(lambda a: a.in_form)),
        pass_at={j: interval([pass_at_k(n, c, j) for n, c in right if n >= j]) for j in _powers(k)},
        cons=interval(voted) if (voted := [consensus(g) for g in groups if any(a.votes for a in g)]) else None,
        not_told=sum(not a.told for a in attempts),
        mean_tokens=_over_prompts(groups, lambda a: a.tokens) or 0.0,
        truncated=_mean(share(lambda a: a.truncated)),
        reflections=_over_prompts(groups, lambda a: a.reflections),
        consistency=_over_prompts(groups, lambda a: a.consistency),
    )


def pass_at_k(n: int, c: int, k: int) -> float:
    """The chance that of k samples, drawn from n of which c are right, one is right: 1 - C(n-c, k) / C(n, k).

    The unbiased estimate of pass@k (Chen et al. 2021), as a product of n - c factors' ratios, which cannot overflow.

    >>> pass_at_k(4, 1, 2), pass_at_k(4, 3, 2), pass_at_k(4, 0, 4)
    (0.5, 1.0, 0.0)
    """
    if not 0 <= c <= n or not 1 <= k <= n:
        raise ValueError(f"pass@{k} of {n} samples, {c} of them right, is not defined")
    if k == 1:
        return c / n
    if n - c < k:
        return 1.0
    return float(1.0 - np.prod(1.0 - k / np.arange(n - c + 1, n + 1)))


def consensus(group: Sequence[Attempt]) -> float:
    """Share of a prompt's most frequent answers that are right: 1.0 or 0.0 unless several are equally frequent.

    Answers count together where they are of one class (`Attempt.vote`); without any the prompt is not solved.
    """
    votes: dict[str, list[bool]] = {}
    for attempt in group:
        if attempt.vote is not None:
            votes.setdefault(attempt.vote, []).append(attempt.correct)
    if not votes:
        return 0.0
    most = max(len(v) for v in votes.values())
    return _mean([any(v) for v in votes.values() if len(v) == most])


def _powers(most: int) -> list[int]:
    """1, 2, 4, ... and `most` itself; nothing where that is 0."""
    return sorted({*(2**i for i in range(most.bit_length()) if 2**i <= most), *([most] if most else [])})


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0


def _over_prompts(groups: Sequence[Sequence[Attempt]], told: Callable[[Attempt], float | None]) -> float | None:
    """The mean over prompts of the mean over those samples of which something is told; None where that is nowhere."""
    known = ([value for a in group if (value := told(a)) is not None] for group in groups)
    means = [_mean(values) for values in known if values]
    return _mean(means) if means else None


def _interval(values: Sequence[float], seed: int) -> Interval:
    if not values:
        return Interval(0.0, 0.0, 0.0)
    given: npt.NDArray[Any] = np.asarray(values, dtype=np.float64)
    rng = np.random.default_rng(seed)
    at_once = max(1, _DRAWN // len(given))
    means: list[Any] = []
    while len(means) < _RESAMPLES:
        count = min(at_once, _RESAMPLES - len(means))
        means.extend(given[rng.integers(len(given), size=(count, len(given)))].mean(axis=1))
    low, high = np.sort(means)[[int(0.025 * _RESAMPLES), int(0.975 * _RESAMPLES) - 1]]
    return Interval(_mean(values), float(low), float(high))
