"""The final answer is found in whatever form a reply gives it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataengine.verify.extract import SCANNED, final_answer, plain


@pytest.mark.parametrize(
    ("reply", "value", "origin"),
    [
        ("3 + 4 = 7\n<answer>7</answer>", "7", "answer_tag"),
        ("<answer>1</answer> no, <answer> 2 </answer>", "2", "answer_tag"),
        ("<answer>\\boxed{3}</answer>", "3", "answer_tag"),
        ("so <answer>7", "7", "answer_tag"),
        (r"hence $\boxed{\frac{1}{2}}$.", r"\frac{1}{2}", "boxed"),
        (r"\boxed{1} or rather \boxed{2}", "2", "boxed"),
        (r"\boxed{\boxed{7}}", "7", "boxed"),
        (r"\boxed{\{1, 2\}}", r"\{1, 2\}", "boxed"),
        ("5 + 5 = 10\n#### 1,234", "1,234", "hashes"),
        ("The answer is 3.5. Anything else?", "3.5", "phrase"),
        ("The answer is St. Petersburg. Nice!", "St. Petersburg", "phrase"),
        ("**Answer:** 42", "42", "phrase"),
        ("The final answer is:\n\n**7**.", "7", "phrase"),
        ("the answer is **7** because it is", "7", "phrase"),
        ("答案是７。", "7", "phrase"),
        ("no idea", "no idea", "whole"),
    ],
)
def test_last_answer_of_the_strongest_form_wins(reply: str, value: str, origin: str) -> None:
    found = final_answer(reply, reply)
    assert found is not None
    assert (found.value, found.origin) == (value, origin)


@pytest.mark.parametrize(
    ("reply", "value"),
    [
        ("3 + 4 = 7", "7"),
        ("first 3, then 5-3 = 2.", "2"),
        ("it costs $1,250.50 now", "$1,250.50"),
        ("about 50%", "50%"),
    ],
)
def test_last_number_stands_in_where_a_number_is_expected(reply: str, value: str) -> None:
    found = final_answer(reply, reply, numeric=True)
    assert found is not None
    assert (found.value, found.origin) == (value, "last_number")


def test_a_heading_is_no_answer() -> None:
    found = final_answer("#### Step 1\nWe add.\nThe answer is 4", "")
    assert found is not None
    assert found.value == "4"


def test_unfinished_reasoning_has_no_answer_unless_it_is_marked() -> None:
    assert final_answer(None, "<think>maybe the answer is 5, or 6", numeric=True) is None
    found = final_answer(None, "<think>so <answer>6</answer> but wait")
    assert found is not None
    assert found.value == "6"


def test_text_alone_is_read_after_the_reasoning() -> None:
    found = final_answer(None, "<think>\\boxed{1}</think> The answer is 2")
    assert found is not None
    assert found.value == "2"


@pytest.mark.parametrize("nothing", ["", "   ", "<answer></answer>"])
def test_nothing_is_no_answer(nothing: str) -> None:
    found = final_answer(nothing, nothing, numeric=True)
    assert found is None


def test_plain_keeps_the_length() -> None:
    assert plain("（－７．５）") == "(-7.5)"


@pytest.mark.parametrize(
    "unit",
    [
        "\\boxed{",
        "<answer>",
        "answer is ",
        "{",
        "answer to ",
        "1,",
        "1",
        "答案是",
        " ",
        "\\",
        "####",
        "$",
        "\\[",
        "\\boxed{1},",
    ],
)
@pytest.mark.timeout(60)
def test_hostile_replies_take_bounded_time(unit: str) -> None:
    reply = unit * (300_000 // len(unit))
    final_answer(reply, reply, numeric=True)


@given(st.text(st.characters(), max_size=300), st.booleans())
def test_no_text_breaks_extraction(text: str, numeric: bool) -> None:
    found = final_answer(text, text, numeric=numeric)
    assert found is None or 0 < len(found.value) <= SCANNED


@given(st.from_regex(r"[0-9a-z{}\\ ]{1,30}", fullmatch=True).filter(lambda s: s.strip()), st.text(max_size=50))
def test_tagged_answer_is_found_behind_any_text(value: str, before: str) -> None:
    if "box" in value or "answer" in value.casefold():
        return
    reply = before.replace("<", "") + f"<answer>{value}</answer>"
    found = final_answer(reply, reply)
    assert found is not None
    assert (found.value, found.origin) == (value.strip(), "answer_tag")
