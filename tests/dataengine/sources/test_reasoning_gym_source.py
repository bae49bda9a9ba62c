"""Generated prompts: distinct, the same for the same seed, never one that is held out or shown."""

import subprocess
import sys
from typing import Any

import pytest

from dataengine.sources.build import PromptSet, build
from schemas.errors import ConfigError
from schemas.recipe import ReasoningGymSource

SMALL = {"min_digits": 1, "max_digits": 1, "min_terms": 2, "max_terms": 2}


def made(*tasks: dict[str, Any], seed: int = 0, others: dict[str, ReasoningGymSource] | None = None) -> PromptSet:
    source = {"source": "reasoning_gym", "seed": seed, "tasks": list(tasks), "exclude": list(others or {})}
    return build("set", {"set": ReasoningGymSource.model_validate(source), **(others or {})})


def sums(count: int, **more: Any) -> dict[str, Any]:
    return {"task": "chain_sum", "count": count, "config": SMALL, **more}


def contents(found: PromptSet) -> list[tuple[str, str | None, str]]:
    return [(p.prompt_id, p.reference, p.against) for p in found.prompts]


def test_prompts_are_distinct_and_carry_what_their_scorer_needs() -> None:
    found = made(sums(40, name="chains"), {"task": "spell_backward", "count": 5, "domain": "logic"})
    assert len({p.prompt_id for p in found.prompts}) == 45
    assert [p.source for p in found.prompts] == ["chains"] * 40 + ["spell_backward"] * 5
    assert {p.verifier for p in found.prompts} == {"reasoning_gym"}
    assert {p.domain for p in found.prompts[40:]} == {"logic"}


def test_the_same_seed_gives_the_same_prompts_in_another_process_too() -> None:
    code = (
        "from dataengine.sources.build import build; from schemas.recipe import ReasoningGymSource as R; "
        f"s = R.model_validate({{'source': 'reasoning_gym', 'seed': 3, 'tasks': [{sums(6)!r}]}}); "
        "print([(p.prompt_id, p.reference, p.against) for p in build('s', {'s': s}).prompts])"
    )
    there = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    here = contents(made(sums(6), seed=3))
    assert there.strip() == str(here)
    assert contents(made(sums(6), seed=4)) != here


def test_fewer_prompts_are_the_first_of_more() -> None:
    assert contents(made(sums(5))) == contents(made(sums(20)))[:5]


def test_prompts_of_an_excluded_set_never_occur() -> None:
    held = ReasoningGymSource.model_validate({"source": "reasoning_gym", "seed": 9, "tasks": [sums(60)]})
    rest = made(sums(60), others={"held": held})
    assert not {p.prompt_id for p in rest.prompts} & {p.prompt_id for p in build("held", {"held": held}).prompts}


def test_a_question_that_is_shown_as_an_example_is_not_asked() -> None:
    first = made(sums(1)).prompts[0].messages[0].content
    shown = {"question": first, "reasoning": "r", "answer": "a"}
    found = made(sums(10, demonstrations=[shown]))
    assert first not in [p.messages[0].content for p in found.prompts]
    assert [d.question for d in found.demonstrations["chain_sum"]] == [first]


def test_a_task_without_enough_distinct_prompts_is_refused_with_the_figures() -> None:
    few = {"task": "coin_flip", "count": 3, "config": {"min_trials": 3, "max_trials": 3}}
    with pytest.raises(ConfigError) as e:
        made(few, {**few, "name": "again"}, {**few, "name": "third"}, {**few, "count": 500, "name": "many"})
    assert "distinct prompts left of" in str(e.value)
    assert "asked for; lower `count` or widen the task's `config`" in str(e.value)
    assert "\n" not in str(e.value)


@pytest.mark.parametrize(
    ("task", "told"),
    [
        ({"task": "no_such_task", "count": 1}, "no_such_task"),
        (sums(1, config={"no_such_setting": 1}), "no_such_setting"),
        (sums(1, config={"min_terms": 9, "max_terms": 2}), "wrong settings {'min_terms': 9"),
        (sums(1, config={"size": 4}), "size"),
    ],
)
def test_an_unknown_task_or_a_wrong_setting_is_one_line(task: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError) as e:
        made(task)
    assert told in str(e.value)
    assert str(e.value).startswith("reasoning_gym: ")
    assert "\n" not in str(e.value)
