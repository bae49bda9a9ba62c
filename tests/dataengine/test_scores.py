"""Scores and their intervals, on counts worked out by hand and against every subset."""

import itertools
import math
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dataengine.scores import Attempt, consensus, pass_at_k, score


def attempt(prompt: str, answer: str | None, correct: bool, strict: bool | None = None, tokens: int = 10) -> Attempt:
    held = correct if strict is None else strict
    return Attempt(
        prompt_id=prompt, source="sums", strict=held, correct=correct, in_form=held, told=answer is not None,
        votes=True, vote=answer, tokens=tokens,
    )  # fmt: skip


@given(n=st.integers(1, 9), data=st.data())
@settings(deadline=None)
def test_pass_at_k_is_the_share_of_subsets_with_a_right_one(n: int, data: st.DataObject) -> None:
    c, k = data.draw(st.integers(0, n)), data.draw(st.integers(1, n))
    subsets = list(itertools.combinations([True] * c + [False] * (n - c), k))
    assert pass_at_k(n, c, k) == pytest.approx(sum(map(any, subsets)) / len(subsets), abs=1e-12)


def test_pass_at_k_of_many_samples_is_exact() -> None:
    for n, c, k in ((4096, 1, 1), (4096, 3, 2048), (4096, 2000, 64), (64, 1, 64)):
        exact = 1 - Fraction(math.comb(n - c, k), math.comb(n, k))
        assert pass_at_k(n, c, k) == pytest.approx(float(exact), rel=1e-12)


@pytest.mark.parametrize(("n", "c", "k"), [(4, 5, 1), (4, -1, 1), (4, 2, 0), (4, 2, 5)])
def test_pass_at_k_of_what_cannot_be_is_refused(n: int, c: int, k: int) -> None:
    with pytest.raises(ValueError, match=f"pass@{k} of {n} samples"):
        pass_at_k(n, c, k)


def test_pass_at_k_is_over_the_prompts_with_as_many_samples() -> None:
    found = score([attempt("a", "1", i < 1) for i in range(4)] + [attempt("b", "1", i < 1) for i in range(5)])
    assert (found.k, list(found.pass_at)) == (5, [1, 2, 4, 5])
    assert found.pass_at[1] == found.lenient
    assert found.pass_at[2].value == pytest.approx((1 / 2 + 2 / 5) / 2)
    assert found.pass_at[5].value == 1.0


def test_prompts_whose_answers_cannot_be_equal_have_no_consensus() -> None:
    program = Attempt("p", "code", True, True, True, True, votes=False, vote="", tokens=3)
    assert score([program]).cons is None
    mixed = score([program, attempt("q", "7", False)]).cons
    assert mixed is not None
    assert mixed.value == 0.0


def test_two_prompts_have_the_four_resamples_that_there_are() -> None:
    # 0, 1/2, 1/2 and 1 are equally likely: the middle 95 % reaches from 0 to 1.
    assert score([attempt("a", "1", True), attempt("b", "2", False)]).strict.low == 0.0
    # Of 10 prompts with one right, no right one is drawn with 0.9^10 = 0.35, four or more with 0.013.
    found = score([attempt(str(i), "1", i == 0) for i in range(10)]).lenient
    assert (found.low, found.value, found.high) == (0.0, 0.1, pytest.approx(0.3))


def test_lengths_and_words_are_means_over_prompts_that_say_them() -> None:
    said = {"strict": True, "correct": True, "in_form": True, "told": True, "votes": True, "vote": ""}
    found = score(
        [
            Attempt("a", "s", **said, tokens=10, truncated=True, reflections=4),
            Attempt("a", "s", **said, tokens=30, reflections=None),
            Attempt("b", "s", **said, tokens=100, reflections=1, consistency=0.5),
        ]
    )
    assert (found.mean_tokens, found.truncated, found.reflections, found.consistency) == (60.0, 0.25, 2.5, 0.5)


def test_the_most_frequent_answer_is_the_answer() -> None:
    group = [attempt("p", "7", True), attempt("p", "7", True), attempt("p", "8", False)]
    assert consensus(group) == 1.0
    assert consensus([*group, attempt("p", "8", False), attempt("p", "8", False)]) == 0.0


def test_equally_frequent_answers_count_their_share() -> None:
    group = [attempt("p", "7", True), attempt("p", "8", False), attempt("p", "9", False), attempt("p", None, False)]
    assert consensus(group) == pytest.approx(1 / 3)


def test_without_any_answer_there_is_no_consensus() -> None:
    assert consensus([attempt("p", None, False)]) == 0.0
    assert consensus([]) == 0.0


def test_prompts_count_the_same_however_many_samples_they_have() -> None:
    attempts = [attempt("a", "1", True)] + [attempt("b", "2", False) for _ in range(9)]
    found = score(attempts)
    assert (found.prompts, found.samples) == (2, 10)
    assert found.strict.value == 0.5
    assert found.cons is not None
    assert found.cons.value == 0.5


def test_lenient_counts_what_is_right_in_any_form() -> None:
    found = score([attempt("a", "1", True, strict=False, tokens=4), attempt("b", None, False, tokens=8)])
    assert (found.strict.value, found.lenient.value, found.form.value) == (0.0, 0.5, 0.0)
    assert (found.not_told, found.mean_tokens) == (1, 6.0)


def test_an_interval_holds_its_value_and_narrows_with_more_prompts() -> None:
    few = score([attempt(str(i), "1", i % 4 == 0) for i in range(20)]).strict
    many = score([attempt(str(i), "1", i % 4 == 0) for i in range(400)]).strict
    for interval in (few, many):
        assert interval.low <= interval.value == 0.25 <= interval.high
    # Of 400 prompts the normal approximation gives 0.25 +- 0.042.
    assert many.low == pytest.approx(0.208, abs=0.01)
    assert many.high == pytest.approx(0.292, abs=0.01)
    assert few.high - few.low > many.high - many.low


def test_samples_of_one_prompt_do_not_pretend_to_be_many_prompts() -> None:
    one = score([attempt("a", "1", True)] * 50 + [attempt("b", "1", False)] * 50).strict
    assert (one.low, one.high) == (0.0, 1.0)


def test_the_same_attempts_give_the_same_interval() -> None:
    attempts = [attempt(str(i), "1", i % 3 == 0) for i in range(30)]
    assert score(attempts) == score(attempts)


def test_nothing_is_scored_as_nothing() -> None:
    found = score([])
    assert (found.prompts, found.strict.text) == (0, "0% (0%-0%)")
