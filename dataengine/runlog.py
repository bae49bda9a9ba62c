"""A run's own rows: what was asked for, by which versions, and how it ended."""

import platform
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version

import dataengine
from dataengine.checks import load_check
from schemas.keys import canonical_json
from schemas.recipe import CheckSpec, EndpointEngine, EvaluateStep, GenerateStep, JudgeStep, Recipe, Share
from schemas.records import Run, now
from warehouse.store import Warehouse

_LIBRARIES = ("deltalake", "duckdb", "math-verify", "reasoning-gym", "torch", "transformers", "fasttext-community")


def code_versions() -> dict[str, str]:
    """Versions of this program, of Python and of the libraries that results may depend on."""
    found = {"dataengine": dataengine.__version__, "python": platform.python_version()}
    for library in _LIBRARIES:
        try:
            found[library] = version(library)
        except PackageNotFoundError:
            continue
    return found


def expected_checks(stage: str, specs: Sequence[CheckSpec]) -> list[dict[str, object]]:
    """The checks of a stage as `runs.checks` holds them: what the funnel counts as applicable."""
    rows = []
    for spec in specs:
        check = load_check(spec.check, spec.params)
        rows.append(
            {"stage": stage, "check": check.name, "version": check.version, "verifier": check.kind == "verifier"}
        )
    return rows


def recipe_checks(recipe: Recipe) -> list[dict[str, object]]:
    """The checks that a recipe asks for, over all its steps."""
    rows: list[dict[str, object]] = []
    for step in recipe.steps.values():
        if isinstance(step, GenerateStep):
            rows += expected_checks(step.stage, step.check_specs)
        elif isinstance(step, EvaluateStep):
            rows += expected_checks("eval", step.check_specs)
        elif isinstance(step, JudgeStep):
            rows += _expected_of_judge(recipe, step)
    return [row for i, row in enumerate(rows) if row not in rows[:i]]


def _expected_of_judge(recipe: Recipe, step: JudgeStep) -> list[dict[str, object]]:
    """As `expected_checks`: of each step that is judged the stage, its prompts' sources, and the scope."""
    version = _version_of_judge(recipe, step.judge)
    scope = {"scope": "share", "share": step.scope.share} if isinstance(step.scope, Share) else {"scope": step.scope}
    rows: list[dict[str, object]] = []
    for judged in (sampled for name in step.steps for sampled in recipe.sampled(name)):
        rows.append(
            {
                "stage": judged.stage if isinstance(judged, GenerateStep) else "eval",
                "check": step.judge,
                "version": version,
                "verifier": False,
                "sources": [source for chosen in judged.prompt_sets for source in recipe.prompts[chosen].names],
                **scope,
            }
        )
    return rows


def _version_of_judge(recipe: Recipe, name: str) -> str | None:
    """A judge's version; None while an engine is not trained. Raises ConfigError for a judge that cannot be."""
    from dataengine.judge.judge import judge_prompt, judge_version
    from dataengine.policy import Policy

    spec = recipe.judges[name]
    prompt = judge_prompt(name, spec)
    engines = [recipe.engines[engine] for engine in spec.engines]
    if any(not isinstance(engine, EndpointEngine) and engine.checkpoint for engine in engines):
        return None
    return judge_version(spec, prompt, [Policy.of(engine).name for engine in engines])


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
