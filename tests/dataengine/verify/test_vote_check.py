"""What replies vote for: one text for equal answers, however they are written."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dataengine.checks import Sample, load_check
from dataengine.prompting import take_apart
from dataengine.verify.canonical import canonical
from dataengine.verify.vote import VoteCheck
from tests.dataengine.verify import test_math_forms as forms

# Pairs of which the verifier takes either reading, by what it is asked; as votes they stay apart.
APART = {r"28\%", r"90^\circ", "1000,99", "y = 2x + 1", "k = 45, n = 2"}


def vote(reply: str, verifier: str = "math", reference: str = "7", **metadata: Any) -> str | None:
    parts = take_apart(reply)
    sample = Sample(
        text=reply, reasoning=parts.reasoning, answer=parts.answer, reference=reference, verifier=verifier,
        metadata=metadata,
    )  # fmt: skip
    (opinion,) = load_check("vote")([sample])
    assert (opinion.outcome, opinion.reason) in (("pass", ""), ("undecided", "no_answer"))
    answer = opinion.details.get("answer")
    assert answer is None or isinstance(answer, str)
    return answer


@pytest.mark.parametrize(("one", "other"), [c for c in forms.cases(forms.EQUAL) if c[0] not in APART])
def test_equal_answers_are_one_class(one: str, other: str) -> None:
    assert canonical(one) == canonical(other)


@pytest.mark.parametrize(("one", "other"), forms.cases(forms.DIFFERENT))
def test_different_answers_are_two_classes(one: str, other: str) -> None:
    assert canonical(one) != canonical(other)


@given(st.fractions(-(10**6), 10**6, max_denominator=999))
@settings(deadline=None)
def test_a_number_is_its_value(number: Any) -> None:
    written = {canonical(f"{number.numerator}/{number.denominator}"), canonical(f"x = {number}")}
    written.add(canonical(rf"\frac{{{number.numerator}}}{{{number.denominator}}}"))
    written.add(canonical(f"{2 * number.numerator}/{2 * number.denominator}"))
    assert len(written) == 1


@given(st.lists(st.sampled_from([*forms.WRITTEN.split(), " ", "\x00", "\ud800"]), max_size=30).map("".join))
@settings(deadline=None)
def test_any_text_has_a_class(text: str) -> None:
    assert canonical(text) == canonical(text)
    assert len(canonical(text)) <= 500


@pytest.mark.parametrize(
    ("hostile", "start"),
    [("9" * 5_000, "9"), ("10^{9999}", "0x"), ("(((999!)!)!)!", "999"), ("x" * 9_999, "x"), ("{" * 400, "{")],
)
def test_hostile_answers_are_cut(hostile: str, start: str) -> None:
    assert canonical(hostile).startswith(start)
    assert len(canonical(hostile)) <= 500


def test_the_marked_answer_votes() -> None:
    assert vote("<think>\nOr 9?\n</think>\nHence.\n<answer>0.5</answer>") == "0.5"
    assert vote(r"So it is $\boxed{\frac{1}{2}}$.") == vote("<answer>1/2</answer>") == "0.5"
    assert vote("<think>\nI do not know", reference="x") is None
    assert vote("well, " * 40, "exact", "Paris") is None


@pytest.mark.parametrize(
    ("verifier", "reference", "one", "other", "class_"),
    [
        ("choice", "A", "(b) twelve", "<answer>B</answer>", "B"),
        ("exact", "Paris", "<answer>The Rome!</answer>", "<answer>rome</answer>", "rome"),
        ("reasoning_gym", "7", "<answer>8.0</answer>", "The answer is 8.", "8"),
        ("logic", "yes", "<answer>No.</answer>", "<answer>no</answer>", '"no"'),
        ("logic", "(1) Ann is a knight\n(2) Bob is a knave", "<answer>Ann is a knave, Bob is a knave</answer>",
         "<answer>(1) Ann: knave\n(2) Bob: knave</answer>", '{"Ann":"knave","Bob":"knave"}'),
    ],
)  # fmt: skip
def test_each_verifiers_answers_are_compared_its_way(
    verifier: str, reference: str, one: str, other: str, class_: str
) -> None:
    assert vote(one, verifier, reference) == vote(other, verifier, reference) == class_


def test_programs_and_rules_are_not_compared() -> None:
    check = VoteCheck()
    for verifier, asked in (("math", True), ("choice", True), ("code", False), ("instructions", False), (None, False)):
        assert check.applies(Sample(text="x", verifier=verifier)) is asked
