"""Texts are composed as Unicode says, in linear time, and each character knows where it came from."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataengine.filters.composing import composed

# What meets in a cluster: letters, composed ones, marks of several classes, vowel signs and parts of syllables.
PIECES = st.sampled_from(
    [*"ae\u00e9\u1ec5\u0301\u0327\u0323\u0344\u212b\u0958\u09c7\u09be\u0bc6\u0bbe\u0dd9\u0dcf\u0dca"]
)
JAMO = st.sampled_from([*"\u1100\u1161\u11a8\uac00\ub2f5\u0f71\u0f72\u0f73\ud834"])


@given(st.lists(st.one_of(PIECES, JAMO, st.characters()), max_size=12).map("".join))
def test_every_text_is_composed_as_unicode_says(text: str) -> None:
    form = composed(text)
    assert (form.text if form else text) == unicodedata.normalize("NFC", text)


@pytest.mark.parametrize("word", ["কো", "கொ", "කෝ", "한국", "Đặng", "ශ්‍රී"])
def test_the_parts_of_a_letter_lead_to_all_of_it(word: str) -> None:
    text = unicodedata.normalize("NFD", f"x {word} y")
    form = composed(text)
    if form is None:
        assert unicodedata.is_normalized("NFC", text)
        return
    start = form.text.index(" ") + 1
    first, end = form.span(start, start + len(unicodedata.normalize("NFC", word)))
    assert text[first:end] == unicodedata.normalize("NFD", word)


def test_a_space_before_marks_that_do_not_join_it_stays_where_it_is() -> None:
    text = "so \u0308\u0301Ne\u0302u"  # the marks stand alone, the last one joins its letter
    form = composed(text)
    assert form is not None
    start = form.text.index("\u0308")
    assert form.span(start, len(form.text)) == (3, len(text))


@pytest.mark.timeout(30)
def test_marks_without_end_take_linear_time() -> None:
    text = "e\u0301" + "\u0301\u0327" * 300_000
    form = composed(text)
    assert form is not None
    assert form.text[0] == "\u0229"  # the cedilla is nearer to the letter
    assert form.span(0, len(form.text)) == (0, len(text))
