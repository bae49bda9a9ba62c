"""What an evaluation says at its end: a table for people, JSON for programs, metrics for curves over steps."""

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dataengine.policy import Policy
from dataengine.scores import Interval, Scores
from dataengine.tables import table
from schemas.records import Metric, now
from trainers.checkpoint import finished
from warehouse.connect import connect
from warehouse.store import Warehouse


@dataclass(frozen=True)
class Training:
    """Which training made a policy's weights, and after how many optimizer steps."""

    key: str
    step: int
    trainer: str | None = None

    @property
    def as_json(self) -> dict[str, Any]:
        """For the run's row and the last line."""
        return {"trainer": self.trainer, "step": self.step, "key": self.key}


def training_of(policy: Policy) -> Training | None:
    """The training of a policy whose weights are a checkpoint of ours, or a state of an unfinished one; else None."""
    if policy.model is None:
        return None
    if made := finished(policy.model.folder):
        return Training(made["key"], made["steps"], made.get("trainer"))
    state = _state(policy.model.folder)
    return None if state is None else Training(state["key"], state["step"])


def _state(folder: Path) -> dict[str, Any] | None:
    try:
        progress = json.loads((folder / "progress.json").read_bytes())
    except (OSError, ValueError):
        return None
    return progress if isinstance(progress, dict) and {"key", "step"} <= progress.keys() else None


@dataclass(frozen=True)
class Result:
    """The scores of one source, or of all prompts, with so many worked examples."""

    source: str | None
    shots: int
    scores: Scores

    @property
    def scores_as_json(self) -> dict[str, Any]:
        """Counts, and scores as [value, low, high]."""
        s = self.scores
        k = {f"pass@{j}": _triple(interval) for j, interval in s.pass_at.items()}
        cons = {} if s.cons is None else {f"cons@{s.k}": _triple(s.cons)}
        words = {"reflections": s.reflections, "consistency": s.consistency}
        return {
            "prompts": s.prompts,
            "samples": s.samples,
            "strict": _triple(s.strict),
            "lenient": _triple(s.lenient),
            "form": _triple(s.form),
            **k,
            **cons,
            "not_told": s.not_told,
            "mean_tokens": round(s.mean_tokens, 1),
            "truncated": round(s.truncated, 4),
            **{name: round(value, 4) for name, value in words.items() if value is not None},
        }

    @property
    def as_json(self) -> dict[str, Any]:
        """The same with the source and the shots."""
        return {"source": self.source, "shots": self.shots, **self.scores_as_json}

    @property
    def metrics(self) -> Iterator[tuple[str, float]]:
        """(name, value) of every number that makes a curve."""
        s = self.scores
        yield from (("strict", s.strict.value), ("format", s.form.value))
        yield from ((f"pass@{j}", interval.value) for j, interval in s.pass_at.items())
        if s.cons is not None:
            yield f"cons@{s.k}", s.cons.value
        yield from (("tokens", s.mean_tokens), ("truncated", s.truncated))
        if s.reflections is not None:
            yield "reflections", s.reflections
        if s.consistency is not None:
            yield "consistency", s.consistency

    @property
    def row(self) -> dict[str, Any]:
        """A row of the table for people."""
        s = self.scores
        return {
            "source": self.source or "(all)",
            "shots": self.shots,
            "prompts": s.prompts,
            "k": s.k,
            "pass@1": _percent(s.lenient),
            "strict": _percent(s.strict),
            "pass@k": _percent(s.pass_at[s.k]) if s.k > 1 else None,
            "cons@k": _percent(s.cons) if s.cons is not None and s.k > 1 else None,
            "in form": f"{s.form.value:.1%}",
            "not told": s.not_told,
            "tokens": round(s.mean_tokens, 1),
            "truncated": f"{s.truncated:.1%}",
            "reflections": None if s.reflections is None else round(s.reflections, 2),
            "language": None if s.consistency is None else f"{s.consistency:.1%}",
        }


def results_table(results: Sequence[Result]) -> str:
    """The results for people, few-shot below zero-shot of each source; columns without any value are left out."""
    several = len({r.source for r in results}) > 2
    shown = [r for r in results if r.scores.prompts and (several or r.source is not None)]
    rows = [r.row for r in sorted(shown, key=lambda r: (r.source is None, r.source or "", r.shots))]
    known = [name for name in rows[0] if any(row[name] is not None for row in rows)] if rows else []
    return table([{name: row[name] for name in known} for row in rows])


def write_metrics(
    warehouse: Warehouse, name: str, policy: str, training: Training | None, results: Sequence[Result]
) -> None:
    """Prints the table, and writes every score of each source to `metrics`, as eval/<name>/<source>/<score>.

    The run is the training's key and the step its step, or the policy and 0. A number that is there stays: where this
    evaluation differs, under the same name, that is said.
    """
    run, step = (policy, 0) if training is None else (training.key, training.step)
    of = "" if training is None else f", step {training.step:,}"
    print(f"\n{policy}{of}; in brackets 95% intervals over prompts\n{results_table(results)}", file=sys.stderr)
    values: dict[str, float] = {}
    for result in results:
        if result.source is not None and result.scores.prompts:
            parts = ["eval", name, *([result.source] if result.source != name else [])]
            parts += [f"{result.shots}-shot"] if result.shots else []
            values |= {"/".join([*parts, score]): value for score, value in result.metrics}
    at = now()
    rows = [Metric(run_id=run, step=step, name=n, value=v, created_at=at) for n, v in values.items()]
    warehouse.append("metrics", rows)
    with connect(warehouse.path, only=("metrics",)) as connection:
        known = connection.execute("SELECT name, value FROM metrics WHERE run_id = ? AND step = ?", [run, step])
        differs = [n for n, value in known.fetchall() if n in values and value != values[n]]
    if differs:
        print(
            f"metrics: {len(differs)} scores of this step are there from an evaluation with other settings or fewer "
            f"samples, and stay ({differs[0]}, ...); another `name` keeps these too",
            file=sys.stderr,
        )


def _triple(interval: Interval) -> list[float]:
    return [round(interval.value, 4), round(interval.low, 4), round(interval.high, 4)]


def _percent(interval: Interval) -> str:
    return f"{interval.value:.1%} ({interval.low:.1%}-{interval.high:.1%})"
