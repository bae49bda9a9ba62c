"""What a judge is worth: its verdicts on cases whose verdict is known, and the figures that a mix asks for."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from dataengine.agreement import LEVEL, cohen
from dataengine.checks import Opinion
from dataengine.judge.judge import Judge
from dataengine.judge.labels import Labelled
from dataengine.judge.preference import PairJudge
from dataengine.tables import table
from schemas.keys import canonical_json
from schemas.records import Calibration, now

Told = Literal["pass", "fail", "undecided"]
OUTCOMES: tuple[Told, ...] = ("pass", "fail", "undecided")
# From here on a judge is said to follow something, or to say the same of everything.
_FOLLOWS = 0.8
_ALWAYS = 0.98
# ... if so much is as rare by chance as this many standard deviations: one error tells nothing of its length.
_SURPRISE = 3.0


@dataclass(frozen=True)
class Agreement:
    """Cohen's kappa of a judge with the labels, with its bootstrap interval; None where it has no value."""

    kappa: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Report:
    """What came of a calibration; `opinions` are of the `cases`, in their order."""

    judge: Judge | PairJudge
    gold: str
    cases: Sequence[Labelled]
    opinions: Sequence[Opinion]
    seconds: float = 0.0
    """What asking took in all."""

    @property
    def counts(self) -> dict[tuple[str, str], int]:
        """How often each label met each outcome."""
        return Counter((c.label, o.outcome) for c, o in zip(self.cases, self.opinions, strict=True))

    @property
    def agreement(self) -> Agreement:
        """Over outcomes. A verdict that is none (`undecided`) agrees with no label."""
        return agreement(self.counts)

    @property
    def parsed(self) -> float:
        """The share of cases that got a verdict."""
        return sum(not _undecided(o) for o in self.opinions) / len(self.opinions)

    @property
    def follows_length(self) -> float | None:
        """How well length alone tells what passed, among cases of one label: 0.5 is not at all. None without a case."""
        return within_labels(*self._sizes)

    @property
    def _sizes(self) -> tuple[list[str], list[str], list[int]]:
        """Label, outcome and size of each case."""
        return [c.label for c in self.cases], [o.outcome for o in self.opinions], [c.size for c in self.cases]

    @property
    def first_wins(self) -> float | None:
        """Of the draws of pairs that found one better, the share in which that was shown first: 0.5 is fair."""
        first, told = self._firsts
        return first / told if told else None

    @property
    def _firsts(self) -> tuple[int, int]:
        """How many draws of pairs preferred what was shown first, and how many preferred either."""
        votes = [vote for o in self.opinions for vote in o.details.get("votes", []) if vote.get("score")]
        return sum((v["score"] > 0) == v["a_first"] for v in votes), len(votes)

    @property
    def remarks(self) -> list[str]:
        """What a reader should know, in words."""
        said = Counter(o.details.get("verdict") or o.reason or o.outcome for o in self.opinions)
        word, count = said.most_common(1)[0]
        found, kappa = [], self.agreement
        if count >= _ALWAYS * len(self.opinions):
            found.append(f"says `{word}` of everything")
        elif kappa.low is not None and kappa.low <= 0:
            found.append("agrees no better than chance would")
        if self.parsed < _ALWAYS:
            reasons = Counter(o.reason for o in self.opinions if _undecided(o))
            told = ", ".join(f"{reason} {n}" for reason, n in reasons.most_common())
            found.append(f"gave no verdict on {1 - self.parsed:.0%} of the cases ({told})")
        follows = self.follows_length
        sure = abs(surprise(*self._sizes)) >= _SURPRISE
        if follows is not None and max(follows, 1 - follows) >= _FOLLOWS and sure:
            found.append(f"prefers {'longer' if follows > 0.5 else 'shorter'} responses, right or wrong")
        first = self.first_wins
        if first is not None and max(first, 1 - first) >= _FOLLOWS and abs(coin(*self._firsts)) >= _SURPRISE:
            found.append(f"prefers what stands {'first' if first > 0.5 else 'second'}, whichever it is")
        return found

    def record(self) -> Calibration:
        """As the table `calibrations` holds it."""
        found = self.agreement
        return Calibration(
            judge=self.judge.name,
            version=self.judge.version,
            gold=self.gold,
            kappa=found.kappa,
            low=found.low,
            high=found.high,
            n=len(self.cases),
            report=canonical_json(self.figures()),
            created_at=now(),
        )

    def figures(self) -> dict[str, Any]:
        """All figures, JSON-able."""
        found = self.agreement
        prompt_tokens, reply_tokens, usd = self.cost()
        return {
            "judge": self.judge.name,
            "version": self.judge.version,
            "policies": [p.name for p in self.judge.policies],
            "gold": self.gold,
            "n": len(self.cases),
            "kappa": found.kappa,
            "low": found.low,
            "high": found.high,
            "agreement": sum(n for (label, told), n in self.counts.items() if label == told) / len(self.cases),
            "confusion": {f"{label} said {told}": n for (label, told), n in sorted(self.counts.items())},
            "parsed": self.parsed,
            "follows_length": self.follows_length,
            "first_wins": self.first_wins,
            "prompt_tokens": prompt_tokens,
            "reply_tokens": reply_tokens,
            "seconds": round(self.seconds, 2),
            "usd": usd,
            "remarks": self.remarks,
        }

    def cost(self) -> tuple[int, int, float | None]:
        """Tokens sent and received, and US dollars, by tokens and by the time, where all engines have a price."""
        votes = [vote for o in self.opinions for vote in o.details.get("votes", [])]
        prices = {p.name: p.engine.price for p in self.judge.policies}
        usd = 0.0
        for name, price in prices.items():
            if price is None:
                return *_tokens(votes), None
            usd += price.of(*_tokens([v for v in votes if v["policy"] == name]), self.seconds)
        return *_tokens(votes), usd

    def replies(self) -> Iterator[dict[str, Any]]:
        """For each case what it was, its label, and what the judge said."""
        for case, opinion in zip(self.cases, self.opinions, strict=True):
            row = {"place": case.place, "label": case.label, "outcome": opinion.outcome, "reason": opinion.reason}
            yield row | dict(opinion.details)

    def text(self) -> str:
        """For a person."""
        figures, found = self.figures(), self.agreement
        called: dict[str, str] = {told: told for told in OUTCOMES}
        if isinstance(self.judge, PairJudge):
            called = {"pass": "a better", "fail": "b better", "undecided": "neither"}
        rows = [
            {"label": called[label], **{f"said {called[t]}": self.counts.get((label, t), 0) for t in OUTCOMES}}
            for label in ("pass", "fail")
        ]
        kappa = "has no value: one side said one thing only" if found.kappa is None else (
            f"{found.kappa:.2f} ({LEVEL:.0%} interval {found.low:.2f} to {found.high:.2f})"
        )  # fmt: skip
        lines = [
            f"judge {self.judge.name}, version {self.judge.version}, by {', '.join(figures['policies'])}",
            f"on {len(self.cases):,} cases of {self.gold}",
            f"kappa {kappa}; agreement {figures['agreement']:.1%}; verdicts on {self.parsed:.1%}",
            f"{figures['prompt_tokens']:,} tokens sent, {figures['reply_tokens']:,} received"
            + (f", {figures['usd']:.4f} USD" if figures["usd"] is not None else ""),
            table(rows),
            *(f"It {remark}." for remark in self.remarks),
        ]
        return "\n".join(lines)


def _undecided(opinion: Opinion) -> bool:
    """Whether there is no verdict; that neither of two answers is better is one."""
    return opinion.outcome == "undecided" and opinion.score is None


def _tokens(votes: Sequence[Mapping[str, Any]]) -> tuple[int, int]:
    return sum(v["prompt_tokens"] or 0 for v in votes), sum(v["completion_tokens"] or 0 for v in votes)


def agreement(counts: Mapping[tuple[str, str], int], seed: int = 0) -> Agreement:
    """Cohen's kappa of (label, told) counts, with the interval of a bootstrap over cases (percentiles, seeded).

    See `dataengine.agreement.cohen`. What is drawn from has half a case more of either error: a few cases of which none
    went wrong would else give an interval without width, and open every gate.
    """
    cells = [[counts.get((a, b), 0) for b in OUTCOMES] for a in OUTCOMES]
    errors = np.zeros((len(OUTCOMES), len(OUTCOMES)))
    errors[0, 1] = errors[1, 0] = 0.5
    found = cohen(cells, errors=errors, seed=seed)
    if found.value is None or found.low is None or found.high is None:
        return Agreement(None, None, None)
    return Agreement(round(found.value, 6), round(found.low, 6), round(found.high, 6))


def within_labels(labels: Sequence[str], told: Sequence[str], sizes: Sequence[int]) -> float | None:
    """Of pairs with one label, one passed and one failed, the share in which the larger passed; ties count half.

    None where no label has both.
    """
    larger = pairs = 0.0
    for passed, failed in _by_label(labels, told, sizes):
        larger += _larger(passed, failed)
        pairs += len(passed) * len(failed)
    return round(larger / pairs, 6) if pairs else None


def surprise(labels: Sequence[str], told: Sequence[str], sizes: Sequence[int]) -> float:
    """How far the pairs of `within_labels` are from half, in standard deviations of what chance would give.

    The rank-sum test (Wilcoxon 1945; Mann and Whitney 1947), over the labels together: of m passed and n failed the
    variance is m n / 12 (m + n + 1 - sum(t^3 - t) / ((m + n) (m + n - 1))) with t for the sizes of ties.
    """
    over = variance = 0.0
    for passed, failed in _by_label(labels, told, sizes):
        m, n = len(passed), len(failed)
        ties = np.unique(np.concatenate([passed, failed]), return_counts=True)[1].astype(np.float64)
        over += _larger(passed, failed) - m * n / 2
        variance += m * n / 12 * (m + n + 1 - float((ties**3 - ties).sum()) / ((m + n) * (m + n - 1)))
    return over / variance**0.5 if variance > 0 else 0.0


def coin(heads: int, tosses: int) -> float:
    """How far the heads of a fair coin are from half, in standard deviations of what chance would give.

    Of draws of pairs: which answer is shown first is drawn for each of them alone, so that a judge whom the order does
    not move, also one who says the same of a pair each time, prefers the first like a coin.
    """
    return (2 * heads - tosses) / tosses**0.5 if tosses else 0.0


_Sizes = npt.NDArray[np.int64]


def _by_label(labels: Sequence[str], told: Sequence[str], sizes: Sequence[int]) -> Iterator[tuple[_Sizes, _Sizes]]:
    """For each label that has both the sizes of what passed and of what failed, in order."""
    label, outcome, size = np.array(labels), np.array(told), np.array(sizes, dtype=np.int64)
    for one in np.unique(label):
        passed = np.sort(size[(label == one) & (outcome == "pass")])
        failed = np.sort(size[(label == one) & (outcome == "fail")])
        if len(passed) and len(failed):
            yield passed, failed


def _larger(passed: _Sizes, failed: _Sizes) -> float:
    """In how many pairs of the two the passed one is larger; ties count half."""
    return float((np.searchsorted(failed, passed, "left") + np.searchsorted(failed, passed, "right")).sum()) / 2
