"""Questions that take no thought are told from all others."""

import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dataengine.curate.trivial import MOST_CHARACTERS, is_trivial, trivial
from schemas.records import Message

SUMS = [
    "1+1=?", "What is 9 minus 4?", "What's 12 + 30?", "what is 5 x 6", "Please compute 8 ÷ 2.", "3 - -2", "$3 + 4 =$",
    "7乘以8等于多少", "３＋４＝？", "Wie viel ist 3 mal 4?", "combien font 3 fois 4 ?", "Сколько будет 2 плюс 2?",
    "10 * 10", "5 たす 3 はいくつですか",
]  # fmt: skip
GREETINGS = [
    "Hello!", "Hi, how are you?", "Thanks a lot!!! 🙏", "Good morning :)", "Vielen Dank", "Bonjour, ça va ?",
    "¿Qué tal?", "你好，谢谢你！", "こんにちは。", "안녕하세요", "مرحبا", "नमस्ते", "Olá, tudo bem?",
]  # fmt: skip
OTHERS = [
    # Sums that take more than a look, and what only looks like one.
    "What is 17 * 23?", "100 + 2", "1 + 2 + 3", "2^10", "8 / 0", "x + 1 = 2", "3 + 4 %", "1.5 + 2", "5",
    "What is 2 + 2? Explain why.", "Is 7 + 5 equal to 13?",
    # More than a greeting, or something else that has one in it.
    "Hello, who wrote Faust?", "Good morning, what should I eat?", "你好，请写一首诗", "How are you so tall?",
    "hello world", "print('hello')", "<b>hi</b>", "Chile", "hither",
    # Nothing to go by.
    "", " \n", "?", "👋", "ok",
]  # fmt: skip


@pytest.mark.parametrize("question", [*SUMS, *GREETINGS])
def test_the_smallest_sums_and_greetings_are_trivial(question: str) -> None:
    assert trivial(question)
    assert trivial(unicodedata.normalize("NFD", question))
    assert trivial(f"\n  {question.upper()}\t")


@pytest.mark.parametrize("question", OTHERS)
def test_all_else_is_not(question: str) -> None:
    assert not trivial(question)


def test_what_is_long_is_not() -> None:
    assert trivial("hello " * 8)
    assert not trivial("hello " * (MOST_CHARACTERS // 5))
    for run in ("(", "1+", "hello ", "\n", "= ", "ﷺ", "\ud800"):
        assert not trivial(run * 1_000_000)


def test_a_question_that_follows_others_leans_on_them() -> None:
    system, user = Message(role="system", content="Be kind."), Message(role="user", content="1 + 1")
    assert is_trivial([user])
    assert is_trivial([system, user])
    assert not is_trivial([user, Message(role="assistant", content="2"), user])
    assert not is_trivial([system])


@given(left=st.integers(0, 200), right=st.integers(0, 200), sign=st.sampled_from("+-*/"))
@settings(max_examples=200, deadline=None)
def test_how_large_the_numbers_of_a_sum_may_be(left: int, right: int, sign: str) -> None:
    largest = 99 if sign in "+-" else 10
    small = left <= largest and right <= largest and not (sign == "/" and right == 0)
    assert trivial(f"What is {left} {sign} {right}?") is small
