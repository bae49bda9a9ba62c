"""What is wrong with a YAML file is said in one line: file, line, cause."""

from pathlib import Path

import pytest

from schemas.errors import ConfigError
from schemas.mix import Mix, MixFile
from schemas.recipe import Recipe
from schemas.yaml_file import load_yaml

RECIPE = """\
recipe: demo
engines:
  small: {kind: embedded, model: smollm2-135m-instruct}
prompts:
  sums:
    source: inline
    name: sums
    prompts:
      - prompt: 1 + 1?
        reference: "2"
steps:
  first:
    kind: generate
    stage: cold_start
    prompts: sums
    engine: small
    samples: 2
    checks:
      - format
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "recipe.yaml"
    path.write_text(RECIPE, encoding="utf-8")
    return path


def problem(path: Path, *overrides: str, model: type[Recipe] | type[Mix] | type[MixFile] = Recipe) -> str:
    """The error, without the folder."""
    with pytest.raises(ConfigError) as error:
        load_yaml(path, model, overrides)
    message = str(error.value)
    assert "\n" not in message
    return message.replace(f"{path.parent}/", "")


def changed(path: Path, old: str, new: str) -> Path:
    assert RECIPE.count(old) == 1
    path.write_text(RECIPE.replace(old, new), encoding="utf-8")
    return path


def test_a_good_file_is_read(recipe: Path) -> None:
    assert load_yaml(recipe, Recipe).steps["first"].kind == "generate"


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    assert problem(tmp_path / "none.yaml") == "none.yaml: no such file or directory"


def test_a_directory(tmp_path: Path) -> None:
    (tmp_path / "folder.yaml").mkdir()
    assert problem(tmp_path / "folder.yaml") == "folder.yaml: is a directory"


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_bytes(b"recipe: \xff")
    assert problem(tmp_path / "x.yaml") == "x.yaml: not UTF-8 at byte 8"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("recipe: demo\nsteps: {a: [}\n", "x.yaml:2: no YAML: expected the node content, but found '}'"),
        ("recipe: demo\n  steps: 1\n", "x.yaml:2: no YAML: mapping values are not allowed here"),
        ("recipe: demo\nsteps: *nowhere\n", "x.yaml:2: no YAML: found undefined alias 'nowhere'"),
        ("recipe: demo\n? [a]\n: 1\n", "x.yaml:2: no YAML: found unhashable key"),
        ("recipe: 2026-13-45\n", "x.yaml: no YAML: month must be in 1..12"),
        ("a: 1\n---\nb: 2\n", "x.yaml:2: no YAML: but found another document"),
        ("", "x.yaml: holds no settings; write one `setting: value` per line"),
        ("- a\n- b\n", "x.yaml: holds no settings; write one `setting: value` per line"),
        ("just text", "x.yaml: holds no settings; write one `setting: value` per line"),
    ],
)
def test_what_is_no_yaml_or_no_settings(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "x.yaml").write_text(text, encoding="utf-8")
    assert problem(tmp_path / "x.yaml") == message


@pytest.mark.parametrize("text", ["a: " + "[" * 5000, "a: &a [*a]"])
def test_brackets_without_end_are_no_crash(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.yaml").write_text(text, encoding="utf-8")
    assert problem(tmp_path / "x.yaml").startswith("x.yaml")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("    samples: 2\n", "    samples: 2\n    samples: 3\n", "recipe.yaml:18: 'samples' stands here twice"),
        ("steps:\n", "recipe: again\nsteps:\n", "recipe.yaml:11: 'recipe' stands here twice"),
        (
            "samples: 2",
            "samples: 0",
            "recipe.yaml:17: steps.first.samples is 0: input should be greater than or equal to 1",
        ),
        (
            "samples: 2",
            "samples: many",
            "recipe.yaml:17: steps.first.samples is 'many': input should be a valid integer, "
            "unable to parse string as an integer",
        ),
        ("samples: 2", "sample: 2",
         "recipe.yaml:17: steps.first.sample is no setting here; did you mean samples? there are: checks, engine, "
         "samples, sampling, max_tokens, prompts, template, kind, stage, only, demonstrations, prefill, guided"),
        ("    engine: small\n", "", "recipe.yaml:12: steps.first.engine is missing"),
        (
            "stage: cold_start",
            "stage: warm",
            "recipe.yaml:14: steps.first.stage is 'warm': input should be 'cold_start', 'r1_zero', 'reasoning', "
            "'non_reasoning', 'rl_rollout' or 'eval'",
        ),
        ("engine: small", "engine: large", "recipe.yaml:1: steps.first.engine: 'large' is not defined (known: small)"),
        ("      - prompt: 1 + 1?\n        reference: \"2\"\n", "      - reference: \"2\"\n",
         "recipe.yaml:9: prompts.sums.prompts.0.prompt is missing"),
        ("recipe: demo", "recipe: ../demo",
         "recipe.yaml:1: recipe is '../demo': string should match pattern '^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$'"),
    ],
)  # fmt: skip
def test_a_wrong_setting_is_named_with_its_line(recipe: Path, old: str, new: str, message: str) -> None:
    assert problem(changed(recipe, old, new)) == message


def test_an_unknown_kind_of_step_lists_the_kinds(recipe: Path) -> None:
    message = problem(changed(recipe, "kind: generate", "kind: dream"))
    assert message.startswith("recipe.yaml:12: steps.first ")
    assert "'dream'" in message
    assert "'evaluate'" in message


def test_a_list_where_settings_belong(recipe: Path) -> None:
    message = problem(changed(recipe, "  small: {kind: embedded, model: smollm2-135m-instruct}", "  - small"))
    assert message == "recipe.yaml:2: engines is ['small']: input should be a valid dictionary"


def test_several_problems_are_counted(recipe: Path) -> None:
    path = changed(recipe, "samples: 2", "samples: 0\n    max_tokens: 0")
    assert problem(path).endswith("greater than or equal to 1 (and 1 more)")


def test_overrides_change_settings_and_items_of_lists(recipe: Path) -> None:
    loaded = load_yaml(recipe, Recipe, ["steps.first.samples=3", "steps.first.checks.0=length", "description=a=b"])
    assert loaded.steps["first"].model_dump()["samples"] == 3
    assert loaded.steps["first"].model_dump()["checks"] == ["length"]
    assert loaded.description == "a=b"


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("samples", "samples: overrides are written key=value, such as steps.cold_start.samples=2"),
        ("=3", "=3: overrides are written key=value, such as steps.cold_start.samples=2"),
        ("steps.second.samples=3", "steps.second.samples: there is no 'second' (there are: first)"),
        ("steps.first.checks.7=x", "steps.first.checks.7: there is no '7'"),
        ("steps.first.checks.last=x", "steps.first.checks.last: there is no 'last'"),
        ("steps.first.samples.deeper=x", "steps.first.samples.deeper=x: steps.first.samples holds no settings"),
        ("recipe.a.b=x", "recipe.a.b: there is no 'a'"),
        ("description=[", "description=[: '[' is no YAML value"),
        ("description=2026-13-45", "description=2026-13-45: '2026-13-45' is no YAML value"),
    ],
)
def test_wrong_overrides(recipe: Path, override: str, message: str) -> None:
    assert problem(recipe, override) == message


def test_an_override_with_a_wrong_value_names_the_setting(recipe: Path) -> None:
    assert "steps.first.samples is 0: input should be" in problem(recipe, "steps.first.samples=0")
    assert problem(recipe, "nothing=1") == (
        "recipe.yaml: nothing=1: nothing is no setting here; "
        "there are: recipe, description, include, engines, prompts, judges, steps"
    )
    assert problem(recipe, "engines.small.slots=0") == (
        "recipe.yaml: engines.small.slots=0: engines.small.slots is 0: input should be greater than or equal to 1 "
        "(sequences decoded at once)"
    )


def test_a_mix_that_names_a_stage_twice(tmp_path: Path) -> None:
    path = tmp_path / "mix.yaml"
    path.write_text("mix: m\nsources:\n  - {stage: eval, require: [a]}\n  - {stage: eval, require: [b]}\n")
    assert problem(path, model=Mix) == "mix.yaml:1: two sources name the same stage and condition; merge them"


@pytest.mark.parametrize(
    ("thresholds", "told"),
    [
        ("{a: 0.9}", "sources.0.thresholds.a: a threshold says which way: {at_least: 0.9}, {at_most: 0.2} or both"),
        ("{a: {}}", "sources.0.thresholds.a: a threshold says which way: {at_least: 0.9}, {at_most: 0.2} or both"),
        ("{a: {at_most: null}}", "sources.0.thresholds.a: a threshold says which way: {at_least: 0.9}, {at_most: 0.2} "
         "or both"),
        ("{a: {at_least: 1, at_most: 0.5}}", "sources.0.thresholds.a: at_least is 1.0, above at_most, which is 0.5: "
         "nothing passes"),
        ("{a: {at_least: .nan}}", "sources.0.thresholds.a.at_least is nan: input should be a finite number (the lowest "
         "score that passes)"),
        ("{a: {above: 1}}", "sources.0.thresholds.a.above is no setting here; there are: at_least, at_most"),
    ],
)  # fmt: skip
def test_a_threshold_of_a_mix_that_says_nothing(tmp_path: Path, thresholds: str, told: str) -> None:
    path = tmp_path / "mix.yaml"
    path.write_text(f"mix: m\nsources:\n  - stage: eval\n    require: [a]\n    thresholds: {thresholds}\n")
    assert problem(path, model=Mix) == f"mix.yaml:5: {told}"


def test_a_threshold_of_a_check_that_the_source_does_not_ask_for(tmp_path: Path) -> None:
    path = tmp_path / "mix.yaml"
    source = "{stage: eval, require: [a], not_failed: [b], thresholds: {c: {at_least: 1}}}"
    path.write_text(f"mix: m\nsources: [{source}]\n")
    told = "mix.yaml:2: sources.0: thresholds names c, which neither require nor not_failed does"
    assert problem(path, model=Mix) == told


INLINE = """\
recipe: demo
steps:
  cut:
    kind: snapshot
    mix:
      mix: pairs-of-it
      rows: pairs
      sources:
        - judge: likes
          colour: red
"""


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("colour: red", "show: all", "x.yaml:10: steps.cut.mix.sources.0.show is 'all': input should be 'answer' or "
         "'whole' (the final answer alone, or the whole reply with its reasoning in think tags)"),
        ("colour: red", "colour: red", "x.yaml:10: steps.cut.mix.sources.0.colour is no setting here; there are: "
         "max_rows, template, stage, where, require, not_failed, thresholds, judge, min_kappa, max_per_prompt, check, "
         "policy, balanced, show"),
        ("colour: red", "policy: rule", "x.yaml:9: steps.cut.mix.sources.0: say who tells the better one: either "
         "`judge: NAME`, `check: imported`, `check: human` or `policy: rule`"),
        ("rows: pairs", "rows: pair", "x.yaml:5: steps.cut.mix: a mix is a mapping, and its `rows` are samples (the "
         "default), pairs, labels or prompts"),
        ("colour: red", "judge: other", "x.yaml:10: 'judge' stands here twice"),
    ],
)  # fmt: skip
def test_a_mix_within_a_recipe_is_told_of_as_one_in_a_file(tmp_path: Path, old: str, new: str, message: str) -> None:
    (tmp_path / "x.yaml").write_text(INLINE.replace(old, new), encoding="utf-8")
    assert problem(tmp_path / "x.yaml") == message


def test_a_file_of_a_mix_of_other_rows(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text("mix: m\nrows: labels\nsources:\n  - stage: eval\n    check: a\n    max_rows: 0\n")
    assert problem(path, model=MixFile) == (
        "x.yaml:6: sources.0.max_rows is 0: input should be greater than or equal to 1 (at most this many rows, drawn "
        "by hash)"
    )
    path.write_text("mix: m\nrows: [labels]\nsources: []\n")
    assert problem(path, model=MixFile) == (
        "x.yaml:1: a mix is a mapping, and its `rows` are samples (the default), pairs, labels or prompts"
    )
