"""A recipe whose parts do not fit together is refused when it is read, before anything runs."""

from typing import Any

import pytest
from pydantic import ValidationError

from schemas.mix import Mix
from schemas.recipe import Recipe

GENERATE = {"kind": "generate", "stage": "reasoning", "prompts": "sums", "engine": "small"}
SNAPSHOT = {"kind": "snapshot", "mix": "laptop-sft"}
TRAIN = {"kind": "train", "snapshot": "cut", "engine": "small", "name": "trained"}
EVALUATE = {"kind": "evaluate", "prompts": "sums", "engine": "small"}


def recipe(steps: dict[str, dict[str, Any]], prompts: Any = None, engines: Any = None) -> Recipe:
    inline = {"source": "inline", "name": "sums", "prompts": [{"prompt": "1 + 1?"}]}
    return Recipe.model_validate(
        {
            "recipe": "demo",
            "engines": {
                "small": {"kind": "embedded", "model": "smollm2-135m-instruct"},
                "tuned": {"kind": "embedded", "checkpoint": "train"},
                "remote": {"kind": "endpoint", "url": "http://localhost:1/v1", "model": "m"},
                **(engines or {}),
            },
            "prompts": {"sums": inline, **(prompts or {})},
            "steps": steps,
        }
    )


def refusal(steps: dict[str, dict[str, Any]], prompts: dict[str, Any] | None = None) -> str:
    with pytest.raises(ValidationError) as error:
        recipe(steps, prompts)
    return str(error.value.errors()[0]["msg"]).removeprefix("Value error, ")


def test_a_whole_loop_is_accepted() -> None:
    made = recipe(
        {
            "sample": GENERATE,
            "cut": SNAPSHOT,
            "train": TRAIN,
            "again": {**GENERATE, "engine": "tuned"},
            "before": EVALUATE,
            "after": {**EVALUATE, "engine": "tuned", "prompts": ["sums"]},
            "report": {"kind": "report", "evaluations": ["before", "after"]},
        }
    )
    assert list(made.steps) == ["sample", "cut", "train", "again", "before", "after", "report"]


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ({"a": {**GENERATE, "engine": "big"}},
         "steps.a.engine: 'big' is not defined (known: remote, small, tuned)"),
        ({"a": {**GENERATE, "prompts": ["sums", "others"]}},
         "steps.a.prompts: 'others' is not defined (known: sums)"),
        ({"a": {**EVALUATE, "prompts": "others"}}, "steps.a.prompts: 'others' is not defined (known: sums)"),
        ({"a": {**GENERATE, "engine": "tuned"}},
         "steps.a.engine: 'tuned' samples the checkpoint of 'train', which is no earlier train step"),
        ({"a": {**GENERATE, "engine": "tuned"}, "cut": SNAPSHOT, "train": TRAIN},
         "steps.a.engine: 'tuned' samples the checkpoint of 'train', which is no earlier train step"),
        ({"train": GENERATE, "a": {**GENERATE, "engine": "tuned"}},
         "steps.a.engine: 'tuned' samples the checkpoint of 'train', which is no earlier train step"),
        ({"train": TRAIN, "cut": SNAPSHOT}, "steps.train.snapshot: 'cut' is no earlier snapshot step"),
        ({"cut": GENERATE, "train": TRAIN}, "steps.train.snapshot: 'cut' is no earlier snapshot step"),
        ({"cut": SNAPSHOT, "train": {**TRAIN, "engine": "remote"}},
         "steps.train.engine: an endpoint has no weights to train"),
        ({"cut": SNAPSHOT, "train": {**TRAIN, "engine": "tuned"}},
         "steps.train.engine: 'tuned' samples the checkpoint of 'train', which is no earlier train step"),
        ({"r": {"kind": "report", "evaluations": ["e"]}, "e": EVALUATE},
         "steps.r.evaluations: 'e' is not defined (known: none is defined)"),
    ],
)  # fmt: skip
def test_a_reference_to_what_is_not_there_or_comes_later(steps: dict[str, Any], message: str) -> None:
    assert refusal(steps) == message


def test_excluding_an_unknown_prompt_set() -> None:
    source = {"source": "reasoning_gym", "tasks": [{"task": "gcd", "count": 1}], "exclude": ["gone"]}
    assert refusal({"a": GENERATE}, {"tasks": source}) == (
        "prompts.tasks.exclude: 'gone' is not defined (known: sums, tasks)"
    )


@pytest.mark.parametrize("engine", [{}, {"model": "a", "checkpoint": "b"}])
def test_an_embedded_engine_is_a_model_or_a_checkpoint(engine: dict[str, str]) -> None:
    with pytest.raises(ValidationError, match="give either `model` or `checkpoint`"):
        recipe({"a": EVALUATE}, engines={"e": {"kind": "embedded", **engine}})


def test_a_recipe_needs_a_step() -> None:
    with pytest.raises(ValidationError, match="at least 1 item"):
        recipe({})


@pytest.mark.parametrize("name", ["a", "laptop-sft", "v1.2_x", "A" * 100, "0", "a..b"])
def test_names_that_are_good_file_names(name: str) -> None:
    assert Mix.model_validate({"mix": name, "sources": [{"stage": "eval", "require": ["a"]}]}).mix == name


@pytest.mark.parametrize(
    "name", ["", ".", "..", ".hidden", "a/b", "../a", "/a", "a\\b", "a b", "é", "名", "a\n", "a\0", "A" * 101,
             "a" * 300, "a@1"]
)  # fmt: skip
def test_names_that_would_be_paths_or_unreadable(name: str) -> None:
    with pytest.raises(ValidationError, match="should match pattern"):
        Mix.model_validate({"mix": name, "sources": [{"stage": "eval", "require": ["a"]}]})


@pytest.mark.parametrize(
    "changes",
    [
        {"validation": 1.0},
        {"validation": -0.1},
        {"sources": []},
        {"sources": [{"stage": "eval", "require": []}]},
        {"sources": [{"stage": "eval", "require": ["a"], "max_per_prompt": 0}]},
        {"sources": [{"stage": "eval", "require": ["a"], "choose": "longest"}]},
        {"sources": [{"stage": "eval", "require": ["a"], "colour": "red"}]},
    ],
)
def test_mixes_that_cannot_be(changes: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Mix.model_validate({"mix": "m", "sources": [{"stage": "eval", "require": ["a"]}], **changes})
