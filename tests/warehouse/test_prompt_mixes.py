"""Prompt sets for reinforcement learning: only what can be checked, where a rule is to check it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from schemas.errors import SnapshotError
from schemas.records import Prompt
from tests.warehouse.conftest import MakePrompt, MakeTrajectory, MakeVerdict, Take, mix_of
from warehouse.snapshot import create_snapshot
from warehouse.store import Warehouse

MATH = {"domain": "math", "verifiers": ["math", "exact"]}
Ask = Callable[..., Prompt]


@pytest.fixture
def ask(warehouse: Warehouse, make_prompt: MakePrompt) -> Ask:
    def add(question: str, **columns: Any) -> Prompt:
        prompt = make_prompt(question, **columns)
        warehouse.append("prompts", [prompt])
        return prompt

    return add


@pytest.fixture
def attempt(warehouse: Warehouse, make_trajectory: MakeTrajectory, make_verdict: MakeVerdict) -> Callable[..., None]:
    """Adds a reply to the prompt for each outcome of its verifier."""

    def add(prompt: Prompt, *outcomes: str, **columns: Any) -> None:
        made = [make_trajectory(prompt, i, **columns) for i in range(len(outcomes))]
        warehouse.append("trajectories", made)
        said = zip(made, outcomes, strict=True)
        verdicts = [make_verdict(t, o, check=prompt.verifier, against=prompt.against) for t, o in said]
        warehouse.append("verdicts", verdicts)

    return add


def dropped(folder: Path, *sources: dict[str, Any]) -> dict[str, int]:
    """The rules that left something out, with how much, and `rows`."""
    manifest = create_snapshot(folder, mix_of("prompts", *sources), {"plain": None})[0].manifest
    return {rule: n for rule, n in manifest.counts["dropped"].items() if n} | {"rows": manifest.rows}


def test_only_what_a_rule_can_check_is_in_a_set_for_rules(folder: Path, ask: Ask, take: Take) -> None:
    good = ask("1 + 1?", metadata={"verify": {"tolerance": 0.1}, "level": 3}, license="MIT", source_ref="7")
    ask("Prove it.", reference=None)
    ask("Say something.", verifier=None)
    ask("Blank?", reference=" \n")
    ask("Which?", verifier="choice")
    ask("Why?", domain="general")
    for source, reference in (("one", "2"), ("other", "3")):
        ask("Who is right?", source=source, reference=reference)
    (row,) = take("prompts", MATH)
    assert row["prompt"] == [{"role": "user", "content": "1 + 1?"}]
    assert json.loads(row["metadata"]) == {"verify": {"tolerance": 0.1}, "level": 3}
    found = {k: row[k] for k in ("prompt_id", "reference", "verifier", "against", "domain", "source", "license",
                                 "answer_form", "solve_rate", "n", "split", "weight")}  # fmt: skip
    assert found == {"prompt_id": good.prompt_id, "reference": "2", "verifier": "exact", "against": good.against,
                     "domain": "math", "source": "sums", "license": "MIT", "answer_form": "number",
                     "solve_rate": None, "n": None, "split": "train", "weight": 1.0}  # fmt: skip
    assert dropped(folder, MATH) == {"conflict": 1, "no_checkable_answer": 3, "other_verifier": 1, "rows": 1}


def test_what_a_reward_model_is_to_rank_needs_no_answer(folder: Path, ask: Ask, take: Take) -> None:
    ask("Write a poem.", domain="general", reference=None, verifier=None)
    ask("Capital of France?", domain="general", reference="Paris")
    rows = take("prompts", {"domain": "general", "template": "think"})
    assert {(r["answer_form"], r["verifier"], r["reference"]) for r in rows} == {
        ("open", None, None), ("text", "exact", "Paris"),
    }  # fmt: skip
    assert {r["prompt"][0]["content"] for r in rows} == {"Think."}
    assert dropped(folder, {"domain": "general"}) == {"rows": 2}


@pytest.mark.parametrize(
    ("verifier", "reference", "metadata", "form"),
    [
        ("math", "-1,234.5", {}, "number"),
        ("math", "$3/4$", {}, "number"),
        ("math", "\\frac{x}{2}", {}, "expression"),
        ("math", "y = 2x", {}, "equation"),
        ("choice", "B", {"options": ["x", "y", "z", "w"]}, "option"),
        ("logic", "(C)", {}, "option"),
        ("logic", "17", {}, "number"),
        ("logic", "Zoey: knight", {}, "text"),
        ("code", None, {"verify": {"cases": [["1", "2"]]}}, "program"),
        ("code", "7", {"verify": {"expression": "f(ANSWER) == 7"}}, "value"),
        ("instructions", None, {"verify": {"instructions": [{"id": "no_comma"}]}}, "instructions"),
        ("code", "a program", {}, None),
        ("code", None, {"verify": {"tests": [], "language": "cpp"}}, None),
        ("instructions", None, {}, None),
    ],
)
def test_the_form_of_an_answer_is_told_by_verifier_and_reference(
    folder: Path, ask: Ask, take: Take, verifier: str, reference: str | None, metadata: dict[str, Any], form: str | None
) -> None:
    ask("1?", verifier=verifier, reference=reference, metadata=metadata)
    source = {"domain": "math", "verifiers": [verifier]}
    if form is None:
        with pytest.raises(SnapshotError, match="takes no prompts: left out are no_checkable_answer 1"):
            take("prompts", source)
    else:
        assert [r["answer_form"] for r in take("prompts", source)] == [form]


def test_a_condition_sees_the_form_and_the_number_of_options(folder: Path, ask: Ask, take: Take) -> None:
    for count in (2, 4, 8, 10):
        ask(f"{count}?", domain="stem", verifier="choice", reference="A", metadata={"options": ["x"] * count})
    stem = {"domain": "stem", "verifiers": ["choice"], "where": "options BETWEEN 4 AND 8 -- as in the report"}
    assert {r["prompt"][0]["content"] for r in take("prompts", stem)} == {"4?", "8?"}
    with pytest.raises(SnapshotError, match=r"^mix demo: where: nosuch = 1: Binder Error"):
        take("prompts", {**stem, "where": "nosuch = 1"})
    with pytest.raises(SnapshotError, match="one condition is expected, without a semicolon"):
        take("prompts", {**stem, "where": "true; SELECT 1"})
    with pytest.raises(SnapshotError, match="takes no prompts: nothing here meets what its sources ask"):
        take("prompts", {"domain": "o'dd"})


def test_the_solve_rate_is_of_what_the_verifier_could_tell(folder: Path, ask: Ask, attempt: Any, take: Take) -> None:
    hard, even, easy, untold, new = (ask(f"{i}?") for i in range(5))
    attempt(hard, "fail", "fail")
    attempt(even, "pass", "fail", "undecided", "error")
    attempt(easy, "pass", "pass", "pass")
    attempt(untold, "undecided")
    attempt(hard, *["pass"] * 8, stage="eval")
    told = {r["prompt_id"]: (r["solve_rate"], r["n"]) for r in take("prompts", {**MATH, "stage": "reasoning"})}
    assert told == {hard.prompt_id: (0.0, 2), even.prompt_id: (0.5, 2), easy.prompt_id: (1.0, 3),
                    untold.prompt_id: (None, None), new.prompt_id: (None, None)}  # fmt: skip
    middle = {**MATH, "stage": "reasoning", "solve_rate": {"at_least": 0.1, "at_most": 0.9}}
    assert [r["prompt_id"] for r in take("prompts", middle)] == [even.prompt_id]
    assert dropped(folder, middle) == {"not_attempted": 2, "solve_rate": 2, "rows": 1}
    assert create_snapshot(folder, mix_of("prompts", middle), {"plain": None})[0].manifest.checks == {"exact": ["1"]}
    assert len(take("prompts", {**middle, "solve_rate": {"at_most": 0.5}})) == 2, "bounds are within"


def test_a_corrected_reference_counts_and_old_verdicts_do_not(folder: Path, ask: Ask, attempt: Any, take: Take) -> None:
    attempt(ask("1?", reference="3"), "fail", "fail")
    better = ask("1?", reference="2").model_copy(update={"revision": 2})
    assert better.against
    Warehouse.open(folder).append("prompts", [better])
    (row,) = take("prompts", {**MATH, "stage": "reasoning"})
    assert (row["reference"], row["solve_rate"], row["n"]) == ("2", None, None)


def test_caps_are_by_hash_and_a_prompt_stands_in_it_once(folder: Path, ask: Ask, take: Take) -> None:
    for i in range(20):
        ask(f"{i}?", metadata={"level": i % 2})
    first = {r["prompt_id"] for r in take("prompts", {**MATH, "max_rows": 6})}
    assert first == {r["prompt_id"] for r in take("prompts", {**MATH, "max_rows": 6}, name="again")}
    assert first != {r["prompt_id"] for r in take("prompts", {**MATH, "max_rows": 6}, seed=1)}
    hard = {**MATH, "where": "(metadata ->> 'level')::INT = 1"}
    assert dropped(folder, hard, {**MATH, "max_rows": 4}) == {"in_another_source": 10, "over_max_rows": 6, "rows": 14}


def test_the_hash_is_of_what_a_reply_is_verified_by(tmp_path: Path, make_prompt: MakePrompt) -> None:
    made = []
    for name, reverse, reference in (("one", False, "2"), ("two", True, "2"), ("three", False, "5")):
        prompts = [make_prompt(f"{i}?", reference=reference if i == 3 else "2") for i in range(12)]
        other = Warehouse.open(tmp_path / name, create=True)
        for prompt in reversed(prompts) if reverse else prompts:
            other.append("prompts", [prompt])
        mix = mix_of("prompts", MATH, validation=0.3)
        snapshot, _ = create_snapshot(tmp_path / name, mix, {"plain": None})
        assert not create_snapshot(tmp_path / name, mix, {"plain": None})[1]
        made.append(snapshot.manifest)
    assert made[0].logical_hash == made[1].logical_hash != made[2].logical_hash
    assert made[0].files == made[1].files
