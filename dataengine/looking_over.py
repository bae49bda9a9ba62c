"""A recipe looked over before it is run: what would stop it later is told now."""

from pathlib import Path

from dataengine.chat_tokenizer import look_over_chat
from dataengine.prompting import system_prompt
from dataengine.review_step import look_over_review
from dataengine.rewrites.parents import look_over
from dataengine.runlog import recipe_checks
from dataengine.shipped import load_mix, systems_of
from dataengine.sources.files import reader_of
from schemas.errors import ConfigError
from schemas.mix import AnyMix
from schemas.recipe import (
    CalibrateStep,
    EvaluateStep,
    FileSource,
    GenerateStep,
    ImportStep,
    Recipe,
    ReviewStep,
    RewriteExamples,
    RewriteStep,
    SnapshotStep,
)


def look_over_recipe(recipe: Recipe) -> None:
    """Raises ConfigError for a check, template, rewrite or mix that is not there: before hours of work, not after."""
    _refuse_missing(recipe)
    recipe_checks(recipe)
    for name, step in recipe.steps.items():
        if isinstance(step, GenerateStep | EvaluateStep):
            system_prompt(step.template)
        elif isinstance(step, ImportStep):
            reader_of(step)
        elif isinstance(step, RewriteStep):
            look_over(name, step, recipe)
        elif isinstance(step, ReviewStep):
            look_over_review(name, step, recipe)
        elif isinstance(step, SnapshotStep):
            mix = mix_of(step)
            systems_of(mix)
            look_over_chat(mix)


def _refuse_missing(recipe: Recipe) -> None:
    """Raises ConfigError that names every file that is not there."""
    named = {f"prompts.{n}.path": source.path for n, source in recipe.prompts.items() if isinstance(source, FileSource)}
    for name, step in recipe.steps.items():
        if isinstance(step, ImportStep):
            named[f"steps.{name}.path"] = step.path
        elif isinstance(step, CalibrateStep):
            named[f"steps.{name}.cases"] = step.cases
        elif isinstance(step, RewriteStep) and isinstance(step.demonstrations, RewriteExamples):
            named[f"steps.{name}.demonstrations.path"] = step.demonstrations.path
    gone = {setting: path for setting, path in named.items() if not Path(path).expanduser().is_file()}
    for setting, path in gone.items():
        others = list(dict.fromkeys(p for p in gone.values() if p != path))
        more = f"; nor {', '.join(others)}" if others else ""
        raise ConfigError(f"{setting}: there is no file {path}; put it there or name another: {setting}=FILE{more}")


def mix_of(step: SnapshotStep) -> AnyMix:
    """The mix of a snapshot step, loaded where it is named. Raises ConfigError."""
    return load_mix(step.mix) if isinstance(step.mix, str) else step.mix
