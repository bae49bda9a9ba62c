"""Replies that go round in circles fail; arithmetic that looks alike does not."""

import random
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataengine.checks import Opinion, Sample
from dataengine.filters.repetition import RepetitionCheck, tail_loop


def ask(text: str) -> Opinion:
    (opinion,) = RepetitionCheck()([Sample(text=text)])
    return opinion


def prose(words: int, seed: int = 1) -> str:
    chance = random.Random(seed)
    return " ".join("".join(chance.choices(string.ascii_lowercase, k=6)) for _ in range(words))


@pytest.mark.parametrize(
    "text",
    [
        "3 + 4 = 7",
        "",
        "<think>\n3 + 4 = 7\n</think>\n3 + 4 = 7\n<answer>7</answer>",
        "\n".join(f"{n} + {n + 1} = {2 * n + 1}" for n in range(1, 40)),
        "\n".join(" ".join("0" for _ in range(12)) for _ in range(12)),
        prose(400),
    ],
)
def test_what_does_not_repeat_itself_passes(text: str) -> None:
    assert ask(text).outcome == "pass"


def test_a_loop_at_the_end_is_found_with_its_place() -> None:
    start = prose(200) + ". "
    text = start + "Wait, let me check that again. " * 6
    opinion = ask(text)
    assert (opinion.outcome, opinion.reason) == ("fail", "loop")
    first, last = opinion.details["span"]
    assert abs(first - len(start)) <= 3
    assert last == len(text.rstrip())


def test_a_loop_that_was_cut_off_in_the_middle_is_found() -> None:
    assert ask("So " + "we add three and then four, " * 5 + "we add th").reason == "loop"


def test_three_times_is_no_loop() -> None:
    assert ask(prose(100) + " no no no").outcome == "pass"


def test_repeated_lines_and_phrases_are_found() -> None:
    line = "We compute the sum of the first ten numbers, which is 55."
    lines = "\n".join(x for n in range(30) for x in (line, prose(3, n)))
    assert ask(lines).reason in ("lines", "phrases")
    phrase = prose(30)
    opinion = ask(" ".join(f"{phrase} {prose(2, n)}" for n in range(8)) + " " + prose(9))
    assert opinion.reason == "phrases"
    first, last = opinion.details["span"]
    assert 0 < first < last
    assert opinion.score is not None
    assert 0.5 < opinion.score <= 1


def test_chinese_goes_character_by_character() -> None:
    assert ask("我们需要再检查一遍答案是否正确。" * 10).reason == "loop"


@pytest.mark.parametrize("unit", ["a", "ab ", "\n", "0 ", "字", "word " * 7])
@pytest.mark.timeout(60)
def test_long_texts_take_bounded_time(unit: str) -> None:
    ask(unit * (2_000_000 // len(unit)))


@given(st.text(st.characters(), min_size=1, max_size=30), st.integers(4, 12))
def test_any_unit_said_often_enough_is_a_loop(unit: str, times: int) -> None:
    text = ("x" + unit.replace("\x00", "")).strip() * times
    found = tail_loop(text, 4)
    assert (found.span is not None) == (len(text.rstrip()) >= 60)


@given(st.text(st.characters(), max_size=400))
def test_no_text_breaks_it(text: str) -> None:
    score = ask(text).score
    assert score is not None
    assert 0 <= score <= 1
