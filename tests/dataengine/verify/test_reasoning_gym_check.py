"""Procedural tasks are scored by the data set that made them."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dataengine.checks import Opinion, Sample
from dataengine.verify.reasoning_gym import ReasoningGymCheck, forms_of, is_safe


@pytest.fixture(scope="module")
def check() -> Iterator[ReasoningGymCheck]:
    made = ReasoningGymCheck(deadline=10, workers=2)
    yield made
    made.close()


def entry(question: str, answer: str, **metadata: Any) -> dict[str, Any]:
    return {"question": question, "answer": answer, "metadata": metadata}


def task(reply: str, name: str, made: dict[str, Any], config: dict[str, Any] | None = None) -> Sample:
    verify = {"dataset": name, "config": config or {}, "entry": made}
    return Sample(text=reply, answer=reply, verifier="reasoning_gym", metadata={"verify": verify})


def ask(check: ReasoningGymCheck, reply: str, name: str, made: dict[str, Any]) -> Opinion:
    (opinion,) = check([task(reply, name, made)])
    return opinion


SUM = entry("3 + 4 = ?", "7")


@pytest.mark.parametrize(
    "reply",
    [
        *("<answer>7</answer>", "<answer> 7 </answer>", "<answer>7.</answer>", "<answer>**7**</answer>"),
        *("<answer>x = 7</answer>", "3 + 4 = 7", "The answer is **7**.", r"\boxed{7}", "<answer>7 apples</answer>"),
    ],
)
def test_a_right_number_passes_in_any_form(check: ReasoningGymCheck, reply: str) -> None:
    opinion = ask(check, reply, "chain_sum", SUM)
    assert (opinion.outcome, opinion.score) == ("pass", 1.0)


def test_a_wrong_answer_fails_with_the_scorers_score(check: ReasoningGymCheck) -> None:
    assert ask(check, "<answer>8</answer>", "chain_sum", SUM).outcome == "fail"
    near = ask(check, "<answer>olleg</answer>", "spell_backward", entry("Spell hello backward", "olleh"))
    assert near.outcome == "fail"
    assert near.score is not None
    assert 0 < near.score < 1


def test_what_the_scorer_cannot_take_is_an_error_by_its_name(check: ReasoningGymCheck) -> None:
    opinion = ask(check, "<answer>7</answer>", "no_such_set", SUM)
    assert (opinion.outcome, opinion.reason) == ("error", "ValueError")
    broken = ask(check, "<answer>no</answer>", "knight_swap", entry("?", "no"))
    assert broken.outcome in ("error", "fail")


def test_what_is_missing_is_undecided(check: ReasoningGymCheck) -> None:
    assert ask(check, "", "chain_sum", SUM).reason == "no_answer"
    (opinion,) = check([Sample(text="7", answer="7", verifier="reasoning_gym")])
    assert (opinion.outcome, opinion.reason) == ("undecided", "no_reference")


def test_answers_that_would_be_evaluated_have_to_be_mathematics(check: ReasoningGymCheck, tmp_path: Path) -> None:
    made = entry("make 24 of 4, 6", "4*6", numbers=[4, 6], target=24)
    target = tmp_path / "written"
    for attack in (f"open({str(target)!r}, 'w')", "__import__('os').system('id')", "().__class__", "exec('1')"):
        assert ask(check, f"<answer>{attack}</answer>", "countdown", made).reason == "answer_refused"
    assert ask(check, "<answer>6*4</answer>", "countdown", made).outcome == "pass"
    assert not target.exists()


def test_functions_are_allowed_where_they_are_mathematics() -> None:
    assert is_safe("simple_integration", "3*x**2/2 + sin(x) + C")
    assert is_safe("chain_sum", "open(x)")
    assert not is_safe("simple_integration", "ｏpen(x)")


def test_text_answers_are_scored_as_given() -> None:
    assert forms_of(" a b. ", "a b.", lenient=False) == ["a b."]
    assert forms_of("1,234", "1234", lenient=False) == ["1,234", "1234"]


def test_oracle_answers_pass_after_json(check: ReasoningGymCheck) -> None:
    reasoning_gym = pytest.importorskip("reasoning_gym")
    names = [
        "basic_arithmetic",
        "gcd",
        "leg_counting",
        "countdown",
        "family_relationships",
        "rearc",
        "n_queens",
        "ransom_note",
    ]
    samples = []
    for name in names:
        config = {"seed": 3, "size": 2}
        for made in reasoning_gym.create_dataset(name, **config):
            made = json.loads(json.dumps(made))
            samples.append(task(f"<answer>{made['answer']}</answer>", name, made, config))
    opinions = check(samples)
    assert [o.outcome for o in opinions] == ["pass"] * len(samples)
