"""Multiple-choice answers pass by their letter or by the text of the option."""

import gzip
import itertools
import json
import time
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataengine.checks import Opinion, Sample
from dataengine.sources.files import LAYOUTS
from dataengine.verify.choice import ChoiceCheck

DATA = Path(__file__).resolve().parents[4] / "shared" / "data" / "science_logic" / "arc_obqa"

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
        *("Answer: B", r"\boxed{\text{(B)}}", r"\boxed{\mathbf{B}}", r"\(B\)", "$B$", "(b)", "Ｂ", "B;", "B: twelve"),
        *("The answer is B because it is.", "The answer is B, not C.", "The answer is B, since C is wrong."),
        *("选B", "应选B。", "选择：B", "B选项", "答案是B", "答案：（Ｂ）", "综上，故选B。", "正确答案是 B。"),
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
    assert ask("(A) and (B)").reason == "several_options"
    assert ask("答案是A和B").reason == "several_options"
    assert ask("<answer>Y and Z</answer>").outcome == "undecided"  # no letters of this question


def test_a_letter_beside_the_text_of_another_option_fails() -> None:
    assert ask("<answer>(B) a dozen</answer>", options=OPTIONS).outcome == "pass"
    assert ask("<answer>B a dozen</answer>", options=OPTIONS).outcome == "pass"
    assert ask("<answer>(B) twelve, I think</answer>", options=OPTIONS).outcome == "pass"
    for letter in "AB":
        assert ask("<answer>(B) eleven</answer>", letter, OPTIONS).reason == "contradictory"
        assert ask("The answer is B: eleven.", letter, OPTIONS).outcome == "fail"
        assert ask("<answer>(A) a dozen</answer>", letter, OPTIONS).reason == "contradictory"


def test_a_text_that_two_options_have_is_undecided_unless_both_are_wrong() -> None:
    options = ["red", "blue", "Red", "red"]
    assert ask("<answer>red</answer>", "A", options).reason == "ambiguous_option"
    assert ask("<answer>Red</answer>", "C", options).outcome == "pass"
    assert ask("<answer>red</answer>", "B", options).outcome == "fail"
    assert ask("<answer>(D) red</answer>", "D", options).outcome == "pass"


def test_a_letter_that_is_the_text_of_another_option_is_undecided_unless_both_are_wrong() -> None:
    blood = ["B", "A", "AB", "0"]
    assert ask("<answer>B</answer>", "B", blood).reason == "ambiguous_option"
    assert ask("<answer>B</answer>", "A", blood).reason == "ambiguous_option"
    assert ask("<answer>B</answer>", "C", blood).outcome == "fail"
    assert ask("<answer>(B)</answer>", "B", blood).outcome == "pass"
    assert ask("<answer>AB</answer>", "C", blood).outcome == "pass"


@pytest.mark.parametrize(
    ("options", "texts"),
    [
        ([r"$\frac{1}{2}$", r"$\frac{1}{3}$", r"$x^2$", "$x_2$"], [r"\frac12", r"$\dfrac{1}{3}$", "x^2", "x_2"]),
        (["-5", "5", "1,000", "0.50"], ["-5", "5", "1000", "0.5"]),
        (["12 meters", "13 meters", "12 seconds", "$14"], ["12 m", "13", "12 s", "14"]),
        (["+", "-", "*", "**"], ["+", "-", "*", "**"]),
        (["AA", "Aa", "aa", "A. Smith"], ["AA", "Aa", "aa", "A. Smith"]),
        (["both A and B", "A and C", "none", r"\text{the cat}"], ["both A and B", "A and C", "None.", "Cat"]),
        (["巴黎", "伦敦", "是的", "东京"], ["巴黎", "伦敦。", "是的", "东京"]),
    ],
)
def test_texts_are_told_apart_by_what_tells_the_options_apart(options: list[str], texts: list[str]) -> None:
    for i, text in enumerate(texts):
        outcomes = [ask(f"<answer>{text}</answer>", letter, options).outcome for letter in "ABCD"]
        assert outcomes == ["pass" if k == i else "fail" for k in range(4)], text


@pytest.mark.parametrize("count", [4, 7, 10, 18])
def test_there_are_as_many_letters_as_options(count: int) -> None:
    options = [f"thing {i}" for i in range(count)]
    for i in range(count):
        letter = chr(65 + i)
        assert ask(f"<answer>({letter})</answer>", letter, options).outcome == "pass"
        assert ask(f"<answer>{letter.lower()}</answer>", letter, options).outcome == "pass"
        assert ask(f"<answer>thing {i}</answer>", letter, options).outcome == "pass"
    beyond = chr(65 + count)
    assert ask(f"<answer>{beyond}</answer>", "A", options).reason == "no_such_option"
    assert ask("<answer>A</answer>", beyond, options).reason == "reference_is_no_option"


def test_the_reference_may_be_the_text_of_an_option() -> None:
    assert ask("<answer>B</answer>", "A dozen.", OPTIONS).outcome == "pass"
    assert ask("<answer>B</answer>", "eleven", OPTIONS).outcome == "fail"
    assert ask("<answer>B</answer>", "red", ["red", "Red", "red"]).reason == "reference_is_no_option"
    assert ask("<answer>(B)</answer>", "B", ["B", "A"]).outcome == "pass"


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


TEXTS = st.lists(
    st.text("xyzäµ01 .-$", min_size=1, max_size=6), min_size=4, max_size=10, unique_by=lambda t: "".join(t.split())
)


@given(TEXTS, st.data())
def test_shuffled_options_change_no_verdict(texts: list[str], data: st.DataObject) -> None:
    order = data.draw(st.permutations(range(len(texts))))
    shuffled = [texts[i] for i in order]
    right, said = data.draw(st.integers(0, len(texts) - 1)), data.draw(st.integers(0, len(texts) - 1))
    before, after = chr(65 + right), chr(65 + order.index(right))
    by_text = [ask(f"<answer>{texts[said]}</answer>", ref, opts) for ref, opts in ((before, texts), (after, shuffled))]
    assert by_text[0].outcome == by_text[1].outcome
    by_letter = [
        ask(f"<answer>({chr(65 + said)})</answer>", before, texts),
        ask(f"<answer>({chr(65 + order.index(said))})</answer>", after, shuffled),
    ]
    assert [o.outcome for o in by_letter] == ["pass" if said == right else "fail"] * 2


@pytest.mark.parametrize("unit", ["A, ", "(A", r"\text{", "$", "the ", "B) ", "选", " ", "\n(B)", "9"])
def test_long_replies_cost_little_time(unit: str) -> None:
    start = time.perf_counter()
    ask((unit * 20_000)[:20_000] + "x", options=[*OPTIONS, (unit * 20_000)[:20_000]])
    assert time.perf_counter() - start < 1  # 0.02 s


@pytest.mark.parametrize("name", ["ARC-Challenge/train", "openbookqa/test"])
def test_questions_pass_with_their_letter_and_text_and_not_with_the_next(name: str) -> None:
    path = DATA / f"{name}.json.gz"
    if not path.exists():
        pytest.skip("the data of the acceptance runs is not here")
    with gzip.open(path, "rt", encoding="utf-8") as file:
        fields = [LAYOUTS["arc"](row) for row in json.load(file)]
    texts = [f["options"][ord(f["reference"]) - 65] for f in fields]

    def outcomes(replies: list[str]) -> Counter[str]:
        asked = zip(replies, fields, strict=True)
        return Counter(ask(f"<answer>{reply}</answer>", f["reference"], f["options"]).outcome for reply, f in asked)

    assert outcomes([f["reference"] for f in fields]) == {"pass": len(fields)}
    assert outcomes(texts) == {"pass": len(fields)}
    assert outcomes([f"{f['reference']}) {t}" for f, t in zip(fields, texts, strict=True)]) == {"pass": len(fields)}
    assert "pass" not in outcomes([*texts[1:], texts[0]])
    letters = [a["reference"] == b["reference"] for a, b in itertools.pairwise([*fields, fields[0]])]
    assert outcomes([f["reference"] for f in [*fields[1:], fields[0]]]) == Counter(
        "pass" if same else "fail" for same in letters
    )
