"""Evaluation: held-out prompts sampled k times, checked, scored, and kept in the warehouse as stage `eval`."""

import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from schemas.errors import ConfigError
from schemas.recipe import (
    CheckSpec,
    DatasetsSource,
    EndpointEngine,
    Engine,
    EvaluateStep,
    FileSource,
    Sampling,
    Source,
)
from schemas.records import Stage
from schemas.yaml_file import load_yaml
from trainers.pairwise import Pairwise, compare

_BENCHMARKS = Path(__file__).parent / "benchmarks"


class EvaluateConfig(BaseModel):
    """What a file of `trainers evaluate` may say."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(min_length=1, description="the evaluation's name, for the log and for metrics")
    warehouse: Path = Field(
        default_factory=lambda: Path(os.environ.get("DATAENGINE_WAREHOUSE", "warehouse-data")),
        description="the warehouse's folder; made if it is not there",
    )
    engine: Engine = Field(description="what is evaluated: {kind: embedded, model: FOLDER} or an endpoint")
    prompts: dict[str, Source] = Field(min_length=1, description="prompt sets, as in a recipe")
    sets: list[str] | None = Field(
        default=None, description="the sets that are evaluated; default: all but the one of `shots_from`"
    )
    data: Path | None = Field(
        default=None,
        description="the folder with the files of sets that come from `datasets` otherwise; with one set its file",
    )
    samples: int = Field(default=4, ge=1, le=4096, description="k, samples per prompt; the default is ours")
    shots: list[Annotated[int, Field(ge=0)]] = Field(
        default=[0], min_length=1, description="worked examples before each question; [0, 4] shows both side by side"
    )
    shots_from: str | None = Field(
        default=None,
        description="the prompt set that they are drawn from, or a file with rows of question, reasoning and answer; "
        "default: the `demonstrations` of each set",
    )
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

    @field_validator("shots", mode="before")
    @classmethod
    def _one_is_a_list(cls, value: Any) -> Any:
        return [value] if isinstance(value, int) else value

    @model_validator(mode="after")
    def _folder(self) -> "EvaluateConfig":
        if not isinstance(self.engine, EndpointEngine) and self.engine.model is None:
            raise ValueError("engine: give `model`, a folder; `checkpoint` names a recipe's step and is for recipes")
        if not self.checks and self.pairwise is None:
            raise ValueError("checks: name a verifier, or compare answers by a judge with `pairwise`")
        for name in self.sets or []:
            if name not in self.prompts:
                raise ValueError(f"sets: {name!r} is no prompt set (there are: {', '.join(self.prompts)})")
        if not self.evaluated:
            raise ValueError(f"sets: {self.shots_from} gives the worked examples, and no other set is there")
        return self

    @property
    def evaluated(self) -> list[str]:
        """The names of the evaluated sets."""
        return self.sets or [name for name in self.prompts if name != self.shots_from]

    @property
    def sources(self) -> dict[str, Source]:
        """The prompt sets, with `data` those of its files. Raises ConfigError for a set that has none there."""
        if self.data is None:
            return self.prompts
        place, read = self.data.expanduser(), list(self.evaluated)
        if not place.is_dir() and len(read) > 1:
            raise ConfigError(f"data: {place} is no folder, and there are {len(read)} sets to be read")
        if place.is_dir() and any(self.shots) and self.shots_from in self.prompts:
            read.append(self.shots_from)
        return self.prompts | {name: _from_file(name, self.prompts[name], place) for name in read}


def _from_file(name: str, source: Source, place: Path) -> Source:
    """A set that is read from a file, or from its file in a folder, rather than by the library `datasets`."""
    if not isinstance(source, DatasetsSource):
        return source
    if place.is_dir():
        if source.file is None:
            raise ConfigError(f"data: {place} is a folder; prompts.{name}.file has to say which of its files")
        place /= source.file
        packed = place.with_name(f"{place.name}.gz")
        place = packed if packed.is_file() and not place.is_file() else place
    if not place.is_file():
        raise ConfigError(f"data: {place} is not there; prompts.{name}.file names it")
    kept = source.model_dump(exclude={"source", "path", "config", "split", "revision", "file"})
    return FileSource(source="file", path=str(place), **kept | {"name": source.names[0]})


def benchmarks() -> dict[str, Path]:
    """The shipped files of benchmarks by name."""
    return {p.stem: p for p in sorted(_BENCHMARKS.glob("*.yaml"))}


def load_evaluation(name: str, overrides: Sequence[str] = ()) -> EvaluateConfig:
    """The evaluation of that path or shipped benchmark, with `key=value` overrides. Raises ConfigError."""
    path = benchmarks().get(name, Path(name).expanduser())
    if not path.exists() and path.suffix not in (".yaml", ".yml"):
        raise ConfigError(f"{name}: no file, and no shipped benchmark; there are: {', '.join(benchmarks())}")
    return load_yaml(path, EvaluateConfig, overrides)


def evaluate(config: EvaluateConfig) -> dict[str, Any]:
    """Samples, checks and scores; what is in the warehouse already is not asked again.

    Returns the policy, counts, the scores over all prompts with the first of `shots`, and in `results` those of each
    number of shots and source: {"pass@1": [value, low, high], ...}, with 95 % intervals. The same is told as a table on
    standard error, and written to `metrics`.
    """
    from dataengine.generate import run_id
    from dataengine.policy import Policy
    from dataengine.runlog import RunLog, expected_checks
    from dataengine.sampling import Sampled, asking_of, sample_and_check
    from dataengine.scores import read_attempts, score
    from dataengine.sources.build import join
    from trainers.results import Result, training_of, write_metrics
    from trainers.shots import worked_examples
    from warehouse.store import Warehouse

    warehouse = Warehouse.open(config.warehouse, create=True)
    prompts = join(config.evaluated, config.sources, config.limit)
    for note in prompts.notes:
        print(note, file=sys.stderr)
    policy = Policy.of(config.engine)
    training = training_of(policy)
    step = EvaluateStep(
        kind="evaluate",
        prompts=config.evaluated,
        engine="engine",
        samples=config.samples,
        sampling=config.sampling,
        max_tokens=config.max_tokens,
        template=config.template,
        checks=config.checks,
    )
    if config.pairwise is not None:
        return compare(config, warehouse, prompts, policy, step)
    asking = asking_of(step, policy, prompts)
    # Of all prompts of the sets, so that a `limit` changes no example, and shows none that it leaves out.
    whole = prompts if config.limit is None or not any(config.shots) else join(config.evaluated, config.sources)
    examples = worked_examples(config.shots_from, config.sources, whole, config.template, max(config.shots))
    stage: Stage = "eval"
    said = config.model_dump(mode="json", exclude={"warehouse", "run_id"})
    log = RunLog(
        warehouse,
        config.run_id or run_id(),
        f"evaluate-{config.name}",
        said if training is None else said | {"training": training.as_json},
        expected_checks(stage, step.check_specs),
    )
    # Within a recipe the run has its row already, with the checks of all its steps.
    log.begun = config.run_id is not None
    source_of = {p.prompt_id: p.source for p in prompts.prompts}
    done: list[Sampled] = []
    results: list[Result] = []
    for shots in dict.fromkeys(config.shots):
        shown = {source: listed[:shots] for source, listed in examples.items()} if shots else {}
        label = f"{config.name} {shots}-shot" if shots else config.name
        asked = replace(asking, demonstrations=shown)
        done.append(sample_and_check(warehouse, log, label, prompts, policy, asked, step.check_specs))
        found = read_attempts(warehouse.path, policy.name, [w.trajectory_id for w in done[-1].wanted])
        # By the set that it was asked for: the warehouse may know a prompt from another one (GSM8K from MGSM).
        attempts = [replace(a, source=source_of[a.prompt_id]) for a in found]
        sources = sorted({a.source for a in attempts})
        results.append(Result(None, shots, score(attempts)))
        results += [Result(s, shots, score([a for a in attempts if a.source == s])) for s in sources]
    if config.run_id is None:
        counts = {"requests": sum(d.asked for d in done), "verdicts": sum(d.checked.total for d in done)}
        log.end("finished", counts)
    write_metrics(warehouse, config.name, policy.name, training, results)
    return {
        "policy": policy.name,
        **({} if training is None else {"training": training.as_json}),
        "asked": sum(d.asked for d in done),
        "errors": sum(d.failed + d.checked.errors for d in done),
        **results[0].scores_as_json,
        "results": [r.as_json for r in results if r.source is not None],
    }
