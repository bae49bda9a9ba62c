"""How often one policy's answers beat another's: win rates with intervals, and what is left at equal length."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from warehouse.connect import connect

_RESAMPLES = 2000
# Resamples that are fitted at once: their weights are a matrix of so many rows and one column for each pair.
_AT_ONCE = 200
_STEPS = 60
# Precision of the normal prior on both terms of the length-controlled fit; ours. Too weak to be felt where wins and
# losses overlap, it keeps the terms finite where they do not, such as when every pair is won.
_PRIOR = 0.01

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Compared:
    """A pair that a judge was asked about in both orders."""

    question_id: str
    source: str
    turn: int
    won: float | None
    """1 where the evaluated answer is better, 0.5 for a tie, 0 where it is not; None where there is no verdict."""
    consistent: bool | None
    """Whether both orders agree; None where there is no verdict, or nobody was asked."""
    missing: bool
    """A draw was not answered: the next run asks again."""
    no_answer: bool
    """One side has no answer, and so has lost."""
    truncated: bool
    length: int
    """Characters of the evaluated answer."""
    baseline_length: int

    @property
    def over(self) -> int:
        """By how much the evaluated answer is longer; 0 where one is lacking: to be silent is not to be brief."""
        return 0 if self.no_answer else self.length - self.baseline_length


@dataclass(frozen=True, slots=True)
class Rate:
    """A share, with its 95 % bootstrap interval over questions."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class WinRates:
    """What a judge says of all pairs of an evaluation, or of a part of it.

    pairs = wins + ties + losses + undecided + missing. The rates are None where there is no verdict at all.
    """

    questions: int
    pairs: int
    wins: int
    ties: int
    losses: int
    undecided: int
    missing: int
    no_answer: int
    truncated: int
    won: Rate | None
    controlled: Rate | None
    extrapolated: bool
    """No pair has the evaluated answer shorter, or none has it longer: at equal length nothing was seen."""
    consistency: float | None
    length: float
    baseline_length: float


def read_compared(path: Path, recipe: str, step: str, judge: str, version: str) -> list[Compared]:
    """The pairs of an evaluation's step with what that version of a judge says of them: the view `pairwise`."""
    with connect(path, only=("pairwise",)) as connection:
        rows = connection.execute(
            "SELECT question_id, source, turn, won, consistent, drawn < draws, no_answer, truncated, length, "
            'baseline_length FROM pairwise WHERE recipe = ? AND step = ? AND "check" = ? AND version = ? '
            "ORDER BY question_id, pair_id",
            [recipe, step, judge, version],
        ).fetchall()
    return [Compared(*row) for row in rows]


def by_part(pairs: Sequence[Compared]) -> dict[str, list[Compared]]:
    """The pairs of each source, and of each turn where a source has several: the parts of `win_rates.sql`."""
    found: dict[str, list[Compared]] = {}
    several = {p.source for p in pairs if p.turn > 1}
    for pair in sorted(pairs, key=lambda p: (p.source, p.turn)):
        found.setdefault(pair.source, []).append(pair)
    for pair in sorted((p for p in pairs if p.source in several), key=lambda p: (p.source, p.turn)):
        found.setdefault(f"{pair.source}, turn {pair.turn}", []).append(pair)
    return dict(sorted(found.items()))


def win_rates(pairs: Sequence[Compared], seed: int = 0) -> WinRates:
    """The figures of some pairs.

    The win rate is the mean over questions of the mean over a question's pairs (its samples and turns), ties as half.
    """
    told = [p for p in pairs if p.won is not None]
    orders = [p.consistent for p in pairs if p.consistent is not None]
    won, controlled = _rates(told, seed) if told else (None, None)
    over = [p.over for p in told if not p.no_answer]
    return WinRates(
        questions=len({p.question_id for p in told}),
        pairs=len(pairs),
        wins=sum(p.won == 1 for p in told),
        ties=sum(p.won == 0.5 for p in told),
        losses=sum(p.won == 0 for p in told),
        undecided=sum(p.won is None and not p.missing for p in pairs),
        missing=sum(p.missing for p in pairs),
        no_answer=sum(p.no_answer for p in pairs),
        truncated=sum(p.truncated for p in pairs),
        won=won,
        controlled=controlled,
        extrapolated=bool(over) and (min(over) > 0 or max(over) < 0),
        consistency=sum(orders) / len(orders) if orders else None,
        length=_mean([p.length for p in pairs]),
        baseline_length=_mean([p.baseline_length for p in pairs]),
    )


def _mean(values: Sequence[int]) -> float:
    return sum(values) / len(values) if values else 0.0


def _rates(told: Sequence[Compared], seed: int) -> tuple[Rate, Rate]:
    """The raw and the length-controlled win rate of pairs that have a verdict."""
    _, question, pairs = np.unique([p.question_id for p in told], return_inverse=True, return_counts=True)
    won = np.array([p.won for p in told], dtype=np.float64)
    over = np.array([p.over for p in told], dtype=np.float64)
    # A question weighs the same however many pairs it has, and is drawn as a whole.
    share, means = 1.0 / pairs[question], np.bincount(question, won) / pairs
    often = np.random.default_rng(seed).multinomial(len(pairs), np.full(len(pairs), 1 / len(pairs)), _RESAMPLES)
    raw, controlled = [], []
    for drawn in (np.ones_like(often[:1]), *np.array_split(often, _RESAMPLES // _AT_ONCE)):
        weights: Floats = drawn[:, question] * share
        raw.append(drawn @ means / len(pairs))
        controlled.append(length_controlled(won, over, weights))
    return _rate(np.concatenate(raw)), _rate(np.concatenate(controlled))


def _rate(values: Floats) -> Rate:
    low, high = np.quantile(values[1:], [0.025, 0.975])
    return Rate(float(values[0]), float(low), float(high))


def length_controlled(won: Floats, over: Floats, weights: Floats | None = None) -> Floats:
    """The win rate that is to be expected at equal length, for each row of `weights` (left out: one row of ones).

    `won` has of each pair 1, 0.5 or 0, `over` by how many characters the evaluated answer is the longer one. As
    AlpacaEval 2 does it (Dubois et al. 2024, "Length-Controlled AlpacaEval", arXiv:2404.04475, section 3; its code is
    `alpaca_eval/metrics/glm_winrate.py`), a logistic regression of the preference is fitted,

        P(won) = sigmoid(theta + phi * tanh(over / std(over)))

    with theta for the two policies and phi for length, and the rate is its prediction with the length term left out,
    sigmoid(theta). Two of its parts are not here: a term for how hard each instruction is, which has to be fitted over
    many policies, and verbose and terse answers of the baseline that pin phi. In the place of its cross-validated
    penalty stands a weak normal prior on both terms.

    >>> won, over = np.array([1.0, 1.0, 0.0, 0.0]), np.array([90.0, 80.0, -90.0, -80.0])  # the longer one wins
    >>> [round(float(rate), 3) for rate in length_controlled(won, over)]
    [0.5]
    """
    rows = np.ones((1, len(won))) if weights is None else weights
    std = over.std(ddof=1) if len(over) > 1 else 0.0
    features = np.stack([np.ones_like(over), np.tanh(over / std) if std > 0 else np.zeros_like(over)])
    products = np.stack([a * b for a in features for b in features])
    terms = np.zeros((len(rows), 2))
    for _ in range(_STEPS):
        expected = _sigmoid(terms @ features)
        slope = (rows * (won - expected)) @ features.T - _PRIOR * terms
        curved = (rows * expected * (1 - expected) @ products.T).reshape(-1, 2, 2)
        step = np.linalg.solve(curved + _PRIOR * np.eye(2), slope[..., None])[..., 0]
        # Newton's step may go far past where the sigmoid is flat.
        step *= np.minimum(1.0, 1.0 / np.maximum(np.linalg.norm(step, axis=1, keepdims=True), 1e-12))
        terms += step
        if np.abs(step).max() < 1e-9:
            break
    return _sigmoid(terms[:, 0])


def _sigmoid(x: Floats) -> Floats:
    return 0.5 * (1.0 + np.tanh(x / 2))
