"""Answers in words pass when they say the same after normalising."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataengine.checks import Opinion, Sample, load_check
from dataengine.verify.exact import ExactCheck


def ask(reply: str, reference: str | None, *, contains: bool = False, aliases: object = None) -> Opinion:
    (opinion,) = ExactCheck(contains=contains)(
        [
            Sample(
                text=reply,
                answer=reply,
                reference=reference,
                verifier="exact",
                metadata={"verify": {"aliases": aliases}},
            )
        ]
    )
    return opinion


@pytest.mark.parametrize(
    ("reply", "reference"),
    [
        ("<answer>the Eiffel Tower!</answer>", "Eiffel tower"),
        ("Eiffel-Tower", "eiffel tower"),
        ("The answer is Paris.", "Paris"),
        ("ｐａｒｉｓ", "Paris"),
        ("<answer>1,000</answer>", "1000"),
        ("<answer>) ] }</answer>", ")]}"),
        ("The answer is Panic! at the Disco.", "Panic! at the Disco"),
        ("So the answer is Portugal. The Man\nIt is a band.", "Portugal. The Man"),
        ("The answer is blowing in the wind", "the answer is blowing in the wind"),
    ],
)
def test_same_words_pass(reply: str, reference: str) -> None:
    assert ask(reply, reference).outcome == "pass"


@pytest.mark.parametrize(
    ("reply", "reference"),
    [
        ("<answer>-5</answer>", "5"),
        ("<answer>3.5</answer>", "35"),
        ("<answer>London</answer>", "Paris"),
        ("It is Paris, I think", "Paris"),
        ("<answer>)]</answer>", ")]}"),
    ],
)
def test_other_words_fail(reply: str, reference: str) -> None:
    assert ask(reply, reference).outcome == "fail"


def test_an_alias_passes() -> None:
    assert ask("<answer>NYC</answer>", "New York", aliases=["NYC", 3, ""]).details["matched"] == "NYC"
    assert ask("<answer>NYC</answer>", "New York", aliases="NYC").outcome == "fail"


def test_contained_words_pass_only_when_asked_for_and_whole() -> None:
    assert ask("It is Paris, I think", "Paris", contains=True).outcome == "pass"
    assert ask("comparison", "Paris", contains=True).outcome == "fail"
    assert ask("答案在东京附近", "东京", contains=True).outcome == "pass"


def test_nothing_to_compare_is_undecided() -> None:
    assert ask("x", None).reason == "no_reference"
    assert ask(" ", "x").reason == "no_answer"


def test_settings_are_in_the_version() -> None:
    assert load_check("exact").version == load_check("exact", {"contains": False}).version
    assert load_check("exact").version != load_check("exact", {"contains": True}).version


@given(st.text(st.characters(), max_size=200), st.text(st.characters(), max_size=20))
def test_no_reply_breaks_it(reply: str, reference: str) -> None:
    ask(reply, reference, contains=True)
