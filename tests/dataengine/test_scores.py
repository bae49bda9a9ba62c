"""Scores and their intervals, on counts worked out by hand."""

import pytest

from dataengine.scores import Attempt, consensus, score


def attempt(prompt: str, answer: str | None, correct: bool, strict: bool | None = None, tokens: int = 10) -> Attempt:
    held = correct if strict is None else strict
    return Attempt(prompt, "sums", held, correct, held, answer is not None, answer, tokens)


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
