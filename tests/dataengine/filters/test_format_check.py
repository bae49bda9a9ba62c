"""The form of a reply is checked tag by tag, and what is wrong has a stable name."""

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataengine.checks import Sample, load_check
from dataengine.filters.format import FormatCheck
from schemas.errors import ConfigError

GOOD = "<think>\n3 + 4 = 7\n</think>\n3 + 4 = 7\n<answer>7</answer>\n"


def reason(text: str, **settings: Any) -> str:
    (opinion,) = FormatCheck(**settings)([Sample(text=text)])
    assert opinion.outcome == ("fail" if opinion.reason else "pass")
    return opinion.reason


def test_the_form_asked_for_passes() -> None:
    assert reason(GOOD) == ""


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", "empty"),
        (" \n", "empty"),
        ("7", "no_think"),
        ("x <think>a</think> b <answer>7</answer>", "text_before_think"),
        ("<think>a", "unclosed_think"),
        ("a</think> b", "unopened_think"),
        ("<think>a<think>b</think></think> c <answer>7</answer>", "nested_think"),
        ("<think>a</think><think>b</think> c <answer>7</answer>", "several_think"),
        ("<think> </think> c <answer>7</answer>", "empty_reasoning"),
        ("<think>a <answer>7</answer></think> c <answer>7</answer>", "tag_in_reasoning"),
        ("<think>a</think> c", "no_answer"),
        ("<think>a</think> c <answer>7", "unclosed_answer"),
        ("<think>a</think> c 7</answer>", "unopened_answer"),
        ("<think>a</think> c <answer>7<answer>8</answer></answer>", "nested_answer"),
        ("<think>a</think> c <answer>7</answer> <answer>7</answer>", "several_answers"),
        ("<think>a</think> c <answer> </answer>", "empty_answer"),
        ("<think>a</think> c <answer>7</answer> bye", "text_after_answer"),
        ("<think>a</think> <answer>7</answer>", "no_summary"),
    ],
)
def test_each_fault_has_its_name(text: str, code: str) -> None:
    assert reason(text) == code


def test_tags_can_be_optional_or_forbidden() -> None:
    assert reason("just text", thinking="optional", answer_tag="optional") == ""
    assert reason(GOOD, thinking="optional", answer_tag="optional") == ""
    assert reason(GOOD, thinking="forbidden") == "thinking_forbidden"
    assert reason(GOOD, answer_tag="forbidden") == "answer_tag_forbidden"
    assert reason("<think>a</think> b", answer_tag="forbidden") == ""
    assert reason("<think>a</think> ", answer_tag="optional") == "no_summary"
    assert reason("<think>a</think><answer>7</answer>", summary=False) == ""


@pytest.mark.parametrize("params", [{"thinking": "maybe"}, {"summary": "yes"}, {"thinkin": "required"}])
def test_wrong_settings_are_refused(params: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="check format"):
        load_check("format", params)


def test_naming_a_default_keeps_the_version() -> None:
    assert load_check("format", {"summary": True}).version == load_check("format").version
    assert load_check("format", {"summary": False}).version != load_check("format").version


@given(st.lists(st.sampled_from(["<think>", "</think>", "<answer>", "</answer>", "a", " ", "\n"]), max_size=12))
def test_a_reply_passes_only_in_one_shape(parts: list[str]) -> None:
    text = "".join(parts)
    if reason(text) == "":
        marks = [p for p in parts if p.startswith("<")]
        assert marks == ["<think>", "</think>", "<answer>", "</answer>"]
        assert text.strip().startswith("<think>")
        assert text.strip().endswith("</answer>")


# What each code means, the first that fits: T, t, A, a are the tags, x is text that is not blank.
FORMS = {
    "empty": "",
    "no_think": "[^Tt]*",
    "unopened_think": "[^Tt]*t.*",
    "text_before_think": "[^Tt]+T.*",
    "unclosed_think": "T[^Tt]*",
    "nested_think": "T[^Tt]*T.*",
    "several_think": "T[^Tt]*t[^Tt]*[Tt].*",
    "tag_in_reasoning": "T[^t]*[Aa].*t.*",
    "empty_reasoning": "Tt.*",
    "no_answer": "Txtx?",
    "unopened_answer": "Txtx?a.*",
    "unclosed_answer": "Txtx?Ax?",
    "nested_answer": "Txtx?Ax?A.*",
    "several_answers": "Txtx?Ax?ax?[Aa].*",
    "empty_answer": "Txtx?Aax?",
    "text_after_answer": "Txtx?Axax",
    "no_summary": "TxtAxa",
    "": "TxtxAxa",
}
SIGNS = {"<think>": "T", "</think>": "t", "<answer>": "A", "</answer>": "a"}
PARTS = st.sampled_from([*SIGNS, *SIGNS, "x", "<", "think>", " ", "\n", "\u3000", "\ud800"])


STARTS = st.sampled_from(["", "<think>x", "<think>x</think>", "<think>x</think>x<answer>x"])


@given(st.lists(st.tuples(STARTS, st.lists(PARTS, max_size=6)), max_size=4))
def test_each_form_has_one_code_whatever_the_batch(replies: list[tuple[str, list[str]]]) -> None:
    texts = [start + "".join(parts) for start, parts in replies]
    for text, opinion in zip(texts, FormatCheck()([Sample(text=t) for t in texts]), strict=True):
        pieces = re.split("(</?(?:think|answer)>)", text)
        form = "".join(SIGNS.get(piece, "x" if piece.strip() else "") for piece in pieces)
        assert opinion.reason == next(code for code, shape in FORMS.items() if re.fullmatch(shape, form))


@pytest.mark.parametrize("unit", ["<think>", "</answer>", "<", "</thin", " ", "a"])
@pytest.mark.timeout(60)
def test_long_texts_take_bounded_time(unit: str) -> None:
    assert reason(unit * (5_000_000 // len(unit))) != ""
