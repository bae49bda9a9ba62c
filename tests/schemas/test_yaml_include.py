"""Recipes that build on others."""

from pathlib import Path

import pytest

from dataengine.shipped import load_recipe
from schemas.errors import ConfigError
from schemas.recipe import EmbeddedEngine, GenerateStep

BELOW = """\
recipe: below
description: what is built on
engines:
  policy: {kind: endpoint, url: "http://127.0.0.1:1/v1", model: large}
prompts:
  chat: {source: inline, name: chat, prompts: [{prompt: "Hello!"}]}
steps:
  first: &first
    kind: generate
    stage: reasoning
    prompts: chat
    engine: policy
    samples: 4
    sampling: {temperature: 0.7, top_p: 0.9}
    checks: [format, length]
  second: {<<: *first, stage: cold_start, samples: 2}
"""


@pytest.fixture
def below(tmp_path: Path) -> Path:
    path = tmp_path / "below.yaml"
    path.write_text(BELOW, encoding="utf-8")
    return path


def above(folder: Path, text: str, name: str = "above.yaml") -> str:
    (folder / name).write_text(text, encoding="utf-8")
    return str(folder / name)


def test_what_a_file_says_goes_over_what_it_includes(below: Path) -> None:
    recipe = load_recipe(
        above(
            below.parent,
            "recipe: above\ninclude: [below.yaml]\n"
            "engines: {policy: {kind: embedded, model: smollm2-135m-instruct}}\n"
            "steps:\n"
            "  second: {samples: 1, sampling: {temperature: 1.0}, checks: [format]}\n"
            "  third: {kind: generate, stage: eval, prompts: chat, engine: policy}\n",
        )
    )
    assert (recipe.recipe, recipe.description, list(recipe.steps)) == ("above", "", ["first", "second", "third"])
    # An engine of another kind builds on nothing.
    assert recipe.engines["policy"] == EmbeddedEngine(kind="embedded", model="smollm2-135m-instruct")
    first, second = recipe.steps["first"], recipe.steps["second"]
    assert isinstance(first, GenerateStep) and isinstance(second, GenerateStep)
    assert (second.stage, second.samples, second.checks) == ("cold_start", 1, ["format"])
    assert (second.sampling.temperature, second.sampling.top_p) == (1.0, 0.9)
    # What another step shares with it by an anchor is left as it was.
    assert (first.samples, first.sampling.temperature, first.checks) == (4, 0.7, ["format", "length"])


def test_a_file_comes_once_and_overrides_go_over_all(below: Path) -> None:
    for name in ("left", "right"):
        above(
            below.parent,
            f"recipe: {name}\ninclude: [below.yaml]\nsteps: {{first: {{max_tokens: 5}}}}\n",
            f"{name}.yaml",
        )
    changed = "recipe: above\ninclude: [left.yaml, right.yaml]\nsteps: {second: {samples: 7}}\n"
    recipe = load_recipe(above(below.parent, changed), ["steps.first.max_tokens=9"])
    first, second = recipe.steps["first"], recipe.steps["second"]
    assert isinstance(first, GenerateStep) and isinstance(second, GenerateStep)
    assert (first.max_tokens, second.samples, second.max_tokens) == (9, 7, 1024)


def test_a_shipped_recipe_is_included_by_its_name(tmp_path: Path) -> None:
    recipe = load_recipe(above(tmp_path, "recipe: mine\ninclude: [math]\nsteps: {sample: {samples: 3}}\n"))
    assert recipe.recipe == "mine"
    assert list(recipe.steps) == list(load_recipe("math").steps)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("recipe: a\ninclude: [nowhere]\n", "above.yaml: include: nowhere: no file, and no shipped name"),
        ("recipe: a\ninclude: [gone.yaml]\n", "gone.yaml: no such file"),
        ("recipe: a\ninclude: [above.yaml]\n", "above.yaml: includes above.yaml, which includes it"),
        ("recipe: a\ninclude: {below: 1}\n", "above.yaml:2: include is a list of names or paths"),
        # Whose line it is.
        ("recipe: a\ninclude: [below.yaml]\nsteps:\n  first: {samples: none}\n", "above.yaml:4: steps.first.samples"),
        ("recipe: a\ninclude: [below.yaml]\nengines: {policy: {url: x}}\n", "above.yaml:3: engines.policy.url"),
        ("recipe: a\ninclude: [bad.yaml]\n", "bad.yaml:2: steps.first is"),
        ("recipe: a\ninclude: [torn.yaml]\n", "torn.yaml:3: no YAML"),
    ],
)
def test_what_is_wrong_is_named_with_the_file_it_stands_in(below: Path, text: str, told: str) -> None:
    above(below.parent, "recipe: bad\nsteps: {first: 3}\n", "bad.yaml")
    above(below.parent, "recipe: bad\nsteps: {first\n", "torn.yaml")
    with pytest.raises(ConfigError) as error:
        load_recipe(above(below.parent, text))
    assert "\n" not in str(error.value)
    assert told in str(error.value)
