"""A run's own rows: what was asked for, by which versions, and how it ended."""

import platform
from collections.abc import Sequence
from functools import cache
from importlib.metadata import PackageNotFoundError, version

import dataengine
from dataengine.checks import load_check
from dataengine.prompting import system_prompt
from dataengine.rewrites.examples import rewriting_of
from schemas.errors import ConfigError
from schemas.keys import canonical_json
from schemas.recipe import (
    CheckSpec,
    EndpointEngine,
    EvaluateStep,
    GenerateStep,
    ImportStep,
    JudgeStep,
    MakingStep,
    PairsStep,
    Recipe,
    RewriteStep,
    Share,
)
from schemas.records import Run, now
from warehouse.store import Warehouse

# In the place of a stage, where the funnel counts what judges of pairs say.
PAIRS = "(pairs)"
_LIBRARIES = ("deltalake", "duckdb", "math-verify", "reasoning-gym", "torch", "transformers", "fasttext-community")


@cache
def code_versions() -> dict[str, str]:
    """Versions of this program, of Python and of the libraries that results may depend on."""
    found = {"dataengine": dataengine.__version__, "python": platform.python_version()}
    for library in _LIBRARIES:
        try:
            found[library] = version(library)
        except PackageNotFoundError:
            continue
    return found


def expected_checks(stage: str, specs: Sequence[CheckSpec], rewrite: str | None = None) -> list[dict[str, object]]:
    """The checks of a stage as `runs.checks` holds them: what the funnel counts as applicable.

    Those of a rewrite, given by its version, are asked of what it made, the others of what was not rewritten. Raises
    ConfigError for one that compares with a parent where there is none.
    """
    rows: list[dict[str, object]] = []
    for spec in specs:
        check = load_check(spec.check, spec.params)
        if check.of_rewrites and rewrite is None:
            raise ConfigError(f"check {check.name}: compares a rewrite with its parent; name it in a rewrite step")
        row = {"stage": stage, "check": check.name, "version": check.version, "verifier": check.kind == "verifier"}
        rows.append(row if rewrite is None else row | {"rewrite": rewrite})
    return rows


def recipe_checks(recipe: Recipe) -> list[dict[str, object]]:
    """The checks that a recipe asks for, over all its steps."""
    rows: list[dict[str, object]] = []
    for step in recipe.steps.values():
        if isinstance(step, GenerateStep):
            # Other steps of the stage may ask other checks of other prompts.
            rows += [row | _told_by(recipe, step) for row in expected_checks(step.stage, step.check_specs)]
        elif isinstance(step, ImportStep):
            rows += [row | {"imported": step.names[0]} for row in expected_checks(step.stage, step.check_specs)]
        elif isinstance(step, RewriteStep):
            rows += expected_checks(step.stage, step.check_specs, rewriting_of(step).version)
        elif isinstance(step, EvaluateStep):
            rows += expected_checks("eval", step.check_specs)
        elif isinstance(step, JudgeStep):
            rows += _expected_of_judge(recipe, step)
    return [row for i, row in enumerate(rows) if row not in rows[:i]]


def _expected_of_judge(recipe: Recipe, step: JudgeStep) -> list[dict[str, object]]:
    """As `expected_checks`: of each step that is judged the stage, its prompts' sources, and the scope.

    Of pairs the steps that chose them, and how many draws are made of each.
    """
    version, of_pairs = _version_of_judge(recipe, step.judge)
    if of_pairs != all(isinstance(recipe.steps[name], PairsStep) for name in step.steps):
        wanted = "pairs: `of` has to name steps of kind pairs" if of_pairs else "single responses: `of` names pairs"
        raise ConfigError(f"judge {step.judge} is asked about {wanted}")
    if of_pairs:
        spec = recipe.judges[step.judge]
        draws = spec.draws * len(spec.engines)
        asked = {"stage": PAIRS, "check": step.judge, "version": version, "verifier": False}
        return [asked | {"pairs": step.steps, "draws": draws}]
    scope = {"scope": "share", "share": step.scope.share} if isinstance(step.scope, Share) else {"scope": step.scope}
    rows: list[dict[str, object]] = []
    for judged in (sampled for name in step.steps for sampled in recipe.sampled(name)):
        rows.append(
            {
                "stage": "eval" if isinstance(judged, EvaluateStep) else judged.stage,
                "rewrite": rewriting_of(judged).version if isinstance(judged, RewriteStep) else None,
                "check": step.judge,
                "version": version,
                "verifier": False,
                **scope,
                **_told_by(recipe, judged),
            }
        )
    return rows


def _told_by(recipe: Recipe, step: MakingStep) -> dict[str, object]:
    """What tells a step's trajectories apart from those of other steps of its stage."""
    if isinstance(step, ImportStep):
        return {"imported": step.names[0]}
    told: dict[str, object] = {"sources": _sources_of(recipe, step)}
    return told if isinstance(step, RewriteStep) else told | {"system": system_prompt(step.template) or ""}


def _sources_of(recipe: Recipe, step: MakingStep) -> list[str]:
    """The sources of a step's prompts; of a rewrite those of what it rewrites."""
    if isinstance(step, ImportStep):
        return step.names
    if isinstance(step, RewriteStep):
        earlier = [sampled for name in step.steps for sampled in recipe.sampled(name)]
        return list(dict.fromkeys(source for e in earlier for source in _sources_of(recipe, e)))
    return [source for chosen in step.prompt_sets for source in recipe.prompts[chosen].names]


def _version_of_judge(recipe: Recipe, name: str) -> tuple[str | None, bool]:
    """A judge's version, None while an engine is not trained, and whether it is asked about pairs.

    Raises ConfigError for a judge that cannot be.
    """
    from dataengine.judge.judge import judge_prompt, judge_version
    from dataengine.policy import Policy

    spec = recipe.judges[name]
    prompt = judge_prompt(name, spec)
    engines = [recipe.engines[engine] for engine in spec.engines]
    if any(not isinstance(engine, EndpointEngine) and engine.checkpoint for engine in engines):
        return None, prompt.of_pairs
    return judge_version(spec, prompt, [Policy.of(engine).name for engine in engines]), prompt.of_pairs


class RunLog:
    """The rows of one run. The first is written when there is work, so that a run without any leaves no trace."""

    def __init__(
        self, warehouse: Warehouse, run_id: str, recipe: str, config: object, checks: list[dict[str, object]]
    ) -> None:
        self._warehouse = warehouse
        self.run_id = run_id
        self.recipe = recipe
        self._config = canonical_json(config)
        self._checks = canonical_json(checks)
        self.begun = False

    def begin(self) -> None:
        """Writes the run's first row, once."""
        if not self.begun:
            self._append("started", {})
            self.begun = True

    def end(self, event: str, counts: dict[str, int]) -> None:
        """Writes how the run ended: `finished`, `interrupted` or `failed`."""
        if self.begun:
            self._append(event, counts)

    def _append(self, event: str, counts: dict[str, int]) -> None:
        row = Run(
            run_id=self.run_id,
            event=event,  # type: ignore[arg-type]  # checked by the record
            recipe=self.recipe,
            config=self._config,
            checks=self._checks,
            versions=canonical_json(code_versions()),
            counts=canonical_json(counts),
            created_at=now(),
        )
        self._warehouse.append("runs", [row])
