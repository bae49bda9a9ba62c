"""Mathematical answers pass when they are equal to the reference, and hostile ones cost bounded time."""

import gzip
import itertools
import json
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataengine.checks import Opinion, Sample, load_check
from dataengine.verify.math import MathCheck, too_complex
from dataengine.verify.numbers import normalised, number_of

DATA = Path(__file__).resolve().parents[4] / "shared" / "data" / "math"


def sample(reply: str, reference: str | None) -> Sample:
    return Sample(text=reply, answer=reply, reference=reference, verifier="math")


@pytest.fixture(scope="module")
def check() -> Iterator[MathCheck]:
    made = load_check("math", {"deadline": 3.0, "workers": 2})
    assert isinstance(made, MathCheck)
    yield made
    made.close()


def ask(check: MathCheck, reply: str, reference: str | None) -> Opinion:
    (opinion,) = check([sample(f"<answer>{reply}</answer>", reference)])
    return opinion


EQUAL = [
    ("7", "7"),
    ("1,234", "1234"),
    ("-3", "-3.0"),
    ("72", "$72"),
    ("72", "72 dollars"),
    ("1/2", "0.5"),
    (r"\frac{1}{2}", r"\dfrac12"),
    (r"\frac{1}{2}", "50%"),
    ("50", r"50\%"),
    ("13", r"\text{13 cm}"),
    (r"\text{13 cm}", "13"),
    ("13", r"13\text{ cm}^2"),
    ("90", r"90^\circ"),
    ("10,000", r"10{,}000"),
    (r"10,\!000", "10000"),
    ("7", "x = 7"),
    ("7", "3 + 4 = 7"),
    ("7", "７"),
    ("7", "seven: 7 apples"),
    (r"\text{Evelyn}", "evelyn"),
    ("x^2+1", "1 + x^2"),
    (r"2\sqrt{3}", r"\sqrt{12}"),
    (r"\{1,2\}", "{2, 1}"),
    ("1,2", r"\{2,1\}"),
    (r"\left(1, 2\right)", "(1,2)"),
    (r"\begin{pmatrix}1\\2\end{pmatrix}", r"\begin{pmatrix} 1 \\ 2 \end{pmatrix}"),
    (r"2\frac{1}{2}", r"\frac{5}{2}"),
    ("1/3", "0.333333"),
]
DIFFERENT = [
    ("7", "8"),
    ("7", "-7"),
    ("13", "13x"),
    ("13 cm", "13 km"),
    ("1/3", "0.33"),
    ("100", "1,000"),
    ("x^2+1", "x^2-1"),
    (r"\{1,2\}", "(1,2)"),
    ("(1,2)", r"\{1,2\}"),
    ("(1,2)", "{1,2}"),
    ("[1,2)", "[1,2]"),
    ("(1,2)", "(2,1)"),
    (r"\text{east}", r"\text{west}"),
]


def test_equal_answers_pass(check: MathCheck) -> None:
    opinions = check([sample(f"<answer>{given}</answer>", wanted) for wanted, given in EQUAL])
    assert [pair for pair, o in zip(EQUAL, opinions, strict=True) if o.outcome != "pass"] == []
    assert {o.score for o in opinions} == {1.0}


def test_different_answers_fail(check: MathCheck) -> None:
    opinions = check([sample(f"<answer>{given}</answer>", wanted) for wanted, given in DIFFERENT])
    assert [(p, o.outcome) for p, o in zip(DIFFERENT, opinions, strict=True) if o.outcome != "fail"] == []
    assert {o.score for o in opinions} == {0.0}


@pytest.mark.parametrize(
    ("reply", "origin"),
    [
        ("<answer>7</answer>", "answer_tag"),
        (r"\boxed{7}", "boxed"),
        ("The answer is 7.", "phrase"),
        ("That makes 7 apples.", "last_number"),
    ],
)
def test_any_form_counts_and_is_named(check: MathCheck, reply: str, origin: str) -> None:
    (opinion,) = check([sample(reply, "7")])
    assert opinion.outcome == "pass"
    assert opinion.details["extracted"] == "7"
    assert opinion.details["from"] == origin


@pytest.mark.parametrize(
    ("reply", "reference", "reason"),
    [
        ("<answer>7</answer>", None, "no_reference"),
        ("<answer>7</answer>", " ", "no_reference"),
        ("", "7", "no_answer"),
        ("I do not know", "7", "no_answer"),
        ("<answer>1</answer>", "&&&", "reference_not_parsed"),
        ("<answer>1</answer>", "(" * 60 + "x", "reference_too_nested"),
    ],
)
def test_what_cannot_be_told_is_undecided(check: MathCheck, reply: str, reference: str | None, reason: str) -> None:
    (opinion,) = check([sample(reply, reference)])
    assert (opinion.outcome, opinion.reason) == ("undecided", reason)
    assert opinion.score is None


HOSTILE = {
    "9^{9^{9^9}}": "answer_exponent_too_large",
    "9**9**9**9": "answer_exponent_too_large",
    "(" * 5_000 + "1" + ")" * 5_000: "answer_too_long",
    "(" * 500 + "1" + ")" * 500: "answer_too_nested",
    "9" * 200_000: "answer_too_long",
    "9" * 1_500: "answer_too_many_digits",
    "99999!": "answer_factorial_too_large",
    "((9!)!)!": "answer_factorial_too_large",
}


@pytest.mark.timeout(60)
def test_hostile_answers_are_undecided_at_once(check: MathCheck) -> None:
    check([sample("<answer>x</answer>", "y")])
    opinions = check([sample(f"<answer>{h}</answer>", "x^2") for h in HOSTILE])
    assert [o.outcome for o in opinions] == ["undecided"] * len(HOSTILE)
    assert [o.reason for o in opinions] == list(HOSTILE.values())


@pytest.mark.timeout(60)
def test_what_the_caps_let_through_is_stopped_by_the_deadline() -> None:
    check = MathCheck(deadline=1.0, workers=1)
    slow = r"\sum_{k=1}^{99999} \sin(k^{99999})"
    opinions = check([sample(f"<answer>{slow}</answer>", "x^2"), sample("<answer>x x</answer>", "x^2")])
    check.close()
    assert opinions[0].outcome != "pass"
    assert opinions[1].outcome == "pass"


def test_only_prompts_that_ask_for_it_are_checked(check: MathCheck) -> None:
    assert check.applies(sample("7", "7"))
    assert not check.applies(Sample(text="7", reference="7", verifier="exact"))


@given(st.text(max_size=80))
def test_no_answer_breaks_normalising(text: str) -> None:
    number_of(normalised(text))
    too_complex(normalised(text))


@given(st.integers(-(10**12), 10**12))
def test_integers_are_read_as_written(number: int) -> None:
    for text in (str(number), f"{number:,}", f"${number}$", f"{number}.0"):
        read = number_of(normalised(text))
        assert read is not None
        assert read[0] == number


def references(name: str) -> list[str]:
    if not (DATA / name).exists():
        pytest.skip("the data of the acceptance runs is not here")
    with gzip.open(DATA / name, "rt", encoding="utf-8") as file:
        if name.endswith(".jsonl.gz"):
            return [json.loads(line)["answer"].rpartition("####")[2].strip() for line in file]
        return [a for row in json.load(file) if (a := str(row["answer"]))]


@pytest.mark.parametrize(
    "name", ["gsm8k/train.jsonl.gz", "deepscaler/train/math.json.gz", "deepscaler/train/aime.json.gz"]
)
@pytest.mark.parametrize("form", ["<answer>{}</answer>", "so it is $\\boxed{{{}}}$."])
def test_references_verify_against_themselves(check: MathCheck, name: str, form: str) -> None:
    answers = references(name)
    opinions = check([sample(form.format(a), a) for a in answers])
    assert sum(o.outcome == "pass" for o in opinions) / len(opinions) >= 0.995


def test_references_of_other_questions_are_not_accepted(check: MathCheck) -> None:
    chance = random.Random(5)
    answers = chance.sample(references("deepscaler/train/math.json.gz"), 400)
    pairs = [(a, b) for a, b in itertools.pairwise(answers) if a != b]
    opinions = check([sample(f"<answer>{b}</answer>", a) for a, b in pairs])
    assert sum(o.outcome == "pass" for o in opinions) / len(opinions) < 0.01


def test_a_reference_in_prose_cannot_be_told_unless_the_answer_is_its_text(check: MathCheck) -> None:
    assert ask(check, "5", "see the appendix").outcome == "undecided"
    assert ask(check, "5", "see the appendix").reason == "reference_not_parsed"
    assert ask(check, "See the appendix.", "see the appendix").outcome == "pass"
