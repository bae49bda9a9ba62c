"""A recipe whose parts do not fit together is refused when it is read, before anything runs."""

from typing import Any

import pytest
from pydantic import ValidationError

from schemas.mix import Mix, MixFile
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
         "steps.train.engine: an endpoint has no weights to train; name their folder"),
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


PAIRS = {"judge": "likes"}
LABELS = {"stage": "eval", "check": "a"}
PROMPTS = {"domain": "math", "verifiers": ["math"], "stage": "reasoning"}


def mixed(rows: str | None, *sources: dict[str, Any]) -> Any:
    named = {} if rows is None else {"rows": rows}
    return MixFile.model_validate({"mix": "m", **named, "sources": list(sources)}).root


def test_a_mix_is_of_the_rows_that_it_says_and_of_samples_otherwise() -> None:
    sources = {"samples": {"stage": "eval", "require": ["a"]}, "pairs": PAIRS, "labels": LABELS, "prompts": PROMPTS}
    for rows, source in sources.items():
        mix = mixed(rows, source)
        assert mix.rows == rows
        assert MixFile.model_validate(mix.model_dump(mode="json")).root == mix
    assert mixed(None, sources["samples"]) == mixed("samples", sources["samples"])


@pytest.mark.parametrize(
    ("rows", "sources", "message"),
    [
        ("pair", [PAIRS], "a mix is a mapping, and its `rows` are samples (the default), pairs, labels or prompts"),
        ("pairs", [{}],
         "say who tells the better one: either `judge: NAME`, `check: imported`, `check: human` or `policy: rule`"),
        ("pairs", [{**PAIRS, "policy": "rule"}],
         "say who tells the better one: either `judge: NAME`, `check: imported`, `check: human` or `policy: rule`"),
        ("pairs", [PAIRS, PAIRS], "two sources name the same judge, stage and condition; merge them"),
        ("pairs", [{**PAIRS, "thresholds": {"b": {"at_least": 1}}}],
         "thresholds names b, which neither require nor not_failed does"),
        ("labels", [{"stage": "eval"}], "say whose word is the label: either `judge: NAME`, `check: NAME` or "
         "`policy: human`"),
        ("labels", [{**LABELS, "judge": "b"}], "say whose word is the label: either `judge: NAME`, `check: NAME` or "
         "`policy: human`"),
        ("labels", [LABELS, LABELS], "two sources name the same check, stage and condition; merge them"),
        ("prompts", [PROMPTS, {"domain": "math"}], "two sources name the same domain and condition; merge them"),
        ("prompts", [{"domain": "math", "verifiers": ["math"], "solve_rate": {"at_least": 0.1}}],
         "a solve_rate is what `verifiers` said of the attempts of a `stage`; name both"),
        ("prompts", [{"domain": "math", "stage": "eval", "solve_rate": {"at_least": 0.1}}],
         "a solve_rate is what `verifiers` said of the attempts of a `stage`; name both"),
        ("prompts", [{**PROMPTS, "solve_rate": {"at_most": 90}}], "solve_rate is a share, from 0 to 1, and not 90"),
        ("prompts", [{**PROMPTS, "solve_rate": {}}],
         "a threshold says which way: {at_least: 0.9}, {at_most: 0.2} or both"),
    ],
)  # fmt: skip
def test_mixes_of_other_rows_that_cannot_be(rows: str, sources: list[dict[str, Any]], message: str) -> None:
    with pytest.raises(ValidationError) as error:
        mixed(rows, *sources)
    assert error.value.errors()[0]["msg"].removeprefix("Value error, ") == message


ROWS, SHARE = {"rows": 5}, {"share_of_tokens": 0.5}
A, B = ({"stage": "eval", "require": ["a"], "where": where} for where in ("a", "b"))


@pytest.mark.parametrize(
    ("sources", "settings", "message"),
    [
        ([{**A, "target": {}}], {}, "a target is either {rows: 1000} or {share_of_tokens: 0.2}"),
        ([{**A, "target": {**ROWS, **SHARE}}], {}, "a target is either {rows: 1000} or {share_of_tokens: 0.2}"),
        ([{**A, "target": {"share_of_tokens": 20}}], {}, "Input should be less than or equal to 1"),
        ([{**A, "target": {"share": 0.2}}], {}, "Extra inputs are not permitted"),
        ([{**A, "max_epochs": 2}], {}, "max_epochs is for a source with a `target`"),
        ([{**A, "target": ROWS, "max_epochs": 0.5}], {}, "Input should be greater than or equal to 1"),
        ([{**A, "target": ROWS, "max_epochs": float("inf")}], {}, "Input should be a finite number"),
        ([{**A, "target": ROWS}, B], {}, "source 2 has no target, and others do: give every source one, or none"),
        ([{**A, "target": ROWS}, {**B, "target": SHARE}], {}, "targets are all in rows, or all in share_of_tokens"),
        ([{**A, "target": SHARE}, {**B, "target": {"share_of_tokens": 0.4}}], {},
         "the shares of tokens sum to 0.9; they have to sum to 1, give or take 0.001"),
        ([A], {"scale": 10}, "scale is for targets: give every source a `target`"),
        ([{**A, "target": ROWS}], {"scale": 0}, "Input should be greater than or equal to 1"),
        ([A], {"licenses": []}, "List should have at least 1 item after validation, not 0"),
        ([A], {"licenses": "MIT"}, "Input should be a valid list"),
    ],
)  # fmt: skip
def test_targets_and_licences_that_cannot_be(
    sources: list[dict[str, Any]], settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValidationError) as error:
        Mix.model_validate({"mix": "m", "sources": sources, **settings})
    assert error.value.errors()[0]["msg"].removeprefix("Value error, ") == message


@pytest.mark.parametrize("shares", [(0.333, 0.667), (0.333, 0.666)])
def test_shares_of_tokens_may_be_rounded(shares: tuple[float, float]) -> None:
    sources = [{**s, "target": {"share_of_tokens": share}} for s, share in zip((A, B), shares, strict=True)]
    mix = Mix.model_validate({"mix": "m", "sources": sources, "scale": 1000, "licenses": ["MIT"]})
    assert MixFile.model_validate(mix.model_dump(mode="json")).root == mix


@pytest.mark.parametrize("mix", [{"mix": "m", "rows": "pairs", "sources": [PAIRS]}, "laptop-sft"])
def test_a_snapshot_step_takes_a_mix_of_any_rows_or_its_name(mix: Any) -> None:
    step = recipe({"cut": {"kind": "snapshot", "mix": mix}}).steps["cut"]
    assert step.kind == "snapshot"
    assert (step.mix if isinstance(step.mix, str) else step.mix.model_dump(exclude_unset=True)) == mix


def test_no_judge_is_called_as_what_files_say_of_pairs() -> None:
    judges = {"imported": {"ask": "preference", "engine": "small"}}
    engines = {"small": {"kind": "embedded", "model": "m"}}
    steps = {"cut": SNAPSHOT}
    with pytest.raises(ValidationError, match="mixes take this name for what files say of pairs; choose another"):
        Recipe.model_validate({"recipe": "demo", "engines": engines, "judges": judges, "steps": steps})
