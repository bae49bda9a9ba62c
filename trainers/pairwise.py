"""Open-ended evaluation: a policy's answers held against a baseline's by a calibrated judge, in both orders.

All of it stands in the tables that there are: replies are rows of stage `eval`, what is compared are `pairs` of a step
that is named after the evaluation's content, each draw of the judge is a row of `pair_verdicts`.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from schemas.recipe import EndpointEngine, Engine, EvaluateStep

if TYPE_CHECKING:
    from dataengine.engines.keeping import Keeper
    from dataengine.judge.preference import PairJudge
    from dataengine.judge.win_rate import Compared, Rate, WinRates
    from dataengine.policy import Policy
    from dataengine.runlog import RunLog
    from dataengine.sources.build import PromptSet
    from trainers.evaluate import EvaluateConfig
    from trainers.sides import Asked, Side, Talk
    from warehouse.store import Warehouse


class Against(BaseModel):
    """Whose answers are the baseline: one of three."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    answers: Path | None = Field(
        default=None, description="a file of a model's answers, as MT-bench, Arena-Hard or AlpacaEval have them"
    )
    engine: Engine | None = Field(default=None, description="an engine that is asked in the same way")
    policy: str | None = Field(
        default=None, description="the name of a policy that was asked in the same way before: model@revision"
    )

    @model_validator(mode="after")
    def _one_of(self) -> "Against":
        if sum(v is not None for v in (self.answers, self.engine, self.policy)) != 1:
            raise ValueError("give one of `answers` (a file), `engine`, and `policy` (a name)")
        if self.engine is not None and not isinstance(self.engine, EndpointEngine) and self.engine.model is None:
            raise ValueError("engine: give `model`, a folder; `checkpoint` names a recipe's step and is for recipes")
        return self


class Pairwise(BaseModel):
    """How answers are compared where no rule tells which are right."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    judge: str = Field(description="a judge of pairs, one of the recipe's `judges`, with `order: both`")
    recipe: str = Field(description="the recipe that has the judge and its engines: a shipped name or a path")
    against: Against = Field(description="the baseline")
    min_kappa: float = Field(
        default=0.6, ge=-1, le=1, description="the least that the low end of the judge's calibration may be; ours"
    )


@dataclass
class _Matched:
    """What is to be compared, as (prompt, policy's trajectory, baseline's trajectory), and what cannot be."""

    pairs: dict[tuple[str, str], str] = field(default_factory=dict)
    no_baseline: dict[int, int] = field(default_factory=dict)
    """Questions with samples without an answer of the baseline, by turn."""


def compare(
    config: "EvaluateConfig", warehouse: "Warehouse", prompts: "PromptSet", policy: "Policy", step: EvaluateStep
) -> dict[str, Any]:
    """Samples, lets the judge compare, and tells how often the policy's answers are better: a table on standard error.

    What is in the warehouse already is not asked again. Returns policy, baseline, counts and the win rates, over all
    pairs and by part: {"win_rate": [value, low, high], ...}. Raises ConfigError for a judge that does not compare
    answers in both orders, JudgeNotCalibrated, InputError where the baseline answers nothing, and EngineError.
    """
    from dataengine.engines.keeping import Keeper
    from dataengine.generate import run_id
    from dataengine.judge.pair_step import judge_pairs
    from dataengine.judge.win_rate import read_compared
    from dataengine.runlog import PAIRS, RunLog, expected_checks
    from dataengine.sampling import asking_of
    from dataengine.screen import first_of
    from schemas.keys import key
    from trainers.sides import Asked, talks_of

    assert config.pairwise is not None
    judge = _judge(config.pairwise)
    _refuse_unproven(warehouse, config.name, judge, config.pairwise.min_kappa)
    keeper = Keeper()
    try:
        ours = Asked(asking_of(step, policy, prompts), step.check_specs, replace(policy, keeper=keeper), prompts)
        baseline = _baseline(config.pairwise.against, ours, step, prompts, keeper)
        for note in first_of([*prompts.notes, *baseline.notes]):
            _say(f"    {note}")
        talks = talks_of(prompts.prompts, config.samples)
        # Another question, budget, baseline or the like is another step, so that SQL never mixes two evaluations.
        named = f"pairwise-{key([w.trajectory_id for w in ours.wanted(talks)], baseline.identity)[:12]}"
        draws = {"stage": PAIRS, "check": judge.name, "version": judge.version, "verifier": False, "pairs": [named]}
        log = RunLog(
            warehouse,
            config.run_id or run_id(),
            f"evaluate-{config.name}",
            config.model_dump(mode="json", exclude={"warehouse", "run_id"}),
            [*expected_checks("eval", step.check_specs), draws | {"draws": judge.asked}],
        )
        # Within a recipe the run has its row already.
        log.begun = config.run_id is not None
        matched = _match(warehouse, log, config.name, ours, baseline, talks)
    finally:
        keeper.close()
    ids = _write_pairs(warehouse, log, named, matched)
    judged = judge_pairs(warehouse, log, f"{config.name}: {judge.name}", judge, ids)
    if config.run_id is None:
        log.end("finished", {"requests": ours.requests, "verdicts": judged.checked.total})
    result = {
        "policy": policy.name,
        "baseline": baseline.name,
        "judge": f"{judge.name}@{judge.version}",
        "step": named,
        "asked": ours.requests,
        "errors": ours.errors + (baseline.errors if isinstance(baseline, Asked) else 0) + judged.missing,
        "judged": judged.asked,
        "no_baseline": {f"turn {turn}": questions for turn, questions in matched.no_baseline.items()},
    }
    figures, lines = _figures(read_compared(warehouse.path, log.recipe, named, judge.name, judge.version))
    _say(f"{policy.name} against {baseline.name}, by {result['judge']}")
    for turn, questions in matched.no_baseline.items():
        _say(f"turn {turn}: {questions:,} questions are not compared, since the baseline has no answer to them")
    for line in lines:
        _say(line)
    return result | figures


def _judge(pairwise: Pairwise) -> "PairJudge":
    from dataengine.judge.preference import PairJudge, lone_judge
    from dataengine.shipped import load_recipe
    from schemas.errors import ConfigError

    judge = lone_judge(pairwise.judge, load_recipe(pairwise.recipe))
    if not isinstance(judge, PairJudge):
        raise ConfigError(f"pairwise.judge: {judge.name} judges single responses; name one that compares two")
    if judge.spec.order != "both":
        raise ConfigError(
            f"pairwise.judge: {judge.name} draws which answer is shown first; set `order: both` in {pairwise.recipe} "
            "and calibrate it so"
        )
    if judge.prompt.front.response != "answer":
        raise ConfigError(
            f"pairwise.judge: {judge.name} is shown the thinking too; its prompt file has to say `response: answer`"
        )
    return judge


def _refuse_unproven(warehouse: "Warehouse", name: str, judge: "PairJudge", min_kappa: float) -> None:
    """Raises JudgeNotCalibrated, with the figures, for a judge that did not show to agree with known verdicts."""
    from schemas.errors import JudgeNotCalibrated
    from warehouse.connect import connect
    from warehouse.gate import unproven_version

    with connect(warehouse.path) as connection:
        if reason := unproven_version(connection, judge.name, judge.version, min_kappa):
            raise JudgeNotCalibrated(f"evaluation {name}: {reason}")


def _baseline(against: Against, ours: "Asked", step: EvaluateStep, prompts: "PromptSet", keeper: "Keeper") -> "Side":
    from dataengine.policy import Policy
    from dataengine.sampling import asking_of
    from schemas.errors import ConfigError
    from trainers.sides import Asked, Written

    if against.answers is not None:
        return Written(against.answers.expanduser())
    policy = None if against.engine is None else Policy.of(against.engine, keeper=keeper)
    named = replace(ours.asking, policy=str(against.policy))
    asking = named if policy is None else asking_of(step, policy, prompts)
    if asking.policy == ours.name:
        raise ConfigError(f"pairwise.against: {ours.name} is what is evaluated; name another baseline")
    return Asked(asking, ours.specs, policy, prompts)


def _match(
    warehouse: "Warehouse",
    log: "RunLog",
    label: str,
    ours: "Asked",
    baseline: "Side",
    talks: "Sequence[Talk]",
) -> _Matched:
    """Both sides' answers, turn by turn, each side going on with what it said itself."""
    from schemas.errors import InputError

    matched = _Matched()
    both = [(talk, talk) for talk in talks]
    while both:
        turn = both[0][0].turn
        named = label if turn == 1 else f"{label}, turn {turn}"
        theirs = baseline.say(warehouse, log, f"{named}: {baseline.name}", [other for _, other in both])
        answered = [(talk, other, said) for (talk, other), said in zip(both, theirs, strict=True) if said is not None]
        if lacking := {t.question.prompt_id for (t, _), said in zip(both, theirs, strict=True) if said is None}:
            matched.no_baseline[turn] = len(lacking)
        if not answered and not matched.pairs:
            raise InputError(
                f"evaluation {label}: {baseline.name} has answered none of {len(talks):,} samples; answers of a file "
                "are found by the questions' ids, those of a policy by the same template, sampling and max_tokens"
            )
        said_by_us = ours.say(warehouse, log, named, [talk for talk, _, _ in answered])
        both = []
        for (talk, other, theirs_said), said in zip(answered, said_by_us, strict=True):
            if said is None:
                continue  # The request failed: the next run asks again.
            matched.pairs[said.trajectory_id, theirs_said.trajectory_id] = talk.prompt.prompt_id
            following = talk.after(said.answer), other.after(theirs_said.answer)
            if following[0] is not None and following[1] is not None:
                both.append((following[0], following[1]))
    return matched


def _write_pairs(warehouse: "Warehouse", log: "RunLog", step: str, matched: _Matched) -> list[str]:
    """The ids of the pairs; rows are written for those that the warehouse lacks."""
    from schemas.keys import key
    from schemas.records import Pair, PairStep, now
    from warehouse.connect import connect

    pairs = {
        key(a, b): Pair(pair_id=key(a, b), prompt_id=prompt_id, a_id=a, b_id=b, run_id=log.run_id, created_at=now())
        for (a, b), prompt_id in matched.pairs.items()
    }
    with connect(warehouse.path, only=("pairs", "pair_steps")) as connection:
        connection.execute("CREATE TABLE wanted AS SELECT unnest(?::VARCHAR[]) AS pair_id", [list(pairs)])
        found = connection.execute("SELECT pair_id FROM pairs SEMI JOIN wanted USING (pair_id)")
        there = {row[0] for row in found.fetchall()}
        held = connection.execute("SELECT pair_id FROM pair_steps WHERE recipe = ? AND step = ?", [log.recipe, step])
        known = {row[0] for row in held.fetchall()}
    if new := [pair for ident, pair in pairs.items() if ident not in there]:
        log.begin()
        warehouse.append("pairs", new)
    if lacking := [ident for ident in pairs if ident not in known]:
        log.begin()
        rows = [PairStep(pair_id=i, recipe=log.recipe, step=step, run_id=log.run_id, created_at=now()) for i in lacking]
        warehouse.append("pair_steps", rows)
    return list(pairs)


def _figures(compared: "Sequence[Compared]") -> tuple[dict[str, Any], list[str]]:
    """The figures over all pairs and by part, and what has to be said of them on the screen."""
    from dataengine.judge.win_rate import by_part, win_rates
    from dataengine.tables import table

    whole = win_rates(compared)
    apart = by_part(compared)
    parts = {part: whole if len(apart) == 1 else win_rates(pairs) for part, pairs in apart.items()}
    shown = parts if len(apart) == 1 else {"(all)": whole, **parts}
    lines = table([_shown(part, rates) for part, rates in shown.items()]).splitlines()
    if whole.extrapolated:
        side = "longer" if whole.length > whole.baseline_length else "shorter"
        lines.append(f"every answer is the {side} one: what they would win at equal length is extrapolated")
    if whole.truncated:
        lines.append(f"{whole.truncated:,} answers were cut off at max_tokens, and are compared as they are")
    if whole.missing:
        lines.append(f"{whole.missing:,} pairs lack draws, since requests failed: run again to ask again")
    counts = ("wins", "ties", "losses", "undecided", "missing", "no_answer", "truncated")
    figures = {
        **_rates(whole),
        "questions": whole.questions,
        "pairs": whole.pairs,
        **{name: getattr(whole, name) for name in counts},
        "mean_length": round(whole.length, 1),
        "baseline_length": round(whole.baseline_length, 1),
        "extrapolated": whole.extrapolated,
        "parts": {part: _rates(rates) for part, rates in parts.items()},
    }
    return figures, lines


def _rates(rates: "WinRates") -> dict[str, Any]:
    return {
        "win_rate": _triple(rates.won),
        "length_controlled": _triple(rates.controlled),
        "consistency": None if rates.consistency is None else round(rates.consistency, 4),
    }


def _triple(rate: "Rate | None") -> list[float] | None:
    return None if rate is None else [round(rate.value, 4), round(rate.low, 4), round(rate.high, 4)]


def _shown(part: str, rates: "WinRates") -> dict[str, Any]:
    return {
        "part": part,
        "questions": rates.questions,
        "win rate": _told(rates.won),
        "at equal length": _told(rates.controlled),
        "orders agree": "" if rates.consistency is None else f"{rates.consistency:.0%}",
        "won": rates.wins,
        "tied": rates.ties,
        "lost": rates.losses,
        "undecided": rates.undecided,
        "no answer": rates.no_answer,
        "characters": round(rates.length),
        "baseline's": round(rates.baseline_length),
    }


def _told(rate: "Rate | None") -> str:
    return "" if rate is None else f"{rate.value:.1%} ({rate.low:.1%} to {rate.high:.1%})"


def _say(line: str) -> None:
    from dataengine.screen import printable

    print(printable(line), file=sys.stderr, flush=True)
