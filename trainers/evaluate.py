"""Evaluation: held-out prompts sampled k times, checked, scored, and kept in the warehouse as stage `eval`."""

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from schemas.recipe import CheckSpec, EndpointEngine, Engine, EvaluateStep, Sampling, Source
from schemas.records import Stage
from trainers.pairwise import Pairwise, compare


class EvaluateConfig(BaseModel):
    """What a file of `trainers evaluate` may say."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(description="the evaluation's name, for the log")
    warehouse: Path = Field(description="the warehouse's folder; made if it is not there")
    engine: Engine = Field(description="what is evaluated: {kind: embedded, model: FOLDER} or an endpoint")
    prompts: dict[str, Source] = Field(description="prompt sets, as in a recipe")
    sets: list[str] | None = Field(default=None, description="the sets that are evaluated; default: all")
    samples: int = Field(default=4, ge=1, le=4096, description="k, samples per prompt")
    # Temperature and top-p as in the R1 report's evaluations
    sampling: Sampling = Field(default_factory=lambda: Sampling(temperature=0.6, top_p=0.95))
    max_tokens: int = Field(default=1024, ge=1, description="budget of a reply; part of what is evaluated")
    template: str = Field(default="think", description="how a prompt is put to the model")
    checks: list[str | CheckSpec] = Field(
        default_factory=list, description="a verifier and the form that replies must keep; none needed with `pairwise`"
    )
    pairwise: Pairwise | None = Field(default=None, description="for sets without a rule: docs/trainers.md")
    limit: int | None = Field(default=None, ge=1, description="at most so many prompts of each set")
    run_id: str | None = Field(default=None, description="set by `dataengine run`: the run these rows belong to")

    @model_validator(mode="after")
    def _folder(self) -> "EvaluateConfig":
        if not isinstance(self.engine, EndpointEngine) and self.engine.model is None:
            raise ValueError("engine: give `model`, a folder; `checkpoint` names a recipe's step and is for recipes")
        if not self.checks and self.pairwise is None:
            raise ValueError("checks: name a verifier, or compare answers by a judge with `pairwise`")
        for name in self.sets or []:
            if name not in self.prompts:
                raise ValueError(f"sets: {name!r} is no prompt set (there are: {', '.join(self.prompts)})")
        return self


def evaluate(config: EvaluateConfig) -> dict[str, Any]:
    """Samples, checks and scores; what is in the warehouse already is not asked again.

    Returns the policy, counts, the scores over all prompts and by source: {"strict": [value, low, high], ...}.
    """
    from dataengine.generate import run_id
    from dataengine.policy import Policy
    from dataengine.runlog import RunLog, expected_checks
    from dataengine.sampling import asking_of, sample_and_check
    from dataengine.scores import read_attempts, score
    from dataengine.sources.build import join
    from warehouse.store import Warehouse

    warehouse = Warehouse.open(config.warehouse, create=True)
    prompts = join(config.sets or list(config.prompts), config.prompts, config.limit)
    policy = Policy.of(config.engine)
    step = EvaluateStep(
        kind="evaluate",
        prompts=list(config.sets or config.prompts),
        engine="engine",
        samples=config.samples,
        sampling=config.sampling,
        max_tokens=config.max_tokens,
        template=config.template,
        checks=config.checks,
    )
    if config.pairwise is not None:
        return compare(config, warehouse, prompts, policy, step)
    stage: Stage = "eval"
    log = RunLog(
        warehouse,
        config.run_id or run_id(),
        f"evaluate-{config.name}",
        config.model_dump(mode="json", exclude={"warehouse", "run_id"}),
        expected_checks(stage, step.check_specs),
    )
    # Within a recipe the run has its row already, with the checks of all its steps.
    log.begun = config.run_id is not None
    done = sample_and_check(
        warehouse, log, config.name, prompts, policy, asking_of(step, policy, prompts), step.check_specs
    )
    if config.run_id is None:
        log.end("finished", {"requests": done.asked, "verdicts": done.checked.total})
    attempts = read_attempts(warehouse.path, policy.name, [w.trajectory_id for w in done.wanted])
    scores = score(attempts)
    sources = sorted({a.source for a in attempts})
    return {
        "policy": policy.name,
        "asked": done.asked,
        "errors": done.failed + done.checked.errors,
        "prompts": scores.prompts,
        "samples": scores.samples,
        "strict": _triple(scores.strict),
        "lenient": _triple(scores.lenient),
        "form": _triple(scores.form),
        f"cons@{config.samples}": _triple(scores.cons),
        "not_told": scores.not_told,
        "sources": {s: _triple(score([a for a in attempts if a.source == s]).strict) for s in sources},
    }


def _triple(interval: Any) -> list[float]:
    return [round(interval.value, 4), round(interval.low, 4), round(interval.high, 4)]
