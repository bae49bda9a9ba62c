"""Multiple-choice answers pass by their letter or by the text of the option."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataengine.checks import Opinion, Sample
from dataengine.verify.choice import ChoiceCheck

OPTIONS = ["eleven", "a dozen", "thirteen"]


def ask(reply: str, reference: str | None = "B", options: list[str] | None = None) -> Opinion:
    metadata = {"options": options} if options else {}
    (opinion,) = ChoiceCheck()(
        [Sample(text=reply, answer=reply, reference=reference, verifier="choice", metadata=metadata)]
    )
    return opinion


@pytest.mark.parametrize(
    "reply",
    [
        *("B", "(B)", "B.", "B) twelve", "option B", "b", "**B**", r"\text{(B)}", "（Ｂ）"),
        *("The answer is B", "The correct answer is (B).", "so I take option B.", r"\boxed{B}", "Because.\n\n**B**"),
    ],
)
def test_the_letter_is_accepted_in_any_form(reply: str) -> None:
    assert ask(reply).outcome == "pass"
    assert ask(reply, "C").outcome == "fail"


@pytest.mark.parametrize("form", ["{}", "({})", "{}.", "{}) a dozen", "option {}"])
def test_the_letter_is_accepted_inside_tags(form: str) -> None:
    assert ask(f"<answer>{form.format('B')}</answer>").outcome == "pass"
    assert ask(f"<answer>{form.format('A')}</answer>").outcome == "fail"


def test_the_text_of_the_option_is_accepted() -> None:
    assert ask("<answer>Dozen.</answer>", options=OPTIONS).outcome == "pass"
    assert ask("<answer>thirteen</answer>", options=OPTIONS).outcome == "fail"
    assert ask("<answer>purple</answer>", options=OPTIONS).reason == "no_such_option"


def test_two_letters_at_once_fail() -> None:
    assert ask("<answer>A, B</answer>").reason == "several_options"
    assert ask("<answer>B or C</answer>").outcome == "fail"


@pytest.mark.parametrize("reply", ["A cat sat down", "I think so", "", "twelve"])
def test_a_reply_that_names_no_option_is_undecided(reply: str) -> None:
    assert ask(reply).outcome == "undecided"


@pytest.mark.parametrize("reference", [None, "", "twelve"])
def test_a_reference_that_is_no_option_is_undecided(reference: str | None) -> None:
    assert ask("B", reference).outcome == "undecided"


@given(st.text(st.characters(), max_size=200))
def test_no_reply_breaks_it(reply: str) -> None:
    ask(reply, options=OPTIONS)
    ask(f"<answer>{reply}</answer>")
